"""What well-known programs print: runs, names, how many values, the first, the last and its step."""

import pytest
from families import (
    caffe,
    chainer,
    chinese_epochs,
    chinese_rounds,
    cifar_bars,
    cifar_rendered,
    d2l,
    darknet,
    detectron2,
    hrnet,
    imagenet_new,
    imagenet_old,
    metric_logger,
    mmcv,
    mmengine,
    mnist,
    mxnet,
    paddle_clas,
    paddle_hapi,
    swav,
    swin,
    timm_new,
    timm_old,
    torch7,
    tqdm_only,
    transfg,
    wide_resnet,
    yolov5,
    yolox,
)
from readings import ReadRun, read

# Of each curve how many values it has, the first, the last and the last step.
Facts = dict[str, tuple[int, float, float, int]]

FAMILIES: list[tuple[str | bytes, Facts]] = [
    (
        imagenet_old(),
        {
            "train/loss": (15, 6.9, 1.5333, 140),
            "train/accuracy": (15, 31.667, 88.871, 140),
            "train/accuracy_top5": (15, 33.0, 92.613, 140),
            "test/accuracy": (3, 23.333, 50.0, 2),
            "test/accuracy_top5": (3, 30.0, 64.286, 2),
        },
    ),
    (
        imagenet_new(),
        {
            "train/loss": (12, 6.9, 1.84, 1083),
            "train/accuracy": (12, 31.67, 87.4, 1083),
            "test/accuracy": (3, 70.1, 72.1, 2),
            "test/accuracy_top5": (3, 90.2, 92.2, 2),
            "test/loss_batch": (6, 6.0, 0.42857, 2),
        },
    ),
    (
        mnist(),
        {
            "train/loss": (15, 1.022222, 0.4, 171200),
            "test/loss": (3, 0.05, 0.03, 3),
            "test/accuracy": (3, 98.0, 98.0, 3),
        },
    ),
    (
        metric_logger(),
        {
            "train/loss": (6, 30.0, 13.3333, 100),
            "lr": (6, 0.0001, 0.0001, 100),
            "class_error": (6, 90.0, 40.0, 100),
            "loss_ce": (6, 3.0, 1.3333, 100),
            "test/loss": (2, 1.5, 1.25, 1),
            "test/accuracy_top5": (2, 91.5, 92.5, 1),
        },
    ),
    (
        timm_old(),
        {
            "train/loss": (9, 6.9, 2.509091, 299),
            "lr": (9, 0.05, 0.05, 299),
            "test/loss_batch": (6, 5.0, 3.3333, 2),
            "test/accuracy_batch": (6, 31.6667, 67.8571, 2),
        },
    ),
    (
        timm_new(),
        {
            "train/loss": (9, 6.9, 0.789, 3752),
            "lr": (9, 0.05, 0.05, 3752),
            "test/loss_batch": (6, 5.0, 3.333, 2),
            "test/accuracy_batch": (6, 31.667, 67.857, 2),
        },
    ),
    (
        swin(),
        {
            "train/loss": (10, 6.9, 2.1231, 180),
            "lr": (10, 0.0, 9e-06, 180),
            "train/grad_norm": (10, 1.5, 10.5, 180),
            "test/accuracy_top5": (2, 4.5, 5.5, 1),
        },
    ),
    (
        swav(),
        {
            "train/loss": (9, 8.0, 2.6667, 300),
            "lr": (9, 0.6, 0.52, 300),
        },
    ),
    (
        transfg(),
        {
            "val/loss": (4, 1.84, 1.15, 400),
            "val/accuracy": (4, 0.57, 0.77727, 400),
        },
    ),
    (
        hrnet(),
        {
            "train/loss": (6, 6.9, 3.06667, 500),
            "train/accuracy": (6, 31.667, 80.385, 500),
            "test/loss": (2, 4.0, 3.2, 1),
            "test/accuracy": (2, 31.667, 57.0, 1),
            "test/accuracy_top5": (2, 33.0, 59.4, 1),
            "test/error": (2, 68.333, 43.0, 1),
        },
    ),
    (
        wide_resnet(),
        {
            "train/loss": (12, 1.15, 0.4842, 1173),
            "train/accuracy": (12, 77.727, 89.242, 1173),
            "val/loss": (3, 1.84, 1.3143, 3),
            "val/accuracy": (3, 57.0, 73.89, 3),
            "lr": (3, 0.1, 0.1, 3),
        },
    ),
    (
        cifar_bars(),
        {
            "train/loss": (3, 1.15, 0.511, 15),
            "train/accuracy": (3, 31.562, 67.812, 15),
            "test/loss": (3, 1.533, 0.575, 2),
            "test/accuracy": (3, 31.667, 67.667, 2),
        },
    ),
    (
        cifar_rendered(),
        {
            "train/loss": (3, 2.3, 1.533, 1173),
            "train/accuracy": (3, 31.667, 67.857, 1173),
            "test/loss": (3, 1.15, 0.92, 2),
            "test/accuracy": (3, 77.727, 82.333, 2),
        },
    ),
    (
        tqdm_only(),
        {
            "train/loss": (15, 1.15, 0.46, 300),
            "train/accuracy": (15, 0.777, 0.896, 300),
        },
    ),
    (
        mmcv(),
        {
            "train/loss": (9, 1.15, 0.575, 900),
            "train/accuracy": (9, 77.7273, 87.963, 900),
            "lr": (9, 0.1, 0.1, 900),
            "val/accuracy": (3, 57.0, 73.8889, 3),
            "val/accuracy_top5": (3, 59.4, 77.0, 3),
        },
    ),
    (
        mmengine(),
        {
            "train/loss": (9, 1.15, 0.575, 450),
            "train/loss_cls": (9, 0.75, 0.375, 450),
            "lr": (9, 0.01, 0.01, 450),
            "val/accuracy": (3, 57.0, 73.8889, 3),
            "val/accuracy_top5": (3, 59.4, 77.0, 3),
        },
    ),
    (
        detectron2(),
        {
            "total_loss": (15, 2.3, 0.5111, 299),
            "loss_cls": (15, 0.9, 0.2, 299),
            "loss_rpn_cls": (15, 0.3, 0.06667, 299),
            "lr": (15, 0.0001, 0.0015, 299),
        },
    ),
    (
        yolox(),
        {
            "total_loss": (12, 5.3, 2.4, 120),
            "iou_loss": (12, 1.8, 0.8, 120),
            "cls_loss": (12, 0.7, 0.3, 120),
            "lr": (12, 5e-05, 0.00016, 120),
        },
    ),
    (
        darknet(),
        {
            "train/loss": (8, 320.0, 133.333333, 8),
            "train/loss_avg": (8, 328.0, 136.666667, 8),
            "lr": (8, 0.001, 0.001, 8),
        },
    ),
    (
        caffe(),
        {
            "train/loss": (7, 2.4, 0.96, 600),
            "test/loss": (4, 2.3, 0.92, 600),
            "test/accuracy": (4, 0.3167, 0.8233, 600),
            "lr": (7, 0.01, 0.001429, 600),
        },
    ),
    (
        mxnet(),
        {
            "train/accuracy": (12, 0.57, 0.87963, 240),
            "train/accuracy_epoch": (3, 0.316667, 0.678571, 2),
            "val/accuracy": (3, 0.3, 0.642857, 2),
            "epoch_time": (3, 9.5, 11.5, 2),
        },
    ),
    (
        paddle_clas(),
        {
            "train/loss": (6, 1.53333, 0.83636, 250),
            "train/accuracy": (6, 0.67857, 0.83824, 250),
            "train/loss_epoch": (3, 1.84, 1.31429, 3),
            "val/loss": (3, 1.76, 1.25714, 3),
            "val/accuracy": (3, 0.546, 0.70778, 3),
            "val/accuracy_top5": (3, 0.582, 0.75444, 3),
            "lr": (6, 0.1, 0.1, 250),
        },
    ),
    (
        paddle_hapi(),
        {
            "train/loss": (9, 1.15, 0.575, 90),
            "train/accuracy": (9, 0.7773, 0.8796, 90),
            "val/loss": (3, 1.6, 1.1429, 3),
            "val/accuracy": (3, 0.54, 0.7, 3),
        },
    ),
    (
        torch7(),
        {
            "train/error": (12, 1.0222, 0.46, 12),
            "train/accuracy": (12, 19.615, 10.429, 12),
            "test/accuracy_batch": (6, 43.0, 26.111, 3),
        },
    ),
    (
        chinese_rounds(),
        {
            "train/loss": (5, 1.84, 1.0222, 5),
            "train/accuracy": (5, 0.57, 0.8038, 5),
            "val/loss": (5, 1.68, 0.9333, 5),
            "val/accuracy": (5, 0.546, 0.77, 5),
        },
    ),
    (
        chinese_epochs(),
        {
            "lr": (6, 0.01, 0.001667, 6),
            "train/accuracy": (6, 57.0, 82.33, 6),
            "val/loss": (6, 1.68, 0.84, 6),
            "epoch_time": (6, 13.5, 18.5, 6),
        },
    ),
]
ALL = [source for source, _ in FAMILIES]
BESIDE = (
    "eta",
    "mem",
    "memory",
    "max_mem",
    "speed",
    "ips",
    "data",
    "time",
    "data_time",
    "iter_time",
    "best",
    "max_acc",
)


