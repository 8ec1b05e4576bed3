"""Where a table goes: the terminal, a pipe, or a file that is written whole or not at all."""

import os
import sys
from pathlib import Path

from expdb import reports
from expdb.errors import ExpdbError, UsageError
from expdb.records import Table
from expdb.reports.terminal import print_table

_FORMATS = {"table": "plain", "md": "markdown", "markdown": "markdown", "csv": "csv", "json": "json"}


def show(table: Table, format_name: str | None, output: Path | None) -> None:
    """Print a table, or write it to a file whole or not at all."""
    if format_name and format_name not in _FORMATS:
        raise UsageError(f"no format is called {format_name!r}", hint="formats: table, md, csv, json")
    if output is None:
        if format_name in (None, "table"):
            print_table(table)
        else:
            sys.stdout.write(reports.render(table, _FORMATS[format_name or "table"]))
        return
    chosen = _FORMATS[format_name] if format_name else reports.format_of(output)
    if chosen is None and output.suffix:
        raise UsageError(f"no format goes with {output.suffix!r}", hint="-o FILE.md, .csv, .json or .txt; or --format")
    chosen = chosen or "plain"
    text = reports.render(table, chosen)
    if not output.name or output.is_dir():
        raise UsageError(f"-o {str(output)!r} is a folder, not a file")
    if output.exists() and not output.is_file():
        # A device or a pipe is written to, not replaced.
        output.write_text(text, encoding="utf-8", newline="\n")
        return
    # Behind a link it is the target that is replaced.
    output = output.resolve()
    partial = output.with_name(f".{output.name}.{os.getpid()}.partial")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, encoding="utf-8", newline="\n")
        partial.replace(output)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise ExpdbError(f"{output} cannot be written: {error.strerror or error}") from error
