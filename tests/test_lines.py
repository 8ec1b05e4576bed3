"""The legacy line, in every shape it was printed in: each value keeps its epoch, its line and its digits."""

import math
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from readings import Point, Read, ReadRun, read, read_lines

from expdb.parsers.logs import lines, templates
from expdb.parsers.logs.lines import LineReader, epoch_of, is_log_line
from expdb.parsers.logs.templates import template_of
from expdb.parsers.logs.terminal import settle
from expdb.records import Points, RunStart

LEGACY = "epoch 80,\tloss 0.0250,\ttrain accuracy 0.992,\ttest accuracy 0.766,\tuse time 19.630"


def one_run(text: str) -> ReadRun:
    """The only run of a log."""
    runs = read_lines(text).runs
    assert len(runs) == 1
    return runs[0]


def fields(line: str) -> dict[str, str]:
    """Label to value of a single line."""
    return {label: curve.points[0][1] for label, curve in one_run(line).curves.items()}


# The line and its shapes


def test_the_legacy_line_gives_its_five_numbers_with_names_units_and_digits() -> None:
    run = one_run(LEGACY)
    assert [
        (c.metric.name, c.metric.unit, c.metric.step_unit, c.decimals, c.points[0]) for c in run.curves.values()
    ] == [
        ("train/loss", None, "epoch", 4, (80, "0.025", 1)),
        ("train/accuracy", None, "epoch", 3, (80, "0.992", 1)),
        ("test/accuracy", None, "epoch", 3, (80, "0.766", 1)),
        ("epoch_time", None, "epoch", 3, (80, "19.63", 1)),
    ]
    assert list(run.curves) == ["loss", "train accuracy", "test accuracy", "use time"]


@pytest.mark.parametrize(
    "line",
    [
        "epoch 3, loss 0.25, test accuracy 0.81",
        "epoch 3,\tloss 0.25,\ttest accuracy 0.81",
        "epoch 3\tloss 0.25\ttest accuracy 0.81",
        "epoch 3 loss 0.25 test accuracy 0.81",
        "epoch 3,loss 0.25,test accuracy 0.81",
        "epoch 3; loss 0.25; test accuracy 0.81",
        "epoch 3 | loss 0.25 | test accuracy 0.81 |",
        "epoch 3，loss 0.25，test accuracy 0.81",
        "epoch: 3, loss: 0.25, test accuracy: 0.81",
        "epoch=3 loss=0.25 test accuracy=0.81",
        "epoch：3，loss：0.25，test accuracy：0.81",
        "epoch 3: loss 0.25, test accuracy 0.81",
        "epoch 3 : loss 0.25, test accuracy 0.81",
        "Epoch [3/200] loss: 0.25 test accuracy: 0.81",
        "Epoch [ 3/200], loss: 0.25, test accuracy: 0.81",
        "Epoch (3), loss 0.25, test accuracy 0.81",
        "epoch 3/200: loss 0.25, test accuracy 0.81",
        "epoch 3 / 200, loss 0.25, test accuracy 0.81",
        "epoch 3\t/\t200, loss 0.25, test accuracy 0.81",
        "EPOCH #3, loss 0.25, test accuracy 0.81",
        "epoch 003, loss 0.25, test accuracy .81",
        "   epoch 3,   loss   0.25 ,  test accuracy   0.81  ",
        "\tepoch 3, loss +0.25, test accuracy 8.1e-1",
        "epoch 3, loss 0.25, test accuracy 0.81,",
        "epoch 3, loss 0.25, test accuracy 0.81<br>",
        "epoch 3, loss 0.25, test accuracy 0.81 <br/>",
        "epoch 3, loss 0.25, test accuracy 0.81\\",
        "epoch 3, loss 0.25, test accuracy 0.81  \r",
        "轮次 3，loss 0.25，test accuracy 0.81",
    ],
)
def test_a_line_is_read_whatever_stands_between_its_fields(line: str) -> None:
    run = one_run(line)
    assert {label: curve.points for label, curve in run.curves.items()} == {
        "loss": [(3, "0.25", 1)],
        "test accuracy": [(3, "0.81", 1)],
    }


@pytest.mark.parametrize(
    "line",
    [
        "loss 0.25, test accuracy 0.81",
        "loss: 0.25 | test accuracy: 0.81",
        "test accuracy=0.81 loss=0.25",
    ],
)
def test_a_line_without_an_epoch_counts_rows(line: str) -> None:
    run = one_run(f"{line}\n{line}")
    assert run.curves["loss"].points == [(0, "0.25", 1), (1, "0.25", 2)]
    assert run.curves["loss"].metric.step_unit == "row"


