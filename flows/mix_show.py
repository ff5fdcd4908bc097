"""`hibari mix show`: which documents a training step reads.

In: a run, a range of steps, a split. Out: per sample the documents it reads, with id, URL (or file and row), and
which tokens of each. A step reads the `global_batch` samples (fewer while a batch ramp lasts) that follow those of the
steps before, whatever the layout. Steps before a change of the mixture are looked up in the mixture that they read.
Nothing need be trained: the mixture says it all.

    samples = read_steps(load_run("configs/demo.yaml"), "configs/demo.yaml", Steps(120, 121))
    samples[0].documents[0].origin.url
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.config import ConfigError, RunConfig
from flows.mix_show_places import Origin, find_origins, sibling
from flows.plan import make_plan, named_run_file, run_record_uri
from flows.records import RunRecord
from storage.artifact import read_manifest
from storage.consumption import read_phases
from storage.mixture import Mixture, Sample
from storage.mixture_plan import read_plan, resolve_uri
from storage.uri import join, read_bytes
from tasks.stage import StageError
from tokenizer.encoder import Encoder, load_encoder
from trainer.batch_ramp import BatchRamp, samples_before, step_of

TEXT_TOKENS = 64  # decoded of each piece
TEXT_CHARACTERS = 80


@dataclass(frozen=True)
class Steps:
    """What is asked.

    Attributes:
        first, last: optimizer steps, from 1, both included; of validation, batches of the same size.
        source: only samples of this source.
        text: decode the beginning of what is read of each document.
    """

    first: int
    last: int
    split: Literal["train", "validation"] = "train"
    source: str | None = None
    text: bool = False


@dataclass(frozen=True)
class Piece:
    """What a sample reads of one document: its tokens [start, stop); `text`, how they begin."""

    start: int
    stop: int
    origin: Origin
    text: str | None = None


@dataclass(frozen=True)
class ReadSample:
    """A sample of the run, its source, and the documents it reads; `padding` tokens of it are no targets."""

    step: int
    sample: int
    source: str
    padding: int
    documents: tuple[Piece, ...]


def show_steps(run: RunConfig, run_file: str, asked: Steps, console: Console, *, as_json: bool) -> None:
    """Print which documents some steps read, as a table or as JSON.

    Raises:
        ConfigError: steps, split or source that the mixture does not have.
        StageError: the mixture, or what it was made of, is not there.
    """
    samples = read_steps(run, run_file, asked)
    if as_json:
        console.print(json.dumps([_json(sample) for sample in samples], ensure_ascii=False, indent=1), soft_wrap=True,
                      markup=False, highlight=False)  # fmt: skip
        return
    pieces = sum(len(sample.documents) for sample in samples)
    of = f"step {asked.first}" if asked.first == asked.last else f"steps {asked.first} to {asked.last}"
    console.print(f"{asked.split}, {of}: {len(samples):,} samples, {pieces:,} pieces of documents", highlight=False)
    console.print(_table(samples, asked))
    for problem in dict.fromkeys(p.origin.problem for s in samples for p in s.documents if p.origin.problem):
        console.print(f"not looked up: {problem}", style="yellow", highlight=False, markup=False, soft_wrap=True)


def read_steps(run: RunConfig, run_file: str, asked: Steps) -> list[ReadSample]:
    """Every sample of the steps that are asked for, in order; raises as `show_steps`."""
    mixture = _mixture_uri(run, run_file)
    _check(run, mixture, asked)
    ramp, batch = _batches(run, asked.split)
    first, end = samples_before(asked.first, ramp, batch), samples_before(asked.last + 1, ramp, batch)
    found: list[ReadSample] = []
    for uri, here, until in _stretches(mixture, asked.split, first, end):
        with Mixture.open(uri, asked.split) as opened:
            found += _read(run, uri, opened, asked, range(here, until))
    return found


def _check(run: RunConfig, mixture: str, asked: Steps) -> None:
    """What is asked for is there.

    Raises:
        ConfigError: with what there is.
    """
    splits = read_plan(mixture).splits
    if asked.split not in splits:
        raise ConfigError([f"--split {asked.split}: this run has none; set mix.validation_tokens above 0"])
    split = splits[asked.split]
    num_steps = step_of(split.num_samples - 1, *_batches(run, asked.split))
    if not 1 <= asked.first <= asked.last <= num_steps:
        given = f"--step {asked.first}" + (f" --last {asked.last}" if asked.last != asked.first else "")
        raise ConfigError([f"{given}: expected steps of the {asked.split} mixture, 1 to {num_steps}, in order"])
    names = [source.name for source in split.sources]
    if split.first_sample:
        names += [name for phase in read_phases(mixture) for name in phase.weights if name not in names]
    if asked.source is not None and asked.source not in names:
        raise ConfigError([f"--source {asked.source}: no such source; the mixture has {', '.join(names)}"])


def _batches(run: RunConfig, split: str) -> tuple[BatchRamp | None, int]:
    """Ramp and full size of a split's batches; only those of training grow."""
    return (run.train.batch_ramp if split == "train" else None), run.train.global_batch


def _mixture_uri(run: RunConfig, run_file: str) -> str:
    """The run's mixture: as planned, or as its record says where inputs of the run cannot be read any more."""
    try:
        uri = make_plan(run, run_file=run_file).mix.uri
    except ConfigError as error:
        record = run_record_uri(run, run.variant or "").removesuffix(".yaml") + ".json"
        try:
            uri = RunRecord.from_json(read_bytes(record)).uri(run.root, "mix")
        except (FileNotFoundError, ValueError, KeyError):
            raise error from None
    if read_manifest(uri) is None:
        command = f"hibari run {named_run_file(run, run_file)} --root {run.root} --until mix"
        raise StageError(f"mix is not complete for this run file; run: {command}")
    return uri


