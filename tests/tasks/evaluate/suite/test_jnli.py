from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tasks.evaluate.benchmark import Files, Items, MissingDataError
from tasks.evaluate.suite.jnli import BENCHMARK
from tests.tasks.evaluate.suite.llm_jp_files import ask, write_prompt_file
from tests.tasks.evaluate.suite.suite_cases import judged, lines_file

ROW = {"sentence_pair_id": "7", "sentence1": "雲雀が空で鳴く。", "sentence2": "鳥が鳴いている。", "label": "entailment"}


@pytest.fixture
def items(tmp_path: Path) -> Items:
    rows: list[Any] = [ROW, {**ROW, "sentence_pair_id": "8", "label": 2}, {**ROW, "sentence_pair_id": "9", "label": 1}]
    return BENCHMARK.read(lines_file(tmp_path / "valid.jsonl", rows))


def test_labels_are_names_or_the_hubs_numbers(items: Items) -> None:
    golds = [(item.id, item.gold) for item in items.items]

    assert golds == [("7", "entailment"), ("8", "neutral"), ("9", "contradiction")]
    assert items.items[0].text == "雲雀が空で鳴く。\n鳥が鳴いている。"


def test_lines_that_are_no_item_are_counted_with_the_reason(tmp_path: Path) -> None:
    unlabelled = {key: value for key, value in ROW.items() if key != "label"}
    items = BENCHMARK.read(
        lines_file(tmp_path / "valid.jsonl", [unlabelled, {**ROW, "sentence2": None}, {**ROW, "label": "-"}, "{", ROW])
    )

    assert [item.id for item in items.items] == ["7"]
    assert [line.split(": ")[0] for line in items.malformed] == [f"valid.jsonl:{number}" for number in (1, 2, 3, 4)]
    assert "expected one of entailment, contradiction, neutral" in items.malformed[0]


def test_a_missing_file_and_one_without_items(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=r"Yahoo Japan.*CC BY-SA.*jnli-v1\.3/valid-v1\.3\.json"):
        BENCHMARK.read(Files((str(tmp_path / "none.jsonl"),)))
    with pytest.raises(ValueError, match="is an item"):
        BENCHMARK.read(lines_file(tmp_path / "valid.jsonl", ["{}"]))


def test_strict_asks_for_a_japanese_label(items: Items) -> None:
    request = ask(BENCHMARK, "strict", items, 0)

    assert request.context.text == (
        "前提と仮説の関係を、含意（前提が正しければ仮説も必ず正しい）、矛盾（前提と仮説が同時に正しいことはない）、"
        "中立（どちらともいえない）から一つ選んで書いてください。\n\n"
        "前提：白い猫が窓辺で眠っています。\n仮説：窓辺に猫がいます。\n関係：含意\n\n"
        "前提：子どもたちが公園でサッカーをしています。\n仮説：子どもたちは同じ小学校に通っています。\n関係：中立\n\n"
        "前提：男性が海辺で犬を散歩させています。\n仮説：海辺には人も動物もいません。\n関係：矛盾\n\n"
        "前提：テーブルの上に赤いりんごが三つ並んでいます。\n仮説：テーブルの上に果物があります。\n関係：含意\n\n"
        "前提：雲雀が空で鳴く。\n仮説：鳥が鳴いている。\n関係："
    )
    assert (request.stops, request.max_tokens, request.max_characters) == (("\n",), None, 16)