@pytest.mark.parametrize("label", ["loss", "train accuracy", "test accuracy", "use time"])
def test_any_field_may_stand_alone(label: str) -> None:
    assert fields(f"epoch 0, {label} 0.5") == {label: "0.5"}


@pytest.mark.parametrize("value", ["nan", "NaN", "inf", "-inf", "1e-5", "1E+05", "-0.5", "5.", ".5", "12", "0.0250"])
def test_a_value_is_taken_as_printed(value: str) -> None:
    expected = repr(float(value))
    assert fields(f"epoch 1, loss {value}, test accuracy 0.5") == {"loss": expected, "test accuracy": "0.5"}
    assert fields(f"epoch 1 loss {value} test accuracy 0.5") == {"loss": expected, "test accuracy": "0.5"}


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("test acc 93.1%", "percent", "93.1"),
        ("test acc 93.1 %", "percent", "93.1"),
        ("time 31.0 sec", "s", "31.0"),
        ("time 31.0s", "s", "31.0"),
        ("time 12 ms", "ms", "12.0"),
        ("time 1.5h", "h", "1.5"),
        ("time 3 分钟", "min", "3.0"),
        ("time 31.0", None, "31.0"),
    ],
)
def test_a_printed_unit_is_kept_beside_the_value(text: str, unit: str | None, value: str) -> None:
    (curve,) = one_run(f"epoch 1, {text}").curves.values()
    assert (curve.metric.unit, curve.points[0][1]) == (unit, value)


def test_a_unit_that_is_the_next_label_is_no_unit() -> None:
    assert fields("epoch 1 loss 0.5 min 0.1 max 0.9") == {"loss": "0.5", "min": "0.1", "max": "0.9"}


def test_the_same_label_twice_on_a_line_gives_two_metrics_of_one_name() -> None:
    run = one_run("epoch 1, loss 0.1, loss 0.2\nepoch 2, loss 0.3, loss 0.4")
    assert {label: curve.values for label, curve in run.curves.items()} == {"loss": [0.1, 0.3], "loss (2)": [0.2, 0.4]}
    assert {curve.metric.name for curve in run.curves.values()} == {"train/loss"}


@pytest.mark.parametrize("label", ["top-1", "top-5", "prec@1", "prec@5", "acc/1", "conv2d loss", "val_acc1"])
def test_a_digit_of_a_label_is_no_value(label: str) -> None:
    assert fields(f"epoch 7, {label} 93.25") == {label: "93.25"}


def test_labels_that_differ_in_a_digit_are_two_metrics() -> None:
    run = one_run("epoch 1, top-1 76.1, top-5 93.0\nepoch 2, top-1 77.5, top-5 93.5")
    assert {label: curve.values for label, curve in run.curves.items()} == {
        "top-1": [76.1, 77.5],
        "top-5": [93.0, 93.5],
    }


def test_a_chinese_log_is_read() -> None:
    run = one_run("轮次：1，训练损失：0.5，测试集准确率：93.1%\n轮次：2，训练损失：0.4，测试集准确率：93.4%")
    assert {c.metric.name: c.values for c in run.curves.values()} == {
        "train/loss": [0.5, 0.4],
        "test/accuracy": [93.1, 93.4],
    }


@pytest.mark.parametrize(
    ("values", "decimals"),
    [
        (["0.5", "0.25"], 2),
        (["0.0250", "0.1"], 4),
        (["1", "2"], 0),
        (["5."], 0),
        (["1e-5", "0.25"], None),
        (["nan", "0.250"], 3),
        (["0." + "1" * 30, "0.5"], 30),
        (["0.5", "0." + "1" * 30], 30),
    ],
)
def test_printed_digits_are_the_most_of_any_value(values: list[str], decimals: int | None) -> None:
    run = one_run("".join(f"epoch {i}, loss {value}\n" for i, value in enumerate(values)))
    assert run.curves["loss"].decimals == decimals


# What is no log line


