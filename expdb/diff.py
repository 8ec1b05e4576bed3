"""What two runs have not in common: settings, environment, code, results; only what differs."""

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from expdb import metrics
from expdb.compare import Query, compare
from expdb.expressions import ColumnExpr, Count, Name, Operand, Selection
from expdb.listing import came, tags_for_people
from expdb.records import REPORTED, Cell, Column, Table
from expdb.reports.layout import heading
from expdb.store import launched, reader
from expdb.store.database import Database
from expdb.store.reader import MetricRecord, RunRecord
from expdb.store.writer import as_number

_UID_SHOWN = 8
_COMMIT_SHOWN = 12
_ENVIRONMENT = ("command", "cwd", "git_commit", "git_dirty", "host", "gpu", "driver", "python", "torch", "cuda",
                "expdb_version", "runner", "attempt", "exit_code")  # fmt: skip
_UNTRACKED = "?? "
_MORE_UNTRACKED = re.compile(r"\?\? and [\d,]+ more")
_HUNK = re.compile(r"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@")
_PARTED = "at: the first step at which two curves differ that end alike"


@dataclass(frozen=True, slots=True)
class FileChange:
    """A file that was changed since the commit, differently under the two runs.

    by_a, by_b: whether the run had it changed; only_a, only_b: its changed lines that the other run had not, each with
    its `+` or `-`. untracked: a new file that git did not know, of which only the name was kept.
    """

    path: str
    by_a: bool
    by_b: bool
    only_a: tuple[str, ...] = ()
    only_b: tuple[str, ...] = ()
    untracked: bool = False


@dataclass(frozen=True, slots=True)
class Difference:
    """What differs between runs a and b.

    sections: a table (name, a, b) for each kind of thing that differs. code: of each file what differs, told by the
    section code in numbers. remarks: what could not be compared, and why.
    """

    a: RunRecord
    b: RunRecord
    titles: tuple[str, str]
    sections: tuple[Table, ...]
    code: tuple[FileChange, ...] = ()
    remarks: tuple[str, ...] = ()

    def table(self) -> Table:
        """All sections as one table, each row with its section."""
        columns = (Column("section", "section"), Column("name", "name"), *(Column(one, one) for one in self.titles))
        rows = [(Cell(one.title), *row) for one in self.sections for row in one.rows]
        rules = [rule for one in self.sections for rule in one.rules]
        return Table(columns, tuple(rows), rules=(*rules, *self.remarks))


def diff(database: Database, a: str, b: str) -> Difference:
    """What differs between two runs, named as on the command line. Raises NotFoundError and AmbiguousError."""
    with database.view():
        one, other = (reader.run(database, reader.find_run(database, text)) for text in (a, b))
        titles = (one.name, other.name)
        if one.name == other.name:
            titles = (f"{one.name} {one.uid[:_UID_SHOWN]}", f"{other.name} {other.uid[:_UID_SHOWN]}")
        if one.id == other.id:
            return Difference(one, other, titles, (), remarks=("both names mean the same run",))
        return _Comparison(database, one, other, titles).difference()


