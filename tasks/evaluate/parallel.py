"""Answers from one model in this process, or from copies of it in several.

Each process has a model of its own: on GPU 0, 1, ... where there are any, else on its share of the cores. Whoever is
free takes the next batch. A batch is computed by one process as it would be by any other, and results are put where
they belong by the batch's key, so scores do not depend on how many there are.

A process that dies, or cannot go on, ends the evaluation with what became of it; batches that have come back are kept
by the caller. Processes end with this one, even where that is killed.

    with open_answerer(ModelSource(folder, "fp32", 2048), processes=2) as answerer:
        for (task, number), results in answerer.answers((("jsquad", number), work.job(number)) for number in missing):
            ...
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from storage.environment import num_cores
from storage.processes import die_with_parent
from tasks.evaluate.answering import Job, answer
from tasks.evaluate.backends import BackendName, load_backend
from tasks.evaluate.requests import Backend, Result
from tokenizer.encoder import Encoder

if TYPE_CHECKING:
    from tasks.evaluate.model import LanguageModel

Key = tuple[str, int]  # task and number of a batch
MAX_PROCESSES = 8  # on a CPU: each takes seconds to start
PROCESS_BYTES = 1_500_000_000  # libraries, activations, keys and values
_END_S = 10.0  # that a process has to end by itself when there is nothing more to do


class Source(Protocol):
    """What can be sent to a process so that it loads a model there."""

    def load_share(self, number: int, processes: int) -> Backend:
        """The model for process `number` of as many, on that one's share of the machine."""
        ...


