"""Blocked hosts: what an entry blocks, what it leaves alone, and that no name turns into one that blocks all."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from tasks.refine.config import HostsConfig, RefineConfig
from tasks.refine.hosts import BlockedHosts, parse_entry


def blocked(tmp_path: Path, *lines: str, patterns: tuple[str, ...] = ()) -> BlockedHosts:
    (tmp_path / "domains").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return BlockedHosts(HostsConfig(files=(f"{tmp_path}/domains",), patterns=patterns))


@pytest.mark.parametrize(
    ("host", "entry"),
    [
        ("karuta.example", "karuta.example"),
        ("www.karuta.example", "karuta.example"),
        ("a.b.karuta.example", "karuta.example"),
        ("KARUTA.Example.", "karuta.example"),
        ("mykaruta.example", None),
        ("example", None),
        ("karuta.example.org", None),
    ],
)
def test_an_entry_blocks_its_host_and_subdomains(tmp_path: Path, host: str, entry: str | None) -> None:
    assert blocked(tmp_path, "karuta.example").match(host, None) == entry


def test_a_page_without_host_is_let_through(tmp_path: Path) -> None:
    assert blocked(tmp_path, "karuta.example", patterns=("*",)).match(None, None) is None


@pytest.mark.parametrize(
    "entry", ["ひばり.example", "xn--w9jd7e.example", "HTTP://ひばり.example:8080/", ".ひばり.example"]
)
@pytest.mark.parametrize("host", ["ひばり.example", "xn--w9jd7e.example", "www.ひばり.example"])
def test_japanese_names_are_one_name_however_written(tmp_path: Path, entry: str, host: str) -> None:
    assert blocked(tmp_path, entry).match(host, None) == "xn--w9jd7e.example"


@pytest.mark.parametrize("entry", ["雲雀", "・・・", "すずめ", "jp", "/", "*", "."])
def test_a_stray_word_blocks_nothing(tmp_path: Path, entry: str) -> None:
    """A Japanese word normalised to nothing would block every host that ends in nothing."""
    found = blocked(tmp_path, entry, "karuta.example")
    assert found.match("hibari.example.jp", "https://hibari.example.jp/") is None
    assert found.match("karuta.example", None) == "karuta.example"


@pytest.mark.parametrize(
    ("url", "is_blocked"),
    [
        ("https://board.example/~uguisu", True),
        ("https://board.example/~uguisu/", True),
        ("http://www.board.example/~uguisu/log.html?page=2", True),
        ("https://board.example:443/%7Euguisu/", True),
        ("https://board.example/~uguisu?page=2", True),
        ("https://board.example/~uguisumochi/", False),
        ("https://board.example/", False),
        ("https://sub.board.example/~uguisu/", False),
    ],
)
def test_a_url_entry_blocks_the_page_and_what_lies_below(tmp_path: Path, url: str, is_blocked: bool) -> None:
    found = blocked(tmp_path, "board.example/~uguisu/")
    host = url.split("/")[2].split(":")[0]
    assert found.match(host, url) == ("board.example/~uguisu" if is_blocked else None)


@pytest.mark.parametrize(
    ("pattern", "host", "is_blocked"),
    [
        ("*.5ch.net", "egg.5ch.net", True),
        ("*.5ch.net", "5ch.net", False),
        ("*wikipedia.org", "ja.wikipedia.org", True),
        ("*wikipedia.org", "wikipedia.org", True),
        ("*wikipedia.org", "wikipedia.org.example", False),
        ("*ひばり.example", "xn--w9jd7e.example", True),
        ("Blog?.example", "blog2.EXAMPLE", True),
    ],
)
def test_patterns_match_whole_hosts(pattern: str, host: str, is_blocked: bool) -> None:
    found = BlockedHosts(HostsConfig(files=(), patterns=(pattern,)))
    assert found.match(host, None) == (pattern if is_blocked else None)


def test_lists_may_be_compressed_commented_and_many(tmp_path: Path) -> None:
    (tmp_path / "ads.gz").write_bytes(gzip.compress("# 広告\nads.example  # 3 of 9\n\r\n".encode()))
    (tmp_path / "bom.txt").write_bytes("\ufeffshop.example\n".encode())
    found = BlockedHosts(HostsConfig(files=(f"{tmp_path}/*.gz", f"{tmp_path}/bom.txt")))
    assert [found.match(host, None) for host in ("ads.example", "shop.example", "9")] == [
        "ads.example",
        "shop.example",
        None,
    ]


def test_a_list_of_something_else_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="found none in 2 lines"):
        blocked(tmp_path, "これは文です。", "これも")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.txt"):
        BlockedHosts(HostsConfig(files=("nowhere.txt",)))
    (tmp_path / "sjis.txt").write_bytes("雲雀.example\n".encode("cp932"))
    with pytest.raises(ValueError, match=r"sjis\.txt, line 1: expected text in UTF-8"):
        BlockedHosts(HostsConfig(files=(f"{tmp_path}/sjis.txt",)))
    (tmp_path / "torn.gz").write_bytes(gzip.compress(b"a.example\n" * 99)[:-9])
    with pytest.raises(ValueError, match="broken gzip"):
        BlockedHosts(HostsConfig(files=(f"{tmp_path}/torn.gz",)))


def test_what_a_line_of_a_list_means() -> None:
    entries = {
        "//user@Example.JP:80": "example.jp",
        "192.0.2.7": "192.0.2.7",
        "example.jp/?id=1": "example.jp/?id=1",
        "example.jp/春/": "example.jp/%E6%98%A5",
        "two words.example": None,
        "http://": None,
    }
    assert {text: parse_entry(text) for text in entries} == entries


def test_the_shipped_list_and_both_profiles() -> None:
    hibari, swallow = (BlockedHosts(RefineConfig(profile=name).hosts) for name in ("hibari", "swallow-v1"))
    for found in (hibari, swallow):
        assert found.match("egg.5ch.net", None)
        assert found.match("ja-jp.translate.goog", None)
        assert found.match("www.example.co.jp", "https://www.example.co.jp/") is None
    assert swallow.match("ja.wikipedia.org", None) == "*wikipedia.org"
    assert hibari.match("ja.wikipedia.org", None) is None
