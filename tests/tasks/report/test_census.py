"""The corpus card counts every document once, whatever the batches, in memory that does not grow with them."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from storage.corpus import CorpusShard
from tasks.report import census
from tasks.report.census import Census, census_of, corpus_card, percentiles
from tests.tasks.report.made_up_files import TEXTS, document, write_shard


def write(root: Path, *shards: list[dict[str, Any]]) -> list[CorpusShard]:
    entries = [write_shard(str(root), f"WARC-{number:05d}", rows) for number, rows in enumerate(shards)]
    return [CorpusShard(str(root / entry.path)) for entry in entries]


def test_every_column_is_counted(tmp_path: Path) -> None:
    one = [document("A", n, TEXTS[n % 4], language_score=0.5 + n / 100, charset="cp932") for n in range(5)]
    two = [document("B", n, TEXTS[0], crawl="CC-MAIN-2024-18", host="b.example.jp") for n in range(3)]
    card = corpus_card(census_of(write(tmp_path, one, two)))
    assert card["documents"] == 8
    assert card["characters"] == sum(row["num_characters"] for row in one + two)
    assert [(host["name"], host["count"]) for host in card["hosts"]["top"]] == [
        ("a.example.jp", 5),
        ("b.example.jp", 3),
    ]
    assert card["hosts"]["distinct"] == 2
    assert [(charset["name"], charset["share"]) for charset in card["charsets"]] == [("cp932", 0.625), ("utf-8", 0.375)]
    assert [(crawl["name"], crawl["warcs"], crawl["documents"]) for crawl in card["crawls"]] == [
        ("CC-MAIN-2024-10", 1, 5),
        ("CC-MAIN-2024-18", 1, 3),
    ]
    scores = {bar["from"]: bar["count"] for bar in card["language_scores"]}
    assert (scores[0.5], scores[0.9], sum(scores.values())) == (5, 3, 8)
    assert sum(bar["count"] for bar in card["lengths"]["bars"]) == 8


def test_what_a_document_does_not_have_is_unknown_and_not_lost(tmp_path: Path) -> None:
    row = document("A", 1, TEXTS[0], host=None, charset="", crawl=None, fetched_at=None, language_score=None)
    card = corpus_card(census_of(write(tmp_path, [row])))
    assert [host["name"] for host in card["hosts"]["top"]] == ["unknown"]
    assert [charset["name"] for charset in card["charsets"]] == ["unknown"]
    assert [crawl["name"] for crawl in card["crawls"]] == ["unknown"]
    assert card["dates"]["bars"] == []
    assert card["language_scores"] == []


@pytest.mark.parametrize(
    ("days", "unit", "labels"),
    [
        (["2024-02-28", "2024-03-01"], "day", ["2024-02-28", "2024-02-29", "2024-03-01"]),
        (["2023-11-30", "2024-02-01"], "month", ["2023-11", "2023-12", "2024-01", "2024-02"]),
        (["2013-05-01", "2019-01-01"], "year", [str(year) for year in range(2013, 2020)]),
    ],
)
def test_dates_are_drawn_by_day_month_or_year_without_gaps(
    days: list[str], unit: str, labels: list[str], tmp_path: Path
) -> None:
    rows = [
        document("A", n, TEXTS[0], fetched_at=datetime.fromisoformat(f"{day}T23:59:59").replace(tzinfo=UTC))
        for n, day in enumerate(days)
    ]
    dates = corpus_card(census_of(write(tmp_path, rows)))["dates"]
    assert (dates["unit"], dates["first"], dates["last"]) == (unit, days[0], days[-1])
    assert [bar["from"] for bar in dates["bars"]] == labels
    assert [bar["count"] for bar in dates["bars"]] == [1, *[0] * (len(labels) - 2), 1]


def test_percentiles_are_values_that_occur() -> None:
    counted = percentiles(Counter({10: 50, 20: 40, 1000: 10}))
    assert counted == {
        "min": 10, "p1": 10, "p10": 10, "p25": 10, "p50": 10, "p75": 20, "p90": 20, "p99": 1000, "max": 1000,
    }  # fmt: skip
    assert percentiles(Counter()) == {}


def test_more_hosts_than_are_counted_lose_at_most_what_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(census, "MAX_HOSTS", 10)
    total, true = Census(), Counter[str]()
    for turn in range(50):
        part = Census(documents=12)
        part.hosts.update({f"rare-{turn}-{n}.example.jp": 1 for n in range(8)} | {"common.example.jp": 4})
        true.update(part.hosts)
        total.documents += part.documents
        total.add(Census(hosts=part.hosts))
        assert len(total.hosts) <= 20
    assert total.undercount <= total.documents / 10
    assert true["common.example.jp"] - total.undercount <= total.hosts["common.example.jp"] <= true["common.example.jp"]
    card = corpus_card(total)
    assert card["hosts"]["top"][0]["name"] == "common.example.jp"
    assert card["hosts"]["distinct"] is None


def test_documents_asked_for_are_found_in_the_same_pass(tmp_path: Path) -> None:
    one, two = [document("A", n, TEXTS[0]) for n in range(3)], [document("B", n, TEXTS[0]) for n in range(3)]
    shards = write(tmp_path, one, two)
    wanted = {one[2]["id"], two[0]["id"], b"\0" * 16}
    assert census_of(shards, wanted).places == {one[2]["id"]: shards[0].uri, two[0]["id"]: shards[1].uri}


def test_no_documents_are_dashes() -> None:
    card = corpus_card(census_of([]))
    assert (card["documents"], card["characters"], card["lengths"]["mean"]) == (None, None, None)
    assert card["hosts"]["top"] == card["crawls"] == card["language_scores"] == []


def test_what_gave_way_is_not_counted_and_a_warc_file_in_two_generations_is_one(tmp_path: Path) -> None:
    rows = [document("A", n, TEXTS[n % 4]) for n in range(5)]
    (earlier,) = write(tmp_path / "earlier", rows[:4])
    (newest,) = write(tmp_path / "newest", rows[4:])
    gone = write_shard(str(tmp_path), "gone", [rows[0], rows[2]])
    shards = [CorpusShard(earlier.uri, str(tmp_path / gone.path)), newest]
    counted = census_of(shards, [row["id"] for row in rows])
    assert counted.documents == 3
    assert counted.characters == sum(rows[n]["num_characters"] for n in (1, 3, 4))
    assert counted.crawls["CC-MAIN-2024-10"]["warcs"] == 1
    assert counted.places == {rows[1]["id"]: earlier.uri, rows[3]["id"]: earlier.uri, rows[4]["id"]: newest.uri}
