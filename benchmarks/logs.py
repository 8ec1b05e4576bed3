"""Generated training logs: lines of five values, the same bytes for the same seed."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

VALUES = 5
# The legacy line, and what a logger prints with the time, the epoch and the iteration.
LEGACY, LINES = "legacy", "lines"
# Lines of a large log repeat after this many; only their epochs go on.
_PERIOD = 10_000
_CHUNK = 50_000


@dataclass(frozen=True, slots=True)
class Logs:
    """How many logs of how many epochs, a line each; of logger lines, how many iterations of a fifth of the epochs."""

    files: int = 1000
    epochs: int = 100
    seed: int = 0
    kind: str = LEGACY

    @property
    def points(self) -> int:
        """Values in all of them."""
        return self.files * self.epochs * VALUES

    def write(self, folder: Path) -> list[Path]:
        """Make the folder and the logs in it; their paths in the order of their names."""
        folder.mkdir(parents=True)
        digits = len(str(self.files - 1))
        paths = [folder / f"run{i:0{digits}}.log" for i in range(self.files)]
        for i, path in enumerate(paths):
            text = TEXTS[self.kind](self.epochs, random.Random(f"{self.seed} {i}"))
            path.write_text(text, "utf-8", newline="\n")
        return paths


def legacy_text(count: int, noise: random.Random) -> str:
    """Legacy lines, one for each epoch."""
    return "".join(f"epoch {n},{tail}" for n, tail in enumerate(_tails(count, noise)))


def logger_text(count: int, noise: random.Random, others: float = 0.0) -> str:
    """Lines of a logger: time, epoch, iteration, five values. others: the share of lines that say something else."""
    out = []
    for n in range(count):
        clock = f"{n // 3600 % 24:02d}:{n // 60 % 60:02d}:{n % 60:02d},{n * 37 % 1000:03d}"
        stamp = f"2024-03-{1 + n // 86400 % 28:02d} {clock}"
        done = (n + 1) / count
        loss = 2.3 * (1 - done) ** 2 + 0.1 * noise.random()
        out.append(
            f"{stamp} - trainer - INFO - Epoch [{1 + n // 20}][{1 + n % 20}/20]  loss: {loss:.4f}, "
            f"loss_cls: {loss * 0.7:.4f}, loss_box: {loss * 0.3:.4f}, acc: {10 + 80 * done + noise.random():.3f}, "
            f"lr: {0.05 * 0.1 ** int(3 * done):.6f}\n"
        )
        if noise.random() < others / (1 - others):
            out.append(f"{stamp} - {noise.choice(_SAID)}\n")
    return "".join(out)


def averaged_text(count: int, noise: random.Random) -> str:
    """Lines of PyTorch's ImageNet example: each value, then its average in parentheses."""
    out = []
    for n in range(count):
        loss, took, top = 2 + noise.random(), 0.2 + noise.random() / 9, 40 + 20 * noise.random()
        out.append(
            f"Epoch: [{n // 500}][{n % 500 * 10:4d}/5000]\tTime {took:6.3f} ({took + 0.01:6.3f})\t"
            f"Data {took / 9:6.3f} ({took / 8:6.3f})\tLoss {loss:.4e} ({loss + 0.1:.4e})\t"
            f"Acc@1 {top:6.2f} ({top - 1:6.2f})\tAcc@5 {top + 20:6.2f} ({top + 19:6.2f})\n"
        )
    return "".join(out)


_SAID = (
    "trainer - INFO - saving the state",
    "data - WARNING - a worker was slow, trying again",
    "trainer - INFO - evaluating on the held-out part",
    "utils - DEBUG - cache is full; dropping what is oldest",
)
TEXTS: Mapping[str, Callable[[int, random.Random], str]] = {LEGACY: legacy_text, LINES: logger_text}


def write_large(path: Path, size_bytes: int, seed: int = 0) -> int:
    """One log of one long training, at least size_bytes long; the number of its lines."""
    tails = _tails(_PERIOD, random.Random(seed))
    count = written = 0
    with path.open("wb") as file:
        while written < size_bytes:
            lines = (f"epoch {n},{tails[n % _PERIOD]}" for n in range(count, count + _CHUNK))
            written += file.write("".join(lines).encode())
            count += _CHUNK
    return count


def _tails(epochs: int, noise: random.Random) -> list[str]:
    """What stands behind each epoch's number: a training that learns, more or less."""
    out = []
    for n in range(epochs):
        done = (n + 1) / epochs
        loss = 2.3 * (1 - done) ** 2 + 0.1 * noise.random()
        train = 0.1 + 0.85 * done + 0.05 * noise.random()
        test = 0.1 + 0.65 * done + 0.1 * noise.random()
        seconds = 19 + noise.random()
        rate = 0.05 * 0.1 ** int(3 * n / epochs)
        out.append(
            f"\tloss {loss:.4f},\ttrain accuracy {train:.3f},\ttest accuracy {test:.3f},"
            f"\tuse time {seconds:.3f},\tlr {rate:.6f}\n"
        )
    return out
