"""`hibari language train` from files to a model that a run can name, and what the plan makes of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from flows.cli import app
from flows.config import RunConfig
from flows.plan import plan_corpus
from tasks.curate.ngram_model import load_model
from tasks.stage import StagePlan

JAPANESE = "畑の上の雲雀が春の空で長く鳴いているのを、祖父と二人で聞いていた。"
ENGLISH = "We listened to the lark above the field for a long time that spring."


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    for name, sentence in (("ja", JAPANESE), ("en", ENGLISH)):
        rows = [json.dumps({"text": f"{number}. {sentence}" * 4}) + "\n" for number in range(100)]
        (tmp_path / f"{name}.jsonl").write_text("".join(rows))
    return tmp_path


def test_the_command_trains(texts: Path) -> None:
    out = texts / "model.json"
    arguments = ["--japanese", str(texts / "ja.jsonl"), "--other", str(texts / "e*.jsonl"), "--out", str(out)]
    result = CliRunner().invoke(app, ["language", "train", *arguments])
    assert result.exit_code == 0, result.output
    assert "precision 1.0000, recall" in result.output
    assert f"--set curate.language.model={out}" in result.output
    model = load_model(str(out))
    assert model.score(JAPANESE) > 0 > model.score(ENGLISH)


def test_wrong_usage_is_said_without_a_traceback(texts: Path) -> None:
    runner, out = CliRunner(), ["--out", str(texts / "model.json")]
    result = runner.invoke(app, ["language", "train", "--japanese", str(texts / "ja.jsonl"), *out])
    assert (result.exit_code, "--other" in result.output) == (2, True)
    nothing = str(texts / "none.jsonl")
    result = runner.invoke(app, ["language", "train", "--japanese", nothing, "--other", nothing, *out])
    assert (result.exit_code, "none.jsonl" in result.output) == (2, True)
    assert not (texts / "model.json").exists()


def curate_stage(folder: Path, language: dict[str, str]) -> StagePlan:
    """The plan of a run whose WARC file is empty."""
    run = yaml.safe_load((Path(__file__).resolve().parents[2] / "configs" / "demo.yaml").read_text())
    (folder / "a.warc.gz").write_bytes(b"")
    run |= {"root": str(folder), "curate": {"sources": [str(folder / "a.warc.gz")], "language": language}}
    return plan_corpus(RunConfig.model_validate(run), "run.yaml")[0]


def test_another_model_is_another_artifact_and_its_path_is_not(texts: Path) -> None:
    shipped = curate_stage(texts, {})
    assert shipped.fingerprint == curate_stage(texts, {"model": "builtin"}).fingerprint
    assert shipped.fingerprint != curate_stage(texts, {"method": "script"}).fingerprint
    for name in ("a.json", "b.json", "c.json"):
        (texts / name).write_text("{}" if name == "c.json" else "[]")
    a, b, c = (curate_stage(texts, {"model": str(texts / name)}).fingerprint for name in ("a.json", "b.json", "c.json"))
    assert a == b
    assert len({a, c, shipped.fingerprint}) == 3