@pytest.mark.parametrize(
    "line",
    [
        "",
        "   ",
        "epoch 3",
        "epoch 3:",
        "epoch 30 took 12 minutes and 5 seconds",
        "epoch 10 and 20",
        "epochs 30 and 60",
        "epochs: 90, lr: 0.1, batch size: 256",
        "Epochs 20, batch 64",
        "epoch, loss, accuracy",
        "1, 0.5, 0.9",
        "epoch 3, loss 0.1, saved to best.pt",
        "epoch 3, loss 0.1 (best 0.05)",
        "loss 0.1",
        "lr: 0.1",
        "accuracy of 93.1 on the test set",
        "In table 3 the loss is 0.1 and the accuracy 0.9.",
        "{'loss': 0.1, 'accuracy': 0.9}",
        'print(f"epoch {epoch}, loss {loss:.4f}")',
        "12 workers, 4 cards",
        "the 2 accuracies are 93 and 94",
        "nan 0.5, inf 0.5",
        "epoch 3, loss 0.1.2",
        "epoch 3, loss 0.1 0.2",
        "epoch 3, loss 1_000",
        "epoch ３5x, loss 0.1",
    ],
)
def test_a_line_with_anything_else_in_it_is_no_log_line(line: str) -> None:
    assert not is_log_line(line)
    found = read_lines(line)
    assert found.runs == []
    assert found.unparsed.count == bool(line.strip())


@pytest.mark.parametrize(
    "line",
    ["epoch 3.5, loss 0.1", "epoch -1, loss 0.1", "epoch 1/1.5, loss 0.1", "epoch 1234567890123456789, loss 0.1"],
)
def test_on_a_page_an_epoch_is_a_whole_number(line: str) -> None:
    assert not is_log_line(line)


def test_a_logger_s_prefix_is_no_part_of_the_line() -> None:
    for prefix in ("[12:30:05] ", "2021-12-17 10:00:56,123 - train - INFO - ", "INFO:root:"):
        assert is_log_line(f"{prefix}epoch 3, loss 0.1")
        assert fields(f"{prefix}epoch 3, loss 0.1") == {"loss": "0.1"}


def test_a_line_longer_than_a_log_line_is_none() -> None:
    line = "epoch 1, loss 0.1" + ", x 0.5" * 1000
    assert len(line) > templates.LINE_LIMIT
    assert not is_log_line(line)


@given(st.text())
@example("epoch 3,loss 0.1\u3000")
@example("epoch 3,loss 0.1\x0c")
@example("epoch ٣, loss ٠.٥")
@example("loss 1, acc 2\\ \\")
@example("| loss 1 | acc 2 |")
@example("epoch 1, loss ²")
def test_a_kind_of_line_fits_the_line_it_was_made_from(line: str) -> None:
    template = template_of(line)
    if template:
        assert re.fullmatch(template.pattern, line)


@given(st.text(alphabet=" \t\r\n,|:=[]/0123456789.-+eEpochlsnaif%\\<br>", max_size=60))
@example("epoch 1, loss 0.1\repoch 2, loss 0.2")
@example("\n\nepoch 1, loss 0.1\n\n")
def test_no_text_upsets_the_reader(text: str) -> None:
    read_lines(text)


# Runs


@pytest.mark.parametrize(
    ("epochs", "lengths"),
    [
        ([0, 1, 2], [3]),
        ([1, 2, 3, 1, 2], [3, 2]),
        ([0, 1, 2, 0, 1, 2, 0], [3, 3, 1]),
        ([1, 2, 3, 4, 3, 4, 5], [7]),
        ([5, 6, 7, 3, 4], [3, 2]),
        ([80, 81, 82, 81], [4]),
        ([10, 20, 30, 10], [3, 1]),
        ([7], [1]),
        ([7, 7, 7], [3]),
        ([3, 2, 1], [1, 1, 1]),
    ],
)
def test_a_run_ends_where_the_epoch_falls_to_its_start_and_a_resumed_one_goes_on(
    epochs: list[int], lengths: list[int]
) -> None:
    runs = read_lines("".join(f"epoch {epoch}, loss 0.5\n" for epoch in epochs)).runs
    assert [len(run.curves["loss"].points) for run in runs] == lengths


def test_a_new_run_says_why_and_where_it_began() -> None:
    first, second = read_lines("epoch 1, loss 0.5\nepoch 2, loss 0.4\nrestarted\nepoch 1, loss 0.6\n").runs
    assert (first.start.line, first.line_last, first.start.reason) == (1, 2, None)
    assert (second.start.line, second.line_last) == (4, 4)
    assert second.start.reason == "epoch went 2 → 1 at line 4"


def test_a_resumed_log_keeps_both_values_of_an_epoch() -> None:
    run = one_run("epoch 1, loss 3\nepoch 2, loss 2\nepoch 3, loss 1\nepoch 2, loss 2.5\nepoch 3, loss 1.5\n")
    assert run.curves["loss"].points == [(1, "3.0", 1), (2, "2.0", 2), (3, "1.0", 3), (2, "2.5", 4), (3, "1.5", 5)]


