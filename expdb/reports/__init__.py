"""Reports: a table of numbers -> terminal, plain text, Markdown, LaTeX, HTML, reStructuredText, CSV, JSON.

One file per format, each with `render(table) -> str`, imported only when its format is asked for. What the
formats say alike stands in `layout` (headings, marks, rules) and `text` (foreign text, columns, numbers).
"""

import importlib
import os
from collections.abc import Mapping
from pathlib import PurePath
from typing import Final, Literal, get_args

from expdb.errors import UsageError
from expdb.records import Table

FORMATS: Final[Mapping[str, str]] = {
    "plain": "expdb.reports.plain",
    "markdown": "expdb.reports.markdown",
    "csv": "expdb.reports.csv",
    "json": "expdb.reports.json",
    "latex": "expdb.reports.latex",
    "html": "expdb.reports.html",
    "rst": "expdb.reports.rst",
}
# What a person may type for them.
NAMES: Final[Mapping[str, str]] = {
    "table": "plain",
    "md": "markdown",
    "tex": "latex",
    **{name: name for name in FORMATS},
}
Style = Literal["github", "typora"]
STYLES: Final[Mapping[str, Style]] = {style: style for style in get_args(Style)}

_SUFFIXES: Final[Mapping[str, str]] = {
    ".txt": "plain",
    ".md": "markdown",
    ".markdown": "markdown",
    ".csv": "csv",
    ".json": "json",
    ".tex": "latex",
    ".html": "html",
    ".htm": "html",
    ".rst": "rst",
}


def render(table: Table, format_name: str, style: str | None = None) -> str:
    """The table in one of FORMATS, ending in a line feed. style: one of STYLES, for Markdown.

    Raises UsageError for any other name, and for a style of another format.
    """
    if format_name not in FORMATS:
        raise UsageError(f"no format called {format_name!r}; there are {', '.join(FORMATS)}")
    if style is not None:
        return _styled(table, format_name, style)
    rendered: str = importlib.import_module(FORMATS[format_name]).render(table)
    return rendered


def _styled(table: Table, format_name: str, style: str) -> str:
    from expdb.reports import markdown

    if style not in STYLES:
        raise UsageError(f"no style called {style!r}; there are {', '.join(STYLES)}")
    if format_name != "markdown":
        raise UsageError(f"--style is of Markdown, not of {format_name}", hint="--format md --style typora")
    return markdown.render(table, STYLES[style])


def format_of(path: str | os.PathLike[str]) -> str | None:
    """The format a file's suffix asks for, in either case; None where the suffix says nothing."""
    return _SUFFIXES.get(PurePath(path).suffix.lower())
