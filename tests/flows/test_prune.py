"""Pruning removes what no run refers to, only when asked, and touches nothing else."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from flows.cli import app
from flows.config import ConfigError, RunConfig, load_run
from flows.inventory import inventory
from flows.plan import Plan, make_plan
from flows.prune import PrunePlan, plan_prune, remove_pruned
from flows.records import kept_runs, record_run
from storage.artifact import new_file, read_manifest
from storage.lease import Holder, hold
from storage.mixture import Mixture
from storage.mixture_plan import MixturePlan
from storage.mixture_writer import write_plan, write_split
from tests.flows.conftest import write_run
from tests.flows.small_root import complete
from tests.storage.test_mixture import SEQ_LEN, SOURCES
from tests.storage.token_sources import write_sources


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    return load_run(write_run(tmp_path_factory.mktemp("inputs")))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def make(inputs: RunConfig, root: Path, **changes: object) -> Plan:
    """Record a run and complete its stages; only tokens and mixture are real."""
    run = inputs.model_copy(update={"root": str(root), **changes})
    plan = make_plan(run)
    record_run(run, plan, None, "run.yaml")
    for stage in plan:
        if read_manifest(stage.uri) is not None:
            continue
        if stage.stage == "mix":
            catalog = write_sources(plan.binarize.uri, SOURCES)
            mixture = MixturePlan(SEQ_LEN, run.seed, {})
            mixture.splits["train"], _ = write_split(
                stage.uri, "train", mixture, plan.binarize.uri, catalog, [9, 1], num_samples=20
            )
            write_plan(stage.uri, mixture)
        with new_file(stage.uri, "data") as file:
            file.write(stage.fingerprint.encode() * 10)
        complete(stage)
    return plan


def gone(plan: PrunePlan) -> list[tuple[str, str]]:
    return [(leftover.stage, leftover.name) for leftover in plan.remove]


def folder(uri: str) -> str:
    return uri.rsplit("/", 1)[-1]


def hibari(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})


def two_days_old(path: Path) -> None:
    then = time.time() - 2 * 24 * 3600
    os.utime(path, (then, then))


def test_what_the_run_no_longer_refers_to_goes_and_the_rest_stays(inputs: RunConfig, root: Path) -> None:
    before = make(inputs, root)
    assert plan_prune(str(root)).remove == []
    after = make(inputs, root, seed=99)
    changed = [stage for stage, now in zip(before, after, strict=True) if stage.uri != now.uri]
    plan = plan_prune(str(root))
    assert gone(plan) == [(stage.stage, folder(stage.uri)) for stage in changed]
    assert [artifact.uri for artifact, _ in plan.keep] == [stage.uri for stage in after]
    sizes = [path.stat().st_size for stage in changed for path in Path(stage.uri).rglob("*") if path.is_file()]
    assert plan.num_bytes == sum(sizes)
    assert all(leftover.made is not None and leftover.made.year == 2026 for leftover in plan.remove)
    assert all(read_manifest(stage.uri) for stage in before), "looking removes nothing"
    assert remove_pruned(plan) == []
    assert not any(Path(stage.uri).exists() for stage in changed)
    assert all(read_manifest(stage.uri) for stage in after)
    assert not list(root.rglob("*.lease"))
    assert plan_prune(str(root)).remove == []


def test_the_command_only_shows_unless_told(inputs: RunConfig, root: Path) -> None:
    before, after = make(inputs, root), make(inputs, root, seed=99)
    shown = hibari("prune", str(root))
    assert shown.exit_code == 0, shown.output
    assert "nothing was removed; --delete removes" in shown.output
    assert folder(before.mix.uri) in shown.output
    assert Path(before.mix.uri).exists()
    deleted = hibari("prune", str(root), "--delete")
    assert deleted.exit_code == 0, deleted.output
    assert "MB freed" in deleted.output
    assert not Path(before.mix.uri).exists()
    assert read_manifest(after.mix.uri)
    assert "nothing to remove" in hibari("prune", str(root)).output


def test_a_forgotten_run_takes_only_its_own_artifacts_along(inputs: RunConfig, root: Path) -> None:
    kept, other = make(inputs, root), make(inputs, root, variant="lr", seed=99)
    own = {(stage.stage, folder(stage.uri)) for stage in other} - {(stage.stage, folder(stage.uri)) for stage in kept}
    assert own
    plan = plan_prune(str(root), forget=["tiny@lr"])
    assert set(gone(plan)) == own
    assert len(kept_runs(str(root))) == 2, "the dry run only pretends"
    assert hibari("prune", str(root), "--forget", "tiny@lr", "--delete").exit_code == 0
    assert [record.key for record in kept_runs(str(root))] == ["tiny"]
    assert all(read_manifest(stage.uri) for stage in kept)
    unknown = hibari("prune", str(root), "--forget", "nobody")
    assert unknown.exit_code == 2
    assert "no such run" in unknown.output
    assert "tiny" in unknown.output


@pytest.mark.parametrize("damage", ["none", "cut", "schema", "missing"])
def test_a_root_whose_records_say_too_little_is_refused(inputs: RunConfig, root: Path, damage: str) -> None:
    plan = make(inputs, root)
    record = root / "runs" / "tiny.json"
    if damage == "none":
        (root / "runs").rename(root / "elsewhere")
    elif damage == "cut":
        record.write_text("{")
    elif damage == "schema":
        record.write_text(json.dumps(json.loads(record.read_text()) | {"schema_version": 7}))
    else:
        record.unlink()
    refused = hibari("prune", str(root), "--delete")
    assert refused.exit_code == 2
    assert ("is it the root of a run" if damage == "none" else "--forget tiny") in refused.output
    assert all(read_manifest(stage.uri) for stage in plan)


def test_tokens_that_a_kept_mixture_reads_stay_although_no_run_names_them(inputs: RunConfig, root: Path) -> None:
    plan = make(inputs, root)
    record = root / "runs" / "tiny.json"
    fields = json.loads(record.read_text())
    fields["stages"] = {"mix": fields["stages"]["mix"]}
    record.write_text(json.dumps(fields))
    found = plan_prune(str(root))
    assert [(artifact.uri, runs) for artifact, runs in found.keep] == [
        (plan.binarize.uri, ["tiny"]),
        (plan.mix.uri, ["tiny"]),
    ]
    assert remove_pruned(found) == []
    with Mixture.open(plan.mix.uri) as mixture:
        assert len(mixture[0].tokens) == SEQ_LEN + 1


def test_unfinished_and_forced_leftovers_go_and_a_kept_runs_unfinished_artifact_stays(
    inputs: RunConfig, root: Path
) -> None:
    plan = make(inputs, root)
    (Path(plan.report.uri) / "manifest.json").unlink()
    begun = root / "curate" / "tiny-0123456789ab"
    again = root / "curate" / f"{folder(plan.curate.uri)}.again"
    for unfinished in (begun, again):
        unfinished.mkdir()
        (unfinished / "part").write_bytes(b"x" * 100)
    found = {leftover.name: leftover for leftover in plan_prune(str(root)).remove}
    assert set(found) == {begun.name, again.name}
    assert "not finished" in found[begun.name].why
    assert "forced rerun" in found[again.name].why
    assert found[begun.name].num_bytes == 100
    remove_pruned(plan_prune(str(root)))
    assert not begun.exists()
    assert not again.exists()
    assert Path(plan.report.uri).exists()


def test_what_is_not_an_artifact_of_ours_is_left_alone(inputs: RunConfig, root: Path) -> None:
    make(inputs, root)
    theirs = [
        root / "curate" / "notes",
        root / "curate" / "Backup-0123456789ab",
        root / "archive" / "tiny-0123456789ab",
        root / "mix" / "tiny-00000000000a",
        root / "mix" / "tiny-00000000000b",
    ]
    for path in theirs:
        path.mkdir(parents=True)
        (path / "file").touch()
    (theirs[3] / "manifest.json").write_text(json.dumps({"schema_version": 99}))
    other = make_plan(inputs.model_copy(update={"root": str(root), "seed": 5})).mix
    complete(replace(other, uri=str(theirs[4])))
    plan = plan_prune(str(root))
    assert plan.remove == []
    assert {uri: why.split(":")[0] for uri, why in plan.leave} == {
        str(theirs[0]): "not the shape of an artifact",
        str(theirs[1]): "not the shape of an artifact",
        str(theirs[3]): "its manifest cannot be read",
        str(theirs[4]): f"its manifest is that of another artifact, mix {other.fingerprint[:12]}",
    }
    remove_pruned(plan)
    assert all((path / "file").exists() for path in theirs)


def test_what_somebody_is_making_stays_and_leases_of_the_dead_go(inputs: RunConfig, root: Path) -> None:
    old_plan = make(inputs, root)
    make(inputs, root, seed=99)
    dead = replace(Holder.new("tiny"), pid=2**22 - 1, started="never")
    lease = root / "curate" / "tiny-0123456789ab.lease"
    lease.write_bytes(dead.to_json())
    elsewhere = replace(dead, machine="another", host="another")
    recent, ancient = root / "curate" / "tiny-0123456789ac.lease", root / "curate" / "tiny-0123456789ad.lease"
    recent.write_bytes(elsewhere.to_json())
    ancient.write_bytes(elsewhere.to_json())
    two_days_old(ancient)
    with hold(f"{old_plan.mix.uri}.lease", "tiny"):
        plan = plan_prune(str(root))
        assert ("mix", folder(old_plan.mix.uri)) not in gone(plan)
        assert next(why for uri, why in plan.leave if uri == old_plan.mix.uri).startswith("in use by run tiny on ")
        assert [leftover.uri for leftover in plan.remove if leftover.kind == "lease"] == [str(lease), str(ancient)]
        assert remove_pruned(plan) == []
        assert read_manifest(old_plan.mix.uri)
    assert (lease.exists(), recent.exists(), ancient.exists()) == (False, True, False)
    assert ("mix", folder(old_plan.mix.uri)) in gone(plan_prune(str(root)))


def test_an_artifact_taken_up_after_the_look_is_not_removed(inputs: RunConfig, root: Path) -> None:
    before = make(inputs, root)
    make(inputs, root, seed=99)
    plan = plan_prune(str(root))
    with hold(f"{before.mix.uri}.lease", "tiny"):
        (problem,) = remove_pruned(plan)
    assert problem.startswith(f"{before.mix.uri} stays: run tiny on ")
    assert read_manifest(before.mix.uri)


def test_an_artifact_half_removed_is_never_complete(
    inputs: RunConfig, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows import prune

    before = make(inputs, root)
    make(inputs, root, seed=99)
    remove = prune.remove

    def stop_at_folders(uri: str) -> None:
        if not uri.endswith("manifest.json"):
            raise PermissionError(13, "Permission denied", uri)
        remove(uri)

    monkeypatch.setattr(prune, "remove", stop_at_folders)
    problems = remove_pruned(plan_prune(str(root)))
    assert problems
    assert all("could not be removed" in problem for problem in problems)
    assert read_manifest(before.mix.uri) is None
    assert (Path(before.mix.uri) / "data").exists()
    monkeypatch.undo()
    assert ("mix", folder(before.mix.uri)) in gone(plan_prune(str(root)))


def test_temporary_files_go_after_a_day(inputs: RunConfig, root: Path) -> None:
    plan = make(inputs, root)
    stale = [Path(plan.curate.uri) / ".part.parquet.0123abcd.tmp", root / "runs" / ".tiny.json.0123abcd.tmp"]
    fresh = Path(plan.curate.uri) / ".part.parquet.4567cdef.tmp"
    checkpoint = Path(plan.train.uri) / "checkpoints" / ".step-00000003.tmp"
    checkpoint.mkdir(parents=True)
    for path in (*stale, fresh, checkpoint / "weights", Path(plan.curate.uri) / "kept.tmp"):
        path.write_bytes(b"x" * 10)
    for path in (*stale, checkpoint):
        two_days_old(path)
    found = plan_prune(str(root))
    assert {leftover.uri for leftover in found.remove} == {str(path) for path in (*stale, checkpoint)}
    assert found.num_bytes == 30
    assert remove_pruned(found) == []
    assert not any(path.exists() for path in (*stale, checkpoint))
    assert fresh.exists()
    assert (Path(plan.curate.uri) / "kept.tmp").exists()


def test_a_linked_file_frees_its_bytes_only_with_its_last_name(inputs: RunConfig, root: Path) -> None:
    plan = make(inputs, root)
    for name in ("tiny-00000000000a", "tiny-00000000000b"):
        (root / "curate" / name).mkdir()
    shared, twice = Path(plan.curate.uri) / "data", root / "curate" / "tiny-00000000000a" / "twice"
    os.link(shared, root / "curate" / "tiny-00000000000a" / "shared")
    twice.write_bytes(b"x" * 100)
    os.link(twice, root / "curate" / "tiny-00000000000b" / "twice")
    found = plan_prune(str(root))
    assert [leftover.num_bytes for leftover in found.remove] == [100, 0]
    assert found.num_bytes == 100


def test_the_inventory_names_what_it_finds(inputs: RunConfig, root: Path) -> None:
    plan = make(inputs, root)
    (root / "mix" / f"{folder(plan.mix.uri)}.again").mkdir()
    found = inventory(str(root))
    assert [artifact.uri for artifact in found if not artifact.is_again] == [stage.uri for stage in plan]
    (again,) = [artifact for artifact in found if artifact.is_again]
    assert again.lease == f"{plan.mix.uri}.lease"
    assert all(artifact.manifest is not None for artifact in found if not artifact.is_again)
    assert inventory(str(root / "nowhere")) == []


def test_a_root_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no run record below runs/"):
        plan_prune(str(tmp_path / "nowhere"))
