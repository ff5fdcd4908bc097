"""`hibari up`: what it registers, that others find it, that it stops whole; and deployments run for real under it.

The first part is one `hibari up` on a free port, with a database, a cache and a folder for temporary files of its own.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml

from flows import up as up_module
from flows.api import ApiError, call
from flows.config import load_run
from flows.deployments import DEAD_AFTER_S, DEAD_RUNS, FLOWS, QUEUES, Wanted
from flows.plan import make_plan
from flows.server import UpRecord, write_record
from flows.worker import CHECKOUT, POOL
from storage.artifact import read_manifest
from storage.processes import Process, alive, family, find, stop
from tests.flows.conftest import write_run

START_S = 240.0


@dataclass
class Up:
    """A `hibari up` in a process of its own."""

    process: subprocess.Popen[bytes]
    folder: Path
    environment: dict[str, str]
    url: str
    members: list[Process] = field(default_factory=list)

    @property
    def output(self) -> str:
        return (self.folder / "up.log").read_text(encoding="utf-8")

    def call(self, method: str, path: str, body: Any = None) -> Any:
        return call(self.url, method, path, body)

    def hibari(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "flows.cli", *arguments]
        return subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=300, check=False
        )

    def family(self) -> list[Process]:
        """Itself, server, worker, flow runs and all that they started."""
        root = find(self.process.pid)
        return family(root) if root else []

    def start(self, deployment: str, **parameters: Any) -> str:
        """Start a run of a deployment; its id."""
        found = self.call("GET", f"/deployments/name/{deployment}")
        body = {"state": {"type": "SCHEDULED"}, "parameters": parameters}
        return str(self.call("POST", f"/deployments/{found['id']}/create_flow_run", body)["id"])

    def state(self, run: str) -> str:
        return str(self.call("GET", f"/flow_runs/{run}")["state"]["type"])

    def reaches(self, run: str, state: str, timeout_s: float) -> None:
        """Wait until a run is in a state; an error where it ends in another, or never gets there."""
        endings = {"COMPLETED", "FAILED", "CANCELLED", "CRASHED"}
        deadline = time.monotonic() + timeout_s
        while (now := self.state(run)) != state:
            assert now not in endings, self.logs(run)
            assert time.monotonic() < deadline, f"{now} after {timeout_s} s\n{self.logs(run)}\n{self.output}"
            time.sleep(0.2)

    def logs(self, run: str) -> str:
        chosen = {"logs": {"flow_run_id": {"any_": [run]}}, "sort": "TIMESTAMP_ASC"}
        return "\n".join(entry["message"] for entry in self.call("POST", "/logs/filter", chosen))


@contextmanager
def running_up(folder: Path, run_file: Path, *options: str) -> Iterator[Up]:
    """`hibari up RUNFILE` from when it is ready; killed at the end if it is still there."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder.mkdir(exist_ok=True)
    (folder / "tmp").mkdir(exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")} | {
        "PREFECT_HOME": str(folder / "prefect"),
        "HIBARI_CACHE": str(folder / "cache"),
        "TMPDIR": str(folder / "tmp"),
        "PYTHONPATH": str(CHECKOUT),
        "COLUMNS": "160",
    }
    command = [sys.executable, "-m", "flows.cli", "up", str(run_file), "--port", str(port), *options]
    with open(folder / "up.log", "wb") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),  # noqa: PLW1509 as a script's `&` leaves it
        )
    up = Up(process, folder, environment, f"http://127.0.0.1:{port}/api")
    try:
        eventually(lambda: "stop: Ctrl-C" in up.output or process.poll() is not None, START_S, lambda: up.output)
        assert process.poll() is None, up.output
        up.members = up.family()
        yield up
    finally:
        stop([*up.family(), *up.members], grace_s=0)
        process.wait()


