"""Tokens and passwords, hidden before anything is stored: in text, in command lines, in settings.

Known by their shape (`hf_...`, `AKIA...`), by the name before them (`api_key=`, `--password X`), or by their place in
an address. What is only likely a secret is hidden, too: a diff with a hole can be read, a leaked key has to be changed.
"""

import re
from collections.abc import Sequence

HIDDEN = "***"

_TOKENS = (
    "(?:hub|auth|access|api|bearer|hf|huggingface|wandb|github|gh|gitlab|slack|bot|refresh|session|private|deploy|secret"
    "|security|replicate|neptune|mlflow[_-]?tracking|vault)[_-]?token"
)
_KEYS = (
    "(?:api|secret|private|access|kaggle|storage|account|encryption|signing|subscription|openai|anthropic|gemini|hf"
    "|wandb|comet|deepseek|dashscope)[_-]?key"
)
_WORDS = rf"(?:{_TOKENS}|{_KEYS}(?:[_-]?id)?|api[_-]?secret|client[_-]?secret|passw(?:or)?d|passphrase|db[_-]?pass)"
_SECRET = re.compile(rf"(?i)(?:^|[._\-/ ])(?:{_WORDS}|secret(?:[_-]access[_-]key)?)$|(?:^|\.)token$")

# A shape is only listed where nothing else looks like it: 40 hexadecimal digits may be a commit.
_SHAPE = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"hf_[A-Za-z0-9]{20,}|sk-[A-Za-z0-9_\-]{20,}|(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{16,}"
    r"|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_\-]{16,}"
    r"|(?:AKIA|ASIA)[0-9A-Z]{16}|xox[abeprs]-[A-Za-z0-9\-]{10,}|AIza[A-Za-z0-9_\-]{30,}|ya29\.[A-Za-z0-9_\-]{20,}"
    r"|npm_[A-Za-z0-9]{30,}|pypi-[A-Za-z0-9_\-]{40,}|dckr_pat_[A-Za-z0-9_\-]{16,}|nvapi-[A-Za-z0-9_\-]{20,}"
    r"|r8_[A-Za-z0-9]{30,}|gsk_[A-Za-z0-9]{30,}|wandb_v\d_[A-Za-z0-9_]{20,}|dapi[0-9a-f]{32}"
    r"|eyJ[A-Za-z0-9_\-]{8,}\.eyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]*"
    r"|https://hooks\.slack\.com/services/[A-Za-z0-9/]+"
    r")"
)
_PEM = re.compile(r"(-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY-----)(?:(?:[\s+\-\"',]|\\n)*+[A-Za-z0-9+/=]{16,}+)++")
_ADDRESS = re.compile(r"(?<=://)(?:([^\s:/@\"']{1,200}+):[^\s/@\"']{1,500}+|[A-Za-z0-9_\-]{20,200}+)(?=@)")
_BEARER = re.compile(r"(?i)(\bbearer\s+|\bauthorization[\"']?\s*[:=]\s*[\"']?(?:basic|token)\s+)[\w.~+/\-]{8,}=*")
_SIGNED = re.compile(r"(?i)([?&](?:sig|signature|key|token|x-(?:amz|goog)-[a-z\-]+)=)[^\s&\"'<>]+")
_WANDB = re.compile(r"(?i)(\bwandb\b[^\n]{0,60}?[^0-9a-z])[0-9a-f]{40}\b")
_QUOTED = r"(?P<quote>[\"'])(?P<quoted>(?:(?!(?P=quote))[^\\\n]|\\[^\n])*+)"
# `api_key: str = "..."` is a name, its type and its value.
_NAMED = re.compile(
    rf"(?i)(?P<name>(?<![A-Za-z0-9])(?:{_WORDS}|secret)|(?<![\w.])(?<![a-z0-9]-)token)[\"']?\]?"
    rf"(?:[ \t]*+(?::[ \t]*+[a-z_][\w.\[\]|]*+(?:[ \t]*+\|[ \t]*+\w++)?[ \t]*+)?=[ \t]*+|[ \t]*+:[ \t]*+"
    rf"|(?<=[a-z])[ \t]++(?=[\"']?[^\s\"'=:]))"
    rf"(?:[rbf]?{_QUOTED}|(?P<bare>[^\s\"',;&|<>{{}}]++))"
)
_OPTION = re.compile(r"-{1,2}([^\W\d][\w.\-/]*)(?:=(.*))?", re.DOTALL)
_SETTING = re.compile(r"\+{0,2}([^\W\d][\w.@/\-]*)=(.*)", re.DOTALL)
_NO_SECRET = frozenset(
    ("", "none", "null", "true", "false", "yes", "no", "str", "int", "bool", "bytes", "optional", "any", "secretstr")
)


