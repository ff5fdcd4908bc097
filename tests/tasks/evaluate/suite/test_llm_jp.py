from __future__ import annotations

import json
import logging
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from tasks.evaluate.benchmark import MissingDataError
from tasks.evaluate.suite.llm_jp import harness_output, llm_jp_context, read_prompt_file
from tasks.evaluate.suite.strict_form import Asked
from tests.tasks.evaluate.suite.llm_jp_files import PREAMBLE, write_prompt_file

SHOTS = [("質問：一", "壱"), ("質問：二", "弐"), ("質問：三", "参"), ("質問：四", "肆"), ("質問：五", "伍")]


def test_the_prompt_is_laid_out_as_in_the_harness(tmp_path: Path) -> None:
    prompt = read_prompt_file("niilc", str(write_prompt_file(tmp_path, "niilc", SHOTS, "char_f1")), "char_f1")

    context = llm_jp_context(prompt, Asked(after="質問：六"))

    assert context.text == (
        "課題の説明です。\n### 指示\n答えなさい。\n"
        "\n### 入力：\n質問：一\n### 回答：\n壱\n"
        "\n### 入力：\n質問：二\n### 回答：\n弐\n"
        "\n### 入力：\n質問：三\n### 回答：\n参\n"
        "\n### 入力：\n質問：四\n### 回答：\n肆\n"  # the fifth shot is not used
        "\n### 入力：\n質問：六\n### 回答：\n"
    )
    assert (context.overlong, context.start, len(context.shots)) == ("shots", False, 4)


def test_the_preamble_comes_from_the_file_else_from_beside_it_else_there_is_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = str(write_prompt_file(tmp_path, "niilc", SHOTS, "char_f1"))
    (tmp_path / "preamble.txt").write_text("別の一行。\n", encoding="utf-8")
    assert read_prompt_file("niilc", folder, "char_f1").preamble == PREAMBLE

    write_prompt_file(tmp_path, "niilc", SHOTS, "char_f1", preamble=None)
    assert read_prompt_file("niilc", folder, "char_f1").preamble == "別の一行。"

    (tmp_path / "preamble.txt").unlink()
    with caplog.at_level(logging.WARNING):
        prompt = read_prompt_file("niilc", folder, "char_f1")
    assert llm_jp_context(prompt, Asked(after="質問：六")).text.startswith(
        "### 指示\n答えなさい。\n\n### 入力：\n質問：一\n"
    )
    assert "preamble.txt" in caplog.text


def test_a_missing_file_says_what_it_holds_and_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=r"no folder is given.*few_shots.*github.com/swallow-llm.*--prompts"):
        read_prompt_file("jnli", None, "exact_match")
    with pytest.raises(MissingDataError, match=r"expected the prompt file .*jnli\.json, there is none.*CC BY-SA"):
        read_prompt_file("jnli", str(tmp_path), "exact_match")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"instruction": None}, "expected text in `instruction`, got None"),
        ({"output_length": 0}, "from 1 on in `output_length`, got 0"),
        ({"output_length": True}, "from 1 on in `output_length`, got True"),
        ({"preamble": ["一行"]}, "expected text in `preamble`"),
        ({"metrics": ["char_f1"]}, "expected exact_match in `metrics`.*another task"),
        ({"few_shots": [{"input": "質問", "output": "0"}]}, "expected 4 shots in `few_shots`, got 1"),
        ({"metrics": 1}, "expected exact_match in `metrics`, got 1"),
        ({"few_shots": None}, "expected 4 shots in `few_shots`, got None"),
        ({"few_shots": [{"input": "質問", "output": 0}] * 4}, "expected `input` and `output` in every shot"),
        ({"few_shots": [{"input": "質問", "output": "五"}] * 4}, "expected one of 0, 1 as a shot's output, got '五'"),
    ],
)
def test_a_file_that_is_no_prompt_file_is_refused(tmp_path: Path, fields: dict[str, Any], said: str) -> None:
    write_prompt_file(tmp_path, "jcommonsenseqa", [("質問", "0")] * 4, "exact_match", **fields)

    with pytest.raises(ValueError, match=said):
        read_prompt_file("jcommonsenseqa", str(tmp_path), "exact_match", ("0", "1"))


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_file_that_is_no_json_object_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "niilc.json").write_text(content, encoding="utf-8")

    with pytest.raises(ValueError, match="expected a JSON object"):
        read_prompt_file("niilc", str(tmp_path), "char_f1")


@pytest.mark.parametrize(
    ("output", "compared"),
    [
        ("２\n\n### 入力：", "2"),
        (" 東京", " 東京"),  # the space stays, and makes an exact match fail
        ("", ""),
        ("\n東京", ""),
        ("㈱雲雀 ,Don 't !", "(株)雲雀,Don 't!"),
        ("don n't", "donn't"),
    ],
)
def test_an_output_is_compared_as_the_harness_did(output: str, compared: str) -> None:
    assert harness_output(output) == compared


def test_stopping_at_the_newline_changes_no_comparison() -> None:
    """The harness normalised the whole output, then cut it; here it is cut first."""
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        if unicodedata.normalize("NFKC", character) != character:
            assert "\n" not in unicodedata.normalize("NFKC", character)
        if unicodedata.combining(character):
            assert unicodedata.normalize("NFKC", f"か\n{character}").startswith("か\n")
    for output in ("と .\n東京", "か\n\u3099", "雲 '\n s", "A n't \n n't"):
        assert harness_output(output) == harness_output(output.split("\n", maxsplit=1)[0])


@pytest.mark.parametrize("name", ["jcommonsenseqa", "jemhopqa", "jnli", "jsquad", "niilc"])
def test_the_published_prompt_files_are_read(shared_data: Path, name: str) -> None:
    folder = shared_data / "eval/fewshot_llmjp"
    metric = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))["metrics"][0]

    prompt = read_prompt_file(name, str(folder), metric)

    expected = {"jcommonsenseqa": 1, "jemhopqa": 15, "jnli": 3, "jsquad": 25, "niilc": 180}[name]
    assert (prompt.output_length, len(prompt.shots), prompt.preamble) == (expected, 4, None)
