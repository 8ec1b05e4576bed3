"""Event files: framing, scalars of every kind, params, damage, growth."""

import json
import struct
import sys
from pathlib import Path

import events
import pytest
from drills import assert_same, assert_sound, curve, expdb, only_run, runs_of, state, take
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from expdb import parsers, plugins, preview
from expdb.errors import MissingExtraError
from expdb.parsers import framing, tensorboard
from expdb.parsers.reading import BINARY, NotTextError, Reading
from expdb.preview import Preview, PreviewMetric
from expdb.provenance import blame
from expdb.records import ASIDE, Points, RunStart
from expdb.store import reader
from expdb.store.sqlite import SqliteDatabase as Database


def found(data: bytes) -> Preview:
    return preview.preview(Reading.of_bytes(data, "events.out.tfevents.1"))


def only_metric(data: bytes) -> PreviewMetric:
    (run,) = found(data).runs
    (metric,) = run.metrics
    return metric


def float32(value: float) -> float:
    return float(struct.unpack("<f", struct.pack("<f", value))[0])


# Framing --------------------------------------------------------------------------------------------------------------


def test_the_checksum_is_that_of_the_format() -> None:
    # 0xE3069283 is what RFC 3720 gives for "123456789", before it is masked.
    crc = 0xE3069283
    assert framing.checksum(b"123456789") == ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


@given(st.lists(st.binary(max_size=300), max_size=20), st.integers(0, 400))
@settings(deadline=None)
def test_whole_records_are_read_wherever_a_file_is_cut(records: list[bytes], cut: int) -> None:
    data = b"".join(map(events.framed, records))
    kept = data[: max(0, len(data) - cut)]
    with Reading.of_bytes(events.version() + kept, "x").records() as frames:
        got = [record.data for record in frames][1:]
    assert got == records[: len(got)]
    ends = [sum(16 + len(one) for one in records[: n + 1]) for n in range(len(records))]
    assert len(got) == sum(end <= len(kept) for end in ends)
    assert (frames.damage is None) == (len(kept) in (0, *ends))


@given(st.binary(max_size=400))
def test_no_bytes_break_the_reader(noise: bytes) -> None:
    found(events.version() + noise)
    found(events.version() + events.framed(noise) + events.scalar("loss", 1, 0.5))


def test_a_file_larger_than_is_held_is_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from expdb.parsers import reading

    path = events.write(tmp_path / "e", events.series("loss", 300))
    whole = Reading.of_file(path)
    monkeypatch.setattr(reading, "KEEP_BYTES", 1000)
    monkeypatch.setattr(framing, "_PIECE_BYTES", 64)
    large = Reading.of_file(path)
    assert not large.is_small
    assert large.digest == whole.digest
    assert preview.as_json(preview.preview(large)) == preview.as_json(preview.preview(whole))


# What is read ---------------------------------------------------------------------------------------------------------


def test_a_scalar_keeps_the_float_its_step_its_time_and_its_record() -> None:
    data = (
        events.version() + events.scalar("test_acc", 0, 0.1) + events.scalar("test_acc", 7, 0.3, time=1_600_000_009.5)
    )
    (start, points, *_) = tensorboard.parse(Reading.of_bytes(data, "x"), parsers.Options())
    assert isinstance(start, RunStart)
    assert isinstance(points, Points)
    (one,) = points.curves
    assert (one.metric.name, one.metric.label, one.metric.step_unit) == ("test/accuracy", "test_acc", "step")
    assert list(one.values) == [float32(0.1), float32(0.3)]
    assert list(one.steps) == [0, 7]
    assert list(one.lines) == [2, 3]
    assert one.times_ms is not None
    assert list(one.times_ms) == [1_600_000_000_000, 1_600_000_009_500]


TENSORS = [
    (TensorProto(dtype=1, float_val=[0.25]), 0.25),
    (TensorProto(dtype=1, tensor_content=struct.pack("<f", 0.1)), float32(0.1)),
    (TensorProto(dtype=2, double_val=[0.1]), 0.1),
    (TensorProto(dtype=2, tensor_content=struct.pack("<d", 0.1)), 0.1),
    (TensorProto(dtype=19, half_val=[struct.unpack("<H", struct.pack("<e", 0.5))[0]]), 0.5),
    (TensorProto(dtype=19, tensor_content=struct.pack("<e", 1.5)), 1.5),
    (TensorProto(dtype=14, half_val=[0x3FC0]), 1.5),
    (TensorProto(dtype=3, int_val=[-3]), -3.0),
    (TensorProto(dtype=9, int64_val=[1 << 40]), float(1 << 40)),
    (TensorProto(dtype=9, tensor_content=struct.pack("<q", -7)), -7.0),
    (TensorProto(dtype=10, bool_val=[True]), 1.0),
]


