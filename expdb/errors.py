"""Every error a person can meet, one tree, each with the exit code it ends the command with.

ExpdbError                 1   something was refused
├── UsageError             2   the words of the command cannot be taken
│   └── ExpressionError    2   a column, filter or claim does not parse
├── NotFoundError          3   no such run, experiment, metric or database
│   └── AmbiguousError     3   more than one fits; the candidates are named
├── DatabaseError          4   the database cannot be opened, read or written
│   └── OutdatedError      4   its schema is older than ours
├── InputError             1   a file that cannot be read as what it is
├── RefusedError           1   another tracking store does not take or give something
└── MissingExtraError      1   an optional package is not installed
"""

import importlib.util
from collections.abc import Sequence


class ExpdbError(Exception):
    """What went wrong in one sentence, and what to type next."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(ExpdbError):
    """The words of the command cannot be taken."""

    exit_code = 2


class ExpressionError(UsageError):
    """A column, filter or claim does not parse. position: 0-based character in text."""

    def __init__(self, message: str, *, text: str, position: int, hint: str | None = None) -> None:
        super().__init__(f"{message} in {text!r} at character {position + 1}", hint=hint)
        self.text = text
        self.position = position


class NotFoundError(ExpdbError):
    """Nothing goes by that name."""

    exit_code = 3


class AmbiguousError(NotFoundError):
    """More than one thing goes by that name. candidates: one line each, ready to print."""

    def __init__(self, message: str, *, candidates: Sequence[str], hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.candidates = tuple(candidates)


class DatabaseError(ExpdbError):
    """The database cannot be opened, read or written."""

    exit_code = 4


class OutdatedError(DatabaseError):
    """The database has an older schema, which is upgraded only when that is asked for."""


class InputError(ExpdbError):
    """A file that cannot be read as what it is. line: 1-based, where one is to blame."""

    def __init__(self, message: str, *, path: str, line: int | None = None, hint: str | None = None) -> None:
        super().__init__(f"{path}{f':{line}' if line else ''}: {message}", hint=hint)
        self.path = path
        self.line = line


class RefusedError(ExpdbError):
    """Another tracking store works, and does not take or give something."""


class MissingExtraError(ExpdbError):
    """An optional package is not installed."""


def need(module: str, *, extra: str) -> None:
    """Return when module can be imported; raise MissingExtraError naming what to install otherwise."""
    if importlib.util.find_spec(module) is None:
        raise MissingExtraError(f"this needs {module}, which is not installed", hint=f"pip install 'expdb[{extra}]'")
