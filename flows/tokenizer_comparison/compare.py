"""Put a comparison of tokenizers together: of a run, or of given tokenizers on given texts.

facts = compare_run(run, compared)    # its candidates are complete
facts = compare_given(compared)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flows.config import ConfigError, RunConfig
from flows.plan import Plan
from flows.tokenizer_comparison.config import Compared, candidate_runs
from flows.tokenizer_comparison.costs import ModelShape, named_shape, run_shape
from flows.tokenizer_comparison.facts import gather, write
from flows.tokenizer_comparison.texts import TextKind, given_texts, run_texts, standard_library
from flows.variants import Sweep, sweep_plans
from storage.uri import join
from tokenizer.expand import FOLDER


def comparison_uri(run: RunConfig) -> str:
    """The folder of a run's comparison of tokenizers."""
    return join(run.root, "tokenizers", run.name)


def candidate_plans(run: RunConfig, compared: Compared) -> dict[str, Plan]:
    """The plan of each size of vocabulary, by name.

    Raises:
        ConfigError: inputs are missing: all of them, each with the sizes that need it.
    """
    runs = candidate_runs(run, compared.candidates)
    return sweep_plans(Sweep(name="tokenizers", runs=runs, steps={}, changes={}))


def compare_run(run: RunConfig, compared: Compared) -> dict[str, Any]:
    """Compare a run's complete candidates, and the given tokenizers, on held-out documents; write the page.

    Raises:
        ConfigError: see `check` and `flows.tokenizer_comparison.facts.gather`.
    """
    plans = candidate_plans(run, compared)
    corpus = next(iter(plans.values())).deduplicate.uri
    paths = {name: join(plan.expand.uri, FOLDER) for name, plan in plans.items()} | compared.tokenizers
    kinds = run_texts(run, corpus)
    kinds += _given(compared, kinds)
    if not compared.code:
        kinds.append(standard_library())
    shapes = [run_shape(run), *_shapes(compared)]
    facts = gather(run.label, paths, kinds, shapes, max_characters=compared.max_characters)
    write(facts, comparison_uri(run))
    return facts


def compare_given(compared: Compared) -> dict[str, Any]:
    """Compare given tokenizers on given texts and code alone.

    Raises:
        ConfigError: no tokenizer or no text is given, or one cannot be read.
    """
    if not compared.texts and not compared.code:
        raise ConfigError(["no text to compare on: name a run file, --texts LANGUAGE=FILES or --code FILES"])
    name = ", ".join(compared.tokenizers) or "tokenizers"
    kinds = _given(compared, [])
    return gather(name, compared.tokenizers, kinds, _shapes(compared), max_characters=compared.max_characters)


def check(run: RunConfig | None, compared: Compared) -> Mapping[str, Plan]:
    """Look at everything that is named, before anything runs; the plans of the candidates.

    Raises:
        ConfigError: files, folders or presets are missing, or a size of vocabulary is not one.
    """
    problems: list[str] = []
    plans: Mapping[str, Plan] = {}
    steps = [lambda: _given(compared, []), lambda: _shapes(compared)]
    if run is not None:
        steps.append(lambda: [run_shape(run)])
    for look in steps:
        try:
            look()
        except ConfigError as error:
            problems += error.problems
    try:
        plans = candidate_plans(run, compared) if run is not None else {}
    except ConfigError as error:
        problems += error.problems
    if problems:
        raise ConfigError(problems)
    return plans


def _given(compared: Compared, before: list[TextKind]) -> list[TextKind]:
    try:
        return given_texts(compared, [kind.name for kind in before])
    except OSError as error:
        raise ConfigError([f"--texts, --code: {error}"]) from error


def _shapes(compared: Compared) -> list[ModelShape]:
    return [named_shape(name, compared.context) for name in compared.models]
