from __future__ import annotations

from pathlib import Path

import pytest

from tasks.evaluate.benchmark import Files, Items, MissingDataError
from tasks.evaluate.suite.marc_ja import BENCHMARK
from tests.tasks.evaluate.suite.llm_jp_files import ask, write_prompt_file
from tests.tasks.evaluate.suite.suite_cases import judged, lines_file

ROW = {"sentence": "声の良い鳥笛で、毎朝吹いています。", "label": "positive", "review_id": "R1"}


@pytest.fixture
def items(tmp_path: Path) -> Items:
    other = {"review_body": "一度で壊れました。", "label": 1}
    return BENCHMARK.read(lines_file(tmp_path / "valid.jsonl", [ROW, other]))


def test_both_forms_of_the_file_are_read(items: Items) -> None:
    first, second = items.items

    assert (first.id, first.parts["review"], first.gold) == ("R1", "声の良い鳥笛で、毎朝吹いています。", "positive")
    assert (second.id, second.parts["review"], second.gold) == ("2", "一度で壊れました。", "negative")


def test_lines_that_are_no_item_are_counted_with_the_reason(tmp_path: Path) -> None:
    lines = ({**ROW, "label": "neutral"}, {"label": "positive"}, {**ROW, "sentence": ""}, "壊れた行", ROW)
    items = BENCHMARK.read(lines_file(tmp_path / "valid.jsonl", lines))

    assert [item.id for item in items.items] == ["R1"]
    assert [line.split(": ")[0] for line in items.malformed] == [f"valid.jsonl:{number}" for number in (1, 2, 3, 4)]
    assert "got 'neutral'" in items.malformed[0]
    assert "`review_body`" in items.malformed[1]


def test_a_missing_file_says_that_it_is_no_longer_distributed(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=r"no longer distributed.*yahoojapan/JGLUE.*marc_ja/valid\.jsonl"):
        BENCHMARK.read(Files((str(tmp_path / "none.jsonl"),)))
    with pytest.raises(ValueError, match="is an item"):
        BENCHMARK.read(lines_file(tmp_path / "valid.jsonl", ["{}"]))


def test_strict_asks_with_the_review_as_the_passage(items: Items) -> None:
    request = ask(BENCHMARK, "strict", items, 1)

    assert request.context.text == (
        "商品のレビューを読み、評価が良ければ「肯定」、悪ければ「否定」と書いてください。\n\n"
        "レビュー：軽くて持ち運びやすく、毎日の通勤で使っています。買ってよかったです。\n評価：肯定\n\n"
        "レビュー：届いたときには箱がつぶれていて、部品も一つ足りませんでした。がっかりです。\n評価：否定\n\n"
        "レビュー：説明書のとおりに組み立てましたが、三日で脚が折れました。返金してほしいです。\n評価：否定\n\n"
        "レビュー：音がきれいで、操作も簡単でした。母にも一台贈ろうと思います。\n評価：肯定\n\n"
        "レビュー：一度で壊れました。\n評価："
    )
    assert (request.context.passage, request.context.after) == ("一度で壊れました。", "\n評価：")
    assert (request.stops, request.max_tokens, request.max_characters) == (("\n",), None, 16)


def test_swallow_2023_asks_in_the_harness_form(items: Items, tmp_path: Path) -> None:
    shots = [("レビュー：甲", label) for label in ("positive", "negative", "negative", "positive")]
    prompts = write_prompt_file(tmp_path, "marc_ja", shots, "exact_match", output_length=2)

    request = ask(BENCHMARK, "swallow-2023", items, 1, prompts)

    assert request.context.text.startswith(
        "課題の説明です。\n### 指示\n答えなさい。\n\n### 入力：\nレビュー：甲\n### 回答：\npositive\n"
    )
    assert request.context.text.endswith("\npositive\n\n### 入力：\nレビュー：一度で壊れました。\n### 回答：\n")
    assert (request.stops, request.max_tokens) == (("\n",), 2)


def test_labels_are_judged_in_both_profiles(items: Items) -> None:
    good, bad = items.items

    assert judged(BENCHMARK, "strict", good, "肯定。").columns["accuracy"] == 1
    assert judged(BENCHMARK, "strict", bad, "肯定").columns["recalled_negative"] == 0
    assert judged(BENCHMARK, "strict", bad, "よい").flags == ("unparsable",)
    assert judged(BENCHMARK, "strict", bad, "").flags == ("empty_output", "unparsable")
    assert judged(BENCHMARK, "swallow-2023", bad, "negative").columns["exact_match"] == 1
    assert judged(BENCHMARK, "swallow-2023", bad, "否定").flags == ("unparsable",)


def test_one_class_for_all_is_worth_a_half(items: Items) -> None:
    outputs = [judged(BENCHMARK, "strict", item, "肯定").columns for item in (*items.items, items.items[0])]

    assert BENCHMARK.forms["strict"].metrics[0].of([{"columns": columns} for columns in outputs]) == 0.5
    assert not BENCHMARK.averaged
