"""A figure as a picture for a page or a paper: SVG, PNG or PDF by matplotlib, drawn off screen.

The same bytes for the same figure, fonts and versions: a person's matplotlibrc is not read, and no time is written.
Text in SVG stays text: it can be searched, read aloud and compared by diff, and a reader's own fonts show Chinese where
the writer's had none. Labels are never mathematics, so `$` and `_` show as they are.
"""

import io
import logging
import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePath
from textwrap import wrap
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from expdb.errors import UsageError, need
from expdb.figures import Figure, Level, Panel, Series
from expdb.reports.text import cut, cut_apart, one_line, width

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas
    from matplotlib.layout_engine import ConstrainedLayoutEngine
    from matplotlib.lines import Line2D

Kind = Literal["svg", "png", "pdf"]
KINDS: Final = get_args(Kind)
EXTRA: Final = "plot"

# Okabe & Ito (2008), told apart with any colour vision; without their yellow, which is too pale for a line on white.
COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_REST: Final = "#C8C8C8"
_INK, _SOFT, _GRID = "#1A1A1A", "#595959", "#E4E4E4"
_Style = tuple[float, tuple[float, ...]] | Literal["solid"]
# Points on and off; a legend shows them apart in two centimetres.
_STYLES: Final[Sequence[_Style]] = ("solid", (0.0, (4.5, 1.8)), (0.0, (6.0, 1.6, 1.2, 1.6)), (0.0, (1.2, 1.4)))
# More are a list that nobody reads beside a plot; the others are drawn in grey.
MOST_NAMED: Final = 12
_MOST_AT_ENDS: Final = 8
_LABEL_COLUMNS, _END_COLUMNS = 44, 28
# Inches from one label at a curve's end to the next.
_END_LINE: Final = 0.163
_WIDTH, _HEIGHT, _MORE_HEIGHT = 6.4, 4.0, 2.7
_NARROW: Final = 4.5
_DPI: Final = 200
_TITLE, _FONT, _LEGEND, _SMALL = 12.0, 10.0, 9.0, 7.5
# Inches that a line of the legend and of the notes takes, and characters that a line's sample takes.
_ROW, _NOTE, _HANDLE = 0.173, 0.135, 8
# The most of a picture that a legend below takes.
_MOST_LEGEND: Final = 0.45
# The numbers that margins and ticks can be computed of.
_TINY, _HUGE = 1e-140, 1e140
# Curves of so few points show where they are.
_FEW: Final = 20

