"""The one expression language of table columns, --where filters, page markers and claims: text to syntax tree.

    condition  lr = 0.1 and (best(test/accuracy) > 90% or not tags.note ~ '^bad')
    columns    params.lr, best(`metrics/mAP50(B)`) as mAP, step_of(max(test/accuracy)) as 'best epoch'

Nothing is evaluated here. str() of a tree is canonical text, which parses back to an equal tree.
"""

import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Literal, NamedTuple, TypeVar, get_args

from expdb.errors import ExpressionError

Operator = Literal["=", "!=", "<", "<=", ">", ">=", "~"]
Function = Literal["first", "last", "best", "min", "max", "at", "tail"]
T = TypeVar("T")

MAX_CHARACTERS = 10_000
MAX_DEPTH = 50

_OPERATORS: dict[str, Operator] = {"==": "=", "<>": "!=", **{sign: sign for sign in get_args(Operator)}}
_SELECTIONS: dict[str, Function] = {name: name for name in get_args(Function)}
_LEAST_ARGUMENT = {"at": 0, "tail": 1}
_FUNCTIONS = (*_SELECTIONS, "step_of", "n")
_KEYWORDS = ("and", "or", "not", "as")
# Character for character, so that a position in the translation is the position in what was typed.
_FULLWIDTH = str.maketrans("（），＝＞＜！％～", "(),=><!%~")
# Curly quotes close each other either way round: an input method loses count of which one is due.
_QUOTES = ("'", '"', "‘’", "“”", "`")


class _Node:
    """A part of a tree; equal to another when kind and fields are."""

    # Written once: what dataclass compiles for each of eleven classes was a third of the import time.
    __slots__ = ()

    def fields(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in getattr(self, "__match_args__", ()))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Node) and type(self) is type(other) and self.fields() == other.fields()

    def __hash__(self) -> int:
        return hash((type(self), self.fields()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.fields()))})"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Name(_Node):
    """A param, tag, field or metric by its name."""

    text: str

    def __str__(self) -> str:
        found = _token_pattern().match(self.text)
        return self.text if found and found["name"] == self.text else "`" + self.text.replace("`", "``") + "`"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Number(_Node):
    """A number. value: before the percent sign, so 95% is 95.0. text: as typed, with its percent sign."""

    value: float
    percent: bool
    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Text(_Node):
    """Quoted text."""

    value: str

    def __str__(self) -> str:
        return "'" + self.value.replace("'", "''") + "'"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Selection(_Node):
    """A rule that chooses from a metric's curve. argument: the N of at and tail, None for the others."""

    function: Function
    metric: str
    argument: int | None = None

    def __str__(self) -> str:
        return f"{self.function}({Name(self.metric)}{'' if self.argument is None else f', {self.argument}'})"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class StepOf(_Node):
    """The step of the point that first, last, best, min or max chooses."""

    selection: Selection

    def __str__(self) -> str:
        return f"step_of({self.selection})"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Count(_Node):
    """How many points a metric has."""

    metric: str

    def __str__(self) -> str:
        return f"n({Name(self.metric)})"


Operand = Name | Number | Text | Selection | StepOf | Count


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Comparison(_Node):
    """Two operands compared. The right side of ~ is a Text that compiles as a regular expression."""

    operator: Operator
    left: Operand
    right: Operand

    def __str__(self) -> str:
        return f"{self.left} {self.operator} {self.right}"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Present(_Node):
    """The operand has a value."""

    operand: Operand

    def __str__(self) -> str:
        return str(self.operand)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Not(_Node):
    """The part does not hold."""

    part: "Condition"

    def __str__(self) -> str:
        return f"not ({self.part})" if isinstance(self.part, And | Or) else f"not {self.part}"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class And(_Node):
    """Every part holds; two parts or more. What was typed in parentheses stays one part."""

    parts: "tuple[Condition, ...]"

    def __str__(self) -> str:
        return " and ".join(f"({part})" if isinstance(part, And | Or) else str(part) for part in self.parts)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Or(_Node):
    """Some part holds; two parts or more. What was typed in parentheses stays one part."""

    parts: "tuple[Condition, ...]"

    def __str__(self) -> str:
        return " or ".join(f"({part})" if isinstance(part, Or) else str(part) for part in self.parts)


Condition = Comparison | Present | Not | And | Or


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ColumnExpr(_Node):
    """One column of a table. title: None where none is given."""

    operand: Operand
    title: str | None = None

    def __str__(self) -> str:
        return str(self.operand) if self.title is None else f"{self.operand} as {Name(self.title)}"


def parse_condition(text: str) -> Condition:
    """The condition that the whole text states; ExpressionError where it states none."""
    return _Parser(text).whole(_Parser.condition, "'and', 'or' or the end", "lr = 0.1 and best(test/accuracy) > 90")


def parse_columns(text: str) -> tuple[ColumnExpr, ...]:
    """The columns, one or more, that the whole text lists; ExpressionError where it does not."""
    return _Parser(text).whole(_Parser.columns, "a comma or the end", "lr, best(test/accuracy) as 'best accuracy'")


