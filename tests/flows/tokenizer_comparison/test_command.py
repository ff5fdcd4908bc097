"""`hibari tokenizer compare` through the command line: a run's vocabularies, made once; given tokenizers alone."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer

from flows.cli_groups import compare_tokenizers
from flows.config import ConfigError, load_run
from flows.tokenizer_comparison.compare import check, compare_given
from flows.tokenizer_comparison.config import Compared, GivenTexts
from storage.held_out import is_validation
from storage.sources import read_source
from tests.flows.conftest import Hibari, write_run

CODE = "def 昇る(雲雀):\n    return [空 for 空 in 雲雀]\n"


@dataclass(frozen=True)
class Comparison:
    """A comparison that the command line has made: its folder, what the command said, and the figures."""

    folder: Path
    result: subprocess.CompletedProcess[str]
    facts: dict[str, Any]

    def expanded(self) -> list[str]:
        return sorted(path.parent.name for path in (self.folder / "runs" / "expand").glob("*/manifest.json"))


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory, hibari: Hibari) -> Comparison:
    folder = tmp_path_factory.mktemp("compare")
    run_file = write_run(folder)
    (folder / "lark.py").write_text(CODE)
    result = hibari(
        "tokenizer", "compare", str(run_file), "--candidates", "600", "--candidates", "none",
        "--tokenizer", f"own={folder / 'tokenizer.model'}", "--code", str(folder / "*.py"),
        "--texts", f"en={folder / 'en.jsonl'}", "--model", "llama-2-7b", "--json", str(folder / "figures.json"),
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    return Comparison(folder, result, json.loads((folder / "figures.json").read_text()))


def test_sizes_of_vocabulary_are_expanded_and_nothing_else_is_made(compared: Comparison) -> None:
    assert len(compared.expanded()) == 2
    made = {path.parent.parent.name for path in (compared.folder / "runs").glob("*/*/manifest.json")}
    assert made == {"curate", "deduplicate", "expand"}
    vocabularies = {each["name"]: each["vocab"] for each in compared.facts["tokenizers"]}
    assert vocabularies["600"] > vocabularies["none"] == vocabularies["own"]
    assert compared.facts["reference"] == "none"


def test_texts_are_those_held_out_and_those_given(compared: Comparison) -> None:
    corpus, web, given, code = compared.facts["texts"]
    assert [text["name"] for text in (corpus, web, given, code)] == ["corpus", "web-en", "en", "code"]
    held_out = [
        text for key, text in read_source([str(compared.folder / "en.jsonl")], "web-en") if is_validation(key, 0.25)
    ]
    assert (web["documents"], web["characters"]) == (len(held_out), sum(map(len, held_out)))
    assert given["documents"] == 30
    assert (code["documents"], code["characters"]) == (1, len(CODE))


def test_japanese_shrinks_and_english_stays(compared: Comparison) -> None:
    corpus, web, *_ = compared.facts["texts"]
    japanese, english = (text["measures"]["600"]["tokens_change"] for text in (corpus, web))
    assert japanese["value"] < -0.3
    assert english == {"value": 0, "low": 0, "high": 0}
    assert corpus["measures"]["600"]["tokens_per_character"]["value"] < 1
    same = {key: value for key, value in corpus["measures"]["own"].items() if key != "tokens_change"}
    assert same == {key: value for key, value in corpus["measures"]["none"].items() if key != "tokens_change"}
    assert all(
        found["round_trip_failures"] == 0 for text in compared.facts["texts"] for found in text["measures"].values()
    )


def test_operations_of_the_runs_model_and_of_a_preset(compared: Comparison) -> None:
    own, llama = compared.facts["models"]
    assert (own["name"], own["context"], llama["name"], llama["context"]) == ("tiny", 64, "llama-2-7b", 4096)
    base, expanded = (llama["tokenizers"][name] for name in ("none", "600"))
    assert expanded["decoding_flops_per_token"] > base["decoding_flops_per_token"]
    change = expanded["texts"]["corpus"]["change"]
    assert change["steps_per_1000_characters"] < change["training_flops_per_byte"] < -0.3
    assert "the mixture" in base["texts"]


def test_what_a_person_sees(compared: Comparison, prefect_environment: dict[str, str]) -> None:
    folder = compared.folder / "runs" / "tokenizers" / "tiny"
    assert "fertility, against none" in compared.result.stdout
    assert f"comparison: {folder / 'comparison.html'}" in compared.result.stdout
    page = (folder / "comparison.html").read_text()
    assert "Japanese (corpus)" in page
    assert json.loads((folder / "comparison.json").read_text()) == compared.facts
    for key, says in (("tiny-tokenizers", "## Fertility"), ("tiny-fertility", "Japanese (corpus)")):
        url = f"{prefect_environment['PREFECT_API_URL']}/artifacts/{key}/latest"
        with urllib.request.urlopen(url, timeout=20) as answer:
            assert says in json.load(answer)["data"]


@pytest.mark.slow
def test_again_nothing_is_expanded_and_the_page_is_the_same(compared: Comparison, hibari: Hibari) -> None:
    page = compared.folder / "runs" / "tokenizers" / "tiny" / "comparison.html"
    before, made = page.read_bytes(), compared.expanded()
    arguments = ["--candidates", "600", "--candidates", "none", "--model", "llama-2-7b"]
    arguments += ["--tokenizer", f"own={compared.folder / 'tokenizer.model'}", "--code", str(compared.folder / "*.py")]
    arguments += ["--texts", f"en={compared.folder / 'en.jsonl'}"]
    again = hibari("tokenizer", "compare", str(compared.folder / "run.yaml"), *arguments)
    assert again.returncode == 0, again.stdout + again.stderr
    assert (compared.expanded(), page.read_bytes()) == (made, before)


def test_given_tokenizers_need_no_run_and_no_prefect(compared: Comparison, tmp_path: Path, hibari: Hibari) -> None:
    result = hibari(
        "tokenizer", "compare", "--tokenizer", f"a={compared.folder / 'tokenizer.model'}",
        "--texts", f"en={compared.folder / 'en.jsonl'}", "--html", str(tmp_path / "page.html"),
        PYTHONPROFILEIMPORTTIME="1",
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    assert "| prefect\n" not in result.stderr
    assert "English" in (tmp_path / "page.html").read_text()


def test_mistakes_are_said_together_before_anything_runs(compared: Comparison, tmp_path: Path) -> None:
    run = load_run(compared.folder / "run.yaml", [f"initialize.base_model={tmp_path}"])
    with pytest.raises(ConfigError) as caught:
        check(run, Compared(texts=[GivenTexts(language="ja", files=f"{tmp_path}/no.jsonl")], models=["llama-9"]))
    for said in ("no.jsonl", "presets are llama-2-13b", "no config.json"):
        assert said in str(caught.value)


def test_tokenizers_and_texts_that_are_none_are_said(compared: Comparison, tmp_path: Path) -> None:
    texts = [GivenTexts(language="en", files=str(compared.folder / "en.jsonl"))]
    model = str(compared.folder / "tokenizer.model")
    for nothing, said in (
        (
            Compared(tokenizers={"a": str(tmp_path), "b": "nowhere"}, texts=texts),
            "tokenizer b: no tokenizer at nowhere",
        ),
        (Compared(tokenizers={"a": model}), "no text to compare on"),
        (Compared(texts=texts), "nothing to compare"),
    ):
        with pytest.raises(ConfigError, match=said):
            compare_given(nothing)


def test_options_of_a_run_need_one(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended:
        compare_tokenizers(candidates=["500"])
    assert ended.value.exit_code == 2
    assert "name one" in capsys.readouterr().err
