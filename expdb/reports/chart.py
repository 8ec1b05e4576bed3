"""A figure as text: curves of braille dots, or of letters where colours or Unicode cannot tell them apart.

Written here and not taken from a library: those that there are keep state between charts, are not typed, and count a
Chinese character as one column.
"""

import math
from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from expdb.figures import Figure, Level, Panel, Series
from expdb.reports.text import cut, cut_apart, one_line, pad, width

# Each of a character's two by four dots, from the top left, by column and row.
_DOTS: Final = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
_BRAILLE: Final = 0x2800
_LETTERS: Final = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
# Colours that a terminal's theme makes legible: blue, red, green, magenta, yellow, cyan.
_COLOURS: Final = (34, 31, 32, 35, 33, 36)
_NARROWEST, _LOWEST = 24, 8
# Of numbers up to it the distance is a float.
_HUGE: Final = 8e307
# A line for each of more runs is no legend.
MOST_NAMED: Final = 12
_TICKS: Final = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class Canvas:
    """What a chart is drawn on. columns, rows: of the whole terminal. colours: it shows them. ascii: it shows no other
    characters."""

    columns: int = 80
    rows: int = 24
    colours: bool = False
    ascii: bool = False


def render(figure: Figure, canvas: Canvas) -> str:
    """The figure in at most so many columns, ending in a line feed; a panel takes a share of the rows, but no less than
    can be read."""
    columns = max(canvas.columns, _NARROWEST)
    captions = figure.captions()
    lines_per_panel = (canvas.rows - 2 - min(len(captions), MOST_NAMED)) // len(figure.panels) - 4
    # A chart as high as wide is hard to take in.
    rows = max(_LOWEST, min(lines_per_panel, columns // 4))
    parts = [[_plain(cut(one_line(figure.title), columns), canvas)]] if figure.title else []
    for number, panel in enumerate(figure.panels):
        is_last = number == len(figure.panels) - 1
        chart = _Chart(panel, figure, canvas, columns, rows)
        parts.append([_plain(line, canvas) for line in chart.lines(figure.x_label if is_last else None)])
    parts.append([_plain(line, canvas) for line in _legend(figure, captions, canvas, columns)])
    parts.append([_plain(f"# {one_line(rule)}", canvas) for rule in (*figure.rules, *figure.remarks)])
    return "\n\n".join("\n".join(line.rstrip(" ") for line in part) for part in parts if part) + "\n"


_ASCII: Final = str.maketrans({"–": "-", "—": "-", "±": "+", "×": "x", "·": "|", "…": "~"})


def _plain(line: str, canvas: Canvas) -> str:
    return line.translate(_ASCII) if canvas.ascii else line


def _marks(figure: Figure, canvas: Canvas) -> dict[tuple[int, int], str]:
    """The letter of each (place, variant); none where dots of different colours, or of one curve, tell all."""
    keys = list(dict.fromkeys((one.place, one.variant) for one in figure.drawn()))
    if not canvas.ascii and len(keys) <= (len(_COLOURS) if canvas.colours else 1):
        return {}
    if len(keys) == 1:
        return {keys[0]: "*"}
    return {key: _LETTERS[i % len(_LETTERS)] for i, key in enumerate(sorted(keys))}


def _colour(figure: Figure, one: Series | Level) -> int:
    """Of a line; where there is but one run, of its metric."""
    return _COLOURS[(one.variant if figure.entries == 1 else one.place) % len(_COLOURS)]


def _legend(figure: Figure, captions: dict[int, str], canvas: Canvas, columns: int) -> list[str]:
    """A line for each curve: how it is drawn, what it is, its last value."""
    marks = _marks(figure, canvas)
    out: list[str] = []
    entries = [(panel, one) for panel in figure.panels for one in panel.drawn()]
    named = set(list(captions)[:MOST_NAMED])
    shown = [(panel, one) for panel, one in entries if one.place in named]
    words: list[str] = []
    for panel, one in shown:
        metric = panel.variants[one.variant] if panel.variants else panel.title if len(figure.panels) > 1 else None
        words.append("  ".join(one_line(word) for word in (captions[one.place], metric) if word))
    told = [cut(_last(one), columns - 10) for _, one in shown]
    words = cut_apart(words, max(4, columns - 6 - max(map(width, told), default=0)))
    most = max(map(width, words), default=0)
    for (_, one), label, value in zip(shown, words, told, strict=True):
        letter = marks.get((one.place, one.variant))
        sample = letter or ("┄┄" if isinstance(one, Level) else "━━")
        sample = f"\x1b[{_colour(figure, one)}m{sample}\x1b[0m" if canvas.colours else sample
        out.append(f"{sample}  {pad(label, most)}  {value}")
    if len(captions) > len(named):
        out.append(f"and {len(captions) - len(named):,} more")
    return out


def _last(one: Series | Level) -> str:
    """The last value, with what is around it."""
    if isinstance(one, Level):
        return _number(one.value)
    for i in range(len(one.y) - 1, -1, -1):
        if math.isfinite(one.y[i]):
            around = ""
            if one.low is not None and one.high is not None and one.low[i] < one.high[i]:
                around = f" ({_number(one.low[i])}–{_number(one.high[i])})"
            return f"{_number(one.y[i])}{around} at {_number(one.x[i])}"
    return "no finite value"


def _number(value: float) -> str:
    return f"{value:.4g}" if abs(value) < 10_000 else f"{value:,.0f}" if abs(value) < 1e15 else f"{value:.4g}"


class _Chart:
    """One panel as lines of text."""

    def __init__(self, panel: Panel, figure: Figure, canvas: Canvas, columns: int, rows: int) -> None:
        self.panel, self.figure, self.canvas = panel, figure, canvas
        self.log = figure.log
        every = [at for p in figure.panels for one in p.series for at in one.x]
        self.x_low, self.x_high = _range(every)
        y = [value for one in panel.series for value in one.y if math.isfinite(value)]
        y += [one.value for one in panel.levels]
        scaled = [self._scaled(value) for value in y]
        self.y_low, self.y_high = _range(scaled)
        self.ticks = self._y_ticks(rows)
        self.gutter = max((width(label) for _, label in self.ticks), default=1) + 1
        self.columns, self.rows = columns - self.gutter - 1, rows
        self.marks = _marks(figure, canvas)
        # Of each character: dots or a mark, and the colour.
        self.dots = [[0] * self.columns for _ in range(rows)]
        self.text = [[" "] * self.columns for _ in range(rows)]
        self.inks = [[0] * self.columns for _ in range(rows)]

    def lines(self, x_label: str | None) -> list[str]:
        """The panel's name, its curves beside the y axis, and the x axis with its label."""
        for level in self.panel.levels:
            self._draw_level(level)
        for one in self.panel.series:
            self._draw(one)
        for one in self.panel.series:
            for x, y in one.diverged:
                self._put(*self._cell(x, y), "x" if self.canvas.ascii else "×", one)
        by_row = {self._row(at): label for at, label in self.ticks}
        plain = self.canvas.ascii
        out = [cut(one_line(self.panel.axis()), self.columns + self.gutter)]
        for row in range(self.rows):
            label = by_row.get(row)
            edge = ("+" if plain else "┤") if label is not None else ("|" if plain else "│")
            out.append(f"{(label or '').rjust(self.gutter)}{edge}{self._painted(row)}")
        return out + self._x_axis(x_label)

    def _scaled(self, value: float) -> float:
        return math.log10(value) if self.log else min(max(value, -_HUGE), _HUGE)

    def _row(self, scaled: float) -> int:
        return self._dot_row(scaled) // 4

    def _dot_row(self, scaled: float) -> int:
        share = (scaled - self.y_low) / (self.y_high - self.y_low)
        return min(self.rows * 4 - 1, max(0, round((1 - share) * (self.rows * 4 - 1))))

    def _dot_column(self, x: float) -> int:
        share = (x - self.x_low) / (self.x_high - self.x_low)
        return min(self.columns * 2 - 1, max(0, round(share * (self.columns * 2 - 1))))

    def _cell(self, x: float, y: float) -> tuple[int, int]:
        return self._row(self._scaled(y)), self._dot_column(x) // 2

    def _draw_level(self, level: Level) -> None:
        row = self._row(self._scaled(level.value))
        letter = self.marks.get((level.place, level.variant))
        for column in range(0, self.columns, 1 if letter is None else 2):
            self._put(row, column, letter or "┄", level)

    def _draw(self, one: Series) -> None:
        before: tuple[int, int] | None = None
        for x, y in zip(one.x, one.y, strict=True):
            if not math.isfinite(y):
                before = None
                continue
            here = self._dot_column(x), self._dot_row(self._scaled(y))
            self._stroke(before or here, here, one)
            before = here

    def _stroke(self, start: tuple[int, int], end: tuple[int, int], one: Series) -> None:
        """A straight line of dots."""
        steps = max(abs(end[0] - start[0]), abs(end[1] - start[1]), 1)
        for i in range(steps + 1):
            column = start[0] + round((end[0] - start[0]) * i / steps)
            row = start[1] + round((end[1] - start[1]) * i / steps)
            letter = self.marks.get((one.place, one.variant))
            if letter is not None:
                self._put(row // 4, column // 2, letter, one)
            else:
                self.dots[row // 4][column // 2] |= _DOTS[column % 2][row % 4]
                self._put(row // 4, column // 2, "", one)

    def _put(self, row: int, column: int, character: str, one: Series | Level) -> None:
        """A character, or none to show the dots."""
        self.text[row][column] = character
        self.inks[row][column] = _colour(self.figure, one)

    def _painted(self, row: int) -> str:
        cells = [text or chr(_BRAILLE + dots) for text, dots in zip(self.text[row], self.dots[row], strict=True)]
        if not self.canvas.colours:
            return "".join(cells)
        out: list[str] = []
        ink = 0
        for cell, colour in zip(cells, self.inks[row], strict=True):
            wanted = colour if cell != " " else ink
            if wanted != ink:
                out.append(f"\x1b[{wanted}m")
                ink = wanted
            out.append(cell)
        return "".join(out).rstrip(" ") + ("\x1b[0m" if ink else "")

    def _y_ticks(self, rows: int) -> list[tuple[float, str]]:
        """(place in the scale, label) of the y axis."""
        most = max(2, rows // 3)
        if not self.log:
            round_numbers = ticks(self.y_low, self.y_high, most)
            step = round_numbers[1] - round_numbers[0]
            return [(value, _tick(value, step)) for value in round_numbers]
        low, high = math.floor(self.y_low), math.ceil(self.y_high)
        factors = (1, 2, 5) if high - low <= 2 else (1,)
        powers = range(low, high + 1, max(1, -(-(high - low) // most)))
        # Not by the values, of which the least floats have no logarithm that leads back to them.
        places = [(power + math.log10(factor), f"{factor}e{power}") for power in powers for factor in factors]
        return [(at, f"{float(text):g}") for at, text in places if self.y_low <= at <= self.y_high]

    def _x_axis(self, label: str | None) -> list[str]:
        """The axis, and below it the numbers, which keep apart, and the label."""
        plain = self.canvas.ascii
        line = [("-" if plain else "─")] * self.columns
        numbers = [" "] * (self.gutter + 1 + self.columns)
        free = 0
        at = ticks(self.x_low, self.x_high, max(2, self.columns // 10))
        step = at[1] - at[0]
        for value in at:
            column = self._dot_column(value) // 2
            told = _tick(value, step)
            start = max(0, self.gutter + 1 + column - len(told) // 2)
            start = min(start, len(numbers) - len(told))
            if start < free:
                continue
            line[column] = "+" if plain else "┬"
            numbers[start : start + len(told)] = told
            free = start + len(told) + 2
        out = [f"{' ' * self.gutter}{'+' if plain else '└'}{''.join(line)}", "".join(numbers)]
        if label is not None:
            told = cut(one_line(label), self.columns)
            out.append(" " * (self.gutter + 1 + (self.columns - width(told)) // 2) + told)
        return out


def _range(values: Sequence[float]) -> tuple[float, float]:
    """Least and greatest, never the same."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if low == high:
        # A tenth of the least floats is none.
        apart = abs(low) / 10 or 1.0
        return low - apart, high + apart
    return low, high


def ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers from low to high, evenly apart: as many as asked for or fewer, but two at least."""
    for wanted in range(most, most + 4):
        span = (high - low) / wanted
        power = 10.0 ** math.floor(math.log10(span)) if span > 1e-300 else 1e-300
        step = power * _TICKS[min(bisect(_TICKS, span / power * (1 - 1e-9)), len(_TICKS) - 1)]
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        found = [i * step for i in range(first, last + 1)]
        if len(found) > 1:
            return found
    return [low, high]


def _tick(value: float, step: float) -> str:
    """A number of an axis, with the digits that its neighbours differ in."""
    if not step or abs(value) >= 1e7 or 0 < step < 1e-5:
        return f"{value:.6g}"
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    if decimals and round(step, decimals) != step and abs(round(step, decimals) - step) > step / 100:
        decimals += 1
    return f"{value:,.{decimals}f}" if value else f"{0:.{decimals}f}"
