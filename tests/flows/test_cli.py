"""The command line: exit codes, messages, and answers in under a second."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import typer

from flows.cli_support import reporting
from tests.flows.conftest import Hibari, write_run


@pytest.fixture(scope="module")
def run_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("cli"))


def test_three_mistakes_give_three_messages_and_exit_code_2(tmp_path: Path, run_file: Path, hibari: Hibari) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text(run_file.read_text().replace("seq_len: 64", "seq_len: many") + "deduplikate: {}\nseed: -1\n")
    result = hibari("run", str(broken))
    assert result.returncode == 2
    assert len([line for line in result.stderr.splitlines() if "broken.yaml:" in line]) == 3, result.stderr
    for name in ("train.seq_len", "deduplikate", "seed"):
        assert name in result.stderr


def test_missing_inputs_are_named_before_anything_runs(run_file: Path, hibari: Hibari) -> None:
    result = hibari("run", str(run_file), "--set", "curate.sources=[nowhere.warc.gz]", "--set", "expand.base=no.model")
    assert result.returncode == 2
    assert "nowhere.warc.gz" in result.stderr
    assert "no.model" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [["run", "RUN", "--only", "cook"], ["run", "RUN", "--from", "train", "--until", "mix"], ["run"], ["fly"]],
    ids=" ".join,
)
def test_bad_usage_is_exit_code_2(arguments: list[str], run_file: Path, hibari: Hibari) -> None:
    result = hibari(*[str(run_file) if argument == "RUN" else argument for argument in arguments])
    assert result.returncode == 2
    assert result.stderr


def test_an_unreachable_server_is_a_clear_error(run_file: Path, hibari: Hibari) -> None:
    result = hibari("run", str(run_file), PREFECT_API_URL="http://127.0.0.1:9/api")
    assert result.returncode == 1
    assert "no Prefect server answers there" in result.stderr


def test_a_stage_alone_says_which_input_it_lacks(tmp_path: Path, run_file: Path, hibari: Hibari) -> None:
    result = hibari("run", str(run_file), "--only", "mix", "--root", str(tmp_path))
    assert result.returncode == 1
    assert "mix: its input binarize is not there" in result.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["run", "RUN", "--dry-run"], ["status", "RUN"]], ids=" ".join)
def test_light_commands_do_not_import_the_heavy_ones(arguments: list[str], run_file: Path, hibari: Hibari) -> None:
    named = [str(run_file) if argument == "RUN" else argument for argument in arguments]
    result = hibari(*named, PYTHONPROFILEIMPORTTIME="1")
    assert result.returncode == 0
    imported = {
        line.rsplit("|", 1)[-1].strip() for line in result.stderr.splitlines() if line.startswith("import time:")
    }
    assert "typer" in imported
    assert not imported & {"prefect", "torch", "transformers", "datasketch", "sentencepiece"}


def test_doctor_examines_this_machine(tmp_path: Path, hibari: Hibari) -> None:
    result = hibari("doctor", "--root", str(tmp_path / "new"))
    assert "packages: all as required" in result.stdout
    assert not (tmp_path / "new").exists()


def test_a_root_that_cannot_be_written_fails_the_doctor(tmp_path: Path, hibari: Hibari) -> None:
    (tmp_path / "file").touch()
    result = hibari("doctor", "--root", str(tmp_path / "file" / "root"))
    assert result.returncode == 1
    assert "no  root" in result.stdout


def test_a_disk_that_is_full_before_the_first_stage_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit), reporting():
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "runs" / "tiny.yaml"))
    said = capsys.readouterr().err
    assert said.startswith(f"error: the disk is full: {tmp_path} has ")
    with pytest.raises(PermissionError), reporting():
        raise PermissionError("not ours")
