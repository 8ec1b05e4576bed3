"""Where the training is at each line: its epoch and its iteration."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from operator import lt

from expdb.parsers.logs.rows import MOST_STEP, Rows, counts_training, floats, integers
from expdb.parsers.logs.templates import Template


@dataclass(slots=True)
class _Clock:
    """Where the training is. offset: iterations of the epochs before this one, where each counts anew."""

    epoch: int | None = None
    iteration: int | None = None
    base: int | None = None
    offset: int = 0
    in_epoch: bool | None = None


class Steps:
    """Gives rows their steps, block after block."""

    def __init__(self) -> None:
        self._clock = _Clock()
        self._counted: dict[Template, int] = {}

    @property
    def epoch(self) -> int | None:
        """The epoch after the last block."""
        return self._clock.epoch

    def give(self, groups: list[Rows]) -> None:
        """Each row's step and epoch; a row without one takes that of the training it follows, or counts its kind."""
        training = [rows for rows in groups if counts_training(rows.template)]
        if not training:
            training = [rows for rows in groups if rows.template.positions]
        for rows in training:
            self._own_steps(rows, training)
        known: list[tuple[int, int | None, int | None]] = []
        others = [rows for rows in groups if not rows.steps]
        if others:
            for rows in training:
                if rows.step_unit == "row":
                    continue
                steps = rows.steps if "iteration" in rows.template.positions else [None] * len(rows.lines)
                epochs: Sequence[float | None] = rows.steps if rows.epochs is None else rows.epochs
                if "epoch" not in rows.template.positions:
                    epochs = [None] * len(rows.lines)
                known += zip(rows.lines, steps, epochs, strict=True)  # type: ignore[arg-type]
            known.sort(key=lambda row: row[0])
            known = _filled(known, self._clock)
            at_lines = [line for line, _, _ in known]
            for rows in others:
                self._borrowed_steps(rows, at_lines, known)
        if known:
            self._clock.epoch, self._clock.iteration = known[-1][2], known[-1][1]
        for rows in sorted(training, key=lambda rows: rows.lines[-1]) if not known else ():
            if rows.step_unit == "row":
                continue
            if "iteration" not in rows.template.positions:
                self._clock.epoch = rows.steps[-1]
                continue
            self._clock.iteration = rows.steps[-1]
            epoch = rows.epochs[-1] if rows.epochs else None
            if epoch is not None and abs(epoch) < MOST_STEP:
                self._clock.epoch = int(epoch)

    def _own_steps(self, rows: Rows, training: list[Rows]) -> None:
        epochs = rows.numbers("epoch")
        iterations = rows.numbers("iteration")
        if iterations is None:
            rows.steps, rows.step_unit = epochs or (), "epoch"
            if epochs is None or "iteration" in rows.template.positions:
                # An epoch of 0.53 is no step; it is kept beside the number of the row.
                rows.epochs = floats(rows.column("epoch"))
                count = self._counted.get(rows.template, 0)
                rows.steps, rows.step_unit = range(count, count + len(rows.lines)), "row"
                self._counted[rows.template] = count + len(rows.lines)
            return
        rows.step_unit = "iteration"
        if epochs is None:
            rows.steps = iterations
            outer = [r for r in training if r.template.positions == {"epoch"} and r.numbers("epoch")]
            if outer:
                self._within(rows, iterations, outer)
            return
        rows.epochs = epochs
        rows.steps = self._risen(rows, epochs, iterations)

    def _within(self, rows: Rows, iterations: Sequence[int], outer: list[Rows]) -> None:
        """Steps of rows whose epoch is printed on lines of another kind."""
        marks = sorted(chain.from_iterable(zip(r.lines, r.numbers("epoch") or [], strict=True) for r in outer))
        lines = [line for line, _ in marks]
        epochs: list[int | None] = []
        for line in rows.lines:
            place = bisect_right(lines, line)
            epochs.append(marks[place - 1][1] if place else self._clock.epoch)
        if None in epochs:
            # Marks stand above the lines of their epoch, or below.
            low = next((e for e in epochs if e is not None), 1)
            epochs = [low if e is None else e for e in epochs]
        rows.epochs = epochs
        if self._clock.in_epoch is None and rows.template.fields[0].label != "counter":
            # "step 250/20000" below a line that names an epoch counts through.
            rows.steps = iterations
            if not any(map(lt, iterations[1:], iterations)):
                return
        rows.steps = self._risen(rows, [e for e in epochs if e is not None], iterations)

    def _risen(self, rows: Rows, epochs: Sequence[int], iterations: Sequence[int]) -> Sequence[int]:
        """Iterations counted through, where they are printed from the start of each epoch."""
        clock = self._clock
        if clock.base is None:
            clock.base = min(1, max(0, epochs[0]))
        if clock.in_epoch is None and any(map(lt, iterations[1:], iterations)):
            clock.in_epoch = (
                any(
                    after < before and later > sooner
                    for (before, sooner), (after, later) in pairwise(zip(iterations, epochs, strict=True))
                )
                or None
            )
        totals = integers(rows.totals()) if rows.template.counts_batches else None
        if totals and (clock.in_epoch or (clock.in_epoch is None and iterations[-1] <= totals[-1])):
            # A counter of samples or batches of the epoch.
            base = clock.base
            if min(epochs) >= base:
                return [(e - base) * t + i for e, t, i in zip(epochs, totals, iterations, strict=True)]
            return [max(0, e - base) * t + i for e, t, i in zip(epochs, totals, iterations, strict=True)]
        if not clock.in_epoch:
            return iterations
        out, offset, last, epoch = [], clock.offset, None, epochs[0]
        for e, i in zip(epochs, iterations, strict=True):
            if last is not None and e > epoch and i < last:
                offset += last
            elif e < epoch:
                offset = 0
            out.append(offset + i)
            last, epoch = i, e
        clock.offset = offset
        return out

    def _borrowed_steps(self, rows: Rows, at_lines: list[int], known: list[tuple[int, int | None, int | None]]) -> None:
        own = rows.numbers("epoch")
        if own is not None:
            rows.steps = own
            return
        count = self._counted.get(rows.template, 0)
        steps, epochs = [], []
        for line in rows.lines:
            place = bisect_right(at_lines, line)
            _, iteration, epoch = known[place - 1] if place else (0, self._clock.iteration, self._clock.epoch)
            if epoch is not None:
                steps.append(epoch)
            elif iteration is not None:
                steps.append(iteration)
                rows.step_unit = rows.later_unit = "iteration"
            else:
                steps.append(count + rows.counted)
                rows.counted += 1
            epochs.append(epoch)
        self._counted[rows.template] = count + rows.counted
        rows.steps = steps
        if rows.counted:
            rows.step_unit = "row"


def _filled(known: list[tuple[int, int | None, int | None]], clock: _Clock) -> list[tuple[int, int | None, int | None]]:
    """Positions in the order of lines, each with the latest epoch and iteration."""
    iteration, epoch = clock.iteration, clock.epoch
    out = []
    for line, i, e in known:
        iteration = i if i is not None else iteration
        epoch = e if e is not None else epoch
        out.append((line, iteration, epoch))
    return out
