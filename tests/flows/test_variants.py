"""The sweep file: variants share what they have in common, and every mistake of every variant is told at once."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.config import ConfigError, load_run
from flows.plan import make_plan
from flows.variants import load_sweep, shared_stages, sweep_plans
from tasks.stage import STAGES

VARIANTS: list[dict[str, Any]] = [
    {"name": "16k"},
    {"name": "none", "set": {"expand.enabled": False}},
    {"name": "50-50", "set": {"sources.corpus.weight": 0.5, "sources.web.weight": 0.5}},
    {"name": "lr-2e-4", "set": {"train.lr": 2e-4}},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run whose external inputs exist, though nothing could be made of them."""
    (tmp_path / "a.warc.gz").write_bytes(gzip.compress(b"WARC/1.0\r\n", mtime=0))
    (tmp_path / "tokenizer.model").write_bytes(b"pieces")
    (tmp_path / "en.jsonl").write_text('{"text": "The lark sings."}\n')
    (tmp_path / "run.yaml").write_text(
        f"""
        name: tiny
        root: {tmp_path}/runs
        curate: {{sources: ["{tmp_path}/*.warc.gz"]}}
        expand: {{base: {tmp_path}/tokenizer.model}}
        initialize: {{base_model: {{random: {{hidden_size: 32, num_layers: 1, num_heads: 2}}}}}}
        sources:
          - {{name: corpus, language: ja, weight: 0.9}}
          - {{name: web, language: en, weight: 0.1, documents: ["{tmp_path}/en.jsonl"]}}
        mix: {{train_tokens: 5120}}
        train: {{seq_len: 64, global_batch: 8, warmup_steps: 2, save_every: 3, keep_checkpoints: 2}}
        """
    )
    return tmp_path


def write(folder: Path, **fields: Any) -> Path:
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump({"name": "ablation", "run": "run.yaml", "variants": VARIANTS} | fields))
    return path


def problems(folder: Path, **fields: Any) -> list[str]:
    path = write(folder, **fields)
    with pytest.raises(ConfigError) as caught:
        load_sweep(path)
    return [problem.removeprefix(f"{path}: ") for problem in caught.value.problems]


def test_variants_share_every_artifact_that_their_settings_leave_alone(folder: Path) -> None:
    shared = shared_stages(sweep_plans(load_sweep(write(folder))))
    assert set(shared["16k"].values()) == {None}
    common = {name: [stage for stage in STAGES if shared[name][stage] == "16k"] for name in shared}
    assert common["none"] == ["curate", "deduplicate"]
    assert common["50-50"] == ["curate", "deduplicate", "expand", "initialize", "binarize"]
    assert common["lr-2e-4"] == list(STAGES[: STAGES.index("train")])


def test_the_run_itself_has_the_very_same_artifacts(folder: Path) -> None:
    variant = sweep_plans(load_sweep(write(folder)))["16k"]
    own = make_plan(load_run(folder / "run.yaml"))
    assert [stage.uri for stage in variant][:-1] == [stage.uri for stage in own][:-1]
    assert variant.report.uri != own.report.uri, "their pages bear other names"


def test_a_variant_is_an_ordinary_run_under_its_own_label(folder: Path) -> None:
    sweep = load_sweep(write(folder, set={"train.min_lr": 1e-5}), overrides=["train.lr=5e-5"], root="s3://bucket/x")
    assert sweep.root == "s3://bucket/x"
    assert sweep.runs["50-50"].weights == {"corpus": 0.5, "web": 0.5}
    assert sweep.runs["50-50"].label == "tiny / 50-50"
    assert {run.name for run in sweep.runs.values()} == {"tiny"}
    assert [run.train.lr for run in sweep.runs.values()] == [5e-5, 5e-5, 5e-5, 2e-4], "a variant's own value wins"
    assert {run.train.min_lr for run in sweep.runs.values()} == {1e-5}


def test_every_mistake_of_every_variant_is_told_with_its_name(folder: Path) -> None:
    variants = [
        {"name": "a", "set": {"train.learning_rate": 1e-4, "mix.train_tokens": "many"}},
        {"name": "b", "set": {"sources.code.weight": 0.5}},
        {"name": "c"},
        {"name": "d", "set": {}},
    ]
    found = problems(folder, variants=variants)
    assert len(found) == 4
    assert all(problem.startswith("variant a: ") for problem in found[:2])
    assert "mix.train_tokens: Input should be a valid integer" in found[0]
    assert "train.learning_rate: no such field" in found[1]
    assert found[2] == "variant b: sources.code.weight: sources has no entry named code, only corpus, web"
    assert found[3] == "variant d: sets the same as variant c; take one of them out"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"variants": [{"name": "A b"}]}, "variant A b: name: String should match pattern"),
        ({"variants": [{"name": "a"}, {"name": "a"}]}, "every name once, a is used again"),
        ({"variants": [{"name": "a", "set": {"root": "x"}}]}, "variant a: set: root cannot be set"),
        ({"variants": [{"name": "a", "sett": {}}]}, "variant a: sett: Extra inputs"),
        ({"variants": []}, "variants: List should have at least 1 item"),
        ({"set": {"name": "x"}}, "set: name cannot be set"),
        ({"steps": "some"}, "steps"),
        ({"variants": [{"name": "step-3"}]}, "step-3 is how the record of a checkpoint is called"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_sweep_file_that_is_wrong(folder: Path, fields: dict[str, Any], expected: str) -> None:
    assert any(expected in problem for problem in problems(folder, **fields))


def test_a_missing_run_file_is_named(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"elsewhere\.yaml: cannot be read"):
        load_sweep(write(folder, run="elsewhere.yaml"))


def test_steps_must_be_saved_and_kept(folder: Path) -> None:
    """Ten steps, a checkpoint every three, and the newest two kept: 9 and 10."""
    variants = [{"name": "a"}]
    assert load_sweep(write(folder, variants=variants, steps=[9, 10])).steps == {"a": [9]}, "10 is the last anyway"
    (beyond,) = problems(folder, variants=variants, steps=[4])
    assert "steps [4]: no checkpoint is saved there; train.save_every 3 and 10 steps give 3, 6, 9, 10" in beyond
    (gone,) = problems(folder, variants=variants, steps="all")
    assert "steps 3, 6: deleted by the end of training" in gone
    assert "set train.keep_checkpoints to 4 or more" in gone
    kept = load_sweep(write(folder, variants=variants, steps="all", set={"train.keep_checkpoints": 4}))
    assert kept.steps == {"a": [3, 6, 9]}


def test_missing_inputs_are_told_once_with_the_variants_that_need_them(folder: Path) -> None:
    variants = [{"name": "a", "set": {"expand.base": "no.model"}}, {"name": "b"}]
    (folder / "en.jsonl").unlink()
    with pytest.raises(ConfigError) as caught:
        sweep_plans(load_sweep(write(folder, variants=variants)))
    assert [problem.rsplit("(", 1)[1] for problem in caught.value.problems] == ["variant a)", "variant a, b)"]


def test_the_example_is_valid() -> None:
    sweep = load_sweep(Path(__file__).resolve().parents[2] / "configs" / "sweep-tokenizer.yaml")
    assert list(sweep.runs) == ["16k", "32k", "none", "50-50", "lr-2e-4", "lr-5e-5"]
    assert sweep.steps["32k"] == [50, 100, 150, 200]
