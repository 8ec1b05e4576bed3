r"""LaTeX: a floating table in the manner of booktabs, which every engine sets as it is meant.

The first lines are comments that say what the preamble needs: always `booktabs`; for Chinese `ctex`, with XeLaTeX or
LuaLaTeX. Signs of LaTeX are commands, ligatures (`--`, `,,`, ``?` ``) are taken
apart, and signs that are text only in some font encodings (`<`, `|`, `"`) are commands, too.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from typing import Final

from expdb.records import Table
from expdb.reports.layout import PrintedColumn, PrintedTable, printed
from expdb.reports.markdown import is_code
from expdb.reports.text import lines

_COMMANDS: Final = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "`": r"\textasciigrave{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\char34{}",
    "'": r"\char39{}",
    "*": r"{*}",
    "[": r"{[}",
    "]": r"{]}",
    "†": r"$^{\dagger}$",
    "‡": r"$^{\ddagger}$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "→": r"$\rightarrow$",
    "←": r"$\leftarrow$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "−": r"$-$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "≠": r"$\neq$",
    "≈": r"$\approx$",
    "°": r"$^{\circ}$",
    "·": r"$\cdot$",
    "µ": r"$\mu$",
    "—": "---",
    "–": "--",
    "…": r"\ldots{}",
    "“": "``",
    "”": "''",
    "‘": "`",
    "’": "'",
    "\u00a0": "~",
    "α": r"$\alpha$",
    "β": r"$\beta$",
    "γ": r"$\gamma$",
    "δ": r"$\delta$",
    "Δ": r"$\Delta$",
    "ε": r"$\epsilon$",
    "η": r"$\eta$",
    "λ": r"$\lambda$",
    "μ": r"$\mu$",
    "ρ": r"$\rho$",
    "σ": r"$\sigma$",
    "τ": r"$\tau$",
    "ω": r"$\omega$",
}
_SPECIAL: Final = re.compile("|".join(map(re.escape, _COMMANDS)))
# Two of them in a row are one sign.
_LIGATURES: Final = re.compile(r"(?<=-)-|(?<=,),|(?<=[?!])(?=`)")
# What pdfLaTeX sets with its own fonts: Latin with the accents that they have.
_LATIN: Final = re.compile(r"[\x20-\x7e\u00c0-\u017e]*")
_WORD: Final = re.compile(r"[A-Za-z0-9]+")
_NEGATIVE: Final = re.compile(r"-(?=[\d.])")
_BOOKTABS: Final = r"% \usepackage{booktabs}"
_ACCENTS: Final = r"% \usepackage[T1]{fontenc}"
_ALL: Final = r"% \usepackage{ctex}, with XeLaTeX or LuaLaTeX: pdfLaTeX has no fonts for some of these letters"


def render(table: Table) -> str:
    r"""A `table` with caption, label and `tabular`, and one small paragraph for each rule below.

    A value of several lines keeps them, by `\shortstack`. The label is made from the caption: `tab:two-losses`.
    """
    words = printed(table)
    body = [rf"\caption{{{escaped(words.title)}}}", rf"\label{{{label(words.title)}}}"] if words.title else []
    body += [*_tabular(words), *(rf"\par\smallskip{{\footnotesize {escaped(rule)}\par}}" for rule in words.rules)]
    parts = [r"\begin{table}", r"\centering", *body, r"\end{table}"]
    text = " ".join(body)
    preamble = [_BOOKTABS] if text.isascii() else [_BOOKTABS, _ACCENTS if _LATIN.fullmatch(text) else _ALL]
    return "\n".join((*preamble, *parts)) + "\n"


def label(caption: str) -> str:
    """`tab:` and the caption's first words; those of other scripts are a digest."""
    found = "-".join(_WORD.findall(caption)[:6]).lower()
    return f"tab:{found or hashlib.sha256(caption.encode('utf-8', 'replace')).hexdigest()[:8]}"


def _tabular(words: PrintedTable) -> Iterator[str]:
    if not words.columns:
        yield rf"\emph{{{words.without_rows}}}"
        return
    yield rf"\begin{{tabular}}{{{''.join('r' if column.numeric else 'l' for column in words.columns)}}}"
    yield r"\toprule"
    yield _row(escaped(column.heading) for column in words.columns)
    yield r"\midrule"
    if not words.columns[0].cells:
        yield rf"\multicolumn{{{len(words.columns)}}}{{l}}{{\emph{{{words.without_rows}}}}} \\"
    for cells in zip(*map(_cells, words.columns), strict=True):
        yield _row(cells)
    yield r"\bottomrule"
    yield r"\end{tabular}"


def _row(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"


def _cells(column: PrintedColumn) -> Iterator[str]:
    for row, cell in enumerate(column.cells):
        number = _number(cell + column.spread(row)) if column.numeric else _text(cell)
        number = rf"\textbf{{{number}}}" if column.is_best(row) else number
        yield number + escaped(column.mark(row))


def _number(text: str) -> str:
    """A number whose minus is one."""
    return _NEGATIVE.sub("$-$", escaped(text))


def _text(cell: str) -> str:
    shown = [rf"\texttt{{{escaped(line)}}}" if is_code(line) else escaped(line) for line in lines(cell)]
    stacked = r" \\ ".join(shown)
    return stacked if len(shown) < 2 else rf"\shortstack[l]{{{stacked}}}"


def escaped(line: str) -> str:
    """A visible line as LaTeX shows it."""
    apart = _LIGATURES.sub("\0\\g<0>", line)
    return _SPECIAL.sub(lambda match: _COMMANDS[match[0]], apart).replace("\0", "{}")
