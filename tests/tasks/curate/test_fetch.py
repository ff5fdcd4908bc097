"""Breaks when a killed fetch begins again, leaves a file behind, or a part of a WARC lacks what its records need."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.artifact import cache_folder
from tasks.curate import fetch, remote
from tasks.curate.config import CommonCrawlConfig
from tasks.curate.fetch import KEPT_S, fetched, fetched_span
from tasks.curate.members import next_record
from tasks.curate.remote import SourceChangedError
from tests.tasks.curate.common_crawl_server import Server
from tests.tasks.curate.warc_files import member, record

DATA = b"\x1f\x8b" + random.Random(5).randbytes(3 << 20)
SETTINGS = CommonCrawlConfig(requests_per_second=2000, give_up_s=5)
WHOLE = [(0, None)]


@pytest.fixture(autouse=True)
def _no_long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "FIRST_WAIT_S", 0.005)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "x.warc.gz").write_bytes(DATA)
    with Server(tmp_path / "files") as server:
        yield server


def uri(server: Server) -> str:
    return f"{server.url}/x.warc.gz"


def fail(fraction: float) -> None:
    raise ZeroDivisionError


def kept() -> list[Path]:
    return sorted((cache_folder() / "fetch").glob("*.part"))


def test_ranges_lie_one_after_another_and_the_file_goes_when_it_was_read(server: Server) -> None:
    ranges = [(10, 20), (100, 1000), (5000, None)]
    with fetched(uri(server), ranges, SETTINGS) as path:
        assert path.read_bytes() == DATA[10:20] + DATA[100:1000] + DATA[5000:]
        assert kept() == [path]
    assert list((cache_folder() / "fetch").iterdir()) == []
    assert [each.range for each in server.served] == ["bytes=10-19", "bytes=100-999", "bytes=5000-"]


def test_no_range_is_no_request(server: Server) -> None:
    with fetched(uri(server), [], SETTINGS) as path:
        assert path.read_bytes() == b""
    assert server.served == []


@pytest.mark.parametrize("ranges", [WHOLE, [(0, 1000), (2000, 400_000), (500_000, 900_000)]])
def test_after_an_error_it_goes_on_where_it_was(server: Server, ranges: list[tuple[int, int | None]]) -> None:
    class StoppedError(Exception):
        pass

    def stop_later(fraction: float) -> None:
        if fraction > 0.4:
            raise StoppedError

    with pytest.raises(StoppedError), fetched(uri(server), ranges, SETTINGS, stop_later):
        pass
    (part,) = kept()
    there, asked = part.stat().st_size, len(server.served)
    assert there > 100_000
    with fetched(uri(server), ranges, SETTINGS) as path:
        assert path.read_bytes() == b"".join(DATA[first:last] for first, last in ranges)
    first, last = next((first, last) for first, last in reversed(ranges) if first <= 2000)
    before = sum((b or 0) - a for a, b in ranges if a < first)
    assert server.served[asked].range == f"bytes={first + there - before}-{'' if last is None else last - 1}"
    whole = sum(len(DATA[first:last]) for first, last in ranges)
    assert sum(each.num_bytes for each in server.served[asked:]) == whole - there
    assert kept() == []


def test_a_finished_fetch_whose_reader_failed_asks_for_nothing(server: Server) -> None:
    with pytest.raises(ZeroDivisionError), fetched(uri(server), WHOLE, SETTINGS):
        raise ZeroDivisionError
    asked = len(server.served)
    with fetched(uri(server), WHOLE, SETTINGS) as path:
        assert path.read_bytes() == DATA
    assert len(server.served) == asked


def _fetch(uri: str) -> None:
    with fetched(uri, WHOLE, SETTINGS, lambda fraction: time.sleep(0.05)):
        pass


def test_after_kill_9_what_was_fetched_is_not_fetched_again(server: Server) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_fetch, args=(uri(server),))
    process.start()
    while not kept() or kept()[0].stat().st_size < 300_000:
        assert process.is_alive()
        time.sleep(0.01)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    there, asked = kept()[0].stat().st_size, len(server.served)
    assert there < len(DATA)
    with fetched(uri(server), WHOLE, SETTINGS) as path:
        assert path.read_bytes() == DATA
    assert [each.range for each in server.served[asked:]] == [f"bytes={there}-"]
    assert server.served[asked].num_bytes == len(DATA) - there


def test_what_is_left_of_another_version_is_not_gone_on_with(server: Server) -> None:
    with pytest.raises(ZeroDivisionError), fetched(uri(server), WHOLE, SETTINGS, fail):
        pass
    (server.root / "x.warc.gz").write_bytes(DATA[::-1])
    with pytest.raises(SourceChangedError), fetched(uri(server), WHOLE, SETTINGS):
        pass
    (server.root / "x.warc.gz").write_bytes(DATA)
    with fetched(uri(server), WHOLE, SETTINGS) as path:
        assert path.read_bytes() == DATA


def test_bytes_of_unknown_origin_are_thrown_away(server: Server) -> None:
    with pytest.raises(ZeroDivisionError), fetched(uri(server), WHOLE, SETTINGS, fail):
        pass
    kept()[0].with_suffix(".json").unlink()
    kept()[0].write_bytes(b"something else")
    with fetched(uri(server), WHOLE, SETTINGS) as path:
        assert path.read_bytes() == DATA


def test_two_runs_at_once_have_a_file_each(server: Server) -> None:
    with fetched(uri(server), WHOLE, SETTINGS) as one, fetched(uri(server), WHOLE, SETTINGS) as other:
        assert one != other
        assert one.read_bytes() == other.read_bytes() == DATA
    assert kept() == []


def test_what_nobody_came_back_for_is_removed(server: Server) -> None:
    for name in ("y.warc.gz", "z.warc.gz"):
        (server.root / name).write_bytes(DATA)
        with pytest.raises(ZeroDivisionError), fetched(f"{server.url}/{name}", WHOLE, SETTINGS):
            raise ZeroDivisionError
    old, young = kept()
    os.utime(old, (0, time.time() - KEPT_S - 60))
    with fetched(uri(server), WHOLE, SETTINGS):
        assert old not in kept()
        assert young in kept()
    assert list((cache_folder() / "fetch").glob(f"{old.stem}*")) == []


def test_a_page_in_place_of_a_warc_is_told(server: Server) -> None:
    (server.root / "x.warc.gz").write_bytes(b"\n<!DOCTYPE html><p>Moved.</p>")
    with (
        pytest.raises(ValueError, match=r"is no WARC file.*open it in a browser"),
        fetched(uri(server), WHOLE, SETTINGS),
    ):
        pass
    assert kept() == []


def members(torn: int | None) -> bytes:
    parts = [member(record(number, random.Random(number).randbytes(400).hex().encode())) for number in range(30)]
    if torn is not None:
        parts[torn] = parts[torn][:200] + b"\0" * 300 + parts[torn][500:]
    return b"".join(parts)


@pytest.mark.parametrize("torn", [None, 10, 29])
@pytest.mark.parametrize("margin", [1, 700, 4096])
def test_a_span_holds_its_last_record_whole(
    server: Server, torn: int | None, margin: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "MARGIN", margin)
    data = members(torn)
    (server.root / "x.warc.gz").write_bytes(data)
    for first, last in [(0, 1000), (1000, 7001), (len(data) - 900, len(data))]:
        with fetched_span(uri(server), first, last, SETTINGS, next_record) as path:
            got = path.read_bytes()
            assert got == data[first : first + len(got)]
            assert first + len(got) >= next_record(data, last)
