"""What is taken down matches however it is written, nothing else does, and no list is forgotten or half understood."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from storage.tombstones import (
    Tombstone,
    Tombstones,
    add_tombstones,
    history,
    list_uri,
    page_of,
    parse_list,
    parse_pattern,
    read_tombstones,
    tombstones_digest,
    tombstones_of,
)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.jp/page",
        "HTTPS://EXAMPLE.jp./page#section",
        "https://user:secret@example.jp:443/page",
        "http://example.jp:80/p%61ge",
        "https://ｅｘａｍｐｌｅ.jp/page?",
    ],
)
def test_one_page_written_in_many_ways_is_one_page(url: str) -> None:
    taken = Tombstones.of([parse_pattern("https://example.jp/page")])
    assert taken.matches(url)
    assert Tombstones.of([parse_pattern(url)]) == taken


@pytest.mark.parametrize(
    "url",
    [
        "https://example.jp/",
        "https://example.jp/page/",
        "https://example.jp/Page",
        "https://example.jp/page?id=1",
        "https://example.jp:8443/page",
        "https://www.example.jp/page",
        "ftp://example.jp/page",
        "https://[broken/page",
        "https://example.jp:port/page",
        "no url",
        "",
        None,
    ],
)
def test_another_page_is_not_taken_down(url: str | None) -> None:
    assert not Tombstones.of(["https://example.jp/page"]).matches(url)


def test_a_host_takes_its_subdomains_along_and_not_its_neighbours() -> None:
    taken = Tombstones.of([parse_pattern("host:Example.jp.")])
    assert all(map(taken.matches, ["https://example.jp", "http://a.b.example.jp:8080/x?y", "https://EXAMPLE.JP./"]))
    assert not any(map(taken.matches, ["https://notexample.jp/", "https://example.jp.evil.net/", "https://jp/"]))


def test_japanese_names_and_paths_are_compared_in_their_ascii_form() -> None:
    taken = Tombstones.of([parse_pattern("雲雀.jp"), parse_pattern("https://例.jp/春?鳥=雲雀")])
    assert taken.matches(f"https://www.{'雲雀'.encode('idna').decode()}.jp/")
    assert taken.matches("https://xn--fsq.jp/%e6%98%a5?%E9%B3%A5=%E9%9B%B2%E9%9B%80")
    assert page_of("https://例。jp/春") == "https://xn--fsq.jp/%E6%98%A5"


def test_a_url_names_every_pattern_that_takes_it_down() -> None:
    taken = Tombstones.of(["https://a.example.jp/x", "host:example.jp", "host:a.example.jp", "host:other.jp"])
    assert taken.patterns_for("http://a.example.jp/x") == [
        "https://a.example.jp/x",
        "host:a.example.jp",
        "host:example.jp",
    ]


def test_all_bad_lines_of_a_list_are_reported_with_their_numbers() -> None:
    text = """\
# asked for in March
https://example.jp/page   # the first
example.jp/page
host:jp
co.jp
*.example.jp

http://
https://example.jp/page#again
xn--wgv71a119e.jp
ftp://example.jp/x
"""
    patterns, problems = parse_list(text)
    assert patterns == ["https://example.jp/page", "host:xn--wgv71a119e.jp"]
    assert [problem.split(":")[0] for problem in problems] == [f"line {n}" for n in (3, 4, 5, 6, 8, 11)]
    assert "top-level domain" in problems[1]
    assert "registry" in problems[2]


def test_tombstones_are_only_ever_added(tmp_path: Path) -> None:
    root = str(tmp_path)
    assert read_tombstones(root) == []
    assert tombstones_digest(root) == ""
    first = add_tombstones(root, ["host:a.jp", "https://b.jp/"], reason="request 1", list_digest="11")
    digest = tombstones_digest(root)
    again = add_tombstones(root, ["https://b.jp/", "host:c.jp", "host:c.jp"], reason="request 2", list_digest="22")
    assert [tombstone.pattern for tombstone in again] == ["host:c.jp"]
    assert read_tombstones(root) == [*first, *again]
    assert (again[0].reason, again[0].list_digest) == ("request 2", "22")
    assert tombstones_digest(root) not in ("", digest)
    assert add_tombstones(root, ["host:c.jp"], reason="request 3", list_digest="33") == []
    assert read_tombstones(root) == [*first, *again]


def test_the_digest_is_of_what_is_taken_down_however_it_came_about(tmp_path: Path) -> None:
    for root, lists in {"one": [["host:a.jp", "host:b.jp"]], "two": [["host:b.jp"], ["host:a.jp"]]}.items():
        for number, patterns in enumerate(lists):
            add_tombstones(str(tmp_path / root), patterns, reason="", list_digest=str(number))
    assert tombstones_digest(str(tmp_path / "one")) == tombstones_digest(str(tmp_path / "two")) != ""


def test_every_earlier_state_of_the_list_is_known(tmp_path: Path) -> None:
    rows = [
        Tombstone("host:a.jp", "2026-03-01T00:00:00+00:00", "", "1"),
        Tombstone("host:b.jp", "2026-03-01T00:00:00+00:00", "", "1"),
        Tombstone("host:c.jp", "2026-04-01T00:00:00+00:00", "", "2"),
    ]
    states = list(history(rows).values())
    assert [sorted(state.hosts) for state in states] == [[], ["a.jp", "b.jp"], ["a.jp", "b.jp", "c.jp"]]
    artifact = str(tmp_path / "curate" / "x-0123456789ab")
    assert tombstones_of(artifact, None) == Tombstones()
    add_tombstones(str(tmp_path), ["host:a.jp"], reason="", list_digest="1")
    planned = tombstones_digest(str(tmp_path))
    add_tombstones(str(tmp_path), ["host:b.jp"], reason="", list_digest="2")
    assert tombstones_of(artifact, planned) == Tombstones.of(["host:a.jp"])
    Path(list_uri(str(tmp_path))).unlink()
    with pytest.raises(ValueError, match="is not what it was when this run was planned"):
        tombstones_of(artifact, planned)


@pytest.mark.parametrize(
    "line",
    ["{", "[]", json.dumps({"pattern": "host:a.jp"}), json.dumps(vars(Tombstone("host:A.jp", "", "", "")))],
    ids=["cut", "list", "fields", "form"],
)
def test_a_line_that_is_not_understood_is_never_skipped(tmp_path: Path, line: str) -> None:
    add_tombstones(str(tmp_path), ["host:a.jp"], reason="", list_digest="1")
    path = Path(list_uri(str(tmp_path)))
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(ValueError, match="line 2: not a tombstone"):
        read_tombstones(str(tmp_path))
