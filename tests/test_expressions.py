"""The expression language: what it reads, what it prints back, and where it says that an error is."""

import dataclasses
import re
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from expdb.errors import ExpressionError
from expdb.expressions import (
    MAX_CHARACTERS,
    MAX_DEPTH,
    And,
    ColumnExpr,
    Comparison,
    Condition,
    Count,
    Name,
    Not,
    Number,
    Operand,
    Operator,
    Or,
    Present,
    Selection,
    StepOf,
    Text,
    metrics_in,
    names_in,
    parse_column,
    parse_columns,
    parse_condition,
    parse_operand,
)

A, B, C = (Present(Name(letter)) for letter in "abc")
ONE = Number(1.0, False, "1")

# Trees ----------------------------------------------------------------------------------------------------------------

WORDS = ["and", "AND", "or", "not", "as", "best", "n", "step_of", "test/accuracy", "准确率", "mAP50(B)", "a-b", "a-"]
names = st.one_of(st.sampled_from(WORDS), st.text(), st.text("ab1_./@-` ", max_size=6))
texts = st.one_of(st.text(), st.text("a'\"‘’“”` ", max_size=6))
number_texts = st.from_regex(r"[+-]?([0-9]{1,9}(\.[0-9]{0,4})?|\.[0-9]{1,4})([eE][+-]?[0-9]{1,3})?", fullmatch=True)
numbers = st.one_of(
    number_texts.map(lambda text: Number(float(text), False, text)),
    number_texts.map(lambda text: Number(float(text), True, f"{text}%")),
)
whole = st.builds(Selection, st.sampled_from(["first", "last", "best", "min", "max"]), names)
operands: st.SearchStrategy[Operand] = st.one_of(
    st.builds(Name, names),
    numbers,
    st.builds(Text, texts),
    whole,
    st.builds(Selection, st.just("at"), names, st.integers(0, 10**18 - 1)),
    st.builds(Selection, st.just("tail"), names, st.integers(1, 10**18 - 1)),
    st.builds(StepOf, whole),
    st.builds(Count, names),
)
comparisons = st.one_of(
    st.builds(Comparison, st.sampled_from(["=", "!=", "<", "<=", ">", ">="]), operands, operands),
    st.builds(Comparison, st.just("~"), operands, texts.map(re.escape).map(Text)),
)
conditions = st.recursive(
    comparisons | st.builds(Present, operands),
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(And, st.lists(inner, min_size=2, max_size=3).map(tuple)),
        st.builds(Or, st.lists(inner, min_size=2, max_size=3).map(tuple)),
    ),
    max_leaves=8,
)
columns = st.builds(ColumnExpr, operands, st.none() | names)


@given(conditions)
def test_a_condition_printed_and_parsed_is_the_same_condition(condition: Condition) -> None:
    assert parse_condition(str(condition)) == condition


@given(st.lists(columns, min_size=1, max_size=4))
def test_columns_printed_and_parsed_are_the_same_columns(several: list[ColumnExpr]) -> None:
    assert parse_columns(", ".join(map(str, several))) == tuple(several)
    assert parse_column(str(several[0])) == several[0]


@given(operands)
def test_an_operand_printed_and_parsed_is_the_same_operand(operand: Operand) -> None:
    assert parse_operand(str(operand)) == operand


@given(names)
@example("best")
@example("AND")
@example(" a")
@example("a\n")
def test_back_ticks_are_printed_exactly_where_the_name_does_not_parse_bare(text: str) -> None:
    try:
        bare = parse_operand(text) == Name(text)
    except ExpressionError:
        bare = False
    assert (str(Name(text)) == text) is bare


# Any text -------------------------------------------------------------------------------------------------------------

FRAGMENTS = [
    *("and", "or", "not", "as", "NOT", "best", "step_of", "at", "tail", "n", "x", "准确率", "end", "name", "text"),
    *("(", ")", ",", "=", "==", "!=", "<>", "<", ">=", "~", "!", "%", "-", "+", ".", "`", "'", '"', "‘", "’", "“", "”"),
    *("（", "）", "，", "＝", "＞", "＜", "1", "0", "3", "1e5", "90%", "'a'", "'('", "`x y`", " ", "\n", "\\", "²"),
]
Parser = Callable[[str], object]
PARSERS: list[Parser] = [parse_condition, parse_columns, parse_column, parse_operand]