def test_two_kinds_of_line_for_an_epoch_are_one_run() -> None:
    text = "".join(f"epoch {e}, train loss 0.{e}\nepoch {e}, test loss 0.{e}5\n" for e in (1, 2, 3))
    run = one_run(text)
    assert run.curves["train loss"].points == [(1, "0.1", 1), (2, "0.2", 3), (3, "0.3", 5)]
    assert run.curves["test loss"].points == [(1, "0.15", 2), (2, "0.25", 4), (3, "0.35", 6)]


def test_a_metric_that_two_kinds_of_line_print_is_one_curve_in_the_order_of_lines() -> None:
    run = one_run("epoch 1, loss 3, lr 0.1\nepoch 2, loss 2\nepoch 3, loss 1.50, lr 0.01\n")
    assert run.curves["loss"].points == [(1, "3.0", 1), (2, "2.0", 2), (3, "1.5", 3)]
    assert run.curves["loss"].decimals == 2
    assert run.curves["lr"].lines == [1, 3]


def test_a_line_without_an_epoch_takes_the_epoch_above_it() -> None:
    text = "epoch 1, loss 0.5\ntest loss 0.6, test accuracy 0.7\nepoch 2, loss 0.4\ntest loss 0.5, test accuracy 0.8\n"
    run = one_run(text)
    assert run.curves["test accuracy"].points == [(1, "0.7", 2), (2, "0.8", 4)]
    assert run.curves["test accuracy"].metric.step_unit == "epoch"


def test_rows_of_two_kinds_are_counted_each_by_itself() -> None:
    run = one_run("train loss 3, train acc 0\ntest loss 4, test acc 0\n" * 3)
    assert run.curves["train loss"].steps == [0, 1, 2]
    assert run.curves["test loss"].steps == [0, 1, 2]


def test_a_last_row_of_another_kind_opens_no_run() -> None:
    text = "loss 3, train acc 0\n" * 4 + "test loss 4, test acc 0\n"
    assert one_run(text).curves["test loss"].points == [(0, "4.0", 5)]


def test_more_kinds_of_line_than_are_compiled_are_all_read() -> None:
    kinds = lines.TEMPLATES * 3
    names = ["metric" + chr(97 + k // 26) + chr(97 + k % 26) for k in range(kinds)]
    text = "".join(f"epoch {e}, {name} {e}.5\n" for e in (1, 2) for name in names)
    run = one_run(text)
    assert len(run.curves) == kinds
    assert run.curves[names[-1]].lines == [kinds, 2 * kinds]
    assert read_lines(*text.splitlines(keepends=True)) == read_lines(text)


def test_lines_not_understood_are_counted_and_the_first_few_are_shown() -> None:
    noise = [f"step {i} was skipped" for i in range(9)]
    found = read_lines("\n".join(["epoch 1, loss 1", "", *noise, "   ", "epoch 2, loss 1"]))
    assert found.unparsed.count == 9
    assert found.unparsed.examples == tuple((3 + i, text) for i, text in enumerate(noise[: lines.EXAMPLES]))


def test_the_first_run_gets_the_index_it_was_told() -> None:
    reader = LineReader(4)
    events = list(reader.feed(10, "epoch 1, loss 1\nepoch 0, loss 1\n"))
    assert [event.index for event in events if isinstance(event, RunStart)] == [4, 5]
    assert [event.line_last for event in events if isinstance(event, Points)] == [10, 11]
    assert reader.runs == 2


@pytest.mark.parametrize(
    ("line", "epoch"), [("epoch 3, loss 1", 3), ("Epoch [12/90]", 12), ("  轮次：7", 7), ("loss 3", None)]
)
def test_the_epoch_a_line_opens_with(line: str, epoch: int | None) -> None:
    assert epoch_of(line) == epoch


# A log printed from a model, and read back

EPOCHS = ["epoch {}", "Epoch: {}", "Epoch [{}/200]", "epoch={}", "epoch {}:"]
GAPS = [", ", ",\t", "\t", " ", " | ", ";", "，"]
COLONS = [" ", ": ", "=", "：", "  "]
LABELS = ["loss", "train loss", "test accuracy", "use time", "lr", "prec@1", "top-5", "dice_score", "测试准确率"]
NOISE = st.one_of(
    st.sampled_from(
        [
            "",
            "   ",
            "training on cuda:0",
            "=" * 40,
            "finished",
            "2021-12-17 10:00:56 saved to a.pt",
            "\x1b[32mdone\x1b[0m 3/4",
            "\x0c",
            "progress\r 10%\r 20%",
        ]
    ),
    st.text(st.characters(exclude_categories=("Cs", "Nd", "No"), exclude_characters="\n\r"), max_size=20),
)


@dataclass(frozen=True)
class Kind:
    """How a program prints one kind of line."""

    epoch: str
    gap: str
    colon: str
    labels: tuple[str, ...]

    def line(self, epoch: int, values: Sequence[str]) -> str:
        pairs = (f"{label}{self.colon}{value}" for label, value in zip(self.labels, values, strict=True))
        return self.gap.join([self.epoch.format(epoch), *pairs])

    def names(self) -> list[str]:
        """Labels as they are told apart."""
        return [
            label if self.labels[:i].count(label) == 0 else f"{label} ({self.labels[:i].count(label) + 1})"
            for i, label in enumerate(self.labels)
        ]


@st.composite
def numbers(draw: st.DrawFn) -> str:
    special = draw(st.sampled_from(["", "", "", "nan", "inf", "-inf", "1e-05", "5."]))
    digits = draw(st.integers(0, 6))
    return special or f"{draw(st.floats(-1000, 1000)):.{digits}f}"


@dataclass(frozen=True)
class Row:
    """A row of the model."""

    kind: Kind
    epoch: int
    values: tuple[str, ...]


@st.composite
def logs(draw: st.DrawFn) -> list[Row | str]:
    """Rows and noise lines."""
    labels = draw(st.permutations(LABELS))
    cuts = sorted(draw(st.sets(st.integers(1, len(labels) - 1), max_size=2)))
    styles = st.tuples(st.sampled_from(EPOCHS), st.sampled_from(GAPS), st.sampled_from(COLONS))
    # A label that two kinds of line print for one epoch is two metrics.
    kinds = [Kind(*draw(styles), tuple(labels[a:b])) for a, b in pairwise([0, *cuts, len(labels)])]
    out: list[Row | str] = []
    for first, length in draw(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 6)), max_size=4)):
        for epoch in range(first, first + length):
            for kind in kinds[: draw(st.integers(1, len(kinds)))]:
                out += [Row(kind, epoch, tuple(draw(numbers()) for _ in kind.labels))]
            out += draw(st.lists(NOISE, max_size=1))
    return out


