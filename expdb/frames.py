"""What is stored, as pandas' DataFrames: a row for each run, or a row for each point.

    with expdb.open() as results:
        results.runs(where="lr = 0.1 and best(test/accuracy) > 90%")
        results.points(experiment="fusion", metric="test/accuracy")

`where` is the language of the commands' --where.
"""

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from expdb import live, metrics, settings
from expdb.address import Address
from expdb.compare import Query, check_metric, select
from expdb.errors import DatabaseError, need
from expdb.expressions import parse_condition
from expdb.listing import tags_for_people
from expdb.records import Unit
from expdb.store import columns
from expdb.store.database import Database
from expdb.store.opening import open_database
from expdb.store.places import STDIN, located, readable
from expdb.store.reader import MetricRecord, RunRecord
from expdb.store.writer import as_number

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray
    from pandas import DataFrame, Series
    from pandas.api.extensions import ExtensionArray

    Ints = NDArray[numpy.int64]
    Floats = NDArray[numpy.float64]

# No step, time or line.
MISSING = -(1 << 63)
# (value, unit) of a metric, by its key and the run's place.
_Values = dict[str, dict[int, tuple[float, Unit | None]]]


def open(db: str | os.PathLike[str] | None = None) -> "Results":
    """The database, for reading: db, or the one that the commands use here.

    Raises MissingExtraError without pandas, NotFoundError where there is no database.
    """
    need("pandas", extra="pandas")
    named = settings.in_force().database
    return Results(settings.database_path(db, named=named))


