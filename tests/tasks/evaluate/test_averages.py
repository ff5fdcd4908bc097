from __future__ import annotations

from tasks.evaluate.averages import AUTHORS, CATEGORIES, averages
from tasks.evaluate.scored_tasks import ScoredTask, scored_task
from tasks.evaluate.suite import MODULES, load_benchmark

AUTHORS_JA = [name for names in AUTHORS["ja"].values() for name in names]
AUTHORS_EN = [name for names in AUTHORS["en"].values() for name in names]


def _tasks(*names: str) -> list[ScoredTask]:
    return [scored_task(f"{name}-strict", "strict") for name in names]


def test_the_authors_averages() -> None:
    assert (len(AUTHORS_JA), len(AUTHORS_EN)) == (8, 6)
    found = averages(_tasks(*MODULES))
    whole = {average.language: average for average in found if average.category is None}
    assert set(whole["ja"].tasks) == set(AUTHORS_JA)
    assert set(whole["en"].tasks) == set(AUTHORS_EN)
    assert [average.missing for average in whole.values()] == [(), ()]
    assert whole["ja"].stand_ins == {}


def test_categories_are_those_of_the_tables() -> None:
    found = averages(_tasks(*MODULES))
    japanese = {average.category: average.tasks for average in found if average.language == "ja" and average.category}
    assert tuple(japanese) == CATEGORIES
    assert japanese["QA"] == ("jemhopqa", "niilc")
    assert japanese["MT"] == ("wmt20_en_ja", "wmt20_ja_en")
    assert japanese["NLI"] == ("jnli",), "averaged by itself, since nothing of it is in the authors' average"
    assert all(load_benchmark(name).category == category for category, names in AUTHORS["en"].items() for name in names)


def test_one_stand_in_takes_a_missing_place() -> None:
    """WMT22 is evaluated first here, but WMT21 comes first in the suite."""
    japanese, *_ = averages(_tasks("wmt22_en_ja", "wmt21_en_ja", "jsquad"))
    assert japanese.tasks == ("wmt21_en_ja", "jsquad")
    assert japanese.stand_ins == {"wmt20_en_ja": "wmt21_en_ja"}
    assert set(AUTHORS_JA) - set(japanese.missing) == {"jsquad"}


def test_no_stand_in_beside_what_it_stands_for() -> None:
    english = averages(_tasks("triviaqa_3000", "triviaqa", "gsm8k"))[0]
    assert (english.tasks, english.stand_ins) == (("triviaqa", "gsm8k"), {})


def test_without_benchmarks_there_are_no_averages() -> None:
    assert averages([scored_task("bits_per_byte", "strict"), scored_task("hibari_probe", "strict")]) == []
    assert [average.category for average in averages(_tasks("jnli"))] == ["NLI"]
