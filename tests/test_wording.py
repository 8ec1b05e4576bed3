"""The sentences beneath a table: in every language all of them, in no language another's."""

import inspect
import re
from pathlib import Path

import pytest
from commands import expdb_in

from expdb.compare.wording import LANGUAGES, Wording, wording
from expdb.reports.layout import MARK_RULES

WORDS: dict[str, object] = {
    **{"names": "seed", "value": "acc", "row": "a", "column": "b", "runs": 8, "parting": "lr", "group": "lr 1"},
    **{"fallen": ["r1"] * 7, "title": "acc", "rules": ["best"], "metric": "acc", "function": "tail", "argument": 5},
    **{"run": "r1", "broken": 1, "count": 3, "command": "c", "titles": ["a", "b"], "first": ["a"], "said": ["a 1"]},
}


def sentences(say: Wording) -> dict[str, str]:
    """Every sentence of a language, by name and by yes or no."""
    out = {}
    for name, method in inspect.getmembers(say, inspect.ismethod):
        wanted = list(inspect.signature(method).parameters)
        for yes in (True, False):
            said = method(**{one: WORDS.get(one, yes) for one in wanted})
            assert isinstance(said, str)
            out[f"{name} {yes}"] = said
    return out


def test_every_language_says_every_sentence_in_its_own_words() -> None:
    english = sentences(wording("en"))
    for language in LANGUAGES:
        said = sentences(wording(language))
        assert said.keys() == english.keys()
        assert MARK_RULES[language].keys() == MARK_RULES["en"].keys()
        if language != "en":
            for one in said.values():
                assert re.search("[\u4e00-\u9fff]", one), one
                assert not re.search("[A-Za-z]{3,} [a-z]{3,} [a-z]{3,}", one), one


@pytest.mark.parametrize("function", ["first", "last", "min", "max", "at", "tail"])
def test_every_rule_is_explained(function: str) -> None:
    for language in LANGUAGES:
        assert (wording(language).rule(function, 3, some_have_fewer=False) or "").startswith(function)


def test_a_chinese_table_says_all_that_is_its_own_in_chinese(tmp_path: Path) -> None:
    expdb = expdb_in(tmp_path)
    logs = tmp_path / "logs"
    logs.mkdir()
    for seed in range(3):
        broken = "nan" if seed == 2 else "0.5"
        lines = (f"Namespace(seed={seed}, lr=0.1)", "epoch 1, loss 1.0, test accuracy 0.5")
        text = "\n".join((*lines, f"epoch 2, loss {broken}, test accuracy 0.6", ""))
        (logs / f"s{seed}.log").write_text(text)
    assert expdb("ingest", "logs").returncode == 0
    done = expdb(
        *("compare", "--columns", "lr, last(test/accuracy), best(test/accuracy)", "--group-by", "all-but:seed"),
        *("--bold", "best", "--lang", "zh", "--format", "md"),
    )
    assert done.returncode == 0, done.stderr
    assert "均值 ± 标准差" in done.stdout
    assert "n=2/3，1 次发散" in done.stdout
    assert not re.search("[a-z]{3,} [a-z]{3,} [a-z]{3,}", done.stdout)
    refused = expdb("compare", "--lang", "fr")
    assert refused.returncode == 2
    assert "en or zh" in refused.stderr
