"""Tables of any length, written as they come: CSV or Parquet, for pandas, R and spreadsheets.

CSV is UTF-8 after RFC 4180: no BOM unless asked for, records end in a line feed, a missing value is an empty cell, NaN
and infinities are `nan`, `inf`, `-inf`, times are ISO 8601 in UTC. Text is not changed, also where a spreadsheet would
take it for a formula. Parquet has the same columns, typed: int64, double, timestamp in UTC, string.
"""

import csv
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

from expdb import whole
from expdb.errors import DatabaseError, UsageError, need

if TYPE_CHECKING:
    import pyarrow

Kind = Literal["text", "whole", "number", "time"]
Format = Literal["csv", "parquet"]
FORMATS: tuple[Format, ...] = ("csv", "parquet")
Values = Sequence[str | int | float | None]
# Rows of one piece of a Parquet file: small ones make it large and slow to read.
_GROUP_ROWS = 1 << 17
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Content:
    """A table that is read once. batches: its rows, column by column, so many at a time; time is ms since 1970."""

    name: str
    titles: tuple[str, ...]
    kinds: tuple[Kind, ...]
    batches: Iterable[Sequence[Values]]


def write(content: Content, path: Path, form: Format, *, bom: bool = False, force: bool = False) -> int:
    """Write the table; the number of its rows. It is there whole or not at all.

    Raises UsageError where the file exists (unless force), MissingExtraError for Parquet without pyarrow,
    DatabaseError where it cannot be written.
    """
    check_free(path, force=force)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole.beside(path) as partial:
            rows = _csv(content, partial, bom=bom) if form == "csv" else _parquet(content, partial)
            if force:
                partial.replace(path)
            else:
                whole.place(partial, path)
            return rows
    except FileExistsError as error:
        raise taken(path) from error
    except OSError as error:
        raise DatabaseError(f"{path} cannot be written: {error.strerror or error}") from error


def check_free(path: Path, *, force: bool) -> None:
    """Return where a file may be written. Raises UsageError where there is one, or a folder."""
    if path.is_dir():
        raise UsageError(f"{path} is a folder")
    if os.path.lexists(path) and not force:
        raise taken(path)


def taken(path: Path) -> UsageError:
    """What is said of a file that is there."""
    return UsageError(f"{path} exists already", hint="--force replaces it")


class _Records:
    """The one method a csv writer asks of a file."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, record: str) -> None:
        self._file.write(f"{record[:-2]}\n")


def _csv(content: Content, path: Path, *, bom: bool) -> int:
    times = [at for at, kind in enumerate(content.kinds) if kind == "time"]
    rows = 0
    with path.open("w", encoding="utf-8-sig" if bom else "utf-8", errors="backslashreplace", newline="") as file:
        # The writer quotes what ends its own records; "\r\n" makes it quote a bare "\r", which readers take for one.
        writer = csv.writer(_Records(file), lineterminator="\r\n")
        writer.writerow(content.titles)
        for batch in content.batches:
            columns = list(batch)
            for at in times:
                columns[at] = [None if one is None else _moment(int(one)) for one in columns[at]]
            writer.writerows(zip(*columns, strict=True))
            rows += len(columns[0])
    return rows


def _moment(time_ms: int) -> str | None:
    with suppress(OverflowError):
        return (_EPOCH + timedelta(milliseconds=time_ms)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    # A clock of another planet.
    return None


def _parquet(content: Content, path: Path) -> int:
    need("pyarrow", extra="export")
    import pyarrow
    from pyarrow import parquet

    types = {
        "text": pyarrow.string(),
        "whole": pyarrow.int64(),
        "number": pyarrow.float64(),
        "time": pyarrow.timestamp("ms", tz="UTC"),
    }
    schema = pyarrow.schema([(title, types[kind]) for title, kind in zip(content.titles, content.kinds, strict=True)])
    rows = 0
    with parquet.ParquetWriter(path, schema) as writer:
        for group in _groups(content.batches, schema):
            writer.write_table(group)
            rows += group.num_rows
    return rows


def _groups(batches: Iterable[Sequence[Values]], schema: "pyarrow.Schema") -> Iterator["pyarrow.Table"]:
    import pyarrow

    def encodable(values: Values) -> Values:
        return [one.encode("utf-8", "backslashreplace").decode() if isinstance(one, str) else one for one in values]

    waiting: list[pyarrow.RecordBatch] = []
    rows = 0
    for batch in batches:
        arrays = [
            pyarrow.array(encodable(values) if field.type == pyarrow.string() else list(values), field.type)
            for values, field in zip(batch, schema, strict=True)
        ]
        waiting.append(pyarrow.record_batch(arrays, schema=schema))
        rows += len(batch[0])
        if rows >= _GROUP_ROWS:
            yield pyarrow.Table.from_batches(waiting, schema)
            waiting, rows = [], 0
    if waiting:
        yield pyarrow.Table.from_batches(waiting, schema)