def eventually(condition: Callable[[], Any], timeout_s: float, what: Callable[[], str] = str) -> Any:
    """The first truth of a condition; an error that says `what` where it stays false."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what()}"
        time.sleep(0.1)
    return found


@pytest.fixture(scope="module")
def run_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("up-run"))


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory, run_file: Path) -> Iterator[Up]:
    with running_up(tmp_path_factory.mktemp("up"), run_file) as up:
        yield up


def long_training(run_file: Path, **changes: Any) -> dict[str, Any]:
    """The run of a file, made to train for a long time: hours, were it not stopped."""
    overrides = ["mix.train_tokens=25600000", "mix.max_epochs=100000", "train.save_every=100000"]
    overrides += [f"{name.replace('__', '.')}={value}" for name, value in changes.items()]
    return load_run(run_file, overrides).model_dump(mode="json")


def trained_steps(run: dict[str, Any]) -> list[int]:
    """The steps in metrics.jsonl, in the order in which they were written."""
    metrics = Path(train_folder(run), "metrics.jsonl")
    if not metrics.is_file():
        return []
    return [json.loads(line)["step"] for line in metrics.read_text().splitlines()]


def train_folder(run: dict[str, Any]) -> str:
    from flows.config import RunConfig

    return make_plan(RunConfig.model_validate(run)).train.uri


def launched(run: dict[str, Any]) -> list[Process]:
    """torchrun and its ranks, as launch.json names them."""
    record = json.loads(Path(train_folder(run), "launch.json").read_text())
    return [Process(**entry) for entry in record["processes"]]


def test_the_deployments_of_the_file_are_registered(up: Up, run_file: Path) -> None:
    written = yaml.safe_load((CHECKOUT / "prefect.yaml").read_text())["deployments"]
    registered = {entry["name"]: entry for entry in up.call("POST", "/deployments/filter", {})}
    assert set(registered) == {entry["name"] for entry in written}
    for entry in written:
        made = registered[entry["name"]]
        assert made["entrypoint"] == entry["entrypoint"]
        assert made["work_queue_name"] == entry["work_pool"]["work_queue_name"]
        assert made["parameters"]["run"] == load_run(run_file).model_dump(mode="json")
        assert made["parameters"]["run_file"] == str(run_file)
        assert made["parameters"].get("selection") == entry["parameters"].get("selection")


def test_schedules_are_in_japanese_time_and_off(up: Up) -> None:
    schedules = {
        entry["name"]: (schedule["schedule"]["cron"], schedule["schedule"]["timezone"], schedule["active"])
        for entry in up.call("POST", "/deployments/filter", {})
        for schedule in entry["schedules"]
    }
    assert schedules == {
        "corpus": ("0 3 1 * *", "Asia/Tokyo", False),
        "crawls": ("0 4 5 * *", "Asia/Tokyo", False),
        "evaluation": ("0 2 * * *", "Asia/Tokyo", False),
    }


def test_a_schedule_that_is_on_gets_its_runs(up: Up) -> None:
    """Under a SQLAlchemy that Prefect does not fit, its scheduler fails in silence."""
    corpus = up.call("GET", "/deployments/name/pipeline/corpus")
    (monthly,) = corpus["schedules"]
    switch = f"/deployments/{corpus['id']}/schedules/{monthly['id']}"
    up.call("PATCH", switch, {"active": True})
    ours = {"deployments": {"id": {"any_": [corpus["id"]]}}}
    planned = eventually(lambda: up.call("POST", "/flow_runs/filter", ours), 60)
    up.call("PATCH", switch, {"active": False})
    tokyo = [datetime.fromisoformat(run["expected_start_time"]).astimezone(ZoneInfo("Asia/Tokyo")) for run in planned]
    assert {(start.day, start.hour, start.minute) for start in tokyo} == {(1, 3, 0)}


def test_trainings_and_evaluations_run_one_at_a_time(up: Up) -> None:
    queues = {
        entry["name"]: entry["concurrency_limit"] for entry in up.call("POST", f"/work_pools/{POOL}/queues/filter")
    }
    assert queues == {"default": None, **QUEUES}
    assert not up.call("GET", f"/work_pools/{POOL}")["is_paused"]


def test_the_automations_are_there_once(up: Up) -> None:
    automations = {entry["name"]: entry for entry in up.call("POST", "/automations/filter", {})}
    assert set(automations) == {DEAD_RUNS["name"], "a checkpoint was saved"}
    assert automations[DEAD_RUNS["name"]]["trigger"]["within"] == DEAD_AFTER_S
    evaluation = automations["a checkpoint was saved"]
    assert evaluation["trigger"]["match"] == {"prefect.resource.id": "hibari.run.tiny", "hibari.last": "false"}


def test_the_ui_asks_the_server_it_came_from(up: Up) -> None:
    settings = call(up.url.removesuffix("/api"), "GET", "/ui-settings")
    assert settings["api_url"] == up.url
    assert up.url.removesuffix("/api") in up.output


def test_a_second_one_is_refused(up: Up, run_file: Path) -> None:
    second = up.hibari("up", str(run_file))
    assert second.returncode == 1
    assert f"`hibari up` runs already, at {up.url.removesuffix('/api')}" in second.stderr
    assert f"kill {up.process.pid}" in second.stderr


def test_other_commands_find_the_server_on_its_port(up: Up, run_file: Path) -> None:
    assert f"runs since {time.strftime('%Y')}" in up.hibari("status", str(run_file)).stdout
    program = "from flows.server import ensure_api; print(ensure_api())"
    found = subprocess.run(
        [sys.executable, "-c", program], env=up.environment, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == str((up.url, False))


def test_ctrl_c_leaves_nothing_behind(up: Up) -> None:
    """Last of those that share one `hibari up`."""
    members = up.family()
    assert len(members) >= 3
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(60) == 0, up.output
    assert alive(members) == []
    assert list((up.folder / "tmp").iterdir()) == []
    assert not (up.folder / "cache" / "up.json").exists()
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", int(up.url.split(":")[2].split("/")[0])))


def test_a_run_file_takes_the_place_of_the_run_in_prefect_yaml(run_file: Path) -> None:
    run = load_run(run_file, ["name=mine"])
    for entry in Wanted(run, "mine.yaml").spec()["deployments"]:
        assert entry["parameters"]["run"]["name"] == "mine"
        for trigger in entry.get("triggers", []):
            assert trigger["match"]["prefect.resource.id"] == "hibari.run.mine"
    for entry in Wanted().spec()["deployments"]:
        assert entry["parameters"]["run"]["name"] == "swallow-mini"


@pytest.mark.parametrize(
    ("schedules", "expected"),
    [
        (None, {"corpus": True, "crawls": False, "evaluation": False}),
        (True, dict.fromkeys(["corpus", "crawls", "evaluation"], True)),
        (False, dict.fromkeys(["corpus", "crawls", "evaluation"], False)),
    ],
)
def test_a_schedule_stays_as_it_is_unless_told(schedules: bool | None, expected: dict[str, bool]) -> None:
    spec = Wanted(schedules=schedules).spec({("corpus", "monthly")})
    found = {
        entry["name"]: schedule["active"] for entry in spec["deployments"] for schedule in entry.get("schedules", [])
    }
    assert found == expected


def test_runs_of_every_flow_of_ours_can_be_found_dead() -> None:
    import flows.crawls
    import flows.evaluation
    import flows.pipeline
    import flows.sweep
    from flows.tokenizer_comparison.flow import tokenizer_comparison

    deployed = (flows.pipeline.pipeline, flows.evaluation.evaluation, flows.sweep.sweep_variants, flows.crawls.crawls)
    assert set(FLOWS) == {flow.name for flow in (*deployed, tokenizer_comparison)}


def test_a_port_of_another_program_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ConnectionError, match=f"port {port} is taken by another program"):
            up_module.refuse_second(port)
    up_module.refuse_second(port)


def test_what_a_dead_one_left_is_no_hindrance(tmp_path: Path) -> None:
    dead = Process(os.getpid(), "another time")
    write_record(UpRecord("http://127.0.0.1:9/api", dead, "today", str(tmp_path), up_module.prefect_home()))
    up_module.refuse_second(9)
    living = find(os.getpid())
    assert living is not None
    write_record(UpRecord("http://127.0.0.1:9/api", living, "today", str(tmp_path), up_module.prefect_home()))
    with pytest.raises(ConnectionError, match="runs already"):
        up_module.refuse_second(4200)


def test_an_answer_that_refuses_says_what_was_asked() -> None:
    with pytest.raises(ApiError, match="does not answer GET /health"):
        call("http://127.0.0.1:9/api", "GET", "/health")


def test_watching_needs_no_prefect() -> None:
    program = "import sys, flows.up; print(sorted({'prefect', 'torch', 'transformers'} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", program], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"


CHILD = """
import os, signal, sys, threading, time
from flows.worker import end_with_worker
told = []
signal.signal(signal.SIGTERM, lambda number, frame: told.append(number))
end_with_worker(None, None, None)
print("ready", flush=True)
while not told:
    time.sleep(0.01)
