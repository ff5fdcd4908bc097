"""The survivor policies: a total order that every reader of the index arrives at."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tasks.deduplicate.config import DeduplicateConfig
from tasks.deduplicate.policy import fixed_bytes, read_rank_columns, refuse_equal_ids, survivor_order
from tests.tasks.deduplicate.made_index import Document, by_rank, write_index

CONFIG = DeduplicateConfig(bands=1, rows=1)


def document(name: str, **others: Any) -> Document:
    id = name.encode().rjust(16, b"\0")
    return Document(id=id, bands=(1,), exact=id, **others)


def order(out: Path, shards: list[list[Document]], policy: Any) -> str:
    """Names of the documents from best to worst."""
    ids, rows = survivor_order(write_index(str(out), shards, CONFIG), policy)
    return "".join(ids[row].tobytes().strip(b"\0").decode() for row in rows)


DATED = [
    document("a", crawl="CC-MAIN-2023-50", fetched_at=7),
    document("b", crawl="CC-MAIN-2024-10", fetched_at=5),
    document("c", crawl="CC-MAIN-2024-10", fetched_at=9),
    document("d", crawl="CC-MAIN-2024-10"),
    document("e", crawl="CC-MAIN-2009-2010", fetched_at=1),
    document("f", crawl="unknown", fetched_at=99),
    document("g", crawl=None, fetched_at=98),
]
MEASURED = [
    document("a", num_characters=5, quality=0.5, crawl="CC-MAIN-2023-50"),
    document("b", num_characters=5, quality=0.5, crawl="CC-MAIN-2024-10"),
    document("c", num_characters=9, quality=None, crawl="CC-MAIN-2013-20"),
    document("d", num_characters=1, quality=float("nan"), crawl="unknown"),
    document("e", num_characters=4, quality=0.0, crawl="CC-MAIN-2013-20"),
    document("f", num_characters=5, quality=0.5, crawl=None),
]


@pytest.mark.parametrize(
    ("policy", "documents", "best_first"),
    [
        ("newest", DATED, "cbdaefg"),
        ("oldest", DATED, "eabcdgf"),
        ("longest", MEASURED, "cbafed"),
        ("best_quality", MEASURED, "bafecd"),
    ],
)
def test_what_each_policy_likes_best(tmp_path: Path, policy: str, documents: list[Document], best_first: str) -> None:
    assert order(tmp_path, [documents], policy) == best_first


def test_ties_go_to_the_smaller_url_then_to_the_smaller_id_byte_by_byte(tmp_path: Path) -> None:
    high = Document(id=b"\x80" + b"\0" * 15, bands=(1,), exact=b"e" * 16, url=4)
    low = Document(id=b"\x7f" + b"\xff" * 15, bands=(1,), exact=b"e" * 16, url=4)
    last_byte = Document(id=b"\x80" + b"\0" * 14 + b"\1", bands=(1,), exact=b"e" * 16, url=4)
    no_url = Document(id=b"\xff" * 16, bands=(1,), exact=b"e" * 16, url=0)
    huge_url = Document(id=b"\0" * 16, bands=(1,), exact=b"e" * 16, url=(1 << 64) - 1)
    documents = [huge_url, last_byte, high, low, no_url]
    rows = survivor_order(write_index(str(tmp_path), [documents], CONFIG), "newest")[1]
    assert rows.tolist() == [4, 3, 2, 1, 0]


@pytest.mark.parametrize("policy", ["newest", "oldest", "longest", "best_quality"])
def test_shards_and_their_order_do_not_matter(tmp_path: Path, policy: Any) -> None:
    chance = random.Random(4)
    crawls = ["CC-MAIN-2013-20", "CC-MAIN-2024-10", "CC-MAIN-2019-04", None, "unknown"]
    documents = [
        Document(
            id=chance.randbytes(16),
            bands=(1,),
            exact=b"e" * 16,
            crawl=chance.choice(crawls),
            url=chance.randrange(3),
            fetched_at=chance.choice([None, -1, 0, 1]),
            num_characters=chance.randrange(4),
            quality=chance.choice([None, 0.25, 0.5]),
        )
        for _ in range(80)
    ]
    expected = [one.id for one in by_rank(documents, policy)]
    for cut in (3, 40):
        shards = [documents[:cut], [], documents[cut:]]
        for number, arranged in enumerate((shards, shards[::-1])):
            ids, rows = survivor_order(write_index(str(tmp_path / f"{cut}-{number}"), arranged, CONFIG), policy)
            assert [ids[row].tobytes() for row in rows] == expected


def test_crawls_known_to_some_shards_only_are_told_apart(tmp_path: Path) -> None:
    shards = [
        [document("a", crawl="CC-MAIN-2024-10"), document("b", crawl=None)],
        [document("c", crawl=None)],
        [document("d", crawl="CC-MAIN-2019-04"), document("e", crawl="CC-MAIN-2024-10")],
    ]
    columns = read_rank_columns(write_index(str(tmp_path), shards, CONFIG), "newest")
    assert columns.crawl_names == ["CC-MAIN-2019-04", "CC-MAIN-2024-10"]
    assert columns.crawls.tolist() == [1, -1, -1, 0, 1]


def test_only_whole_ids_that_are_equal_are_refused() -> None:
    ids = np.zeros((3, 16), np.uint8)
    ids[1, 15], ids[2, 0] = 1, 1
    refuse_equal_ids(ids)
    with pytest.raises(ValueError, match=r"1 ids are of more than one document, 0{31}1 of 2"):
        refuse_equal_ids(np.concatenate([ids, ids[1:2]]))


def test_bytes_of_a_sliced_column() -> None:
    values = [bytes([number]) * 16 for number in range(5)]
    column = pa.chunked_array([pa.array(values, pa.binary(16))[1:3], pa.array(values[:0], pa.binary(16))])
    assert [row.tobytes() for row in fixed_bytes(column)] == values[1:3]
    assert fixed_bytes(column[:0]).shape == (0, 16)
