from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.evaluate.benchmark import Files, Items, MissingDataError
from tasks.evaluate.config import Profile
from tasks.evaluate.encoding import fit
from tasks.evaluate.suite.jsquad import BENCHMARK
from tests.tasks.evaluate.suite.llm_jp_files import ask, write_prompt_file
from tests.tasks.evaluate.suite.suite_cases import judged, lines_file
from tokenizer.encoder import load_encoder

CONTEXT = "雲雀 [SEP] 雲雀は春の野に鳴く鳥で、巣は草の根もとにつくる。"
QUESTION = {
    "id": "q0",
    "question": "雲雀の巣はどこにつくられるか。",
    "answers": [{"text": "草の根もと", "answer_start": 19}, {"text": "根もと", "answer_start": 21}],
    "is_impossible": False,
}


def write(path: Path, *questions: Any, context: str = CONTEXT) -> Files:
    paragraphs = [{"context": context, "qas": list(questions)}]
    path.write_text(json.dumps({"data": [{"title": "雲雀", "paragraphs": paragraphs}]}), encoding="utf-8")
    return Files((str(path),))


@pytest.fixture
def items(tmp_path: Path) -> Items:
    return BENCHMARK.read(write(tmp_path / "valid.json", QUESTION))


def test_an_item_has_title_passage_and_all_answers(items: Items) -> None:
    (item,) = items.items

    assert (item.id, item.gold) == ("q0", ["草の根もと", "根もと"])
    assert (item.parts["title"], item.parts["passage"]) == ("雲雀", "雲雀は春の野に鳴く鳥で、巣は草の根もとにつくる。")
    assert item.text == "雲雀の巣はどこにつくられるか。\n雲雀は春の野に鳴く鳥で、巣は草の根もとにつくる。\n草の根もと"


def test_a_context_without_a_title_takes_the_articles(tmp_path: Path) -> None:
    items = BENCHMARK.read(write(tmp_path / "valid.json", QUESTION, context="春の野に鳴く。"))

    assert (items.items[0].parts["title"], items.items[0].parts["passage"]) == ("雲雀", "春の野に鳴く。")


def test_rows_of_the_hub_are_read_too(tmp_path: Path) -> None:
    row = {**QUESTION, "context": CONTEXT, "title": "雲雀", "answers": {"text": ["草の根もと"], "answer_start": [19]}}
    (item,) = BENCHMARK.read(lines_file(tmp_path / "valid.jsonl", [row])).items

    assert (item.id, item.gold, item.parts["title"]) == ("q0", ["草の根もと"], "雲雀")


def test_questions_that_are_no_item_are_counted_with_the_reason(tmp_path: Path) -> None:
    no_answer = {**QUESTION, "answers": []}
    items = BENCHMARK.read(
        write(tmp_path / "valid.json", no_answer, {"id": "q1"}, {**QUESTION, "question": 5}, QUESTION)
    )

    assert [item.id for item in items.items] == ["q0"]
    assert any("`answers`" in line for line in items.malformed)
    assert any("`question`" in line for line in items.malformed)
    assert {line.split(":")[0] for line in items.malformed} == {"valid.json"}


@pytest.mark.parametrize("text", ['{"data": [', "[]", '{"data": [{"title": "雲雀", "paragraphs": []}]}'])
def test_a_file_without_a_question_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "valid.json"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(ValueError, match="yahoojapan/JGLUE"):
        BENCHMARK.read(Files((str(path),)))


def test_a_missing_file_says_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=r"Yahoo Japan.*CC BY-SA.*valid-v1\.3\.json"):
        BENCHMARK.read(Files((str(tmp_path / "valid.json"),)))


def test_strict_asks_with_the_passage_apart(items: Items) -> None:
    """Where the prompt is too long the passage is cut at its end, and the question stays."""
    request = ask(BENCHMARK, "strict", items, 0)

    context = request.context
    assert context.head == "文章を読み、質問の答えにあたる語句を文章から抜き出してください。\n\n"
    assert context.shots[1] == (
        "題名：灯台\n文章：灯台は、岬の先端や港の入り口などに建てられ、光によって船に位置を知らせる施設である。"
        "かつては灯台守が住み込みで灯りを管理していたが、現在、日本の灯台はすべて無人化されている。\n"
        "質問：かつて住み込みで灯りを管理していたのは誰ですか？\n答え：灯台守\n\n"
    )
    assert context.before == "題名：雲雀\n文章："
    assert context.passage == "雲雀は春の野に鳴く鳥で、巣は草の根もとにつくる。"
    assert context.after == "\n質問：雲雀の巣はどこにつくられるか。\n答え："
    assert context.text == "".join((context.head, *context.shots, context.before, context.passage, context.after))
    assert (len(context.shots), request.stops, request.max_tokens, request.max_characters) == (4, ("\n",), None, 64)