time.sleep(1)
with open(sys.argv[1], "w") as file:
    file.write(str(len(told)))
"""
PARENT = """
import subprocess, sys, threading, time
for _ in range(20):
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
subprocess.run([sys.executable, "-c", sys.argv[1], sys.argv[2]])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's end")
def test_a_run_whose_worker_is_killed_gets_one_sigterm(tmp_path: Path) -> None:
    """Linux tells it for every thread of the worker; a second SIGTERM would stop training in the middle of saving."""
    environment = os.environ | {"PREFECT__FLOW_RUN_ID": "x", "PYTHONPATH": str(CHECKOUT)}
    command = [sys.executable, "-c", PARENT, CHILD, str(tmp_path / "told")]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"ready\n"
        worker.kill()
    eventually(lambda: (tmp_path / "told").is_file() and (tmp_path / "told").read_text(), 20)
    assert (tmp_path / "told").read_text() == "1"


@pytest.fixture(scope="module")
def busy_up(tmp_path_factory: pytest.TempPathFactory, run_file: Path) -> Iterator[Up]:
    """One for the long tests, which run deployments."""
    with running_up(tmp_path_factory.mktemp("busy-up"), run_file) as up:
        yield up


@pytest.mark.slow
def test_a_stage_deployed_gives_what_the_command_line_gives(busy_up: Up, run_file: Path, tmp_path: Path) -> None:
    run = load_run(run_file, root=str(tmp_path / "deployed")).model_dump(mode="json")
    busy_up.reaches(busy_up.start("pipeline/pipeline", run=run, selection={"only": ["curate"]}), "COMPLETED", 120)
    here = busy_up.hibari("run", str(run_file), "--only", "curate", "--root", str(tmp_path / "typed"))
    assert here.returncode == 0, here.stdout + here.stderr
    assert f"Prefect: server at {busy_up.url}" in here.stdout
    assert f"watch: {busy_up.url.removesuffix('/api')}/runs/flow-run/" in here.stdout
    made = [
        read_manifest(make_plan(load_run(run_file, root=str(tmp_path / place))).curate.uri)
        for place in ("deployed", "typed")
    ]
    assert made[0] is not None
    assert made[1] is not None
    assert made[0].content_digest == made[1].content_digest
    assert not (tmp_path / "deployed" / "deduplicate").exists()


