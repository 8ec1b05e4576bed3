"""SQL text of the hot paths: bulk writes of ingest, and the reads of ls and compare.

A test prepares every one of them against the schema that store.schema declares.
"""

from functools import cache

# Rows of one bulk statement; a batch is cut into the largest that fit, so few statements are ever compiled.
POINT_ROWS = (256, 128, 64, 32, 16, 8, 4, 2, 1)

INSERT_EXPERIMENT = "INSERT INTO experiment (name, created_ms, updated_ms) VALUES (?, ?, ?)"
TOUCH_EXPERIMENT = "UPDATE experiment SET updated_ms = ?, deleted_ms = NULL WHERE id = ?"
EXPERIMENT_BY_NAME = "SELECT id FROM experiment WHERE name = ?"
RUN_NAMES = "SELECT name FROM run WHERE experiment_id = ?"
INSERT_RUN = (
    "INSERT INTO run (uid, experiment_id, name, origin, status, started_ms, ended_ms) VALUES (?, ?, ?, ?, ?, ?, ?)"
)
PUT_PARAM = "INSERT OR REPLACE INTO param (run_id, key, value, number) VALUES (?, ?, ?, ?)"
PUT_TAG = "INSERT OR REPLACE INTO tag (run_id, key, value) VALUES (?, ?, ?)"
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
    "INSERT OR REPLACE INTO source (id, sha256, tail_sha256, size_bytes, line_count, format, parser_version, encoding,"
    " unparsed, ingested_ms, content) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
SOURCE_BY_DIGEST = (
    "SELECT id, sha256, tail_sha256, size_bytes, line_count FROM source WHERE sha256 = ? AND tail_sha256 IS ?"
    " ORDER BY id LIMIT 1"
)
SOURCE_BY_PLACE = (
    "SELECT s.id, s.sha256, s.tail_sha256, s.size_bytes, s.line_count FROM source_place p"
    " JOIN source s ON s.id = p.source_id WHERE p.path = ? ORDER BY s.id DESC LIMIT 1"
)
PUT_PLACE = "INSERT OR IGNORE INTO source_place (source_id, path) VALUES (?, ?)"
PUT_RUN_SOURCE = (
    "INSERT OR REPLACE INTO run_source (run_id, source_no, source_id, line_first, line_last) VALUES (?, ?, ?, ?, ?)"
)
RUNS_OF_SOURCE = (
    "SELECT l.run_id, l.source_no, l.line_first, r.uid, r.name, r.deleted_ms, r.experiment_id FROM run_source l"
    " JOIN run r ON r.id = l.run_id WHERE l.source_id = ? ORDER BY r.id, l.source_no"
)
DELETE_POINTS_BEHIND = "DELETE FROM point WHERE metric_id = ? AND line > ? AND source_no = ?"
NEXT_SEQ = "SELECT coalesce(max(seq), -1) + 1 FROM point WHERE metric_id = ?"
POINTS_OF_METRIC = "SELECT step, value, time_ms FROM point WHERE metric_id = ? ORDER BY seq"
DELETE_POINTS = "DELETE FROM point WHERE metric_id = ?"
DELETE_METRIC = "DELETE FROM metric WHERE id = ?"

RUNS = (
    "SELECT r.id, r.uid, r.name, e.name, r.origin, r.status, r.seed, r.note, r.started_ms, r.ended_ms"
    " FROM run r JOIN experiment e ON e.id = r.experiment_id"
    " WHERE r.deleted_ms IS NULL AND e.deleted_ms IS NULL AND (?1 IS NULL OR e.name = ?1) ORDER BY r.id"
)
PARAMS = (
    "SELECT p.run_id, p.key, p.value FROM param p JOIN run r ON r.id = p.run_id"
    " JOIN experiment e ON e.id = r.experiment_id"
    " WHERE r.deleted_ms IS NULL AND (?1 IS NULL OR e.name = ?1) ORDER BY p.run_id, p.rowid"
)
TAGS = (
    "SELECT t.run_id, t.key, t.value FROM tag t JOIN run r ON r.id = t.run_id"
    " JOIN experiment e ON e.id = r.experiment_id"
    " WHERE r.deleted_ms IS NULL AND (?1 IS NULL OR e.name = ?1) ORDER BY t.run_id, t.rowid"
)
SUMMARIES = (
    "SELECT m.run_id, m.id, m.key, m.name, m.label, m.kind, m.rule, m.unit, m.decimals, m.step_unit, m.count,"
    " m.nonfinite, m.first_step, m.first_value, m.last_step, m.last_value, m.min_step, m.min_value, m.max_step,"
    " m.max_value FROM metric m JOIN run r ON r.id = m.run_id JOIN experiment e ON e.id = r.experiment_id"
    " WHERE r.deleted_ms IS NULL AND (?1 IS NULL OR e.name = ?1) ORDER BY m.run_id, m.id"
)


@cache
def insert_points(rows: int, *, timed: bool) -> str:
    """Insert consecutive points of one metric.

    ?1 metric_id, ?2 seq of the first, ?3 source_no, then all steps, all values, all lines; timed: then all
    epochs and all times. Columns that are NULL or shared are not bound row by row, which makes the wide
    row as cheap as a narrow one.
    """
    out = []
    for i in range(rows):
        step, value, line, epoch, time_ms = (4 + i + part * rows for part in range(5))
        late = (f"?{epoch}", f"?{time_ms}") if timed else ("NULL", "NULL")
        out.append(f"(?1, ?2 + {i}, ?{step}, {late[0]}, ?{value}, {late[1]}, ?3, ?{line})")
    return "INSERT INTO point (metric_id, seq, step, epoch, value, time_ms, source_no, line) VALUES " + ", ".join(out)


def every() -> dict[str, str]:
    """All statements by name."""
    texts = {name: text for name, text in globals().items() if name.isupper() and isinstance(text, str)}
    bulk = {
        f"insert_points({n}, {timed})": insert_points(n, timed=timed) for n in POINT_ROWS for timed in (False, True)
    }
    return texts | bulk