def parse_column(text: str) -> ColumnExpr:
    """The one column that the whole text states; ExpressionError where it states none or several."""
    return _Parser(text).whole(_Parser.column, "the end", "best(test/accuracy) as 'best accuracy'")


def parse_operand(text: str) -> Operand:
    """The operand that the whole text is; ExpressionError where it is none."""
    return _Parser(text).whole(_Parser.operand, "the end", "best(test/accuracy)")


def names_in(expression: Condition | ColumnExpr | Operand) -> frozenset[str]:
    """Every name that stands outside functions."""
    return frozenset(node.text for node in _nodes(expression) if isinstance(node, Name))


def metrics_in(expression: Condition | ColumnExpr | Operand) -> frozenset[str]:
    """Every name that a function is applied to."""
    return frozenset(node.metric for node in _nodes(expression) if isinstance(node, Selection | Count))


def _nodes(node: object) -> Iterator[object]:
    yield node
    for part in node.fields() if isinstance(node, _Node) else node if isinstance(node, tuple) else ():
        yield from _nodes(part)


@cache
def _token_pattern() -> re.Pattern[str]:
    def quoted(quotes: str) -> str:
        # Possessive, so that 'a'' is unclosed as a whole and never a closed text with a quote left over.
        doubled = "|".join(quote * 2 for quote in quotes)
        return f"[{quotes}][^{quotes}]*+(?:(?:{doubled})[^{quotes}]*+)*+[{quotes}]"

    return re.compile(
        rf"\s*+(?:(?P<text>{'|'.join(map(quoted, _QUOTES[:-1]))})|(?P<ticked>{quoted('`')})|(?P<end>\Z)"
        r"|(?P<number>[+-]?(?:[0-9]++\.?[0-9]*+|\.[0-9]++)(?:[eE][+-]?[0-9]++)?+%?+(?![\w./@%-]))"
        r"|(?P<keyword>(?ai:and|or|not|as)(?![\w./@]|-+[\w./@]))|(?P<name>[^\W\d](?:[\w./@]|-+(?=[\w./@]))*+)"
        r"|(?P<compare><=|>=|==|!=|<>|[=<>~])|(?P<sign>[(),])|(?P<unclosed>['\"`‘’“”])"
        r"|(?P<unreadable>[+-]?\.?[0-9][\w./@%-]*|&&|\|\||.))",
        re.DOTALL,
    )


class _Token(NamedTuple):
    kind: str  # its group of the pattern; a sign or keyword is a kind of its own
    value: str  # without its quotes
    position: int
    end: int


