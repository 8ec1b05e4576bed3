"""What a person set outside the command line: the database's place and the clock."""

import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from expdb.errors import UsageError

_YEAR_10000_S = 253_402_300_800
DEFAULT_DATABASE = Path("runs", "expdb.db")


def database_path(option: Path | None, environ: Mapping[str, str] = os.environ) -> Path:
    """Which database is meant: --db, else EXPDB_DB, else the nearest runs/expdb.db upward, else the one here."""
    named = option or (Path(environ["EXPDB_DB"]) if environ.get("EXPDB_DB") else None)
    if named:
        if "://" in str(named) or str(named).startswith(("postgresql:", "postgres:")):
            raise UsageError("the commands work on a SQLite file so far, not on a server", hint="--db runs/expdb.db")
        # os.path leaves a user it does not know alone; Path would break down.
        return Path(os.path.expanduser(named))  # noqa: PTH111
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / DEFAULT_DATABASE).is_file():
            return folder / DEFAULT_DATABASE
    return here / DEFAULT_DATABASE


def now_ms(environ: Mapping[str, str] = os.environ) -> int:
    """Milliseconds since 1970 in UTC; EXPDB_NOW (ISO 8601, or seconds) holds the clock for reproducible pages."""
    held = environ.get("EXPDB_NOW")
    if not held:
        return time.time_ns() // 1_000_000
    try:
        seconds = float(held)
    except ValueError:
        try:
            moment = datetime.fromisoformat(held)
        except ValueError:
            raise UsageError(f"EXPDB_NOW is no time: {held!r}", hint="EXPDB_NOW=2026-01-31T12:00:00Z") from None
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if not 0 <= seconds < _YEAR_10000_S:
        raise UsageError(f"EXPDB_NOW is no time: {held!r}", hint="EXPDB_NOW=2026-01-31T12:00:00Z")
    return round(seconds * 1000)
