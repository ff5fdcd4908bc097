"""The whole flow on a crawl of twenty records, through the command line and a real Prefect server."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest
import yaml

from flows.config import load_run
from flows.plan import ALGORITHMS, make_plan
from storage.artifact import Manifest, data_files, read_manifest, verify
from storage.ledger import count_rules
from tasks.stage import STAGES
from tests.flows.conftest import Hibari, write_run


@pytest.fixture(scope="module")
def run_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def finished(run_file: Path, hibari: Hibari) -> subprocess.CompletedProcess[str]:
    result = hibari("run", str(run_file))
    assert result.returncode == 0, result.stdout + result.stderr
    return result


def manifests(run_file: Path) -> dict[str, Manifest]:
    plan = make_plan(load_run(run_file))
    found = {stage.stage: read_manifest(stage.uri) for stage in plan}
    return {stage: manifest for stage, manifest in found.items() if manifest is not None}


def test_every_stage_is_complete_and_verifies(finished: subprocess.CompletedProcess[str], run_file: Path) -> None:
    assert tuple(manifests(run_file)) == STAGES
    for stage in make_plan(load_run(run_file)):
        assert verify(stage.uri) == []
    assert "done: curate, deduplicate" in finished.stdout


def test_every_record_is_accounted_for(finished: subprocess.CompletedProcess[str], run_file: Path) -> None:
    made = manifests(run_file)
    plan = make_plan(load_run(run_file))
    assert made["curate"].counts["records"] == 20
    rules = count_rules(data_files(plan.curate.uri, "ledger/"))
    assert sum(rules.values()) == 20
    assert rules["kept"] == made["curate"].counts["kept"] == 14
    assert made["deduplicate"].counts["kept"] == 13
    assert sum(count_rules(data_files(plan.deduplicate.uri, "ledger/")).values()) == 14


def test_bytes_of_the_data_stages_change_only_with_their_version(
    finished: subprocess.CompletedProcess[str], run_file: Path
) -> None:
    """Other digests mean that artifacts made before are not what they would be now: raise the stage's version."""
    made = manifests(run_file)
    golden = yaml.safe_load((Path(__file__).parent / "golden.yaml").read_text())
    found = {stage: f"{ALGORITHMS[stage][0]} {made[stage].content_digest[:16]}" for stage in golden}
    assert found == golden


def test_learning_is_seen_and_the_model_was_the_base_model_at_the_start(
    finished: subprocess.CompletedProcess[str], run_file: Path
) -> None:
    plan = make_plan(load_run(run_file))
    with open(f"{plan.train.uri}/metrics.jsonl") as file:
        losses = [json.loads(line)["loss"] for line in file]
    assert len(losses) == 6
    assert losses[-1] < losses[0]
    assert Path(f"{plan.train.uri}/start_checks.json").exists()


def test_the_same_run_trains_over_tensor_and_pipeline_ranks_to_the_same_losses(
    finished: subprocess.CompletedProcess[str], run_file: Path, hibari: Hibari, tmp_path: Path
) -> None:
    """Four ranks, tp 2 x pp 2 with sequence parallelism, from artifacts of the run that trained on dp 2."""
    shutil.copytree(run_file.parent / "runs", tmp_path / "runs")
    shutil.rmtree(tmp_path / "runs/train")
    settings = ("--set", f"root={tmp_path}/runs", "--set", "train.parallel={dp: 1, tp: 2, pp: 2}")
    result = hibari("run", str(run_file), "--only", "train", *settings)
    assert result.returncode == 0, result.stdout + result.stderr
    rows = [
        [json.loads(line) for line in path.read_text().splitlines()]
        for root in (run_file.parent, tmp_path)
        for path in root.glob("runs/train/*/metrics.jsonl")
    ]
    assert len(rows) == 2
    for name in ("loss", "grad_norm"):
        plain, split = ([row[name] for row in of_run] for of_run in rows)
        assert split == pytest.approx(plain, rel=1e-4)
    (manifest,) = (tmp_path / "runs/train").glob("*/checkpoints/step-00000006/manifest.json")
    layout = json.loads(manifest.read_text())["parallel"]
    assert (layout["dp"], layout["tp"], layout["pp"]) == (1, 2, 2)