@given(st.text() | st.lists(st.sampled_from(FRAGMENTS), max_size=14).map("".join), st.sampled_from(PARSERS))
@example("x ~ '[[a]'", parse_condition)  # re warns, and warnings are errors in tests
@example("x ~ 'a{99999999999}'", parse_condition)  # OverflowError
@example("x ~ '" + "(" * 4000 + ")" * 4000 + "'", parse_condition)  # RecursionError
@example("at(x, " + "9" * 5000 + ")", parse_operand)  # ValueError of int()
@example("9" * 5000, parse_operand)
@example("step_of(" * 1100, parse_operand)
@example("not " * 2400 + "a", parse_condition)
@example("\ud800", parse_condition)
@example("'" * 9999, parse_operand)
def test_any_text_either_parses_to_what_prints_back_or_is_an_expression_error(text: str, parse: Parser) -> None:
    try:
        tree = parse(text)
    except ExpressionError as error:
        assert error.text == text
        assert 0 <= error.position <= len(text)
        assert error.exit_code == 2
        return
    printed = ", ".join(map(str, tree)) if isinstance(tree, tuple) else str(tree)
    assert parse(printed) == tree


@given(conditions)
def test_parentheses_around_a_condition_change_nothing(condition: Condition) -> None:
    assert parse_condition(f"({condition})") == condition


# Conditions -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("a or b and c", Or((A, And((B, C))))),
        ("a and b or c", Or((And((A, B)), C))),
        ("(a or b) and c", And((Or((A, B)), C))),
        ("not a and b", And((Not(A), B))),
        ("not (a and b)", Not(And((A, B)))),
        ("not a or b", Or((Not(A), B))),
        ("not not a", Not(Not(A))),
        ("a and b and c", And((A, B, C))),
        ("a and (b and c)", And((A, And((B, C))))),
        ("not a = 1", Not(Comparison("=", Name("a"), ONE))),
        ("a = 1 and b", And((Comparison("=", Name("a"), ONE), B))),
        ("((a))", A),
        ("a AND b Or NOT c", Or((And((A, B)), Not(C)))),
    ],
)
def test_not_binds_before_and_and_before_or(text: str, tree: Condition) -> None:
    assert parse_condition(text) == tree


@pytest.mark.parametrize(
    ("typed", "stored"),
    [("=", "="), ("==", "="), ("!=", "!="), ("<>", "!="), ("<", "<"), ("<=", "<="), (">", ">"), (">=", ">=")],
)
def test_every_comparison_has_one_stored_spelling_with_blanks_or_without(typed: str, stored: Operator) -> None:
    assert parse_condition(f"a{typed}1") == parse_condition(f" a {typed} 1 ") == Comparison(stored, Name("a"), ONE)


def test_a_regular_expression_is_quoted_text_that_compiles() -> None:
    assert parse_condition(r"name ~ '^res\d+$'") == Comparison("~", Name("name"), Text(r"^res\d+$"))


def test_a_bare_operand_asks_whether_there_is_a_value() -> None:
    assert parse_condition("best(val/loss)") == Present(Selection("best", "val/loss"))


@pytest.mark.parametrize(
    ("typed", "ascii_text"),
    [
        ("（lr ＝ 0.1） and not（a ＞ 1）", "(lr = 0.1) and not (a > 1)"),
        ("at（x，3）＜＝ 90%", "at(x, 3) <= 90%"),
        ("a ＜＞ ‘x’", "a != 'x'"),
        ("a ＝＝ “x”", "a = 'x'"),
        ("a = ’x‘", "a = 'x'"),
        ("a = ‘it''s’’’", "a = 'it''''s’'"),
        ("a　＝　1", "a = 1"),
    ],
)
def test_what_a_chinese_input_method_types_is_understood(typed: str, ascii_text: str) -> None:
    assert parse_condition(typed) == parse_condition(ascii_text)


@pytest.mark.parametrize("inside", ["（，）＝", "it’s", "“”", "a`b", 'say "x"'])
def test_inside_quotes_and_back_ticks_every_character_is_itself(inside: str) -> None:
    assert parse_operand(f"'{inside}'") == Text(inside)
    assert parse_operand("`" + inside.replace("`", "``") + "`") == Name(inside)


# Operands -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["lr", "params.lr", "tags.x", "metrics.test/accuracy", "准确率", "_x", "a-b", "a--b", "top@5", "loss.1", "é", "Ω2"],
)
def test_a_bare_name_holds_letters_digits_and_joining_signs(text: str) -> None:
    assert parse_operand(text) == Name(text)
    assert str(Name(text)) == text


def test_a_dash_that_no_name_character_follows_ends_the_name() -> None:
    with pytest.raises(ExpressionError) as caught:
        parse_operand("a- b")
    assert caught.value.position == 1


@pytest.mark.parametrize("name", ["first", "last", "best", "min", "max", "at", "tail", "step_of", "n"])
def test_a_function_name_without_parenthesis_is_an_ordinary_name(name: str) -> None:
    assert parse_operand(name) == Name(name)
    assert parse_operand(f"best({name})") == Selection("best", name)


