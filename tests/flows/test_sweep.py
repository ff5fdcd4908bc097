"""`hibari sweep` through the command line: shared artifacts made once, a failing variant alone, one comparison."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.stage import STAGES
from tests.flows.conftest import Hibari, Swept, write_run


def artifacts(root: Path, stage: str) -> list[str]:
    """Folders of complete artifacts."""
    return sorted(manifest.parent.name for manifest in (root / stage).glob("*/manifest.json"))


def comparison(swept: Swept) -> dict[str, Any]:
    return json.loads((swept.root / "sweeps" / "tiny-ablation" / "comparison.json").read_text())


def test_a_failing_variant_does_not_stop_the_others(swept: Swept) -> None:
    """`greedy` may read a thousandth of its sources, which is too little, and fails at `mix`."""
    assert swept.result.returncode == 1
    assert "1 of 3 variants failed" in swept.result.stderr
    assert "variant greedy: mix failed" in swept.result.stderr
    facts = comparison(swept)
    assert [failure["variant"] for failure in facts["failures"]] == ["greedy"]
    assert {line["variant"] for line in facts["lines"] if line["model"] == "trained"} == {"as-is", "slow-lr"}


def test_what_variants_have_in_common_is_made_once(swept: Swept) -> None:
    before_training = dict.fromkeys(STAGES[: STAGES.index("train")], 1)
    own = {"train": 2, "export": 4, "evaluate": 4, "report": 2}  # a last and an earlier checkpoint of each
    assert swept.made == before_training | own


def test_the_comparison_has_every_checkpoint_of_every_variant(swept: Swept) -> None:
    facts = comparison(swept)
    lines = [(line["label"], line["step"], line["tokens"]) for line in facts["lines"] if line["model"] != "initialized"]
    assert lines == [
        ("base model", 0, 0),
        ("as-is", 4, 1024),
        ("as-is", 6, 1536),
        ("slow-lr", 4, 1024),
        ("slow-lr", 6, 1536),
    ]
    assert [(line["label"], line["step"]) for line in facts["differences"]] == [("slow-lr", 4), ("slow-lr", 6)]
    assert all("bits_per_byte/ja/" in line["scores"] for line in facts["differences"])
    assert [row["field"] for row in facts["changed"]] == ["mix.max_epochs", "train.lr"]
    page = (swept.root / "sweeps" / "tiny-ablation" / "comparison.html").read_text()
    assert "slow-lr" in page
    (report,) = [row["report"] for row in facts["variants"] if row["name"] == "slow-lr"]
    assert (swept.root / "sweeps" / "tiny-ablation" / report).is_file()


def test_the_same_command_does_only_what_is_left(swept: Swept, hibari: Hibari) -> None:
    before = {stage: artifacts(swept.root, stage) for stage in STAGES}
    dry = hibari("sweep", str(swept.file), "--dry-run", PYTHONPROFILEIMPORTTIME="1")
    assert dry.returncode == 0
    assert "to do for greedy: mix, train, export, evaluate, report, step 4" in dry.stdout.replace("\n", " ")
    assert "to do for as-is" not in dry.stdout
    imported = {line.rsplit("|", 1)[-1].strip() for line in dry.stderr.splitlines()}
    assert not imported & {"prefect", "torch", "matplotlib"}, "a dry run is light"

    sweep = yaml.safe_load(swept.file.read_text())
    sweep["variants"] = [variant for variant in sweep["variants"] if variant["name"] != "greedy"]
    fixed = swept.file.with_name("fixed.yaml")
    fixed.write_text(yaml.safe_dump(sweep | {"name": "fixed"}))
    again = hibari("sweep", str(fixed), PYTHONPROFILEIMPORTTIME="1")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "nothing to do: every variant is complete" in again.stdout
    assert "= as-is" in again.stdout
    assert "| prefect\n" not in again.stderr, "not even Prefect is started"
    assert (swept.root / "sweeps" / "fixed" / "comparison.html").is_file()
    assert {stage: artifacts(swept.root, stage) for stage in STAGES} == before


def test_the_run_itself_finds_all_but_its_page_done(swept: Swept, hibari: Hibari) -> None:
    run_file = swept.file.with_name("run.yaml")
    dry = hibari("run", str(run_file), "--dry-run")
    assert "to do: report" in dry.stdout
    variant = hibari("status", str(swept.run_file("slow-lr")))
    assert "tiny / slow-lr" in variant.stdout
    assert "missing" not in variant.stdout


def test_a_wrong_sweep_file_is_bad_usage(tmp_path: Path, swept: Swept, hibari: Hibari) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text(f"name: x\nrun: {swept.file.parent}/run.yaml\nvariants: [{{name: a, set: {{train.lr: -1}}}}]\n")
    result = hibari("sweep", str(broken))
    assert result.returncode == 2
    assert "variant a: " in result.stderr
    assert "train.lr" in result.stderr


@pytest.mark.slow
def test_vocabulary_sizes_share_the_corpus(tmp_path: Path, hibari: Hibari) -> None:
    """Two sizes and none: each has a tokenizer, a model and tokens of its own, from one corpus."""
    write_run(tmp_path)
    variants = [
        {"name": "large", "set": {"expand.num_candidates": 600}},
        {"name": "small", "set": {"expand.num_candidates": 450}},
        {"name": "none", "set": {"expand.enabled": False}},
    ]
    file = tmp_path / "sweep.yaml"
    file.write_text(
        yaml.safe_dump({"name": "sizes", "run": "run.yaml", "set": {"train.parallel.dp": 1}, "variants": variants})
    )
    result = hibari("sweep", str(file))
    assert result.returncode == 0, result.stdout + result.stderr
    made = {stage: len(artifacts(tmp_path / "runs", stage)) for stage in STAGES}
    assert made == {"curate": 1, "deduplicate": 1} | dict.fromkeys(STAGES[2:], 3)
    facts = json.loads((tmp_path / "runs" / "sweeps" / "sizes" / "comparison.json").read_text())
    vocabularies = {row["name"]: row["vocab"] for row in facts["variants"]}
    assert vocabularies["large"] > vocabularies["small"] > vocabularies["none"] == 380
    assert all(cells["small"]["shared"] == cells["none"]["shared"] == "large" for cells in corpus_cells(facts))


def corpus_cells(facts: dict[str, Any]) -> list[dict[str, Any]]:
    return [row["cells"] for row in facts["stages"] if row["stage"] in ("curate", "deduplicate")]