def test_prefect_shows_ten_named_stages_in_order(
    finished: subprocess.CompletedProcess[str], prefect_environment: dict[str, str]
) -> None:
    api = prefect_environment["PREFECT_API_URL"]

    def ask(path: str, body: dict[str, object] | None = None) -> object:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(api + path, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)

    completed = {"name": {"any_": ["tiny: all stages"]}, "state": {"type": {"any_": ["COMPLETED"]}}}
    (flow_run,) = ask("/flow_runs/filter", {"flow_runs": completed, "sort": "START_TIME_ASC", "limit": 1})
    for _ in range(50):  # the server takes task runs in a moment after the flow has ended
        graph = ask(f"/flow_runs/{flow_run['id']}/graph-v2")
        nodes = [node for _, node in graph["nodes"]]
        if len(nodes) == len(STAGES):
            break
        time.sleep(0.2)
    assert [node["label"] for node in nodes] == list(STAGES)
    parents = {node["label"]: {parent["id"] for parent in node["parents"]} for node in nodes}
    ids = {node["label"]: node["id"] for node in nodes}
    assert ids["curate"] in parents["deduplicate"]
    assert {ids["initialize"], ids["mix"]} <= parents["train"]
    of_run = {"flow_runs": {"id": {"any_": [flow_run["id"]]}}, "limit": 100}
    artifacts = {artifact["key"]: artifact for artifact in ask("/artifacts/filter", of_run)}
    assert {f"{stage}-{kind}" for stage in STAGES for kind in ("progress", "counts", "artifact")} <= set(artifacts)
    assert all(float(artifacts[f"{stage}-progress"]["data"]) == 100 for stage in STAGES)
    assert artifacts["curate-progress"]["description"].startswith("curate: 2 of 2 WARC files; 20 records")
    assert artifacts["learning-curve"]["data"].startswith("data:image/png;base64,")
    assert "rerun: `hibari run" in artifacts["train-artifact"]["data"]
    rows = json.loads(artifacts["tiny-stages"]["data"])
    assert [(row["stage"], row["status"]) for row in rows] == [(stage, "done") for stage in STAGES]


def test_the_same_command_again_redoes_nothing(
    finished: subprocess.CompletedProcess[str], run_file: Path, hibari: Hibari
) -> None:
    again = hibari("run", str(run_file), PYTHONPROFILEIMPORTTIME="1")
    assert again.returncode == 0
    assert "nothing to do" in again.stdout
    assert "| prefect\n" not in again.stderr, "not even Prefect is started"


def test_forced_curation_gives_the_same_content(
    finished: subprocess.CompletedProcess[str], run_file: Path, hibari: Hibari
) -> None:
    before = manifests(run_file)["curate"].content_digest
    forced = hibari("run", str(run_file), "--force", "curate", "--until", "curate")
    assert forced.returncode == 0, forced.stdout + forced.stderr
    assert manifests(run_file)["curate"].content_digest == before


def test_a_changed_budget_redoes_only_what_hangs_on_it(
    finished: subprocess.CompletedProcess[str], run_file: Path, hibari: Hibari
) -> None:
    dry = hibari("run", str(run_file), "--set", "mix.train_tokens=2048", "--dry-run")
    assert dry.returncode == 0
    assert "to do: mix, train, export, evaluate, report" in dry.stdout


def test_a_crawl_without_japanese_is_an_error_that_names_the_stage(
    tmp_path: Path, run_file: Path, hibari: Hibari
) -> None:
    from tests.flows.pages import english, html, record

    warc = tmp_path / "english.warc.gz"
    warc.write_bytes(b"".join(record(number, html(english(number), "en")) for number in range(3)))
    failed = hibari("run", str(run_file), "--set", f"curate.sources=[{warc}]", "--root", str(tmp_path / "runs"))
    assert failed.returncode == 1
    assert "curate failed: ValueError" in failed.stderr
    assert "rerun: hibari run" in failed.stderr
    assert not list((tmp_path / "runs").glob("*/*/manifest.json"))


def readme_commands() -> list[str]:
    """Every `hibari` command line of the README's code blocks, without its comment."""
    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
    blocks = readme.split("```")[1::2]
    return [line.split("#")[0].strip() for block in blocks for line in block.splitlines() if line.startswith("hibari ")]


def test_the_readme_has_commands() -> None:
    assert len(readme_commands()) >= 6


@pytest.mark.parametrize("command", readme_commands())
def test_a_command_of_the_readme_works(
    command: str, finished: subprocess.CompletedProcess[str], run_file: Path, tmp_path: Path, hibari: Hibari
) -> None:
    """On the finished run; what names a bucket gets a folder instead and is only planned."""
    taken_down, sweep = tmp_path / "list.txt", tmp_path / "sweep.yaml"
    taken_down.write_text("host:nobody.example.jp\n")
    sweep.write_text(
        f"name: vocabularies\nrun: {run_file}\nvariants:\n  - {{name: none, set: {{expand.enabled: false}}}}\n"
    )
    stand_ins = {"RUNFILE": run_file, "ROOT": load_run(run_file).root, "LIST": taken_down, "SWEEPFILE": sweep}
    stand_ins["FOLDER"] = tmp_path / "folder"
    arguments = [str(stand_ins.get(part, part)) for part in shlex.split(command)[1:]]
    if any(part.startswith("s3://") for part in arguments):
        arguments = [str(tmp_path) if part.startswith("s3://") else part for part in arguments] + ["--dry-run"]
    result = hibari(*arguments)
    assert result.returncode == 0, result.stdout + result.stderr
