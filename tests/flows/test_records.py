"""Run records say what runs refer to, and never less than that in silence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flows.config import ConfigError, RunConfig, load_run
from flows.plan import make_plan
from flows.records import forget_run, kept_runs, record_run, references
from flows.selection import Selection
from tests.flows.conftest import write_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    return load_run(write_run(tmp_path_factory.mktemp("records")))


@pytest.fixture
def root(tmp_path: Path) -> str:
    return str(tmp_path / "runs")


def at(run: RunConfig, root: str, **changes: object) -> RunConfig:
    return run.model_copy(update={"root": root, **changes})


def test_a_record_names_the_artifacts_of_all_stages_wherever_the_root_lies(
    tmp_path: Path, run: RunConfig, root: str
) -> None:
    run = at(run, root)
    plan = make_plan(run)
    record_run(run, plan, None, "run.yaml --set seed=1234")
    (record,) = kept_runs(root)
    assert [record.uri(root, stage.stage) for stage in plan] == [stage.uri for stage in plan]
    assert record.stages["mix"].fingerprint == plan.mix.fingerprint
    assert record.command == f"hibari run run.yaml --set seed=1234 --root {root}"
    assert record.rerun(root) == f"hibari run {root}/runs/tiny.yaml"
    assert record.rerun("s3://bucket/runs") == record.command
    assert load_run(f"{root}/runs/tiny.yaml") == run
    Path(root).rename(tmp_path / "moved")
    (moved,) = kept_runs(str(tmp_path / "moved"))
    assert moved.uri(str(tmp_path / "moved"), "train") == f"{tmp_path}/moved/train/{record.stages['train'].artifact}"


def test_a_variant_and_a_checkpoint_stand_beside_the_run_and_the_last_step_is_the_run(
    run: RunConfig, root: str
) -> None:
    run = at(run, root)
    for step, variant in ((None, None), (3, None), (6, None), (None, "lr"), (3, "lr")):
        changed = at(run, root, variant=variant)
        selection = Selection(step=step)
        record_run(changed, make_plan(changed, selection), selection, "run.yaml")
    records = {record.key: record for record in kept_runs(root)}
    assert sorted(records) == ["tiny", "tiny@lr", "tiny@lr@step-3", "tiny@step-3"]
    assert records["tiny@step-3"].rerun(root) == f"hibari run {root}/runs/tiny@step-3.yaml --step 3"
    assert records["tiny@step-3"].stages["export"] != records["tiny"].stages["export"]
    assert records["tiny@lr"].rerun(root) == f"hibari run {root}/runs/tiny@lr.yaml"
    runs = references(records.values())[("curate", records["tiny"].stages["curate"].artifact)]
    assert sorted(runs) == sorted(records)


def test_a_run_of_the_same_name_replaces_the_record(run: RunConfig, root: str) -> None:
    record_run(at(run, root), make_plan(at(run, root)), None, "run.yaml")
    changed = at(run, root, seed=99)
    record_run(changed, make_plan(changed), None, "run.yaml")
    (record,) = kept_runs(root)
    assert record.stages["mix"].fingerprint == make_plan(changed).mix.fingerprint


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("{", "Expecting"),
        ({"schema_version": 2}, "not a run record of schema 1"),
        ({"colour": "blue"}, "not a run record"),
        ({"run": "other"}, "is the record of other"),
        ({"stages": {"cook": {"artifact": "tiny-0123456789ab", "fingerprint": "0"}}}, "stages cook"),
        (
            {"stages": {"mix": {"artifact": "../tiny-0123456789ab", "fingerprint": "0"}}},
            "is not the name of an artifact",
        ),
        ({"stages": {}}, r"stages \(none\)"),
    ],
    ids=["cut", "schema", "field", "name", "stage", "path", "none"],
)
def test_a_record_that_is_not_understood_is_an_error_until_it_is_forgotten(
    run: RunConfig, root: str, change: str | dict[str, object], problem: str
) -> None:
    record_run(at(run, root), make_plan(at(run, root)), None, "run.yaml")
    path = Path(root) / "runs" / "tiny.json"
    path.write_text(change if isinstance(change, str) else json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ConfigError, match=problem) as caught:
        kept_runs(root)
    assert "--forget tiny" in str(caught.value)
    assert kept_runs(root, forget=["tiny"]) == []


def test_a_run_without_a_record_is_an_error_and_all_errors_are_reported(run: RunConfig, root: str) -> None:
    record_run(at(run, root), make_plan(at(run, root)), None, "run.yaml")
    for name in ("older", "oldest"):
        (Path(root) / "runs" / f"{name}.yaml").write_text("name: old\n")
    with pytest.raises(ConfigError) as caught:
        kept_runs(root)
    assert [problem.split(" has no ")[1].split()[0] for problem in caught.value.problems] == [
        "older.json",
        "oldest.json",
    ]
    for name in ("older", "oldest"):
        forget_run(root, name)
    assert [record.key for record in kept_runs(root)] == ["tiny"]
    assert not (Path(root) / "runs" / "older.yaml").exists()
