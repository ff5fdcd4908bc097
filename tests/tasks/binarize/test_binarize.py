"""binarize: every document once and in one place, the same files however they were made."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from storage.artifact import Outcome, content_digest, file_entries
from storage.corpus import CorpusShard
from storage.documents import document_id
from storage.held_out import is_validation
from storage.token_catalog import (
    SPLITS,
    document_ids,
    document_places,
    document_rows_path,
    read_catalog,
    token_prefix,
)
from storage.tokens import TokenFile
from storage.uri import expand_glob
from tasks.binarize import shard as shard_module
from tasks.binarize.binarize import SourceInput, binarize
from tasks.binarize.config import BinarizeConfig
from tasks.binarize.shard import BinarizeShard, binarize_shard
from tasks.shards import ExecutorConfig, ShardFailedError
from tests.tasks.binarize.inputs import (
    CONFIG,
    corpus_id,
    en,
    ja,
    make_sources,
    train_tokenizer,
    write_lines,
    write_shard,
)
from tokenizer.encoder import Encoded, load_encoder

TWO = ExecutorConfig(workers=2)


@dataclass(frozen=True)
class Run:
    out: str
    outcome: Outcome

    def file(self, source: str, split: str) -> TokenFile:
        return TokenFile.open(f"{self.out}/{token_prefix(source, split)}")

    def ids(self, source: str, split: str) -> list[bytes]:
        rows = self.file(source, split).num_documents
        return document_ids(f"{self.out}/{document_rows_path(source, split)}", range(rows))


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    return train_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> list[SourceInput]:
    return make_sources(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, inputs: list[SourceInput], tokenizer: str) -> Run:
    out = str(tmp_path_factory.mktemp("out") / "binarize")
    return Run(out, binarize(inputs, tokenizer, CONFIG, out=out, executor=TWO))


def test_what_is_read_is_kept_or_counted(run: Run) -> None:
    counts = run.outcome.counts
    assert counts["documents_corpus_read"] == 90
    assert counts["documents_web-en_read"] == 84
    assert counts["documents_notes_read"] == 33
    for source in ("corpus", "web-en", "notes"):
        dropped = [counts[f"documents_{source}_{why}"] for why in ("empty", "duplicate", "held_out_elsewhere")]
        kept = [counts[f"documents_{source}_{split}"] for split in SPLITS]
        assert sum(dropped) + sum(kept) == counts[f"documents_{source}_read"]
        assert dropped == {"corpus": [0, 0, 0], "web-en": [2, 2, 0], "notes": [0, 0, 2]}[source]
        assert min(kept) > 0
    for what in ("documents", "tokens", "bytes"):
        assert counts[what] == sum(
            counts[f"{what}_{source}_{split}"] for source in ("corpus", "web-en", "notes") for split in SPLITS
        )


def test_documents_stand_in_order_with_what_the_policy_puts_around(run: Run, tokenizer: str) -> None:
    encoder = load_encoder(tokenizer)
    trained = [number for number in range(90) if not is_validation(corpus_id(number), 0.2)]
    tokens = run.file("corpus", "train")
    assert [tokens.document(row).tolist() for row in range(tokens.num_documents)] == [
        encoder.document(ja(number)) for number in trained
    ]
    assert tokens.document(0)[0] == encoder.bos_id
    assert tokens.document(0)[-1] == encoder.eos_id
    english = run.file("web-en", "train")
    texts = [encoder.decode(english.document(row).tolist()) for row in range(english.num_documents)]
    keys = {f"en-{number}": en(number) for number in range(60)}
    keys |= {f"b.jsonl:{line}": en(99 + line) for line in range(1, 21)}  # no ids there
    assert texts == [text for key, text in keys.items() if not is_validation(document_id("web-en", key), 0.2)]
    assert all("<s>" in text for text in texts)  # what looks like a special token is text


def test_rows_name_the_documents(run: Run, inputs: list[SourceInput], tokenizer: str) -> None:
    encoder = load_encoder(tokenizer)
    for split in SPLITS:
        mine = [number for number in range(90) if is_validation(corpus_id(number), 0.2) == (split == "validation")]
        assert run.ids("corpus", split) == [corpus_id(number) for number in mine]
        table = pq.read_table(f"{run.out}/{document_rows_path('corpus', split)}")
        assert table.column("num_bytes").to_pylist() == [len(ja(number).encode()) for number in mine]
        lengths = run.file("corpus", split).document_lengths
        assert table.column("num_tokens").to_pylist() == lengths.tolist()
        assert lengths.tolist() == [len(encoder.document(ja(number))) for number in mine]
    held_out = pq.read_table(f"{run.out}/corpus/validation.parquet")
    assert held_out.column("text").to_pylist() == [ja(number) for number in mine]


def test_no_held_out_text_is_trained_on(run: Run, tokenizer: str) -> None:
    encoder = load_encoder(tokenizer)
    held_out, trained = set(), set()
    for source in ("corpus", "web-en", "notes"):
        held_out |= set(pq.read_table(f"{run.out}/{source}/validation.parquet").column("text").to_pylist())
        tokens = run.file(source, "train")
        trained |= {encoder.decode(tokens.document(row).tolist()) for row in range(tokens.num_documents)}
    assert len(held_out) > 10
    assert len(trained) > 100
    assert not held_out & trained


def test_the_catalog_describes_the_files(run: Run) -> None:
    catalog = read_catalog(run.out)
    assert [(source.name, source.language) for source in catalog] == [
        ("corpus", "ja"),
        ("web-en", "en"),
        ("notes", "ja"),
    ]
    by_path = {entry.path: entry for entry in run.outcome.files}
    for source in catalog:
        for split, described in source.splits.items():
            tokens = run.file(source.name, split)
            assert (described.documents, described.tokens) == (tokens.num_documents, tokens.num_tokens)
            prefix = token_prefix(source.name, split)
            assert described.bin_sha256 == by_path[f"{prefix}.bin"].sha256
            assert described.idx_sha256 == by_path[f"{prefix}.idx"].sha256
    assert file_entries(run.out, by_path) == sorted(run.outcome.files, key=lambda entry: entry.path)
    assert not (Path(run.out) / "_parts").exists()


def test_one_worker_leaves_the_same_files(run: Run, inputs: list[SourceInput], tokenizer: str, tmp_path: Path) -> None:
    alone = binarize(inputs, tokenizer, CONFIG, out=str(tmp_path), executor=ExecutorConfig(workers=1))
    assert content_digest(alone.files) == content_digest(run.outcome.files)
    assert alone.counts == run.outcome.counts


@pytest.mark.usefixtures("shards_in_threads")
def test_resumed_equals_undisturbed(run: Run, tokenizer: str, tmp_path: Path) -> None:
    sources = make_sources(tmp_path / "inputs")
    notes = Path(str(sources[2].documents[0]))
    whole = notes.read_bytes()
    notes.write_bytes(whole + b"{broken")
    out = tmp_path / "out"
    with pytest.raises(ShardFailedError, match=r"shard notes\.00000: .*line 34: not JSON"):
        binarize(sources, tokenizer, CONFIG, out=str(out), executor=ExecutorConfig(workers=1))
    done = out / "_shards" / "corpus.00000.json"
    first_time = done.stat().st_mtime_ns
    notes.write_bytes(whole)
    seen: list[float] = []
    resumed = binarize(
        sources,
        tokenizer,
        CONFIG,
        out=str(out),
        executor=TWO,
        progress=lambda done, all, counts: seen.append(done),
    )
    assert seen[0] >= 1, "the finished shard counts from the start"
    assert done.stat().st_mtime_ns == first_time
    assert content_digest(resumed.files) == content_digest(run.outcome.files)


def test_a_language_without_a_held_out_document_says_which_ratio_would_do(tokenizer: str, tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "corpus", "part-0", range(5))
    source = [SourceInput("corpus", "ja", (shard,))]
    config = BinarizeConfig(validation_ratio=0.0001)
    with pytest.raises(
        ValueError, match=r"language 'ja' has 5 documents, and validation_ratio 0\.0001 holds out none"
    ) as caught:
        binarize(source, tokenizer, config, out=str(tmp_path / "a"), executor=ExecutorConfig(workers=1))
    enough = float(str(caught.value).split("validation_ratio to ")[1].split()[0])
    config = BinarizeConfig(validation_ratio=enough)
    outcome = binarize(source, tokenizer, config, out=str(tmp_path / "b"), executor=ExecutorConfig(workers=1))
    assert outcome.counts["documents_corpus_validation"] == 1


def test_a_source_with_nothing_in_it_is_named(tokenizer: str, tmp_path: Path) -> None:
    sources = [
        SourceInput("corpus", "ja", (write_shard(tmp_path, "none", []),)),
        SourceInput("web-en", "en", (write_lines(tmp_path / "en.jsonl", [{"text": " "}]),)),
    ]
    with pytest.raises(ValueError, match=r"source 'corpus' has no document to train on") as caught:
        binarize(sources, tokenizer, CONFIG, out=str(tmp_path / "out"), executor=ExecutorConfig(workers=1))
    assert "source 'web-en' has no document to train on" in str(caught.value)
    assert "language 'en' has no document at all" in str(caught.value)


def test_inputs_are_checked_before_anything_is_tokenised(tmp_path: Path) -> None:
    sources = [SourceInput("a", "ja", ()), SourceInput("a", "ja", ("x",))]
    with pytest.raises(ValueError, match="two sources are called 'a'; source 'a' has no document files"):
        binarize(sources, "nowhere", CONFIG, out=str(tmp_path / "out"), executor=TWO)
    missing = [SourceInput("a", "ja", (str(tmp_path / "gone.jsonl"),))]
    with pytest.raises(FileNotFoundError, match=r"gone\.jsonl"):
        binarize(missing, "nowhere", CONFIG, out=str(tmp_path / "out"), executor=TWO)
    assert not (tmp_path / "out").exists()


class CodePoints:
    """An encoder whose ids are code points, of a vocabulary beyond uint16."""

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size = vocab_size

    def documents(self, texts: pa.StringArray) -> Encoded:
        rows = [[1, *map(ord, text), 2] for text in texts.to_pylist()]
        bounds = np.cumsum([0, *map(len, rows)])
        return Encoded(np.array([id for row in rows for id in row], np.int32), bounds)


def shard_of(tmp_path: Path, uri: str) -> BinarizeShard:
    return BinarizeShard("a.00000", str(tmp_path / "out"), uri, 0, "a", "tokenizer", 0.2)


def test_a_large_vocabulary_is_stored_as_int32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_module, "_encoder", lambda folder: CodePoints(0x110000))
    uri = write_lines(tmp_path / "a.jsonl", [{"text": "空に🐦が一羽"}])
    binarize_shard(shard_of(tmp_path, uri))
    tokens = TokenFile.open(str(tmp_path / "out/_parts/a.00000"))
    assert tokens.dtype == np.int32
    assert tokens.document(0).tolist() == [1, *map(ord, "空に🐦が一羽"), 2]


def test_the_bytes_of_a_part_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails when token files change; then the stage's algorithm version must rise."""
    monkeypatch.setattr(shard_module, "_encoder", lambda folder: CodePoints(60_000))
    uri = write_lines(tmp_path / "a.jsonl", [{"text": ja(number)} for number in range(20)])
    files = {entry.path: entry.sha256[:16] for entry in binarize_shard(shard_of(tmp_path, uri)).files}
    assert files["_parts/a.00000.bin"] == "13e70a9308f68831"
    assert files["_parts/a.00000.idx"] == "1cd36899965dacb1"


