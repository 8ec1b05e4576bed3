"""The settings of a command that is about to be started: its options, and the configuration files it names."""

import configparser
import json
import re
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

from expdb.invocation import taken_apart
from expdb.masking import is_secret, mask_value
from expdb.parsers.configs import files
from expdb.parsers.configs.commands import arguments_in, settings_of
from expdb.parsers.configs.reader import LONGEST_VALUE, MOST_PARAMS

MOST_FILE_BYTES = 1_000_000
_SUFFIXES = frozenset((".yaml", ".yml", ".json", ".toml", ".cfg", ".ini"))
_OF_CONFIGURATION = re.compile(r"(?i)^-{0,2}(?:c|.*(?:conf|cfg|settings|param|recipe|opts?\b).*)$")
_NAME = re.compile(r"[^\W\d][^\s=]*")


def params_of_command(argv: Sequence[str], cwd: Path) -> dict[str, str]:
    """What the command sets: options before files, a later file before an earlier one; secrets hidden or left out.

    Options: `--lr 0.1`, `--lr=0.1`, `-b 32`, `lr=0.1`, and `--amp`, which is true; all words up to the next option are
    its value; `-` within a name is `_`, and `--no-amp` is `no_amp`, as argparse has them. Only what the script reads:
    not what is said to the interpreter, to torchrun or `uv run`. Files: every argument that is a YAML, JSON, TOML or
    INI file of up to 1 MB in cwd, nested keys joined by a dot. One with more than 400 settings is taken for data,
    unless its option speaks of a configuration; one that cannot be read gives nothing.
    """
    found = taken_apart(argv)
    words: Sequence[str] = found.arguments
    if found.target[:1] == ("-c",) and found.python is None:
        # A shell's own line.
        words = arguments_in(found.target[1]) if len(found.target) > 1 else ()
    options = {key: value for key, value in settings_of(words).items() if _is_setting(key, value)}
    stated: dict[str, str] = {}
    for path, is_named in _files(words, cwd):
        settings = {key: value for key, value in _settings(path).items() if _is_setting(key, value)}
        if is_named or len(settings) <= MOST_PARAMS:
            stated.update(settings)
    out = dict(options)
    for key, value in stated.items():
        is_set = key in out or key.replace("-", "_") in options
        if not is_set and not is_secret(key) and len(out) < max(MOST_PARAMS, len(options)):
            out[key] = value
    return {key: mask_value(key, value) for key, value in out.items()}


def _is_setting(key: str, value: str) -> bool:
    return len(key) <= 200 and len(value) <= LONGEST_VALUE and "\0" not in value and _NAME.fullmatch(key) is not None


def _files(words: Sequence[str], cwd: Path) -> Iterator[tuple[Path, bool]]:
    """The files of settings among the arguments, and whether an option calls them so."""
    before = ""
    for word in words:
        name, equals, value = word.partition("=")
        for option, place in ((before, word), (name, value)) if equals else ((before, word),):
            path = cwd / place
            if path.suffix.lower() in _SUFFIXES and _is_small(path):
                yield path, _OF_CONFIGURATION.match(option) is not None
        before = word if word.startswith("-") else before


def _is_small(path: Path) -> bool:
    try:
        return path.is_file() and path.stat().st_size <= MOST_FILE_BYTES
    except (OSError, ValueError):
        return False


def _settings(path: Path) -> dict[str, str]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
        match path.suffix.lower():
            case ".toml":
                # Dates are the only values that JSON does not have.
                return dict(files.leaves(json.loads(json.dumps(tomllib.loads(text), default=str))))
            case ".cfg" | ".ini":
                return dict(_sections(text))
            case _:
                return files.settings_of(text)
    except (OSError, ValueError, RecursionError, configparser.Error):
        return {}


def _sections(text: str) -> Iterator[tuple[str, str]]:
    # darknet repeats its sections, and a percent sign is no reference.
    parser = configparser.ConfigParser(strict=False, interpolation=None, allow_no_value=True, default_section="")
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    for section in parser.sections():
        for key, value in parser.items(section):
            if value is not None:
                yield f"{section}.{key}", value
