"""What a person may type behind a command: its options and arguments, completed and taken apart."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from expdb.errors import ExpdbError, UsageError

if TYPE_CHECKING:
    from expdb.address import Address


def _complete(statement: str, incomplete: str) -> list[str]:
    """What the database knows that begins like this; nothing, silently, where it cannot be asked."""
    from expdb.store.opening import open_database

    try:
        with open_database(database_path(None)) as database:
            found = [str(name) for (name,) in database.rows(statement)]
    except ExpdbError:
        return []
    # A shell takes a blank for the end of the word.
    return [name for name in found if name.startswith(incomplete) and " " not in name]


def _complete_run(incomplete: str) -> list[str]:
    return _complete("SELECT name FROM run WHERE deleted_ms IS NULL GROUP BY name ORDER BY max(id) DESC", incomplete)


def _complete_experiment(incomplete: str) -> list[str]:
    return _complete("SELECT name FROM experiment WHERE deleted_ms IS NULL ORDER BY name", incomplete)


Experiment = Annotated[
    Optional[str], typer.Option("--experiment", "-e", help="Experiment.", autocompletion=_complete_experiment)
]
Db = Annotated[
    Optional[str],
    typer.Option(
        "--db",
        metavar="FILE|URL",
        help="Database: a file, or postgresql://USER@HOST/NAME. Default: EXPDB_DB, what expdb.toml says, the nearest"
        " runs/expdb.db upward or here.",
    ),
]
_RUN_HELP = "A uid's first 4 or more characters, a name, or @1 for the newest."
Run = Annotated[str, typer.Argument(help=_RUN_HELP, autocompletion=_complete_run)]
Runs = Annotated[Optional[list[str]], typer.Argument(metavar="[RUN]...", help=_RUN_HELP, autocompletion=_complete_run)]
Params = Annotated[Optional[list[str]], typer.Option("--set", "-s", help="Param key=value. Repeatable.")]
Tags = Annotated[Optional[list[str]], typer.Option("--tag", "-t", help="Tag key=value. Repeatable.")]
As = Annotated[Optional[str], typer.Option("--as", help="Input format, where it is not recognised.", metavar="NAME")]
Columns = Annotated[
    Optional[str],
    typer.Option("--metric-columns", help="Table columns that hold results: headers, by comma.", metavar="HEADER,..."),
]
Format = Annotated[
    Optional[str],
    typer.Option("--format", help="table, md, latex, html, rst, csv or json. Default: the suffix of -o, else table."),
]
Output = Annotated[Optional[Path], typer.Option("-o", "--output", help="Write to this file.", metavar="FILE")]
Where = Annotated[Optional[str], typer.Option("--where", "-w", help="Only runs for which this holds.", metavar="EXPR")]


def database_path(option: str | None) -> "Address":
    """The database that is meant."""
    from expdb import settings

    return settings.database_path(option, named=settings.in_force().database)


def pairs(texts: list[str] | None, flag: str) -> dict[str, str]:
    """key=value, several times. Raises UsageError for what is none, and for a key that is given twice."""
    out: dict[str, str] = {}
    for text in texts or ():
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"{flag} {text!r}: a key, `=` and a value are needed", hint=f"{flag} key=value")
        key, value = key.strip(), value.strip()
        if key in out:
            several = f"; for a run of each: expdb run {flag} {key}={out[key]},{value}" if flag == "-s" else ""
            raise UsageError(f"{flag} {key}= is given twice", hint=f"give it once{several}")
        out[key] = value
    return out


def named_groups(regex: str | None, flag: str) -> re.Pattern[str] | None:
    """The regex, which must name groups."""
    if regex is None:
        return None
    hint = f"{flag} 'lr(?P<lr>\\d+(\\.\\d+)?)' finds lr"
    try:
        found = re.compile(regex)
    except (re.error, OverflowError, RecursionError) as error:
        raise UsageError(f"{flag}: this is no regex: {error}", hint=hint) from None
    if not found.groupindex:
        raise UsageError(f"{flag}: the regex names no group", hint=hint)
    return found


def headers(text: str | None) -> frozenset[str]:
    """Headers of a table, by comma."""
    return frozenset(filter(None, (part.strip() for part in (text or "").replace("，", ",").split(","))))