_FAMILY: Final = "DejaVu Sans"
# Fonts with Chinese that systems have, by name and by the beginning of the file's name.
CJK: Final[Mapping[str, str]] = {
    "Noto Sans CJK SC": "NotoSansCJK",
    "Noto Sans CJK JP": "NotoSansCJK",
    "Noto Sans SC": "NotoSansSC",
    "Source Han Sans SC": "SourceHanSans",
    "WenQuanYi Zen Hei": "wqy-zenhei",
    "WenQuanYi Micro Hei": "wqy-microhei",
    "PingFang SC": "PingFang",
    "Hiragino Sans GB": "Hiragino Sans GB",
    "Microsoft YaHei": "msyh",
    "SimHei": "simhei",
    "Arial Unicode MS": "Arial Unicode",
    "Droid Sans Fallback": "DroidSansFallback",
}
_NO_FONT: Final = "no font here shows {0}; the picture has boxes in their place"
_PACKAGE: Final = ". On Debian: apt install fonts-wqy-zenhei"
# What a font with Chinese has: radicals to ideographs, those beside the Basic Plane, and full width.
_CHINESE: Final = re.compile("[\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]")
# What XML cannot hold, and text.visible leaves.
_NO_XML: Final = re.compile("[\ufffe\uffff]")
_METADATA: Final[Mapping[Kind, Mapping[str, None]]] = {
    "svg": {"Date": None, "Creator": None, "Format": None, "Type": None},
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawn figure. warnings: what is wrong with it, a sentence each."""

    data: bytes
    warnings: tuple[str, ...] = ()


def kind_of(name: str) -> Kind:
    """What a file's suffix asks for, in either case. Raises UsageError where it is none."""
    suffix = PurePath(name).suffix.lower().removeprefix(".")
    for kind in KINDS:
        if suffix == kind:
            found: Kind = kind
            return found
    said = f"no picture goes with .{suffix}" if suffix else f"{name!r} does not say what kind of picture it is to be"
    raise UsageError(said, hint="-o FILE.svg, .png or .pdf; without -o it is drawn in the terminal")


def check(name: str) -> None:
    """Raise UsageError where no picture goes with the file's name, MissingExtraError without matplotlib."""
    kind_of(name)
    need("matplotlib", extra=EXTRA)


def render(figure: Figure, kind: Kind) -> Picture:
    """The figure as the bytes of a file.

    Raises MissingExtraError without matplotlib, UsageError where the figure has no room.
    """
    need("matplotlib", extra=EXTRA)
    import matplotlib

    with matplotlib.rc_context(), _our_warnings():
        # Whatever a person's own settings say.
        matplotlib.rcdefaults()
        fonts, missing = _fonts("".join(_texts(figure)))
        matplotlib.rcParams.update(_settings(fonts))
        canvas = _Drawing(figure).canvas()
        out = io.BytesIO()
        # What a reader's fonts have is not known; in SVG it is theirs that count.
        canvas.savefig(out, format=kind, dpi=_DPI, metadata=dict(_METADATA[kind]))
    if not missing or kind == "svg":
        return Picture(out.getvalue())
    # Another font with Chinese would hardly have what the one that is here has not.
    package = _PACKAGE if len(fonts) == 1 and _CHINESE.search(missing) else ""
    return Picture(out.getvalue(), (_NO_FONT.format(_told(missing)) + package,))


def _told(characters: str) -> str:
    return f"{characters[:8]!r}" + (f" and {len(characters) - 8} more characters" if len(characters) > 8 else "")


@contextmanager
def _our_warnings() -> Iterator[None]:
    """What matplotlib warns of and is told in our words: missing glyphs by `render`, a figure too small here."""
    # It logs that a font has no such weight.
    logger = logging.getLogger("matplotlib.font_manager")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with _silent():
            yield
    finally:
        logger.setLevel(level)


@contextmanager
def _silent() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"(?s)Glyph .* missing from")
        warnings.filterwarnings("error", message="constrained_layout not applied")
        try:
            yield
        except UserWarning as warning:
            if "constrained_layout" not in str(warning):
                raise
            raise UsageError(
                "there is no room left for the curves beside title and legend", hint="a larger --size, or fewer runs"
            ) from None


def _settings(fonts: Sequence[str]) -> dict[Any, Any]:  # what keys and values may be differs between its versions
    return {
        "axes.axisbelow": True,
        "axes.edgecolor": _SOFT,
        "axes.formatter.useoffset": False,
        "axes.grid": True,
        "axes.labelcolor": _INK,
        "axes.labelsize": _FONT,
        "axes.linewidth": 0.8,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "figure.facecolor": "white",
        # Behind them what a reader's system takes for it.
        "font.family": [*fonts, "sans-serif"],
        "font.sans-serif": [_FAMILY],
        "font.size": _FONT,
        "grid.color": _GRID,
        "grid.linewidth": 0.7,
        "legend.frameon": False,
        "legend.fontsize": 9,
        "pdf.fonttype": 42,
        "savefig.facecolor": "white",
        "svg.fonttype": "none",
        "svg.hashsalt": "expdb",
        "text.color": _INK,
        "xtick.color": _SOFT,
        "ytick.color": _SOFT,
        "xtick.labelsize": 9,
        "ytick.labelsize": 9,
    }


def _texts(figure: Figure) -> Iterator[str]:
    """Every foreign text of a figure, as it is shown."""
    yield from map(shown, (figure.title or "", figure.x_label, *figure.rules, "…·", *figure.captions().values()))
    for panel in figure.panels:
        yield from map(shown, (panel.axis(), *panel.variants))


def shown(text: str) -> str:
    """Foreign text on one line, every character visible and fit for XML."""
    return _NO_XML.sub(lambda found: f"\\u{ord(found[0]):04x}", one_line(text))


