"""`hibari`: the command line. It imports prefect, torch and transformers only where a command needs them.

Exit codes: 0 done, 1 failed, 2 bad usage or config.

    hibari run configs/demo.yaml --until deduplicate
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from flows.cli_evaluate import evaluate_app
from flows.cli_groups import classifier_app, language_app, mix_app, tokenizer_app
from flows.cli_models import export, import_megatron
from flows.cli_support import Root, RunFile, Set, bad_usage, console, errors, load, named, reporting
from tasks.stage import STAGES

app = typer.Typer(
    help="From Common Crawl to an evaluated Japanese-strong Llama, one pipeline.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(evaluate_app, name="evaluate")
app.add_typer(language_app, name="language")
app.add_typer(tokenizer_app, name="tokenizer")
app.add_typer(mix_app, name="mix")
app.add_typer(classifier_app, name="classifier")
app.command("export")(export)
app.command("import-megatron")(import_megatron)

STAGE_HELP = "one of " + ", ".join(STAGES)
STEP_HELP = "export and evaluate the checkpoint saved at this step, not the last; also while training runs"


@app.command()
def run(
    run_file: RunFile,
    from_: Annotated[str | None, typer.Option("--from", help="first stage that may run")] = None,
    until: Annotated[str | None, typer.Option("--until", help="last stage that may run")] = None,
    only: Annotated[list[str] | None, typer.Option("--only", help="stages that may run (repeatable)")] = None,
    force: Annotated[list[str] | None, typer.Option("--force", help="run again beside the old, and compare")] = None,
    step: Annotated[int | None, typer.Option("--step", help=STEP_HELP)] = None,
    set_: Set = None,
    root: Root = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="show the plan and what is done; run nothing")] = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="fail where another run is making the same")] = False,
) -> None:
    """Run the pipeline, or some of its stages; what is complete is not done again."""
    from flows.runner import run_pipeline, show_plan
    from flows.selection import Selection

    try:
        selection = Selection(from_, until, tuple(only or ()), tuple(force or ()), step, wait=not no_wait)
    except ValueError as error:
        bad_usage([str(error)])
    loaded = load(run_file, set_, root)
    with reporting():
        if dry_run:
            show_plan(loaded, selection, named(run_file, set_), console)
        else:
            run_pipeline(loaded, selection, named(run_file, set_), console)


@app.command()
def status(run_file: RunFile, set_: Set = None, root: Root = None, verify: bool = False) -> None:
    """Show each stage of a run: complete, stale (and what differs), partial or missing."""
    from flows.plan import make_plan
    from flows.server import running_up
    from flows.status import run_status, status_table
    from storage.artifact import verify as rehash

    loaded = load(run_file, set_, root)
    with reporting():
        statuses = run_status(make_plan(loaded, run_file=str(run_file)))
    console.print(status_table(statuses, f"{loaded.label} in {loaded.root}"))
    if found_up := running_up():
        console.print(f"`hibari up` runs since {found_up.since}: {found_up.ui}", highlight=False)
    if verify:
        problems = [problem for found in statuses if found.state == "complete" for problem in rehash(found.plan.uri)]
        for problem in problems:
            errors.print(problem, style="red", highlight=False, soft_wrap=True)
        if problems:
            raise typer.Exit(1)
        console.print("every file of every complete stage has the sha256 its manifest names")


@app.command()
def sweep(
    sweep_file: Annotated[Path, typer.Argument(help="the sweep file (YAML)", show_default=False)],
    set_: Set = None,
    root: Root = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="show what is shared and what is to do")] = False,
) -> None:
    """Run variants of a run, sharing every artifact that they have in common, and compare them on one page."""
    from flows.config import ConfigError
    from flows.sweep_runner import run_sweep, show_sweep
    from flows.variants import load_sweep

    try:
        loaded = load_sweep(sweep_file, set_ or (), root)
    except ConfigError as error:
        bad_usage(error.problems)
    with reporting():
        (show_sweep if dry_run else run_sweep)(loaded, console)


@app.command()
def crawls(
    run_file: RunFile,
    since: Annotated[str | None, typer.Option("--since", help="the earliest crawl to add: CC-MAIN-2023-50")] = None,
    set_: Set = None,
    root: Root = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="show what is new; add nothing")] = False,
    at_once: Annotated[
        bool, typer.Option("--at-once", help="deduplicate all crawls at once, onto no earlier corpus")
    ] = False,
) -> None:
    """Find the crawls that Common Crawl has published since, and add them to the run's corpus."""
    from flows.new_crawls import follow_crawls

    loaded = load(run_file, set_, root)
    with reporting():
        follow_crawls(loaded, since, console, dry_run=dry_run, at_once=at_once)