def test_swallow_2023_asks_as_the_harness(items: Items, tmp_path: Path) -> None:
    shots = [("前提：甲\n仮説：乙", label) for label in ("neutral", "entailment", "contradiction", "neutral")]
    prompts = write_prompt_file(tmp_path, "jnli", shots, "exact_match", output_length=3)

    request = ask(BENCHMARK, "swallow-2023", items, 0, prompts)

    assert request.context.text == (
        "課題の説明です。\n### 指示\n答えなさい。\n"
        "\n### 入力：\n前提：甲\n仮説：乙\n### 回答：\nneutral\n"
        "\n### 入力：\n前提：甲\n仮説：乙\n### 回答：\nentailment\n"
        "\n### 入力：\n前提：甲\n仮説：乙\n### 回答：\ncontradiction\n"
        "\n### 入力：\n前提：甲\n仮説：乙\n### 回答：\nneutral\n"
        "\n### 入力：\n前提：雲雀が空で鳴く。\n仮説：鳥が鳴いている。\n### 回答：\n"
    )
    assert (request.stops, request.max_tokens) == (("\n",), 3)


def test_a_prompt_file_with_other_labels_is_refused(items: Items, tmp_path: Path) -> None:
    """The harness could also ask for Japanese labels; golds are the English ones, so nothing would ever match."""
    prompts = write_prompt_file(tmp_path, "jnli", [("前提：甲\n仮説：乙", "中立")] * 4, "exact_match")

    with pytest.raises(ValueError, match="expected one of entailment, contradiction, neutral"):
        ask(BENCHMARK, "swallow-2023", items, 0, prompts)


def test_strict_judges_the_label(items: Items) -> None:
    item = items.items[0]

    for output in ("含意", " 「含意」。\n前提：", "Entailment"):
        right = judged(BENCHMARK, "strict", item, output)
        assert (right.predicted, right.columns["accuracy"], right.columns["recalled_entailment"]) == (
            "entailment",
            1,
            1,
        )
    wrong = judged(BENCHMARK, "strict", item, "矛盾")
    assert (wrong.predicted, wrong.columns["accuracy"], wrong.flags) == ("contradiction", 0, ())
    assert judged(BENCHMARK, "strict", item, "含意か中立").flags == ("unparsable",)
    assert judged(BENCHMARK, "strict", item, "").flags == ("empty_output", "unparsable")


def test_one_class_for_all_is_worth_a_third(items: Items) -> None:
    """Two of four are neutral: a model that always says so has accuracy 0.5 and balanced accuracy 1/3."""
    rows = [{"columns": judged(BENCHMARK, "strict", item, "中立").columns} for item in (*items.items, items.items[1])]
    headline, accuracy = BENCHMARK.forms["strict"].metrics

    assert (headline.name, headline.of(rows)) == ("balanced_accuracy", pytest.approx(1 / 3))
    assert (accuracy.name, accuracy.of(rows)) == ("accuracy", 0.5)


def test_swallow_2023_compares_the_text(items: Items) -> None:
    item = items.items[1]

    right = judged(BENCHMARK, "swallow-2023", item, "ｎｅｕｔｒａｌ\n\n###")
    assert (right.predicted, right.columns["exact_match"], right.columns["recalled_neutral"]) == ("neutral", 1, 1)
    for output in ("Neutral", " neutral", "neutral。", "中立"):
        other = judged(BENCHMARK, "swallow-2023", item, output)
        assert (other.predicted, other.columns["exact_match"], other.flags) == (None, 0, ("unparsable",))
    assert judged(BENCHMARK, "swallow-2023", item, "").flags == ("empty_output", "unparsable")


def test_it_is_in_no_average_and_names_its_classes() -> None:
    assert not BENCHMARK.averaged
    for form in BENCHMARK.forms.values():
        assert form.classes == ("entailment", "contradiction", "neutral")


def test_the_published_files_hold_what_their_authors_say(shared_data: Path) -> None:
    counts = json.loads((shared_data / "eval/COUNTS.json").read_text(encoding="utf-8"))
    for split in ("valid", "test"):
        items = BENCHMARK.read(Files((str(shared_data / f"eval/jnli/{split}.jsonl"),)))

        assert len(items.items) == len({item.id for item in items.items}) == counts[f"jnli {split}"]
        assert not items.malformed
        if split == "valid":
            assert Counter(item.gold for item in items.items)["neutral"] == 1350  # 55 %
