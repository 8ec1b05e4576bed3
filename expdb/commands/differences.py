"""What `expdb diff` says: a table for each kind of thing that differs, and the lines of code."""

import sys
from dataclasses import replace

from expdb.diff import Difference, FileChange
from expdb.reports.terminal import print_table
from expdb.reports.text import visible

# Of each file a person is shown so many lines; a pipe gets all.
_LINES = 20


def told(found: Difference) -> None:
    """Everything that differs, or that nothing does; what could not be compared, on standard error."""
    for place, section in enumerate(found.sections):
        if place:
            print()
        # Its first column says what it is.
        print_table(replace(section, title=None))
        if section.title == "code":
            _tell_code(found)
    if not found.sections:
        a, b = (visible(title) for title in found.titles)
        said = "nothing that is known differs" if found.remarks else "nothing differs"
        print(f"{a} and {b}: {said}" if found.a.id != found.b.id else f"{a}: nothing differs")
    sys.stdout.flush()
    for remark in found.remarks:
        print(f"expdb: {visible(remark)}", file=sys.stderr)


def _tell_code(found: Difference) -> None:
    lines = [change for change in found.code if change.only_a or change.only_b]
    if not lines:
        return
    print(f"\n< only under {visible(found.titles[0])}    > only under {visible(found.titles[1])}")
    for change in lines:
        _tell_file(change)


def _tell_file(change: FileChange) -> None:
    print(visible(change.path))
    for sign, lines in (("<", change.only_a), (">", change.only_b)):
        shown = lines[:_LINES] if sys.stdout.isatty() else lines
        for line in shown:
            # A tab is the line's own.
            print(f"  {sign} " + "\t".join(map(visible, line.split("\t"))))
        if len(lines) > len(shown):
            print(f"  {sign} and {len(lines) - len(shown):,} more (all: | less)")
