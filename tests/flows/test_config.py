"""The run file: every mistake at once, each with its field and line."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from flows.config import ConfigError, RunConfig, dump_run, load_run
from tasks.refine.config import RefineConfig

ROOT = Path(__file__).resolve().parents[2]
MINIMAL = """\
name: tiny
curate:
  sources: ["w.warc.gz"]
expand: {base: tokenizer.model}
initialize: {base_model: folder}
sources:
  - {name: corpus, language: ja, weight: 0.9}
mix: {train_tokens: 1000000}
train:
  seq_len: 64
  global_batch: 8
  micro_batch: 2
  warmup_steps: 2
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "run.yaml"
    path.write_text(text)
    return path


def problems(folder: Path, text: str, overrides: list[str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_run(write(folder, text), overrides or [])
    return [problem.split("run.yaml:", 1)[-1] for problem in caught.value.problems]


def test_a_minimal_file_is_filled_with_defaults(tmp_path: Path) -> None:
    run = load_run(write(tmp_path, MINIMAL))
    assert (run.root, run.seed, run.deduplicate.bands, run.deduplicate.rows) == ("runs", 1234, 40, 20)
    assert load_run(write(tmp_path, dump_run(run))) == run


def test_three_mistakes_are_three_messages_with_lines(tmp_path: Path) -> None:
    text = MINIMAL.replace("weight: 0.9", "weight: -1").replace("  warmup_steps: 2\n", "  warmup_step: 2\n")
    found = problems(tmp_path, text + "deduplicate: {bands: many}\n")
    assert len(found) == 3, found
    assert any(row.startswith("7: sources.0.weight:") and "got -1" in row for row in found)
    assert any(row.startswith("13: train.warmup_step: no such field") for row in found)
    assert any(row.startswith("14: deduplicate.bands:") and "'many'" in row for row in found)


def test_missing_sections_are_named(tmp_path: Path) -> None:
    found = problems(tmp_path, "name: tiny\n")
    assert {row.split(": ")[1] for row in found} == {
        "curate",
        "expand",
        "initialize",
        "sources",
        "mix",
        "train",
    }


def test_layout_and_batch_are_checked_before_anything_runs(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, MINIMAL.replace("global_batch: 8", "global_batch: 7"))
    assert "global_batch 7 is not a multiple of micro_batch 2" in found


def test_a_batch_that_grows_makes_more_steps_of_the_same_tokens(tmp_path: Path) -> None:
    """Ten steps of 2, five of 4 and four of 6 before those of 8."""
    ramp = "  batch_ramp: {start: 2, increment: 2, samples: 60}\n"
    run = load_run(write(tmp_path, MINIMAL + ramp))
    assert load_run(write(tmp_path, MINIMAL)).num_steps == 1953
    assert [run.tokens_after(step) for step in (0, 1, 10, 15, 19, 20)] == [0, 128, 1280, 2560, 4096, 4608]
    assert run.num_steps == 1964
    assert run.tokens_after(run.num_steps) <= 1_000_000 < run.tokens_after(run.num_steps + 1)
    (found,) = problems(tmp_path, MINIMAL.replace("1000000", "100") + ramp)
    assert "train.batch_ramp.start 2 x train.seq_len 64 = 128" in found


def test_a_guard_that_is_to_stop_the_run_needs_held_out_text_of_its_language(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, MINIMAL + "  forgetting: {action: stop}\n")
    assert "language en is none of the validation mixture's, ja" in found
    nothing_held_out = MINIMAL.replace("1000000}", "1000000, validation_tokens: 63}")
    (found,) = problems(tmp_path, nothing_held_out + "  forgetting: {action: stop, language: ja}\n")
    assert "there is no validation mixture" in found


def test_sources_fit_together(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, MINIMAL.replace("name: corpus, ", "name: other, documents: [x.jsonl], "))
    assert "one must be named `corpus`" in found


def test_overrides_replace_values_and_are_checked(tmp_path: Path) -> None:
    run = load_run(write(tmp_path, MINIMAL), ["train.lr=3e-4", "executor={kind: process, workers: 5}"], root="s3://b/x")
    assert (run.train.lr, run.executor.workers, run.root) == (3e-4, 5, "s3://b/x")
    found = problems(tmp_path, MINIMAL, ["train.lr", "name.x=1", "seed=a"])
    assert "expected name=value" in found[0]
    assert "name is not a section" in found[1]
    assert "seed" in found[2]


def test_an_entry_of_a_list_is_set_by_its_name(tmp_path: Path) -> None:
    run = load_run(write(tmp_path, MINIMAL), ["sources.corpus.weight=0.7"])
    assert run.weights["corpus"] == 0.7
    (found,) = problems(tmp_path, MINIMAL, ["sources.code.weight=0.5"])
    assert "sources has no entry named code, only corpus" in found


def test_settings_come_after_overrides(tmp_path: Path) -> None:
    run = load_run(write(tmp_path, MINIMAL), ["train.lr=3e-4", "seed=5"], settings={"train.lr": 2e-4, "variant": "b"})
    assert (run.train.lr, run.seed, run.label) == (2e-4, 5, f"{run.name} / b")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: [1\n", "not YAML"),
        ("- a\n", "expected a mapping of sections, got list"),
        (MINIMAL + "seed: 1\nseed: 2\n", "15: seed: written twice"),
    ],
)
def test_files_that_are_no_run_file(tmp_path: Path, text: str, message: str) -> None:
    assert any(message in row for row in problems(tmp_path, text))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: cannot be read"):
        load_run(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize("name", ["demo.yaml", "swallow-mini.yaml"])
def test_the_shipped_run_files_are_right(name: str) -> None:
    assert load_run(ROOT / "configs" / name).name == name.removesuffix(".yaml")


def test_every_field_says_what_it_is() -> None:
    def undescribed(schema: dict[str, object], name: str) -> list[str]:
        fields = schema.get("properties", {})
        return [f"{name}.{key}" for key, field in fields.items() if "description" not in field and "$ref" not in field]

    schema = RunConfig.model_json_schema()
    found = undescribed(schema, "run")
    for name, definition in schema["$defs"].items():
        found += undescribed(definition, name)
    assert found == []


def test_the_deployments_hold_the_run_file_they_name() -> None:
    deployed = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    named = load_run(ROOT / "configs" / "swallow-mini.yaml")
    assert {deployment["name"] for deployment in deployed["deployments"]} == {
        "pipeline",
        "corpus",
        "crawls",
        "tokenizer",
        "tokenizers",
        "dataset",
        "training",
        "evaluation",
    }
    for deployment in deployed["deployments"]:
        assert RunConfig.model_validate(deployment["parameters"]["run"]) == named


def test_refinement_follows_the_profile_of_curation_unless_told_otherwise(tmp_path: Path) -> None:
    def refine_of(*overrides: str) -> RefineConfig:
        run = load_run(write(tmp_path, MINIMAL), overrides)
        assert load_run(write(tmp_path, dump_run(run))) == run
        return run.refine

    assert refine_of() == RefineConfig()
    assert refine_of("curate.profile=swallow-v1") == RefineConfig(profile="swallow-v1")
    mixed = refine_of("curate.profile=swallow-v1", "refine.boilerplate.enabled=true")
    assert (mixed.profile, mixed.boilerplate.enabled, mixed.pii.email) == ("swallow-v1", True, False)
    assert refine_of("curate.profile=swallow-v1", "refine.profile=hibari") == RefineConfig()