def _fonts(text: str) -> tuple[list[str], str]:
    """The families to draw the text with, and the characters that none of them has."""
    from matplotlib import font_manager
    from matplotlib.ft2font import FT2Font

    manager = font_manager.fontManager

    def lacks(family: str, characters: str) -> str:
        path = manager.findfont(font_manager.FontProperties(family=[family]), fallback_to_default=False)
        face = FT2Font(path)
        return "".join(one for one in characters if not face.get_char_index(ord(one)))

    fonts = [_FAMILY]
    missing = lacks(_FAMILY, "".join(sorted(set(text))))
    if not missing:
        return fonts, ""
    known = {one.name for one in manager.ttflist}
    if not known & set(CJK):
        # One that was installed after matplotlib made its list.
        for path in sorted(font_manager.findSystemFonts()):
            if PurePath(path).name.startswith(tuple(CJK.values())):
                manager.addfont(path)
        known = {one.name for one in manager.ttflist}
    for family in CJK:
        if family in known and len(left := lacks(family, missing)) < len(missing):
            fonts.append(family)
            missing = left
        if not missing:
            break
    return fonts, missing


@dataclass(frozen=True, slots=True)
class _Entry:
    """A line in the legend."""

    colour: str
    style: _Style


class _Drawing:
    """One figure on its way to a picture."""

    def __init__(self, figure: Figure) -> None:
        self.figure = figure
        captions = {place: shown(label) for place, label in figure.captions().items()}
        self.places = list(captions)
        self.several_metrics = any(panel.variants for panel in figure.panels)
        number = len(figure.panels)
        width_in, self.height = figure.size or (_WIDTH, _HEIGHT + _MORE_HEIGHT * (number - 1))
        self.width = width_in
        # One more than there is room for is no reason to leave it out.
        self._name(captions, MOST_NAMED if len(captions) > MOST_NAMED + 1 else len(captions))
        self.legend = self._place_of_legend()
        if self.legend == "below" and figure.size is None:
            self.height += self._legend_height()
        while self.legend == "below" and self._legend_height() > self.height * _MOST_LEGEND and len(self.labels) > 1:
            self._name(captions, len(self.labels) - 1)
        if self._legend_height() > self.height * _MOST_LEGEND:
            self.legend = "none"

    def _name(self, captions: Mapping[int, str], most: int) -> None:
        self.labels = dict(islice(captions.items(), most))
        self.rest = len(captions) - most

    def _place_of_legend(self) -> Literal["none", "ends", "right", "below"]:
        entries = self._entries()
        if len(entries) < 2:
            return "none"
        if self._can_label_ends():
            return "ends"
        longest = min(_LABEL_COLUMNS, max(width(label) for _, label in entries))
        room = _columns(self.width, _LEGEND) / 3
        height = len(entries) * _ROW
        return "right" if self.width >= _NARROW and longest <= room and height < 0.9 * self.height else "below"

    def _legend_columns(self) -> tuple[int, int]:
        """Of a legend below: how many columns it has, and of how many characters each."""
        room = _columns(self.width, _LEGEND)
        longest = max(width(label) for _, label in self._entries())
        columns = max(1, min(3, room // (longest + _HANDLE)))
        return columns, room // columns - _HANDLE

    def _legend_height(self) -> float:
        return _ROW * math.ceil(len(self._entries()) / self._legend_columns()[0]) + 0.1 if self.legend == "below" else 0

    def canvas(self) -> "Canvas":
        from matplotlib.figure import Figure as Canvas

        number = len(self.figure.panels)
        notes = wrap(shown(" · ".join(self._rules())), _columns(self.width, _SMALL))
        notes_height = _NOTE * len(notes) + 0.05 if notes else 0
        below = (notes_height + self._legend_height()) / self.height
        canvas = Canvas(figsize=(self.width, self.height), layout=_layout((0, below, 1, 1 - below)))
        all_axes = canvas.subplots(number, 1, sharex=True, squeeze=False)[:, 0]
        room = self.height * (1 - below) - 0.7
        for axes, panel in zip(all_axes, self.figure.panels, strict=True):
            self._draw(axes, panel)
            _finish(axes, panel, log=self.figure.log, size=(self.width, room / number))
        all_axes[-1].set_xlabel(shown(self.figure.x_label), parse_math=False)
        self._head(canvas)
        canvas.text(
            *(0.012, 0.03 / self.height, "\n".join(notes)),
            fontsize=_SMALL,
            color=_SOFT,
            linespacing=1.25,
            va="bottom",
            parse_math=False,
        )
        if self.legend == "ends":
            self._label_ends(all_axes[0], self.figure.panels[0], room)
        elif self.legend != "none":
            self._legend(canvas, notes_height / self.height)
        return canvas

    def _rules(self) -> list[str]:
        """What the figure says of itself, and what only a picture shows."""
        drawn = (one for panel in self.figure.panels for one in panel.series)
        fewer = any(least < most for one in drawn for least, most in [_of_how_many(one)])
        return [*self.figure.rules, *(["paler: mean of fewer runs"] if fewer else [])]

    def _colour(self, one: Series | Level) -> str:
        if len(self.places) == 1:
            return COLOURS[one.variant % len(COLOURS)]
        return COLOURS[self.places.index(one.place) % len(COLOURS)] if one.place in self.labels else _REST

    def _style(self, one: Series) -> _Style:
        if self.several_metrics:
            return _STYLES[0 if len(self.places) == 1 else one.variant % len(_STYLES)]
        if one.place not in self.labels:
            return _STYLES[0]
        return _STYLES[self.places.index(one.place) // len(COLOURS) % len(_STYLES)]

    def _draw(self, axes: "Axes", panel: Panel) -> None:
        for level in panel.levels:
            axes.axhline(_near(level.value), color=self._colour(level), linestyle=_STYLES[3], linewidth=1.1)
        few = max((len(one.x) for one in panel.series), default=0) <= _FEW
        for one in panel.series:
            self._line(axes, one, few=few)

    def _line(self, axes: "Axes", one: Series, *, few: bool) -> None:
        colour, named = self._colour(one), one.place in self.labels
        # Those with a name lie above those without.
        order = 2.5 if named else 2.0
        if one.low is not None and one.high is not None:
            axes.fill_between(
                one.x, _finite(one.low), _finite(one.high), color=colour, alpha=0.18, linewidth=0, zorder=order - 0.2
            )
        if one.faint is not None:
            axes.plot(one.x, _finite(one.faint), color=colour, alpha=0.25, linewidth=0.8, zorder=order - 0.1)
        y = _finite(one.y)
        style, weight = self._style(one), 1.6 if named else 0.9
        least, most = _of_how_many(one)
        if one.counts is not None and least < most:
            axes.plot(one.x, y, color=colour, alpha=0.45, linestyle=style, linewidth=weight, zorder=order)
            y = [value if n == most else math.nan for value, n in zip(y, one.counts, strict=True)]
        axes.plot(one.x, y, color=colour, linestyle=style, linewidth=weight, zorder=order)
        points = range(len(y)) if few else _alone(y)
        axes.plot(
            [one.x[i] for i in points],
            [y[i] for i in points],
            linestyle="",
            marker="o",
            color=colour,
            markersize=3.4,
            zorder=order,
        )
        if one.diverged:
            x, ends = [at for at, _ in one.diverged], _finite([y for _, y in one.diverged])
            # On white, so that it is seen among other curves.
            for ink, weight in (("white", 4.4), (colour, 2.0)):
                axes.plot(x, ends, linestyle="", marker="x", color=ink, markersize=8, markeredgewidth=weight, zorder=3)

    def _head(self, canvas: "Canvas") -> None:
        """The title; of a single run its name."""
        text = self.figure.title
        if text is None and len(self.places) == 1:
            text = self.labels[self.places[0]]
        if text:
            line = cut(shown(text), _columns(self.width, _TITLE))
            canvas.suptitle(line, x=0.012, ha="left", fontsize=_TITLE, parse_math=False)

    def _legend(self, canvas: "Canvas", bottom: float) -> None:
        entries = self._entries()
        handles = [self._handle(one) for one, _ in entries]
        # Set afterwards: a legend leaves out what begins with an underscore.
        nothing = [""] * len(entries)
        if self.legend == "right":
            most = _LABEL_COLUMNS
            legend = canvas.legend(handles, nothing, loc="outside right upper", labelspacing=0.35)
        else:
            columns, most = self._legend_columns()
            legend = canvas.legend(
                handles,
                nothing,
                loc="lower left",
                bbox_to_anchor=(0.0, bottom),
                ncols=columns,
                labelspacing=0.35,
                borderpad=0.2,
            )
        for text, label in zip(legend.get_texts(), cut_apart([label for _, label in entries], most), strict=True):
            text.set_parse_math(False)
            text.set_text(label)

    def _handle(self, entry: "_Entry") -> "Line2D":
        from matplotlib.lines import Line2D

        return Line2D([], [], color=entry.colour, linestyle=entry.style, linewidth=1.8)

    def _entries(self) -> list[tuple["_Entry", str]]:
        """Lines and labels of the legend."""
        out: list[tuple[_Entry, str]] = []
        drawn: dict[int, Series | Level] = {}
        for one in self.figure.drawn():
            drawn.setdefault(one.place, one)
        if len(self.places) > 1:
            for place, label in self.labels.items():
                first = drawn[place]
                style = _STYLES[3]
                if isinstance(first, Series):
                    style = _STYLES[0] if self.several_metrics else self._style(first)
                out.append((_Entry(self._colour(first), style), label))
            if self.rest:
                out.append((_Entry(_REST, _STYLES[0]), f"and {self.rest:,} more"))
        for panel in self.figure.panels:
            for variant, name in enumerate(panel.variants):
                if len(self.places) == 1:
                    out.append((_Entry(COLOURS[variant % len(COLOURS)], _STYLES[0]), shown(name)))
                else:
                    out.append((_Entry(_SOFT, _STYLES[variant % len(_STYLES)]), shown(name)))
        return out

    def _can_label_ends(self) -> bool:
        """Whether there are few enough curves, which all reach the right end."""
        if len(self.figure.panels) > 1 or self.rest or self.width < _NARROW:
            return False
        panel = self.figure.panels[0]
        if not 2 <= len(panel.series) <= _MOST_AT_ENDS or panel.levels or (panel.variants and len(self.places) > 1):
            return False
        ends = [_last(one) for one in panel.series]
        low, high = min(one.x[0] for one in panel.series), max(one.x[-1] for one in panel.series)
        if not all(end is not None and end[0] >= high - (high - low) / 20 for end in ends):
            return False
        if max(width(self._end_label(panel, one)) for one in panel.series) > _END_COLUMNS:
            return False
        heights = sorted(self._shares(panel, [end[1] for end in ends if end is not None]))
        # Where all end at one place a list says more than a fan.
        line = _END_LINE / max(self.height - 1.5, 0.5)
        return max(abs(at - height) for at, height in zip(_spread(heights, line), heights, strict=True)) <= 2 * line

    def _shares(self, panel: Panel, values: Sequence[float]) -> list[float]:
        """Where about the values stand between the least and the greatest that are drawn, 0 to 1."""
        scale = math.log10 if self.figure.log else float
        every = [scale(_near(y)) for one in panel.series for y in one.y if math.isfinite(y)]
        low, high = min(every), max(every)
        return [(scale(_near(value)) - low) / (high - low) if high > low else 0.5 for value in values]

    def _end_label(self, panel: Panel, one: Series) -> str:
        return shown(panel.variants[one.variant]) if panel.variants else self.labels[one.place]

    def _label_ends(self, axes: "Axes", panel: Panel, room: float) -> None:
        """Each label beside the end of its curve, moved up or down as far as the others need room."""
        # Its limits are worked out when they are asked for.
        axes.get_ylim()
        to_axes = axes.transScale + axes.transLimits
        ends = []
        for one in panel.series:
            end = _last(one)
            assert end is not None
            ends.append((float(to_axes.transform((end[0], _near(end[1])))[1]), one))
        ends.sort(key=lambda pair: (pair[0], -pair[1].place))
        # A line of text, as a share of the axes.
        line = _END_LINE / max(room - 0.3, 0.5)
        heights = _spread([height for height, _ in ends], line)
        for (height, one), at in zip(ends, heights, strict=True):
            axes.plot(
                [1.005, 1.03, 1.045],
                [height, at, at],
                transform=axes.transAxes,
                color=self._colour(one),
                linestyle=self._style(one),
                linewidth=1.4,
                clip_on=False,
            )
            label = self._end_label(panel, one)
            axes.text(1.055, at, label, transform=axes.transAxes, va="center", fontsize=9, parse_math=False)


def _layout(rect: tuple[float, float, float, float]) -> "ConstrainedLayoutEngine":
    """Axes with room for their labels, within a part of the picture."""
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    class Rounded(ConstrainedLayoutEngine):
        """Its solver goes through its terms by their place in memory, and the last digits of what it finds differ from
        process to process; SVG has names that are made of all digits."""

        def execute(self, fig: "Canvas") -> None:
            super().execute(fig)
            for axes in fig.axes:
                left, bottom, width, height = (round(float(one), 6) for one in axes.get_position().bounds)
                axes.set_position((left, bottom, width, height))
                # Whoever is placed by hand is otherwise no longer laid out.
                axes.set_in_layout(True)

    return Rounded(rect=rect)


def _of_how_many(one: Series) -> tuple[int, int]:
    """The least and the greatest number of runs that a line is the mean of, where it is drawn."""
    counts = [n for n in one.counts or () if n]
    return (min(counts), max(counts)) if counts else (1, 1)


def _finish(axes: "Axes", panel: Panel, *, log: bool, size: tuple[float, float]) -> None:
    """Axes with plain numbers, so that no tick is mathematics."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    # Above the axis it needs no turned head, and has room on a phone.
    axes.set_title(shown(panel.axis()), loc="left", fontsize=_FONT, parse_math=False)
    axes.margins(x=0.02)
    places = {x for one in panel.series for x in (one.x[0], one.x[-1])}
    if len(places) == 1:
        (only,) = places
        axes.set_xlim(only - 1, only + 1)
    # A step is a whole number, though an axis of few has room for more ticks.
    whole = all(x == int(x) for x in places)
    ticks = max(2, min(9, int(size[0] * 1.4)))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=ticks, steps=[1, 2, 5, 10], integer=whole))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _plain(value)))
    if not log:
        axes.yaxis.set_major_locator(MaxNLocator(nbins=max(2, min(8, int(size[1] * 2))), steps=[1, 2, 2.5, 5, 10]))
        return
    if not any(y > 0 and math.isfinite(y) for one in panel.series for y in one.y) and not panel.levels:
        # A logarithm has no place to begin at.
        axes.set_ylim(0.1, 1)
    axes.set_yscale("log", nonpositive="mask")
    low, high = axes.get_ylim()
    narrow = high / low < 100
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if narrow else (1.0,), numticks=9))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _plain(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:g}"


def _finite(values: Sequence[float]) -> list[float]:
    """A hole where a value cannot be drawn; what matplotlib cannot reckon with stands at the edge of what it can."""
    return [_near(value) if math.isfinite(value) else math.nan for value in values]


def _near(value: float) -> float:
    if 0 < abs(value) < _TINY:
        return math.copysign(_TINY, value)
    return min(max(value, -_HUGE), _HUGE)


def _alone(y: Sequence[float]) -> list[int]:
    """Points that no line goes through."""
    holes = [True, *(value != value for value in y), True]
    return [i for i in range(len(y)) if holes[i] and not holes[i + 1] and holes[i + 2]]


def _last(one: Series) -> tuple[float, float] | None:
    """The last point that is drawn."""
    return next(((x, y) for x, y in zip(reversed(one.x), reversed(one.y), strict=True) if math.isfinite(y)), None)


def _spread(heights: Sequence[float], apart: float) -> list[float]:
    """The ascending heights, moved as little as needed to be so far apart: neighbours that meet share the way."""
    blocks: list[tuple[float, int]] = []
    for height in heights:
        blocks.append((height, 1))
        while len(blocks) > 1:
            (below, m), (above, n) = blocks[-2:]
            if above - below >= apart * (m + n) / 2:
                break
            blocks[-2:] = [((below * m + above * n) / (m + n), m + n)]
    return [middle + apart * (i - (count - 1) / 2) for middle, count in blocks for i in range(count)]


def _columns(inches: float, points: float) -> int:
    """How many characters of a font fit into a line."""
    return max(12, int(inches * 72 / (points * 0.56)))