@dataclass(frozen=True, slots=True)
class _Comparison:
    database: Database
    a: RunRecord
    b: RunRecord
    titles: tuple[str, str]
    remarks: list[str] = field(default_factory=list)

    @property
    def _runs(self) -> tuple[RunRecord, RunRecord]:
        return self.a, self.b

    def difference(self) -> Difference:
        ran = [_provenance(self.database, run) for run in self._runs]
        known = all(ran)
        changes = self._code(*ran) if known else ()
        sections = [
            self._words("run", _facts(self.a), _facts(self.b)),
            self._words("params", self.a.params, self.b.params),
            self._words("tags", tags_for_people(self.a.tags), tags_for_people(self.b.tags)),
            self._words("environment", _environment(ran[0]), _environment(ran[1])) if known else None,
            self._words("packages", _packages(ran[0]), _packages(ran[1])) if known else None,
            self._section("code", [(one.path, Cell(_said(one, "a")), Cell(_said(one, "b"))) for one in changes]),
            self._results(),
        ]
        there = tuple(section for section in sections if section)
        if any(ran) and not known:
            run, title = next(
                (run, title) for run, title, row in zip(self._runs, self.titles, ran, strict=True) if not row
            )
            self.remarks.append(f"{title} ({came(run.origin)}): its environment and code are not known")
        elif not known and not there:
            self.remarks.append("environment and code are known of neither")
        elif not there and not any(map(_is_in_git, ran)):
            self.remarks.append("the code is known of neither: it was not in git")
        return Difference(self.a, self.b, self.titles, there, changes, tuple(self.remarks))

    def _section(self, title: str, rows: Sequence[tuple[str, Cell, Cell]], rules: Iterable[str] = ()) -> Table | None:
        if not rows:
            return None
        values = [cell.value for _, *cells in rows for cell in cells if cell.value is not None]
        numeric = not any(isinstance(value, str) for value in values)
        columns = (Column(title, title), *(Column(one, one, numeric=numeric) for one in self.titles))
        return Table(columns, tuple((Cell(name), a, b) for name, a, b in rows), title, tuple(rules))

    def _words(self, title: str, a: Mapping[str, str], b: Mapping[str, str]) -> Table | None:
        names = [name for name in {**a, **b} if not _same_words(a.get(name), b.get(name))]
        return self._section(title, [(name, Cell(a.get(name)), Cell(b.get(name))) for name in names])

    # Results

    def _results(self) -> Table | None:
        names = list(dict.fromkeys(metric.name for run in self._runs for metric in run.metrics))
        columns = [ColumnExpr(Name("epochs"), None)]
        for name in names:
            columns += [ColumnExpr(operand, None) for operand in self._rules_for(name)]
        found = compare(self.database, Query(runs=(self.a.uid, self.b.uid), columns=tuple(columns)))
        rows: dict[str, list[tuple[str, Cell, Cell]]] = {name: [] for name in ("", *names)}
        for asked, column, a, b in zip(columns, found.columns, *found.rows, strict=True):
            if not _same_cells(a, b):
                rows[_metric_of(asked.operand)].append((heading(column), a, b))
        parted = [name for name in names if not rows[name] and self._part(name, rows[name].append)]
        shown = [row for name in ("", *names) for row in rows[name]]
        rules = [rule for rule in found.rules if _concerns(rule, shown)]
        return self._section("metrics", shown, [*rules, _PARTED] if parted else rules)

    def _rules_for(self, name: str) -> Iterator[Operand]:
        found = [metric for run in self._runs if (metric := run.metric(name))]
        yield Selection("last", name, None)
        if len(found) < 2 or all(metric.kind == REPORTED for metric in found):
            return
        if all(metrics.better(metric.name) or metrics.better(metric.label) for metric in found):
            yield Selection("best", name, None)
        if len({(metric.first_step, metric.last_step) for metric in found}) == 1:
            # Otherwise it is no news that one has more.
            yield Count(name)

    def _part(self, name: str, add: Callable[[tuple[str, Cell, Cell]], None]) -> bool:
        """Whether two curves of one length that end alike are not the same; then where they part is added."""
        one, other = self.a.metric(name), self.b.metric(name)
        if one is None or other is None or one.unit != other.unit:
            return False
        found = self.database.rows(
            "SELECT a.step, b.step, a.value, b.value FROM point a JOIN point b ON b.seq = a.seq"
            " WHERE a.metric_id = ? AND b.metric_id = ? AND (a.value <> b.value OR a.step <> b.step"
            " OR (a.value IS NULL) <> (b.value IS NULL) OR (a.step IS NULL) <> (b.step IS NULL))"
            " ORDER BY a.seq LIMIT 1",
            (one.id, other.id),
        )
        for step_a, step_b, value_a, value_b in found:
            if step_a != step_b:
                add((f"steps of {name}", Cell(step_a, 0), Cell(step_b, 0)))
            else:
                title = heading(Column(f"at({name}, {step_a})", name, unit=one.unit))
                add((title, _printed(value_a, one), _printed(value_b, other)))
        return bool(found)

    # Code

    def _code(self, a: Mapping[str, str | int | None], b: Mapping[str, str | int | None]) -> tuple[FileChange, ...]:
        commits = [str(one["git_commit"])[:_COMMIT_SHOWN] for one in (a, b) if one["git_commit"]]
        if len(set(commits)) == 2:
            self.remarks.append(f"what was committed between the two: git diff {commits[0]} {commits[1]}")
        changed = []
        for title, row in zip(self.titles, (a, b), strict=True):
            if isinstance(row["git_diff"], str):
                changed.append(_Changes.of(row["git_diff"]))
            elif row["git_dirty"] == 0:
                changed.append(_Changes({}, None, is_cut=False))
            elif _is_in_git(row):
                self.remarks.append(f"{title}: its changes since the commit were not kept")
            elif _is_in_git(a) or _is_in_git(b):
                self.remarks.append(f"{title}: nothing is known of its code")
        if len(changed) < 2:
            return ()
        for title, one in zip(self.titles, changed, strict=True):
            if one.is_cut:
                self.remarks.append(f"{title}: its changes were kept only in part, being too many")
        return tuple(_changes_between(*changed))