@app.command()
def prune(
    root: Annotated[str, typer.Argument(help="the root to look through: a folder or s3://bucket/prefix")],
    forget: Annotated[list[str] | None, typer.Option("--forget", help="a run to forget (repeatable)")] = None,
    delete: Annotated[bool, typer.Option("--delete", help="remove what is listed; without it nothing is")] = False,
) -> None:
    """List what no run refers to any more, and remove it where asked."""
    from flows.prune import prune as prune_root

    with reporting():
        if not prune_root(root, forget or [], console, delete=delete):
            raise typer.Exit(1)


@app.command()
def takedown(
    takedown_list: Annotated[Path, typer.Argument(metavar="FILE", help="a URL or host a line", show_default=False)],
    run_file: RunFile,
    set_: Set = None,
    root: Root = None,
    reason: Annotated[str, typer.Option("--reason", help="kept with each line of the list")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only look; take nothing down")] = False,
) -> None:
    """Take pages and hosts down for good: what holds them, which training steps read them, what to rebuild."""
    from flows.runner import progress_shown
    from flows.takedown import take_down

    loaded = load(run_file, set_, root)
    with reporting(), progress_shown():
        take_down(takedown_list, loaded, named(run_file, set_), reason, console, dry_run=dry_run)


@app.command()
def hosts(
    run_file: RunFile,
    out: Annotated[Path, typer.Option("--out", help="where the list goes; name it in refine.hosts.files")],
    min_share: Annotated[float, typer.Option("--min-share", help="of a host's pages", min=0, max=1)] = 0.005,
    min_pages: Annotated[int, typer.Option("--min-pages", help="of a host, with NG words", min=1)] = 2,
    set_: Set = None,
    root: Root = None,
) -> None:
    """List the hosts whose pages use NG words, so that the next run can leave them out."""
    from flows.hosts import write_ng_hosts

    loaded = load(run_file, set_, root)
    with reporting():
        found = write_ng_hosts(loaded, out, min_share, min_pages)
    console.print(f"{len(found):,} hosts in {out}; name it in refine.hosts.files beside builtin", highlight=False)


@app.command()
def inspect(
    run_file: RunFile,
    rule: Annotated[str | None, typer.Option("--rule", help="some of what a rule dropped: too_few_letters")] = None,
    kept: Annotated[bool, typer.Option("--kept", help="some of the corpus")] = False,
    id_: Annotated[str | None, typer.Option("--id", help="the story of the page with this id (32 hex digits)")] = None,
    url: Annotated[str | None, typer.Option("--url", help="the story of every page with this URL")] = None,
    what_if: Annotated[list[str] | None, typer.Option("--what-if", help="min_letters=200 (repeatable)")] = None,
    num: Annotated[int, typer.Option("--num", help="documents to draw", min=1, max=1000)] = 5,
    seed: Annotated[int | None, typer.Option("--seed", help="of the draw; else the run's")] = None,
    scan: Annotated[bool, typer.Option("--scan", help="with --url: search the WARC files in any case")] = False,
    html: Annotated[Path | None, typer.Option("--html", help="write a page instead", dir_okay=False)] = None,
    set_: Set = None,
    root: Root = None,
) -> None:
    """Show the funnel; what a rule dropped; why a page is not in the corpus; what other thresholds would change."""
    from flows.config import ConfigError
    from flows.inspection.command import Question, inspect_run
    from flows.runner import progress_shown

    loaded = load(run_file, set_, root)
    draw_seed = loaded.seed if seed is None else seed
    try:
        question = Question(rule, kept, id_, url, tuple(what_if or ()), num, draw_seed, scan)
    except ConfigError as error:
        bad_usage(error.problems)
    with reporting(), progress_shown():
        inspect_run(loaded, named(run_file, set_), question, console, html)


@app.command()
def up(
    run_file: Annotated[Path | None, typer.Argument(help="the run that the deployments run (YAML)")] = None,
    port: Annotated[int, typer.Option("--port", help="of the server, on loopback", min=1, max=65535)] = 4200,
    schedules: Annotated[
        bool | None, typer.Option("--schedules/--no-schedules", help="switch all schedules on or off; else as they are")
    ] = None,
    set_: Set = None,
    root: Root = None,
) -> None:
    """Start Prefect's server and UI, a worker and the deployments, until Ctrl-C."""
    from flows.deployments import Wanted
    from flows.up import run_up

    if run_file is None and (set_ or root):
        bad_usage(["--set and --root change a run file: name one"])
    loaded = load(run_file, set_, root) if run_file else None
    with reporting():
        run_up(Wanted(loaded, named(run_file, set_) if run_file else "", schedules), port, console)


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

    with reporting():
        run_demo(folder, warcs=warc or [], minutes=minutes, overrides=set_ or [], console=console)


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
