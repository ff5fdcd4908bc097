"""What `hibari up` registers with a Prefect server: pool, queues, deployments, and the automation that finds the dead.

Deployments are those of `prefect.yaml`, registered by Prefect's own `deploy --all`; a run file given on the command
line takes the place of the run written there. A schedule stays as the user left it, and is off when it is new: nothing
starts work on a machine by itself before somebody has said so.

    wanted = Wanted(run, "configs/mine.yaml")
    register(url, wanted.spec(active_schedules(url)), wanted.folder)
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from flows.api import ApiError, call
from flows.config import RunConfig
from flows.server import HEARTBEAT
from flows.worker import CHECKOUT, POOL, environment

# Queues beside `default`: one training, and one evaluation, at a time.
QUEUES = {"training": 1, "evaluation": 1}
DEPLOY_TIMEOUT_S = 180
# Our flows: another's may send its heartbeats less often, and would be taken for dead.
FLOWS = ("pipeline", "evaluation", "sweep", "crawls", "tokenizer comparison")
AT_WORK = {"state": {"type": {"any_": ["PENDING", "RUNNING", "CANCELLING"]}}}
HEARTBEAT_EVENT = "prefect.flow-run.heartbeat"
MISSED_HEARTBEATS = 3
DEAD_AFTER_S = MISSED_HEARTBEATS * int(HEARTBEAT["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"])
DEAD_RUNS: dict[str, Any] = {
    "name": "hibari: runs without a heartbeat are Crashed",
    "description": "A run whose process was killed would stay Running for ever, and block a queue that takes one.",
    "trigger": {
        "type": "event",
        "posture": "Proactive",
        "match": {"prefect.resource.id": ["prefect.flow-run.*"]},
        "match_related": {"prefect.resource.role": "flow", "prefect.resource.name": list(FLOWS)},
        "after": [HEARTBEAT_EVENT],
        "expect": [HEARTBEAT_EVENT]
        + [f"prefect.flow-run.{ending}" for ending in ("Completed", "Failed", "Cancelled", "Crashed")],
        "for_each": ["prefect.resource.id"],
        "threshold": 1,
        "within": DEAD_AFTER_S,
    },
    "actions": [
        {
            "type": "change-flow-run-state",
            "state": "CRASHED",
            "message": f"No heartbeat for {DEAD_AFTER_S} s: its process was killed, or its machine is gone. "
            "Start it again: it goes on where it stopped.",
        }
    ],
}


@dataclass(frozen=True)
class Wanted:
    """What is to be deployed.

    Attributes:
        run: takes the place of the run written in `prefect.yaml`; None leaves that.
        run_file: how the user named it.
        schedules: whether all schedules are to be on, or off; None leaves them as they are.
    """

    run: RunConfig | None = None
    run_file: str = ""
    schedules: bool | None = None

    @property
    def folder(self) -> Path:
        """What the run's paths are relative to: where the user stands; the checkout, for the run that lies there."""
        return CHECKOUT if self.run is None else Path.cwd()

    def spec(self, active: Collection[tuple[str, str]] = ()) -> dict[str, Any]:
        """The content of `prefect.yaml` for this run.

        Args:
            active: (deployment, slug) of the schedules that are on now.

        Raises:
            ConnectionError: Hibari is installed without its checkout.
        """
        path = CHECKOUT / "prefect.yaml"
        if not path.is_file():
            raise ConnectionError(f"{path} is not there: deployments need a checkout of Hibari, installed with pip -e")
        spec: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
        for deployment in spec["deployments"]:
            if self.run is not None:
                deployment["parameters"] |= {"run": self.run.model_dump(mode="json"), "run_file": self.run_file}
                for trigger in deployment.get("triggers", []):
                    trigger["match"]["prefect.resource.id"] = f"hibari.run.{self.run.name}"
            for schedule in deployment.get("schedules", []):
                is_on = (deployment["name"], schedule["slug"]) in active
                schedule["active"] = is_on if self.schedules is None else self.schedules
        return spec


def active_schedules(url: str) -> set[tuple[str, str]]:
    """(deployment, slug) of the schedules of our pool that are on."""
    known = call(url, "POST", "/deployments/filter", {"work_pools": {"name": {"any_": [POOL]}}})
    return {
        (entry["name"], schedule["slug"]) for entry in known for schedule in entry["schedules"] if schedule["active"]
    }


def make_pool(url: str) -> bool:
    """Make the work pool and its queues, or set their limits where they are there; whether the pool is paused.

    The pool's job template is empty until the first worker fills it in.
    """
    _create(url, "/work_pools/", {"name": POOL, "type": "process"})
    for name, limit in QUEUES.items():
        queue = f"/work_pools/{POOL}/queues"
        if not _create(url, queue, {"name": name, "concurrency_limit": limit}):
            call(url, "PATCH", f"{queue}/{name}", {"concurrency_limit": limit})
    return bool(call(url, "GET", f"/work_pools/{POOL}")["is_paused"])


def _create(url: str, path: str, body: dict[str, Any]) -> bool:
    """Create something; False where it is there already."""
    try:
        call(url, "POST", path, body)
    except ApiError as error:
        if error.status != 409:
            raise
        return False
    return True


def install_automation(url: str) -> None:
    """Install the automation for dead runs, in place of an earlier one of its name."""
    found = call(url, "POST", "/automations/filter", {"automations": {"name": {"any_": [DEAD_RUNS["name"]]}}})
    if found:
        call(url, "PUT", f"/automations/{found[0]['id']}", DEAD_RUNS)
    else:
        call(url, "POST", "/automations/", DEAD_RUNS)


def expect_heartbeats(url: str) -> int:
    """Make the automation wait for a heartbeat of every run that is said to be at work; how many there are.

    What it waited for is lost when it is installed anew, or the server has been away for some minutes. So each run is
    given one heartbeat more: a living one sends the next, a dead one is found.
    """
    events = [
        {
            "id": str(uuid.uuid4()),
            "event": HEARTBEAT_EVENT,
            "occurred": datetime.now(UTC).isoformat(),
            "resource": {"prefect.resource.id": f"prefect.flow-run.{run['id']}", "prefect.resource.name": run["name"]},
            "related": [
                {
                    "prefect.resource.id": f"prefect.flow.{run['flow_id']}",
                    "prefect.resource.role": "flow",
                    "prefect.resource.name": flow,
                }
            ],
        }
        for flow in FLOWS
        for run in call(url, "POST", "/flow_runs/filter", {"flows": {"name": {"any_": [flow]}}, "flow_runs": AT_WORK})
    ]
    call(url, "POST", "/events", events)
    return len(events)


def register(url: str, spec: dict[str, Any], folder: Path) -> None:
    """Register every deployment of a `prefect.yaml`, by Prefect's own command.

    Raises:
        ConnectionError: Prefect refused; with what it said.
    """
    with tempfile.TemporaryDirectory(prefix="hibari-deploy-") as scratch:
        path = Path(scratch, "prefect.yaml")
        path.write_text(yaml.safe_dump(spec, allow_unicode=True, sort_keys=False), encoding="utf-8")
        command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(path)]
        done = subprocess.run(
            command,
            env=environment(url, folder),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEPLOY_TIMEOUT_S,
            check=False,
        )
    if done.returncode != 0:
        raise ConnectionError(
            f"the deployments could not be registered; Prefect said:\n{(done.stdout + done.stderr)[-3000:]}"
        )
