"""kill -9 in the middle of every stage, then the same command: what was finished is kept, the result is the same.

A run is started in a process of its own and killed; nothing that it had started may be left. The same command then
has to bring the stage to the content of an undisturbed run, without touching what its finished shards had written.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from flows.config import load_run
from flows.plan import make_plan
from storage.artifact import Manifest, read_manifest
from storage.checkpoints import FOLDER, checkpoint_uri, saved_steps
from storage.lease import hold
from storage.processes import Process, alive, find
from tasks.curate.config import CurateConfig
from tasks.curate.curate import curate
from tasks.shards import ExecutorConfig
from tasks.stage import STAGES
from tests.flows.conftest import ROOT, Hibari, write_run
from tests.flows.pages import html, japanese, record
from tests.killing import wait_until, wait_until_gone

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells of a parent's death on Linux only")

STEPS, SAVE_EVERY = 200, 25
# Before which of its own files the process is killed: late enough that something is finished where stages have shards.
KILLED_AT = {
    "curate": 2,
    "deduplicate": 4,
    "expand": 2,
    "initialize": 2,
    "binarize": 2,
    "mix": 3,
    "export": 3,
    "evaluate": 5,
    "report": 2,
}


@dataclass
class Run:
    """A run that can be started, killed and looked at."""

    file: Path
    root: Path
    environment: dict[str, str]
    mark: str = field(default_factory=lambda: f"hibari-test-{uuid.uuid4().hex}")

    def start(self, *arguments: str, program: tuple[str, ...] = ("flows.cli",)) -> subprocess.Popen[str]:
        """`hibari run` in a session of its own; all that it starts carries our mark."""
        command = [sys.executable, "-m", *program, "run", str(self.file), "--root", str(self.root), *arguments]
        environment = self.environment | {"PYTHONPATH": str(ROOT), "COLUMNS": "200", "HIBARI_TEST_MARK": self.mark}
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def finish(self, *arguments: str) -> str:
        """Run to the end; what it printed."""
        running = self.start(*arguments)
        said, _ = running.communicate(timeout=500)
        assert running.returncode == 0, said
        self.nothing_is_left()
        return said

    def kill_in(self, stage: str) -> None:
        """kill -9 in the middle of a stage."""
        program = ("tests.flows.killed_run", stage, str(KILLED_AT[stage]))
        killed = self.start("--until", stage, program=program)
        said, _ = killed.communicate(timeout=500)
        assert killed.returncode == -signal.SIGKILL, said
        self.nothing_is_left()
        assert self.manifest(stage) is None

    def folder(self, stage: str) -> Path:
        return Path(getattr(make_plan(load_run(self.file, root=str(self.root))), stage).uri)

    def manifest(self, stage: str) -> Manifest | None:
        return read_manifest(str(self.folder(stage)))

    def digest(self, stage: str) -> str:
        manifest = self.manifest(stage)
        assert manifest is not None, f"{stage} is not complete"
        return manifest.content_digest

    def finished_shards(self, stage: str) -> dict[Path, int]:
        """Records of finished shards -> when each was written, which is when its shard was done."""
        return {path: path.stat().st_mtime_ns for path in self.folder(stage).glob("_shards/*.json")}

    def processes(self) -> list[Process]:
        """All that carry our mark, whoever their parent is by now."""
        marked = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and self.mark.encode() in (entry / "environ").read_bytes():
                    marked.append(find(int(entry.name)))
            except OSError:
                continue  # ended while we looked
        return alive(process for process in marked if process is not None)

    def nothing_is_left(self) -> None:
        wait_until_gone(self.processes())

    def steps(self) -> int:
        """Training steps that metrics.jsonl has."""
        metrics = self.folder("train") / "metrics.jsonl"
        return metrics.read_text().count("\n") if metrics.is_file() else 0

    def ranks(self) -> list[Process]:
        launched = json.loads((self.folder("train") / "launch.json").read_text())["processes"]
        return [Process(**entry) for entry in launched][1:]


def write_long_run(folder: Path) -> Path:
    """The tiny run with three WARC files, and training long enough to be killed in its middle."""
    path = write_run(folder)
    pages = [record(number, html(japanese(number), "ja")) for number in range(20, 27)]
    (folder / "CC-MAIN-2024-10-test-00002.warc.gz").write_bytes(b"".join(pages))
    run = yaml.safe_load(path.read_text())
    run["mix"] |= {"train_tokens": 64 * 4 * STEPS, "max_epochs": 1000}
    run["train"] |= {"save_every": SAVE_EVERY, "keep_checkpoints": 2}
    path.write_text(yaml.safe_dump(run, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def run_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_long_run(tmp_path_factory.mktemp("killed"))


@pytest.fixture
def run(run_file: Path, tmp_path: Path, prefect_environment: dict[str, str]) -> Iterator[Run]:
    """A run at a root of its own; whatever a failing test leaves of it is stopped."""
    run = Run(run_file, tmp_path / "runs", prefect_environment)
    yield run
    for process in run.processes():
        os.kill(process.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def undisturbed(run_file: Path, tmp_path_factory: pytest.TempPathFactory, prefect_environment: dict[str, str]) -> Run:
    run = Run(run_file, tmp_path_factory.mktemp("undisturbed") / "runs", prefect_environment)
    run.finish()
    return run


def copy_stages_before(stage: str, source: Run, target: Run) -> None:
    for earlier in STAGES[: STAGES.index(stage)]:
        shutil.copytree(source.root / earlier, target.root / earlier)


def kill_in_training(run: Run, kill: Callable[[subprocess.Popen[str]], None]) -> subprocess.Popen[str]:
    """Start, and kill once some steps after the first checkpoint are done; the process that was `hibari run`."""
    running = run.start("--until", "train")
    wait_until(lambda: run.steps() > SAVE_EVERY + 5 or running.poll() is not None, "training")
    assert running.poll() is None, running.communicate()[0]
    kill(running)
    return running


def check_training_goes_on(run: Run, undisturbed: Run, *, at_least: int) -> None:
    """The same command resumes from a checkpoint of at least that step, and ends as if nothing had happened."""
    run.nothing_is_left()
    folder = str(run.folder("train") / FOLDER)
    saved = saved_steps(folder)[-1]
    assert at_least <= saved < STEPS
    rows = (run.folder("train") / "metrics.jsonl").read_text().splitlines()[:saved]
    run.finish("--until", "train")
    attempts = sorted((run.folder("train") / "logs").iterdir())
    said = "".join(path.read_text() for path in attempts[-1].rglob("stderr.log"))
    assert f"resuming from {checkpoint_uri(folder, saved)}: step {saved} of {STEPS}" in said
    after = (run.folder("train") / "metrics.jsonl").read_text().splitlines()
    assert after[:saved] == rows, "steps before the checkpoint were not done again"
    assert [json.loads(row)["step"] for row in after] == list(range(1, STEPS + 1))
    assert run.digest("train") == undisturbed.digest("train")


def test_a_killed_curation_redoes_only_unfinished_warc_files(run: Run) -> None:
    run.kill_in("curate")
    finished = run.finished_shards("curate")
    assert 0 < len(finished) < 3, "one WARC file was done, or two"
    run.finish("--until", "curate")
    assert run.finished_shards("curate").items() >= finished.items()
    config = CurateConfig(**yaml.safe_load(run.file.read_text())["curate"])
    undisturbed = curate(config, out=str(run.root / "alone"), executor=ExecutorConfig(workers=1))
    manifest = run.manifest("curate")
    assert manifest is not None
    assert manifest.files == sorted(undisturbed.files, key=lambda entry: entry.path)
    assert manifest.counts == undisturbed.counts


@pytest.mark.slow
@pytest.mark.parametrize("stage", KILLED_AT)
def test_a_killed_stage_ends_as_if_nothing_had_happened(stage: str, run: Run, undisturbed: Run) -> None:
    copy_stages_before(stage, undisturbed, run)
    expected = undisturbed.digest(stage)
    if stage == "report":  # the page names the root, and so differs from the undisturbed one's
        run.finish()
        expected = run.digest(stage)
        shutil.rmtree(run.folder(stage))
    run.kill_in(stage)
    finished = run.finished_shards(stage)
    assert bool(finished) == (stage in ("curate", "deduplicate", "binarize", "evaluate"))
    run.finish("--until", stage)
    assert run.finished_shards(stage).items() >= finished.items()
    assert run.digest(stage) == expected
    assert not list(run.root.rglob("*.lease"))
    assert not list(run.root.rglob(".*.tmp"))


@pytest.mark.slow
def test_training_whose_run_is_killed_saves_a_checkpoint_and_goes_on_from_it(run: Run, undisturbed: Run) -> None:
    copy_stages_before("train", undisturbed, run)
    killed = kill_in_training(run, lambda running: running.kill())
    killed.communicate()
    check_training_goes_on(run, undisturbed, at_least=SAVE_EVERY + 5)


@pytest.mark.slow
def test_training_that_loses_a_rank_goes_on_from_its_last_checkpoint(run: Run, undisturbed: Run) -> None:
    copy_stages_before("train", undisturbed, run)
    failed = kill_in_training(run, lambda _: os.kill(run.ranks()[-1].pid, signal.SIGKILL))
    said, _ = failed.communicate(timeout=200)
    assert failed.returncode == 1
    assert "was killed by SIGKILL" in said
    assert "rerun: hibari run" in said
    check_training_goes_on(run, undisturbed, at_least=SAVE_EVERY)


@pytest.mark.slow
def test_a_killed_process_group_with_a_server_of_its_own_leaves_nothing(run: Run, undisturbed: Run) -> None:
    copy_stages_before("train", undisturbed, run)
    run.environment = {name: value for name, value in run.environment.items() if name != "PREFECT_API_URL"}
    killed = kill_in_training(run, lambda running: os.killpg(running.pid, signal.SIGKILL))
    killed.communicate()
    check_training_goes_on(run, undisturbed, at_least=SAVE_EVERY + 5)


@pytest.mark.slow
def test_a_terminated_run_saves_a_checkpoint_before_it_ends(run: Run, undisturbed: Run) -> None:
    copy_stages_before("train", undisturbed, run)
    ended = kill_in_training(run, lambda running: running.terminate())
    said, _ = ended.communicate(timeout=200)
    assert ended.returncode == 128 + signal.SIGTERM, said
    assert not list(run.root.rglob("*.lease"))
    check_training_goes_on(run, undisturbed, at_least=SAVE_EVERY + 5)


@pytest.mark.slow
def test_of_two_runs_at_one_root_one_works_and_the_other_waits(run: Run, tmp_path: Path) -> None:
    """Each with a server of its own, and no database yet: one makes it, the other waits for that too."""
    run.environment = {name: value for name, value in run.environment.items() if name != "PREFECT_API_URL"}
    run.environment["PREFECT_HOME"] = str(tmp_path / "prefect")
    both = [run.start("--until", "deduplicate") for _ in range(2)]
    said = [process.communicate(timeout=500)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], "\n".join(said)
    for stage in ("curate", "deduplicate"):
        manifest = run.manifest(stage)
        assert manifest is not None
        assert manifest.recorded["attempts"] == 1
    assert sum("done: curate, deduplicate" in text for text in said) <= 1
    run.nothing_is_left()


def test_the_matrix_has_every_stage() -> None:
    assert {*KILLED_AT, "train"} == set(STAGES)


def test_the_command_waits_unless_told_otherwise(run: Run, hibari: Hibari) -> None:
    with hold(f"{run.folder('curate')}.lease", "the other"):
        failed = hibari("run", str(run.file), "--root", str(run.root), "--until", "curate", "--no-wait")
    assert failed.returncode == 1
    assert "curate: run the other on " in failed.stderr
    assert "--no-wait was given" in failed.stderr