def _facts(run: RunRecord) -> dict[str, str]:
    facts = {"experiment": run.experiment, "status": run.status, "note": run.note or ""}
    if run.seed is not None and "seed" not in run.params:
        facts["seed"] = str(run.seed)
    return {key: value for key, value in facts.items() if value}


def _same_words(a: str | None, b: str | None) -> bool:
    if a is None or b is None or a == b:
        return a == b
    # 1e-3 and 0.001 are one number.
    one, other = as_number(a), as_number(b)
    return one is not None and one == other


def _same_cells(a: Cell, b: Cell) -> bool:
    if isinstance(a.value, (int, float)) and isinstance(b.value, (int, float)):
        both_nan = a.value != a.value and b.value != b.value
        return a.unit == b.unit and (both_nan or math.isclose(a.value, b.value, rel_tol=1e-12))
    return a.value == b.value


def _printed(value: float | None, metric: MetricRecord) -> Cell:
    # SQLite stores NaN as NULL.
    return Cell(math.nan if value is None else value, metric.decimals, metric.unit)


def _metric_of(operand: Operand) -> str:
    return operand.metric if isinstance(operand, (Selection, Count)) else ""


def _concerns(rule: str, rows: Sequence[tuple[str, Cell, Cell]]) -> bool:
    """Whether a rule chose one of the numbers that are shown; what says more than that is always told."""
    names = [name for name, _, _ in rows]
    reported, is_reported, _ = rule.partition(": as reported on a page")
    if is_reported:
        return any(reported in name for name in names)
    function, _, said = rule.partition(": ")
    if function == "best":
        return any(name.startswith("best(") and f" {name[5:].partition(')')[0]} " in said for name in names)
    return function != "last" or any(name.startswith("last(") for name in names)


# Environment


def _provenance(database: Database, run: RunRecord) -> dict[str, str | int | None]:
    """The row of table provenance of the run, or of the one that was launched for it; empty where there is none."""
    started = launched.started_for(database, run.id)
    if started is None:
        return {}
    names = (*_ENVIRONMENT, "git_diff", "packages")
    rows = database.rows(f"SELECT {', '.join(names)} FROM provenance WHERE run_id = ?", (started[0],))
    return dict(zip(names, rows[0], strict=True))


def _is_in_git(row: Mapping[str, str | int | None]) -> bool:
    return any(row[name] is not None for name in ("git_commit", "git_dirty", "git_diff"))


