"""The commands of `hibari` that take a model out and bring one in.

hibari export configs/demo.yaml --format megatron --tp 2 --pp 2 --out megatron
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.cli_support import Root, RunFile, Set, bad_usage, console, load, named, reporting
from trainer.megatron import Spec


def export(
    run_file: RunFile,
    out: Annotated[Path, typer.Option("--out", help="the folder to write", file_okay=False)],
    format_: Annotated[Literal["huggingface", "megatron"], typer.Option("--format", help="of the folder")] = (
        "huggingface"
    ),
    step: Annotated[int | None, typer.Option("--step", help="of one checkpoint; else the last", min=1)] = None,
    tp: Annotated[int, typer.Option("--tp", help="megatron: tensor-parallel size", min=1)] = 1,
    pp: Annotated[int, typer.Option("--pp", help="megatron: pipeline-parallel size", min=1)] = 1,
    spec: Annotated[Spec, typer.Option("--spec", help="megatron: its --transformer-impl")] = "transformer_engine",
    vocab_multiple: Annotated[
        int, typer.Option("--vocab-multiple", help="megatron: its --make-vocab-size-divisible-by", min=1)
    ] = 128,
    set_: Set = None,
    root: Root = None,
) -> None:
    """Write a run's model as a Hugging Face folder, or as a checkpoint that Megatron-LM loads (weights only)."""
    from flows.export import ToMegatron, export_run

    wanted = ToMegatron(tp, pp, spec, vocab_multiple)
    if format_ == "huggingface" and wanted != ToMegatron():
        bad_usage(["--tp, --pp, --spec and --vocab-multiple are Megatron's; add --format megatron"])
    loaded = load(run_file, set_, root)
    if step is not None and step > loaded.num_steps:
        bad_usage([f"--step {step}: expected one of the run's steps, 1 to {loaded.num_steps}"])
    with reporting():
        export_run(loaded, named(run_file, set_), step, out, console, wanted if format_ == "megatron" else None)


def import_megatron(
    folder: Annotated[Path, typer.Argument(help="the Megatron checkpoint folder (--ckpt-format torch)")],
    model: Annotated[Path, typer.Option("--model", help="Hugging Face folder of that shape: config, tokenizer")],
    out: Annotated[Path, typer.Option("--out", help="the Hugging Face folder to write", file_okay=False)],
    step: Annotated[int | None, typer.Option("--step", help="iteration; else the newest", min=0)] = None,
) -> None:
    """Write a checkpoint of Megatron-LM as a Hugging Face folder, which a run can start from."""
    from flows.export import import_megatron as import_folder

    with reporting():
        import_folder(folder, model, out, step, console)