def test_swallow_2023_asks_as_the_harness(items: Items, tmp_path: Path) -> None:
    prompts = write_prompt_file(tmp_path, "jsquad", [("文章：甲\n質問：乙？", "丙")] * 4, "char_f1", output_length=25)

    request = ask(BENCHMARK, "swallow-2023", items, 0, prompts)

    shot = "\n### 入力：\n文章：甲\n質問：乙？\n### 回答：\n丙\n"
    asked = (
        "\n### 入力：\n文章：雲雀 [SEP] 雲雀は春の野に鳴く鳥で、巣は草の根もとにつくる。\n"
        "質問：雲雀の巣はどこにつくられるか。\n### 回答：\n"
    )
    assert request.context.text == f"課題の説明です。\n### 指示\n答えなさい。\n{shot * 4}{asked}"
    assert request.context.passage == CONTEXT
    assert request.context.after == "\n質問：雲雀の巣はどこにつくられるか。\n### 回答：\n"
    assert (request.stops, request.max_tokens) == (("\n",), 25)


@pytest.mark.parametrize("profile", ["strict", "swallow-2023"])
def test_a_passage_that_does_not_fit_is_cut_and_the_question_stays(
    tmp_path: Path, byte_level_folder: Path, profile: Profile
) -> None:
    items = BENCHMARK.read(write(tmp_path / "valid.json", QUESTION, context="雲雀 [SEP] " + "春の野に鳴く。" * 60))
    prompts = write_prompt_file(tmp_path, "jsquad", [("文章：甲\n質問：乙？", "丙")] * 4, "char_f1")
    request = ask(BENCHMARK, profile, items, 0, prompts)
    encoder = load_encoder(str(byte_level_folder))

    fitted = fit(encoder, request, 512)

    assert (fitted.shots_dropped, fitted.ids_cut) == (4, 0)
    assert 0 < fitted.characters_cut < 420
    text = encoder.decode(fitted.context)
    assert text.startswith(request.context.head)
    assert text.endswith(request.context.after)


def test_strict_takes_the_best_of_all_answers(items: Items) -> None:
    (item,) = items.items

    second = judged(BENCHMARK, "strict", item, "根もと")
    assert (second.columns, second.gold) == ({"character_f1": 1.0, "exact_match": 1.0}, "根もと")
    near = judged(BENCHMARK, "strict", item, "草の根")  # 3 of 3 right, 3 of 5 found
    assert (near.columns, near.gold) == ({"character_f1": 0.75, "exact_match": 0.0}, "草の根もと")
    assert judged(BENCHMARK, "strict", item, "空").columns == {"character_f1": 0.0, "exact_match": 0.0}
    assert judged(BENCHMARK, "strict", item, " \n").flags == ("empty_output",)


def test_swallow_2023_takes_only_the_first_answer(items: Items) -> None:
    (item,) = items.items

    assert judged(BENCHMARK, "swallow-2023", item, "草の根もと").columns == {"fuzzy_ratio": 1.0}
    second = judged(BENCHMARK, "swallow-2023", item, "根もと")  # 2 * 3 / 8
    assert (second.columns, second.gold) == ({"fuzzy_ratio": 0.75}, "草の根もと")


def test_the_published_files_hold_what_their_authors_say(shared_data: Path) -> None:
    counts = json.loads((shared_data / "eval/COUNTS.json").read_text(encoding="utf-8"))
    for split in ("valid", "test"):
        items = BENCHMARK.read(Files((str(shared_data / f"eval/jsquad/{split}.json"),)))

        assert len(items.items) == len({item.id for item in items.items}) == counts[f"jsquad {split}"]
        assert {len(item.gold) for item in items.items} == {2, 3}
        assert all(
            item.parts["context"] == f"{item.parts['title']} [SEP] {item.parts['passage']}" for item in items.items
        )
        assert not items.malformed
