"""Which benchmarks are asked, in which profiles, with which files, items, shots and requests.

In: the `evaluate` section of a run file; out: one `AskedTask` per benchmark and profile, the same for every model.
Everything a user can have wrong (a benchmark without files, a profile without its prompt files, an unreadable file) is
found here, all of it at once, before a model is loaded. With `skip_unprompted` a profile without its prompt files is
left out instead.

A `limit` chooses the items whose ids have the smallest sha256: without regard to content, the same for every profile
and every model, and so that a smaller limit's items are among a larger one's.

    for asked in plan_suite(EvaluateConfig(tasks=["jsquad"], data="data/eval", profile="both", limit=50)):
        print(asked.label, len(asked.items))
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

from storage.uri import exists, join
from tasks.evaluate.benchmark import Benchmark, Files, Form, Item, Items, MissingDataError
from tasks.evaluate.config import BenchmarkFiles, EvaluateConfig, Profile
from tasks.evaluate.requests import Request
from tasks.evaluate.suite import load_benchmark

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class AskedTask:
    """A benchmark as one profile asks it.

    Attributes:
        items: those that are asked, in the order of the file.
        requests: of each item; one at least.
        num_all: items that the files hold.
        malformed: of each line that is no item, where and why.
        left_out: items that the benchmark itself does not ask; not among `num_all`.
    """

    benchmark: Benchmark
    profile: Profile
    files: Files
    items: Sequence[Item]
    requests: Sequence[tuple[Request, ...]]
    num_all: int
    malformed: Sequence[str] = ()
    left_out: int = 0

    @property
    def form(self) -> Form:
        return self.benchmark.forms[self.profile]

    @property
    def key(self) -> str:
        """As in file names: `jsquad-strict`."""
        return f"{self.benchmark.name}-{self.profile}"

    @property
    def label(self) -> str:
        """As people read it: `JSQuAD (strict)`."""
        return f"{self.benchmark.label} ({self.profile})"

    @property
    def shots_from(self) -> str | None:
        """The file that the shots are from, by name: where it lies decides nothing."""
        if not self.form.num_shots:
            return None
        if self.form.shots_from:
            return self.form.shots_from(self.files)
        if self.profile == "strict":
            return f"strict/{self.benchmark.name}.json"
        if self.files.prompts and exists(join(self.files.prompts, f"{self.benchmark.name}.json")):
            return f"{self.benchmark.name}.json"
        return self.files.shots.rsplit("/", 1)[-1] if self.files.shots else "the evaluated items"

    @cached_property
    def flat(self) -> list[Request]:
        """All requests, item by item."""
        return [request for requests in self.requests for request in requests]

    @cached_property
    def starts(self) -> list[int]:
        """Where the requests of each item begin in `flat`, and its length."""
        bounds = [0]
        for requests in self.requests:
            bounds.append(bounds[-1] + len(requests))
        return bounds


def plan_suite(config: EvaluateConfig) -> list[AskedTask]:
    """All that the benchmarks of a config ask, in the order of its tasks; the profiles of one after another.

    Raises:
        MissingDataError: files or prompts of a benchmark are missing; of all benchmarks, a line each.
        ValueError: a file cannot be read, or nothing in it is an item; likewise.
    """
    asked: list[AskedTask] = []
    problems: dict[str, bool] = {}  # message -> whether data are missing
    unprompted: dict[str, bool] = {}  # likewise, of what may be skipped
    for name in config.benchmarks:
        with _noted(name, problems):
            benchmark = load_benchmark(name)
            files = files_of(benchmark, config)
            items = benchmark.read(files)
            for profile in config.profiles:
                own: dict[str, bool] = {}
                with _noted(f"{name} ({profile})", own):
                    asked.append(_ask(benchmark, profile, files, items, config.limit))
                (unprompted if config.skip_unprompted and all(own.values()) else problems).update(own)
    if not asked:
        problems |= unprompted
    if problems:
        raise (MissingDataError if any(problems.values()) else ValueError)("\n".join(problems))
    if skipped := skipped_profiles(config, asked):
        labels = ", ".join(row["label"] for row in skipped)
        logger.warning("not scored, for want of a prompt or shot file: %s", labels)
    return asked


def skipped_profiles(config: EvaluateConfig, suite: Sequence[AskedTask]) -> list[dict[str, str]]:
    """What a config names and its plan does not ask: `task`, `profile` and `label`, as that of an `AskedTask`."""
    asked = {(one.benchmark.name, one.profile) for one in suite}
    return [
        {"task": name, "profile": profile, "label": f"{load_benchmark(name).label} ({profile})"}
        for name in config.benchmarks
        for profile in config.profiles
        if (name, profile) not in asked
    ]


def files_of(benchmark: Benchmark, config: EvaluateConfig) -> Files:
    """Where a benchmark's files are: as the config names them, else the first of its usual places that is there.

    Raises:
        MissingDataError: no data folder is given, or nothing of the benchmark is in it.
    """
    named = config.files.get(benchmark.name, BenchmarkFiles())
    items = named.items or _first_there(config.data, benchmark.default_items)
    if not items:
        looked = " or ".join(" and ".join(paths) for paths in benchmark.default_items)
        at = f"expected {looked} below {config.data}" if config.data else "evaluate.data names no folder"
        raise MissingDataError(
            f"no data: {at}; get them ({benchmark.where.rstrip('.')}), and name their folder in "
            f"evaluate.data or the files in evaluate.files.{benchmark.name}.items"
        )
    shots = _first_there(config.data, [(path,) for path in benchmark.default_shots])
    return Files(items, named.shots or (shots[0] if shots else None), config.prompts)


def chosen_items(items: Sequence[Item], limit: int | None) -> list[Item]:
    """`limit` items by the sha256 of their ids, in their own order; None: all."""
    if limit is None or limit >= len(items):
        return list(items)
    chosen = {item.id for item in by_hash(items)[:limit]}
    return [item for item in items if item.id in chosen]


def by_hash(items: Iterable[Item]) -> list[Item]:
    """Items in the order of their ids' sha256."""
    return sorted(items, key=lambda item: hashlib.sha256(item.id.encode()).digest())


def _ask(benchmark: Benchmark, profile: Profile, files: Files, items: Items, limit: int | None) -> AskedTask:
    form = benchmark.forms[profile]
    chosen = chosen_items(items.items, limit)
    shots = form.shots(items, files, chosen)
    requests = [form.ask(item, shots[item.id]) for item in chosen]
    assert all(requests), f"{benchmark.name} ({profile}) asks nothing of an item"
    return AskedTask(benchmark, profile, files, chosen, requests, len(items.items), items.malformed, items.left_out)


@contextmanager
def _noted(name: str, problems: dict[str, bool]) -> Iterator[None]:
    """Note what a user can put right and go on behind the block, to find out what else is wrong."""
    try:
        yield
    except (OSError, ValueError) as error:
        problems[f"{name}: {error}"] = isinstance(error, MissingDataError)


def _first_there(folder: str | None, candidates: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """The first set of paths that are all there below the folder; else none."""
    if folder is None:
        return ()
    for paths in candidates:
        found = tuple(join(folder, path) for path in paths)
        if all(exists(uri) for uri in found):
            return found
    return ()
