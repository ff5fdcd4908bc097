"""`hibari export` and `hibari import-megatron`: take a run's model out, and bring in one that Megatron-LM trained.

The model is what the run's own stage `export` writes, which is made first where it is missing.

    export_run(run, "configs/demo.yaml", None, Path("model"), Console())
    export_run(run, "configs/demo.yaml", None, Path("megatron"), Console(), ToMegatron(tp=2, pp=2))
    import_megatron(Path("megatron"), Path("model"), Path("back"), None, Console())
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from flows.config import ConfigError, RunConfig
from flows.plan import make_plan
from flows.runner import run_pipeline
from flows.selection import Selection
from storage.artifact import read_manifest
from storage.uri import localized
from trainer.megatron import Spec


@dataclass(frozen=True)
class ToMegatron:
    """How Megatron-LM is to hold the model (`trainer.megatron_export.write_megatron`)."""

    tp: int = 1
    pp: int = 1
    spec: Spec = "transformer_engine"
    vocab_multiple: int = 128


def export_run(
    run: RunConfig, run_file: str, step: int | None, out: Path, console: Console, megatron: ToMegatron | None = None
) -> None:
    """Write a run's model to `out`: the Hugging Face folder, or with `megatron` a Megatron checkpoint folder.

    Args:
        step: of the checkpoint; none given: the last.

    Raises:
        ConfigError: inputs or the checkpoint are missing, `out` holds something already, or Megatron-core cannot hold
            the model in this layout.
        StageError: the stage export failed, or training has not ended.
    """
    selection = Selection(only=("export",), step=step)
    plan = make_plan(run, selection, run_file)
    if megatron is None and out.exists() and any(out.iterdir()):
        raise ConfigError([f"{out} is not empty; name a new folder"])
    run_pipeline(run, selection, run_file, console)
    manifest = read_manifest(plan.export.uri)
    assert manifest is not None
    with localized(plan.export.uri) as folder:
        if megatron is None:
            shutil.copytree(folder, out, ignore=shutil.ignore_patterns("manifest.json"), dirs_exist_ok=True)
            console.print(f"Hugging Face folder of step {manifest.counts['steps']:,}: {out}", highlight=False)
        else:
            _write_megatron(folder, out, manifest.counts["steps"], megatron, console)


def import_megatron(folder: Path, model: Path, out: Path, step: int | None, console: Console) -> None:
    """Write a Megatron checkpoint as a Hugging Face folder, with config.json and tokenizer of `model`.

    Raises:
        ConfigError: `out` holds something already, or the checkpoint cannot be read or is not of `model`'s shape.
    """
    from trainer.megatron_import import read_megatron  # torch takes seconds

    if out.exists() and any(out.iterdir()):
        raise ConfigError([f"{out} is not empty; name a new folder"])
    try:
        files = read_megatron(folder, model, out, step)
    except ValueError as error:
        raise ConfigError([str(error)]) from error
    console.print(f"{len(files)} files in {out}; initialize.base_model may name it", highlight=False)


def _write_megatron(model: Path, out: Path, step: int, wanted: ToMegatron, console: Console) -> None:
    from trainer.megatron_export import megatron_options, write_megatron

    try:
        layout = write_megatron(model, out, step, wanted.tp, wanted.pp, wanted.spec, wanted.vocab_multiple)
    except ValueError as error:
        raise ConfigError([str(error)]) from error
    options = " ".join(megatron_options(model, out, wanted.spec))
    console.print(
        f"Megatron checkpoint of step {step:,}, vocabulary padded to {layout.padded_vocab:,} rows: {out}",
        highlight=False,
        soft_wrap=True,
    )
    console.print(f"continue from it with {options}", highlight=False, soft_wrap=True)
