"""Files that hold settings and nothing else: JSON and simple YAML to params, nested keys joined by a dot."""

import json
import re
from collections.abc import Iterator

from expdb.masking import is_secret

# Values beyond this are data, not settings.
_VALUE_LIMIT = 1000
_KEY = r"""'[^']*'|"[^"]*"|[^\s#'"\[\]{},&*!|>%@`-][^#:]*?|-[^\s:][^#:]*?"""
_ENTRY = re.compile(rf" *(?P<key>{_KEY})\s*:(?:\s+(?P<value>.*))?$")
_COMMENT = re.compile(r"\s+#.*$")
_TAG = re.compile(r"^(?:!\S*|&\S+)\s*")


def settings_of(text: str) -> dict[str, str]:
    """The settings a file states, as text; empty where it states none. Secrets are left out.

    Of YAML: mappings by indentation, scalars, and lists, which are one value; tags and anchors are passed over.
    """
    found = _json(text) if text.lstrip()[:1] == "{" else _yaml(text)
    return {key: value for key, value in found.items() if len(value) <= _VALUE_LIMIT and not is_secret(key)}


def _json(text: str) -> dict[str, str]:
    try:
        return dict(leaves(json.loads(text)))
    except (ValueError, RecursionError):
        return {}


def leaves(node: object, trail: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """The settings of a tree, nested keys joined by a dot; a list is one value."""
    if isinstance(node, dict) and node:
        for key, value in node.items():
            yield from leaves(value, (*trail, str(key)))
    elif trail:
        yield ".".join(trail), node if isinstance(node, str) else json.dumps(node, ensure_ascii=False)


def _yaml(text: str) -> dict[str, str]:
    out: dict[str, str] = {}
    # (indent, key) of the mappings that are open.
    trail: list[tuple[int, str]] = []
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith(("#", "---", "%")):
            continue
        indent = len(line) - len(line.lstrip(" "))
        item = line.lstrip()
        found = _ENTRY.match(line)
        if item.startswith("- ") or item == "-":
            # A list's entries belong to the key above it, at its own indentation or deeper.
            while trail and trail[-1][0] > indent:
                trail.pop()
            if trail:
                key = ".".join(name for _, name in trail)
                value = _scalar(item[1:])
                out[key] = f"{out[key][:-1]}, {value}]" if out.get(key) else f"[{value}]"
            continue
        if not found:
            continue
        while trail and trail[-1][0] >= indent:
            trail.pop()
        trail.append((indent, found["key"].strip("'\"")))
        value = _scalar(found["value"] or "")
        if value:
            out[".".join(name for _, name in trail)] = value
    return out


def _scalar(text: str) -> str:
    text = _TAG.sub("", text.strip())
    if text[:1] in ("'", '"'):
        end = text.find(text[0], 1)
        return text[1:end] if end > 0 else text
    return _COMMENT.sub("", text).strip()
