"""The sentences beneath a table, in the languages that pages are written in. Names stay as the runs have them."""

from collections.abc import Sequence
from typing import Final

from expdb.errors import UsageError

_MOST_NAMED: Final = 5


class Wording:
    """English; every other language says the same sentences."""

    def mean_of_row(self, names: str, *, all_but: bool) -> str:
        """What the numbers of a row are, whose runs share names, or everything but those."""
        differ = f"which differ in nothing but {names}" if all_but else f"which share {names}"
        return f"mean ± standard deviation (sample, n − 1) over the n runs of a row, {differ}"

    def runs_of_row(self, names: str) -> str:
        """What n counts where no number is a mean."""
        return f"n: the runs of a row, which differ in nothing but {names}"

    def mean_of_cell(self) -> str:
        """What a pivot's numbers are."""
        return "mean ± standard deviation (sample, n − 1) over the n runs of a cell"

    def cells(self, value: str, row: str, column: str) -> str:
        """How a pivot is read."""
        return f"in each cell: {value}, by {row} (rows) and {column} (columns)"

    def in_no_row(self, runs: int, names: str) -> str:
        """Runs that a grouping leaves out."""
        return f"{_count(runs)} none of {names} and {_are(runs)} in no row"

    def in_no_cell(self, runs: int, row: str, column: str) -> str:
        """Runs that a pivot leaves out."""
        return f"{_count(runs)} no {row} or no {column} and {_are(runs)} in no cell"

    def single_runs(self, names: str, parting: str) -> str:
        """Groups that are none."""
        return f"no two runs differ in nothing but {names}: each row is one run; they differ in {parting}"

    def diverged(self, group: str, fallen: Sequence[str], runs: int) -> str:
        """Who is in no mean."""
        more = f" and {len(fallen) - _MOST_NAMED} more" if len(fallen) > _MOST_NAMED else ""
        share = f"{len(fallen)} of {runs} runs diverged and {_are(len(fallen))} in no mean"
        return f"{group or 'all runs'}: {share}: {', '.join(fallen[:_MOST_NAMED])}{more}"

    def reported(self, title: str, rules: Sequence[str]) -> str:
        """Numbers of a page. rules: how it says that it chose them."""
        said = f" (the page says: {', '.join(rules)})" if rules else ""
        return f"{title}: as reported on a page{said}, without a curve"

    def best(self, metric: str, *, greatest: bool) -> str:
        """The rule that looks at what it chooses."""
        way = "greatest" if greatest else "least"
        return f"best: the {way} {metric} of all steps, chosen by looking at that very number"

    def rule(self, function: str, argument: int | None, *, some_have_fewer: bool) -> str | None:
        """Any other rule that chooses; None for what explains itself."""
        few = " (of all, where a run has fewer)" if some_have_fewer else ""
        said = {
            "first": "first: the value that was printed first",
            "last": "last: the value at the greatest step",
            "min": "min: the least value of the curve",
            "max": "max: the greatest value of the curve",
            "at": f"at: the value at step {argument}, the last where there are several",
            "tail": f"tail: the mean of the last {argument} values, by step{few}",
        }
        return said.get(function)

    def not_finite(self, run: str, broken: int, count: int, metric: str) -> str:
        """Values that are no numbers."""
        return f"{run}: {broken} of {count} values of {metric} are not finite"

    def no_fractions(self, command: str) -> str:
        """Nothing that could be shown in percent. command: what says so of a metric."""
        return f"in percent: nothing, for no column holds fractions; {command} says what is one"

    def better_unknown(self, titles: Sequence[str]) -> str:
        """Columns in which nothing can be the best."""
        return f"which way is better is not known of {', '.join(titles)} ([better] in expdb.toml says it)"

    def moves(self, first: Sequence[str], *, are_any: bool) -> str:
        """What the arrows mean. first: the columns that the others are compared with."""
        if are_any:
            return f"↑ ↓: places gained or lost against the rule that stands first ({', '.join(first)})"
        return f"no row changes its place against the rule that stands first ({', '.join(first)})"

    def the_same(self, said: Sequence[str]) -> str:
        """Columns left out."""
        return f"the same in every row: {', '.join(said)}"


