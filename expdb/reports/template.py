"""Text from a template: Jinja2 in its sandbox, a person's own templates beside the built-in ones.

A template sees the words that it is given and nothing else: no attribute of Python's, no file outside of the folders
of templates, also not behind a link. The filters `yaml` and `markdown` write foreign text where it shows as it is.
"""

import json
import re
from collections.abc import Mapping, Sequence, Sized
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from expdb.errors import InputError, NotFoundError, need
from expdb.reports.markdown import inline
from expdb.reports.text import visible

if TYPE_CHECKING:
    from jinja2 import BaseLoader
    from jinja2.runtime import Context
    from jinja2.sandbox import ImmutableSandboxedEnvironment

BUILT_IN: Final = Path(__file__).with_name("templates")
EXTRA: Final = "report"
SUFFIX: Final = ".md"
# What a template may multiply to: a page is text that somebody reads.
_MOST_REPEATED: Final = 100_000
_MOST_OF_POWER: Final = 1_000
# JSON is YAML but for these, which YAML does not take as they are.
_NO_YAML: Final = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


def names(own: Path | None) -> list[str]:
    """Templates that begin a page, without their suffix; those whose name begins with `_` are parts of others."""
    folders = [BUILT_IN, *([own] if own else [])]
    found = {path.stem for folder in folders for path in folder.glob(f"*{SUFFIX}") if path.name[0] != "_"}
    return sorted(found)


def render(name: str, words: Mapping[str, object], own: Path | None = None) -> str:
    """The page that the template of that name makes of the words. own: a folder that is looked into first.

    Raises NotFoundError where there is none of that name, InputError with its file and line where a template is wrong
    or reaches for what it must not have, MissingExtraError without Jinja2.
    """
    need("jinja2", extra=EXTRA)
    import jinja2

    environment = _environment()(
        loader=_loader([*([own] if own else []), BUILT_IN]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    for needless in ("lipsum", "cycler", "joiner"):
        del environment.globals[needless]
    environment.filters |= {"yaml": in_yaml, "markdown": lambda text: inline(str(text))}
    if name not in names(own):
        raise NotFoundError(f"no template is called {name!r}", hint=f"there are {', '.join(names(own))}")
    try:
        return environment.get_template(f"{name}{SUFFIX}").render(words)
    except jinja2.TemplateSyntaxError as error:
        path = error.filename or f"{error.name}"
        raise InputError(str(error.message), path=path, line=error.lineno) from error
    except jinja2.TemplateNotFound as error:
        raise InputError(f"there is no template {error.message}", path=f"{name}{SUFFIX}") from error
    except (jinja2.TemplateError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as error:
        path, line = _place(error, f"{name}{SUFFIX}")
        raise InputError(str(error) or type(error).__name__, path=path, line=line) from error


def _environment() -> "type[ImmutableSandboxedEnvironment]":
    """Jinja2's sandbox, in which no product or power grows without bound."""
    from jinja2.exceptions import SecurityError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Bounded(ImmutableSandboxedEnvironment):
        intercepted_binops = frozenset(("*", "**"))

        # Named and typed by Jinja2.
        def call_binop(self, context: "Context", operator: str, left: Any, right: Any) -> Any:
            if operator == "**" and not (abs(left) <= _MOST_OF_POWER and abs(right) <= _MOST_OF_POWER):
                raise SecurityError(f"a power of more than {_MOST_OF_POWER}")
            for one, times in ((left, right), (right, left)):
                is_repeated = operator == "*" and isinstance(one, Sized) and isinstance(times, int)
                if is_repeated and len(one) * times > _MOST_REPEATED:
                    raise SecurityError(f"more than {_MOST_REPEATED:,} of a text or a list")
            return super().call_binop(context, operator, left, right)

    return Bounded


def in_yaml(value: object) -> str:
    """Foreign text, a number or a list of them as one line of YAML."""
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(map(in_yaml, value))}]"
    text = visible(str(value))
    return _NO_YAML.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(text, ensure_ascii=False))


def _loader(folders: Sequence[Path]) -> "BaseLoader":
    from jinja2 import FunctionLoader

    def load(name: str) -> tuple[str, str, None] | None:
        parts = PurePosixPath(name).parts
        for folder in folders:
            path = folder.joinpath(*parts)
            # Behind all links; an absolute name has left the folder here.
            inside = path.resolve().is_relative_to(folder.resolve())
            if inside and ".." not in parts and path.is_file():
                return _read(path), str(path), None
        return None

    return FunctionLoader(load)


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError:
        raise InputError("is no UTF-8 text", path=str(path), hint="save it as UTF-8") from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", path=str(path)) from error


def _place(error: BaseException, name: str) -> tuple[str, int | None]:
    """File and line of the template where it went wrong."""
    found: tuple[str, int | None] = (name, None)
    at = error.__traceback__
    while at is not None:
        if at.tb_frame.f_code.co_filename.endswith(SUFFIX):
            # Jinja2 makes its frames look like the template's lines.
            found = (at.tb_frame.f_code.co_filename, at.tb_lineno)
        at = at.tb_next
    return found