def test_broken_unicode_names_the_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_module, "_encoder", lambda folder: CodePoints(0x110000))
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "雲\\ud800雀"}\n')
    with pytest.raises(ValueError, match=r"a\.jsonl, line 1: .*surrogates"):
        binarize_shard(shard_of(tmp_path, str(path)))


@pytest.mark.usefixtures("shards_in_threads")
def test_what_a_later_generation_superseded_is_in_no_token_file(tokenizer: str, tmp_path: Path) -> None:
    kept = [number for number in range(60) if not 10 <= number < 25]
    earlier = write_shard(tmp_path / "earlier", "part", range(60))
    gone = write_shard(tmp_path / "newest", "gone", range(10, 25))
    corpora = {
        "onto": (CorpusShard(earlier.uri, gone.uri), write_shard(tmp_path / "newest", "part", range(70, 80))),
        "at-once": tuple(
            write_shard(tmp_path / f"{at}", "part", part) for at, part in enumerate([kept, range(70, 80)])
        ),
    }
    tokens, tables = set(), []
    for name, shards in corpora.items():
        source = SourceInput("corpus", "ja", shards)
        out = tmp_path / name
        outcome = binarize([source], tokenizer, CONFIG, out=str(out), executor=TWO)
        assert outcome.counts["documents_corpus_read"] == len(kept) + 10
        tokens.add(content_digest(entry for entry in outcome.files if entry.path.endswith((".bin", ".idx", ".json"))))
        tables.append([pq.read_table(out / document_rows_path("corpus", split)) for split in SPLITS])
    assert len(tokens) == 1
    for onto, at_once in zip(*tables, strict=True):
        assert onto.drop_columns(["row"]) == at_once.drop_columns(["row"])
        in_file = {corpus_id(number): number if number < 60 else number - 70 for number in (*kept, *range(70, 80))}
        assert onto.column("row").to_pylist() == [in_file[id] for id in onto.column("id").to_pylist()]


