"""Command lines that start a training, as shells, launchers and scripts print them."""

import re
import shlex
from collections.abc import Sequence

from expdb.masking import HIDDEN, is_secret

_LONGEST = 20_000
_PROMPT = re.compile(
    r"(?:\([\w.\-]+\)[ \t]*)?"
    r"(?:\[?[\w.\-]+@[\w.\-]+[^$#%>]{0,120}[$#%>]|(?:PS )?[A-Za-z]:[\\/][^>]{0,120}>|[\w.\-/~]{1,40}\$|[$%>]|\+{1,3})"
    r"[ \t]*(?=[^\s=>$%])"
)
_LABEL = re.compile(
    r"(?i)(?:[^:=`]{0,40}\b)?"
    r"(?:cmd|commands?|command[ -]?line|cmdline|argv|run sh|running|executing|launch(?:ing)?|exec)(?: is| args)?"
    r"[ \t]*[:=][ \t]*"
)
_BEFORE = re.compile(r"(?:[A-Za-z_]\w*=\S*|nohup|time|sudo|env|exec|nice|unbuffer|xvfb-run)[ \t]+")
_PROGRAM = re.compile(
    r"(?:\S*[\\/])?(?:python[\d.]*w?|deepspeed|torchrun|accelerate|horovodrun|mpirun|mpiexec|srun|bash|sh|uv|poetry"
    r"|fairseq-\w+|onmt_train|onmt-main|t2t-trainer|allennlp|yolo|caffe|darknet|swift|llamafactory-cli|lightning|mim)"
    r"(?:\.exe)?[ \t]+(?=\S)"
)
_SCRIPT = re.compile(r"(?:^|[\s'\"])(?:[\w.~\-\\/:@+]*\.py|-m[ \t]+[\w.]+)(?=$|[\s'\"])")
_PATH_OF_SCRIPT = re.compile(r"[\w.~\-\\/:@+]*[\w\-]\.py(?=$|\s)")
_TRAINERS = re.compile(
    r"(?:\S*/)?(?:fairseq-\w*train|onmt_train|t2t-trainer|allennlp|yolo|caffe|darknet|swift|llamafactory-cli)\b"
)
_NO_TRAINING = re.compile(r"\bpip3?\b|\bsetup\.py\b|-m[ \t]+(?:venv|http\.server|json\.tool|compileall|ensurepip)\b")
_ENDS = re.compile(r"(?:\d|&)?(?:>>?|<)(?:&?\d|\S.*)?|\||\|\||&&?|;")
_NUMBER = re.compile(r"-\.?\d[\d.eE+\-]*")
_FLAG = re.compile(r"--?([^\W\d][\w.\-/]*)(?:=(.*))?", re.DOTALL)
_OVERRIDE = re.compile(r"\+{0,2}([^\W\d][\w.@/\-]*)=(.*)", re.DOTALL)


def command_in(line: str) -> tuple[str, bool] | None:
    """The command of a line that starts a program, without prompt and label; whether a person typed it."""
    text = line.strip()
    if not text or len(text) > _LONGEST:
        return None
    prompt = _PROMPT.match(text)
    said = prompt or _LABEL.match(text)
    if said:
        text = text[said.end() :].strip()
    if text[:1] in "`'\"" and text[-1:] == text[:1]:
        text = text[1:-1].strip()
    at = 0
    while found := _BEFORE.match(text, at):
        at = found.end()
    program = None if _NO_TRAINING.search(text) else _PROGRAM.match(text, at)
    if program:
        trainer = _TRAINERS.match(program[0]) and " -" in text
        # What goes on in the next line may name its script there.
        if not (trainer or text.endswith("\\") or _SCRIPT.search(text, program.end() - 1)):
            return None
    elif not (said and _PATH_OF_SCRIPT.match(text, at)):
        return None
    return text, prompt is not None


def flags_of(command: str) -> dict[str, str]:
    """What a command sets: `--lr 0.1`, `--lr=0.1`, `-r` (true), `optimizer.lr=0.1`; names as argparse keeps them."""
    return settings_of(arguments_in(command))


def arguments_in(command: str) -> list[str]:
    """The words behind the script of a command as a shell reads it, up to where it is redirected or ends."""
    words = _words(command)
    words = words[_first_argument(words) :]
    return words[: next((at for at, word in enumerate(words) if _ENDS.fullmatch(word)), len(words))]


def settings_of(words: Sequence[str]) -> dict[str, str]:
    """What a script's arguments set; all the words behind an option, up to the next, are its value."""
    found: dict[str, str] = {}
    key: str | None = None
    values: list[str] = []
    for word in words:
        flag = None if _NUMBER.fullmatch(word) else _FLAG.fullmatch(word)
        override = None if flag or key is not None else _OVERRIDE.fullmatch(word)
        if flag:
            _put(found, key, values)
            key, values = flag[1], []
            if flag[2] is not None:
                _put(found, key, [flag[2]])
                key = None
        elif override:
            found[override[1]] = override[2]
        elif word == "--":
            _put(found, key, values)
            key, values = None, []
        elif key is not None:
            values.append(word)
    _put(found, key, values)
    return found


def shown(command: str) -> str:
    """The command with what is secret in it hidden."""
    for key, value in flags_of(command).items():
        if is_secret(key) and value:
            command = command.replace(value, HIDDEN)
    return command


def _put(found: dict[str, str], key: str | None, values: Sequence[str]) -> None:
    if key is not None:
        found[key.replace("-", "_")] = " ".join(values) if values else "true"


def _words(command: str) -> list[str]:
    lexer = shlex.shlex(command, posix=True, punctuation_chars=False)
    lexer.whitespace_split = True
    lexer.commenters = ""
    if re.search(r"[A-Za-z]:\\|\w\\\w", command):
        # Windows paths are no escapes.
        lexer.escape = ""
    try:
        return list(lexer)
    except ValueError:
        return command.split()


def _first_argument(words: list[str]) -> int:
    """Behind the script: what stands before it is said to the interpreter or launcher."""
    for at, word in enumerate(words):
        if word.endswith(".py"):
            return at + 1
    for at, word in enumerate(words[:-1]):
        if word == "-m":
            return at + 2
    return 0
