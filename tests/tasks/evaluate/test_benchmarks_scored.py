"""Benchmarks of a whole evaluation: its files, and the same bytes whatever became of it on the way."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from storage.artifact import Outcome, cache_folder
from storage.uri import join, read_bytes
from tasks.evaluate.benchmark_scoring import journal_folder
from tasks.evaluate.config import ContaminationConfig, EvaluateConfig
from tasks.evaluate.evaluate import Corpus, evaluate
from tasks.evaluate.model import LanguageModel
from tasks.shards import ExecutorConfig
from tests.killing import ROOT
from tests.tasks.evaluate import stand_ins
from tests.tasks.evaluate.test_contamination import make_corpus

KEYS = ["jcommonsenseqa-strict", "jcommonsenseqa-swallow-2023", "niilc-strict", "niilc-swallow-2023"]


@pytest.fixture(scope="module", autouse=True)
def _stand_ins() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        stand_ins.install(patch)
        yield


@pytest.fixture(scope="module")
def models(byte_level_folder: Path, wider_folder: Path, sentencepiece_folder: Path) -> dict[str, str]:
    return {"base": str(byte_level_folder), "initialized": str(wider_folder), "trained": str(sentencepiece_folder)}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> EvaluateConfig:
    folder = tmp_path_factory.mktemp("benchmarks")
    return EvaluateConfig(
        tasks=["jcommonsenseqa", "niilc"],
        profile="both",
        data=str(stand_ins.write_data(folder / "data")),
        prompts=str(stand_ins.write_prompts(folder / "prompts")),
        resamples=100,
        limit=8,
    )


@pytest.fixture(scope="module")
def whole(models: dict[str, str], config: EvaluateConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed evaluation of all models."""
    out = tmp_path_factory.mktemp("whole")
    score(models, config, out)
    return out


def score(models: dict[str, str], config: EvaluateConfig, out: Path, **settings: Any) -> Outcome:
    return evaluate(models, {}, config, out=str(out), seed=5, **settings)


def results(out: Path) -> dict[str, bytes]:
    """What an evaluation is for, by path."""
    named = [*out.glob("*.json*"), *out.glob("examples/*"), *out.glob("prompts/*")]
    return {str(path.relative_to(out)): path.read_bytes() for path in named}


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_every_model_but_the_initialised_is_asked_every_benchmark(whole: Path) -> None:
    assert set(results(whole)) == {
        "scores.jsonl",
        "benchmarks.json",
        "diagnostics.json",
        *(
            f"{kind}/{model}-{key}.jsonl"
            for kind in ("examples", "prompts")
            for model in ("base", "trained")
            for key in KEYS
        ),
    }
    scores = rows(whole / "scores.jsonl")
    assert {(row["task"], row["profile"]) for row in scores if row["task"] != "average"} == {
        ("jcommonsenseqa", "strict"),
        ("jcommonsenseqa", "swallow-2023"),
        ("niilc", "strict"),
        ("niilc", "swallow-2023"),
    }
    trained = [row for row in scores if row["model"] == "trained" and row["metric"] == "accuracy"]
    assert all("difference" in row and row["n"] == 8 for row in trained)


def test_a_row_says_what_was_asked_answered_and_judged(whole: Path) -> None:
    found = rows(whole / "examples/base-jcommonsenseqa-strict.jsonl")
    assert len(found) == 8
    for row in found:
        assert row["output"] == row["normalised_output"] == row["predicted"]
        assert row["score"] == row["columns"]["score"] == float(row["output"] == row["gold"])
        assert (row["language"], row["category"]) == ("ja", None)
        assert (row["shots_dropped"], row["characters_cut"], row["ids_cut"]) == (0, 0, 0)
        assert row["tokens"] > 3
    written = rows(whole / "examples/base-niilc-swallow-2023.jsonl")
    assert all(len(row["output"]) <= 8 and "\n" not in row["output"] for row in written)
    assert all(row["predicted"] is None and set(row["columns"]) == {"exact", "share"} for row in written)
    mean = sum(row["columns"]["share"] for row in written) / len(written)
    score = next(
        row
        for row in rows(whole / "scores.jsonl")
        if (row["model"], row["task"], row["profile"], row["metric"]) == ("base", "niilc", "swallow-2023", "share")
    )
    assert score["value"] == pytest.approx(mean, abs=1e-6)