def test_places_lead_back_to_the_documents(run: Run, inputs: list[SourceInput]) -> None:
    for source in inputs:
        files = [file for uri in source.documents for file in ([uri] if not isinstance(uri, str) else expand_glob(uri))]
        texts = [read_rows(file) for file in files]
        for split in SPLITS:
            table = f"{run.out}/{document_rows_path(source.name, split)}"
            num_bytes = pq.read_table(table).column("num_bytes").to_pylist()
            places = document_places(table, range(len(num_bytes)))
            assert [id for id, _, _ in places] == run.ids(source.name, split)
            assert [(id, len(text.encode())) for id, text in (texts[file][row] for _, file, row in places)] == [
                (id, length) for (id, _, _), length in zip(places, num_bytes, strict=True)
            ]


def read_rows(file: CorpusShard | str) -> list[tuple[bytes, str]]:
    """(id, text) of every row of a file of `make_sources`, read without what is tested."""
    if isinstance(file, CorpusShard):
        table = pq.read_table(file.uri)
        return list(zip(table.column("id").to_pylist(), table.column("text").to_pylist(), strict=True))
    data = Path(file).read_bytes()
    lines = (gzip.decompress(data) if file.endswith(".gz") else data).decode().splitlines()
    rows = [json.loads(line) for line in lines]
    source = "notes" if "notes" in file else "web-en"
    keys = [row.get("id", f"{Path(file).name}:{number}") for number, row in enumerate(rows, 1)]
    return [(document_id(source, key), row["text"]) for key, row in zip(keys, rows, strict=True)]