def is_secret(key: str) -> bool:
    """Whether a setting of that name is nobody's business: a token, a password."""
    return _SECRET.search(key) is not None


def mask(text: str) -> str:
    """The text with HIDDEN in place of every token, key and password found in it; idempotent."""
    text = _SHAPE.sub(HIDDEN, text)
    text = _PEM.sub(rf"\1{HIDDEN}", text)
    text = _ADDRESS.sub(lambda found: f"{found[1]}:{HIDDEN}" if found[1] else HIDDEN, text)
    text = _BEARER.sub(rf"\1{HIDDEN}", text)
    text = _SIGNED.sub(rf"\1{HIDDEN}", text)
    text = _WANDB.sub(rf"\1{HIDDEN}", text)
    return _NAMED.sub(_unnamed, text)


def mask_value(key: str, value: str) -> str:
    """The value of a setting or an environment variable: HIDDEN where its name says that it is secret."""
    return HIDDEN if is_secret(key) and value.lower() not in _NO_SECRET else mask(value)


def mask_command(words: Sequence[str]) -> list[str]:
    """A command's words, `--token X`, `--token=X` and `TOKEN=X` without their values; as many words as before."""
    out: list[str] = []
    secret = False
    for word in words:
        option = _OPTION.fullmatch(word)
        setting = option if option and option[2] is not None else _SETTING.fullmatch(word)
        if out and re.fullmatch("-[a-z]*c", out[-1]) and " " in word:
            # A shell's own command line.
            out.append(mask(word))
        elif secret and not option:
            out.append(mask_value("token", word))
        elif setting:
            out.append(f"{word[: setting.start(2)]}{mask_value(setting[1], setting[2])}")
        elif re.fullmatch("[0-9a-f]{40}", word) and any("wandb" in before for before in out):
            out.append(HIDDEN)
        else:
            out.append(mask(word))
        secret = bool(option and option[2] is None and is_secret(option[1]))
    return out


def _unnamed(found: re.Match[str]) -> str:
    text, bare = found[0], found["bare"]
    if bare is None:
        # A place to be filled in is no secret.
        keep = not found["quoted"] or re.fullmatch(r"\$\{?\w+\}?|<[^>]*>|\{\w*\}", found["quoted"])
        return text if keep else text[: found.start("quoted") - found.start()] + HIDDEN
    spaced = not re.search(r"[:=][ \t]*$", text[: found.start("bare") - found.start()])
    if spaced and not _follows_dashes(found):
        # Prose: "the token is".
        return text
    value = bare.rstrip(")]")
    # A call, a look-up or another variable of that name: code, not a value.
    code = re.search(r"[(\[$]", value) or is_secret(value.lstrip("-")) or value.startswith("--")
    if code or value.lower() in _NO_SECRET or value == HIDDEN:
        return text
    at = found.start("bare") - found.start()
    return text[:at] + HIDDEN + bare[len(value) :]


def _follows_dashes(found: re.Match[str]) -> bool:
    before = found.string[max(0, found.start() - 60) : found.start()]
    return re.search(r"(?:^|[\s\"'])--?[\w.\-]*$", before) is not None
