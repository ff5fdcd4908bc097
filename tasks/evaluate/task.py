"""Evaluate in Prefect: base, initialised and trained model and held-out text in, scores out.

Its unit of resumption is the task of a model, and the batch of a benchmark: killed, it goes on behind the last.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from storage.uri import join
from tasks.evaluate.config import EvaluateConfig
from tasks.progress import report_progress, shard_progress
from tasks.shards import ExecutorConfig
from tasks.stage import StagePlan, StageRecord, execute
from tasks.task import stage_task


@stage_task
def evaluate(
    plan: StagePlan,
    config: EvaluateConfig,
    base_model: str | None,
    languages: Mapping[str, str],
    seed: int,
    executor: ExecutorConfig,
    corpus: StageRecord,
    base: StageRecord,
    tokens: StageRecord,
    model: StageRecord,
) -> StageRecord:
    """Score the base beside its descendants, or the one model that the plan names by itself.

    Args:
        base_model: folder of the base model; None where the run made it (then it lies beside the initialised one).
        languages: source name -> language, of the held-out texts.
        executor: of the search of the corpus for the benchmarks' items.
        corpus: searched where it is an input of the plan.
    """
    from storage.artifact import Outcome
    from storage.documents import read_texts
    from tasks.evaluate.evaluate import Corpus
    from tasks.evaluate.evaluate import evaluate as evaluate_models

    def work(out: str) -> Outcome:
        texts: dict[str, list[tuple[bytes, str]]] = {}
        for source, language in languages.items():
            texts.setdefault(language, []).extend(read_texts(join(tokens.uri, source, "validation.parquet")))
        models = {
            "base": base_model or join(base.uri, "base"),
            "initialized": join(base.uri, "model"),
            "trained": model.uri,
        }
        alone = plan.literals.get("models")
        if alone is not None:
            models = {name: models[name] for name in alone}
        searched = shard_progress("evaluate", "corpus shards, for benchmark items", ("documents", "characters"))
        return evaluate_models(
            models,
            texts,
            config,
            out=out,
            seed=seed,
            corpus=Corpus(corpus.uri, executor, searched) if searches else None,
            progress=partial(_report, "evaluate"),
            beside_base=alone is None,
        )

    searches = corpus.stage in plan.inputs
    return execute(plan, work, needs=[base, tokens, model, *([corpus] if searches else [])])


def _report(stage: str, done: int, total: int, note: str) -> None:
    report_progress(stage, done, total, "tokens", note)
