"""Texts, shards and a tokenizer for the tests of this folder."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import sentencepiece

from storage.corpus import CorpusShard
from storage.documents import document_id, write_documents
from storage.held_out import is_validation
from tasks.binarize.binarize import SourceInput
from tasks.binarize.config import BinarizeConfig

CONFIG = BinarizeConfig(validation_ratio=0.2)


def ja(number: int) -> str:
    first = f"第{number}話。雲雀は麦畑の上で{number % 7}回鳴き、{number * 3}羽の雀が答えた。"
    return f"{first}\n夕方には静かになる。"


def en(number: int) -> str:
    return f"Note {number}: the lark rose over field {number * 5} and sang <s> until dusk."


def write_shard(folder: Path, name: str, numbers: Sequence[int]) -> CorpusShard:
    """A shard of the corpus with `ja(number)` for each number."""
    table = pa.table(
        {
            "id": pa.array([corpus_id(number) for number in numbers], pa.binary(16)),
            "text": [ja(number) for number in numbers],
        }
    )
    write_documents(str(folder), f"documents/{name}.parquet", table)
    return CorpusShard(str(folder / "documents" / f"{name}.parquet"))


def corpus_id(number: int) -> bytes:
    return document_id("A.warc.gz", number)


def write_lines(path: Path, rows: Sequence[dict[str, object]]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(lines, mtime=0) if path.suffix == ".gz" else lines)
    return str(path)


def make_sources(folder: Path) -> list[SourceInput]:
    """The run's corpus in three shards; English with two copies and two empty texts; Japanese notes.

    Three of the notes repeat texts of the corpus: two that it holds out and one that it trains on.
    """
    held_out = [number for number in range(90) if is_validation(corpus_id(number), CONFIG.validation_ratio)]
    trained = [number for number in range(90) if number not in held_out]
    shards = [write_shard(folder / "corpus", f"part-{at}", range(30 * at, 30 * at + 30)) for at in range(3)]
    english: list[dict[str, object]] = [{"id": f"en-{number}", "text": en(number)} for number in range(60)]
    english[7:7] = [{"id": "copy", "text": en(3)}, {"id": "empty", "text": ""}]
    second: list[dict[str, object]] = [{"text": en(number)} for number in range(100, 120)]
    second += [{"text": en(59)}, {"text": " \n"}]
    write_lines(folder / "en" / "a.jsonl.gz", english)
    write_lines(folder / "en" / "b.jsonl", second)
    notes = [{"id": f"n{number}", "text": f"覚え書き{number}。{ja(number + 500)}"} for number in range(30)]
    training_ids = [key for key in map(str, range(1000)) if not is_validation(document_id("notes", key), 0.2)]
    copies = [*held_out[:2], trained[0]]
    notes += [{"id": key, "text": ja(number)} for key, number in zip(training_ids, copies, strict=False)]
    return [
        SourceInput("corpus", "ja", tuple(shards)),
        SourceInput("web-en", "en", (str(folder / "en" / "*"),)),
        SourceInput("notes", "ja", (write_lines(folder / "notes.jsonl", notes),)),
    ]


def train_tokenizer(folder: Path) -> str:
    """A folder with a small SentencePiece model: byte fallback, BOS 1 and EOS 2."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = [ja(number) for number in range(200)] + [en(number) for number in range(200)]
    (folder / "text.txt").write_text("\n".join(texts), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "text.txt"),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=380,
        model_type="bpe",
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return str(folder)
