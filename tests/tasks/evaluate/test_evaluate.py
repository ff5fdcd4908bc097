from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from storage.artifact import file_entries
from tasks.evaluate.config import EvaluateConfig
from tasks.evaluate.evaluate import evaluate
from tasks.evaluate.model import LanguageModel
from tests.tasks.evaluate.conftest import ENGLISH, JAPANESE

TEXTS = {
    "ja": [(bytes([index]), text * 4) for index, text in enumerate(JAPANESE)],
    "en": [(bytes([index]), text * 4) for index, text in enumerate(ENGLISH)],
}
CONFIG = EvaluateConfig(window=64, stride=48, resamples=200)


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def models(byte_level_folder: Path, wider_folder: Path, sentencepiece_folder: Path) -> dict[str, str]:
    return {
        "base": str(byte_level_folder),
        "initialized": str(wider_folder),
        "trained": str(sentencepiece_folder),
    }


def test_models_of_different_tokenizers_are_scored_side_by_side(models: dict[str, str], tmp_path: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    outcome = evaluate(
        models, TEXTS, CONFIG, out=str(tmp_path), seed=5, progress=lambda *progress: seen.append(progress)
    )
    assert file_entries(str(tmp_path), [entry.path for entry in outcome.files]) == sorted(
        outcome.files, key=lambda entry: entry.path
    )
    assert {entry.path for entry in outcome.files} == {
        "scores.jsonl",
        "examples/base-bits_per_byte.jsonl",
        "examples/base-hibari_probe.jsonl",
        "examples/initialized-bits_per_byte.jsonl",
        "examples/trained-bits_per_byte.jsonl",
        "examples/trained-hibari_probe.jsonl",
    }
    table = outcome.details["table"]
    assert set(table["trained"]) >= {"ja_bits_per_byte", "en_bits_per_byte", "probe_ja_accuracy", "probe_en_margin"}
    assert set(table["initialized"]) == {"ja_bits_per_byte", "en_bits_per_byte"}
    assert outcome.details["start_tokens"] == {"base": [0], "initialized": [0], "trained": [1]}
    examples = _rows(tmp_path / "examples/base-bits_per_byte.jsonl")
    own = [row for row in examples if row["language"] == "ja"]
    assert table["base"]["ja_bits_per_byte"] == pytest.approx(
        sum(row["bits"] for row in own) / sum(row["bytes"] for row in own), abs=1e-6
    )
    assert outcome.counts["bytes_ja"] == sum(len(text.encode()) for _, text in TEXTS["ja"])
    assert (outcome.counts["questions_ja"], outcome.counts["questions_en"]) == (72, 48)
    assert [done for done, _, _ in seen] == sorted({done for done, _, _ in seen})
    assert seen[-1][0] == seen[-1][1] == outcome.counts["tokens"]
    assert outcome.counts["examples"] == 3 * 9 + 2 * 120


def test_the_same_again_is_the_same_bytes(models: dict[str, str], tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"tasks": ["bits_per_byte"], "skip_models": ["initialized"]})
    first, again = (evaluate(models, TEXTS, config, out=str(tmp_path / name), seed=5) for name in ("first", "again"))
    assert first == again
    reordered = {"en": TEXTS["en"][::-1], "ja": TEXTS["ja"][::-1]}
    assert evaluate(models, reordered, config, out=str(tmp_path / "reordered"), seed=5) == first
    assert "initialized" not in first.details["table"]


def test_batch_size_moves_no_score_by_more_than_rounding(models: dict[str, str], tmp_path: Path) -> None:
    base = {"base": models["base"]}
    for size in (1, 16):
        config = CONFIG.model_copy(update={"batch_size": size})
        evaluate(base, TEXTS, config, out=str(tmp_path / str(size)), seed=5)
    for one, many in zip(_rows(tmp_path / "1/scores.jsonl"), _rows(tmp_path / "16/scores.jsonl"), strict=True):
        assert one["value"] == pytest.approx(many["value"], abs=1e-4)
    answers = [_rows(tmp_path / size / "examples/base-hibari_probe.jsonl") for size in ("1", "16")]
    assert [row["predicted"] for row in answers[0]] == [row["predicted"] for row in answers[1]]


