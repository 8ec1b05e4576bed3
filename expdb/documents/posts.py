"""A post begun from a query: what a template is told of the runs, and the page it makes, living from its first line."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import combinations
from pathlib import Path
from typing import Final

from expdb import compare, metrics
from expdb.compare import sheets, tables
from expdb.compare.evaluation import is_field
from expdb.documents import markers
from expdb.documents.markers import CLOSING
from expdb.errors import NotFoundError, UsageError
from expdb.expressions import ColumnExpr, Name, Selection
from expdb.records import REPORTED
from expdb.reports import template
from expdb.store import reader
from expdb.store.database import Database
from expdb.store.reader import UID_PREFIX, RunRecord

LANGUAGES: Final = ("en", "zh")
_SEED: Final = "seed"
# A table of more columns is read nowhere but on a wall.
_MOST_PARAMS: Final = 10
_MOST_SHARED: Final = 10
# Of what all runs have in common, what a reader asks for first.
_ASKED_FIRST: Final = (
    *("model", "arch", "net", "network", "fusion", "dataset", "data", "lr", "learning_rate", "base_lr", "epochs"),
    *("max_epochs", "batch_size", "batchsize", "optimizer", "optimiser", "momentum", "weight_decay", "dropout", _SEED),
)
_SAYS_LITTLE: Final = ("", "None", "none", "null", "False", "false", "off")
_UID: Final = 8
_SPLITS: Final = (metrics.TEST, metrics.VAL, metrics.TRAIN)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a post is to be about. engine: a template's name. title: None for the experiments' names."""

    engine: str
    lang: str = "en"
    runs: tuple[str, ...] = ()
    experiment: str | None = None
    where: str | None = None
    title: str | None = None


def records(database: Database, asked: Asked) -> list[RunRecord]:
    """The runs a post is about. Raises NotFoundError where there is none."""
    selection = tables.Asked(experiment=asked.experiment, runs=asked.runs, where=asked.where)
    found = compare.select(database, tables.understood(selection))
    if not found:
        raise NotFoundError("there is no run to write about", hint="expdb ls lists the runs; is -w too narrow?")
    return found


def title(asked: Asked, runs: Sequence[RunRecord]) -> str:
    """What the post is called."""
    return asked.title or ", ".join(dict.fromkeys(run.experiment for run in runs))


def name(asked: Asked, title: str, now_ms: int) -> str:
    """What its file is called: Jekyll finds the date there."""
    bare = re.sub(r"[^\w.-]+", "-", title).strip("-.").lower()[:60] or "post"
    return f"{_moment(now_ms):%Y-%m-%d}-{bare}.md" if asked.engine == "jekyll" else f"{bare}.md"


def page(database: Database, asked: Asked, runs: Sequence[RunRecord], path: Path, now_ms: int, own: Path | None) -> str:
    """The text of the post, its markers empty. path: where it is to lie; own: a folder of a person's own templates.

    Raises UsageError for a language that no template speaks, and what `template.render` raises.
    """
    if asked.lang not in LANGUAGES:
        raise UsageError(f"no page begins in {asked.lang!r}", hint=f"--lang {' or '.join(LANGUAGES)}")
    about = _About(runs)
    moment = _moment(now_ms)
    experiments = list(dict.fromkeys(run.experiment for run in runs))
    return template.render(
        asked.engine,
        {
            "title": title(asked, runs),
            "lang": asked.lang,
            "date": f"{moment:%Y-%m-%d %H:%M:%S}",
            "day": f"{moment:%Y-%m-%d}",
            "zone": f"{moment:%z}",
            "categories": [],
            "tags": experiments,
            "runs": [run.name for run in runs],
            "setup": _listed(about.setup()),
            "shared": _listed(about.shared),
            "more": about.more,
            "results": _listed(about.results()),
            "group_by": f"{tables.ALL_BUT}{_SEED}" if about.is_grouped else None,
            "sort": str(about.main) if about.main else None,
            "main": about.sentence(),
            "curves": about.curves(path, asked.engine),
            "marker": _marker(_selection(database, asked, runs)),
        },
        own,
    )


def _moment(now_ms: int) -> datetime:
    return datetime.fromtimestamp(now_ms / 1000).astimezone()


def _listed(columns: Sequence[ColumnExpr]) -> str:
    return ", ".join(map(str, columns))


def _selection(database: Database, asked: Asked, runs: Sequence[RunRecord]) -> dict[str, str]:
    """The runs of the post, in the words of a marker."""
    words = {"experiment": asked.experiment, "where": asked.where}
    chosen = {name: text for name, text in words.items() if text}
    if asked.runs:
        names = [run.name for run in reader.runs(database, words=False)]
        # @1 is another run tomorrow; a name that several have, or that a list cannot hold, is no name.
        is_name = {one: names.count(one) == 1 and one == one.strip() and "," not in one for one in names}
        chosen["runs"] = ", ".join(
            run.name if is_name[run.name] and not run.name.startswith("@") else run.uid[: max(_UID, UID_PREFIX)]
            for run in runs
        )
    return chosen


def _marker(selection: Mapping[str, str]) -> Callable[[str, Mapping[str, str | None]], str]:
    """What a template writes a marker with."""

    def marker(kind: str, words: Mapping[str, str | None]) -> str:
        known = next((one for one in markers.KINDS if one == kind), None)
        if known is None:
            raise UsageError(f"no marker is called {kind!r}", hint=f"there are {', '.join(markers.KINDS)}")
        said = {name: str(text) for name, text in {**selection, **words}.items() if text is not None}
        between = "" if known == "value" else "\n\n"
        return f"{markers.opening(known, said)}{between}{CLOSING}"

    return marker