@pytest.mark.slow
def test_a_scheduled_deployment_fires_by_itself(busy_up: Up, run_file: Path) -> None:
    corpus = busy_up.call("GET", "/deployments/name/pipeline/corpus")
    schedule = {"schedule": {"interval": 20.0}, "active": True, "slug": "often"}
    made = busy_up.call("POST", f"/deployments/{corpus['id']}/schedules", [schedule])
    ours = {"deployments": {"id": {"any_": [corpus["id"]]}}, "flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}}
    (completed, *_) = eventually(lambda: busy_up.call("POST", "/flow_runs/filter", ours), 240, lambda: busy_up.output)
    busy_up.call("DELETE", f"/deployments/{corpus['id']}/schedules/{made[0]['id']}")
    assert completed["auto_scheduled"]
    plan = make_plan(load_run(run_file))
    for stage in (plan.curate, plan.deduplicate):
        assert read_manifest(stage.uri) is not None


@pytest.mark.slow
def test_a_checkpoint_that_is_not_the_last_is_evaluated(busy_up: Up, run_file: Path) -> None:
    """The run has six steps and saves every third: one event for step 3, none for the last, which the run scores."""
    evaluations = {"flows": {"name": {"any_": ["evaluation"]}}}
    assert busy_up.call("POST", "/flow_runs/filter", evaluations) == []
    busy_up.reaches(busy_up.start("pipeline/pipeline"), "COMPLETED", 300)
    (evaluated,) = eventually(lambda: busy_up.call("POST", "/flow_runs/filter", evaluations), 60)
    assert evaluated["parameters"]["step"] == 3
    busy_up.reaches(evaluated["id"], "COMPLETED", 240)
    time.sleep(5)  # for a second one, were there one
    assert len(busy_up.call("POST", "/flow_runs/filter", evaluations)) == 1


@pytest.mark.slow
def test_a_cancelled_training_is_gone_in_20_seconds(busy_up: Up, run_file: Path) -> None:
    run = long_training(run_file)
    started = busy_up.start("pipeline/pipeline", run=run)
    eventually(lambda: len(trained_steps(run)) > 10, 300, lambda: busy_up.logs(started))
    processes = launched(run)
    assert len(alive(processes)) == 3
    asked = time.monotonic()
    busy_up.call("POST", f"/flow_runs/{started}/set_state", {"state": {"type": "CANCELLING"}})
    eventually(lambda: not alive(processes), 60)
    assert time.monotonic() - asked < 20
    busy_up.reaches(started, "CANCELLED", 60)
    assert "Traceback" not in busy_up.logs(started)
    saved = [path.parent.name for path in Path(train_folder(run)).glob("checkpoints/step-*/manifest.json")]
    assert saved == [f"step-{trained_steps(run)[-1]:08}"], "a checkpoint was saved first"


@pytest.mark.slow
def test_stopping_ends_a_training_that_goes_on_later(tmp_path: Path, run_file: Path) -> None:
    run = long_training(run_file, seed=1)
    with running_up(tmp_path / "up", run_file) as up:
        started = up.start("pipeline/pipeline", run=run)
        eventually(lambda: len(trained_steps(run)) > 10, 300, lambda: up.logs(started))
        members = up.family()
        up.process.terminate()
        assert up.process.wait(90) == 0, up.output
    assert "stopping tiny: all stages; training saves a checkpoint first" in up.output
    assert alive(members) == []
    saved = trained_steps(run)[-1]
    with running_up(tmp_path / "up", run_file) as up:
        assert up.state(started) == "CRASHED"
        assert not up.call("GET", f"/work_pools/{POOL}")["is_paused"]
        up.start("pipeline/training", run=run)
        eventually(lambda: len(trained_steps(run)) > saved, 120, lambda: up.output)
    assert trained_steps(run)[: saved + 1] == list(range(1, saved + 2)), "every step once: it went on where it stopped"


@pytest.mark.slow
def test_a_run_that_was_killed_is_crashed_and_blocks_no_queue(tmp_path: Path, run_file: Path) -> None:
    run = long_training(run_file, seed=2)
    with running_up(tmp_path / "up", run_file) as up:
        up.reaches(up.start("pipeline/pipeline", run=run, selection={"until": "mix"}), "COMPLETED", 300)
        killed = up.start("pipeline/training", run=run)
        eventually(lambda: len(trained_steps(run)) > 10, 300, lambda: up.logs(killed))
        members = up.family()
        up.process.kill()
        eventually(lambda: not alive(members), 60)
    with running_up(tmp_path / "up", run_file) as up:
        assert up.state(killed) == "RUNNING", "nobody was left to say otherwise"
        following = up.start("pipeline/training", run=run)
        eventually(lambda: up.state(killed) == "CRASHED", 2 * DEAD_AFTER_S, lambda: up.output)
        up.reaches(following, "RUNNING", 120)


@pytest.mark.slow
def test_a_worker_that_is_killed_takes_nothing_with_it_but_its_runs(tmp_path: Path, run_file: Path) -> None:
    run = long_training(run_file, seed=3)
    with running_up(tmp_path / "up", run_file) as up:
        started = up.start("pipeline/pipeline", run=run)
        eventually(lambda: len(trained_steps(run)) > 10, 300, lambda: up.logs(started))
        members = up.family()
        (worker,) = [p for p in members if b"worker\0start" in Path(f"/proc/{p.pid}/cmdline").read_bytes()]
        os.kill(worker.pid, signal.SIGKILL)
        assert up.process.wait(90) == 1
    assert "the worker ended by itself, with status -9" in up.output
    assert alive(members) == []
    saved = [path.parent.name for path in Path(train_folder(run)).glob("checkpoints/step-*/manifest.json")]
    assert saved == [f"step-{trained_steps(run)[-1]:08}"], "a checkpoint was saved first"
