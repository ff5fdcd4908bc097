from __future__ import annotations

import json
from pathlib import Path

import pytest

from tasks.evaluate.benchmark import Files, Items, MissingDataError
from tasks.evaluate.suite.jemhopqa import BENCHMARK
from tests.tasks.evaluate.suite.llm_jp_files import ask, write_prompt_file
from tests.tasks.evaluate.suite.suite_cases import judged

ROWS = [
    {"qid": "a1", "type": "comparison", "question": "雲雀と駝鳥、空を飛べるのはどちら？", "answer": "雲雀"},
    {"qid": "a2", "type": "comparison", "question": "雲雀と燕は、どちらも鳥ですか？", "answer": "YES"},
]


def write(path: Path, document: object) -> Files:
    path.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
    return Files((str(path),))


@pytest.fixture
def items(tmp_path: Path) -> Items:
    return BENCHMARK.read(write(tmp_path / "dev.json", ROWS))


def test_rows_that_are_no_item_are_counted_with_the_reason(tmp_path: Path) -> None:
    broken = [
        {"qid": "b1", "question": "答えのない問い"},
        7,
        {"answer": "問いのない答え"},
        {**ROWS[0], "answer": 40466},
    ]
    items = BENCHMARK.read(write(tmp_path / "dev.json", [*broken, *ROWS]))

    assert [(item.id, item.gold) for item in items.items] == [("a1", "雲雀"), ("a2", "YES")]
    assert [line.split(": ")[0] for line in items.malformed] == [f"dev.json:{number}" for number in (1, 2, 3, 4)]
    assert "`answer`" in items.malformed[0]
    assert "40466" in items.malformed[3]


def test_a_missing_file_and_one_without_items(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=r"RIKEN.*aiishii/JEMHopQA.*CC BY-SA.*corpus/dev\.json"):
        BENCHMARK.read(Files((str(tmp_path / "dev.json"),)))
    with pytest.raises(ValueError, match="is an item"):
        BENCHMARK.read(write(tmp_path / "dev.json", []))


def test_strict_asks_after_four_shots(items: Items) -> None:
    request = ask(BENCHMARK, "strict", items, 0)

    assert request.context.text == (
        "質問に答えてください。「はい」か「いいえ」で答える質問には YES か NO と書き、"
        "それ以外の質問には答えの語句だけを書いてください。\n\n"
        "質問：琵琶湖と霞ヶ浦では、面積が大きいのはどちらですか？\n答え：琵琶湖\n\n"
        "質問：金閣寺と銀閣寺は、どちらも京都市にありますか？\n答え：YES\n\n"
        "質問：『源氏物語』の作者が仕えた中宮の父親は誰ですか？\n答え：藤原道長\n\n"
        "質問：夏目漱石と森鷗外は、どちらも医師として働いたことがありますか？\n答え：NO\n\n"
        "質問：雲雀と駝鳥、空を飛べるのはどちら？\n答え："
    )
    assert (request.stops, request.max_tokens, request.max_characters) == (("\n",), None, 48)


def test_swallow_2023_asks_as_the_harness(items: Items, tmp_path: Path) -> None:
    prompts = write_prompt_file(tmp_path, "jemhopqa", [("質問：甲？", "乙")] * 4, "char_f1", output_length=15)

    request = ask(BENCHMARK, "swallow-2023", items, 1, prompts)

    shot = "\n### 入力：\n質問：甲？\n### 回答：\n乙\n"
    asked = "\n### 入力：\n質問：雲雀と燕は、どちらも鳥ですか？\n### 回答：\n"
    assert request.context.text == f"課題の説明です。\n### 指示\n答えなさい。\n{shot * 4}{asked}"
    assert (request.stops, request.max_tokens) == (("\n",), 15)


def test_strict_gives_character_f1_and_exact_match(items: Items) -> None:
    item = items.items[0]

    assert judged(BENCHMARK, "strict", item, "雲雀\n質問：").columns == {"character_f1": 1.0, "exact_match": 1.0}
    near = judged(BENCHMARK, "strict", item, "雲雀です。")  # 2 of 4 characters right, 2 of 2 found
    assert near.columns == {"character_f1": pytest.approx(2 / 3), "exact_match": 0.0}
    assert judged(BENCHMARK, "strict", item, "駝鳥").columns == {"character_f1": 0.0, "exact_match": 0.0}
    empty = judged(BENCHMARK, "strict", item, "\n雲雀")
    assert (empty.columns["character_f1"], empty.flags, empty.gold) == (0.0, ("empty_output",), "雲雀")
    assert judged(BENCHMARK, "strict", items.items[1], " ＹＥＳ").columns["exact_match"] == 1.0


def test_swallow_2023_gives_the_fuzzy_ratio(items: Items) -> None:
    item = items.items[0]

    assert judged(BENCHMARK, "swallow-2023", item, "雲雀。").columns == {"fuzzy_ratio": 1.0}
    assert judged(BENCHMARK, "swallow-2023", item, "雲雀です").columns == {"fuzzy_ratio": 0.67}
    assert judged(BENCHMARK, "swallow-2023", item, "").flags == ("empty_output",)
    assert judged(BENCHMARK, "swallow-2023", items.items[1], "yes").columns == {"fuzzy_ratio": 1.0}


def test_the_published_files_hold_what_their_authors_say(shared_data: Path) -> None:
    counts = json.loads((shared_data / "eval/COUNTS.json").read_text(encoding="utf-8"))
    golds = {}
    for name in ("dev.json", "dev_ver1.1.json", "train.json"):
        items = BENCHMARK.read(Files((str(shared_data / "eval/jemhopqa" / name),)))
        golds[name] = {item.id: (item.parts["question"], item.gold) for item in items.items}

        assert len(items.items) == len(golds[name]) == counts[f"jemhopqa {name}"]
        assert not items.malformed
    # The first release has a date as a spreadsheet's number, which 1.1 corrects.
    assert "40466" in [gold for _, gold in golds["dev.json"].values()]
    assert "40466" not in [gold for _, gold in golds["dev_ver1.1.json"].values()]
