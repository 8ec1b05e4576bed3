"""Folders that are one run: which files belong together, and what each of them says about it.

A bundle's files are read by the readers of single files; here is only what the folder adds: that it is one run, what
a sub-folder's name says about the curves in it, which file holds the configuration. Layouts:

    TensorBoard   event files of a folder and of the sub-folders that `add_scalars`, Keras or hparams made below it
    Lightning     metrics.csv and hparams.yaml, with or without event files
    DVCLive       plots/metrics/**/*.tsv, metrics.json, params.yaml
    Sacred        run.json, config.json, metrics.json, cout.txt
    Torch7        train.log and test.log, both by optim.Logger
"""

import os
import re
import stat
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from expdb import metrics, parsers
from expdb.errors import InputError, MissingExtraError
from expdb.parsers import tensorboard
from expdb.parsers.configs.files import settings_of
from expdb.parsers.framing import is_event_file
from expdb.parsers.reading import EmptyError, NotTextError, Reading
from expdb.records import Curve, Event, LineKind, Metric, Points, RunStart, Unparsed

# curves: its points are the run's. rest: so are those of metrics that no other member has. instead: only where no
# other member has points at all. params: settings of the training. words: tags of the run.
Role = Literal["curves", "rest", "instead", "params", "words"]

# What a file of settings is called where it lies in a run's folder.
_CONFIGS = tuple(
    f"{stem}.{suffix}" for stem in ("hparams", "config", "args", "params", "opt") for suffix in ("yaml", "yml", "json")
)
# The format of a member that no reader knows.
UNREAD = "unread"
_HEAD_BYTES = 4096
_PEEKED_RECORDS = 64
# PyTorch's add_hparams makes a sub-folder that is called like the time of day.
_TIME = re.compile(r"\d{9,10}\.\d+")
_UNCLEAN = re.compile(r"[^-/\w.]")
_NUMBERS = re.compile(r"\s*[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?|\s*[-+]?(?:nan|inf)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Member:
    """A file of a bundle. prefix, suffix: what its place adds to its labels; split: what it says of all of them."""

    path: Path
    role: Role
    prefix: str = ""
    suffix: str = ""
    split: str | None = None


@dataclass(frozen=True)
class Bundle:
    """A folder that is one run. kind: the layout, in lower case."""

    folder: Path
    kind: str
    members: tuple[Member, ...]

    @property
    def place(self) -> Path:
        """The folder that names the run: one that is called like its layout says nothing."""
        full = Path(os.path.abspath(self.folder))
        return full.parent if full.name.lower() == self.kind else full


@dataclass(frozen=True, slots=True)
class Part:
    """A member that was read, as events of run 0. format, version: of its reader."""

    member: Member
    reading: Reading
    format: str
    version: int
    events: tuple[Event, ...]

    @property
    def curves(self) -> Iterator[Curve]:
        """All its points."""
        return (curve for event in self.events if isinstance(event, Points) for curve in event.curves)


def bundles(paths: Iterable[Path]) -> list[Bundle]:
    """The folders that are one run, among the files; a file belongs to one bundle at most."""
    folders = _Folders(paths)
    out: list[Bundle] = []
    taken: set[str] = set()
    for find in (_sacred, _dvclive, _torch7, _tensorboard, _lightning):
        for bundle in find(folders):
            members = tuple(one for one in bundle.members if os.fspath(one.path) not in taken)
            if any(one.role in ("curves", "instead") for one in members):
                taken.update(os.fspath(one.path) for one in members)
                out.append(replace(bundle, members=members))
    return out


class _Folders:
    """Files by their folder, and what their first bytes say; each file is looked into once."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self.names: dict[str, dict[str, Path]] = defaultdict(dict)
        for path in paths:
            folder, name = os.path.split(os.path.abspath(path))
            self.names[folder][name] = path
        self._tags: dict[str, frozenset[str]] = {}

    @cached_property
    def events(self) -> dict[str, list[Path]]:
        """The folders with event files of their own."""
        out: dict[str, list[Path]] = {}
        for folder, files in self.names.items():
            found = [path for path in files.values() if is_event_file(_head(path, 64))]
            if found:
                out[folder] = found
        return out

    @cached_property
    def beside(self) -> dict[str, list[str]]:
        """The names of event folders, by the folder they lie in."""
        out: dict[str, list[str]] = defaultdict(list)
        for folder in self.events:
            parent, name = os.path.split(folder)
            out[parent].append(name)
        return out

    def tags(self, folder: str) -> frozenset[str]:
        """Scalar tags of the folder's event files, by their first records."""
        if folder not in self._tags:
            try:
                found = [tensorboard.tags_of(Reading.of_file(path), _PEEKED_RECORDS) for path in self.events[folder]]
            except (MissingExtraError, InputError, OSError):
                # Whoever reads the file will say so.
                found = []
            self._tags[folder] = frozenset().union(*found)
        return self._tags[folder]


def _above(folder: str) -> str:
    return os.path.split(folder)[0]


def _head(path: Path, size: int = _HEAD_BYTES) -> bytes:
    """The first bytes of a regular file; none of one that cannot be read, which its reader will say."""
    try:
        # A pipe would not answer.
        file = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        try:
            return os.read(file, size) if stat.S_ISREG(os.fstat(file).st_mode) else b""
        finally:
            os.close(file)
    except OSError:
        return b""


# ── TensorBoard, and Lightning ──


@dataclass(frozen=True, slots=True)
class _Piece:
    """An event folder that is a part of the run of another folder."""

    root: str
    suffix: str = ""
    split: str | None = None


def _tensorboard(folders: _Folders) -> Iterator[Bundle]:
    pieces = _pieces(folders)
    runs: dict[str, list[Member]] = {}
    # A run's own event files come before those of its sub-folders.
    for folder, paths in sorted(folders.events.items(), key=lambda one: (one[0].count(os.sep), one[0])):
        root, suffix, split, seen = folder, "", None, {folder}
        while root in pieces and pieces[root].root not in seen:
            piece = pieces[root]
            root, suffix, split = piece.root, suffix or piece.suffix, split or piece.split
            seen.add(root)
        members = runs.setdefault(root, [])
        members += [Member(path, "curves", suffix=suffix, split=split) for path in sorted(paths)]
    for root, members in runs.items():
        names = folders.names.get(root, {})
        members += [Member(names["metrics.csv"], "curves")] if "metrics.csv" in names else []
        members += _configs(names)
        yield Bundle(Path(root), tensorboard.NAME, tuple(members))


def _pieces(folders: _Folders) -> dict[str, _Piece]:
    out: dict[str, _Piece] = {}
    loose: dict[str, list[tuple[str, str, str]]] = defaultdict(list)
    for folder in folders.events:
        parent, name = os.path.split(folder)
        split = _split_of(name)
        if split and _is_split(folders, parent):
            out[folder] = _Piece(parent, split=split)
        elif parent in folders.events and _TIME.fullmatch(name):
            out[folder] = _Piece(parent)
        elif len(tags := folders.tags(folder)) == 1:
            (tag,) = tags
            main = _UNCLEAN.sub("_", tag)
            # PyTorch: RUN/main_key, beside the writer's own event file in RUN.
            flat = main.replace("/", "_") + "_"
            if parent in folders.events and _UNCLEAN.sub("_", name).startswith(flat) and len(name) > len(flat):
                out[folder] = _Piece(parent, name[len(flat) :])
                continue
            # Before 1.2, and tensorboardX: RUN/main/key.
            above = Path(folder).parts[-len(main.split("/")) - 1 : -1]
            if _UNCLEAN.sub("_", "/".join(above)) == main:
                root = os.fspath(Path(folder).parents[len(above)])
                loose[root].append((folder, name, tag))
    for root, found in loose.items():
        # One folder loss/adam may be a run called so; several main tags are one run's.
        if root in folders.events or len({tag for *_, tag in found}) > 1:
            for folder, name, tag in found:
                out[folder] = _Piece(root, "" if tag.rsplit("/", 1)[-1] == name else name)
    return out


def _is_split(folders: _Folders, parent: str) -> bool:
    """Whether sub-folders called train or test are a run's: beside `exp1` and `exp2` a run may be called test."""
    beside = folders.beside[parent]
    splits = sum(_split_of(name) is not None for name in beside)
    return parent in folders.events or splits > 1 or splits == len(beside)


def _split_of(name: str) -> str | None:
    """train, val or test, where the name says nothing else."""
    meaning = metrics.meaning_of(name)
    return meaning.split if not meaning.words else None


def _configs(names: dict[str, Path]) -> list[Member]:
    return [Member(names[name], "params") for name in _CONFIGS if name in names]


def _lightning(folders: _Folders) -> Iterator[Bundle]:
    for folder, names in folders.names.items():
        if "metrics.csv" in names and "hparams.yaml" in names and folder not in folders.events:
            members = (Member(names["metrics.csv"], "curves"), *_configs(names))
            yield Bundle(Path(folder), "lightning", members)


# ── DVCLive ──


def _dvclive(folders: _Folders) -> Iterator[Bundle]:
    runs: dict[str, list[Member]] = defaultdict(list)
    for folder, names in folders.names.items():
        found = _dvclive_root(folders, folder)
        if found:
            root, inner = found
            runs[root] += [
                Member(path, "curves", prefix=inner) for path in names.values() if _is_step_table(_head(path))
            ]
    for root, members in runs.items():
        if not members:
            continue
        names, above = folders.names.get(root, {}), folders.names.get(_above(root), {})
        for there, name in ((names, "metrics.json"), (above, f"{Path(root).name}.json")):
            members += [Member(there[name], "rest")] if name in there else []
        settings = names.get("params.yaml") or above.get("params.yaml")
        members += [Member(settings, "params")] if settings else []
        yield Bundle(Path(root), "dvclive", tuple(members))


def _dvclive_root(folders: _Folders, folder: str) -> tuple[str, str] | None:
    """(the run's folder, the folders below the metrics' own) for a folder with metrics of DVCLive's."""
    parts = Path(folder).parts
    for at in range(len(parts) - 1, 1, -1):
        if parts[at - 1 : at + 1] in (("plots", "metrics"), ("plots", "scalars")):
            return os.path.join(*parts[: at - 1]), "/".join(parts[at + 1 :])
        root = os.path.join(*parts[:at])
        if parts[at] == "scalars" and f"{parts[at - 1]}.json" in folders.names.get(_above(root), {}):
            return root, "/".join(parts[at + 1 :])
    above = folders.names.get(_above(folder), {})
    return (folder, "") if parts[-1:] == ("dvclive",) and "dvclive.json" in above else None


def _is_step_table(head: bytes) -> bool:
    """Whether a file is a table by tabs, one column of which is the step."""
    title, _, rows = head.decode("utf-8", "replace").partition("\n")
    return "step" in title.strip("\r\ufeff").split("\t") and "\t" in rows


# ── Sacred ──


def _sacred(folders: _Folders) -> Iterator[Bundle]:
    for folder, names in folders.names.items():
        if "run.json" not in names or "config.json" not in names or not _is_sacred(names["run.json"]):
            continue
        roles: tuple[tuple[str, Role], ...] = (
            ("metrics.json", "curves"),
            ("cout.txt", "instead"),
            ("config.json", "params"),
            ("run.json", "words"),
        )
        members = tuple(Member(names[name], role) for name, role in roles if name in names)
        yield Bundle(Path(folder), "sacred", members)


def _is_sacred(path: Path) -> bool:
    head = _head(path, 1 << 20)
    return all(f'"{key}"'.encode() in head for key in ("experiment", "command", "start_time"))


_SACRED_WORDS = ("status", "command", "start_time", "stop_time", "result", "experiment.name", "host.hostname")


def _words(text: str) -> dict[str, str]:
    """What a Sacred run.json says about the run as a whole."""
    said = settings_of(text)
    return {f"sacred.{key}": said[key] for key in _SACRED_WORDS if said.get(key, "null") != "null"}


# ── Torch7 ──


def _torch7(folders: _Folders) -> Iterator[Bundle]:
    for folder, names in folders.names.items():
        both = ("train.log", "test.log")
        if all(name in names for name in both) and all(_is_optim_log(_head(names[name])) for name in both):
            splits = [(name, _split_of(name.removesuffix(".log"))) for name in (*both, "valid.log", "val.log")]
            members = tuple(Member(names[name], "curves", split=split) for name, split in splits if name in names)
            yield Bundle(Path(folder), "torch7", members)


def _is_optim_log(head: bytes) -> bool:
    """Whether a file has the titles that optim.Logger prints, a tab behind each, and then numbers likewise."""
    title, _, rows = head.decode("utf-8", "replace").partition("\n")
    fields = rows.partition("\n")[0].rstrip("\r\t ").split("\t")
    titles = title.rstrip("\r").split("\t")
    return (
        len(titles) > 1
        and not titles[-1].strip()
        and len(fields) == len(titles) - 1
        and all(_NUMBERS.fullmatch(field.rstrip()) for field in fields)
        and not any(_NUMBERS.fullmatch(one.rstrip()) for one in titles if one.strip())
    )


# ── reading ──


def opened(bundle: Bundle, refuse: Callable[[InputError], None]) -> list[tuple[Member, Reading]]:
    """The bundle's files; an empty one says nothing, and one that cannot be read is refused alone."""
    out: list[tuple[Member, Reading]] = []
    for member in bundle.members:
        try:
            out.append((member, Reading.of_file(member.path)))
        except EmptyError:
            continue
        except InputError as error:
            refuse(error)
    return out


def parts(readings: Sequence[tuple[Member, Reading]], known: parsers.Parsers, options: parsers.Options) -> list[Part]:
    """What the members say, each as events of run 0; of one that no reader knows, only that it was not understood.

    Raises InputError where a member turns out to be broken, MissingExtraError where its reader needs a package.
    """
    out = [part for member, reading in readings if (part := _part(member, reading, known, options))]
    has_curves = any(any(part.curves) for part in out if part.member.role == "curves")
    names = {curve.metric.name for part in out if part.member.role == "curves" for curve in part.curves}
    left: list[Part] = []
    for part in out:
        if part.member.role == "instead" and has_curves:
            left.append(replace(part, events=_without_points(part.events, lambda _: False)))
        elif part.member.role == "rest":
            left.append(replace(part, events=_without_points(part.events, lambda m: m.name not in names)))
        else:
            left.append(part)
    return left


def _part(member: Member, reading: Reading, known: parsers.Parsers, options: parsers.Options) -> Part | None:
    if member.role in ("params", "words"):
        try:
            text = reading.text
        except NotTextError:
            return None
        params = settings_of(text) if member.role == "params" else {}
        tags = _words(text) if member.role == "words" else {}
        return Part(member, reading, member.role, 1, (RunStart(0, 1, params=params, tags=tags),))
    parser = parsers.reader_of(reading, known)
    if parser is None:
        # It is remembered as the run's all the same, or it would be new each time.
        return Part(member, reading, UNREAD, 1, (RunStart(0, 1), _not_understood(reading)))
    events = tuple(_as_one(member, parsers.read(parser, reading, options)))
    return Part(member, reading, parser.NAME, parser.VERSION, events)


def _not_understood(reading: Reading) -> Unparsed:
    """All lines of a text, but for a document that says it is empty."""
    if reading.is_binary or reading.sample.text.strip() in ("{}", "[]"):
        return Unparsed(0)
    count = 0
    first: tuple[tuple[int, str], ...] = ()
    for block in reading.blocks():
        lines = [(n, line) for n, line in enumerate(block.text.splitlines(), block.line) if line.strip()]
        first = first or tuple(lines[:1])
        count += len(lines)
    return Unparsed(count, first)


def _as_one(member: Member, events: Iterable[Event]) -> Iterator[Event]:
    """The events of a member as those of the bundle's one run: run 0, which begins at line 1."""
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    rest: list[Event] = []
    for event in events:
        if isinstance(event, RunStart):
            params |= event.params
            tags |= event.tags
        elif isinstance(event, Points):
            curves = tuple(replace(curve, metric=placed(curve.metric, member)) for curve in event.curves)
            rest.append(replace(event, index=0, curves=curves))
        elif isinstance(event, (LineKind, Unparsed)):
            rest.append(event)
    yield RunStart(0, 1, params=params, tags=tags)
    yield from rest


def _without_points(events: Iterable[Event], keep: Callable[[Metric], bool]) -> tuple[Event, ...]:
    """The events with only those curves that are wanted."""
    out: list[Event] = []
    for event in events:
        if isinstance(event, Points):
            curves = tuple(curve for curve in event.curves if keep(curve.metric))
            event = replace(event, curves=curves)
        out.append(event)
    return tuple(out)


def placed(metric: Metric, member: Member) -> Metric:
    """The metric as the file's place names it: accuracy/train, loss/adam, validation/epoch_loss."""
    label = metric.label
    if member.prefix and not label.startswith(f"{member.prefix}/"):
        label = f"{member.prefix}/{label}"
    if member.suffix:
        label = f"{label}/{member.suffix}"
    name = metric.name if label == metric.label else metrics.canonical(label, metric.kind)
    if member.split and metrics.meaning_of(label).split is None:
        label = f"{member.split}/{label}"
        bare = name.removeprefix(f"{metrics.TRAIN}/")
        name = f"{member.split}/{bare}"
    return replace(metric, label=label, name=name)
