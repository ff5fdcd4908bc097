"""A web server on loopback for tests, well or badly behaved."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Site:
    """What a server has and how it behaves.

    Attributes:
        files: path -> content.
        ranges: whether it serves parts of files.
        etag: the version it tells of every file; none where empty.
        modified: the time it tells; none where empty.
        cut_after: bytes of a body after which it closes the connection, the first `num_cuts` times.
        requests: (path, range asked for) of every GET.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    etag: str = '"1"'
    modified: str = ""
    cut_after: int | None = None
    num_cuts: int = 10**9
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    uri: str = ""


@contextmanager
def serve(site: Site) -> Iterator[Site]:
    """Serve a site; its address is `site.uri`."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def do_GET(self) -> None:
            site.requests.append((self.path, self.headers.get("Range")))
            self._answer(with_body=True)

        def _answer(self, *, with_body: bool) -> None:
            content = site.files.get(self.path)
            if content is None:
                self.send_error(404)
                return
            asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
            unchanged = self.headers.get("If-Range") in (None, site.etag, site.modified)
            first, status = 0, 200
            if asked and site.ranges and unchanged:
                first, last = int(asked[1]), int(asked[2] or len(content) - 1)
                total = len(content)
                content, status = content[first : last + 1], 206
            self.send_response(status)
            if status == 206:
                self.send_header("Content-Range", f"bytes {first}-{first + len(content) - 1}/{total}")
            for name, value in (("ETag", site.etag), ("Last-Modified", site.modified)):
                if value:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if with_body and site.cut_after is not None and len(content) > site.cut_after and site.num_cuts > 0:
                site.num_cuts -= 1
                content = content[: site.cut_after]
                self.close_connection = True
            if with_body:
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    site.uri = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
