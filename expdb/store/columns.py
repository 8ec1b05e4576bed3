"""Points by the million: columns in batches, as the driver gives them, without an object for each point."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from expdb.store.database import Database

# Rows that are Python's objects at a time: those of a large batch leave the processor's caches (1.5 times as slow).
BATCH = 2048

_PLACES = (
    "SELECT l.run_id, l.source_no, (SELECT path FROM source_place WHERE source_id = l.source_id"
    " ORDER BY rowid DESC LIMIT 1) FROM run_source l"
)


@dataclass(frozen=True, slots=True)
class PointColumns:
    """Consecutive points, by metric and then in order of arrival; all columns have one length. epochs: only where
    the step is not the epoch; a value of None is NaN."""

    metric_ids: Sequence[int]
    steps: Sequence[int | None]
    epochs: Sequence[float | None]
    values: Sequence[float | None]
    times_ms: Sequence[int | None]
    source_nos: Sequence[int | None]
    lines: Sequence[int | None]


NO_POINTS = PointColumns((), (), (), (), (), (), ())


def points(database: Database, metric_ids: Sequence[int]) -> Iterator[PointColumns]:
    """All points of the metrics, BATCH at a time. To be read within one `database.view`."""
    query = (
        "SELECT metric_id, step, epoch, value, time_ms, source_no, line FROM point"
        f" WHERE metric_id IN ({database.MEMBERS}) ORDER BY metric_id, seq"
    )
    for rows in database.batches(query, (json.dumps(sorted(metric_ids)),), BATCH):
        yield PointColumns(*zip(*rows, strict=True))


def places(database: Database) -> dict[tuple[int, int], str]:
    """Where the sources of the runs were found last, as stored, by (run's id, source_no)."""
    return {(run_id, source_no): path for run_id, source_no, path in database.rows(_PLACES) if path is not None}
