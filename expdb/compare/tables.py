"""What a person asks of a table, in words: the same on the command line and in a page's marker."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Final

from expdb import expressions
from expdb.compare import compare, select, wording
from expdb.compare.grouping import Grouping
from expdb.compare.query import Query, Rule
from expdb.errors import UsageError
from expdb.expressions import ColumnExpr, Function, Name
from expdb.records import Table
from expdb.store.database import Database
from expdb.store.reader import RunRecord

ALL_BUT: Final = "all-but:"
MOST_DIGITS: Final = 15

_RULE: Final = re.compile(r"(first|last|best|min|max)|(at|tail)(?: *: *(\d{1,18})| *\( *(\d{1,18}) *\))", re.IGNORECASE)
_PLAIN: Final[Mapping[str, Function]] = {"first": "first", "last": "last", "best": "best", "min": "min", "max": "max"}
_YES, _NO = ("", "yes", "true", "1", "on"), ("no", "false", "0", "off")


@dataclass(frozen=True, slots=True)
class Asked:
    """A table as it is asked for, everything in the words of the one expression language.

    sort: an operand, `-` before it turns the order round. group_by: params by name, or `all-but:seed`. select: rules
    that stand side by side for each metric, `best, last, tail:5`. pivot: `row, column, value`. bold: `best`. digits:
    behind the point, for results. percent: fractions are shown in percent.
    lang: of the sentences beneath it.
    """

    experiment: str | None = None
    runs: tuple[str, ...] = ()
    where: str | None = None
    columns: str | None = None
    sort: str | None = None
    top: int | None = None
    group_by: str | None = None
    select: str | None = None
    pivot: str | None = None
    only_changed: bool = False
    bold: str | None = None
    digits: int | None = None
    percent: bool = False
    caption: str | None = None
    lang: str | None = None


WORDS: Final = tuple(field.name.replace("_", "-") for field in fields(Asked))


_SELECTING = ("experiment", "runs", "where")


def read(words: Mapping[str, str]) -> Asked:
    """What the attributes of a marker ask for; their names are WORDS. Raises UsageError for any other, and for a number
    that is none."""
    for word in words:
        if word not in WORDS:
            close = get_close_matches(word.replace("_", "-"), WORDS, 1)
            meant = f"did you mean {close[0]}? " if close else ""
            raise UsageError(f"a table knows no {word!r}", hint=f"{meant}its words: {', '.join(WORDS)}")
    return Asked(
        experiment=words.get("experiment"),
        runs=tuple(filter(None, (part.strip() for part in words.get("runs", "").split(",")))),
        where=words.get("where"),
        columns=words.get("columns"),
        sort=words.get("sort"),
        top=_whole(words, "top", 1, 1_000_000),
        group_by=words.get("group-by"),
        select=words.get("select"),
        pivot=words.get("pivot"),
        only_changed=_flag(words, "only-changed"),
        bold=words.get("bold"),
        digits=_whole(words, "digits", 0, MOST_DIGITS),
        percent=_flag(words, "percent"),
        caption=words.get("caption"),
        lang=words.get("lang"),
    )


def table(database: Database, asked: Asked, runs: Sequence[RunRecord] | None = None) -> Table:
    """The table that is asked for. runs: all runs of the database, where somebody has read them already.

    Raises UsageError, or ExpressionError with the text and the place in it, for words that say nothing, and
    NotFoundError for names that no run has.
    """
    return compare(database, understood(asked), runs)


def selected(database: Database, asked: Asked) -> list[RunRecord]:
    """The runs that are asked for, in their order."""
    return select(database, understood(asked))


def check_selection(asked: Asked) -> None:
    """Raise UsageError where more is asked for than which runs: their table is there already."""
    more = [word for word in WORDS if word not in _SELECTING and getattr(asked, word.replace("-", "_"))]
    if asked.digits is not None and "digits" not in more:
        more.append("digits")
    if more:
        raise UsageError(
            f"a table as its page wrote it takes no {', '.join(f'--{word}' for word in more)}",
            hint="it takes RUN, --experiment and --where, which choose rows",
        )


def understood(asked: Asked) -> Query:
    """The words understood. Raises UsageError or ExpressionError."""
    if asked.digits is not None and not 0 <= asked.digits <= MOST_DIGITS:
        raise UsageError(f"{asked.digits} digits behind the point", hint=f"digits go from 0 to {MOST_DIGITS}")
    if asked.bold not in (None, "", "best"):
        raise UsageError(f"bold is best or nothing, not {asked.bold!r}", hint="--bold best")
    if asked.pivot:
        for word, text in (("columns", asked.columns), ("group-by", asked.group_by), ("select", asked.select)):
            if text:
                raise UsageError(
                    f"a pivot has no {word}: it is made of a row, a column and a value",
                    hint="--pivot 'model, dataset, best(test/accuracy)'",
                )
    return Query(
        experiment=asked.experiment,
        runs=asked.runs,
        where=expressions.parse_condition(asked.where) if asked.where else None,
        columns=expressions.parse_columns(asked.columns) if asked.columns else (),
        sort=expressions.parse_operand(asked.sort.removeprefix("-")) if asked.sort else None,
        descending=bool(asked.sort and asked.sort.startswith("-")),
        top=asked.top,
        group_by=_grouping(asked.group_by) if asked.group_by else None,
        select=_rules(asked.select) if asked.select else (),
        pivot=_pivot(asked.pivot) if asked.pivot else None,
        moves=bool(asked.columns or asked.select),
        only_changed=asked.only_changed,
        bold=bool(asked.bold),
        digits=asked.digits,
        percent=asked.percent,
        caption=asked.caption or None,
        language=wording.checked(asked.lang or wording.LANGUAGES[0]),
    )


def _flag(words: Mapping[str, str], word: str) -> bool:
    text = words.get(word)
    if text is None or text.strip().lower() in _NO:
        return False
    if text.strip().lower() in (*_YES, word):
        return True
    raise UsageError(f"{word}={text!r}: yes or no?", hint=f'{word}="yes", or leave it out')


def _whole(words: Mapping[str, str], word: str, least: int, most: int) -> int | None:
    text = words.get(word)
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,9}", text.strip()) or not least <= int(text) <= most:
        raise UsageError(f"{word}={text!r} is no whole number from {least} to {most:,}", hint=f'for example {word}="3"')
    return int(text)


def _grouping(text: str) -> Grouping:
    hint = "--group-by all-but:seed, or params by name: --group-by 'lr, model'"
    bare = text.strip().replace("：", ":")
    is_all_but = bare.lower().startswith(ALL_BUT)
    rest = bare[len(ALL_BUT) :] if is_all_but else bare
    if not rest.strip():
        raise UsageError(f"group-by {text!r}: all but what?", hint=hint)
    names = expressions.parse_columns(rest)
    for name in names:
        if not isinstance(name.operand, Name) or (is_all_but and name.title):
            raise UsageError(f"group-by {text!r}: {name} is no name of a param", hint=hint)
    return Grouping(names, is_all_but)


def _rules(text: str) -> tuple[Rule, ...]:
    return tuple(dict.fromkeys(_rule(part.strip()) for part in text.replace("，", ",").split(",")))


def _rule(text: str) -> Rule:
    found = _RULE.fullmatch(text)
    if found and found[1]:
        function: Function = _PLAIN[found[1].lower()]
        return Rule(function)
    number = int(found[3] or found[4]) if found else 0
    if found and found[2].lower() == "at":
        return Rule("at", number)
    if found and number:
        return Rule("tail", number)
    raise UsageError(
        f"no rule is called {text!r}", hint="rules: first, last, best, min, max, at:N, tail:N; joined by commas"
    )


def _pivot(text: str) -> tuple[ColumnExpr, ColumnExpr, ColumnExpr]:
    parts = expressions.parse_columns(text)
    if len(parts) != 3 or not all(isinstance(part.operand, Name) for part in parts[:2]):
        raise UsageError(
            f"a pivot is made of a row, a column and a value, not of {text!r}",
            hint="--pivot 'model, dataset, best(test/accuracy)'",
        )
    return parts[0], parts[1], parts[2]