@pytest.mark.parametrize(("tensor", "value"), TENSORS)
def test_a_scalar_may_be_a_tensor_of_any_type(tensor: TensorProto, value: float) -> None:
    event, one = events.summary(4)
    one.tag = "epoch_loss"
    one.metadata.plugin_data.plugin_name = "scalars"
    one.tensor.CopyFrom(tensor)
    metric = only_metric(events.version() + events.framed(event.SerializeToString()))
    assert (metric.values, metric.steps, metric.step_unit, metric.name) == ([value], [4], "epoch", "train/loss")


def test_a_tensor_of_several_numbers_is_counted_and_no_curve() -> None:
    event, one = events.summary(1)
    one.tag = "pr_curve"
    one.metadata.plugin_data.plugin_name = "pr_curves"
    one.tensor.CopyFrom(TensorProto(dtype=1, float_val=[0.5, 0.25]))
    data = events.version() + events.framed(event.SerializeToString()) + events.scalar("loss", 1, 1)
    (run,) = found(data).runs
    assert [metric.label for metric in run.metrics] == ["loss"]
    assert run.tags == {"tensorboard.not_scalars": "1 pr_curves"}


def test_what_is_no_number_is_counted_not_drawn() -> None:
    graph = events.framed(Event(wall_time=1.0, graph_def=b"\0").SerializeToString())
    data = events.version() + graph + events.histogram("w", 1) + events.histogram("w", 2) + events.scalar("loss", 1, 1)
    got = found(data)
    assert got.runs[0].tags == {"tensorboard.not_scalars": "1 graph, 2 histograms"}
    assert got.unparsed == 0
    assert [(kind.text, kind.count, kind.line) for kind in got.kinds] == [
        ("loss", 1, 5),
        ("graph", 1, 2),
        ("histogram", 2, 3),
    ]


def test_nan_and_infinity_are_values() -> None:
    data = b"".join(events.scalar("loss", n, value) for n, value in enumerate((float("nan"), float("inf"))))
    got = preview.as_json(found(events.version() + data))
    assert '"values": ["nan", "inf"]' in json.dumps(got)


def test_a_file_without_scalars_gives_no_run_and_no_error() -> None:
    for data in (events.version(), events.version() + events.histogram("w", 1)):
        got = found(data)
        assert (got.format, got.runs, got.unparsed) == ("tensorboard", [], 0)


def test_hyperparameters_are_params() -> None:
    said = HParamsPluginData(version=0)
    said.session_start_info.hparams["lr"].number_value = 0.1
    said.session_start_info.hparams["layers"].number_value = 18
    said.session_start_info.hparams["augment"].bool_value = True
    said.session_start_info.hparams["net"].string_value = "resnet"
    event, one = events.summary(0)
    one.tag = "_hparams_/session_start_info"
    one.metadata.plugin_data.plugin_name = "hparams"
    one.metadata.plugin_data.content = said.SerializeToString()
    (run,) = found(events.version() + events.framed(event.SerializeToString())).runs
    assert run.params == {"lr": "0.1", "layers": "18", "augment": "True", "net": "resnet"}
    assert run.metrics == []


def test_a_short_text_is_a_tag_and_a_long_one_is_counted() -> None:
    data = events.version() + events.scalar("loss", 1, 1)
    for text in ("sgd, no warm-up", "x" * 5000):
        event, one = events.summary(0)
        one.tag = f"{text[:3]}/text_summary"
        one.metadata.plugin_data.plugin_name = "text"
        one.tensor.CopyFrom(TensorProto(dtype=7, string_val=[text.encode()]))
        data += events.framed(event.SerializeToString())
    (run,) = found(data).runs
    assert run.tags == {"sgd": "sgd, no warm-up", "tensorboard.not_scalars": "1 text"}


def test_the_epoch_beside_the_results_is_their_epoch() -> None:
    points = [*events.series("train_loss", 3, first=10), ("epoch", 10, 0.0), ("epoch", 11, 0.0), ("epoch", 12, 1.0)]
    data = events.version() + b"".join(events.scalar(*point) for point in points)
    (_, said, *_) = tensorboard.parse(Reading.of_bytes(data, "x"), parsers.Options())
    assert isinstance(said, Points)
    loss, epoch = said.curves
    assert loss.epochs == [0.0, 0.0, 1.0]
    assert epoch.metric.kind == ASIDE


def test_a_tag_is_never_an_aside() -> None:
    metric = only_metric(events.version() + events.scalar("rollout/max_reward", 1, 3))
    assert metric.kind == "curve"


# Damage ---------------------------------------------------------------------------------------------------------------


