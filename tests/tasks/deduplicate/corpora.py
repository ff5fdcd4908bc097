"""What tests of whole deduplications share: documents to write, and complete artifacts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa

from storage.artifact import Manifest, Outcome, content_digest, seal
from storage.documents import document_id, document_schema, write_documents
from tasks.refine.config import RefineConfig

WORDS = ["雲雀", "野原", "春風", "朝霧", "歌声", "丘", "川辺", "麦畑", "青空", "巣", "羽", "旅人", "古道", "村", "鐘"]
VERBS = ["渡る", "響く", "昇る", "眠る", "揺れる", "光る", "消える", "流れる", "集う", "笑う"]
UNREFINED = RefineConfig.model_validate(
    {
        "hosts": {"files": [], "patterns": []},
        "boilerplate": {"enabled": False},
        "japanese_punctuation": False,
        "footer": {"files": []},
        "pii": {"enabled": False},
    }
)


@dataclass(frozen=True)
class Page:
    """A document; its id is made of the shard's name and its place."""

    text: str
    crawl: str | None = "CC-MAIN-2024-10"
    url: str | None = None
    host: str | None = None
    fetched_at: datetime | None = None
    quality: float | None = None


def sentences(seed: int, number: int = 60) -> str:
    """Japanese-looking text without repeats, different for each seed."""
    rng = Random(seed)
    return "\n".join(
        f"{rng.choice(WORDS)}の{rng.choice(WORDS)}に{rng.choice(WORDS)}が{rng.randint(1, 999)}回{rng.choice(VERBS)}。"
        for _ in range(number)
    )


def write_pages(folder: Path, name: str, pages: Sequence[Page]) -> str:
    """A document shard; the id of page i is document_id(name, i). Its URI."""
    schema = document_schema([pa.field("quality_score", pa.float64())])
    columns: dict[str, list[Any]] = {field.name: [None] * len(pages) for field in schema}
    columns["id"] = [document_id(name, number) for number in range(len(pages))]
    columns["url"] = [page.url or f"https://example.org/{name}/{number}" for number, page in enumerate(pages)]
    columns["quality_score"] = [page.quality for page in pages]
    for column in ("host", "crawl", "fetched_at", "text"):
        columns[column] = [getattr(page, column) for page in pages]
    columns["num_characters"] = [len(page.text) for page in pages]
    columns["lines_removed"] = columns["characters_removed"] = [0] * len(pages)
    write_documents(str(folder), f"{name}.parquet", pa.table(columns, schema=schema))
    return str(folder / f"{name}.parquet")


def random_pages(rng: Random, number: int, crawl: str) -> list[Page]:
    """Pages of one crawl that copy and edit a few texts, so that copies meet across crawls in every way.

    Sometimes a page is made of two texts, and so ties their clusters; URLs come again with another text.
    """
    pages = []
    for _ in range(number):
        first, second = sentences(rng.randrange(30), 16), sentences(rng.randrange(30), 16)
        text = rng.choice([first, first, first + "\n", first[: len(first) * 2 // 3] + second[len(second) * 2 // 3 :]])
        text = text.replace(rng.choice(WORDS), rng.choice(WORDS), rng.choice([0, 0, 1, 2]))
        pages.append(
            Page(
                text,
                rng.choice([crawl, crawl, crawl, None]),
                f"https://example.org/{rng.randrange(60)}",
                rng.choice(["example.org", None]),
                datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=rng.randrange(20)),
                rng.choice([None, round(rng.random(), 1)]),
            )
        )
    return pages


def sealed(out: str, outcome: Outcome) -> Outcome:
    """Make a complete artifact of what a call of `deduplicate` has left."""
    manifest = Manifest(
        stage="deduplicate",
        name="test",
        fingerprint="0" * 64,
        algorithm_version="3",
        literals={},
        inputs={},
        libraries={},
        files=sorted(outcome.files, key=lambda file: file.path),
        counts=outcome.counts,
        content_digest=content_digest(outcome.files),
        started="",
        seconds=0.0,
        details=outcome.details,
    )
    seal(out, manifest)
    return outcome
