"""Settings that are nobody's business: tokens, keys, passwords."""

import re

_SECRET = re.compile(
    r"(?i)(?:^|[._\-/ ])"
    r"(?:(?:hub|auth|access|api|bearer|hf|wandb)[_\-]?token|(?:\w+_)?api[_\-]?key|passw(?:or)?d|secret(?:[_\-]key)?)$"
)
HIDDEN = "***"


def is_secret(key: str) -> bool:
    """Whether a setting's name says that its value is secret. `pad_token` is none."""
    return _SECRET.search(key) is not None