def decimals(texts: Sequence[str]) -> int | None:
    return None if any("e" in text for text in texts) else max(len(text.partition(".")[2]) for text in texts)


Expected = list[tuple[int, int, dict[str, tuple[int | None, list[Point]]]]]


def expected_of(log: list[Row | str]) -> Expected:
    """(first line, last line, label → (decimals, points)) of each run, by the rule and nothing else."""
    out: Expected = []
    printed: list[dict[str, list[str]]] = []
    first = last = 0
    for number, row in enumerate(log, 1):
        if isinstance(row, str):
            continue
        if not out or (row.epoch < last and row.epoch <= first):
            out.append((number, number, {}))
            printed.append({})
            first = row.epoch
        last = row.epoch
        curves = out[-1][2]
        for label, value in zip(row.kind.names(), row.values, strict=True):
            texts = printed[-1].setdefault(label, [])
            texts.append(value)
            _, points = curves.setdefault(label, (0, []))
            curves[label] = (decimals(texts), [*points, (row.epoch, repr(float(value)), number)])
        out[-1] = (out[-1][0], number, curves)
    return out


def seen(found: Read) -> Expected:
    return [
        (run.start.line, run.line_last, {label: (c.decimals, list(c.points)) for label, c in run.curves.items()})
        for run in found.runs
    ]


def printed(log: list[Row | str], end: str = "\n") -> list[str]:
    return [(one if isinstance(one, str) else one.kind.line(one.epoch, one.values)) + end for one in log]