def _environment(row: Mapping[str, str | int | None]) -> dict[str, str]:
    out = {name: str(value) for name in _ENVIRONMENT if (value := row[name]) is not None}
    if "git_dirty" in out:
        out["git_dirty"] = "yes" if row["git_dirty"] else "no"
    if "git_commit" in out:
        out["git_commit"] = out["git_commit"][:_COMMIT_SHOWN]
    return out


def _packages(row: Mapping[str, str | int | None]) -> dict[str, str]:
    try:
        found = json.loads(str(row["packages"] or "{}"))
    except ValueError:
        return {}
    pairs = found.items() if isinstance(found, dict) else ()
    return dict(sorted(((str(name), str(version)) for name, version in pairs), key=lambda pair: pair[0].lower()))


# Code


@dataclass(frozen=True, slots=True)
class _Changes:
    """A diff by file: the changed lines of each, and the names of new files that git did not know, None where they
    were not kept."""

    files: dict[str, list[str]]
    untracked: frozenset[str] | None
    is_cut: bool

    @classmethod
    def of(cls, text: str) -> "_Changes":
        files: dict[str, list[str]] = {}
        untracked = set()
        lines: list[str] = []
        # Lines of the open hunk that are still to come: a line `-- a` that was taken away looks like a heading.
        old = new = 0
        is_cut = False
        index = ""
        for line in text.split("\n"):
            if old > 0 or new > 0:
                old -= line[:1] in ("-", " ", "")
                new -= line[:1] in ("+", " ", "")
                if line[:1] in ("-", "+"):
                    lines.append(line)
                    continue
                if line[:1] in (" ", ""):
                    continue
            if line.startswith("diff --git "):
                lines = files.setdefault(_named(line), [])
                old = new = 0
            elif hunk := _HUNK.match(line):
                old, new = (1 if count is None else int(count) for count in hunk.groups())
            elif _MORE_UNTRACKED.fullmatch(line):
                is_cut = True
            elif line.startswith(_UNTRACKED):
                untracked.add(line.removeprefix(_UNTRACKED))
            elif line.startswith("\\ cut here"):
                is_cut = True
                old = new = 0
            elif line.startswith(("old mode", "new mode", "Binary files", "deleted file")):
                lines.append(line)
            elif line.startswith("index "):
                # Of a binary file this is all that says what it became.
                index = line.split()[1]
            if line.startswith("Binary files"):
                lines[-1] = f"binary {index}"
        return cls(files, frozenset(untracked), is_cut)


def _named(line: str) -> str:
    """`a.py` of `diff --git a/a.py b/a.py`; a name may hold blanks, and stands there twice."""
    both = line.removeprefix("diff --git ")
    one, other = both[: len(both) // 2], both[len(both) // 2 + 1 :]
    if one.startswith('"'):
        one, other = one[1:-1], other[1:-1]
    return one[2:] if one[2:] == other[2:] else both


def _changes_between(a: _Changes, b: _Changes) -> Iterator[FileChange]:
    for path in sorted({*a.files, *b.files}):
        one, other = a.files.get(path, []), b.files.get(path, [])
        only = tuple(_without(one, other)), tuple(_without(other, one))
        if (path in a.files) != (path in b.files) or any(only):
            yield FileChange(path, path in a.files, path in b.files, *only)
    if a.untracked is None or b.untracked is None:
        return
    for path in sorted(a.untracked ^ b.untracked):
        yield FileChange(path, path in a.untracked, path in b.untracked, untracked=True)


def _without(lines: Sequence[str], others: Sequence[str]) -> Iterator[str]:
    left = Counter(others)
    for line in lines:
        if left[line]:
            left[line] -= 1
        else:
            yield line


def _said(change: FileChange, which: str) -> str | None:
    is_there, lines = (change.by_a, change.only_a) if which == "a" else (change.by_b, change.only_b)
    if not is_there:
        return None
    if change.untracked:
        return "not in git"
    signs = Counter(line[:1] for line in lines)
    return f"+{signs['+']} -{signs['-']}" if signs["+"] or signs["-"] else "changed"