def test_a_missing_base_is_said_before_anything_is_loaded(models: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='no model named "base"'):
        evaluate({"trained": models["trained"]}, TEXTS, CONFIG, out=str(tmp_path), seed=1)


def test_a_name_that_is_no_file_name_is_refused(models: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="step 100"):
        evaluate({"base": models["base"], "step 100": models["base"]}, TEXTS, CONFIG, out=str(tmp_path), seed=1)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        evaluate({"base": str(tmp_path / "nowhere")}, TEXTS, CONFIG, out=str(tmp_path / "out"), seed=1)


@pytest.mark.parametrize(
    ("removed", "said"), [("tokenizer.json", "model base: no tokenizer"), ("config.json", "no config.json")]
)
def test_a_folder_without_tokenizer_or_config_is_named(
    broken_folder: Path, tmp_path: Path, removed: str, said: str
) -> None:
    (broken_folder / removed).unlink()
    with pytest.raises(ValueError, match=said):
        evaluate({"base": str(broken_folder)}, TEXTS, CONFIG, out=str(tmp_path / "out"), seed=1)


def test_a_tokenizer_of_another_model_is_found_out(broken_folder: Path, wider_folder: Path, tmp_path: Path) -> None:
    (broken_folder / "tokenizer.json").write_bytes((wider_folder / "tokenizer.json").read_bytes())
    with pytest.raises(ValueError, match="mixes the files of two models"):
        evaluate({"base": str(broken_folder)}, TEXTS, CONFIG, out=str(tmp_path / "out"), seed=1)


def test_a_window_beyond_the_positions_says_what_to_set(models: dict[str, str], tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"window": 2048})
    with pytest.raises(ValueError, match=r"set evaluate.window to at most 1024"):
        evaluate(models, TEXTS, config, out=str(tmp_path), seed=1)


@pytest.mark.parametrize("texts", [{}, {"ja": TEXTS["ja"], "en": []}])
def test_too_little_text_is_a_clear_error(models: dict[str, str], texts: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no held-out"):
        evaluate(models, texts, CONFIG, out=str(tmp_path), seed=1)


def test_the_probe_needs_no_held_out_text(models: dict[str, str], tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"tasks": ["hibari_probe"]})
    outcome = evaluate({"base": models["base"]}, {}, config, out=str(tmp_path), seed=1)
    assert "probe_ja_margin" in outcome.details["table"]["base"]
    assert "ja_bits_per_byte" not in outcome.details["table"]["base"]


def test_importing_the_stage_does_not_load_torch() -> None:
    code = "import sys, tasks.evaluate.evaluate; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_killed_evaluation_scores_only_the_models_that_were_not_done(
    models: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = CONFIG.model_copy(update={"skip_models": ["initialized"]})
    whole = evaluate(models, TEXTS, config, out=str(tmp_path / "whole"), seed=5)
    loaded: list[str] = []
    load = LanguageModel.load

    def until_killed(folder: Path, **settings: Any) -> LanguageModel:
        loaded.append(str(folder))
        if len(loaded) == 2:
            raise KeyboardInterrupt
        return load(folder, **settings)

    monkeypatch.setattr(LanguageModel, "load", until_killed)
    with pytest.raises(KeyboardInterrupt):
        evaluate(models, TEXTS, config, out=str(tmp_path / "cut"), seed=5)
    seen: list[tuple[int, int, str]] = []
    resumed = evaluate(
        models, TEXTS, config, out=str(tmp_path / "cut"), seed=5, progress=lambda *progress: seen.append(progress)
    )
    assert loaded == [models["base"], models["trained"], models["trained"]]
    assert resumed == whole
    assert seen[0][2] == "base: scored before"
    assert seen[-1][0] == seen[-1][1]
