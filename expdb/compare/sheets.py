"""The table of a query before the last touches: a row for each run, for each group of runs, or a pivot."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace

from expdb import metrics
from expdb.compare import grouping
from expdb.compare.evaluation import Evaluation, Value, direction, epochs
from expdb.compare.finishing import N
from expdb.compare.grouping import Group, Grouping
from expdb.compare.query import Query
from expdb.compare.wording import Wording, wording
from expdb.errors import UsageError
from expdb.expressions import ColumnExpr, Name, Selection, StepOf, metrics_in
from expdb.records import REPORTED, Cell, Column, Table
from expdb.reports.text import brief
from expdb.store.reader import RunRecord
from expdb.store.writer import as_number

# Settings, clocks and memory say how a run went, not how good it is.
_NO_RESULTS = frozenset(("lr", "time", "epoch_time"))
# Columns that the table has of itself.
_OWN_COLUMNS = ("run", "experiment", "epochs")


class Sheet:
    """A query's table over its runs."""

    def __init__(self, evaluation: Evaluation, query: Query) -> None:
        self.evaluation = evaluation
        self.records = evaluation.records
        self.query = query
        self.wording = wording(query.language)

    def table(self) -> Table:
        """Raises NotFoundError for a name that no run has, UsageError for what does not go together."""
        if self.query.pivot is not None:
            return self._pivoted(*self.query.pivot)
        return self._grouped(self.query.group_by) if self.query.group_by is not None else self._single()

    def _single(self) -> Table:
        """One row for each run."""
        columns = self._side_by_side(self.query.columns or default_columns(self.records))
        self.evaluation.check(columns)
        printed = [self.evaluation.column(column) for column in columns]
        rows = tuple(zip(*(cells for _, cells in printed), strict=True)) if self.records else ()
        return Table(
            tuple(c for c, _ in printed),
            rows,
            rules=tuple(_rules(columns, self.evaluation, self.wording)),
            language=self.query.language,
        )

    def _grouped(self, by: Grouping) -> Table:
        """One row for each group of runs, its numbers means, and how many runs they are of."""
        shared, found = self.groups(by)
        columns, counts = self._with_n(self._side_by_side(self.query.columns or (*shared, *self._results())))
        self.evaluation.check(column for i, column in enumerate(columns) if i != counts)
        printed, below = [], []
        broken: set[int] = set()
        for i, column in enumerate(columns):
            if i == counts:
                printed.append(Column(column.title or N, N, numeric=True))
                below.append([Cell(len(group.members)) for group in found])
                continue
            told, cells = self.evaluation.column(column)
            is_word = self.evaluation.is_word(column.operand)
            broken.update(place for place, cell in enumerate(cells) if cell.diverged)
            of_groups = [_of_group(cells, group, is_word=is_word, says_n=False) for group in found]
            numeric = all(isinstance(cell.value, (int, float)) for cell in of_groups) if is_word else told.numeric
            printed.append(replace(told, numeric=numeric))
            below.append(of_groups)
        has_means = any(i != counts and not self.evaluation.is_word(one.operand) for i, one in enumerate(columns))
        chosen = _rules(columns, self.evaluation, self.wording)
        rules = [*chosen, *self._said_of(by, found, shared, broken, has_means=has_means)]
        if left_out := len(self.records) - len(self._belonging(by)):
            rules.append(self.wording.in_no_row(left_out, _named(by.names)))
        rows = tuple(zip(*below, strict=True)) if found else ()
        return Table(tuple(printed), rows, rules=tuple(rules), language=self.query.language)

    def groups(self, by: Grouping) -> tuple[tuple[ColumnExpr, ...], list[Group]]:
        """The names that tell the groups apart, with the groups in the order asked for, whose keys are those names'.

        Runs that have nothing of what is grouped by are in none.
        """
        names = self._keys(by)
        keys = [self.evaluation.column(name)[1] for name in names]
        found = self._ordered(grouping.groups(keys, self._belonging(by)))
        telling = [i for i in range(len(names)) if not by.all_but or len({group.key[i].value for group in found}) > 1]
        shared = [replace(group, key=tuple(group.key[i] for i in telling)) for group in found]
        return tuple(names[i] for i in telling), shared

    def _belonging(self, by: Grouping) -> list[int]:
        """The places of the runs that are in a group: those that have nothing of what is grouped by share nothing."""
        places = range(len(self.records))
        if by.all_but:
            return list(places)
        keys = [self.evaluation.column(name)[1] for name in by.names]
        return [i for i in places if any(key[i].value is not None for key in keys)]

    def _keys(self, by: Grouping) -> tuple[ColumnExpr, ...]:
        """The names whose values the runs of a group share."""
        if not by.all_but:
            self.evaluation.check(by.names)
            return by.names
        left_out = {str(name.operand.text) for name in by.names if isinstance(name.operand, Name)}
        # A seed that no run has parts no runs.
        self.evaluation.check(name for name in by.names if name.operand != Name("seed"))
        params = dict.fromkeys(key for record in self.records for key in record.params)
        is_kept = [key for key in params if not {key, f"params.{key}", *self.evaluation.aliases_of(key)} & left_out]
        keys = [ColumnExpr(Name(f"params.{key}"), key) for key in is_kept]
        if len({record.experiment for record in self.records}) > 1 and "experiment" not in left_out:
            keys.insert(0, ColumnExpr(Name("experiment"), None))
        return tuple(keys)

    def _ordered(self, found: list[Group]) -> list[Group]:
        """The groups in the order asked for, the first `top` of them."""
        sort = self.query.sort
        if sort is not None and self.records:
            _, cells = self.evaluation.column(ColumnExpr(sort, None))
            is_word = self.evaluation.is_word(sort)
            of_groups = [_of_group(cells, group, is_word=is_word, says_n=False) for group in found]
            values = [Value(cell.value, cell.unit) for cell in of_groups]
            found = [found[i] for i in self.evaluation.order(values, sort, descending=self.query.descending)]
        return found[: self.query.top]

    def _results(self) -> tuple[ColumnExpr, ...]:
        """The results that a table shows of itself."""
        return tuple(one for one in default_columns(self.records) if isinstance(one.operand, Selection))

    def _with_n(self, columns: tuple[ColumnExpr, ...]) -> tuple[tuple[ColumnExpr, ...], int]:
        """The columns with one that counts the runs, before the first mean unless it was asked for, and its place."""
        if not self.evaluation.knows(N):
            asked = next((i for i, column in enumerate(columns) if column.operand == Name(N)), None)
            if asked is not None:
                return columns, asked
        place = next((i for i, one in enumerate(columns) if not self.evaluation.is_word(one.operand)), len(columns))
        return (*columns[:place], ColumnExpr(Name(N), None), *columns[place:]), place

    def _side_by_side(self, columns: tuple[ColumnExpr, ...]) -> tuple[ColumnExpr, ...]:
        """The columns, with one for each of the rules in the place of each metric."""
        rules = self.query.select
        if not rules or not self.records:
            return columns
        if not self.query.columns:
            columns = self._bare(columns)
        out: list[ColumnExpr] = []
        applied = False
        for column in columns:
            metric = None
            if isinstance(column.operand, Name) and not self.evaluation.is_word(column.operand):
                metric = column.operand.text.removeprefix("metrics.")
            if metric is None:
                out.append(column)
                continue
            applied = True
            for rule in rules:
                title = f"{column.title} ({rule})" if column.title else None
                out.append(ColumnExpr(Selection(rule.function, metric, rule.argument), title))
        if not applied and self.query.columns:
            raise UsageError(
                "no column is a metric by its name alone, to which rules could be applied",
                hint="--columns 'run, test/accuracy' --select best,last",
            )
        return tuple(out)

    def _bare(self, columns: tuple[ColumnExpr, ...]) -> tuple[ColumnExpr, ...]:
        """The table's own columns, each metric once and without a rule; steps left out."""
        out: dict[ColumnExpr, None] = {}
        wants_best = any(rule.function == "best" for rule in self.query.select)
        for column in columns:
            operand = column.operand
            if isinstance(operand, StepOf):
                continue
            if not isinstance(operand, Selection):
                out[column] = None
                continue
            found = [m for record in self.records if (m := record.metric(operand.metric))]
            if all(m.kind == REPORTED for m in found):
                out[column] = None
            elif not wants_best or metrics.better(operand.metric):
                out[ColumnExpr(Name(f"metrics.{operand.metric}"), None)] = None
        return tuple(out)

    def _pivoted(self, row: ColumnExpr, column: ColumnExpr, value: ColumnExpr) -> Table:
        """A row for each value of one name, a column for each value of another, and numbers where they meet."""
        self.evaluation.check((row, column, value))
        parts = [self.evaluation.column(part) for part in (row, column, value)]
        (told_row, rows), (_, columns), (told, cells) = parts
        is_word = self.evaluation.is_word(value.operand)
        places = [i for i in range(len(self.records)) if rows[i].value is not None and columns[i].value is not None]
        meeting = grouping.groups([rows, columns], places)
        heads, sides = grouping.groups([columns], places), grouping.groups([rows], places)[: self.query.top]
        if all(as_number(str(head.key[0].value)) is not None for head in heads):
            heads.sort(key=lambda head: as_number(str(head.key[0].value)) or 0.0)
        column_of = {place: i for i, head in enumerate(heads) for place in head.members}
        row_of = {place: i for i, side in enumerate(sides) for place in side.members}
        grid = [[Cell(None)] * len(heads) for _ in sides]
        are_single = all(len(group.members) == 1 for group in meeting)
        for group in meeting:
            first = group.members[0]
            if first in row_of:
                grid[row_of[first]][column_of[first]] = (
                    cells[first] if are_single else _of_group(cells, group, is_word=is_word, says_n=True)
                )
        titles = [self._head(column, head.key[0]) for head in heads]
        printed = (told_row, *(replace(told, title=title, numeric=told.numeric) for title in titles))
        below = tuple((side.key[0], *line) for side, line in zip(sides, grid, strict=True))
        named = (one.title or str(one.operand) for one in (value, row, column))
        rules = [self.wording.cells(*named), *_rules((value,), self.evaluation, self.wording)]
        if not are_single and not is_word:
            rules.append(self.wording.mean_of_cell())
        if left_out := len(self.records) - len(places):
            rules.append(self.wording.in_no_cell(left_out, str(row.operand), str(column.operand)))
        return Table(printed, below, rules=tuple(rules), language=self.query.language)

    def _head(self, column: ColumnExpr, cell: Cell) -> str:
        """The title of a pivot's column: a word speaks for itself, a number needs its name."""
        shown = brief(cell)
        return f"{column.title or column.operand}={shown}" if as_number(shown) is not None else shown

    def _said_of(
        self,
        by: Grouping,
        found: Sequence[Group],
        shared: Sequence[ColumnExpr],
        broken: Collection[int],
        *,
        has_means: bool,
    ) -> Iterator[str]:
        """What has to be said of the groups: what a mean is of, who is in none, what parts runs that were to be one."""
        names = _named(by.names)
        if has_means:
            yield self.wording.mean_of_row(names, all_but=by.all_but)
        elif by.all_but:
            yield self.wording.runs_of_row(names)
        if by.all_but and 1 < len(found) == len(self.records):
            yield self.wording.single_runs(names, ", ".join(name.title or str(name.operand) for name in shared))
        for group in found:
            fallen = [self.records[i].name for i in group.members if i in broken]
            if fallen:
                key = ", ".join(
                    f"{name.title or name.operand} {brief(cell)}" for name, cell in zip(shared, group.key, strict=True)
                )
                yield self.wording.diverged(key, fallen, len(group.members))


