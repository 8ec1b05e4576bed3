"""Generated training logs: the legacy line with five values, the same bytes for the same seed."""

import random
from dataclasses import dataclass
from pathlib import Path

VALUES = 5
# Lines of a large log repeat after this many; only their epochs go on.
_PERIOD = 10_000
_CHUNK = 50_000


@dataclass(frozen=True, slots=True)
class Logs:
    """How many logs of how many epochs."""

    files: int = 1000
    epochs: int = 100
    seed: int = 0

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
            tails = _tails(self.epochs, random.Random(f"{self.seed} {i}"))
            path.write_text("".join(f"epoch {n},{tail}" for n, tail in enumerate(tails)), "utf-8", newline="\n")
        return paths


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
