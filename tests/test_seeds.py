"""The first users' real pages, where they lie beside the repository: exactly the runs that issue 2 counts in them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import requires
from readings import Read, ReadRun, read

from expdb.errors import InputError

SHARED = Path(__file__).parents[2] / "shared"
SEEDS, NEGATIVE, PLAIN = SHARED / "seeds", SHARED / "corpus" / "negative", SHARED / "corpus" / "d2l-epoch-line"


@pytest.fixture
def seeds() -> dict[str, Read]:
    """What each page gives, by the first three characters of its name."""
    requires("seeds", SEEDS.is_dir(), f"the seeds are not at {SEEDS}")
    return {path.name[:3]: read(path.read_bytes(), path=path.name) for path in sorted(SEEDS.glob("*.txt"))}


def facts(run: ReadRun) -> tuple[int, int | None, int | None, float, float, int | None]:
    """(epochs, first, last, last test accuracy, best, best at)."""
    curve = run.only("test/accuracy")
    best, steps = max(curve.values), curve.steps
    return len(steps), steps[0], steps[-1], curve.values[-1], best, steps[curve.values.index(best)]


def test_the_group_report_gives_its_ten_runs_and_97_epochs(seeds: dict[str, Read]) -> None:
    runs = seeds["004"].runs
    assert [facts(run) for run in runs] == [
        (6, 80, 85, 0.822, 0.822, 85),
        (17, 83, 99, 0.811, 0.822, 83),
        (14, 86, 99, 0.820, 0.825, 97),
        (8, 36, 43, 0.900, 0.900, 42),
        (10, 40, 49, 0.899, 0.905, 48),
        (8, 92, 99, 0.920, 0.924, 98),
        (8, 23, 30, 0.941, 0.944, 25),
        (9, 41, 49, 0.908, 0.908, 49),
        (8, 43, 50, 0.904, 0.911, 49),
        (9, 41, 49, 0.949, 0.952, 41),
    ]
    assert sum(len(run.only("test/accuracy").points) for run in runs) == 97
    assert all(len(run.curves) == 4 for run in runs)


def test_the_runs_of_the_group_report_are_named_by_model_and_caption(seeds: dict[str, Read]) -> None:
    names = [run.start.caption or "" for run in seeds["004"].runs]
    begin = ["动物数据集", "Vgg19", "NIN", *["googLeNet"] * 4, *["ResNet"] * 3]
    assert all(name.startswith(head) for name, head in zip(names, begin, strict=True))
    assert [name.partition(" · ")[2] for name in names] == [
        *("", "初始结构", "", "使用trunc_normal截断正太分布初始化以及增加BN层后"),
        *["对训练数据进行缩放裁剪、更改亮度等预处理"] * 2,
        *("改用预训练模型", "", "", ""),
    ]


def test_the_results_page_gives_nine_results_with_their_printed_digits(seeds: dict[str, Read]) -> None:
    found = seeds["000"]
    curves = [run.only("test/accuracy") for run in found.runs]
    assert [f"{curve.values[0]:.{curve.decimals}f}" for curve in curves] == [
        *("87.62", "78.23", "78.69", "78.57", "82.26", "84.10", "84.85", "85.83", "81.57")
    ]
    assert {(curve.metric.kind, curve.metric.unit) for curve in curves} == {("reported", "percent")}
    assert [(run.start.line, run.repeats) for run in found.runs] == [(n, [(n + 18, n + 18)]) for n in range(33, 42)]
    assert all(list(run.start.params) == ["配置"] for run in found.runs)


@pytest.mark.parametrize("seed", ["001", "002", "003"])
def test_the_other_pages_give_no_run(seeds: dict[str, Read], seed: str) -> None:
    assert seeds[seed].runs == []


def everything(folder: Path) -> Iterator[tuple[str, Read]]:
    requires("corpus", folder.is_dir(), f"the corpus is not at {folder}")
    paths = [path for path in sorted(folder.iterdir()) if path.is_file()]
    assert paths
    for path in paths:
        try:
            yield path.name, read(path.read_bytes(), path=path.name)
        except InputError as error:
            pytest.fail(str(error))


def test_no_file_that_is_no_log_gives_a_run() -> None:
    assert {name: len(found.runs) for name, found in everything(NEGATIVE) if found.runs} == {}


def test_logs_of_single_lines_give_every_epoch() -> None:
    epochs = {name: [len(run.only("test/accuracy").points) for run in found.runs] for name, found in everything(PLAIN)}
    assert epochs == {
        "3.6_softmax_no_time.log": [5],
        "5.11_resnet.log": [5],
        "9.2_fine-tuning_two_runs.log": [5, 5],
    }
