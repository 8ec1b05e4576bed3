"""What the tests of pages share: a project with curves, a training that broke, numbers of a page, and hostile names."""

import math
from pathlib import Path

from commands import expdb_in

NOW = "2026-03-14T09:26:53Z"
HOSTILE = "<img src=x onerror=window.pwned=1>"
ESCAPING = "</script><script>window.pwned=2</script><!--<script>\u2028&amp;"
PAGE = """\
# Others

| config | test accuracy (%) |
| --- | ---: |
| GoogLeNet 原论文 | 93.20 |
| VGG | 90.10 |
"""


def log_text(lr: float, seed: int, epochs: int = 12, broken_at: int | None = None) -> str:
    """A training whose every value tells its run, epoch and metric apart."""
    out = []
    for epoch in range(epochs):
        loss = 2 / (epoch + 1) + lr + seed / 100
        shown = "nan" if broken_at is not None and epoch >= broken_at else f"{loss:.4f}"
        accuracy = 0.5 + 0.4 * (1 - math.exp(-epoch / 4)) - seed / 100 - (0.02 if epoch == epochs - 1 else 0) - lr / 10
        out.append(f"epoch {epoch},\tloss {shown},\ttest accuracy {accuracy:.3f},\tuse time {19 + seed}.250\n")
    return "".join(out)


def project(folder: Path) -> Path:
    """A project with runs/expdb.db: six runs of logs, one that broke, two of a page. Gives its folder."""
    logs = folder / "logs"
    logs.mkdir(parents=True)
    for model in ("resnet", "vgg"):
        for seed in (0, 1, 2):
            lr = 0.1 if model == "vgg" else 0.05
            (logs / f"{model}_seed{seed}.log").write_text(log_text(lr, seed), "utf-8")
    (logs / "broken_seed0.log").write_text(log_text(0.9, 0, broken_at=7), "utf-8")
    (folder / "others.md").write_text(PAGE, "utf-8")
    expdb = expdb_in(folder)
    pattern = r"(?P<model>[a-z]+)_seed(?P<seed>\d)"
    for words in (
        ("ingest", "logs", "-e", "fusion", "--params-from", pattern),
        ("ingest", "others.md", "-e", "fusion"),
        ("edit", "resnet_seed0", "--name", HOSTILE, "-s", f"remark={ESCAPING}"),
        ("edit", "resnet_seed1", "--name", "中文名 二号"),
    ):
        done = expdb(*words, env={"EXPDB_NOW": NOW})
        assert done.returncode == 0, done.stderr
    return folder


def write_page(folder: Path, *words: str, name: str = "page.html") -> Path:
    """The page as the command writes it."""
    done = expdb_in(folder)("report", "page", *words, "-o", name, env={"EXPDB_NOW": NOW})
    assert done.returncode == 0, done.stderr
    return folder / name