def _stretches(mixture: str, split: str, first: int, end: int) -> Iterator[tuple[str, int, int]]:
    """(mixture, samples from, to): which mixture holds each part of the samples [first, end) of the run."""
    plan = read_plan(mixture).splits[split]
    end = min(end, plan.num_samples)
    if first < plan.first_sample:
        for phase in read_phases(mixture)[:-1]:
            here, until = max(first, phase.first_sample), min(end, phase.end_sample)
            if here < until:
                uri = resolve_uri(mixture, f"../{phase.mixture}")
                if read_manifest(uri) is None:
                    raise StageError(f"samples {here} to {until - 1} were read from {uri}, which is not there any more")
                yield uri, here, until
    if (here := max(first, plan.first_sample)) < end:
        yield mixture, here, end


def _read(run: RunConfig, uri: str, mixture: Mixture, asked: Steps, samples: range) -> list[ReadSample]:
    """The samples of one mixture, with the origins of their documents looked up a source at a time."""
    traces = {i: mixture.trace(i) for i in samples}
    traces = {i: trace for i, trace in traces.items() if asked.source in (None, mixture.sources[trace.source])}
    origins: dict[int, dict[int, Origin]] = {}
    encoder = None
    for number in sorted({trace.source for trace in traces.values()}):
        planned = mixture.plan.sources[number]
        binarized = resolve_uri(uri, planned.tokens).rsplit("/", 2)[0]
        rows = [span.row for trace in traces.values() if trace.source == number for span in trace.spans]
        origins[number] = find_origins(run, binarized, planned.name, asked.split, rows)
        encoder = encoder or (_encoder(binarized) if asked.text else None)
    found = []
    for i, trace in traces.items():
        pieces = [Piece(s.offset, s.offset + s.length, origins[trace.source][s.row]) for s in trace.spans]
        sample = mixture[i]
        if encoder is not None:
            pieces = _with_texts(pieces, sample, encoder)
        step = step_of(i, *_batches(run, asked.split))
        found.append(ReadSample(step, i, mixture.sources[trace.source], sample.padding, tuple(pieces)))
    return found


def _encoder(binarized: str) -> Encoder:
    """The tokenizer that token files were made with."""
    manifest = read_manifest(binarized)
    assert manifest is not None, f"{binarized} is not complete, and a mixture was made of it"
    tokenizer = join(sibling(binarized, manifest, "expand"), "tokenizer")
    try:
        return load_encoder(tokenizer)
    except (OSError, ValueError) as error:
        raise StageError(f"--text needs the tokenizer of the token files, {tokenizer}: {error}") from error


def _with_texts(pieces: Sequence[Piece], sample: Sample, encoder: Encoder) -> list[Piece]:
    """The pieces with how each begins, on one line."""
    read = sample.tokens[: len(sample.tokens) - sample.padding]
    at = len(read) - sum(piece.stop - piece.start for piece in pieces)  # a packed sample may begin with an end token
    found = []
    for piece in pieces:
        ids = read[at : at + min(TEXT_TOKENS, piece.stop - piece.start)].tolist()
        text = " ".join(_printable(encoder.decode(ids)).split())
        found.append(replace(piece, text=text if len(text) <= TEXT_CHARACTERS else f"{text[:TEXT_CHARACTERS]}…"))
        at += piece.stop - piece.start
    return found


def _printable(text: str) -> str:
    """Without what would steer a terminal: controls, and marks that turn the direction of writing."""
    return "".join(character if character.isprintable() else " " for character in text)


def _table(samples: Sequence[ReadSample], asked: Steps) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("step", "sample", "source", "tokens", "document", "read from"):
        table.add_column(heading, justify="right" if heading in ("step", "sample") else "left", overflow="fold")
    if asked.text:
        table.add_column("begins", overflow="fold")
    for sample in samples:
        for number, piece in enumerate(sample.documents):
            who = (f"{sample.step}", f"{sample.sample}", sample.source) if number == 0 else ("", "", "")
            row = [*who, f"{piece.start}–{piece.stop}", piece.origin.id.hex(), _place(piece.origin)]
            table.add_row(*map(Text, row), *([Text(piece.text or "")] if asked.text else []))
        if sample.padding:
            table.add_row("", "", "", Text(f"{sample.padding} of padding"), "", "")
    return table


def _place(origin: Origin) -> str:
    if origin.url:
        return _printable(origin.url)
    file = Path(origin.file).name if origin.file else "a file that is not there any more"
    return f"{file}, row {origin.row}"


def _json(sample: ReadSample) -> dict[str, Any]:
    documents = []
    for piece in sample.documents:
        origin = piece.origin
        entry: dict[str, Any] = {"id": origin.id.hex(), "from": piece.start, "to": piece.stop}
        entry |= {"url": origin.url, "file": origin.file, "row": origin.row}
        entry |= {"problem": origin.problem} if origin.problem else {}
        documents.append(entry | ({"text": piece.text} if piece.text is not None else {}))
    named = {"step": sample.step, "sample": sample.sample, "source": sample.source, "padding": sample.padding}
    return named | {"documents": documents}
