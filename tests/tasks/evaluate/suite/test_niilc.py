from __future__ import annotations

import json
from pathlib import Path

import pytest

from tasks.evaluate.benchmark import Files, Items, MissingDataError
from tasks.evaluate.suite.niilc import BENCHMARK, accepted
from tests.tasks.evaluate.suite.llm_jp_files import ask, write_prompt_file
from tests.tasks.evaluate.suite.suite_cases import judged, lines_file

XML = """<?xml version='1.0' encoding="UTF-8"?>
<questions>
<question id="N-1"><text> 雲雀の英語名は？
</text><answers><answer>スカイラーク　</answer></answers><meta><B1>は</B1></meta></question>
<question id="N-2"><text>答えのない問いは？</text><answers><answer>-</answer></answers></question>
<question id="N-3"><text>春を告げる鳥は？</text>
  <answers><answer>雲雀</answer><answer></answer><answer>鶯</answer><answer>雲雀</answer></answers></question>
<question id="N-4"><text>空の答えは？</text><answers><answer/></answers></question>
<question id="N-5"><answers><answer>問いがない</answer></answers></question>
</questions>
"""


@pytest.fixture
def items(tmp_path: Path) -> Items:
    path = tmp_path / "NIILC-ECQA2015_test.xml"
    path.write_text(XML, encoding="utf-8")
    return BENCHMARK.read(Files((str(path),)))


def test_the_xml_gives_questions_and_all_their_answers(items: Items) -> None:
    first, second = items.items

    assert (first.id, first.parts["question"], first.gold) == ("N-1", "雲雀の英語名は？", ["スカイラーク"])
    assert (second.id, second.gold) == ("N-3", ["雲雀", "鶯", "雲雀"])
    assert second.text == "春を告げる鳥は？\n雲雀、鶯、雲雀"


def test_questions_without_an_answer_are_left_out_and_broken_ones_counted(items: Items) -> None:
    assert items.left_out == 1
    assert items.malformed == [
        "NIILC-ECQA2015_test.xml:4: no answer to 空の答えは？",
        "NIILC-ECQA2015_test.xml:5: expected text in `text`, got nothing",
    ]


def test_json_lines_give_the_same_as_the_xml(tmp_path: Path) -> None:
    files = lines_file(
        tmp_path / "test.jsonl",
        [
            {"id": "N-1", "text": "雲雀の英語名は？", "answers": ["スカイラーク "]},
            {"id": "N-2", "text": "答えのない問いは？", "answers": ["-"]},
            {"id": "N-6", "text": "一つ足りない", "answers": "文字列"},
            "{",
        ],
    )
    items = BENCHMARK.read(files)

    assert [(item.id, item.gold) for item in items.items] == [("N-1", ["スカイラーク"])]
    assert (items.left_out, len(items.malformed)) == (1, 2)
    assert "`answers`" in items.malformed[0]


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    torn = tmp_path / "torn.xml"
    torn.write_text(XML[:200], encoding="utf-8")
    with pytest.raises(ValueError, match="expected XML"):
        BENCHMARK.read(Files((str(torn),)))
    with pytest.raises(MissingDataError, match=r"mynlp/niilc-qa.*CC BY-SA.*NIILC-ECQA2015_test\.xml"):
        BENCHMARK.read(Files((str(tmp_path / "none.xml"),)))
    with pytest.raises(ValueError, match="is an item"):
        BENCHMARK.read(lines_file(tmp_path / "test.jsonl", [{"id": "N", "text": "問い", "answers": ["-"]}]))


def test_strict_asks_after_four_shots(items: Items) -> None:
    request = ask(BENCHMARK, "strict", items, 0)

    assert request.context.text == (
        "質問に答えてください。答えの語句だけを書き、答えが複数あるときは「、」でつないでください。\n\n"
        "質問：『枕草子』の作者は誰？\n答え：清少納言\n\n"
        "質問：じゃんけんで出す三つの手は？\n答え：グー、チョキ、パー\n\n"
        "質問：将棋盤のマス目は全部でいくつ？\n答え：81\n\n"
        "質問：四国にある四つの県は？\n答え：徳島県、香川県、愛媛県、高知県\n\n"
        "質問：雲雀の英語名は？\n答え："
    )
    assert (request.stops, request.max_tokens, request.max_characters) == (("\n",), None, 200)


def test_swallow_2023_asks_as_the_harness(items: Items, tmp_path: Path) -> None:
    prompts = write_prompt_file(tmp_path, "niilc", [("質問：甲？", "乙,丙")] * 4, "char_f1", output_length=180)

    request = ask(BENCHMARK, "swallow-2023", items, 0, prompts)

    shot = "\n### 入力：\n質問：甲？\n### 回答：\n乙,丙\n"
    asked = "\n### 入力：\n質問：雲雀の英語名は？\n### 回答：\n"
    assert request.context.text == f"課題の説明です。\n### 指示\n答えなさい。\n{shot * 4}{asked}"
    assert (request.stops, request.max_tokens) == (("\n",), 180)


def test_strict_accepts_each_answer_and_all_of_them_joined(items: Items) -> None:
    one, several = items.items

    assert accepted(one) == ["スカイラーク"]
    assert accepted(several) == ["雲雀", "鶯", "雲雀、鶯"]
    for output in ("鶯", "雲雀", "雲雀、鶯"):
        assert judged(BENCHMARK, "strict", several, output).columns == {"character_f1": 1.0, "exact_match": 1.0}
    swapped = judged(BENCHMARK, "strict", several, "鶯と雲雀")  # three of the joined list's, one too many: 2 * 3 / 7
    assert (swapped.columns["character_f1"], swapped.gold) == (pytest.approx(6 / 7), "雲雀、鶯")
    assert judged(BENCHMARK, "strict", several, "燕").columns == {"character_f1": 0.0, "exact_match": 0.0}
    assert judged(BENCHMARK, "strict", one, "ｽｶｲﾗｰｸ").columns["exact_match"] == 1.0
    assert judged(BENCHMARK, "strict", one, "").flags == ("empty_output",)


def test_swallow_2023_has_one_gold_joined_with_commas(items: Items) -> None:
    several = items.items[1]

    whole = judged(BENCHMARK, "swallow-2023", several, "雲雀,鶯,雲雀")
    assert (whole.columns, whole.gold) == ({"fuzzy_ratio": 1.0}, "雲雀,鶯,雲雀")
    # "雲雀" of "雲雀 雲雀 鶯", the sorted words: 2 * 2 / (2 + 7), in whole per cent
    assert judged(BENCHMARK, "swallow-2023", several, "雲雀").columns == {"fuzzy_ratio": 0.44}
    assert judged(BENCHMARK, "swallow-2023", several, "\n雲雀").flags == ("empty_output",)


def test_the_published_files_hold_what_their_authors_say(shared_data: Path) -> None:
    counts = json.loads((shared_data / "eval/COUNTS.json").read_text(encoding="utf-8"))
    for split in ("dev", "test"):
        xml = BENCHMARK.read(Files((str(shared_data / f"eval/niilc/NIILC-ECQA2015_{split}.xml"),)))
        lines = BENCHMARK.read(Files((str(shared_data / f"eval/niilc/{split}.jsonl"),)))

        usable = counts[f'niilc {split} usable (answer != "-")']
        assert len(xml.items) == usable
        assert xml.left_out == counts[f"niilc {split}"] - usable == lines.left_out
        assert [(item.id, item.gold) for item in xml.items] == [(item.id, item.gold) for item in lines.items]
        assert not xml.malformed
        assert not lines.malformed
