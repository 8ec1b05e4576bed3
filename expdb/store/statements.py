"""SQL text of the hot paths: bulk writes of ingest, and the reads of ls and compare.

A test prepares every one of them against the schema that store.schema declares.
"""

from functools import lru_cache

# Rows of one bulk statement; a batch is cut into the largest that fit, so few statements are ever compiled.
POINT_ROWS = (256, 64, 16, 4, 1)
# Points of one bulk statement; more gain nothing, and some builds of SQLite bind no more than 32,766 values.
POINTS_AT_ONCE = 1024

INSERT_EXPERIMENT = "INSERT INTO experiment (name, created_ms, updated_ms) VALUES (?, ?, ?) RETURNING id"
TOUCH_EXPERIMENT = "UPDATE experiment SET updated_ms = ?, deleted_ms = NULL WHERE id = ?"
EXPERIMENT_BY_NAME = "SELECT id FROM experiment WHERE name = ?"
RUN_NAMES = "SELECT name FROM run WHERE experiment_id = ?"
INSERT_RUN = (
    "INSERT INTO run (uid, experiment_id, name, origin, status, started_ms, ended_ms) VALUES (?, ?, ?, ?, ?, ?, ?)"
    " RETURNING id"
)
# The row that was put last stands last: rowid is the order of writing, on PostgreSQL by a column of that name.
PUT_PARAM = (
    "INSERT INTO param (run_id, key, value, number) VALUES (?, ?, ?, ?) ON CONFLICT (run_id, key) DO UPDATE SET"
    " value = excluded.value, number = excluded.number, rowid = excluded.rowid"
)
PUT_TAG = (
    "INSERT INTO tag (run_id, key, value) VALUES (?, ?, ?) ON CONFLICT (run_id, key) DO UPDATE SET"
    " value = excluded.value, rowid = excluded.rowid"
)
NEXT_METRIC = "SELECT coalesce(max(id), 0) + 1 FROM metric"
INSERT_METRIC = (
    "INSERT INTO metric (id, run_id, key, name, label, kind, rule, unit, decimals, step_unit, count, nonfinite,"
    " first_step, first_value, last_step, last_time_ms, last_value, min_step, min_value, max_step, max_value)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
UPDATE_METRIC = (
    "UPDATE metric SET unit = ?, decimals = ?, count = ?, nonfinite = ?, first_step = ?, first_value = ?,"
    " last_step = ?, last_time_ms = ?, last_value = ?, min_step = ?, min_value = ?, max_step = ?, max_value = ?"
    " WHERE id = ?"
)
METRICS_OF_RUN = (
    "SELECT id, key, name, label, kind, rule, unit, decimals, step_unit, count, nonfinite,"
    " first_step, first_value, last_step, last_time_ms, last_value, min_step, min_value, max_step, max_value"
    " FROM metric WHERE run_id = ? ORDER BY id"
)
NEXT_SOURCE = "SELECT coalesce(max(id), 0) + 1 FROM source"
PUT_SOURCE = (
    "INSERT INTO source (id, sha256, tail_sha256, size_bytes, line_count, format, parser_version, encoding, unparsed,"
    " ingested_ms, content) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET"
    " sha256 = excluded.sha256, tail_sha256 = excluded.tail_sha256, size_bytes = excluded.size_bytes,"
    " line_count = excluded.line_count, format = excluded.format, parser_version = excluded.parser_version,"
    " encoding = excluded.encoding, unparsed = excluded.unparsed,"
    " content = excluded.content"
)
SOURCE_BY_DIGEST = (
    "SELECT id, sha256, size_bytes, line_count, format FROM source WHERE sha256 = ?"
    " AND coalesce(tail_sha256, '') = coalesce(?, '') ORDER BY id LIMIT 1"
)
SOURCE_BY_PLACE = (
    "SELECT s.id, s.sha256, s.size_bytes, s.line_count, s.format FROM source_place p"
    " JOIN source s ON s.id = p.source_id WHERE p.path = ? ORDER BY p.rowid DESC LIMIT 1"
)
# The row that was put last is what was read there last.
PUT_PLACE = (
    "INSERT INTO source_place (source_id, path) VALUES (?, ?) ON CONFLICT (source_id, path) DO UPDATE SET"
    " rowid = excluded.rowid"
)
PUT_RUN_SOURCE = (
    "INSERT INTO run_source (run_id, source_no, source_id, line_first, line_last) VALUES (?, ?, ?, ?, ?)"
    " ON CONFLICT (run_id, source_no) DO UPDATE SET source_id = excluded.source_id, line_first = excluded.line_first,"
    " line_last = excluded.line_last"
)
RUNS_OF_SOURCE = (
    "SELECT l.run_id, l.source_no, l.line_first, r.experiment_id, r.name, coalesce((SELECT old FROM edit"
    " WHERE run_id = r.id AND field = 'name' ORDER BY id LIMIT 1), r.name) FROM run_source l"
    " JOIN run r ON r.id = l.run_id WHERE l.source_id = ? ORDER BY l.line_first, r.id, l.source_no"
)
DELETE_POINTS_BEHIND = "DELETE FROM point WHERE metric_id = ? AND line > ? AND source_no = ?"
NEXT_SEQ = "SELECT coalesce(max(seq), -1) + 1 FROM point WHERE metric_id = ?"
CORRECTIONS = "SELECT field, key, new FROM edit WHERE run_id = ? AND field IN ('unit', 'metric') ORDER BY id"
POINTS_OF_METRIC = "SELECT step, value, time_ms FROM point WHERE metric_id = ? ORDER BY seq"
DELETE_POINTS = "DELETE FROM point WHERE metric_id = ?"
DELETE_METRIC = "DELETE FROM metric WHERE id = ?"

RUNS = (
    "SELECT r.id, r.uid, r.name, e.name, r.origin, r.status, r.seed, r.note, r.started_ms, r.ended_ms"
    " FROM run r JOIN experiment e ON e.id = r.experiment_id"
    " WHERE r.deleted_ms IS NULL AND e.deleted_ms IS NULL AND (CAST(?1 AS TEXT) IS NULL OR e.name = ?1) ORDER BY r.id"
)
# A run that another one's log tells of shares its state.
PUT_BELOW = (
    "UPDATE run SET parent_id = p.id, origin = p.origin, status = p.status, started_ms = p.started_ms"
    " FROM run p WHERE p.id = ?1 AND run.id = ?2"
)
# What MLflow logs here is its own to end.
UNSETTLED = (
    "SELECT r.id, r.uid, r.name, e.name, r.status FROM run r JOIN experiment e ON e.id = r.experiment_id"
    " WHERE r.status IN ('scheduled', 'running') AND r.origin <> 'mlflow' AND r.deleted_ms IS NULL ORDER BY r.id"
)
PARAMS = (
    "SELECT p.run_id, p.key, p.value FROM param p JOIN run r ON r.id = p.run_id"
    " JOIN experiment e ON e.id = r.experiment_id"
    " WHERE r.deleted_ms IS NULL AND e.deleted_ms IS NULL AND (CAST(?1 AS TEXT) IS NULL OR e.name = ?1)"
    " ORDER BY p.run_id, p.rowid"
)
TAGS = (
    "SELECT t.run_id, t.key, t.value FROM tag t JOIN run r ON r.id = t.run_id"
    " JOIN experiment e ON e.id = r.experiment_id"
    " WHERE r.deleted_ms IS NULL AND e.deleted_ms IS NULL AND (CAST(?1 AS TEXT) IS NULL OR e.name = ?1)"
    " ORDER BY t.run_id, t.rowid"
)
SUMMARIES = (
    "SELECT m.run_id, m.id, m.key, m.name, m.label, m.kind, m.rule, m.unit, m.decimals, m.step_unit, m.count,"
    " m.nonfinite, m.first_step, m.first_value, m.last_step, m.last_value, m.min_step, m.min_value, m.max_step,"
    " m.max_value FROM metric m JOIN run r ON r.id = m.run_id JOIN experiment e ON e.id = r.experiment_id"
    " WHERE r.deleted_ms IS NULL AND e.deleted_ms IS NULL AND (CAST(?1 AS TEXT) IS NULL OR e.name = ?1)"
    " ORDER BY m.run_id, m.id"
)

# Bulk writes by the table they write to. Nobody waits for their answer: they may be sent later, many at once, as long
# as they are there for the next statement that speaks of that table.
UNANSWERED = {
    PUT_PARAM: "param",
    PUT_TAG: "tag",
    INSERT_METRIC: "metric",
    UPDATE_METRIC: "metric",
    PUT_SOURCE: "source",
    PUT_PLACE: "source_place",
    PUT_RUN_SOURCE: "run_source",
}


@lru_cache(maxsize=128)
def insert_points(rows: int, curves: int, *, timed: bool) -> str:
    """Insert consecutive points of curves that share steps and lines.

    ?1 seq of the first, ?2 source_no, then an id for each curve, all steps, all lines; timed: all epochs and
    all times; then all values of each curve in turn. What is NULL or shared is not bound point by point,
    which makes the wide row as cheap as a narrow one.
    """
    step = 3 + curves
    line, epoch, time_ms = step + rows, step + 2 * rows, step + 3 * rows
    value = step + (4 if timed else 2) * rows
    out = []
    for k in range(curves):
        for i in range(rows):
            late = (f"?{epoch + i}", f"?{time_ms + i}") if timed else ("NULL", "NULL")
            shared = f"(?{3 + k}, ?1 + {i}, ?{step + i}, {late[0]}, ?{value + k * rows + i}, {late[1]}"
            out.append(f"{shared}, ?2, ?{line + i})")
    return "INSERT INTO point (metric_id, seq, step, epoch, value, time_ms, source_no, line) VALUES " + ", ".join(out)


def every() -> dict[str, str]:
    """All statements by name."""
    texts = {name: text for name, text in globals().items() if name.isupper() and isinstance(text, str)}
    bulk = {
        f"insert_points({rows}, {curves}, {timed})": insert_points(rows, curves, timed=timed)
        for rows in POINT_ROWS
        for curves in (1, 5)
        for timed in (False, True)
    }
    return texts | bulk
