from __future__ import annotations

import json
from pathlib import Path

import pytest

from tasks.evaluate.benchmark import Files, Items, MissingDataError
from tasks.evaluate.suite.jcommonsenseqa import BENCHMARK, chosen
from tests.tasks.evaluate.suite.llm_jp_files import ask, write_prompt_file
from tests.tasks.evaluate.suite.suite_cases import judged, lines_file

ROW = {
    "q_id": 70,
    "question": "雲雀はどこで鳴く？",
    "choice0": "海の底",
    "choice1": "空",
    "choice2": "箱の中",
    "choice3": "地下鉄",
    "choice4": "井戸",
    "label": 1,
}


@pytest.fixture
def items(tmp_path: Path) -> Items:
    return BENCHMARK.read(lines_file(tmp_path / "valid.jsonl", [ROW, {**ROW, "q_id": 71, "label": 4}]))


def test_items_carry_question_choices_and_gold(items: Items) -> None:
    first, second = items.items

    assert (first.id, first.gold, first.text) == ("70", 1, "雲雀はどこで鳴く？\n空")
    assert (second.id, second.gold) == ("71", 4)
    assert first.parts["choices"] == ["海の底", "空", "箱の中", "地下鉄", "井戸"]
    assert not items.malformed


def test_lines_that_are_no_item_are_counted_with_the_reason(tmp_path: Path) -> None:
    without = {key: value for key, value in ROW.items() if key != "choice3"}
    items = BENCHMARK.read(
        lines_file(
            tmp_path / "valid.jsonl",
            [
                "{壊れた行",
                {**ROW, "label": 5},
                without,
                {**ROW, "question": " "},
                "[1]",
                {**ROW, "label": None},
                "",
                ROW,
            ],
        )
    )

    assert [item.id for item in items.items] == ["70"]
    places = [line.split(": ")[0] for line in items.malformed]
    assert places == [f"valid.jsonl:{number}" for number in (1, 2, 3, 4, 5, 6)]
    assert "from 0 to 4 in `label`" in items.malformed[1]
    assert "`choice3`" in items.malformed[2]


def test_a_file_without_an_item_and_a_missing_one_say_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is an item.*yahoojapan/JGLUE"):
        BENCHMARK.read(lines_file(tmp_path / "valid.jsonl", ["{}", "壊れた行"]))
    with pytest.raises(MissingDataError, match=r"Yahoo Japan.*CC BY-SA.*valid-v1\.3\.json"):
        BENCHMARK.read(Files((str(tmp_path / "none.jsonl"),)))


def test_rows_without_an_id_are_numbered(tmp_path: Path) -> None:
    row = {key: value for key, value in ROW.items() if key != "q_id"}
    items = BENCHMARK.read(lines_file(tmp_path / "valid.jsonl", [row, row]))

    assert [item.id for item in items.items] == ["1", "2"]


def test_strict_asks_for_the_number(items: Items) -> None:
    request = ask(BENCHMARK, "strict", items, 0)

    context = request.context
    assert context.head == "質問の答えとして最もふさわしい選択肢を一つ選び、その番号だけを書いてください。\n\n"
    assert context.shots[0] == (
        "質問：濡れた髪を早く乾かしたいときに使うものは？\n"
        "0. 掃除機\n1. 炊飯器\n2. 電話\n3. ドライヤー\n4. 懐中電灯\n答え：3\n\n"
    )
    assert context.after == "質問：雲雀はどこで鳴く？\n0. 海の底\n1. 空\n2. 箱の中\n3. 地下鉄\n4. 井戸\n答え："
    assert context.text == f"{context.head}{''.join(context.shots)}{context.after}"
    assert (len(context.shots), context.overlong, context.start) == (4, "shots", True)
    assert (request.stops, request.max_tokens, request.max_characters) == (("\n",), None, 32)


