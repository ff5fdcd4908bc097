from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flows.benchmarks import benchmark_digest, benchmark_libraries, form_versions
from tasks.evaluate.config import EvaluateConfig
from tests.tasks.evaluate import stand_ins


def test_a_dataset_of_the_hub_is_what_its_rows_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name stays when its owner changes it."""
    stand_ins.install(monkeypatch)
    rows: list[dict[str, Any]] = [{"id": "1", "question": "春に鳴く鳥は？"}]
    monkeypatch.setattr(
        "tasks.evaluate.suite.reading.records", lambda uri, malformed: ((f"{uri}:1", row) for row in rows)
    )
    shots = tmp_path / "train.jsonl"
    shots.write_text("{}\n")
    files = {"niilc": {"items": ["hf:larks/birds@test"], "shots": str(shots)}}
    config = EvaluateConfig(tasks=["niilc"], files=files)
    first = benchmark_digest("niilc", config)
    assert benchmark_digest("niilc", config) == first
    rows[0]["question"] = "夏に鳴く鳥は？"
    second = benchmark_digest("niilc", config)
    shots.write_text("{}\n{}\n")
    assert len({first, second, benchmark_digest("niilc", config)}) == 3


def test_the_libraries_are_those_of_the_metrics_in_use() -> None:
    def libraries(profile: Any, *tasks: Any) -> set[str]:
        return set(benchmark_libraries(EvaluateConfig(tasks=list(tasks), profile=profile)))

    assert libraries("both", "bits_per_byte") == set()
    tokenizers = {"sentencepiece", "tokenizers"}
    assert libraries("strict", "hellaswag", "jsquad") == tokenizers
    assert libraries("swallow-2023", "jsquad") == tokenizers | {"rapidfuzz"}
    assert libraries("strict", "wmt20_en_ja") == tokenizers | {"sacrebleu", "mecab-python3", "ipadic"}
    assert {"nagisa", "mecab-python3"} < libraries("both", "wmt20_en_ja")
    assert {"fugashi", "neologdn"} < libraries("strict", "xlsum_ja")


def test_forms_are_named_by_task_and_profile() -> None:
    assert set(form_versions(EvaluateConfig(tasks=["jsquad", "gsm8k"], profile="both"))) == {
        "jsquad-strict",
        "jsquad-swallow-2023",
        "gsm8k-strict",
        "gsm8k-swallow-2023",
    }
