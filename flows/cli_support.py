"""What every command of `hibari` shares: its options, how a run file is read, how errors are told.

loaded = load(run_file, set_, root)
with reporting():
    work(loaded)
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console

if TYPE_CHECKING:
    from flows.config import RunConfig

console = Console()
errors = Console(stderr=True)

RunFile = Annotated[Path, typer.Argument(help="the run file (YAML)", show_default=False)]
Set = Annotated[list[str] | None, typer.Option("--set", help="override a field: train.lr=3e-4 (repeatable)")]
Root = Annotated[str | None, typer.Option("--root", help="where artifacts lie: a folder or s3://bucket/prefix")]


def named(run_file: Path, set_: list[str] | None) -> str:
    """The run as the user named it, for the commands that rerun its stages."""
    return shlex.join([str(run_file), *(part for override in set_ or () for part in ("--set", override))])


def load(run_file: Path, set_: list[str] | None, root: str | None) -> RunConfig:
    from flows.config import ConfigError, load_run

    try:
        return load_run(run_file, set_ or (), root)
    except ConfigError as error:
        bad_usage(error.problems)


@contextmanager
def reporting() -> Iterator[None]:
    """Turn the errors a user can act on into a message and an exit code; anything else keeps its traceback."""
    from flows.config import ConfigError
    from flows.demo_inputs import InputsUnavailableError
    from storage.space import no_space
    from tasks.stage import StageError

    try:
        yield
    except ConfigError as error:
        bad_usage(error.problems)
    except KeyboardInterrupt:
        errors.print("interrupted; the same command goes on where this one stopped")
        raise typer.Exit(1) from None
    except (StageError, ConnectionError, InputsUnavailableError) as error:
        errors.print(f"error: {error}", style="red", highlight=False, soft_wrap=True, markup=False)
        raise typer.Exit(1) from None
    except OSError as error:
        full = no_space(error, ".")
        if full is None:
            raise
        errors.print(f"error: {full}; make room and run again", style="red", highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None


def bad_usage(problems: list[str]) -> NoReturn:
    for problem in problems:
        errors.print(problem, style="red", highlight=False, soft_wrap=True, markup=False)
    raise typer.Exit(2)
