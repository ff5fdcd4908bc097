"""The pipeline: Common Crawl in, an evaluated Japanese-strong Llama out.

    WARC -> documents -> corpus -> tokenizer -> base model -> tokens -> mixture -> checkpoint -> model -> scores -> page

Each line names an artifact and what it depends on. Whether a stage has anything to do is its own affair
(`tasks.stage.execute`): a complete one is reused, and one that `selection` leaves out is used where it is complete.
"""

from __future__ import annotations

from prefect import flow

from flows.config import RunConfig
from flows.plan import make_plan
from flows.records import record_run
from flows.selection import Selection
from flows.worker import end_with_worker
from tasks.binarize.task import binarize
from tasks.curate.task import curate
from tasks.deduplicate.task import deduplicate
from tasks.evaluate.task import evaluate
from tasks.expand.task import expand
from tasks.export.task import export
from tasks.initialize.task import initialize
from tasks.mix.task import mix
from tasks.report.task import report
from tasks.stage import StageRecord
from tasks.task import publish_overview
from tasks.train.task import train

EVERYTHING = Selection()


@flow(
    name="pipeline",
    flow_run_name="{run.label}: {selection.title}",
    on_running=[end_with_worker],
    validate_parameters=True,
    persist_result=False,
)
def pipeline(run: RunConfig, selection: Selection = EVERYTHING, run_file: str = "") -> list[StageRecord]:
    """Run the ten stages, or those that `selection` names.

    Args:
        run: the run file's content.
        selection: stages that may run (`from_`, `until`, `only`), and complete ones to make again (`force`).
        run_file: how to name the run file in the rerun commands; else the record that this run leaves.
    """
    at = make_plan(run, selection, run_file)
    record_run(run, at, selection, run_file)
    base_folder = run.initialize.folder

    documents = curate(at.curate, run.curate, run.executor)
    corpus = deduplicate(at.deduplicate, run.deduplicate, run.refine, run.executor, documents)
    tokenizer = expand(at.expand, run.expand, run.binarize.validation_ratio, run.seed, corpus)
    base = initialize(at.initialize, run.initialize, run.binarize.validation_ratio, run.seed, corpus, tokenizer)
    tokens = binarize(at.binarize, run.binarize, run.sources, run.executor, corpus, tokenizer)
    mixture = mix(at.mix, run.mix, run.weights, run.train, run.seed, tokens, run.ceilings)
    checkpoint = train(at.train, run.train, base_folder, run.languages, run.seed, tokenizer, base, tokens, mixture)
    model = export(at.export, run.export, base, checkpoint)
    scores = evaluate(
        at.evaluate, run.evaluate, base_folder, run.languages, run.seed, run.executor, corpus, base, tokens, model
    )
    made = [documents, corpus, tokenizer, base, tokens, mixture, checkpoint, model, scores]
    page = report(at.report, run.model_dump(mode="json"), made)
    publish_overview(run.name, run.label, [*made, page])
    return [*made, page]