class Results:
    """An open database, which is only read. address: its file, or its server's."""

    def __init__(self, address: Address) -> None:
        self.address = address
        live.adopt(address)
        self._database: Database | None = open_database(address)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<expdb results {str(self.address)!r}{'' if self._database else ', closed'}>"

    def close(self) -> None:
        """Release the file; a second time changes nothing."""
        if self._database is not None:
            self._database.close()
            self._database = None

    def runs(self, where: str | None = None, experiment: str | None = None) -> "DataFrame":
        """A row for each run, oldest first: uid, experiment, name, status, origin, seed, note, started, ended (UTC);

        - params.KEY: numbers where every run that has the param has a number there, text else;
        - tags.KEY: text;
        - metrics.NAME: the last value of a metric, at its greatest step (NaN where a run has none, or diverged);
        - best.NAME: its least or greatest value, for results of which it is known which way is better.

        A metric's numbers are in one unit, percent where fractions and percents meet; `.attrs["units"]` tells it by
        column. Raises ExpressionError for a where that does not parse, NotFoundError for names that no run has.
        """
        import pandas as pd

        database = self._opened()
        with database.view():
            records = self._select(database, where, experiment)
        number = len(records)
        data: dict[str, object] = {
            word: _text([getattr(record, word) for record in records])
            for word in ("uid", "experiment", "name", "status", "origin")
        }
        data["seed"] = _nullable(_wholes([_seed(record) for record in records]))
        data["note"] = _text([record.note for record in records])
        data["started"] = _moments(_wholes([record.started_ms for record in records]))
        data["ended"] = _moments(_wholes([record.ended_ms for record in records]))
        for key, words in _by_key(records, lambda record: record.params).items():
            data[f"params.{key}"] = _numbers_or_text(words, number)
        for key, words in _by_key(records, lambda record: tags_for_people(record.tags)).items():
            data[f"tags.{key}"] = _text([words.get(i) for i in range(number)])
        units = {}
        for title, chosen in (("metrics", _last(records)), ("best", _best(records))):
            for key, values in chosen.items():
                name = f"{title}.{key}"
                data[name], unit = _in_one_unit(values, number)
                if unit is not None:
                    units[name] = unit
        out = pd.DataFrame(data, index=pd.RangeIndex(number))
        out.attrs["units"] = units
        return out

    def points(self, where: str | None = None, experiment: str | None = None, metric: str | None = None) -> "DataFrame":
        """A row for each point of the runs' metrics, or of the one that is named by its name, key or label.

        Columns: uid, run, experiment, metric (its key), label (as printed), unit, step, epoch, value as printed, time
        (UTC), source (the file it was read from) and line. By run, metric and order of arrival. Raises as `runs`.
        """
        import numpy as np
        import pandas as pd

        database = self._opened()
        with database.view():
            records = self._select(database, where, experiment)
            if metric is not None:
                check_metric(database, records, metric)
            chosen = [
                (place, record, one)
                for place, record in enumerate(records)
                for one in (record.metrics if metric is None else _named(record, metric))
            ]
            # The points come by the metrics' ids.
            chosen.sort(key=lambda each: each[2].id)
            read = _read(columns.points(database, [one.id for *_, one in chosen]))
            places = columns.places(database)
        # Of each point: which of the chosen it is of.
        of = np.searchsorted(_wholes([one.id for *_, one in chosen]), read.which)
        # A run that grew has metrics with ids behind those of later runs.
        by_run = _wholes([place for place, *_ in chosen])[of]
        order = np.argsort(by_run, kind="stable") if np.any(by_run[1:] < by_run[:-1]) else slice(None)
        of = of[order]

        # As the view `curve` tells it.
        counts_epochs = np.array([one.step_unit == "epoch" for *_, one in chosen], dtype=np.bool_)[of]
        steps, epochs = read.steps[order], read.epochs[order]
        epochs = np.where(counts_epochs & np.isnan(epochs) & (steps != MISSING), steps, epochs)

        def told(words: Iterable[str | None]) -> "ExtensionArray":
            return _repeated(list(words), of)

        return pd.DataFrame(
            {
                "uid": told(record.uid for _, record, _ in chosen),
                "run": told(record.name for _, record, _ in chosen),
                "experiment": told(record.experiment for _, record, _ in chosen),
                "metric": told(one.key for *_, one in chosen),
                "label": told(one.label for *_, one in chosen),
                "unit": told(one.unit for *_, one in chosen),
                "step": _nullable(steps),
                "epoch": epochs,
                "value": read.values[order],
                "time": _moments(read.times_ms[order]),
                "source": self._sources([record.id for _, record, _ in chosen], of, read.source_nos[order], places),
                "line": _nullable(read.lines[order]),
            }
        )

    def _opened(self) -> Database:
        if self._database is None:
            raise DatabaseError(f"{self.address} was closed", hint="expdb.open() opens it again")
        return self._database

    def _select(self, database: Database, where: str | None, experiment: str | None) -> list[RunRecord]:
        condition = None if where is None else parse_condition(where)
        return select(database, Query(experiment=experiment, where=condition))

    def _sources(
        self, run_ids: Sequence[int], of: "Ints", source_nos: "Ints", places: Mapping[tuple[int, int], str]
    ) -> "ExtensionArray":
        """The file of each point, as `blame` names it; run_ids: of what `of` points to."""
        import numpy as np

        # A run has few sources: what is told by (which metric, which source) is worked out once for each.
        numbers = _where(source_nos == MISSING, 0, source_nos)
        most = int(numbers.max(initial=0)) + 1
        pairs, at = np.unique(of * most + numbers, return_inverse=True)
        shown: dict[str, str] = {}
        words: list[str | None] = []
        for pair in pairs.tolist():
            place = places.get((run_ids[pair // most], pair % most))
            if place is not None and place not in shown:
                shown[place] = _path(place, self.address)
            words.append(None if place is None else shown[place])
        return _repeated(words, at)


@dataclass(frozen=True, slots=True)
class _Points:
    """Columns of points. which: the metric's id; whole numbers that are missing are MISSING, others NaN."""

    which: "Ints"
    steps: "Ints"
    epochs: "Floats"
    values: "Floats"
    times_ms: "Ints"
    source_nos: "Ints"
    lines: "Ints"


def _read(batches: Iterable[columns.PointColumns]) -> _Points:
    """All batches as one."""
    import numpy as np

    parts = [
        (
            _wholes(one.metric_ids),
            _wholes(one.steps),
            np.array(one.epochs, dtype=np.float64),
            np.array(one.values, dtype=np.float64),
            _wholes(one.times_ms),
            _wholes(one.source_nos),
            _wholes(one.lines),
        )
        for one in (*batches, columns.NO_POINTS)
    ]
    which, steps, epochs, values, times_ms, source_nos, lines = zip(*parts, strict=True)
    return _Points(
        np.concatenate(which),
        np.concatenate(steps),
        np.concatenate(epochs),
        np.concatenate(values),
        np.concatenate(times_ms),
        np.concatenate(source_nos),
        np.concatenate(lines),
    )


def _wholes(numbers: Sequence[int | None]) -> "Ints":
    import numpy as np

    try:
        return np.array(numbers, dtype=np.int64)
    except TypeError:
        return np.array([MISSING if one is None else one for one in numbers], dtype=np.int64)


def _nullable(numbers: "Ints") -> "ExtensionArray":
    import pandas as pd

    missing = numbers == MISSING
    return pd.arrays.IntegerArray(_where(missing, 0, numbers), missing)


def _where(condition: "NDArray[numpy.bool_]", there: int, other: "Ints") -> "Ints":
    import numpy as np

    return np.where(condition, there, other).astype(np.int64, copy=False)


def _moments(times_ms: "Ints") -> "Series":
    import pandas as pd

    # MISSING is what numpy has for no time.
    return pd.Series(times_ms.view("datetime64[ms]")).dt.tz_localize("UTC")


def _text(words: Sequence[str | None]) -> "Series":
    import pandas as pd

    # What pandas takes text for differs between its versions.
    return pd.Series(words, dtype=pd.Series([""]).dtype)


def _repeated(words: Sequence[str | None], of: "Ints") -> "ExtensionArray":
    """The words that are meant by their places; each is made text once."""
    return _text(words).array.take(of)


def _path(place: str, database: Address) -> str:
    """A file as a person here would type it."""
    if place == STDIN:
        return STDIN
    path, here = located(place, database), Path.cwd()
    return readable(str(path.relative_to(here) if path.is_relative_to(here) else path))


def _named(record: RunRecord, metric: str) -> Iterator[MetricRecord]:
    """The run's metrics of that name; else the one with the key, else with the label."""
    found = [one for one in record.metrics if one.name == metric]
    other = record.metric(metric)
    yield from found or ([] if other is None else [other])


def _seed(record: RunRecord) -> int | None:
    if record.seed is not None:
        return record.seed
    number = as_number(record.params.get("seed", ""))
    return int(number) if number is not None and number.is_integer() and abs(number) < 1 << 53 else None


def _by_key(records: Sequence[RunRecord], words: Callable[[RunRecord], Mapping[str, str]]) -> dict[str, dict[int, str]]:
    """The words by key, and in each by the run's place."""
    out: dict[str, dict[int, str]] = {}
    for place, record in enumerate(records):
        for key, value in words(record).items():
            out.setdefault(key, {})[place] = value
    return out


def _numbers_or_text(words: Mapping[int, str], length: int) -> "Series":
    import pandas as pd

    numbers = {place: as_number(word) for place, word in words.items()}
    if None in numbers.values():
        return _text([words.get(place) for place in range(length)])
    found = [numbers.get(place) for place in range(length)]
    whole = all(_is_whole(word) for word in words.values())
    if whole and len(words) == length:
        return pd.Series([int(words[place]) for place in range(length)], dtype="int64")
    return pd.Series(found, dtype="float64")


def _is_whole(word: str) -> bool:
    return word.strip().lstrip("+-").isdecimal() and len(word) < 18


def _last(records: Sequence[RunRecord]) -> _Values:
    """The last value of each metric, by its key and the run's place."""
    out: _Values = {}
    for place, record in enumerate(records):
        for one in record.metrics:
            out.setdefault(one.key, {})[place] = _value(one.last_value), one.unit
    return out


def _best(records: Sequence[RunRecord]) -> _Values:
    """The best value of each result of which it is known which way is better."""
    out: _Values = {}
    for place, record in enumerate(records):
        for one in record.metrics:
            word = next(filter(metrics.is_result, (one.name, one.label)), None)
            if word is not None:
                found = one.max_value if metrics.better(word) == "max" else one.min_value
                out.setdefault(one.key, {})[place] = _value(found), one.unit
    return out


def _value(found: float | None) -> float:
    # SQLite stores NaN as NULL.
    return math.nan if found is None else found


def _in_one_unit(values: Mapping[int, tuple[float, Unit | None]], length: int) -> tuple["Floats", Unit | None]:
    import numpy as np

    units = {unit for _, unit in values.values()}
    # Beside a number that has no unit, none can be said of the column.
    unit = None if None in units else metrics.common_unit(units)
    out = np.full(length, np.nan)
    for place, (value, own) in values.items():
        out[place] = value if unit is None else metrics.in_unit(value, own, unit)
    return out, unit