@pytest.mark.parametrize(
    ("text", "operand"),
    [
        ("first(x)", Selection("first", "x")),
        ("BEST ( `a b` )", Selection("best", "a b")),
        ("at(x, 0)", Selection("at", "x", 0)),
        ("tail(x,1)", Selection("tail", "x", 1)),
        ("step_of(x)", StepOf(Selection("best", "x"))),
        ("step_of(min(val/loss))", StepOf(Selection("min", "val/loss"))),
        ("n(x)", Count("x")),
        ("`a``b`", Name("a`b")),
        ("'it''s'", Text("it's")),
        ('"say ""x"""', Text('say "x"')),
        ("''", Text("")),
        ("90%", Number(90.0, True, "90%")),
        ("-1.50e-3", Number(-0.0015, False, "-1.50e-3")),
        ("+.5", Number(0.5, False, "+.5")),
        ("5.", Number(5.0, False, "5.")),
    ],
)
def test_every_kind_of_operand_is_read(text: str, operand: Operand) -> None:
    assert parse_operand(text) == operand


# Columns --------------------------------------------------------------------------------------------------------------


def test_columns_are_separated_by_commas_and_may_have_titles() -> None:
    assert parse_columns("lr, at(x, 2) as two，best(y) AS 'best y', `a,b` as `c,d`") == (
        ColumnExpr(Name("lr"), None),
        ColumnExpr(Selection("at", "x", 2), "two"),
        ColumnExpr(Selection("best", "y"), "best y"),
        ColumnExpr(Name("a,b"), "c,d"),
    )


def test_names_and_the_metrics_of_functions_are_told_apart() -> None:
    condition = parse_condition("lr = wd and (not best(a) > 1 or step_of(max(b)) < at(c, 1)) or n(d) or 'e' = f")
    assert names_in(condition) == {"lr", "wd", "f"}
    assert metrics_in(condition) == {"a", "b", "c", "d"}
    assert names_in(parse_column("lr as x")) == {"lr"}
    assert metrics_in(parse_column("step_of(y) as x")) == {"y"}


# Errors ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parse", "text", "position", "found", "hint"),
    [
        (parse_condition, "", 0, "found the end, expected an expression", "for example: lr = 0.1"),
        (parse_columns, "  ", 2, "found the end, expected an expression", "for example: lr, best("),
        (parse_condition, "lr 0.1", 3, "found '0.1', expected a comparison", "lr = 0.1"),
        (parse_condition, "a and lr 'x'", 9, "expected a comparison", "lr = 'x'"),
        (parse_condition, "1 < x < 2", 6, "found '<', expected 'and'", "1 < x and x < ..."),
        (parse_condition, "x => 1", 3, "found '>', expected a name", "= != < <= > >= ~"),
        (parse_condition, "lr =", 4, "found the end, expected a name", None),
        (parse_condition, "a and", 5, "found the end, expected a name", None),
        (parse_condition, "a and or b", 6, "found 'or', expected a name", "`or`"),
        (parse_condition, "a = 1 b = 2", 6, "found 'b', expected 'and'", " and "),
        (parse_condition, "a = 1 end", 6, "found 'end', expected 'and'", " and "),
        (parse_condition, "a && b", 2, "found '&&'", "and, or, not"),
        (parse_condition, "(a or b", 7, "found the end, expected 'and', 'or' or ')'", None),
        (parse_condition, "a or b)", 6, "found ')', expected 'and', 'or' or the end", None),
        (parse_condition, "(a) = 1", 4, "found '='", "not around one side"),
        (parse_condition, "1 < (a)", 4, "found '('", "one side of a comparison takes none"),
        (parse_condition, "a, b", 1, "found ','", None),
        (parse_condition, "lr = 'abc", 5, 'found "\'", expected quotes that close', "written twice"),
        (parse_condition, "lr = 'it''s", 5, "expected quotes that close", "written twice"),
        (parse_condition, "lr = ‘abc'", 5, "expected quotes that close", "written twice"),
        (parse_condition, "`abc = 1", 0, "expected quotes that close", "written twice"),
        (parse_condition, "mAP50(B) > 0.5", 0, "found 'mAP50', expected a function", "back-ticks: `mAP50(B)`"),
        (parse_condition, "best(mAP50-95(B)) > 0.5", 5, "found 'mAP50-95'", "back-ticks: `mAP50-95(B)`"),
        (parse_condition, "x > bets(acc)", 4, "found 'bets'", "did you mean best? functions: first, last, best, min"),
        (parse_condition, "x ~ y", 4, "found 'y', expected 'text'", None),
        (parse_condition, "x ~ 'a('", 4, "expected a regular expression (missing )", "backslash"),
        (parse_condition, "3d_iou > 1", 0, "found '3d_iou'", "back-ticks"),
        (parse_condition, "day = 2024-01-31", 6, "found '2024-01-31'", "'quotes'"),
        (parse_condition, "a + b", 2, "found '+'", "back-ticks"),
        (parse_operand, "at(x)", 4, "found ')', expected ',' and a whole number", "at(x, 5)"),
        (parse_operand, "at(x, -1)", 6, "found '-1', expected a whole number, 0 or more", None),
        (parse_operand, "at(x, 1.0)", 6, "found '1.0', expected a whole number", None),
        (parse_operand, "at(x, '3')", 6, "expected a whole number", None),
        (parse_operand, "tail(x, 0)", 8, "found '0', expected a whole number, 1 or more", None),
        (parse_operand, "best(x, 3)", 6, "found ',', expected ')'", "only at(x, N) and tail(x, N)"),
        (parse_operand, "best(x", 6, "found the end, expected ')'", None),
        (parse_operand, "best()", 5, "found ')', expected a name", None),
        (parse_operand, "best(3)", 5, "found '3', expected a name", None),
        (parse_operand, "best(max(x))", 5, "found 'max', expected a name", "only step_of"),
        (parse_operand, "step_of(tail(x, 2))", 8, "found 'tail', expected a name, or first", None),
        (parse_operand, "step_of(n(x))", 8, "found 'n'", None),
        (parse_operand, "a b", 2, "found 'b', expected the end", None),
        (parse_column, "a, b", 1, "found ',', expected the end", None),
        (parse_columns, "a,", 2, "found the end, expected a name", None),
        (parse_columns, "a,, b", 2, "found ',', expected a name", None),
        (parse_columns, "a as", 4, "found the end, expected a title", None),
        (parse_columns, "a as 3", 5, "found '3', expected a title", None),
        (parse_columns, "a as best acc", 10, "found 'acc', expected a comma or the end", "as 'best accuracy'"),
        (parse_columns, "a as mAP50(B)", 10, "found '('", "back-ticks"),
        (parse_columns, "a，b ＝ 1", 4, "found '＝', expected a comma or the end", None),
    ],
)
def test_an_error_says_where_what_was_found_and_what_was_expected(
    parse: Parser, text: str, position: int, found: str, hint: str | None
) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse(text)
    assert (caught.value.position, caught.value.text) == (position, text)
    assert found in caught.value.message
    if hint is not None:
        assert hint in (caught.value.hint or "")