class _Chinese(Wording):
    def mean_of_row(self, names: str, *, all_but: bool) -> str:
        differ = f"只有 {names} 不同" if all_but else f"{names} 相同"
        return f"均值 ± 标准差（样本标准差，除以 n − 1），每行 n 次实验{differ}"

    def runs_of_row(self, names: str) -> str:
        return f"n：每行的实验次数，它们只有 {names} 不同"

    def mean_of_cell(self) -> str:
        return "均值 ± 标准差（样本标准差，除以 n − 1），每格 n 次实验"

    def cells(self, value: str, row: str, column: str) -> str:
        return f"格中为 {value}，行为 {row}，列为 {column}"

    def in_no_row(self, runs: int, names: str) -> str:
        return f"{runs} 次实验没有 {names}，不在表中"

    def in_no_cell(self, runs: int, row: str, column: str) -> str:
        return f"{runs} 次实验没有 {row} 或 {column}，不在表中"

    def single_runs(self, names: str, parting: str) -> str:
        return f"没有两次实验只有 {names} 不同：每行是一次实验，它们的差别在于 {parting}"

    def diverged(self, group: str, fallen: Sequence[str], runs: int) -> str:
        more = f" 等 {len(fallen)} 次" if len(fallen) > _MOST_NAMED else ""
        named = "、".join(fallen[:_MOST_NAMED])
        return f"{group or '全部实验'}：{runs} 次实验中有 {len(fallen)} 次发散，不计入均值：{named}{more}"

    def reported(self, title: str, rules: Sequence[str]) -> str:
        said = f"（页面注明：{'、'.join(rules)}）" if rules else ""
        return f"{title}：页面上报告的数字{said}，没有曲线"

    def best(self, metric: str, *, greatest: bool) -> str:
        return f"best：所有步中{'最大' if greatest else '最小'}的 {metric}，是看着这个数本身挑选的"

    def rule(self, function: str, argument: int | None, *, some_have_fewer: bool) -> str | None:
        few = "（不足的取全部）" if some_have_fewer else ""
        said = {
            "first": "first：最先输出的值",
            "last": "last：最后一步的值",
            "min": "min：曲线的最小值",
            "max": "max：曲线的最大值",
            "at": f"at：第 {argument} 步的值，有多个时取最后一个",
            "tail": f"tail：最后 {argument} 个值的均值{few}",
        }
        return said.get(function)

    def not_finite(self, run: str, broken: int, count: int, metric: str) -> str:
        return f"{run}：{metric} 的 {count} 个值中有 {broken} 个不是有限数"

    def no_fractions(self, command: str) -> str:
        return f"没有可以换算成百分数的列；用 {command} 指明哪些是比例"

    def better_unknown(self, titles: Sequence[str]) -> str:
        return f"{'、'.join(titles)} 越大越好还是越小越好不清楚（在 expdb.toml 的 [better] 中注明）"

    def moves(self, first: Sequence[str], *, are_any: bool) -> str:
        if are_any:
            return f"↑ ↓：与排在最前的规则（{'、'.join(first)}）相比上升或下降的名次"
        return f"与排在最前的规则（{'、'.join(first)}）相比，各行名次不变"

    def the_same(self, said: Sequence[str]) -> str:
        return f"各行相同：{'，'.join(said)}"


_WORDINGS: Final = {"en": Wording(), "zh": _Chinese()}
LANGUAGES: Final = tuple(_WORDINGS)


def wording(language: str) -> Wording:
    """The sentences of one of LANGUAGES."""
    return _WORDINGS[language]


def checked(language: str) -> str:
    """One of LANGUAGES. Raises UsageError for any other."""
    if language not in _WORDINGS:
        raise UsageError(f"lang={language!r}: {' or '.join(_WORDINGS)}", hint='lang="zh"')
    return language


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _count(runs: int) -> str:
    return "1 run has" if runs == 1 else f"{runs} runs have"
