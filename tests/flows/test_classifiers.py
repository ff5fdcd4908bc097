"""`hibari classifier train` from files to a model that a run can name, and what it says of wrong usage."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from flows.classifiers import class_files
from flows.cli import app
from flows.config import ConfigError, RunConfig
from flows.plan import plan_corpus
from tasks.curate import train_classifier as training
from tasks.stage import StagePlan


def test_classes_of_files() -> None:
    assert class_files(["a", "b"], ["c"], []) == {1: ["a", "b"], 0: ["c"]}
    assert class_files([], [], ["1=b", "0=a", "1=c=d"]) == {1: ["b", "c=d"], 0: ["a"]}


@pytest.mark.parametrize(
    "arguments",
    [
        ([], [], []),
        (["a"], [], []),
        ([], ["a"], []),
        (["a"], ["b"], ["0=c"]),
        ([], [], ["0=a"]),
        ([], [], ["0=a", "2=b"]),
    ],
)
def test_classes_that_make_no_classifier(arguments: tuple[list[str], list[str], list[str]]) -> None:
    with pytest.raises(ValueError, match="expected"):
        class_files(*arguments)


def test_a_malformed_grade_is_named() -> None:
    with pytest.raises(ValueError, match="--class a: expected K=FILE"):
        class_files([], [], ["a"])


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    for name, words in (("good", "畑の雲雀が空で長く鳴いている"), ("bad", "今だけ無料の会員登録はこちらから")):
        rows = [json.dumps({"text": f"{words}。{number}番目。"}) + "\n" for number in range(150)]
        (tmp_path / f"{name}.jsonl").write_text("".join(rows))
    return tmp_path


def test_the_command_trains(texts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(training._OPTIONS, "bucket", 4096)
    out = str(texts / "model.bin")
    arguments = ["--positive", str(texts / "good.jsonl"), "--negative", str(texts / "bad.jsonl"), "--held-out", "0.2"]
    result = CliRunner().invoke(app, ["classifier", "train", *arguments, "--out", out])
    assert result.exit_code == 0, result.output
    assert "AUC 1.0000" in result.output
    assert f"--set curate.classifier.model={out}" in result.output
    assert json.loads(Path(out + ".json").read_text())["model_bytes"] == Path(out).stat().st_size


def test_the_command_says_what_is_wrong(texts: Path) -> None:
    out = ["--out", str(texts / "model.bin")]
    runner = CliRunner()
    result = runner.invoke(app, ["classifier", "train", "--positive", "a.jsonl", *out])
    assert result.exit_code == 2
    assert "--positive FILE and --negative FILE" in result.output
    good, nothing = str(texts / "good.jsonl"), str(texts / "nothing.jsonl")
    result = runner.invoke(app, ["classifier", "train", "--positive", good, "--negative", nothing, *out])
    assert result.exit_code == 2
    assert "nothing.jsonl" in result.output


def curate_stage(folder: Path, classifier: Path | None) -> StagePlan:
    """The plan of a run whose WARC file is empty, with a classifier or without."""
    values = yaml.safe_load(
        f"""
        name: tiny
        root: {folder}/runs
        curate: {{sources: ["{folder}/a.warc.gz"]}}
        expand: {{base: {folder}/tokenizer.model}}
        initialize: {{base_model: {folder}/base}}
        sources: [{{name: corpus, language: ja, weight: 1}}]
        mix: {{train_tokens: 1000000}}
        train: {{seq_len: 64, global_batch: 8, micro_batch: 2, warmup_steps: 2}}
        """
    )
    (folder / "a.warc.gz").touch()
    if classifier:
        values["curate"]["classifier"] = {"model": str(classifier)}
    return plan_corpus(RunConfig.model_validate(values))[0]


def test_the_models_content_is_an_input_of_curate(tmp_path: Path) -> None:
    """Not its path; and the library that reads it counts once there is one."""
    model, copy = tmp_path / "a.bin", tmp_path / "b.bin"
    model.write_bytes(b"a model")
    copy.write_bytes(b"a model")
    without, first = curate_stage(tmp_path, None), curate_stage(tmp_path, model)
    assert first.fingerprint == curate_stage(tmp_path, copy).fingerprint != without.fingerprint
    assert "fasttext-numpy2" in first.libraries.keys() - without.libraries.keys()
    copy.write_bytes(b"another model")
    assert curate_stage(tmp_path, copy).fingerprint != first.fingerprint
    with pytest.raises(ConfigError, match=r"curate.classifier.model: .*c\.bin"):
        curate_stage(tmp_path, tmp_path / "c.bin")