@given(logs(), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_what_a_program_printed_is_read_back_with_steps_values_digits_and_lines(
    log: list[Row | str], end: str, final: bool
) -> None:
    text = "".join(printed(log, end))
    found = read_lines(text if final else text.removesuffix(end))
    assert seen(found) == expected_of(log)
    # A ruler may belong to settings that are printed below it.
    noise = [settle(one)[0].strip() for one in log if isinstance(one, str)]
    assert sum(bool(one.strip("=")) for one in noise) <= found.unparsed.count <= sum(map(bool, noise))


@given(logs(), st.data())
def test_a_log_cut_at_any_lines_reads_like_the_whole(log: list[Row | str], data: st.DataObject) -> None:
    # What a first block says of a training decides what its other lines are.
    log = [one for one in log if not isinstance(one, str) or not any(map(str.isdigit, one))]
    every = printed(log)
    begun = next((i + 1 for i, one in enumerate(log) if not isinstance(one, str)), len(log))
    cuts = sorted(data.draw(st.sets(st.integers(begun, max(begun, len(every))))) | {0, len(every)})
    blocks = ["".join(every[a:b]) for a, b in pairwise(cuts) if a < b]
    assert read_lines(*blocks) == read_lines("".join(every))


ROWS = st.sampled_from(
    [
        "epoch 1, loss 1.5",
        "epoch 2, loss 1",
        "epoch 3, loss .5, time 3s",
        "epoch 3, lr 3",
        "loss 2, test acc 50%",
        "loss 2, test acc 0.5",
        "test acc 0.5, time 7",
        "saved",
        "",
    ]
)


@given(st.lists(ROWS, max_size=12), st.sets(st.integers(1, 11)))
@example(["loss 2, test acc 0.5", "epoch 2, loss 1", "test acc 0.5, time 7"], {1, 2})
@example(["epoch 1, loss 1.5", "test acc 0.5, time 7"], {1})
def test_rows_without_an_epoch_are_read_the_same_wherever_the_log_is_cut(rows: list[str], cuts: set[int]) -> None:
    every = [row + "\n" for row in rows]
    at = sorted({0, len(every), *(cut for cut in cuts if cut < len(every))})
    blocks = ["".join(every[a:b]) for a, b in pairwise(at)]
    assert read_lines(*blocks) == read_lines("".join(every))


# Time

N = 2000


@pytest.mark.parametrize(
    "line",
    [
        "epoch 1, " + "loss 0.1, " * N,
        "epoch 1, " + "loss 0.1, " * N + "x",
        "epoch 1" + ", " * N + "loss 0.1",
        "epoch 1" + " " * N + "x",
        "epoch" + " " * N + "x",
        "epoch [" + " " * N + "1" + " " * N + "x",
        "epoch 1, loss 0.1" + " " * N * 100 + "x",
        "epoch 1, loss 0.1" + " ," * N * 100 + "x",
        "epoch 1, loss " + "1" * N * 100 + "x",
        "epoch 1, loss 0." + "1" * N * 100,
        "epoch 1, loss 0.1, loss" + " " * N + "x",
        "a " * N + "1",
        "0 " * N,
        "a" * N + "1",
        "1" * N,
        "1." * N,
        "1e" * N,
        "-1" * N,
        "| " * N + "1",
        "epoch 1/" * N,
        "nan " * N + "1",
    ],
)
@pytest.mark.parametrize("learned", ["", "epoch 1, loss 0.1\n", "epoch 1, , , , , , , , , , , , , loss 0.1\n"])
def test_no_line_takes_long_to_read(line: str, learned: str) -> None:
    began = time.process_time()
    read_lines(f"{learned}{line}\n{line}y")
    assert time.process_time() - began < 1


@pytest.mark.parametrize("date", ["2021.3.4", "2021.03.04", "2021-03-04", "2021/3/4", "2021.03.04 05:06:07"])
def test_a_date_where_a_value_would_stand_is_none(date: str) -> None:
    run = one_run(f"Epoch 1 loss 0.5 acc 0.1\nEpoch 2 loss 0.4 acc 0.2\nEpoch 3 loss 0.3 acc {date}\nLoss {date}\n")
    assert run.only("train/loss").values == [0.5, 0.4, 0.3]
    assert run.only("train/accuracy").values == [0.1, 0.2]


def test_a_number_too_large_for_a_float_is_infinite() -> None:
    assert one_run(f"epoch 1, loss {'9' * 400}").curves["loss"].values == [math.inf]


# What labels hold besides words


def by_name(line: str, count: int = 4) -> dict[str, str]:
    """Canonical name to the first value of lines that print `#` as a growing number."""
    run = one_run("\n".join(line.replace("#", str(n)) for n in range(1, count + 1)))
    return {curve.metric.name: curve.points[0][1] for curve in run.curves.values() if curve.metric.kind == "curve"}


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("epoch #: mAP@0.5=0.5# mAP@0.5:0.95=0.3#", {"train/map_50": "0.51", "train/map": "0.31"}),
        (
            "epoch # | val mAP@[.5:.95]: 0.3# | val mAP@[.5]: 0.5# | val mAP@.75: 0.4#",
            {"val/map": "0.31", "val/map_50": "0.51", "val/map_75": "0.41"},
        ),
        ("epoch #, val mAP50 0.5#, val mAP50-95 0.3#", {"val/map_50": "0.51", "val/map": "0.31"}),
        (
            "epoch # loss 0.#\n Average Precision  (AP) @[ IoU=0.50:0.95 | area=   all | maxDets=100 ] = 0.2#\n"
            " Average Precision  (AP) @[ IoU=0.50      | area=   all | maxDets=100 ] = 0.4#\n"
            " Average Precision  (AP) @[ IoU=0.50:0.95 | area= small | maxDets=100 ] = 0.1#\n"
            " Average Recall     (AR) @[ IoU=0.50:0.95 | area=   all | maxDets=  1 ] = 0.3#",
            {
                "train/loss": "0.1",
                "val/map": "0.21",
                "val/map_50": "0.41",
                "val/map_small": "0.11",
                "val/ar@1": "0.31",
            },
        ),
    ],
)
def test_the_overlap_a_detection_is_judged_by_is_no_value(line: str, found: dict[str, str]) -> None:
    assert by_name(line) == found


