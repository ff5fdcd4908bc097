"""A small Common Crawl on loopback: its layout on disk, and an HTTP server over it that fails on purpose.

`lay_out` puts WARC files where a crawl has them, with the listings, the columnar index (in the real one's column names
and types, sorted by URL, with the subset of pages that were not fetched beside it) and the list of crawls. `Server`
serves the folder with ranges and ETags, notes every request, and asks its plan of faults what to do with each.

    crawl = lay_out(tmp_path, "CC-MAIN-2024-10", [Page(...), ...])
    with Server(tmp_path, seeded_faults(7)) as server:
        config = CommonCrawlConfig(base=server.url)
"""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.curate.members import inflate
from tasks.curate.warc import WarcReader

INDEX_SCHEMA = pa.schema(
    [
        ("url_surtkey", pa.string()),
        ("url", pa.string()),
        ("url_host_name", pa.string()),
        ("url_host_tld", pa.string()),
        ("fetch_time", pa.timestamp("ms")),
        ("fetch_status", pa.int16()),
        ("content_mime_type", pa.string()),
        ("content_mime_detected", pa.string()),
        ("content_charset", pa.string()),
        ("content_languages", pa.string()),
        ("warc_filename", pa.string()),
        ("warc_record_offset", pa.int32()),
        ("warc_record_length", pa.int32()),
        ("warc_segment", pa.string()),
    ]
)
SEGMENT = "1707947473347.0"
Judge = Callable[[bytes], str | None]


def index_rows(warc: Path, filename: str, languages: Judge) -> list[dict[str, Any]]:
    """What the index says of a WARC file's pages; `languages` finds the content_languages of a body."""
    data = warc.read_bytes()
    rows = []
    for page in WarcReader(warc, max_page_bytes=64 << 20):
        member = inflate(data, page.offset, 64 << 20)
        if member is None or page.problem is not None:
            continue
        url = page.url or ""
        host = url.split("/")[2] if url.count("/") > 1 else ""
        rows.append(
            {
                "url_surtkey": ",".join(reversed(host.split("."))) + ")" + url.partition(host)[2],
                "url": url,
                "url_host_name": host,
                "url_host_tld": host.rpartition(".")[2],
                "fetch_time": datetime(2024, 3, 1, tzinfo=UTC).replace(tzinfo=None),
                "fetch_status": 200,
                "content_mime_type": page.content_type,
                "content_mime_detected": page.content_type,
                "content_charset": (page.http_charset or "").upper() or None,
                "content_languages": languages(page.body),
                "warc_filename": filename,
                "warc_record_offset": page.offset,
                "warc_record_length": member.end - page.offset,
                "warc_segment": SEGMENT,
            }
        )
    return rows


def lay_out(
    root: Path,
    crawl: str,
    warcs: Sequence[Path],
    languages: Judge,
    index_files: int = 2,
    rows_per_group: int = 16,
    more_rows: Iterable[dict[str, Any]] = (),
) -> list[str]:
    """Lay a crawl out below `root`; the paths of its WARC files.

    Args:
        more_rows: put into the index besides those of the WARC files' pages.
    """
    folder = root / "crawl-data" / crawl
    paths, rows = [], list(more_rows)
    for warc in warcs:
        path = f"crawl-data/{crawl}/segments/{SEGMENT}/warc/{warc.name}"
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(warc.read_bytes())
        paths.append(path)
        rows += index_rows(warc, path, languages)
    _write_listing(folder / "warc.paths.gz", paths)
    _write_index(root, crawl, rows, index_files, rows_per_group)
    _add_to_list(root, crawl)
    return paths


