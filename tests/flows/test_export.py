"""A run's model leaves it as a Hugging Face folder or as a Megatron checkpoint, and comes back from one."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from flows.cli import app
from flows.config import load_run
from flows.plan import make_plan
from tests.flows.conftest import write_run
from tests.flows.small_root import complete
from tests.trainer.ranks import write_tiny_model


@pytest.fixture(scope="module")
def run_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose export is complete: a random model of two layers."""
    path = write_run(tmp_path_factory.mktemp("export"))
    plan = make_plan(load_run(path))
    write_tiny_model(Path(plan.export.uri), dtype="bfloat16")
    (Path(plan.export.uri) / "tokenizer.json").write_text("{}")
    complete(plan.export, steps=6)
    return path


def exported(run_file: Path) -> Path:
    return Path(make_plan(load_run(run_file)).export.uri)


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "300"})


def test_a_model_goes_to_megatron_and_comes_back(run_file: Path, tmp_path: Path) -> None:
    result = invoke("export", run_file, "--out", tmp_path / "megatron", "--format", "megatron", "--tp", 2, "--pp", 2)
    assert result.exit_code == 0, result.output
    assert "Megatron checkpoint of step 6" in result.output
    assert "--use-checkpoint-args" in result.output
    assert len(list((tmp_path / "megatron/iter_0000006").iterdir())) == 4
    model = exported(run_file)
    result = invoke("import-megatron", tmp_path / "megatron", "--model", model, "--out", tmp_path / "back")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "back/model.safetensors").read_bytes() == (model / "model.safetensors").read_bytes()
    assert (tmp_path / "back/tokenizer.json").is_file()


def test_a_model_goes_out_as_it_is_in_the_run(run_file: Path, tmp_path: Path) -> None:
    result = invoke("export", run_file, "--out", tmp_path / "model")
    assert result.exit_code == 0, result.output
    files = {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()}
    assert files.keys() == {"config.json", "model.safetensors", "tokenizer.json"}
    assert all(content == (exported(run_file) / name).read_bytes() for name, content in files.items())
    result = invoke("export", run_file, "--out", tmp_path / "model")
    assert (result.exit_code, "is not empty" in result.output) == (2, True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tp", 2], "add --format megatron"),
        (["--format", "megatron", "--pp", 99], "pp 99 does not divide"),
        (["--step", 99], "expected one of the run's steps"),
        (["--format", "megatron", "--step", 5], "no checkpoint of step 5"),
    ],
)
def test_what_cannot_be_is_told(run_file: Path, tmp_path: Path, options: list[object], message: str) -> None:
    result = invoke("export", run_file, "--out", tmp_path / "out", *options)
    assert result.exit_code == 2, result.output
    assert message in result.output
    assert not (tmp_path / "out").exists()


def test_what_is_no_megatron_checkpoint_is_told(run_file: Path, tmp_path: Path) -> None:
    result = invoke("import-megatron", tmp_path, "--model", exported(run_file), "--out", tmp_path / "back")
    assert (result.exit_code, "no Megatron checkpoint folder" in result.output) == (2, True)
