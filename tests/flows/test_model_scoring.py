"""`hibari evaluate model` and `tasks`: names, settings, the same bytes again, and messages; no Prefect anywhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from flows.cli import app
from flows.config import ConfigError
from flows.model_scoring import model_evaluation, model_names
from tests.tasks.evaluate import stand_ins
from tests.tasks.evaluate.conftest import save_llama, train_byte_level


@pytest.fixture(scope="module", autouse=True)
def _stand_ins() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        stand_ins.install(patch)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models, the data of two benchmarks, and prompts."""
    folder = tmp_path_factory.mktemp("scoring")
    for seed, name in enumerate(("lark", "swift")):
        save_llama(folder / "models" / name, train_byte_level(folder / "models" / name, 400), seed=seed)
    stand_ins.write_data(folder / "data", num_items=6)
    stand_ins.write_prompts(folder / "prompts")
    return folder


def hibari(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "300"})


def evaluate(folder: Path, out: Path, *options: str) -> Result:
    models, data, prompts = folder / "models", folder / "data", folder / "prompts"
    return hibari(
        "evaluate", "model", models / "swift", "--base", models / "lark", "--data", data, "--prompts", prompts,
        "--out", out, "--processes", "1", *options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def scored(folder: Path) -> tuple[Path, str]:
    out = folder / "scored"
    result = evaluate(folder, out)
    assert result.exit_code == 0, result.output
    return out, result.output


def test_models_are_scored_on_all_benchmarks_that_are_there_in_both_profiles(scored: tuple[Path, str]) -> None:
    out, said = scored
    for model in ("base", "swift"):
        for key in ("jcommonsenseqa-strict", "niilc-swallow-2023"):
            assert (out / f"examples/{model}-{key}.jsonl").is_file()
    for part in ("profile strict", "profile swallow-2023", "Choices", "Answers", "base", "swift", "evaluation.html"):
        assert part in said
    for page in ("evaluation.html", "scores.csv", "scores.json", "scores.tex"):
        assert (out / page).stat().st_size
    rows = [json.loads(line) for line in (out / "scores.jsonl").read_text(encoding="utf-8").splitlines()]
    assert any("difference" in row for row in rows if row["model"] == "swift")


def test_again_it_is_the_same_and_nothing_is_asked(
    scored: tuple[Path, str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, _ = scored
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    monkeypatch.setattr("tasks.evaluate.model.LanguageModel.load", None)
    assert evaluate(folder, out, "--batch-size", "3").exit_code == 0, "batches decide nothing"
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_other_settings_in_the_same_folder_are_refused_with_what_differs(
    scored: tuple[Path, str], folder: Path
) -> None:
    out, _ = scored
    result = evaluate(folder, out, "--limit", "3", "--task", "niilc")
    assert result.exit_code == 2
    for part in ("holds scores of other settings", "settings.limit: None -> 3", "settings.tasks", "--out"):
        assert part in result.output
    assert "forms" not in result.output
    models = folder / "models"
    alone = hibari(
        "evaluate", "model", models / "swift", "--data", folder / "data", "--profile", "strict", "--out", out
    )
    assert alone.exit_code == 2
    assert "models.base" in alone.output


def test_settings_that_scored_nothing_may_change(folder: Path, tmp_path: Path) -> None:
    failed = evaluate(folder, tmp_path, "--task", "niilc", "--prompts", str(tmp_path / "nowhere"))
    assert failed.exit_code == 2
    assert "niilc (swallow-2023): expected niilc.json" in failed.output
    assert evaluate(folder, tmp_path, "--limit", "2", "--profile", "strict").exit_code == 0


def test_without_its_prompt_file_a_profile_is_skipped_and_told(folder: Path, tmp_path: Path) -> None:
    """Named by nobody, it must not keep the others from being scored; a folder that is named must be there."""
    out, prompts = tmp_path / "out", tmp_path / "prompts"
    gone = evaluate(folder, out, "--prompts", str(prompts))
    assert (gone.exit_code, f"{prompts}: no such folder" in gone.output) == (2, True)
    prompts.mkdir()
    options = ("--prompts", str(prompts), "--limit", "2")
    done = evaluate(folder, out, *options)
    assert done.exit_code == 0, done.output
    assert "not scored, for want of a prompt or shot file: Answers (swallow-2023)" in done.output
    assert {path.name.partition("-")[2] for path in (out / "examples").iterdir()} == {
        "jcommonsenseqa-strict.jsonl", "jcommonsenseqa-swallow-2023.jsonl", "niilc-strict.jsonl",
    }  # fmt: skip
    assert "Not scored, for want of" in (out / "evaluation.html").read_text(encoding="utf-8")
    stand_ins.write_prompts(prompts)
    later = evaluate(folder, out, *options)
    assert later.exit_code == 2, "now there is more to ask, in a folder of its own"
    assert "benchmarks.niilc" in later.output


def test_what_is_wrong_is_said_and_exit_code_2(folder: Path, tmp_path: Path) -> None:
    model = folder / "models/lark"
    for arguments, said in [
        ([folder / "models/gone", "--data", folder / "data"], "models/gone: no config.json there"),
        ([model, "--data", tmp_path], "no benchmark has its files"),
        ([model, "--data", folder / "data", "--task", "jsquat"], "jsquat"),
        ([model, "--data", folder / "data", "--task", "jsquad", "--out", tmp_path / "out"], "jsquad: no data"),
        ([folder / "data", "--data", folder / "data", "--profile", "strict", "--out", tmp_path], "config.json"),
    ]:
        result = hibari("evaluate", "model", *arguments)
        assert result.exit_code == 2, result.output
        assert said in result.output, result.output


def test_names_come_from_folders_and_are_told_apart_by_those_above(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("run/step-100/hf", "run/step-200/hf", "run/step-200/鳥 model")]
    names = model_names(paths)
    assert list(names.values()) == paths
    assert list(names)[:2] == ["step-100-hf", "step-200-hf"]
    assert list(model_names([tmp_path / "lark"])) == ["lark"]
    assert list(model_names([tmp_path / "run/base"])) == ["run-base"], "base is the name of the model compared with"
    with pytest.raises(ConfigError, match="named 2 times"):
        model_names([tmp_path, tmp_path / "."])


def test_the_base_is_not_scored_twice(folder: Path) -> None:
    models = folder / "models"
    settings: dict[str, Any] = {"data": str(folder / "data"), "profile": "strict", "tasks": ["niilc"]}
    asked = model_evaluation([models / "lark", models / "swift"], models / "lark", **settings)
    assert dict(asked.folders) == {"base": models / "lark", "swift": models / "swift"}
    assert str(asked.out) == "evaluations/base+swift"
    assert asked.config.skip_benchmarks == []


def test_tasks_are_listed_with_where_they_are_and_where_to_get_them(folder: Path) -> None:
    listed = hibari("evaluate", "tasks", "--data", folder / "data")
    assert listed.exit_code == 0
    lines = {line.split("│")[1].strip(): line for line in listed.output.splitlines() if line.count("│") > 5}
    assert "found:" in lines["niilc"]
    assert "missing" in lines["jsquad"]
    assert "jsquad/valid.json" in "".join(
        line.split("│")[5].strip() for line in listed.output.splitlines() if line.count("│") > 5
    )
    assert "found:" not in hibari("evaluate", "tasks").output


@pytest.mark.parametrize("arguments", [["gone.yaml"], ["--step", "2", "gone.yaml"], ["run", "gone.yaml"]], ids=" ".join)
def test_what_is_no_command_is_a_run_file(arguments: list[str]) -> None:
    result = hibari("evaluate", *arguments)
    assert result.exit_code == 2
    assert "gone.yaml: cannot be read" in result.output