def test_a_list_of_results_gives_each_of_them_a_curve() -> None:
    found = by_name("epoch #: acc [0.8#, 0.9#] loss 0.#")
    assert found == {"train/accuracy.0": "0.81", "train/accuracy.1": "0.91", "train/loss": "0.1"}


def test_two_labels_with_a_slash_between_them_name_two_values() -> None:
    found = by_name("epoch #: Train Acc/Loss: 0.5#/0.4# Val Acc/Loss: 0.6#/0.3#")
    assert found == {"train/accuracy": "0.51", "train/loss": "0.41", "val/accuracy": "0.61", "val/loss": "0.31"}


def test_a_verb_behind_a_chinese_label_is_no_part_of_it() -> None:
    assert by_name("第 # 轮训练：loss 0.#，准确率为5#%") == {"train/loss": "0.1", "train/accuracy": "51.0"}


def test_a_size_in_front_of_a_label_is_no_part_of_it() -> None:
    run = one_run("\n".join(f"epoch {n} loss 0.{n} 3.2G max mem 12.{n} MB speed 0.{n}" for n in range(1, 4)))
    assert {curve.metric.name for curve in run.curves.values()} == {"train/loss", "max_mem", "speed"}


def test_a_number_behind_the_name_of_a_split_and_an_at_is_the_iteration() -> None:
    run = one_run("\n".join(f"eval @ {n}: loss 1.{n}" for n in (200, 400, 600)))
    assert run.only("val/loss").steps == [200, 400, 600]
    assert run.only("val/loss").metric.step_unit == "iteration"


def test_episodes_are_steps() -> None:
    run = one_run("\n".join(f"Episode {n}\treward: {n}.5\tlength: {n}" for n in (10, 20, 30)))
    assert run.only("reward").steps == [10, 20, 30]


def test_the_accuracy_on_the_test_images_alone_is_a_result() -> None:
    run = one_run("Finished Training\nAccuracy of the network on the 10000 test images: 54 %\n")
    assert run.only("test/accuracy").points == [(0, "54.0", 2)]


@pytest.mark.parametrize("label", ["bestdice", "record"])
def test_the_best_so_far_is_an_aside_in_whatever_word(label: str) -> None:
    assert set(by_name(f"epoch #: dice 0.5# {label} 0.6#")) == {"train/dice"}


# Decimal commas


def test_decimal_commas_are_read_where_a_log_has_no_points() -> None:
    run = one_run(
        "\n".join(f"2024-01-02 10:00:0{n},123 epoch {n} loss 0,5{n} lr 1,5e-3 acc: 71,{n}" for n in range(1, 5))
    )
    assert run.only("train/loss").values == [0.51, 0.52, 0.53, 0.54]
    assert run.only("train/accuracy").values == [71.1, 71.2, 71.3, 71.4]
    assert run.only("lr").values == [0.0015] * 4


def test_a_decimal_comma_among_points_is_counted_as_not_understood() -> None:
    reader = LineReader()
    events = list(reader.feed(1, "".join(f"epoch {n} loss 0,5{n} acc 0.6{n}\n" for n in range(1, 5))))
    assert {c.metric.name for e in events if isinstance(e, Points) for c in e.curves} == {"train/accuracy"}
    assert reader.unparsed.count == 4
    assert reader.unparsed.examples[0] == (1, "epoch 1 loss 0,51 acc 0.61")


def test_a_thousand_with_a_comma_is_no_fraction() -> None:
    reader = LineReader()
    list(reader.feed(1, "".join(f"epoch {n} loss 0.5{n} of 1,234 images\n" for n in range(1, 5))))
    assert reader.unparsed.count == 0


