"""What a person set outside the command line: `expdb.toml`, the database's place and the clock."""

import os
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import get_args

from expdb import whole
from expdb.address import Address, file_of, is_url, server
from expdb.errors import InputError, UsageError
from expdb.records import Better

_YEAR_10000_S = 253_402_300_800
RUNS = "runs"
DEFAULT_DATABASE = Path(RUNS, "expdb.db")
FILE = "expdb.toml"
_PATTERN_NAME = re.compile(r"[\w.-]+")


@dataclass(frozen=True, slots=True)
class OwnPattern:
    """A person's regex for log lines. files: globs of file names, all files where there are none; place: the file and
    line that say so, for messages."""

    name: str
    regex: str
    files: tuple[str, ...] = ()
    place: tuple[str, int | None] = field(default=("", None), compare=False)


@dataclass(frozen=True, slots=True)
class Settings:
    """What expdb.toml says. path: None where there is none; database, templates: absolute; better: by a quantity's
    name."""

    path: Path | None = None
    database: Address | None = None
    aliases: Mapping[str, str] = field(default_factory=dict)
    better: Mapping[str, Better] = field(default_factory=dict)
    patterns: tuple[OwnPattern, ...] = ()
    templates: Path | None = None


def load() -> Settings:
    """The nearest expdb.toml from the current folder upward; InputError with line and remedy for what it
    says wrongly."""
    here = Path.cwd()
    for one in (here, *here.parents):
        if (one / FILE).is_file():
            return _File(one / FILE).settings()
    return Settings()


def in_force() -> Settings:
    """What expdb.toml says; from here on its words are known to every reader of this process."""
    found = load()
    if found.aliases or found.better:
        # Only who has the file pays for the table.
        from expdb import metrics

        metrics.extend(found.aliases, found.better)
    return found


def check_pattern_name(name: str) -> None:
    """Raise UsageError for what cannot be a pattern's name, or is one already."""
    if not _PATTERN_NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no pattern's name", hint="letters, digits, - and .")
    taken = next((one for one in load().patterns if one.name == name), None)
    if taken:
        place = ":".join(map(str, taken.place))
        raise UsageError(f"a pattern {name!r} stands at {place} already", hint="edit it there, or --save ANOTHER_NAME")


def keep_pattern(pattern: OwnPattern) -> Path:
    """Add the pattern at the end of the nearest expdb.toml, or of a new one in the current folder; what stands in it
    stays as it is. UsageError where the name is taken or is none."""
    check_pattern_name(pattern.name)
    found = load()
    path = found.path or Path.cwd() / FILE
    added = f"[[patterns]]\nname = {_quoted(pattern.name)}\nregex = {_quoted(pattern.regex)}\n"
    if pattern.files:
        added += f"files = [{', '.join(map(_quoted, pattern.files))}]\n"
    before = path.read_bytes().decode("utf-8") if found.path else ""
    newline = "\r\n" if "\r\n" in before else "\n"
    gap = "" if not before else newline if before.endswith("\n") else newline * 2
    text = before + gap + added.replace("\n", newline)
    try:
        kept = _File(path, text.encode()).settings().patterns
    except InputError:
        kept = ()
    if kept[-1:] != (pattern,):
        raise InputError(
            "has patterns in another form, behind which [[patterns]] cannot stand",
            path=_shown(path),
            hint=f"write it there by hand: name = {_quoted(pattern.name)}, regex = {_quoted(pattern.regex)}",
        )
    # Behind a link it is the target that is replaced.
    target = path.resolve()
    try:
        with whole.beside(target) as partial:
            partial.write_bytes(text.encode())
            if target.exists():
                partial.chmod(target.stat().st_mode & 0o7777)
            partial.replace(target)
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror or error}", path=_shown(path)) from error
    return path


def _quoted(text: str) -> str:
    """A TOML string; a regex keeps its backslashes where it can."""
    if "'" not in text and text.isprintable():
        return f"'{text}'"
    return '"' + "".join(f"\\{c}" if c in '"\\' else c if c.isprintable() else f"\\U{ord(c):08x}" for c in text) + '"'


def _shown(path: Path) -> str:
    """The path as a person in the current folder would type it."""
    return os.path.relpath(path)


