"""`hibari evaluate`: a run's checkpoints, lone models, comparisons, and what can be asked.

hibari evaluate configs/demo.yaml
hibari evaluate model models/smollm2 --data data/eval --limit 50
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from typer.core import TyperGroup

from flows.cli_support import Root, RunFile, Set, bad_usage, console, load, reporting

DEFAULT = "run"
DATA_HELP = "folder or URI with the benchmarks' files (`hibari evaluate tasks` says which)"


class _RunFileFirst(TyperGroup):
    """What is no command of the group goes to its default one: `hibari evaluate RUNFILE`."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = [DEFAULT, *args]
        return super().parse_args(ctx, args)


evaluate_app = typer.Typer(
    cls=_RunFileFirst,
    no_args_is_help=True,
    help="Score models: `hibari evaluate RUNFILE` the checkpoints of a run, `hibari evaluate model` any others.",
)


@evaluate_app.command(DEFAULT)
def evaluate_run(
    run_file: RunFile,
    step: Annotated[int | None, typer.Option("--step", help="of one checkpoint; else all without scores")] = None,
    set_: Set = None,
    root: Root = None,
) -> None:
    """Score the checkpoints that training has saved, and show how the scores move over the steps (the default)."""
    from flows.runner import run_evaluation

    loaded = load(run_file, set_, root)
    if step is not None and not 1 <= step <= loaded.num_steps:
        bad_usage([f"--step {step}: expected one of the run's steps, 1 to {loaded.num_steps}"])
    with reporting():
        run_evaluation(loaded, step, str(run_file), console)


@evaluate_app.command("model")
def evaluate_model(
    folders: Annotated[list[Path], typer.Argument(metavar="FOLDER...", help="Hugging Face model folders")],
    data: Annotated[str | None, typer.Option("--data", help=DATA_HELP)] = None,
    prompts: Annotated[
        str | None, typer.Option("--prompts", help="folder with the prompt files of profile swallow-2023")
    ] = None,
    task: Annotated[
        list[str] | None, typer.Option("--task", help="a benchmark (repeatable); else all whose files are there")
    ] = None,
    profile: Annotated[
        Literal["strict", "swallow-2023", "both"], typer.Option("--profile", help="prompts, shots and metrics")
    ] = "both",
    limit: Annotated[int | None, typer.Option("--limit", help="items of each benchmark, else all", min=1)] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", help="items computed together", min=1)] = 64,
    processes: Annotated[
        int | None, typer.Option("--processes", help="that share the work; else one per GPU or core", min=1)
    ] = None,
    dtype: Annotated[Literal["fp32", "bf16"], typer.Option("--dtype", help="weights and activations")] = "fp32",
    backend: Annotated[
        Literal["transformers", "vllm", "lm-eval"], typer.Option("--backend", help="vllm and lm-eval are extras")
    ] = "transformers",
    base: Annotated[
        Path | None, typer.Option("--base", help="the model that the others are compared with, called `base`")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="where scores and pages go [evaluations/NAME]")] = None,
) -> None:
    """Score models on the benchmarks. Killed and started again, it goes on where it stopped."""
    from flows.config import ConfigError
    from flows.model_scoring import model_evaluation, score_models
    from flows.runner import progress_shown

    try:
        asked = model_evaluation(
            folders,
            base,
            tasks=task or (),
            out=out,
            data=data,
            prompts=prompts,
            profile=profile,
            limit=limit,
            batch_size=batch_size,
            processes=processes,
            dtype=dtype,
            backend=backend,
        )
    except ConfigError as error:
        bad_usage(error.problems)
    with reporting(), progress_shown():
        score_models(asked, console)


@evaluate_app.command("compare")
def compare(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...", help="run files, or folders of `hibari evaluate model`; first the reference"
        ),
    ],
    out: Annotated[Path | None, typer.Option("--out", help="where the page goes [comparisons/NAMES]")] = None,
    set_: Set = None,
    root: Root = None,
) -> None:
    """Set models side by side, item by item: differences with intervals and tests, averages, curves over tokens."""
    from flows.comparison_runner import run_comparison

    with reporting():
        run_comparison(sources, console, out=out, overrides=set_ or (), root=root)


@evaluate_app.command("tasks")
def list_tasks(
    data: Annotated[str | None, typer.Option("--data", help="look there for the benchmarks' files")] = None,
) -> None:
    """List the benchmarks, where their files come from, and whether they are there."""
    from flows.model_scoring import tasks_table

    console.print(tasks_table(data))
