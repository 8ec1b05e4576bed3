"""Lines whose numbers have no name of their own: what each place means is known of the program that prints them."""

import re
from functools import cache

from expdb import metrics
from expdb.parsers.logs.templates import NUMBER, Field, Role, Template

# Darknet: iteration, the batch's loss, its running average, learning rate, time, images so far.
_DARKNET = (
    r"[ \t]*+(?P<iteration>\d++): (?P<loss>#), (?P<avg_loss>#) avg(?: loss)?, (?P<lr>#) rate, (?P<time>#) seconds, "
    r"(?P<images>\d++) images.*+"
)
_FORMS = (_DARKNET,)
_STEPS: tuple[Role, ...] = ("epoch", "iteration", "total")


@cache
def known_forms() -> tuple[Template, ...]:
    """Kinds of line with their patterns; `#` in a form stands for any number."""
    return tuple(_template(form) for form in _FORMS)


def form_of(line: str) -> Template | None:
    """The form of a line, None where it has none."""
    # The words of a form are looked for before its numbers.
    return next((one for one in known_forms() if " images" in line and re.fullmatch(one.pattern, line)), None)


def _role(name: str) -> Role:
    return name if name in _STEPS else "average" if name.startswith("avg_") else "value"


def _template(form: str) -> Template:
    names = re.findall(r"\(\?P<(\w+)>", form)
    fields = tuple(
        Field(i, _role(name), name.removeprefix("avg_"), aside=metrics.is_aside(name), why="its place")
        for i, name in enumerate(names)
    )
    pattern = re.sub(r"\?P<\w+>", "", form).replace("#", NUMBER)
    positions = frozenset(f.role for f in fields if f.role in ("epoch", "iteration"))
    return Template(fields, pattern, True, None, positions)