def _param(key: str) -> ColumnExpr:
    """The column of a param; what a field of the run is called, too, has to say that it is one."""
    return ColumnExpr(Name(f"params.{key}"), key) if is_field(key) or "." in key else ColumnExpr(Name(key))


def _briefly(column: ColumnExpr) -> ColumnExpr:
    """The column of a param as a person would write it."""
    text = str(column.operand.text) if isinstance(column.operand, Name) else ""
    return _param(text.removeprefix("params.")) if text.startswith("params.") else column


class _About:
    """What there is to say of runs."""

    def __init__(self, runs: Sequence[RunRecord]) -> None:
        self.runs = runs
        columns = sheets.default_columns(runs)
        names = [one for one in columns if isinstance(one.operand, Name) and one.operand.text != "epochs"]
        # Between the runs' names and their results stands what differs.
        self.differing = [_briefly(one) for one in names if one.operand != Name("run")][:_MOST_PARAMS]
        told = {str(one.operand).strip("`").removeprefix("params.") for one in names}
        shared = {key: value for key, value in runs[0].params.items() if key not in told and value not in _SAYS_LITTLE}
        known = [key for name in _ASKED_FIRST for key in shared if key.lower().replace("-", "_") == name]
        self.shared = [_param(key) for key in dict.fromkeys((*known, *shared))]
        self.more = max(0, len(self.shared) - _MOST_SHARED)
        self.shared = self.shared[:_MOST_SHARED]
        if not self.differing:
            self.differing, self.shared, self.more = self.shared, [], 0
        self.chosen = [one for one in columns if isinstance(one.operand, Selection)]
        settings = {tuple(self._value(run, one) for one in self.telling()) for run in runs}
        self.is_grouped = any(_SEED in run.params for run in runs) and len(settings) < len(runs)
        self.main = self._main()

    @staticmethod
    def _value(run: RunRecord, column: ColumnExpr) -> str | None:
        assert isinstance(column.operand, Name)
        found = column.operand.text
        return run.experiment if found == "experiment" else run.params.get(found.removeprefix("params."))

    def telling(self) -> list[ColumnExpr]:
        """The params that differ in more than chance."""
        return [one for one in self.differing if one.operand != Name(_SEED) and one.title != _SEED]

    def setup(self) -> list[ColumnExpr]:
        """The columns of the configuration table."""
        if self.is_grouped:
            return self.telling() or [ColumnExpr(Name("experiment"))]
        return [ColumnExpr(Name("run")), *self.differing]

    def results(self) -> list[ColumnExpr]:
        """The columns of the table of results: as few names as tell its rows apart, and the numbers."""
        if not self.is_grouped:
            return [ColumnExpr(Name("run")), *self.chosen]
        telling = self.telling()
        rows = {tuple(self._value(run, one) for one in telling) for run in self.runs}
        places = range(len(telling))
        enough = [
            few
            for count in (1, 2)
            for few in combinations(places, count)
            if len({tuple(row[i] for i in few) for row in rows}) == len(rows)
        ]
        if not enough:
            return [*telling, *self.chosen]
        few = min(enough, key=lambda few: (len(few), sum(len(row[i] or "") for row in rows for i in few)))
        return [*(telling[i] for i in few), *self.chosen]

    def _main(self) -> Selection | None:
        """The result that counts: of the test before validation before training, one that knows which way is better."""
        found = [one.operand for one in self.chosen if isinstance(one.operand, Selection)]
        known = [one for one in found if metrics.better(one.metric)]

        def rank(one: Selection) -> tuple[int, bool, bool]:
            split = one.metric.partition("/")[0]
            place = _SPLITS.index(split) if split in _SPLITS else len(_SPLITS)
            return place, metrics.better(one.metric) != "max", one.function != "best"

        return min(known, key=rank, default=None)

    def sentence(self) -> dict[str, str | None] | None:
        """The best of all, for a sentence; a share in percent, whose sign says what the number is."""
        if self.main is None:
            return None
        metric = self.main.metric
        units = {found.unit for run in self.runs if (found := run.metric(metric))}
        is_share = bool(units) and units <= set(metrics.RATIOS)
        way = metrics.better(metric) or "max"
        return {"title": metric, "of": str(self.main), "over": way, "percent": "" if is_share else None}

    def curves(self, path: Path, engine: str) -> list[dict[str, str | None]]:
        """Metrics to draw, each with its file in a folder called after the page, and how the page links to it."""
        drawn = {m.key for run in self.runs for m in run.metrics if m.kind != REPORTED}
        found = [self.main.metric] if self.main and self.main.metric in drawn else []
        losses = [name for split in _SPLITS for name in drawn if name == f"{split}/loss"]
        out: list[dict[str, str | None]] = []
        for metric in dict.fromkeys([*found, *losses[:1]] or sorted(drawn)[:1]):
            file = re.sub(r"[^\w.-]+", "-", metric) + ".svg"
            # Hexo serves what lies in a post's folder beside the post.
            out.append({"metric": metric, "file": f"{path.stem}/{file}", "link": file if engine == "hexo" else None})
        return out
