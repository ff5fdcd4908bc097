"""Gather what a sweep's variants have come to, and write their comparison.

facts = compare(sweep, plans, failures={"32k": ["train failed: ..."]})
facts_at = comparison_uri(sweep)    # <root>/sweeps/<name>
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flows.plan import Plan, plan_at_step
from flows.variants import Sweep, shared_stages
from storage.artifact import read_manifest
from storage.uri import join
from trainer.batch_ramp import steps_for

Failures = Mapping[str, Sequence[str]]


def comparison_uri(sweep: Sweep) -> str:
    """The folder of a sweep's comparison."""
    return join(sweep.root, "sweeps", sweep.name)


def compare(sweep: Sweep, plans: Mapping[str, Plan], failures: Failures) -> dict[str, Any]:
    """Write the comparison of what there is so far.

    Args:
        failures: variant -> what kept it, or one of its checkpoints, from being scored.

    Returns:
        Every figure of the page, as in comparison.json.
    """
    from tasks.report.comparison import VariantRun, build_comparison  # matplotlib: not for a dry run

    shared = shared_stages(plans)
    evaluations = {name: _evaluations(sweep, name, plan) for name, plan in plans.items()}
    first = next(iter(plans))
    variants = []
    for name, plan in plans.items():
        run = sweep.runs[name]
        variants.append(
            VariantRun(
                name=name,
                run=run.model_dump(mode="json"),
                artifacts={stage.stage: stage.uri for stage in plan},
                num_steps=run.num_steps,
                tokens_after=run.tokens_after,
                checkpoints={step: evaluations[name][step] for step in sweep.steps[name] if step in evaluations[name]},
                shared=shared[name],
                differences={} if name == first else _differences(sweep, name, first, evaluations),
                failures=failures.get(name, ()),
            )
        )
    return build_comparison(sweep.name, variants, out=comparison_uri(sweep))


def _evaluations(sweep: Sweep, name: str, plan: Plan) -> dict[int, str]:
    """Step -> URI of the scores of every checkpoint that has them."""
    run = sweep.runs[name]
    uris = {step: plan_at_step(run, plan, step).evaluate.uri for step in (*sweep.steps[name], run.num_steps)}
    return {step: uri for step, uri in uris.items() if read_manifest(uri) is not None}


def _differences(
    sweep: Sweep, name: str, first: str, evaluations: Mapping[str, Mapping[int, str]]
) -> dict[int, list[dict[str, Any]]]:
    """Step -> difference rows between a variant and the first one after as many tokens."""
    from flows.score_comparison import Evaluated, read_answers
    from tasks.evaluate.pairs import compare_models

    ours, theirs = sweep.runs[name], sweep.runs[first]
    found = {}
    for step, uri in evaluations[name].items():
        tokens, batch = ours.tokens_after(step), theirs.train.global_batch
        their_step = steps_for(tokens // theirs.train.seq_len, theirs.train.batch_ramp, batch)
        if theirs.tokens_after(their_step) != tokens or their_step not in evaluations[first]:
            continue
        compared = read_answers(Evaluated(f"{name}, step {step:,}", uri, "trained"))
        reference = read_answers(Evaluated(f"{first}, step {their_step:,}", evaluations[first][their_step], "trained"))
        found[step] = compare_models(reference, compared, ours.evaluate, seed=ours.seed).rows
    return found