@dataclass(frozen=True)
class ModelSource:
    """A model folder, and how it is loaded.

    Attributes:
        max_length: ids it may read, those of the answer included.
        backend: what answers the benchmarks' requests.
    """

    folder: Path
    dtype: Literal["fp32", "bf16"]
    max_length: int
    backend: BackendName = "transformers"

    def load(self, device: str | None = None, encoder: Encoder | None = None) -> LanguageModel:
        """The model on `transformers`, which bits per byte and the probe need."""
        from tasks.evaluate.model import LanguageModel  # seconds: torch and transformers

        return LanguageModel.load(
            self.folder, dtype=self.dtype, device=device, max_length=self.max_length, encoder=encoder
        )

    def load_share(self, number: int, processes: int) -> Backend:
        """GPU 0, 1, ... where there are any; else a share of the cores.

        Raises:
            ValueError: the backend is not installed, or finds no GPU.
        """
        device = None
        if self.backend != "vllm":  # which chooses by itself, and wants to be the first to touch the GPU
            import torch

            if torch.cuda.is_available():
                device = f"cuda:{number % torch.cuda.device_count()}"
            elif processes > 1:
                torch.set_num_threads(max(1, num_cores() // processes))
        try:
            return load_backend(self.backend, self.folder, dtype=self.dtype, device=device, max_length=self.max_length)
        except ImportError as error:
            raise ValueError(f"evaluate.backend is {self.backend}: {error}") from error


class Answerer(Protocol):
    """A model behind one or several processes."""

    name: str
    device: str

    def answers(self, jobs: Iterable[tuple[Key, Job]]) -> Iterator[tuple[Key, Sequence[Result]]]:
        """(key, results) of every job, as they come; a job is taken when there is somebody free to do it."""
        ...


class Alone:
    """The model in this process."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.name = backend.name
        self.device = backend.device

    def answers(self, jobs: Iterable[tuple[Key, Job]]) -> Iterator[tuple[Key, Sequence[Result]]]:
        for key, job in jobs:
            yield key, answer(self._backend, job)


@dataclass
class _Worker:
    process: SpawnProcess
    connection: Connection

    def receive(self, key: Key | None) -> tuple[Any, ...]:
        """The next message; a process that is gone, or says that it failed, ends the evaluation."""
        what = "loading the model" if key is None else f"on batch {key[1]} of {key[0]}"
        try:
            kind, *values = self.connection.recv()
        except (EOFError, ConnectionResetError):
            raise self._died(what) from None
        if kind == "failed":
            raise RuntimeError(f"an evaluation process (pid {self.process.pid}) failed {what}:\n{values[0]}")
        return tuple(values)

    def send(self, job: Job | None) -> None:
        try:
            self.connection.send(job)
        except (BrokenPipeError, ConnectionResetError):
            raise self._died("while it waited for work") from None

    def _died(self, what: str) -> RuntimeError:
        self.process.join(_END_S)
        return RuntimeError(
            f"an evaluation process (pid {self.process.pid}) died {what}: {_ending(self.process.exitcode)}; what was "
            "finished is kept: run again, with fewer evaluate.processes where memory ran out"
        )


class Several:
    """Copies of the model in processes of their own."""

    def __init__(self, workers: Sequence[_Worker]) -> None:
        self._workers = workers
        told = [worker.receive(None) for worker in workers]
        self.name, self.device = (str(value) for value in told[0])

    def answers(self, jobs: Iterable[tuple[Key, Job]]) -> Iterator[tuple[Key, Sequence[Result]]]:
        """See `Answerer`: each process has one job at a time, and gets the next one before its results are handled."""
        waiting = iter(jobs)
        busy: dict[Connection, tuple[_Worker, Key]] = {}

        def give(worker: _Worker) -> None:
            for key, job in waiting:
                busy[worker.connection] = worker, key
                worker.send(job)
                return

        for worker in self._workers:
            give(worker)
        while busy:
            for ready in wait(list(busy)):
                assert isinstance(ready, Connection)
                worker, key = busy.pop(ready)
                (results,) = worker.receive(key)
                give(worker)
                yield key, results


@contextmanager
def open_answerer(source: Source, processes: int, loaded: Backend | None = None) -> Iterator[Answerer]:
    """The model, ready to answer for as long as the block lasts.

    Args:
        loaded: the model where this process has it already; used if it is to answer alone.

    Raises:
        RuntimeError: a process died or failed; the message says how.
    """
    if processes == 1:
        yield Alone(loaded or source.load_share(0, 1))
        return
    workers: list[_Worker] = []
    try:
        for number in range(processes):
            workers.append(_start(source, number, processes))
        yield Several(workers)
        for worker in workers:
            worker.send(None)
        for worker in workers:
            worker.process.join(_END_S)
    finally:
        for worker in workers:
            worker.process.kill()  # nothing where it has ended
            worker.process.join()
            worker.connection.close()


def fitting_processes(folders: Sequence[Path], backend: str | None) -> int:
    """One per GPU; else one per core, up to `MAX_PROCESSES`, as long as the largest model fits into half the memory.

    Processes of one thread each do not wait for one another: on two busy cores SmolLM2-135M answered 32 questions in
    12 s with two processes, in 79 s with two threads.
    """
    if backend == "vllm":
        return 1
    if Path("/dev/nvidiactl").exists():
        import torch  # seconds

        if torch.cuda.is_available():
            return torch.cuda.device_count()
    weights = max(sum(file.stat().st_size for file in folder.glob("*.safetensors")) for folder in folders)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    fitting = memory // 2 // (2 * weights + PROCESS_BYTES)  # bf16 files become float32
    return max(1, min(num_cores(), MAX_PROCESSES, fitting))


def _start(source: Source, number: int, processes: int) -> _Worker:
    context = multiprocessing.get_context("spawn")  # torch's threads do not outlive a fork
    here, there = context.Pipe()
    process = context.Process(
        target=_answer_until_told, args=(source, number, processes, there, os.getpid()), daemon=True
    )
    process.start()
    there.close()  # so that the pipe breaks when the process dies
    return _Worker(process, here)


def _answer_until_told(source: Source, number: int, processes: int, connection: Connection, parent: int) -> None:
    """In the process: load the model, answer batches until there is none."""
    die_with_parent(signal.SIGKILL, parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all of the terminal's processes; the parent ends us
    try:
        backend: Backend = source.load_share(number, processes)
        connection.send(("ready", backend.name, backend.device))
        while (job := connection.recv()) is not None:
            connection.send(("answered", answer(backend, job)))
    except Exception:  # reported where it can be handled, with its traceback
        connection.send(("failed", traceback.format_exc()))


def _ending(code: int | None) -> str:
    if code is None:
        return "it does not say why"
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
