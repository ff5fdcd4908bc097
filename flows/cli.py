"""`hibari`: the command line. It imports prefect, torch and transformers only where a command needs them.

Exit codes: 0 done, 1 failed, 2 bad usage or config.

    hibari run configs/demo.yaml --until deduplicate
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console

from tasks.stage import STAGES

if TYPE_CHECKING:
    from flows.config import RunConfig

app = typer.Typer(
    help="From Common Crawl to an evaluated Japanese-strong Llama, one pipeline.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
console = Console()
errors = Console(stderr=True)

STAGE_HELP = "one of " + ", ".join(STAGES)
RunFile = Annotated[Path, typer.Argument(help="the run file (YAML)", show_default=False)]
Set = Annotated[list[str] | None, typer.Option("--set", help="override a field: train.lr=3e-4 (repeatable)")]
Root = Annotated[str | None, typer.Option("--root", help="where artifacts lie: a folder or s3://bucket/prefix")]


@app.command()
def run(
    run_file: RunFile,
    from_: Annotated[str | None, typer.Option("--from", help="first stage that may run")] = None,
    until: Annotated[str | None, typer.Option("--until", help="last stage that may run")] = None,
    only: Annotated[list[str] | None, typer.Option("--only", help="stages that may run (repeatable)")] = None,
    force: Annotated[list[str] | None, typer.Option("--force", help="run again beside the old, and compare")] = None,
    set_: Set = None,
    root: Root = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="show the plan and what is done; run nothing")] = False,
) -> None:
    """Run the pipeline, or some of its stages; what is complete is not done again."""
    from flows.plan import Selection
    from flows.runner import run_pipeline, show_plan

    try:
        selection = Selection(from_=from_, until=until, only=tuple(only or ()), force=tuple(force or ()))
    except ValueError as error:
        _bad_usage([str(error)])
    loaded = _load(run_file, set_, root)
    with _reporting():
        if dry_run:
            show_plan(loaded, selection, str(run_file), console)
        else:
            run_pipeline(loaded, selection, str(run_file), console)


@app.command()
def status(run_file: RunFile, set_: Set = None, root: Root = None, verify: bool = False) -> None:
    """Show each stage of a run: complete, stale (and what differs), partial or missing."""
    from flows.plan import make_plan
    from flows.status import run_status, status_table
    from storage.artifact import verify as rehash

    loaded = _load(run_file, set_, root)
    with _reporting():
        statuses = run_status(make_plan(loaded, run_file=str(run_file)))
    console.print(status_table(statuses, f"{loaded.name} in {loaded.root}"))
    if verify:
        problems = [problem for found in statuses if found.state == "complete" for problem in rehash(found.plan.uri)]
        for problem in problems:
            errors.print(problem, style="red", highlight=False, soft_wrap=True)
        if problems:
            raise typer.Exit(1)
        console.print("every file of every complete stage has the sha256 its manifest names")


@app.command()
def doctor(root: Annotated[str, typer.Option("--root", help="the root to try writing to")] = "runs") -> None:
    """Look whether this machine is fit to run Hibari."""
    from flows.doctor import examine

    failed = False
    for check in examine(root):
        mark = "[green]ok[/]  " if check.ok else "[red]no[/]  " if check.needed else "[yellow]--[/]  "
        advice = "" if check.ok or not check.advice else f" ({check.advice})"
        console.print(f"{mark}{check.name}: {check.found}{advice}", highlight=False, soft_wrap=True)
        failed |= check.needed and not check.ok
    if failed:
        raise typer.Exit(1)


@app.command()
def demo(
    folder: Annotated[Path, typer.Option("--folder", help="where inputs and artifacts go")] = Path("demo"),
    warc: Annotated[list[str] | None, typer.Option("--warc", help="use these WARC files (paths, globs)")] = None,
    minutes: Annotated[float, typer.Option("--minutes", help="minutes of training to aim at", min=0.1)] = 8.0,
    set_: Set = None,
) -> None:
    """Take Debian's Japanese documentation and a real 135M model through the whole pipeline, on two CPU cores."""
    from flows.demo import run_demo

    with _reporting():
        run_demo(folder, warcs=warc or [], minutes=minutes, overrides=set_ or [], console=console)


def _load(run_file: Path, set_: list[str] | None, root: str | None) -> RunConfig:
    from flows.config import ConfigError, load_run

    try:
        return load_run(run_file, set_ or (), root)
    except ConfigError as error:
        _bad_usage(error.problems)


@contextmanager
def _reporting() -> Iterator[None]:
    """Turn the errors a user can act on into a message and an exit code; anything else keeps its traceback."""
    from flows.config import ConfigError
    from flows.demo_inputs import InputsUnavailableError
    from tasks.stage import StageError

    try:
        yield
    except ConfigError as error:
        _bad_usage(error.problems)
    except KeyboardInterrupt:
        errors.print("interrupted; the same command goes on where this one stopped")
        raise typer.Exit(1) from None
    except (StageError, ConnectionError, InputsUnavailableError) as error:
        errors.print(f"error: {error}", style="red", highlight=False, soft_wrap=True, markup=False)
        raise typer.Exit(1) from None


def _bad_usage(problems: list[str]) -> NoReturn:
    for problem in problems:
        errors.print(problem, style="red", highlight=False, soft_wrap=True, markup=False)
    raise typer.Exit(2)


def main() -> None:
    """The console script."""
    os.environ.setdefault("TQDM_DISABLE", "1")  # libraries' bars would break the lines of our own progress
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # models are folders here; nothing is looked up on a hub
    signal.signal(signal.SIGTERM, _terminated)
    app()


def _terminated(number: int, frame: object) -> NoReturn:
    """SIGTERM unwinds like an error, so that whatever was started is stopped and not left behind."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    main()