def facts(run: ReadRun, names: Facts) -> Facts:
    """What is asserted of the curves with these names."""
    out: Facts = {}
    for curve in run.curves.values():
        name = curve.metric.name
        if name in names and name not in out and curve.metric.kind != "aside":
            step = curve.steps[-1]
            assert step is not None
            out[name] = (len(curve.values), curve.values[0], curve.values[-1], step)
    return out


@pytest.mark.parametrize(("source", "wanted"), FAMILIES)
def test_a_log_of_a_well_known_program_gives_its_curves(source: str | bytes, wanted: Facts) -> None:
    found = read(source)
    assert (found.format, len(found.runs)) == ("log", 1)
    assert facts(found.runs[0], wanted) == wanted


@pytest.mark.parametrize("source", ALL)
def test_what_is_printed_beside_the_results_is_no_result(source: str | bytes) -> None:
    curves = read(source).runs[0].curves.values()
    results = {curve.metric.name for curve in curves if curve.metric.kind != "aside"}
    assert not {name for name in results if name.rpartition("/")[2] in BESIDE or name.startswith("max_")}


@pytest.mark.parametrize("source", [one for one in ALL if isinstance(one, str)])
def test_line_ends_of_windows_change_nothing(source: str) -> None:
    if "\r" in source:
        pytest.skip("returns rewrite the line")
    found, wanted = read(source.replace("\n", "\r\n")), read(source)
    assert [run.curves for run in found.runs] == [run.curves for run in wanted.runs]


def test_a_log_with_two_trainings_gives_two_runs() -> None:
    found = read(d2l())
    assert [run.only("test/accuracy").steps for run in found.runs] == [list(range(1, 9))] * 2
    assert [run.only("time").metric.unit for run in found.runs] == ["s", "s"]


def test_a_table_below_the_words_of_its_script_is_read() -> None:
    found = read(chainer())
    (run,) = found.runs
    assert run.only("val/loss").points[-1] == (5, "0.4", 11)
    assert (run.only("train/accuracy").values[0], len(run.only("train/loss").values)) == (0.57, 5)


def test_columns_that_only_a_header_names_give_nothing() -> None:
    assert not read(yolov5()).runs


@pytest.mark.parametrize("source", [chinese_rounds(), chinese_epochs()])
@pytest.mark.parametrize("encoding", ["gbk", "gb18030", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_a_chinese_log_is_read_in_every_encoding(source: str, encoding: str) -> None:
    marks = {"utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}
    found, wanted = read(marks.get(encoding, b"") + source.encode(encoding)), read(source)
    assert [run.curves for run in found.runs] == [run.curves for run in wanted.runs]
