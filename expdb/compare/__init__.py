"""Verb 3: the store to tables of numbers. Columns, filters, groups, selection rules; every table says its rules."""

from collections.abc import Sequence
from dataclasses import replace

from expdb.compare import finishing
from expdb.compare.evaluation import Evaluation
from expdb.compare.query import Query
from expdb.compare.sheets import Sheet
from expdb.errors import NotFoundError
from expdb.expressions import ColumnExpr, Selection
from expdb.records import Table
from expdb.store import reader
from expdb.store.database import Database
from expdb.store.reader import RunRecord

__all__ = ("Query", "check_metric", "compare", "select")


def compare(database: Database, query: Query, runs: Sequence[RunRecord] | None = None) -> Table:
    """The table of a query; without columns, what differs between the runs and how good they are.

    runs: all of the database, where somebody has read them already.
    """
    in_groups = query.group_by is not None or query.pivot is not None
    # The order of groups is that of their means.
    asked = replace(query, top=None, sort=None if query.group_by else query.sort) if in_groups else query
    table = Sheet(Evaluation(database, select(database, asked, runs)), query).table()
    if query.percent:
        table = finishing.in_percent(table)
    if query.digits is not None:
        table = finishing.with_digits(table, query.digits)
    if table.rows and query.moves:
        table = finishing.with_moves(table)
    if table.rows and query.bold:
        table = finishing.with_best(table)
    if query.only_changed:
        table = finishing.only_changed(table)
    return replace(table, title=query.caption)


def select(database: Database, query: Query, runs: Sequence[RunRecord] | None = None) -> list[RunRecord]:
    """The runs of a query in its order. runs: all of the database, where somebody has read them already."""
    records = _runs(database, query.experiment, runs)
    if query.runs:
        wanted = {reader.find_run(database, text): None for text in query.runs}
        by_id = {record.id: record for record in records}
        for run_id in wanted:
            if run_id not in by_id:
                name = reader.run(database, run_id).name
                raise NotFoundError(f"{name} is not in experiment {query.experiment}", hint="leave out -e")
        records = [by_id[run_id] for run_id in wanted]
    evaluation = Evaluation(database, records)
    if query.where is not None:
        evaluation.check([query.where])
        holds = evaluation.condition(query.where)
        records = [record for record in records if holds(record)]
    if query.sort is not None:
        evaluation.check([ColumnExpr(query.sort, None)])
        records = evaluation.sorted(records, query.sort, descending=query.descending)
    return records[: query.top] if query.top is not None else records


def _runs(database: Database, experiment: str | None, runs: Sequence[RunRecord] | None) -> list[RunRecord]:
    if runs is None:
        return reader.runs(database, experiment)
    if experiment is None:
        return list(runs)
    # Raises where there is none of that name.
    reader.experiment_id(database, experiment)
    return [record for record in runs if record.experiment == experiment]


def check_metric(database: Database, records: Sequence[RunRecord], name: str) -> None:
    """Raise NotFoundError, with the names that are near, where none of the runs has such a metric."""
    Evaluation(database, records).check([ColumnExpr(Selection("last", name, None), None)])