def _write_index(root: Path, crawl: str, rows: list[dict[str, Any]], index_files: int, rows_per_group: int) -> None:
    rows = sorted(rows, key=lambda row: row["url_surtkey"])
    names = []
    for number in range(index_files):
        part = rows[len(rows) * number // index_files : len(rows) * (number + 1) // index_files]
        names.append(_write_index_file(root, crawl, "warc", number, part, rows_per_group))
    # Pages that were not fetched stand in another subset, whose records are in files of another kind.
    missed = [row | {"fetch_status": 404, "warc_filename": "crawldiagnostics/x.warc.gz"} for row in rows[:3]]
    names.insert(0, _write_index_file(root, crawl, "crawldiagnostics", 0, missed, rows_per_group))
    _write_listing(root / "crawl-data" / crawl / "cc-index-table.paths.gz", names)


def _write_index_file(
    root: Path, crawl: str, subset: str, number: int, rows: list[dict[str, Any]], rows_per_group: int
) -> str:
    name = f"cc-index/table/cc-main/warc/crawl={crawl}/subset={subset}/part-{number:05}-0a1b2c3d.c000.gz.parquet"
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(rows, INDEX_SCHEMA)
    pq.write_table(table, root / name, compression="gzip", row_group_size=rows_per_group)
    return name


def _write_listing(path: Path, names: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress("".join(f"{name}\n" for name in names).encode(), mtime=0))


def _add_to_list(root: Path, crawl: str) -> None:
    path = root / "collinfo.json"
    known = json.loads(path.read_text()) if path.exists() else [{"id": "CC-MAIN-2009-2010", "name": "an early one"}]
    entry = {"id": crawl, "name": f"{crawl} Index", "cdx-api": f"https://index.commoncrawl.org/{crawl}-index"}
    path.write_text(json.dumps([entry, *(other for other in known if other["id"] != crawl)]))


@dataclass
class Served:
    """A request; `num_bytes` of the answer's body were sent, or are about to be."""

    path: str
    range: str | None
    status: int = 0
    num_bytes: int = 0


Faults = Iterator[str | None]
KINDS = ("503", "503 later", "403", "429", "500", "reset", "short", "slow", "whole", "page")


def seeded_faults(seed: int, ratio: float = 0.4, kinds: Sequence[str] = KINDS) -> Faults:
    """What to do with one request after another: None, or one of the kinds."""
    dice = random.Random(seed)
    while True:
        yield dice.choice(kinds) if dice.random() < ratio else None


@dataclass
class Server:
    """Serves a folder; `served` is what it answered, `most_at_once` the most requests it had under way."""

    root: Path
    faults: Faults = field(default_factory=lambda: iter(()))
    only: str = ""  # faults strike only paths that hold this
    delay_s: float = 0.0  # before each answer

    def __post_init__(self) -> None:
        self.served: list[Served] = []
        self.most_at_once = 0
        self._at_once = 0
        self._etags: dict[tuple[Path, int], str] = {}
        self.lock = threading.Lock()
        self._http = _LoopbackServer(("127.0.0.1", 0), _Handler)
        self._http.common_crawl = self
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> Server:
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def bytes_of(self, name: str) -> int:
        """Bytes of bodies sent of the files whose path ends so."""
        return sum(each.num_bytes for each in self.served if each.path.endswith(name))

    def next_fault(self, path: str) -> str | None:
        with self.lock:
            return next(self.faults, None) if self.only in path else None

    def etag(self, path: Path) -> str:
        """Of what the file holds now."""
        key = (path, path.stat().st_mtime_ns)
        if key not in self._etags:
            self._etags[key] = f'"{hashlib.md5(path.read_bytes()).hexdigest()}"'
        return self._etags[key]

    def entered(self, by: int) -> None:
        with self.lock:
            self._at_once += by
            self.most_at_once = max(self.most_at_once, self._at_once)


class _LoopbackServer(ThreadingHTTPServer):
    daemon_threads = True
    common_crawl: Server

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _LoopbackServer
    noted: Served

    def log_message(self, format: str, *args: Any) -> None:
        """Not on the terminal."""

    def do_GET(self) -> None:
        crawl = self.server.common_crawl
        self.noted = Served(self.path, self.headers.get("Range"))
        with crawl.lock:
            crawl.served.append(self.noted)
        crawl.entered(1)
        try:
            time.sleep(crawl.delay_s)
            fault = crawl.next_fault(self.path)
            self._send(*self._choose(fault), fault)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            crawl.entered(-1)

    def _choose(self, fault: str | None) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and headers of the answer."""
        path = self.server.common_crawl.root / self.path.lstrip("/")
        refusal = b"<Error><Code>SlowDown</Code></Error>", {"Content-Type": "text/xml"}
        if fault is not None and fault[:3].isdigit():
            later = {"Retry-After": "1"} if fault.endswith("later") else {}
            return int(fault[:3]), refusal[0], refusal[1] | later
        if fault == "page":
            return 200, b"<html>Please sign in.</html>", {"Content-Type": "text/html"}
        if not path.is_file():
            return 404, *refusal
        size, etag = path.stat().st_size, self.server.common_crawl.etag(path)
        headers = {"Content-Type": "application/octet-stream", "ETag": etag, "Accept-Ranges": "bytes"}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted is None or self.headers.get("If-Range", etag) != etag or fault == "whole":
            return 200, path.read_bytes(), headers
        first, last = int(wanted[1]), min(int(wanted[2] or size - 1), size - 1)
        if first > last:
            return 416, b"", {"Content-Range": f"bytes */{size}"}
        headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        with open(path, "rb") as file:
            file.seek(first)
            return 206, file.read(last + 1 - first), headers

    def _send(self, status: int, body: bytes, headers: dict[str, str], fault: str | None) -> None:
        self.noted.status = status
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if fault in ("reset", "short"):
            self._write(body[: len(body) // 2])
            self.close_connection = True
            if fault == "reset":  # RST instead of FIN
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
            return
        step = max(1, len(body) // 4) if fault == "slow" else 256 << 10
        for start in range(0, len(body), step):
            self._write(body[start : start + step])
            time.sleep(0.01 if fault == "slow" else 0)

    def _write(self, data: bytes) -> None:
        self.noted.num_bytes += len(data)
        self.wfile.write(data)
        self.wfile.flush()