def _named(names: Sequence[ColumnExpr]) -> str:
    return ", ".join(str(name.operand) for name in names)


def _of_group(cells: Sequence[Cell], group: Group, *, is_word: bool, says_n: bool) -> Cell:
    members = [cells[place] for place in group.members]
    return grouping.words(members) if is_word else grouping.mean(members, says_n=says_n)


def default_columns(records: Sequence[RunRecord]) -> tuple[ColumnExpr, ...]:
    """Name, experiment and params where they differ, then the last value of each result, and the best of the test's."""
    out = [ColumnExpr(Name("run"), None)]
    if len({record.experiment for record in records}) > 1:
        out.append(ColumnExpr(Name("experiment"), None))
    values: dict[str, Counter[str | None]] = {}
    for record in records:
        for key, value in record.params.items():
            values.setdefault(key, Counter())[value] += 1
    for key, counted in values.items():
        if len(counted) > 1 or counted.total() < len(records):
            name = f"params.{key}"
            out.append(ColumnExpr(Name(name), name if key in _OWN_COLUMNS else key))
    if any(epochs(record) for record in records):
        out.append(ColumnExpr(Name("epochs"), None))
    kinds: dict[str, set[str]] = {}
    labels: dict[str, set[str]] = {}
    for record in records:
        for metric in record.metrics:
            kinds.setdefault(metric.key, set()).add(metric.kind)
            labels.setdefault(metric.key, set()).add(metric.label)
    taken = Counter(next(iter(found)) for found in labels.values() if len(found) == 1)
    for name, kind in kinds.items():
        if name.rsplit("/", 1)[-1] in _NO_RESULTS or name.startswith(metrics.SYSTEM):
            continue
        if kind == {REPORTED}:
            label = next(iter(labels[name])) if len(labels[name]) == 1 else None
            is_free = label not in values and label not in _OWN_COLUMNS
            title = label if label and taken[label] == 1 and is_free else name
            out.append(ColumnExpr(Selection("last", name, None), title))
            continue
        out.append(ColumnExpr(Selection("last", name, None), None))
        if metrics.better(name) and name.startswith((f"{metrics.TEST}/", f"{metrics.VAL}/")):
            best = Selection("best", name, None)
            out += [ColumnExpr(best, None), ColumnExpr(StepOf(best), "at step")]
    return tuple(out)