class _File:
    """One expdb.toml, on its way to Settings."""

    def __init__(self, path: Path, data: bytes | None = None) -> None:
        self.path = path
        self.shown = _shown(path)
        try:
            # Editors of Windows put a mark before the text.
            self.text = (path.read_bytes() if data is None else data).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = error.object[: error.start].count(b"\n") + 1
            raise InputError("is no UTF-8 text", path=self.shown, line=line, hint="save it as UTF-8") from None
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror or error}", path=self.shown) from error

    def settings(self) -> Settings:
        """What it says."""
        # Only who has the file pays for its reader.
        import tomllib

        try:
            said = tomllib.loads(self.text)
        except tomllib.TOMLDecodeError as error:
            found = re.search(r" \(at line (\d+), column (\d+)\)$", str(error))
            place, line = (f" at column {found[2]}", int(found[1])) if found else ("", self.text.count("\n") + 1)
            what = re.sub(r" \(at .*\)$", "", str(error))
            hint = "text stands in quotes; in '...' a backslash is a backslash: regex = 'loss (?P<loss>\\S+)'"
            raise InputError(f"is no TOML: {what}{place}", path=self.shown, line=line, hint=hint) from None
        out = Settings(self.path)
        takers: dict[str, Callable[[Settings, object], Settings]] = {
            "database": self._database,
            "aliases": self._aliases,
            "quantities": self._quantities,
            "patterns": self._patterns,
            "report": self._report,
        }
        self._known(said, takers, "")
        for key, value in said.items():
            out = takers[key](out, value)
        return out

    def _database(self, out: Settings, value: object) -> Settings:
        text = self._text(value, "database", 'database = "runs/expdb.db"')
        named = Path(os.path.expanduser(text))  # noqa: PTH111  # leaves a user it does not know alone
        folder = Path(os.path.abspath(self.path)).parent
        if is_url(text):
            try:
                return replace(out, database=_at_url(text, os.environ, folder))
            except UsageError as error:
                raise self._wrong(error.message, "database", error.hint or "") from None
        return replace(out, database=folder / named)

    def _aliases(self, out: Settings, value: object) -> Settings:
        example = '[aliases]\n"my score" = "score"'
        table = self._table(value, "aliases", example)
        names = {label: self._text(name, label, '"my score" = "test/score"') for label, name in table.items()}
        for label, name in names.items():
            if not any(map(str.isalnum, label)):
                raise self._wrong(f"aliases: {label!r} has no letter or digit", label, "a label as the log prints it")
            if not re.fullmatch(r"[^\s/]+(?:/[^\s/]+)*", name) or not name.isprintable():
                hint = "a quantity or split/quantity: score, test/score"
                raise self._wrong(f"aliases: {name!r} is no metric's name", label, hint)
        return replace(out, aliases=names)

    def _quantities(self, out: Settings, value: object) -> Settings:
        example = '[quantities.score]\nbetter = "max"'
        better: dict[str, Better] = {}
        for name, said in self._table(value, "quantities", example).items():
            table = self._table(said, name, example)
            self._known(table, ("better",), f"quantities.{name}")
            way = next((one for one in get_args(Better) if one == table.get("better")), None)
            if way is None:
                raise self._wrong(f"quantities.{name} says not which way is better", name, 'better = "max", or "min"')
            if "/" in name or not any(map(str.isalnum, name)):
                raise self._wrong(f"quantities: {name!r} is no quantity's name", name, "without its split: score")
            better[name] = way
        return replace(out, better=better)

    def _patterns(self, out: Settings, value: object) -> Settings:
        example = "[[patterns]]\nname = 'mine'\nregex = 'loss (?P<loss>\\S+)'"
        if not isinstance(value, list):
            raise self._wrong("patterns is no list of tables", "patterns", example)
        patterns: list[OwnPattern] = []
        for n, said in enumerate(value):
            line = self._line_of("patterns", n=n)
            table = self._table(said, "patterns", example)
            self._known(table, ("name", "regex", "files"), "patterns", line)
            for key in ("name", "regex"):
                if key not in table:
                    raise InputError(f"this pattern has no {key}", path=self.shown, line=line, hint=example)
            name = self._text(table["name"], "name", example, line)
            regex = self._text(table["regex"], "regex", example, line)
            if not _PATTERN_NAME.fullmatch(name):
                raise InputError(
                    f"{name!r} is no pattern's name", path=self.shown, line=line, hint="letters, digits, - and ."
                )
            if name in (one.name for one in patterns):
                raise InputError(
                    f"two patterns are called {name!r}", path=self.shown, line=line, hint="give one another name"
                )
            files = table.get("files", [])
            globs = [self._text(one, "files", "files = '*.out'", line) for one in _listed(files)]
            if any("/" in glob for glob in globs):
                raise InputError(
                    "files names files, not folders", path=self.shown, line=line, hint="files = ['*.out', 'train*.txt']"
                )
            patterns.append(OwnPattern(name, regex, tuple(globs), (self.shown, line)))
        return replace(out, patterns=tuple(patterns))

    def _report(self, out: Settings, value: object) -> Settings:
        example = '[report]\ntemplates = "templates"'
        table = self._table(value, "report", example)
        self._known(table, ("templates",), "report")
        if "templates" not in table:
            return out
        folder = Path(os.path.abspath(self.path)).parent / self._text(table["templates"], "templates", example)
        if not folder.is_dir():
            raise self._wrong(f"report.templates: there is no folder {folder}", "templates", example)
        return replace(out, templates=folder)

    def _table(self, value: object, key: str, example: str) -> dict[str, object]:
        if not isinstance(value, dict):
            raise self._wrong(f"{key} is no table", key, example)
        return value

    def _text(self, value: object, key: str, example: str, line: int = 1) -> str:
        if not isinstance(value, str) or not value.strip():
            raise self._wrong(f"{key} is no text: {value!r}", key, example, line)
        return value

    def _known(self, said: Iterable[str], known: Iterable[str], table: str, line: int = 1) -> None:
        from difflib import get_close_matches

        names = list(known)
        for key in said:
            if key not in names:
                close = get_close_matches(key, names, 1)
                hint = f"{close[0]} is meant?" if close else f"known are: {', '.join(names)}"
                raise self._wrong(f"nothing is called {key!r}{f' in {table}' if table else ''}", key, hint, line)

    def _wrong(self, message: str, key: str, hint: str, line: int = 1) -> InputError:
        return InputError(message, path=self.shown, line=self._line_of(key, line), hint=hint)

    def _line_of(self, key: str, first: int = 1, n: int = 0) -> int:
        """The line of the n-th place from line `first` on that sets the key or opens its table; `first` where there
        is none."""
        word = rf"[\"']?{re.escape(key)}[\"']?"
        place = re.compile(rf"[ \t]*(?:{word}[ \t]*[=.]|\[\[?(?:[^\]=#]*\.)?[ \t]*{word}[ \t]*[.\]])")
        lines = enumerate(self.text.split("\n")[first - 1 :], first)
        return next(islice((line for line, text in lines if place.match(text)), n, None), first)


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def _at_url(text: str, environ: Mapping[str, str], project: Path) -> Address:
    """The database at a URL. EXPDB_RUNS says where the folders of a server's runs are, else the project does."""
    found = file_of(text)
    if found is not None:
        return found
    at = server(text, project / RUNS)
    return replace(at, root=Path(os.path.abspath(environ["EXPDB_RUNS"]))) if environ.get("EXPDB_RUNS") else at


def _project() -> Path:
    """The folder of the nearest expdb.toml upward, or the current one."""
    here = Path.cwd()
    return next((one for one in (here, *here.parents) if (one / FILE).is_file()), here)


def database_path(
    option: str | os.PathLike[str] | None, environ: Mapping[str, str] = os.environ, named: Address | None = None
) -> Address:
    """Which database is meant: --db, else EXPDB_DB, else the one that expdb.toml names, else the nearest runs/expdb.db
    upward, else the one here. Raises UsageError for a URL that is none of a database."""
    chosen = os.fspath(option) if option is not None else environ.get("EXPDB_DB", "")
    if is_url(chosen):
        return _at_url(chosen, environ, _project())
    if chosen:
        # os.path leaves a user it does not know alone; Path would break down.
        return Path(os.path.expanduser(chosen))  # noqa: PTH111
    if named is not None:
        return named
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
