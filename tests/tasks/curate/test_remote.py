"""Breaks when a fault of a server changes the bytes that come, costs those that had come, or is not told."""

from __future__ import annotations

import itertools
import random
from collections.abc import Generator
from pathlib import Path

import pytest

from tasks.curate import remote
from tasks.curate.config import CommonCrawlConfig
from tasks.curate.remote import MAX_WRONG_ANSWERS, RemoteFile, SourceChangedError
from tests.tasks.curate.common_crawl_server import KINDS, Faults, Server, seeded_faults

DATA = random.Random(5).randbytes(400_000)


@pytest.fixture(autouse=True)
def _no_long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "FIRST_WAIT_S", 0.005)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "x.warc.gz").write_bytes(DATA)
    return tmp_path / "files"


def settings(give_up_s: float = 60, timeout_s: float = 20) -> CommonCrawlConfig:
    return CommonCrawlConfig(requests_per_second=2000, give_up_s=give_up_s, timeout_s=timeout_s)


def opened(server: Server, **changes: float) -> RemoteFile:
    return RemoteFile(f"{server.url}/x.warc.gz", settings(**changes))


def test_whole_and_ranges(folder: Path) -> None:
    with Server(folder) as server:
        file = opened(server)
        assert file.read() == DATA
        assert file.size == len(DATA)
        assert file.read(1000, 5000) == DATA[1000:5000]
        assert file.read(len(DATA) - 10, len(DATA) + 10) == DATA[-10:]
        assert file.read(len(DATA), len(DATA) + 10) == b""
        unknown = opened(server)
        assert unknown.read(len(DATA) + 5, len(DATA) + 10) == b""
        assert unknown.learn_size() == len(DATA)


@pytest.mark.parametrize("fault", KINDS)
def test_after_a_fault_the_same_bytes(folder: Path, fault: str) -> None:
    with Server(folder, iter([None, fault, None])) as server:
        file = opened(server)
        got = file.read(100, 200) + file.read(1000, 300_000)
        assert got == DATA[100:200] + DATA[1000:300_000]
        assert len(server.served) == (2 if fault == "slow" else 3)


@pytest.mark.parametrize("fault", ["reset", "short"])
def test_it_goes_on_at_the_byte_where_it_broke_off(folder: Path, fault: str) -> None:
    with Server(folder, iter([fault, fault])) as server:
        file = opened(server)
        received, positions = b"", []
        for chunk in file.stream(0):
            received += chunk
            positions.append(len(received))
    assert received == DATA
    assert server.served[0].range is None
    resumed_at = [int(each.range.removeprefix("bytes=").rstrip("-")) for each in server.served[1:] if each.range]
    assert len(resumed_at) == 2
    assert set(resumed_at) <= set(positions)
    if fault == "short":  # a reset may throw away what was under way
        assert sum(each.num_bytes for each in server.served) == len(DATA)


@pytest.mark.parametrize("seed", range(4))
def test_many_faults_change_nothing(folder: Path, seed: int) -> None:
    kinds = [kind for kind in KINDS if kind != "503 later"]  # each costs a second
    with Server(folder, seeded_faults(seed, 0.5, kinds)) as server:
        assert opened(server).read() == DATA


def test_a_slow_server_is_left_and_asked_again(folder: Path) -> None:
    with Server(folder) as server:
        server.delay_s = 0.5
        with pytest.raises(ConnectionError, match=r"nothing came for 0\.2 s"):
            opened(server, timeout_s=0.1, give_up_s=0.2).read()
        server.delay_s = 0
        assert opened(server, timeout_s=0.1).read() == DATA


def test_a_file_that_changes_under_us_is_told(folder: Path) -> None:
    with Server(folder) as server:
        file = opened(server)
        file.read(0, 10)
        (folder / "x.warc.gz").write_bytes(DATA[::-1])  # of the same size
        with pytest.raises(SourceChangedError, match=r"was changed while it was being fetched.*run again"):
            file.read(10, 20)
        file = opened(server)
        file.read(0, 10)
        (folder / "x.warc.gz").write_bytes(DATA[:-1])
        with pytest.raises(SourceChangedError):
            file.read(10, 20)


def test_what_is_not_there_is_told(folder: Path) -> None:
    with Server(folder) as server:
        with pytest.raises(FileNotFoundError, match=r"nothing at http://.*/y\.warc\.gz"):
            RemoteFile(f"{server.url}/y.warc.gz", settings()).read()
        assert len(server.served) == 1


@pytest.mark.parametrize(("fault", "said"), [("page", "as if it were a web page"), ("whole", "it sends those from 0")])
def test_a_server_that_always_sends_something_else_is_told(folder: Path, fault: str, said: str) -> None:
    with Server(folder, itertools.repeat(fault)) as server:
        with pytest.raises(ValueError, match=f"{said}.*curate.commoncrawl.base"):
            opened(server).read(10, 20)
        assert len(server.served) == MAX_WRONG_ANSWERS


def test_a_server_that_keeps_refusing_is_given_up(folder: Path) -> None:
    with (
        Server(folder, itertools.repeat("403")) as server,
        pytest.raises(ConnectionError, match=r"status 403.*requests_per_second"),
    ):
        opened(server, give_up_s=0.2).read()


def test_no_server_at_all(folder: Path) -> None:
    with Server(folder) as server:
        file = opened(server, give_up_s=0.05)
    with pytest.raises(ConnectionError, match=r"nothing came for 0\.05 s"):
        file.read()


def test_a_wait_longer_than_the_patience_is_not_begun(folder: Path) -> None:
    def an_hour() -> Faults:
        while True:
            yield "503 later"  # Retry-After: 1

    with Server(folder, an_hour()) as server:
        with pytest.raises(ConnectionError, match="status 503"):
            opened(server, give_up_s=0.5).read()
        assert len(server.served) == 1


def test_a_proxy_of_the_environment_is_asked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy gets the whole URI in place of a path: this server finds nothing there, but was asked."""
    with Server(folder) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "")
        with pytest.raises(FileNotFoundError):
            RemoteFile("http://crawl.example/x.warc.gz", settings()).read()
        assert [each.path for each in proxy.served] == ["http://crawl.example/x.warc.gz"]


def test_chunks_are_not_read_ahead_of_their_use(folder: Path) -> None:
    with Server(folder) as server:
        chunks = opened(server).stream(0)
        assert isinstance(chunks, Generator)
        assert next(chunks) == DATA[: 64 << 10]
        chunks.close()
        assert opened(server).read() == DATA  # the connection it held is free again
