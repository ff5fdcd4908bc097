"""Several processes answer as one does; what happens to one is said; none is left behind."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from storage.processes import Process, alive, family, find
from tasks.evaluate.answering import Job, plan_work
from tasks.evaluate.config import EvaluateConfig
from tasks.evaluate.parallel import Key, ModelSource, Source, fitting_processes, open_answerer
from tasks.evaluate.requests import Context, Fitted, Generate, Result
from tasks.evaluate.suite_plan import plan_suite
from tests.killing import kill_parent, started, wait_until_gone
from tests.tasks.evaluate import stand_ins
from tests.tasks.evaluate.light_model import LightModel, LightSource
from tokenizer.encoder import load_encoder


def job(*ids: int) -> Job:
    """A batch of one context each."""
    return Job("generate_until", [Fitted(Generate(Context("問")), [each, 100]) for each in ids], ())


def keyed(jobs: Mapping[int, Job]) -> list[tuple[Key, Job]]:
    return [(("birds", number), job) for number, job in jobs.items()]


def answers(source: Source, processes: int, jobs: Mapping[int, Job]) -> dict[Key, Sequence[Result]]:
    with open_answerer(source, processes) as answerer:
        return dict(answerer.answers(keyed(jobs)))


def workers() -> list[Process]:
    """Processes that this one has started."""
    me = find(os.getpid())
    assert me is not None
    return [each for each in family(me)[1:] if b"spawn_main" in Path(f"/proc/{each.pid}/cmdline").read_bytes()]


def test_two_processes_answer_as_one_task_after_task_and_end() -> None:
    jobs = {number: job(number, number + 30) for number in range(12) if number != 7}
    expected = answers(LightSource(), 1, jobs)
    assert [result.text for result in expected["birds", 3]] == ["103", "133"]  # type: ignore[union-attr]
    with open_answerer(LightSource(), 2) as several:
        assert (several.name, several.device) == ("light", "none")
        assert dict(several.answers(keyed(jobs))) == expected
        assert dict(several.answers([])) == {}
        assert dict(several.answers([(("fish", 3), jobs[3])])) == {("fish", 3): expected["birds", 3]}
        started_here = workers()
        assert len(started_here) == 2
    assert alive(started_here) == []


def test_a_killed_process_is_an_error_and_what_came_before_is_there() -> None:
    seen = []

    def look() -> None:
        with open_answerer(LightSource(), 2) as several:
            for key, _ in several.answers(keyed({0: job(1), 1: job(LightModel.DEADLY), 2: job(2)})):
                seen.append(key)

    with pytest.raises(RuntimeError, match=r"died on batch 1 of birds: killed by SIGKILL; what was finished is kept"):
        look()
    assert ("birds", 1) not in seen
    assert workers() == []


def test_a_process_that_fails_says_why() -> None:
    with pytest.raises(RuntimeError, match=r"(?s)failed on batch 4 of birds.*ValueError: a context of 14"):
        answers(LightSource(), 2, {4: job(LightModel.WRONG)})
    with pytest.raises(RuntimeError, match=r"(?s)failed loading the model.*no weights here"):
        answers(LightSource(broken=True), 2, {4: job(1)})
    assert workers() == []


def test_processes_end_with_the_one_that_started_them() -> None:
    program = """
import time
from tasks.evaluate.parallel import open_answerer
from tests.tasks.evaluate.light_model import LightSource
if __name__ == "__main__":
    with open_answerer(LightSource(), 2):
        print("ready", flush=True)
        time.sleep(600)
"""
    parent, identity = started(program)
    left = kill_parent(parent, identity)
    assert len(left) >= 2
    wait_until_gone(left)


@pytest.mark.slow  # each process imports torch and transformers
def test_models_in_two_processes_answer_as_one(
    tmp_path: Path, byte_level_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_ins.install(monkeypatch)
    config = EvaluateConfig(tasks=["niilc", "jcommonsenseqa"], data=str(stand_ins.write_data(tmp_path)))
    source = ModelSource(byte_level_folder, "fp32", 512)
    for asked in plan_suite(config):
        work = plan_work(asked, load_encoder(byte_level_folder), max_length=512, batch_size=2)
        jobs = {number: work.job(number) for number in range(len(work.batches))}
        assert answers(source, 2, jobs) == answers(source, 1, jobs)


def test_vllm_that_is_not_there_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"evaluate\.backend is vllm: vLLM is not installed.*pip install"):
        ModelSource(tmp_path, "bf16", 512, "vllm").load_share(0, 1)


@pytest.mark.parametrize(("cores", "weights", "processes"), [(2, 1, 2), (64, 1, 8), (64, 6_000_000_000, 1), (1, 1, 1)])
def test_a_cpu_gets_as_many_processes_as_it_has_cores_and_memory_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cores: int, weights: int, processes: int
) -> None:
    """Of 32 GiB, half: 6 GB of weights become 12 in float32."""
    monkeypatch.setattr("tasks.evaluate.parallel.num_cores", lambda: cores)
    monkeypatch.setattr("tasks.evaluate.parallel.Path", lambda name: tmp_path / "no GPU")
    monkeypatch.setattr("os.sysconf", {"SC_PHYS_PAGES": 1 << 23, "SC_PAGE_SIZE": 1 << 12}.__getitem__)
    (tmp_path / "model.safetensors").touch()
    os.truncate(tmp_path / "model.safetensors", weights)
    assert fitting_processes([tmp_path], "transformers") == processes
    assert fitting_processes([tmp_path], "vllm") == 1