@pytest.mark.parametrize(("opening", "closing"), [("(", ")"), ("not ", ""), ("not(", ")")])
def test_fifty_levels_are_read_and_the_next_is_refused(opening: str, closing: str) -> None:
    levels = MAX_DEPTH // (opening.count("not") + opening.count("("))
    assert names_in(parse_condition(opening * levels + "a" + closing * levels)) == {"a"}
    with pytest.raises(ExpressionError, match="at most 50 levels") as caught:
        parse_condition(opening * (levels + 1) + "a" + closing * (levels + 1))
    assert caught.value.position == len(opening) * levels


def test_levels_that_were_closed_do_not_count() -> None:
    parse_condition(" and ".join(["not (not a)"] * 200))


def test_text_over_ten_thousand_characters_is_refused_without_repeating_it() -> None:
    parse_condition("a" * MAX_CHARACTERS)
    with pytest.raises(ExpressionError, match="found 10001 characters, expected at most 10000") as caught:
        parse_condition("a" * (MAX_CHARACTERS + 1))
    assert caught.value.position == MAX_CHARACTERS
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("part", ["a and ", "''", "‘‘", "a-", "-", "1", "1.", "`'\"“", "not ", "best(", "a,", " "])
def test_no_text_of_the_greatest_length_takes_a_second(part: str) -> None:
    text = part * (MAX_CHARACTERS // len(part))
    began = time.process_time()
    for parse in PARSERS:
        try:
            parse(text)
        except ExpressionError:
            continue
    assert time.process_time() - began < 1


# The tree and the module ----------------------------------------------------------------------------------------------


def test_trees_are_frozen_slotted_and_hashable_and_differ_by_kind() -> None:
    for node in (Name("x"), ONE, Text("x"), Selection("best", "x"), A, Not(A), And((A, B)), ColumnExpr(ONE)):
        assert dataclasses.is_dataclass(node)
        assert not hasattr(node, "__dict__")
        assert len({node, dataclasses.replace(node)}) == 1
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(node, dataclasses.fields(node)[0].name, None)
    assert Name("x") != Text("x") != Count("x")
    assert And((A, B)) != Or((A, B))
    assert And((A, B)) != And((B, A))
    assert Name("x") != "x"
    assert repr(Comparison("<", Name("x"), ONE)) == "Comparison('<', Name('x'), Number(1.0, False, '1'))"


def test_importing_the_language_compiles_no_pattern_and_loads_no_difflib() -> None:
    code = (
        "import sys, expdb.expressions as e\n"
        "assert 'difflib' not in sys.modules\n"
        "assert e._token_pattern.cache_info().currsize == 0\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