def test_folds_under_drawn_headings_are_runs_of_a_log() -> None:
    fold = "".join(f"Epoch {n} train loss 0.4{n} val acc 0.6{n}\n" for n in range(1, 5))
    found = read("".join(f"---- Fold {n} ----\n{fold}" for n in range(1, 4)))
    assert found.format == "log"
    assert [run.start.reason for run in found.runs][1:] == ["epoch went 4 → 1 at line 7", "epoch went 4 → 1 at line 12"]


def test_a_quantity_s_number_belongs_to_it_though_the_next_label_ends_in_a_colon() -> None:
    assert by_name("epoch # loss 0.# lr 0.0# acc: 7#.5") == {
        "train/loss": "0.1",
        "lr": "0.01",
        "train/accuracy": "71.5",
    }


BOOSTED = "".join(f"[{n}]\ttrain-error:0.{30 - n}\teval-error:0.{40 - n}\n" for n in range(9))


@pytest.mark.parametrize("said", ["Stopping. Best iteration:", "Early stopping, best iteration is:"])
def test_the_best_iteration_said_once_more_is_no_point(said: str) -> None:
    read = read_lines(f"{BOOSTED}{said}\n[6]\ttrain-error:0.24\teval-error:0.34\n")
    (run,) = read.runs
    assert (run.only("val/error").steps, read.unparsed.count) == (list(range(9)), 2)


def test_the_best_iteration_is_a_point_where_it_was_not_printed_before() -> None:
    one = "".join(f"[{n}]\ttrain-error:0.{30 - n}\teval-error:0.{40 - n}\n" for n in range(0, 9, 2))
    best = "Stopping. Best iteration:\n[7]\ttrain-error:0.23\teval-error:0.33\n"
    assert [run.only("val/error").steps for run in read_lines((one + best) * 2).runs] == [[0, 2, 4, 6, 8, 7]] * 2


def test_the_best_iteration_is_a_point_where_no_other_was_printed() -> None:
    run = one_run("Early stopping, best iteration is:\n[6]\ttrain-error:0.24\teval-error:0.34\n")
    assert run.only("val/error").values == [0.34]


def test_averages_over_classes_are_told_apart() -> None:
    epochs = "Epoch 1: val loss 0.4\nEpoch 2: val loss 0.3\nValidation:\n"
    run = one_run(f"{epochs}- F1-score (micro) 0.76\n- F1-score (macro) 0.74\n")
    assert (run.only("val/f1").values, run.only("val/macro_f1").values) == ([0.76], [0.74])


REPORT = (
    "              precision    recall  f1-score   support\n\n           0       0.91      0.92      0.91       40\n"
    "    accuracy                           0.93        80\n"
)


@pytest.mark.parametrize(("said", "split"), [("", "test"), ("Validation:\n", "val"), ("Training is over.\n", "test")])
def test_a_report_on_predictions_is_of_what_was_evaluated(said: str, split: str) -> None:
    run = one_run("Epoch 1: train loss 0.4\nEpoch 2: train loss 0.3\n" + said + REPORT)
    assert run.only(f"{split}/accuracy").values == [0.93]


@pytest.mark.parametrize("said", ["epoch", "epoch: (", "Epoch ["])
def test_a_wide_gap_behind_the_epoch_s_name_costs_no_time(said: str) -> None:
    began = time.process_time()
    is_log_line(said + " " * 3000 + "99999999999999999999, loss 0.5, accuracy 0.6")
    assert time.process_time() - began < 1


def test_many_times_of_day_in_one_line_cost_no_time() -> None:
    odd = "0:0" + "000e00" * 30 + " 12d 3h 4m 5s" * 150
    lines = [f"{odd} epoch {n} loss 0.{n}" for n in range(1, 9)] + [f"{odd[:-1]} epoch x loss" for _ in range(8)]
    began = time.process_time()
    list(LineReader().feed(1, "\n".join(lines)))
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    "who", ["trainer INFO", "INFO trainer", "my_app.loop DEBUG", "root - INFO -", "[trainer] [INFO]"]
)
def test_who_logs_a_step_and_how_grave_it_is_are_no_part_of_its_name(who: str) -> None:
    text = "".join(f"2026-11-21 09:00:0{n},123 {who} step {n}00 loss=0.{n}1 acc=0.3{n}\n" for n in (1, 2, 3, 4))
    found = {c.metric.name: c for e in LineReader().feed(1, text) if isinstance(e, Points) for c in e.curves}
    assert set(found) == {"train/loss", "train/accuracy"}
    assert list(found["train/loss"].steps) == [100, 200, 300, 400]