@pytest.mark.parametrize("batch_bytes", [1, 150, 1000])
def test_batches_make_no_difference(
    batch_bytes: int, tokenizer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those shorter than a document, and with documents of no text, or of much, between others."""
    texts = [ja(1), "", en(2), " \u3000\n", ja(3) * 200, *map(en, range(20)), "\x1f"]
    uri = write_lines(tmp_path / "a.jsonl", [{"text": text} for text in texts])
    shard = replace(shard_of(tmp_path, uri), tokenizer=tokenizer)
    expected = binarize_shard(shard)
    monkeypatch.setattr(shard_module, "BATCH_BYTES", batch_bytes)
    assert binarize_shard(shard) == expected
    assert (expected.counts["documents_read"], expected.counts["documents_empty"]) == (26, 3)
    tokens = TokenFile.open(f"{shard.out}/_parts/{shard.key}")
    encoder = load_encoder(tokenizer)
    assert [tokens.document(row).tolist() for row in range(23)] == [encoder.document(t) for t in texts if t.strip()]


def test_what_is_white_space_is_what_python_calls_so() -> None:
    """A text of white space is no document; Arrow decides it, for every code point as `str.strip` does."""
    characters = [chr(point) for point in range(0x110000) if not 0xD800 <= point < 0xE000]
    blank = pc.utf8_is_space(pa.array(characters)).to_pylist()
    assert [c for c, found in zip(characters, blank, strict=True) if found] == [c for c in characters if not c.strip()]


def test_a_parquet_file_that_lies_about_utf8_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_module, "_encoder", lambda folder: CodePoints(0x110000))
    octets = pa.array([b"lark", "雲".encode()[:2]])
    text = pa.StringArray.from_buffers(2, octets.buffers()[1], octets.buffers()[2])
    ids = pa.array([corpus_id(0), corpus_id(1)], pa.binary(16))
    pq.write_table(pa.table({"id": ids, "text": text}), tmp_path / "broken.parquet")
    shard = replace(shard_of(tmp_path, ""), documents=CorpusShard(str(tmp_path / "broken.parquet")))
    with pytest.raises(ValueError, match=rf"broken\.parquet: document {corpus_id(1).hex()} is not UTF-8 at byte 0"):
        binarize_shard(shard)


@pytest.mark.usefixtures("shards_in_threads")
def test_large_files_are_shared_out_and_the_result_is_the_same(
    tokenizer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """JSON lines and Parquet in stretches, most without ids; also when one stretch had failed before."""
    lines: list[dict[str, object]] = [{"text": en(number)} for number in range(80)]
    path = Path(write_lines(tmp_path / "a.jsonl", lines))
    texts = pa.table({"text": [ja(number) for number in range(90)]})
    pq.write_table(texts, tmp_path / "b.parquet", row_group_size=10)
    sources = [
        SourceInput("web-en", "en", (str(path), write_lines(tmp_path / "c.jsonl.gz", [{"text": en(90)}]))),
        SourceInput("notes", "ja", (str(tmp_path / "b.parquet"),)),
    ]
    whole = binarize(sources, tokenizer, CONFIG, out=str(tmp_path / "whole"), executor=TWO)

    monkeypatch.setattr("storage.stretches.STRETCH_BYTES", 1000)
    out = tmp_path / "out"
    data = path.read_bytes()
    path.write_bytes(data[:-5] + b"!!!!\n")
    with pytest.raises(ShardFailedError, match=r"shard web-en\.00000-\d{5}: .*line 80: not JSON"):
        binarize(sources, tokenizer, CONFIG, out=str(out), executor=TWO)
    path.write_bytes(data)
    total: list[int] = []
    shared = binarize(
        sources, tokenizer, CONFIG, out=str(out), executor=TWO, progress=lambda done, all, counts: total.append(all)
    )
    assert total[0] > 10
    assert content_digest(shared.files) == content_digest(whole.files)
    assert shared.counts == whole.counts
