"""Where a table goes: the terminal, a pipe, or a file that is written whole or not at all."""

import shutil
import sys
from pathlib import Path

from expdb import reports, whole
from expdb.errors import ExpdbError, UsageError
from expdb.records import Table
from expdb.reports.terminal import print_table

_TYPED = ("table", "md", "latex", "html", "rst", "csv", "json")
_SUFFIXES = ".md, .tex, .html, .rst, .csv, .json or .txt"


def show(table: Table, format_name: str | None, output: Path | None, style: str | None = None) -> None:
    """Print a table, or write it to a file whole or not at all. style: of Markdown, which it chooses."""
    if format_name and format_name not in reports.NAMES:
        raise UsageError(f"no format is called {format_name!r}", hint=f"formats: {', '.join(_TYPED)}")
    if output is None:
        if style is None and format_name in (None, "table", "plain"):
            print_table(table)
        else:
            chosen = reports.NAMES[format_name] if format_name else "markdown"
            sys.stdout.write(reports.render(table, chosen, style))
        return
    by_suffix = reports.format_of(output)
    if format_name is None and by_suffix is None and output.suffix:
        raise UsageError(f"no format goes with {output.suffix!r}", hint=f"-o FILE{_SUFFIXES}; or --format")
    chosen = reports.NAMES[format_name] if format_name else by_suffix or ("markdown" if style else "plain")
    write(reports.render(table, chosen, style), output)


def write(text: str, output: Path | None) -> None:
    """Write to a file, whole or not at all; without one, or to `-`, print."""
    if output is None or str(output) == "-":
        sys.stdout.write(text)
    else:
        write_bytes(text.encode("utf-8"), output)


def write_bytes(data: bytes, output: Path | None) -> None:
    """Bytes as they are, to a file, whole or not at all; without one, or to `-`, to standard output."""
    if output is None or str(output) == "-":
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        return
    if not output.name or output.is_dir():
        raise UsageError(f"-o {str(output)!r} is a folder, not a file")
    if output.exists() and not output.is_file():
        # A device or a pipe is written to, not replaced.
        output.write_bytes(data)
        return
    # Behind a link it is the target that is replaced.
    output = output.resolve()
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with whole.beside(output) as partial:
            partial.write_bytes(data)
            if output.exists():
                # Who may read it does not change with what it says.
                shutil.copymode(output, partial)
            partial.replace(output)
    except OSError as error:
        raise ExpdbError(f"{output} cannot be written: {error.strerror or error}") from error