class _Parser:
    """Reads one text from left to right; each method takes the tokens it understands."""

    def __init__(self, text: str) -> None:
        if len(text) > MAX_CHARACTERS:
            message = f"found {len(text)} characters, expected at most {MAX_CHARACTERS}"
            raise ExpressionError(message, text=text[:40] + "…", position=MAX_CHARACTERS)
        self.text, self.place, self.depth = text, 0, 0
        self.tokens: list[_Token] = []
        for match in _token_pattern().finditer(text.translate(_FULLWIDTH)):
            kind = match.lastgroup or "end"
            start, end = match.span(kind)
            if kind in ("text", "ticked"):
                value = text[start + 1 : end - 1]
                for quote in next(quotes for quotes in _QUOTES if text[start] in quotes):
                    value = value.replace(quote * 2, quote)
            else:
                value = match[kind]
            self.tokens.append(_Token(value.lower() if kind in ("sign", "keyword") else kind, value, start, end))

    def whole(self, rule: Callable[["_Parser"], T], expected: str, example: str) -> T:
        if self.next.kind == "end":
            raise self.refused("an expression", hint=f"for example: {example}")
        found = rule(self)
        if not self.take("end"):
            raise self.refused(expected, hint=None if self.next.kind == "(" else f"for example: {example}")
        return found

    @property
    def next(self) -> _Token:
        return self.tokens[self.place]

    def take(self, *kinds: str) -> _Token | None:
        token = self.next
        if token.kind not in kinds:
            return None
        self.place += 1
        return token

    def refused(self, expected: str, token: _Token | None = None, hint: str | None = None) -> ExpressionError:
        kind, _, position, end = token or self.next
        typed = self.text[position:end]
        if kind == "unclosed":
            expected, hint = "quotes that close", "a quote inside quotes is written twice"
        elif kind == "unreadable":
            hint = "join with and, or, not; text goes in 'quotes', a name with such characters in `back-ticks`"
        elif kind == "(":
            hint = hint or "a name with parentheses goes in back-ticks; one side of a comparison takes none"
        elif kind == "compare":
            hint = hint or f"the comparisons are {' '.join(get_args(Operator))}"
        elif kind in _KEYWORDS:
            hint = hint or f"as a name, the word goes in back-ticks: `{typed}`"
        found = repr(typed if len(typed) <= 40 else typed[:40] + "…") if typed else "the end"
        return ExpressionError(f"found {found}, expected {expected}", text=self.text, position=position, hint=hint)

    def nested(self, rule: Callable[[], T]) -> T:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            expected, hint = f"at most {MAX_DEPTH} levels of parentheses and 'not'", "drop those that change nothing"
            raise self.refused(expected, self.tokens[self.place - 1], hint)
        found = rule()
        self.depth -= 1
        return found

    def listed(self, rule: Callable[[], T], separator: str) -> tuple[T, ...]:
        found = [rule()]
        while self.take(separator):
            found.append(rule())
        return tuple(found)

    def condition(self) -> Condition:
        rows = self.listed(lambda: self.listed(self.single, "and"), "or")
        parts = tuple(And(row) if len(row) > 1 else row[0] for row in rows)
        return Or(parts) if len(parts) > 1 else parts[0]

    def single(self) -> Condition:
        if self.take("not"):
            return Not(self.nested(self.single))
        if self.take("("):
            condition = self.nested(self.condition)
            if not self.take(")"):
                raise self.refused("'and', 'or' or ')'")
            if self.next.kind == "compare":
                hint = "parentheses go around conditions, not around one side of a comparison"
                raise self.refused("'and', 'or' or the end", hint=hint)
            return condition
        left, sign = self.operand(), self.take("compare")
        if sign is None:
            if self.next.kind in ("name", "ticked", "number", "text"):
                hint = f"is a sign missing? {left} = {self.text[self.next.position : self.next.end]}"
                raise self.refused("a comparison (= != < <= > >= ~), 'and', 'or' or the end", hint=hint)
            return Present(left)
        operator, at, right = _OPERATORS[sign.value], self.next, self.operand()
        if operator == "~":
            self.check_pattern(at, right)
        if self.next.kind == "compare":
            hint = f"two comparisons are joined by and: {left} {operator} {right} and {right} {self.next.value} ..."
            raise self.refused("'and', 'or' or the end", hint=hint)
        return Comparison(operator, left, right)

    def check_pattern(self, at: _Token, pattern: Operand) -> None:
        if not isinstance(pattern, Text):
            raise self.refused("'text' that is a regular expression", at)
        try:
            # re warns of patterns that another Python may read differently.
            with warnings.catch_warnings(action="ignore"):
                re.compile(pattern.value)
        except (re.error, ValueError, OverflowError, RecursionError) as error:
            hint = r"a sign that stands for itself follows a backslash: '\(B\)'"
            raise self.refused(f"a regular expression ({error})", at, hint) from error

    def column(self) -> ColumnExpr:
        operand = self.operand()
        if not self.take("as"):
            return ColumnExpr(operand)
        if title := self.take("name", "ticked", "text"):
            return ColumnExpr(operand, title.value)
        raise self.refused("a title")

    def columns(self) -> tuple[ColumnExpr, ...]:
        return self.listed(self.column, ",")

    def operand(self) -> Operand:
        token = self.take("name", "ticked", "number", "text")
        if token is None:
            raise self.refused("a name, a number, 'text' or a function")
        if token.kind == "number":
            return Number(float(token.value.rstrip("%")), token.value.endswith("%"), token.value)
        if token.kind == "name" and self.take("("):
            return self.function(token)
        return Text(token.value) if token.kind == "text" else Name(token.value)

    def function(self, name: _Token) -> Operand:
        function, at = name.value.lower(), self.next
        if function not in _FUNCTIONS:
            raise self.unknown(name)
        inner = self.nested(self.operand)
        applied: Operand
        if function == "step_of":
            chosen = Selection("best", inner.text) if isinstance(inner, Name) else inner
            if not isinstance(chosen, Selection) or chosen.argument is not None:
                raise self.refused("a name, or first, last, best, min or max of one", at)
            applied = StepOf(chosen)
        elif not isinstance(inner, Name):
            raise self.refused("a name", at, "only step_of takes a function")
        elif function == "n":
            applied = Count(inner.text)
        else:
            applied = Selection(_SELECTIONS[function], inner.text, self.argument(function))
        if not self.take(")"):
            raise self.refused("')'", hint="only at(x, N) and tail(x, N) take a number")
        return applied

    def argument(self, function: str) -> int | None:
        least = _LEAST_ARGUMENT.get(function)
        if least is None:
            return None
        if not self.take(","):
            raise self.refused("',' and a whole number", hint=f"for example: {function}(x, 5)")
        number = self.take("number")
        # 18 digits fit the database's integer; 4,301 are more than int() reads.
        if number and number.value.isdecimal() and len(number.value) <= 18 and int(number.value) >= least:
            return int(number.value)
        raise self.refused(f"a whole number, {least} or more, in 18 digits at most", number)

    def unknown(self, name: _Token) -> ExpressionError:
        from difflib import get_close_matches

        close = get_close_matches(name.value.lower(), _FUNCTIONS, n=1)
        meant = f"did you mean {close[0]}? " if close else ""
        end = next((token.end for token in self.tokens[self.place :] if token.kind == ")"), len(self.text))
        ticked = Name(self.text[name.position : end])
        hint = f"{meant}functions: {', '.join(_FUNCTIONS)}; a name with parentheses goes in back-ticks: {ticked}"
        return self.refused("a function", name, hint)
