"""What a script logged by itself, read back: steps, epochs, times, and lines that are none."""

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from expdb import parsers
from expdb.parsers import Options, tracked
from expdb.parsers.reading import Reading
from expdb.records import Curve, Points, RunStart, Unparsed


def line(step: int | None, metrics: dict[str, float], epoch: float | None = None, time_ms: int = 1000) -> str:
    return json.dumps({"step": step, "epoch": epoch, "time_ms": time_ms, "metrics": metrics}) + "\n"


def read(text: str) -> tuple[list[RunStart], dict[str, Curve], Unparsed]:
    events = list(tracked.parse(Reading.of_bytes(text.encode(), "metrics.jsonl"), Options()))
    starts = [event for event in events if isinstance(event, RunStart)]
    curves = {c.metric.label: c for event in events if isinstance(event, Points) for c in event.curves}
    (unparsed,) = (event for event in events if isinstance(event, Unparsed))
    return starts, curves, unparsed


def test_values_steps_and_times_come_back() -> None:
    starts, curves, unparsed = read(
        line(3, {"train/loss": 0.25, "lr": 1e-4}) + line(4, {"train/loss": 0.125}, time_ms=9)
    )
    assert len(starts) == 1
    loss = curves["train/loss"]
    assert (list(loss.steps), list(loss.values), list(loss.lines)) == ([3, 4], [0.25, 0.125], [1, 2])
    assert (loss.metric.name, loss.metric.step_unit, list(loss.times_ms or ())) == ("train/loss", "step", [1000, 9])
    assert (loss.decimals, unparsed.count) == (3, 0)


def test_epochs_alone_are_the_steps_and_beside_steps_they_are_kept() -> None:
    _, curves, _ = read(line(None, {"a/b": 1.0}, epoch=1) + line(None, {"a/b": 2.0}, epoch=2))
    assert (list(curves["a/b"].steps), curves["a/b"].metric.step_unit) == ([1, 2], "epoch")
    _, curves, _ = read(line(10, {"a/b": 1.0}, epoch=0.5))
    assert (list(curves["a/b"].steps), list(curves["a/b"].epochs or ())) == ([10], [0.5])


def test_the_first_record_says_params_tags_and_name(tmp_path: Path) -> None:
    head = {"params": {"lr": "0.1", "layers": [1, 2]}, "tags": {"who": "me"}, "name": "warm", "experiment": "nets"}
    text = json.dumps(head) + "\n" + line(1, {"loss": 0.5})
    starts, _, _ = read(text)
    assert (starts[0].params, starts[0].tags, starts[0].caption) == (
        *({"lr": "0.1", "layers": "[1, 2]"}, {"who": "me"}),
        "warm",
    )
    (tmp_path / "metrics.jsonl").write_text(text)
    assert tracked.head_of(tmp_path / "metrics.jsonl") == {"name": "warm", "experiment": "nets"}
    assert tracked.head_of(tmp_path / "none") == {}


def test_what_several_processes_say_of_the_run_is_put_together() -> None:
    heads = [{"params": {key: "1"}, "tags": {}, "name": None, "experiment": None} for key in ("a", "b")]
    starts, curves, unparsed = read("".join(json.dumps(one) + "\n" for one in heads) + line(1, {"loss": 0.5}))
    assert [start.params for start in starts] == [{"a": "1", "b": "1"}]
    assert (len(curves), unparsed.count) == (1, 0)


def test_lines_that_are_no_records_are_counted_and_shown() -> None:
    bad = '{"step": "x", "epoch": null, "time_ms": 1, "metrics": {"a": 1}}\n'
    _, curves, unparsed = read(line(1, {"a/b": 1.0}) + "half a li\n" + bad + line(2, {"a/b": float("nan")}))
    assert len(curves["a/b"].values) == 2
    assert (unparsed.count, [at for at, _ in unparsed.examples]) == (2, [2, 3])


def test_the_file_is_known_by_its_first_record() -> None:
    known = parsers.built_in()
    for text in (line(1, {"loss": 0.5}), '{"params": {}, "tags": {}, "name": null, "experiment": null}\n'):
        parser = parsers.reader_of(Reading.of_bytes(text.encode(), "x"), known)
        assert parser is not None
        assert parser.NAME == "tracked"


@given(st.lists(st.tuples(st.integers(-(2**62), 2**62), st.floats(), st.sampled_from(["a/b", "loss", "准确率"]))))
def test_what_is_written_comes_back_as_it_was(said: list[tuple[int, float, str]]) -> None:
    text = "".join(line(step, {key: value}) for step, value, key in said)
    if not text:
        return
    _, curves, unparsed = read(text)
    assert unparsed.count == 0
    for key in {key for *_, key in said}:
        wanted = [(step, value) for step, value, other in said if other == key]
        found = list(zip(curves[key].steps, curves[key].values, strict=True))
        assert repr(found) == repr(wanted)
