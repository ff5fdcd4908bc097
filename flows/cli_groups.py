"""The commands of `hibari` in groups: `language`, `tokenizer`, `mix`, `classifier`.

hibari tokenizer compare configs/swallow-mini.yaml
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.cli_support import Root, RunFile, Set, bad_usage, console, load, named, reporting

language_app = typer.Typer(help="The language decision.", no_args_is_help=True)


@language_app.command("train")
def train_language(
    japanese: Annotated[list[str], typer.Option("--japanese", help="Japanese texts: file or glob (repeatable)")],
    other: Annotated[list[str], typer.Option("--other", help="texts in other languages, and code (repeatable)")],
    out: Annotated[Path, typer.Option("--out", help="where the model goes", dir_okay=False)],
    max_characters: Annotated[
        int, typer.Option("--max-characters", help="of either side, in equal parts from its files", min=1000)
    ] = 8_000_000,
    num_ngrams: Annotated[int, typer.Option("--num-ngrams", help="of the model", min=100, max=1_000_000)] = 40_000,
) -> None:
    """Train the model that tells Japanese from other languages (JSON lines or Parquet with `text`, or .txt)."""
    from flows.language_training import run_training

    with reporting():
        run_training(japanese, other, out, console, max_characters=max_characters, num_ngrams=num_ngrams)


tokenizer_app = typer.Typer(help="The tokenizer.", no_args_is_help=True)


@tokenizer_app.command("compare")
def compare_tokenizers(
    run_file: Annotated[Path | None, typer.Argument(help="the run whose vocabularies are compared (YAML)")] = None,
    candidates: Annotated[
        list[str] | None, typer.Option("--candidates", help="subwords, or none (repeatable) [16000, 32000, none]")
    ] = None,
    tokenizer: Annotated[list[str] | None, typer.Option("--tokenizer", help="NAME=PATH (repeatable)")] = None,
    texts: Annotated[
        list[str] | None, typer.Option("--texts", help="LANGUAGE=FILES: texts beside those held out (repeatable)")
    ] = None,
    code: Annotated[
        list[str] | None, typer.Option("--code", help="source code (repeatable); else Python's standard library")
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option("--model", help="a preset or config.json (repeatable) [Llama 2 7B, 13B, 70B]")
    ] = None,
    characters: Annotated[int | None, typer.Option("--characters", help="of each text at most", min=1)] = None,
    context: Annotated[int | None, typer.Option("--context", help="tokens, where no run says", min=1)] = None,
    html: Annotated[Path | None, typer.Option("--html", help="write the page here too", dir_okay=False)] = None,
    json: Annotated[Path | None, typer.Option("--json", help="write the figures here too", dir_okay=False)] = None,
    set_: Set = None,
    root: Root = None,
) -> None:
    """Compare tokenizers on held-out text: fertility, vocabulary use, and the operations that models save."""
    from flows.config import ConfigError
    from flows.tokenizer_comparison.config import parse_compared
    from flows.tokenizer_comparison.runner import run_comparison

    try:
        compared = parse_compared(
            candidates, tokenizer or [], texts or [], code or [], model or [], characters, context
        )
    except ConfigError as error:
        bad_usage(error.problems)
    if run_file is None and (set_ or root or candidates):
        bad_usage(["--set, --root and --candidates change a run file: name one"])
    loaded = load(run_file, set_, root) if run_file else None
    with reporting():
        run_comparison(loaded, compared, str(run_file or ""), console, html=html, json=json)


mix_app = typer.Typer(help="The mixture.", no_args_is_help=True)


@mix_app.command("show")
def show_mixture(
    run_file: RunFile,
    step: Annotated[int, typer.Option("--step", help="an optimizer step, from 1; of validation, a batch")],
    last: Annotated[int | None, typer.Option("--last", help="and all steps up to this one")] = None,
    split: Annotated[Literal["train", "validation"], typer.Option("--split", help="train or validation")] = "train",
    source: Annotated[str | None, typer.Option("--source", help="only samples of this source")] = None,
    text: Annotated[bool, typer.Option("--text", help="decode the beginning of what is read")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON, a list of samples")] = False,
    set_: Set = None,
    root: Root = None,
) -> None:
    """Show which documents a training step reads: URLs, and which tokens of each."""
    from flows.mix_show import Steps, show_steps

    loaded = load(run_file, set_, root)
    with reporting():
        asked = Steps(step, step if last is None else last, split, source, text)
        show_steps(loaded, named(run_file, set_), asked, console, as_json=as_json)


classifier_app = typer.Typer(help="The quality classifier.", no_args_is_help=True)


@classifier_app.command("train")
def train_classifier(
    out: Annotated[str, typer.Option("--out", help="where the model goes; what is known of it goes to OUT.json")],
    positive: Annotated[list[str] | None, typer.Option("--positive", help="good texts (repeatable)")] = None,
    negative: Annotated[list[str] | None, typer.Option("--negative", help="bad texts (repeatable)")] = None,
    graded: Annotated[
        list[str] | None, typer.Option("--class", help="K=FILE: texts of grade K, 0 the worst (repeatable)")
    ] = None,
    held_out: Annotated[float, typer.Option("--held-out", help="share kept for the figures", min=0.01, max=0.9)] = 0.1,
    quantize: Annotated[bool, typer.Option("--quantize", help="a model an eighth of the size")] = False,
    seed: Annotated[int, typer.Option("--seed", help="of the model's first weights", min=0)] = 1234,
) -> None:
    """Train the quality classifier on texts called good and bad, or graded (JSON lines or Parquet with `text`)."""
    from flows.classifiers import class_files, run_training

    try:
        files = class_files(positive or [], negative or [], graded or [])
    except ValueError as error:
        bad_usage([str(error)])
    with reporting():
        run_training(files, out, console, held_out=held_out, quantize=quantize, seed=seed)
