"""What every stage does around its one domain call: is it done already, run it, seal it, say what went wrong.

A stage's plan (identity, place, whether it may run) is known before anything runs. `execute` turns it into a record:
a complete artifact is reused, a missing one is made by `work(out)` and sealed with its manifest, a forced one is made
again beside the old and must come out the same.

    record = execute(plan, lambda out: curate_warcs(config, out=out), needs=[])
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from storage.artifact import Manifest, Outcome, code_revision, content_digest, read_manifest, seal
from storage.environment import environment
from storage.lease import Holder, Lease, LeaseHeldError, hold
from storage.space import no_space
from storage.uri import exists, join, read_bytes, remove, remove_temporaries, write_bytes
from tasks.progress import narrating, report_progress

logger = logging.getLogger(__name__)

STAGES = (
    "curate",
    "deduplicate",
    "expand",
    "initialize",
    "binarize",
    "mix",
    "train",
    "export",
    "evaluate",
    "report",
)


@dataclass(frozen=True)
class StagePlan:
    """A stage of one run before it runs.

    Attributes:
        uri: where its artifact is, or will be.
        inputs: name -> fingerprint of each input (an earlier stage, or something external).
        recorded: what goes into the manifest but not into the fingerprint (layout, worker counts).
        selected: may run; else it is only used where it is complete.
        force: run even though complete, beside the old, and compare.
        rerun: the command that runs this stage alone.
        wait: where another run is making this artifact, wait for it; else fail.
    """

    stage: str
    name: str
    uri: str
    fingerprint: str
    algorithm_version: str
    literals: Mapping[str, Any]
    inputs: Mapping[str, str]
    libraries: Mapping[str, str]
    recorded: Mapping[str, Any] = field(default_factory=dict)
    selected: bool = True
    force: bool = False
    rerun: str = ""
    wait: bool = True


@dataclass(frozen=True)
class StageRecord:
    """A stage after its turn: small, and all that later stages and the flow's result hold of it.

    `status` is "done", "reused" (was complete), "absent" (not complete, and not selected). `seconds` is the time of
    the last of `attempts`: the earlier ones were killed or failed, and left what they had finished.
    """

    stage: str
    uri: str
    fingerprint: str
    status: str
    seconds: float = 0.0
    content_digest: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    attempts: int = 1

    @property
    def complete(self) -> bool:
        return self.status != "absent"


class StageError(RuntimeError):
    """A stage could not be completed; the message names stage, input, reason and the command that reruns it."""


def execute(plan: StagePlan, work: Callable[[str], Outcome], needs: Sequence[StageRecord] = ()) -> StageRecord:
    """Bring a stage to completion, doing only what is not done yet.

    While it works it holds the artifact's lease (`storage.lease`): of two runs that need the same artifact one makes
    it, the other waits and reuses it.

    Args:
        work: the domain call; writes below the URI it is given.
        needs: records of the stages whose artifacts `work` reads.

    Raises:
        StageError: an input is absent, `work` raised (its error is chained), a forced rerun differs, or another run is
            making the artifact and `plan.wait` is False.
    """
    manifest = read_manifest(plan.uri)
    if manifest is not None and not plan.force:
        return _record(plan, manifest, "reused")
    if not plan.selected:
        return StageRecord(plan.stage, plan.uri, plan.fingerprint, "absent")
    absent = [record for record in needs if not record.complete]
    if absent:
        names = ", ".join(record.stage for record in absent)
        raise StageError(f"{plan.stage}: its input {names} is not there; make it first, or run without --only/--from")
    try:
        with hold(f"{plan.uri}.lease", plan.name, wait=plan.wait, waiting=partial(_say_waiting, plan)) as lease:
            return _make(plan, work, lease)
    except StageError:
        raise
    except LeaseHeldError as error:
        raise StageError(
            f"{plan.stage}: {error}, and --no-wait was given: leave it out to wait for that run and use what it makes, "
            f"or stop that run\n  rerun: {plan.rerun}"
        ) from error
    except Exception as error:
        raise StageError(_failure(plan, error)) from error


def _make(plan: StagePlan, work: Callable[[str], Outcome], lease: Lease) -> StageRecord:
    """Run `work` and seal what it made, unless another run did so while this one waited for the lease."""
    manifest = read_manifest(plan.uri)
    if manifest is not None and not plan.force:
        return _record(plan, manifest, "reused")
    out = plan.uri if manifest is None else f"{plan.uri}.again"
    if plan.force:
        remove(out)
    remove_temporaries(out)
    started, clock = datetime.now(UTC), time.monotonic()
    logger.info("%s: starting, into %s", plan.stage, out)
    attempts = _count_attempt(out)
    with narrating(plan.stage):
        outcome = work(out)
    fresh = _manifest(plan, outcome, started.isoformat(timespec="seconds"), time.monotonic() - clock, attempts)
    lease.check()
    if manifest is None:
        seal(out, fresh)
        return _record(plan, fresh, "done")
    if fresh.content_digest != manifest.content_digest:
        seal(out, fresh)
        raise StageError(
            f"{plan.stage}: forced rerun gave other content ({fresh.content_digest[:12]}) than {plan.uri} "
            f"({manifest.content_digest[:12]}); both are kept, the new one as {out}"
        )
    remove(out)
    logger.info("%s: forced rerun gave the same content %s", plan.stage, fresh.content_digest[:12])
    return _record(plan, fresh, "done")


def _say_waiting(plan: StagePlan, holder: Holder | None) -> None:
    note = f"waiting for {holder or 'another run'}, which is making {plan.uri}"
    logger.info("%s: %s", plan.stage, note)
    report_progress(plan.stage, 0, 0, "", note)


def _count_attempt(out: str) -> int:
    """Which attempt at this artifact now begins, from 1; a complete artifact keeps the number in its manifest."""
    uri = join(out, "_attempts.json")
    earlier: list[str] = json.loads(read_bytes(uri)) if exists(uri) else []
    write_bytes(uri, json.dumps([*earlier, datetime.now(UTC).isoformat(timespec="seconds")]).encode())
    return len(earlier) + 1


def _manifest(plan: StagePlan, outcome: Outcome, started: str, seconds: float, attempts: int) -> Manifest:
    return Manifest(
        stage=plan.stage,
        name=plan.name,
        fingerprint=plan.fingerprint,
        algorithm_version=plan.algorithm_version,
        literals=dict(plan.literals),
        inputs=dict(plan.inputs),
        libraries=dict(plan.libraries),
        files=sorted(outcome.files, key=lambda file: file.path),
        counts=outcome.counts,
        content_digest=outcome.digest or content_digest(outcome.files),
        started=started,
        seconds=round(seconds, 3),
        details=outcome.details,
        recorded=dict(plan.recorded) | {"attempts": attempts, "environment": environment()},
        revision=code_revision(),
    )


def _record(plan: StagePlan, manifest: Manifest, status: str) -> StageRecord:
    return StageRecord(
        stage=plan.stage,
        uri=plan.uri,
        fingerprint=plan.fingerprint,
        status=status,
        seconds=manifest.seconds,
        content_digest=manifest.content_digest,
        counts=manifest.counts,
        details=manifest.details,
        attempts=manifest.recorded.get("attempts", 1),
    )


def _failure(plan: StagePlan, error: Exception) -> str:
    inputs = ", ".join(f"{name} {digest[:12]}" for name, digest in plan.inputs.items()) or "none"
    reason = f"{type(error).__name__}: {error}"
    if full := no_space(error, plan.uri):
        reason = (
            f"{full}. Nothing half-written is visible, and what was finished is kept: make room there, or give "
            f"another root with --root, and run again ({reason})"
        )
    return f"{plan.stage} failed: {reason}\n  inputs: {inputs}\n  rerun: {plan.rerun}"
