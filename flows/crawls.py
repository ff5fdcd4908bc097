"""Add the crawls that Common Crawl has published since to the corpus of a run; deployed, once a month.

crawls(run)                             # those later than all that the run follows
crawls(run, since="CC-MAIN-2023-50")    # from this one on
crawls(run, at_once=True)               # all deduplicated at once, so that the corpus is one generation again
"""

from __future__ import annotations

from prefect import State, flow, get_run_logger
from prefect.artifacts import create_table_artifact
from prefect.states import Completed

from flows.config import RunConfig
from flows.new_crawls import CORPUS, crawls_table, find_new_crawls
from flows.pipeline import pipeline
from flows.worker import end_with_worker
from tasks.stage import StageRecord
from tasks.task import shown


@flow(
    name="crawls",
    flow_run_name="{run.label}: new crawls",
    on_running=[end_with_worker],
    validate_parameters=True,
    persist_result=False,
)
def crawls(
    run: RunConfig, run_file: str = "", since: str | None = None, at_once: bool = False
) -> list[StageRecord] | State[list[StageRecord]]:
    """Find the crawls that the run's corpus lacks, publish what was found, and curate and deduplicate with them.

    Args:
        run: the run file's content; its sources name at least one crawl.
        run_file: how the user named the run file. The run with the crawls added has a record of its own.
        since: the earliest crawl to add; else those later than all that the run follows.
        at_once: make the corpus at once, not onto an earlier one.

    Returns:
        The records of the pipeline's stages; none, and a state that says so, where there was nothing to do.

    Raises:
        ConfigError, ConnectionError: what there is cannot be found out.
        StageError: a stage failed.
    """
    found = find_new_crawls(run, since, at_once=at_once)
    get_run_logger().info("%s", found.sentence())
    shown(create_table_artifact, crawls_table(found), key=f"{run.name}-crawls", description=found.sentence())
    if found.is_complete:
        return Completed(message=found.sentence(), data=[])
    return pipeline.with_options(flow_run_name=f"{run.name}: {', '.join(found.missing) or 'the rest'}")(
        found.run, CORPUS
    )