def test_models_are_asked_the_same_and_profiles_not(whole: Path) -> None:
    hashes = {
        (model, key): [row["prompt_hash"] for row in rows(whole / f"examples/{model}-{key}.jsonl")]
        for model in ("base", "trained")
        for key in KEYS
    }
    for key in KEYS:
        assert hashes["base", key] == hashes["trained", key]
        assert len(set(hashes["base", key])) == 8
    assert not set(hashes["base", "niilc-strict"]) & set(hashes["base", "niilc-swallow-2023"])


def test_prompts_are_shown_in_full(whole: Path) -> None:
    shown = rows(whole / "prompts/trained-jcommonsenseqa-strict.jsonl")
    assert [row["id"] for row in shown] == [
        row["id"] for row in rows(whole / "examples/base-jcommonsenseqa-strict.jsonl")
    ]
    assert shown[0]["prompt"].startswith("".join(stand_ins.SHOTS) + "質問：")
    assert shown[0]["prompt"].endswith("\n答え：")
    assert len(shown[0]["continuations"]) == 3
    assert rows(whole / "prompts/base-niilc-strict.jsonl")[0]["continuations"] == []


def test_what_a_benchmark_is_and_what_was_left_out_is_told(whole: Path) -> None:
    told = json.loads((whole / "benchmarks.json").read_text(encoding="utf-8"))["niilc"]["swallow-2023"]
    assert (told["n"], told["n_all"], told["num_malformed"], told["version"]) == (8, 10, 1, 3)
    assert told["malformed"] == ["items.jsonl:11: not JSON"]
    assert [metric["name"] for metric in told["metrics"]] == ["exact", "share"]
    assert (told["label"], told["shots_from"]) == ("Answers", "niilc.json")


def test_the_same_again_is_the_same_bytes_and_asks_nothing(
    whole: Path, models: dict[str, str], config: EvaluateConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    score(models, config, tmp_path)
    assert results(tmp_path) == results(whole)
    monkeypatch.setattr(LanguageModel, "load", None)
    seen: list[tuple[int, int, str]] = []
    score(models, config, tmp_path, progress=lambda *progress: seen.append(progress))
    assert results(tmp_path) == results(whole)
    assert seen[0][2] == "base: Choices (strict) scored before"
    assert seen[-1][0] == seen[-1][1]


SLOW_START = pytest.mark.slow  # each process imports torch and transformers


@pytest.mark.parametrize(
    "change",
    [{"batch_size": 1}, {"batch_size": 16}, pytest.param({"processes": 2}, marks=SLOW_START)],
    ids=str,
)
def test_neither_batches_nor_processes_change_an_answer(
    whole: Path, models: dict[str, str], config: EvaluateConfig, tmp_path: Path, change: dict[str, int]
) -> None:
    score(models, config.model_copy(update=change), tmp_path)
    assert results(tmp_path) == results(whole)


KILLED = """
import os, signal, sys
import pytest
from tasks.evaluate.config import EvaluateConfig
from tasks.evaluate.evaluate import evaluate
from tests.tasks.evaluate import stand_ins

stand_ins.install(pytest.MonkeyPatch())
config, models, out, after = {config!r}, {models!r}, {out!r}, {after}

def until_killed(done, total, note):
    global after
    after -= 1
    if after == 0:
        os.kill(os.getpid(), signal.SIGKILL)

evaluate(models, {{}}, EvaluateConfig(**config), out=out, seed=5, progress=until_killed)
"""


@pytest.mark.parametrize("after", [pytest.param(2, marks=SLOW_START), 6, pytest.param(13, marks=SLOW_START)])
def test_a_killed_evaluation_goes_on_behind_the_last_batch(
    whole: Path, models: dict[str, str], config: EvaluateConfig, tmp_path: Path, after: int
) -> None:
    program = KILLED.format(config=config.model_dump(), models=models, out=str(tmp_path), after=after)
    killed = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert killed.returncode == -9, killed.stderr
    assert not (tmp_path / "scores.jsonl").exists()
    kept = {path.stem for path in (tmp_path / "_journals").iterdir() if len(rows(path)) > 1}
    assert kept
    ended = {path.stem for path in (tmp_path / "_shards").glob("*")}
    seen: list[tuple[int, int, str]] = []
    score(models, config, tmp_path, progress=lambda *progress: seen.append(progress))
    assert results(tmp_path) == results(whole)
    assert len(seen) < 4 * 2 * 3 + 4, "what was answered was not asked again"
    records = [json.loads(path.read_text(encoding="utf-8")) for path in (tmp_path / "_shards").iterdir()]
    resumed = {record["key"] for record in records if record["details"]["resumed"]}
    assert resumed == kept - ended, "the seconds of these are of the second process alone"


def test_bits_per_byte_and_benchmarks_are_scored_together(
    models: dict[str, str], config: EvaluateConfig, tmp_path: Path
) -> None:
    both = config.model_copy(update={"tasks": ["hibari_probe", "niilc"], "profile": "strict", "limit": 2})
    alone = config.model_copy(update={"tasks": ["hibari_probe"]})
    seen: list[tuple[int, int, str]] = []
    outcome = score(models, both, tmp_path / "both", progress=lambda *progress: seen.append(progress))
    score(models, alone, tmp_path / "alone")
    probe = "examples/trained-hibari_probe.jsonl"
    assert (tmp_path / "both" / probe).read_bytes() == (tmp_path / "alone" / probe).read_bytes()
    assert outcome.counts["items_niilc"] == 2
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)
    assert seen[-1][0] == seen[-1][1]
    assert not (tmp_path / "alone/benchmarks.json").exists()


