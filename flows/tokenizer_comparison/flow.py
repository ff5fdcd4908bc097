"""The comparison of tokenizers as a flow: make the vocabularies that a run would have, compare them, publish.

Each size of vocabulary goes through the ordinary pipeline up to expansion, as a variant of the run; one that is
complete is used as it is. `hibari prune` keeps what it leaves while its record, `<name>@tokenizer-<size>`, is there.

    facts = tokenizer_comparison(run, Compared(candidates=[16000, "none"]))
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact, create_table_artifact

from flows.config import RunConfig
from flows.pipeline import pipeline
from flows.records import record_run
from flows.selection import Selection
from flows.tokenizer_comparison.compare import candidate_plans, compare_run, comparison_uri
from flows.tokenizer_comparison.config import Compared, candidate_runs
from flows.worker import end_with_worker
from storage.artifact import read_manifest
from tasks.report.tokenizer_comparison_markdown import fertility_rows, markdown
from tasks.task import shown

DEFAULT = Compared()
UP_TO_EXPAND = Selection(until="expand")


@flow(
    name="tokenizer comparison",
    flow_run_name="{run.label}: tokenizers",
    on_running=[end_with_worker],
    validate_parameters=True,
    persist_result=False,
)
def tokenizer_comparison(run: RunConfig, compared: Compared = DEFAULT, run_file: str = "") -> dict[str, Any]:
    """Expand every candidate, measure all tokenizers on held-out text, and publish the comparison.

    Args:
        run: the run file's content.
        compared: sizes of vocabulary, other tokenizers, texts and models.
        run_file: how the user named the run file; a deployment knows it. Candidates are named by their own records.

    Returns:
        Every figure of the page.

    Raises:
        ConfigError: inputs are missing.
        StageError: a candidate could not be made; what was finished stays finished.
    """
    plans = candidate_plans(run, compared)
    for name, candidate in candidate_runs(run, compared.candidates).items():
        if read_manifest(plans[name].expand.uri) is None:
            pipeline.with_options(flow_run_name=f"{run.label}, {name}: up to expand")(candidate, UP_TO_EXPAND)
        else:
            record_run(candidate, plans[name], UP_TO_EXPAND, "")  # so that it is not pruned
    facts = compare_run(run, compared)
    publish(run, facts)
    return facts


def publish(run: RunConfig, facts: Mapping[str, Any]) -> None:
    """A table under the key `<name>-fertility`, a markdown under `<name>-tokenizers`."""
    description = f"tokenizers of {run.label}: {comparison_uri(run)}/comparison.html"
    shown(create_table_artifact, fertility_rows(facts), key=f"{run.name}-fertility", description=description)
    shown(create_markdown_artifact, markdown(facts), key=f"{run.name}-tokenizers", description=description)
