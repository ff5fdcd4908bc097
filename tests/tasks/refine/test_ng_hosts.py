"""Hosts of NG words: which hosts the list names, and that blocking reads it back."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from storage.documents import write_parquet
from tasks.refine.config import HostsConfig
from tasks.refine.hosts import BlockedHosts
from tasks.refine.ng_hosts import NgHost, find_ng_hosts, to_list

SCHEMA = pa.schema([("url", pa.string()), ("ng_word_fraction", pa.float64())])


def write_metrics(folder: Path, name: str, rows: list[tuple[str | None, float]]) -> str:
    table = pa.table([[url for url, _ in rows], [value for _, value in rows]], schema=SCHEMA)
    write_parquet(str(folder), name, table.to_batches(), SCHEMA)
    return str(folder / name)


def pages(host: str, num_pages: int, num_ng: int) -> list[tuple[str | None, float]]:
    return [(f"https://{host}/{number}", 0.05 if number < num_ng else 0.049) for number in range(num_pages)]


@pytest.mark.parametrize(
    ("num_pages", "num_ng", "is_listed"),
    [(399, 2, True), (400, 2, False), (2, 2, True), (2, 1, False), (100, 1, False)],
)
def test_more_than_a_share_of_the_pages_and_more_than_one(
    tmp_path: Path, num_pages: int, num_ng: int, is_listed: bool
) -> None:
    uri = write_metrics(tmp_path, "a.parquet", pages("izakaya.example", num_pages, num_ng))
    expected = [NgHost("izakaya.example", num_ng, num_pages)] if is_listed else []
    assert find_ng_hosts([uri], page_ratio=0.05) == expected


def test_pages_of_all_files_count_under_one_name_and_come_sorted(tmp_path: Path) -> None:
    odd = [
        (None, 1.0),
        ("https://[broken/", 1.0),
        ("https://WWW.Zoo.example./", 1.0),
        ("https://www.zoo.example/2", 1.0),
    ]
    uris = [
        write_metrics(tmp_path, "a.parquet", [*odd, ("https://ひばり.example/1", 0.5)]),
        write_metrics(tmp_path, "b.parquet", [("https://xn--w9jd7e.example/2", 0.5)]),
    ]
    assert find_ng_hosts(uris, 0.05) == [NgHost("www.zoo.example", 2, 2), NgHost("xn--w9jd7e.example", 2, 2)]
    assert find_ng_hosts(uris, 0.05, min_pages=3) == []
    assert find_ng_hosts(uris[:1], 0.05, min_pages=1, min_share=0.99)[1] == NgHost("xn--w9jd7e.example", 1, 1)


def test_the_list_is_one_that_blocks(tmp_path: Path) -> None:
    text = to_list([NgHost("www.zoo.example", 3, 40)], "demo")
    (tmp_path / "ng.txt").write_text(text)
    assert text.endswith("\nwww.zoo.example  # 3 of 40\n")
    blocked = BlockedHosts(HostsConfig(files=(f"{tmp_path}/ng.txt",), patterns=()))
    assert blocked.match("www.zoo.example", None) == "www.zoo.example"
    assert blocked.match("zoo.example", None) is None