def test_a_missing_file_is_said_before_a_model_is_loaded(
    models: dict[str, str], config: EvaluateConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LanguageModel, "load", None)
    with pytest.raises(ValueError, match=r"niilc \(swallow-2023\): expected niilc.json"):
        score(models, config.model_copy(update={"prompts": None}), tmp_path)


def test_items_of_the_corpus_are_scored_apart(models: dict[str, str], config: EvaluateConfig, tmp_path: Path) -> None:
    known = f"{stand_ins.PLACES[0]}にいる0番目の鳥は？"
    corpus = make_corpus(tmp_path, {"a": [(1, f"春の朝のことである。{known}と祖母に聞かれた。")]})
    asked = config.model_copy(update={"tasks": ["niilc"], "profile": "strict", "limit": None})
    out = tmp_path / "out"
    score(models, asked, out, corpus=Corpus(corpus, ExecutorConfig(workers=1)))
    held = rows(out / "contamination.jsonl")
    assert [(row["id"], row["overlap"]) for row in held if row["overlap"] > 0.5] == [("niilc-0", 1.0)]
    subsets = {
        row["subset"]: row["n"]
        for row in rows(out / "scores.jsonl")
        if (row["model"], row["task"], row["metric"]) == ("base", "niilc", "exact")
    }
    assert subsets == {"all": 10, "clean": 9, "dirty": 1}
    unsearched = asked.model_copy(update={"contamination": ContaminationConfig(enabled=False)})
    outcome = score(models, unsearched, tmp_path / "unsearched", corpus=Corpus(corpus, ExecutorConfig(workers=1)))
    assert "contamination.jsonl" not in {entry.path for entry in outcome.files}


def test_what_is_written_to_a_store_is_whole_and_its_journals_are_kept_in_the_cache(
    whole: Path, models: dict[str, str], config: EvaluateConfig
) -> None:
    """A file of a store cannot grow."""
    out = "memory://scores/tiny"
    outcome = evaluate(models, {}, config, out=out, seed=5)
    assert {entry.path for entry in outcome.files} == set(results(whole))
    for entry in outcome.files:
        assert read_bytes(join(out, entry.path)) == (whole / entry.path).read_bytes()
    assert not journal_folder(out).exists()
    assert journal_folder(out).parent == cache_folder() / "evaluate"