def _rules(columns: Sequence[ColumnExpr], evaluation: Evaluation, say: Wording) -> Iterable[str]:
    """One sentence for each rule that chose numbers, and one for each run whose numbers broke."""
    records = evaluation.records
    used: dict[str, None] = {}
    chosen: dict[str, None] = {}
    for column in columns:
        for name in sorted(metrics_in(column)):
            chosen[name] = None
        operand = column.operand.selection if isinstance(column.operand, StepOf) else column.operand
        if isinstance(operand, Name) and (metric := evaluation.metric_of(operand)):
            operand = Selection("last", metric, None)
            chosen[metric] = None
        if not isinstance(operand, Selection):
            continue
        found = [m for record in records if (m := record.metric(operand.metric))]
        if found and all(m.kind == REPORTED for m in found):
            used[say.reported(column.title or operand.metric, sorted({m.rule for m in found if m.rule}))] = None
        elif operand.function == "best" and found:
            used[say.best(operand.metric, greatest=direction(found[0], operand) == "max")] = None
        else:
            short = operand.function == "tail" and any(m.count < (operand.argument or 0) for m in found)
            if sentence := say.rule(operand.function, operand.argument, some_have_fewer=short):
                used[sentence] = None
    yield from used
    names = {column.operand.text for column in columns if isinstance(column.operand, Name)}
    for name in sorted(names):
        if evaluation.hides_param(name) and f"params.{name}" not in names:
            yield f"{name}: what expdb says of the run; the param of that name is params.{name}"
    for name in chosen:
        for record in records:
            found_metric = record.metric(name)
            if found_metric and found_metric.nonfinite:
                yield say.not_finite(record.name, found_metric.nonfinite, found_metric.count, found_metric.name)
