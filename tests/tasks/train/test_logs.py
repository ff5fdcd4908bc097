"""A failure names the rank that caused it, and logs are passed on line by line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tasks.train.logs import CheckpointWatcher, LogTail, MetricsWatcher, failure


def _entry(number: int, rank: int, exitcode: int, signal: str, traceback: str) -> str:
    return (
        f"[{number}]:\n  time      : 2026-11-21_23:58:0{number}\n  host      : localhost\n"
        f"  rank      : {rank} (local_rank: {rank})\n  exitcode  : {exitcode} (pid: 28{rank}){signal}\n"
        f"  error_file: <N/A>\n  traceback : {traceback}\n"
    )


BROKEN = "RuntimeError: Read error [127.0.0.1]:27840: Connection reset by peer."
KILLED = _entry(0, 1, -9, "  (SIGKILL)", "Signal 9")
OWN = "FloatingPointError: step 3: loss is nan"


@pytest.mark.parametrize(
    ("other", "root", "expected"),
    [
        (KILLED, _entry(1, 0, -15, "  (SIGTERM)", BROKEN), "rank 1 was killed by SIGKILL"),
        (KILLED, _entry(1, 0, 1, "", OWN), "rank 0, exit status 1"),
        ("<NO_OTHER_FAILURES>\n", _entry(0, 0, 1, "", OWN), "rank 0, exit status 1"),
        ("<NO_OTHER_FAILURES>\n", _entry(0, 1, -11, "  (SIGSEGV)", "Signal 11"), "rank 1 was killed by SIGSEGV"),
    ],
)  # fmt: skip
def test_the_cause_is_named_not_who_noticed_first(tmp_path: Path, other: str, root: str, expected: str) -> None:
    report = f"trainer FAILED\n-----\nFailures:\n{other}-----\nRoot Cause (first observed failure):\n{root}=====\n"
    (tmp_path / "torchrun.log").write_text(report)
    for rank in (0, 1):
        (tmp_path / f"x/attempt_0/{rank}").mkdir(parents=True)
        (tmp_path / f"x/attempt_0/{rank}/stderr.log").write_text(f"\nlast words of {rank}\n")
    message = failure(tmp_path, 1)
    assert expected in message
    assert message.endswith(f"last words of {expected[5]}")
    assert f"attempt_0/{expected[5]}/stderr.log" in message


def test_torchruns_own_failure_shows_its_log(tmp_path: Path) -> None:
    (tmp_path / "torchrun.log").write_text("error: unrecognized arguments\n")
    assert failure(tmp_path, 2).startswith("training failed: torchrun, exit status 2; log: ")


def test_warnings_are_passed_on_once_and_only_when_whole(tmp_path: Path) -> None:
    said: list[str] = []
    tail = LogTail(tmp_path, said.append)
    (tmp_path / "0").mkdir()
    with open(tmp_path / "0/stderr.log", "w") as log:
        print(
            "now INFO rank 0: all is well\nnow WARNING rank 0: 雲雀が落ちた\nnow ERROR rank",
            end="",
            file=log,
            flush=True,
        )
        tail.look()
        assert said == ["now WARNING rank 0: 雲雀が落ちた"]
        print(" 0: gone", file=log, flush=True)
        tail.look()
        tail.look()
    assert said[1:] == ["now ERROR rank 0: gone"]


def test_progress_is_the_newest_whole_row(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    watcher = MetricsWatcher(tmp_path / "metrics.jsonl", 9, lambda step, steps, row: seen.append((step, steps)))
    watcher.look()
    rows = [json.dumps({"step": step, "loss": 1.0}) for step in (1, 2, 3)]
    (tmp_path / "metrics.jsonl").write_text(f"{rows[0]}\n{rows[1]}\n{rows[2][:9]}")
    watcher.look()
    watcher.look()
    assert seen == [(2, 9)]
    again = MetricsWatcher(tmp_path / "metrics.jsonl", 9, lambda step, steps, row: seen.append((step, steps)))
    again.look()
    assert seen == [(2, 9)], "rows of an earlier launch are no progress"


def test_a_checkpoint_is_told_of_once_when_it_is_whole(tmp_path: Path) -> None:
    def save(step: int, *, whole: bool = True) -> None:
        folder = tmp_path / f"step-{step:08}"
        folder.mkdir(exist_ok=True)
        (folder / "part").touch()
        if whole:
            (folder / "manifest.json").touch()

    save(10)
    told: list[int] = []
    watcher = CheckpointWatcher(str(tmp_path), told.append)
    save(20, whole=False)
    watcher.look()
    assert told == [], "10 is an earlier launch's, 20 is not whole"
    save(20)
    watcher.look()
    save(30)
    watcher.look()
    watcher.look()
    assert told == [20, 30]


def test_torchrun_itself_killed_is_named(tmp_path: Path) -> None:
    (tmp_path / "torchrun.log").touch()
    assert "torchrun was killed by SIGKILL" in failure(tmp_path, -9)
