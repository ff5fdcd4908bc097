"""A benchmark's requests as batches for one model, and a batch's way through a backend.

In: an `AskedTask`, the model's tokenizer and the length it can read; out: `Work`: the requests as token ids, and
batches of one method each. Batches depend on the requests and on the batch size only, so a resumed evaluation makes the
same ones. What the contexts of a method begin with, the instruction and the common shots, goes along as their batches'
prefix, which a backend computes once and keeps; contexts that had to be cut come in batches of their own.

    work = plan_work(asked, encoder, max_length=2048, batch_size=16)
    results = answer(backend, work.job(0))
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tasks.evaluate.batching import common_prefix, plan_batches
from tasks.evaluate.encoding import fit_all
from tasks.evaluate.requests import Backend, Fitted, Generate, LogLikelihood, Request, Result, Rolling
from tasks.evaluate.suite_plan import AskedTask
from tokenizer.encoder import Encoder

Method = Literal["loglikelihood", "loglikelihood_rolling", "generate_until"]
METHODS: dict[type[Any], Method] = {
    Generate: "generate_until",  # the longest to compute come first, so that processes end together
    LogLikelihood: "loglikelihood",
    Rolling: "loglikelihood_rolling",
}
_SAMPLE = 16  # items that stand for a task's in an estimate of its tokens


@dataclass(frozen=True)
class Job:
    """One batch, as it goes to a backend, in this or another process."""

    method: Method
    batch: Sequence[Fitted]
    prefix: Sequence[int]


@dataclass(frozen=True)
class Work:
    """Requests as one model is asked them.

    Attributes:
        fitted: in the order of the requests.
        batches: places in `fitted`; every place in one batch.
        prefixes: of each batch.
    """

    fitted: Sequence[Fitted]
    batches: Sequence[Sequence[int]]
    methods: Sequence[Method]
    prefixes: Sequence[Sequence[int]]

    def job(self, number: int) -> Job:
        batch = [self.fitted[place] for place in self.batches[number]]
        return Job(self.methods[number], batch, self.prefixes[number])


def plan_work(asked: AskedTask, encoder: Encoder, *, max_length: int, batch_size: int) -> Work:
    """All that one model is asked of one benchmark and profile; `fitted` is in the order of `asked.flat`."""
    items = [number for number, requests in enumerate(asked.requests) for _ in requests]
    return plan_requests(asked.flat, items, encoder, max_length=max_length, batch_size=batch_size)


def plan_requests(
    requests: Sequence[Request], items: Sequence[int], encoder: Encoder, *, max_length: int, batch_size: int
) -> Work:
    """Tokenise requests, cut them to what the model can read, and make batches of them.

    Args:
        items: for each request, the item it belongs to.
    """
    fitted = fit_all(encoder, requests, max_length)
    batches: list[Sequence[int]] = []
    methods: list[Method] = []
    prefixes: list[Sequence[int]] = []
    for kind, method in METHODS.items():
        own = [place for place, each in enumerate(fitted) if isinstance(each.request, kind)]
        for places, prefix in _by_prefix(own, fitted, items):
            planned = plan_batches([fitted[place] for place in places], batch_size, [items[place] for place in places])
            for batch in planned:
                batches.append([places[index] for index in batch])
                methods.append(method)
                prefixes.append(prefix or common_prefix([fitted[place] for place in batches[-1]]))
    return Work(fitted, batches, methods, prefixes)


def answer(backend: Backend, job: Job) -> Sequence[Result]:
    """What a backend says to a batch, in its order."""
    if job.method == "loglikelihood_rolling":
        return backend.loglikelihood_rolling(job.batch)
    return getattr(backend, job.method)(job.batch, job.prefix)


def estimated_tokens(asked: AskedTask, encoder: Encoder, max_length: int) -> int:
    """About how many tokens a request takes: what is read beyond the common prefix, an item's context once however many
    choices continue it, and what may be written.
    """
    chosen = asked.requests[:: max(1, len(asked.requests) // _SAMPLE)]
    sample = fit_all(encoder, [request for requests in chosen for request in requests], max_length)
    shared = len(common_prefix(sample)) if len(chosen) > 1 else 0
    contexts = {tuple(each.context) for each in sample}
    tokens = sum(len(context) - shared for context in contexts)
    tokens += sum(len(each.continuation) + _allowed(each.request) for each in sample)
    return max(1, round(tokens / len(sample)))


def _allowed(request: Request) -> int:
    """Tokens that an answer may have; a character counts as one."""
    if not isinstance(request, Generate):
        return 0
    limits = [limit for limit in (request.max_tokens, request.max_characters) if limit is not None]
    return min(limits, default=256)


def _by_prefix(
    places: Sequence[int], fitted: Sequence[Fitted], items: Sequence[int]
) -> Iterator[tuple[list[int], Sequence[int]]]:
    """The requests that begin as all uncut ones do, with what they begin with; and the others, whose batches have their
    own. Those of one item stay together.
    """
    whole = [each for place in places if not ((each := fitted[place]).shots_dropped or each.ids_cut)]
    shared = list(common_prefix(whole)) if len(whole) > 1 else []
    other = {
        items[place]
        for place in places
        if list(fitted[place].context[: len(shared)]) != shared or len(fitted[place].context) == len(shared)
    }
    yield [place for place in places if items[place] not in other], shared
    yield [place for place in places if items[place] in other], ()