def test_a_cut_off_file_keeps_what_stands_before_and_says_so() -> None:
    data = events.version() + b"".join(events.scalar("loss", n, n) for n in range(4))
    got = found(data[:-5])
    assert got.runs[0].metrics[0].steps == [0, 1, 2]
    assert (got.unparsed, got.lines) == (1, 5)
    assert got.examples[0][0] == 5
    assert "cut off within a record" in got.examples[0][1]


def test_a_record_with_a_wrong_checksum_is_left_out_and_said() -> None:
    good = [events.scalar("loss", n, n) for n in range(3)]
    bad = bytearray(good[1])
    bad[-6] ^= 1
    got = found(events.version() + good[0] + bytes(bad) + good[2])
    assert got.runs[0].metrics[0].steps == [0, 2]
    assert got.examples == ((3, "a record whose checksum is wrong; it was left out"),)


def test_behind_a_broken_header_nothing_is_guessed() -> None:
    data = events.version() + events.scalar("loss", 1, 1) + b"\xff" * 40
    got = found(data)
    assert got.runs[0].metrics[0].values == [1.0]
    assert got.examples == ((3, f"damaged at byte {len(data) - 40}: the last 40 bytes were not read"),)


def test_other_framed_records_are_no_event_file() -> None:
    with pytest.raises(NotTextError, match="TFRecord data"):
        Reading.of_bytes(events.framed(b"\x0a\x05hello"), "train.tfrecord")


def test_no_reader_of_text_reads_an_event_file() -> None:
    reading = Reading.of_bytes(events.version(), "x")
    assert reading.encoding == BINARY
    with pytest.raises(NotTextError):
        _ = reading.text
    with pytest.raises(NotTextError):
        list(reading.blocks())
    others = [one for name, one in plugins.all_parsers().items() if name != tensorboard.NAME]
    assert not any(one.recognise(reading.sample) for one in others)


def test_without_the_package_it_is_said_once_and_nothing_else_breaks(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "ab":
        events.write(tmp_path / "logs" / name / "events", events.series("loss"))
    (tmp_path / "logs" / "c.log").write_text("epoch 1, loss 0.5\nepoch 2, loss 0.25\n", encoding="utf-8")
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError) as caught:
        list(tensorboard.parse(Reading.of_bytes(events.version(), "x"), parsers.Options()))
    assert caught.value.hint == "pip install 'expdb[tensorboard]'"
    outcome = take(database, tmp_path / "logs")
    (refused,) = outcome.refused
    assert isinstance(refused, MissingExtraError)
    assert refused.message.startswith("2 files not read: ")
    assert set(runs_of(database)) == {"c"}


# In the database ------------------------------------------------------------------------------------------------------


def test_an_event_file_grows_record_by_record(database: Database, tmp_path: Path) -> None:
    path = events.write(tmp_path / "logs" / "a" / "events", events.series("loss", 3))
    take(database, path)
    with path.open("ab") as file:
        file.write(events.scalar("loss", 9, 0.5) + events.scalar("acc", 9, 0.25)[:-3])
    outcome = take(database, path)
    assert [(done.written.kind, done.written.runs, done.written.points) for done in outcome.done] == [("grown", 0, 1)]
    with path.open("ab") as file:
        file.write(events.scalar("acc", 9, 0.25)[-3:])
    take(database, path)
    run = only_run(database)
    assert curve(database, run, "train/loss")[-1] == (9, 0.5)
    assert curve(database, run, "train/accuracy") == [(9, 0.25)]
    assert_sound(database)
    before = state(database)
    assert [done.written.kind for done in take(database, path).done] == ["same"]
    assert_same(state(database), before)


def test_blame_names_the_record(database: Database, tmp_path: Path) -> None:
    take(database, events.write(tmp_path / "logs" / "a" / "events", events.series("val_loss", 3)))
    run = only_run(database)
    said = blame(database, run, reader.metric_of(database, run, "val/loss"), 2)
    ((origin),) = said.origins
    assert (origin.line, origin.record, origin.text) == (3, "val_loss", None)
    done = expdb("blame", "a", "val/loss", "2", "--db", database.path, cwd=tmp_path)
    assert done.returncode == 0
    assert "logs/a/events: record 3: val_loss = " in done.stdout


def test_parse_of_an_event_file_is_complete_json(tmp_path: Path) -> None:
    path = events.write(tmp_path / "x", events.series("loss", 2))
    got = json.loads(expdb("parse", path, "--json", cwd=tmp_path).stdout)
    assert (got["format"], got["lines"], got["unparsed"], len(got["runs"])) == ("tensorboard", 3, 0, 1)
    assert "3 records, binary" in expdb("parse", path, cwd=tmp_path).stdout
