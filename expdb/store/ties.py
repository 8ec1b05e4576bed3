"""Of several values at a metric's last step and time MLflow takes the greatest for the last, and expdb the newest.

A run of MLflow's that gets points in another way than by its client (pulled, merged) has those values put in that
order, so that both say the same of it.
"""

from expdb.store import statements as sql
from expdb.store.database import Connection
from expdb.store.writer import derived_summary

_AT_THE_LAST = (
    "SELECT p.seq, p.value FROM point p JOIN metric m ON m.id = p.metric_id WHERE m.id = ? AND m.kind = 'curve'"
    " AND p.step = m.last_step AND p.time_ms = m.last_time_ms ORDER BY p.seq"
)
_PUT = "UPDATE point SET value = ? WHERE metric_id = ? AND seq = ?"


def settle(at: Connection, metric_id: int) -> bool:
    """Put the values at the metric's last step and time in MLflow's order, and its summary right; whether they were
    not. To be called within a transaction, once the metric's summary tells of all its points."""
    rows = at.execute(_AT_THE_LAST, (metric_id,)).fetchall()
    # NaN is as 0 there; of those two the first to come stays the last.
    ordered = sorted(rows, key=lambda row: (row[1] or 0.0, -row[0]))
    changed = [(value, metric_id, seq) for (seq, old), (_, value) in zip(rows, ordered, strict=True) if value != old]
    # What is no greater than the last keeps its place.
    if not changed or (rows[-1][1] or 0.0) >= (ordered[-1][1] or 0.0):
        return False
    at.executemany(_PUT, changed)
    unit, decimals = at.execute("SELECT unit, decimals FROM metric WHERE id = ?", (metric_id,)).fetchone()
    at.execute(sql.UPDATE_METRIC, (unit, decimals, *derived_summary(at, metric_id).row(), metric_id))
    return True
