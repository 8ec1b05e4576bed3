"""Reports: a table of numbers -> terminal, plain text, Markdown, CSV, JSON.

One file per format, each with `render(table) -> str`, imported only when its format is asked for. What the
formats say alike stands in `layout` (headings, marks, rules) and `text` (foreign text, columns, numbers).
"""

import importlib
import os
from collections.abc import Mapping
from pathlib import PurePath
from typing import Final

from expdb.errors import UsageError
from expdb.records import Table

FORMATS: Final[Mapping[str, str]] = {
    "plain": "expdb.reports.plain",
    "markdown": "expdb.reports.markdown",
    "csv": "expdb.reports.csv",
    "json": "expdb.reports.json",
}

_SUFFIXES: Final[Mapping[str, str]] = {
    ".txt": "plain",
    ".md": "markdown",
    ".markdown": "markdown",
    ".csv": "csv",
    ".json": "json",
}


def render(table: Table, format_name: str) -> str:
    """The table in one of FORMATS, ending in a line feed. Raises UsageError for any other name."""
    if format_name not in FORMATS:
        raise UsageError(f"no format called {format_name!r}; there are {', '.join(FORMATS)}")
    rendered: str = importlib.import_module(FORMATS[format_name]).render(table)
    return rendered


def format_of(path: str | os.PathLike[str]) -> str | None:
    """The format a file's suffix asks for, in either case; None where the suffix says nothing."""
    return _SUFFIXES.get(PurePath(path).suffix.lower())
