from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from tasks.evaluate.benchmark import Files, Items, MissingDataError
from tasks.evaluate.requests import Generate
from tasks.evaluate.suite.mgsm_ja import BENCHMARK, read_examples
from tests.tasks.evaluate.suite.suite_cases import judged, lines_file, prompt_of, requests_of, use_shots

TSV = "雲雀が3羽、鳩が15羽います。合わせて何羽ですか？\t18\n船は1,200トンを運びます。2隻では何トンですか？\t2,400\n"
EXAMPLE = {
    "id": "1",
    "q": "問題：りんごが2個あります。1個もらうと何個ですか？",
    "a": "ステップごとの答え：2+1=3。答えは3です。",
}
HUB_EXAMPLE = {"question": EXAMPLE["q"], "answer": EXAMPLE["a"], "answer_number": 3}


@pytest.fixture
def items(tmp_path: Path) -> Items:
    (tmp_path / "mgsm_ja.tsv").write_text(TSV, encoding="utf-8")
    return BENCHMARK.read(Files((str(tmp_path / "mgsm_ja.tsv"),)))


def test_questions_and_numbers_of_both_forms(items: Items, tmp_path: Path) -> None:
    hub = [{"question": "羽は何枚ですか？", "answer": None, "answer_number": 18}]

    assert [item.gold for item in items.items] == [Decimal(18), Decimal(2400)]
    assert items.items[0].parts == {"question": "雲雀が3羽、鳩が15羽います。合わせて何羽ですか？"}
    (item,) = BENCHMARK.read(lines_file(tmp_path / "test.jsonl", hub)).items
    assert item.gold == 18


def test_examples_lose_their_labels_in_both_forms(tmp_path: Path) -> None:
    for row in (EXAMPLE, HUB_EXAMPLE):
        (example,) = read_examples(lines_file(tmp_path / "examples.jsonl", [row])).items
        assert example.parts == {
            "question": "りんごが2個あります。1個もらうと何個ですか？",
            "answer": "2+1=3。答えは3です。",
        }


def test_lines_that_are_none_and_missing_files(items: Items, tmp_path: Path) -> None:
    (tmp_path / "mgsm_ja.tsv").write_text(f"数のない行\n問い\tたくさん\n{TSV}", encoding="utf-8")
    read = BENCHMARK.read(Files((str(tmp_path / "mgsm_ja.tsv"),)))

    assert len(read.items) == 2
    assert [message.split(": ")[0] for message in read.malformed] == ["mgsm_ja.tsv:1", "mgsm_ja.tsv:2"]
    with pytest.raises(MissingDataError, match=r"Google.*CC BY 4\.0.*mgsm_ja/mgsm_ja\.tsv"):
        BENCHMARK.read(Files((str(tmp_path / "missing.tsv"),)))
    with pytest.raises(MissingDataError, match=r"four worked examples.*exemplars_ja\.jsonl"):
        BENCHMARK.forms["swallow-2023"].shots(items, Files(()), None)


def test_swallow_asks_step_by_step(items: Items, tmp_path: Path) -> None:
    examples = lines_file(tmp_path / "exemplars_ja.jsonl", [EXAMPLE])
    (request,) = requests_of(BENCHMARK, "swallow-2023", items, 0, Files((), shots=examples.items[0]))

    assert isinstance(request, Generate)
    assert prompt_of(request) == (
        "問題：りんごが2個あります。1個もらうと何個ですか？\nステップごとの答え：2+1=3。答えは3です。\n\n"
        "問題：雲雀が3羽、鳩が15羽います。合わせて何羽ですか？\nステップごとの答え：|"
    )
    assert (request.stops, request.max_tokens, request.context.start) == (("\n",), 256, False)


def test_strict_asks_with_our_words(items: Items, monkeypatch: pytest.MonkeyPatch) -> None:
    use_shots(monkeypatch, "解いてください。", {"question": "1と1では？", "answer": "1+1=2です。答えは2です。"})
    (request,) = requests_of(BENCHMARK, "strict", items, 0)

    assert isinstance(request, Generate)
    assert prompt_of(request) == (
        "解いてください。\n\n問題：1と1では？\n解答：1+1=2です。答えは2です。\n\n"
        "問題：雲雀が3羽、鳩が15羽います。合わせて何羽ですか？\n解答：|"
    )
    assert (request.stops, request.max_characters) == (("\n",), 300)


@pytest.mark.parametrize(
    ("output", "swallow", "strict"),
    [
        ("3+15=18。答えは18です。", 1.0, 1.0),
        ("答えは18.0です。", 1.0, 1.0),
        ("答えは１８です。", 0.0, 1.0),  # digits of full width
        ("答えは1,8です。", 1.0, 0.0),  # commas go wherever they stand
        ("18 birds.", 0.0, 1.0),  # the lone point is the last run
        ("答えは18.5です。", 0.0, 0.0),
        ("18羽のうち3羽", 0.0, 0.0),
        ("分かりません。", 0.0, 0.0),
        ("", 0.0, 0.0),
    ],
)
def test_numbers(items: Items, output: str, swallow: float, strict: float) -> None:
    assert judged(BENCHMARK, "swallow-2023", items.items[0], output).columns["exact_match"] == swallow
    assert judged(BENCHMARK, "strict", items.items[0], output).columns["exact_match"] == strict


def test_flags(items: Items) -> None:
    for profile in ("strict", "swallow-2023"):
        assert judged(BENCHMARK, profile, items.items[0], "分かりません。").flags == ("unparsable",)
        assert judged(BENCHMARK, profile, items.items[0], "").flags == ("empty_output",)
        assert judged(BENCHMARK, profile, items.items[0], "18").flags == ()


def test_the_published_files_hold_what_is_said(shared_data: Path) -> None:
    folder = shared_data / "eval/mgsm_ja"
    items = BENCHMARK.read(Files((str(folder / "mgsm_ja.tsv"),)))

    assert (len(items.items), len(items.malformed)) == (250, 0)
    assert len(read_examples(Files((str(folder / "exemplars_ja.jsonl"),))).items) == 8