def test_swallow_2023_asks_as_the_harness(items: Items, tmp_path: Path) -> None:
    shots = [(f"質問：色は？\n選択肢：0.{color},1.緑", "0") for color in "赤青黄黒"]
    prompts = write_prompt_file(tmp_path, "jcommonsenseqa", shots, "exact_match", output_length=1)

    request = ask(BENCHMARK, "swallow-2023", items, 0, prompts)

    assert request.context.text == (
        "課題の説明です。\n### 指示\n答えなさい。\n"
        "\n### 入力：\n質問：色は？\n選択肢：0.赤,1.緑\n### 回答：\n0\n"
        "\n### 入力：\n質問：色は？\n選択肢：0.青,1.緑\n### 回答：\n0\n"
        "\n### 入力：\n質問：色は？\n選択肢：0.黄,1.緑\n### 回答：\n0\n"
        "\n### 入力：\n質問：色は？\n選択肢：0.黒,1.緑\n### 回答：\n0\n"
        "\n### 入力：\n質問：雲雀はどこで鳴く？\n選択肢：0.海の底,1.空,2.箱の中,3.地下鉄,4.井戸\n### 回答：\n"
    )
    assert (request.stops, request.max_tokens, request.max_characters) == (("\n",), 1, None)


@pytest.mark.parametrize(
    ("line", "number"),
    [
        ("1", "1"),
        ("(1)", "1"),
        ("1番", "1"),
        ("1. 空", "1"),
        ("1 空。", "1"),
        ("空", "1"),
        ("「地下鉄」", "3"),
        ("5", None),
        ("12", None),
        ("1か2", None),
        ("1. 井戸", None),  # the number and the choice disagree
        ("空か海", None),
        ("", None),
        ("一", None),
    ],
)
def test_what_counts_as_a_choice(line: str, number: str | None) -> None:
    assert chosen(line, ["海の底", "空", "箱の中", "地下鉄", "井戸"]) == number


def test_a_number_is_a_number_also_where_choices_are_numbers() -> None:
    assert chosen("2", ["4", "3", "2", "1", "0"]) == "2"
    assert chosen("3", ["4", "9", "8", "7", "3"]) == "3"
    assert chosen("9", ["4", "9", "9", "7", "3"]) is None  # two choices have this text


def test_strict_judges_numbers_of_any_width(items: Items) -> None:
    item = items.items[0]

    right = judged(BENCHMARK, "strict", item, "１\n質問：")
    assert (right.columns, right.predicted, right.normalised, right.gold) == ({"exact_match": 1.0}, "1", "1", "1")
    assert judged(BENCHMARK, "strict", item, " 4").columns == {"exact_match": 0.0}
    assert judged(BENCHMARK, "strict", item, " 4").predicted == "4"
    empty = judged(BENCHMARK, "strict", item, "  ")
    assert (empty.columns, empty.predicted, empty.flags) == ({"exact_match": 0.0}, None, ("empty_output", "unparsable"))
    assert judged(BENCHMARK, "strict", item, "わかりません").flags == ("unparsable",)


def test_swallow_2023_compares_the_text_as_it_is(items: Items) -> None:
    item = items.items[0]

    assert judged(BENCHMARK, "swallow-2023", item, "１").columns == {"exact_match": 1.0}
    spaced = judged(BENCHMARK, "swallow-2023", item, " 1")
    assert (spaced.columns, spaced.predicted, spaced.flags) == ({"exact_match": 0.0}, None, ("unparsable",))
    assert judged(BENCHMARK, "swallow-2023", item, "").flags == ("empty_output", "unparsable")
    assert judged(BENCHMARK, "swallow-2023", item, "空").columns == {"exact_match": 0.0}


def test_the_published_files_hold_what_their_authors_say(shared_data: Path) -> None:
    counts = json.loads((shared_data / "eval/COUNTS.json").read_text(encoding="utf-8"))
    for split in ("train", "valid", "test"):
        items = BENCHMARK.read(Files((str(shared_data / f"eval/jcommonsenseqa/{split}.jsonl"),)))

        assert len(items.items) == len({item.id for item in items.items}) == counts[f"jcommonsenseqa {split}"]
        assert not items.malformed
