"""The fuzzing harness: mutated records through the shard function, in a process that `test_fuzz.py` watches.

Each round writes a WARC of mutated records, curates it, and checks that every record is accounted for exactly once: a
whole member has one row at its offset, and one that was damaged is a row or part of the torn stretch before it. The
parts of the file, read apart, must give the same rows as the whole. Everything follows from the seed.

    python -m tests.tasks.curate.fuzz FOLDER SEED NUM_RECORDS      # ends with a line of JSON
"""

from __future__ import annotations

import gzip
import itertools
import json
import random
import shutil
import sys
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import brotli

from storage.ledger import Rule, compact_path, full_path, read_compact, read_full
from tasks.curate.config import CurateConfig
from tasks.curate.curate import WarcShard, curate_warc
from tasks.curate.sources import list_warcs
from tasks.curate.warc import WarcReader
from tests.tasks.curate.warc_files import ENGLISH, PARAGRAPHS, html, member, record

RECORDS_A_ROUND = 500
STATUS = Path("/proc/self/status")
CHARSETS = ("utf-8", "cp932", "euc_jp", "iso2022_jp", "utf-16", "utf-8-sig", "shift_jis_2004")
LIMITS = {"max_page_seconds": 1, "max_page_memory_mib": 64, "max_page_bytes": 2 << 20}
Random = random.Random


def page(rng: Random) -> bytes:
    """A page that gets as far as it can: most are in Japanese."""
    paragraphs = rng.sample(PARAGRAPHS, rng.randrange(1, 6))
    if rng.random() < 0.2:
        paragraphs += [ENGLISH] * rng.randrange(9)
    return html(*paragraphs, charset=rng.choice([None, "utf-8", "Shift_JIS"])).encode(rng.choice(CHARSETS))


def scatter(rng: Random, data: bytes, alphabet: bytes | None = None) -> bytes:
    """A few bytes of it changed, taken out or put in."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 5, 50])):
        place = rng.randrange(len(changed) + 1)
        new = bytes(rng.choice(alphabet) if alphabet else rng.randrange(256) for _ in range(rng.randrange(4)))
        changed[place : place + rng.randrange(4)] = new
    return bytes(changed)


# What a page is mutated into. Those that take long are rare: (weight, mutation).
def nested(rng: Random, body: bytes) -> bytes:
    tag = rng.choice(["div", "b", "table", "ul", "span", "svg", "a", "select", "template", "blockquote"])
    depth = rng.choice([10, 100, 3000])
    return body.replace(b"<p>", f"<{tag}>".encode() * depth + b"<p>", 1) + f"</{tag}>".encode() * rng.randrange(depth)


def absurdly_nested(rng: Random, body: bytes) -> bytes:
    return body + b"<div>" * 100_000


def reopened(rng: Random, body: bytes) -> bytes:
    return body + b"<p>" + b"".join(b"<b id=%d>" % number for number in range(2000)) + b"<p>x" * 50_000


def entities(rng: Random, body: bytes) -> bytes:
    entity = rng.choice(
        ["&lt;", "&amp;amp;", "&#x3042;", "&#12354", "&#xD800;", "&#99999999999;", "&", "&NotEqualTilde;"]
    )
    doctype = '<!DOCTYPE x [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>&b;'
    return doctype.encode() + body + entity.encode() * rng.choice([10, 1000, 50_000])


def nuls(rng: Random, body: bytes) -> bytes:
    return body.replace(rng.choice([b"<", b" ", b">", b"a"]), b"\0" * rng.choice([1, 2, 1000]), rng.randrange(1, 50))


def long_tokens(rng: Random, body: bytes) -> bytes:
    size = rng.choice([1000, 100_000])
    token = rng.choice(
        [b"<" + b"a" * size, b"<a " + b"b=c " * (size // 10), b"<!--" * size, b"]]>" * size, b" " * size]
    )
    return body.replace(b"<body>", b"<body>" + token, 1)


def large(rng: Random, body: bytes) -> bytes:
    return body + rng.choice([b" ", b"\xff", b"<p>", b"\xe3\x81\x82"]) * rng.choice([100_000, 3 << 20])


def cut(rng: Random, body: bytes) -> bytes:
    return body[: rng.randrange(len(body) + 1)]


def two_charsets(rng: Random, body: bytes) -> bytes:
    return (
        body + PARAGRAPHS[0].encode(rng.choice(CHARSETS)) + rng.choice([b"\x1b$B", b"\x1b(I\x31", b"\xff\xfe", b"\xe3"])
    )


BODIES: list[tuple[float, Callable[[Random, bytes], bytes]]] = [
    (4, lambda rng, body: body),
    (3, scatter),
    (3, lambda rng, body: scatter(rng, body, b"<>/=\"'&;!-[]")),
    (2, nested),
    (2, entities),
    (2, nuls),
    (2, long_tokens),
    (1, large),
    (3, cut),
    (3, two_charsets),
    (1, lambda rng, body: rng.randbytes(rng.randrange(5000))),
    (0.03, absurdly_nested),
    (0.1, reopened),
]


def chunked(rng: Random, body: bytes) -> bytes:
    chunks = [body[place : place + 300] for place in range(0, len(body), 300)]
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"


def expanding(head: bytes, num_bytes: int) -> bytes:
    """A gzip member that expands to so many zeros after the head, made without having them in memory."""
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    megabyte = bytes(1 << 20)
    packed = [packer.compress(head), *(packer.compress(megabyte) for _ in range(num_bytes >> 20)), packer.flush()]
    return b"".join(packed)


CODINGS: list[tuple[float, str, Callable[[Random, bytes], bytes]]] = [
    (6, "", lambda rng, body: body),
    (2, "Transfer-Encoding: chunked\r\n", chunked),
    (2, "Transfer-Encoding: chunked\r\n", lambda rng, body: scatter(rng, chunked(rng, body), b"0aF\r\n;")),
    (2, "Content-Encoding: gzip\r\n", lambda rng, body: gzip.compress(body)),
    (2, "Content-Encoding: gzip\r\n", lambda rng, body: scatter(rng, gzip.compress(body))),
    (1, "Content-Encoding: gzip\r\n", lambda rng, body: cut(rng, gzip.compress(body))),
    (1, "Content-Encoding: deflate\r\n", lambda rng, body: scatter(rng, zlib.compress(body))),
    (1, "Content-Encoding: br\r\n", lambda rng, body: scatter(rng, brotli.compress(body, quality=1))),
    (1, "Content-Encoding: zstd, gzip, br\r\n", lambda rng, body: body),
    (0.02, "Content-Encoding: gzip\r\n", lambda rng, body: expanding(body, 100 << 20)),
]


def mutated_record(rng: Random, number: int) -> bytes:
    """A WARC record, whole as such: what is odd is in its HTTP header and its body."""
    _, mutate = weighted(rng, BODIES)
    _, headers, encode = weighted(rng, CODINGS)
    content_type = rng.choice(["text/html", "text/html; charset=euc-jp", "text/plain", "text/xml", "a\0b", None])
    headers += rng.choice(["", "", "X" * 3000 + ": y\r\n", "No-Colon\r\n", " folded\r\n", ": \r\n", "\xe9: \x00\r\n"])
    status = rng.choice(["200 OK"] * 20 + ["404", "", "abc", "9999", "\n"])
    return record(
        number, encode(rng, mutate(rng, page(rng))), content_type=content_type, headers=headers, status=status
    )


def damaged_record(rng: Random, data: bytes) -> bytes:
    """A record whose own header is mutated."""
    end = data.index(b"\r\n\r\n") + 4
    length = data.index(b"Content-Length: ") + 16
    return rng.choice(
        [
            lambda: scatter(rng, data[:end]) + data[end:],
            lambda: data[:length] + b"9" + data[length:],
            lambda: data[:length] + data[length + 1 :],
            lambda: cut(rng, data),
        ]
    )()


def damaged_member(rng: Random, data: bytes) -> bytes:
    """Compressed bytes changed, cut off, or with something beside them."""
    return rng.choice(
        [
            lambda: scatter(rng, data),
            lambda: scatter(rng, data[:12]) + data[12:],
            lambda: data[: rng.randrange(len(data))],
            lambda: data[rng.randrange(len(data)) :],
            lambda: data + rng.randbytes(rng.randrange(1, 300)),
            lambda: data[:-8] + rng.randbytes(8),
            lambda: member(rng.randbytes(50)) + data,
            lambda: bytes(rng.randrange(1, 5000)),
        ]
    )()


def weighted(rng: Random, choices: list) -> tuple:  # type: ignore[type-arg]
    return rng.choices(choices, [choice[0] for choice in choices])[0]


def write_round(rng: Random, path: Path, num_records: int) -> list[tuple[int, int, bool]]:
    """A WARC of mutated records; (first byte, end, is a whole member of one whole record) of each."""
    places: list[tuple[int, int, bool]] = []
    with open(path, "wb") as file:
        for number in range(num_records):
            data, is_whole = mutated_record(rng, number), True
            if rng.random() < 0.1:
                data, is_whole = damaged_record(rng, data), False
            written = gzip.compress(data, 1, mtime=0)
            if rng.random() < 0.001:
                written, is_whole = expanding(data.replace(b"Length: ", b"Length: 9999"), 100 << 20), False
            if rng.random() < 0.1:
                written, is_whole = damaged_member(rng, written), False
            start = file.tell()
            file.write(written)
            places.append((start, start + len(written), is_whole))
    return places


def check(rows: list[tuple[int, Rule]], num_others: int, places: list[tuple[int, int, bool]]) -> None:
    """Every record is accounted for exactly once: by a row, or as one of those that are no HTTP response any more."""
    offsets = [offset for offset, _ in rows]
    assert len(set(offsets)) == len(offsets), "two rows for one record"
    assert offsets == sorted(offsets), "rows out of order"
    assert not offsets or offsets[-1] < places[-1][1]
    rules = dict(rows)
    stretch_is_torn = False  # whether what was read last is a torn stretch, which the next member may be a part of
    for start, end, is_whole in places:
        inside = [rules[offset] for offset in offsets if start <= offset < end]
        if is_whole:
            assert start in rules, f"no row for the record at {start}"
            assert len(inside) == 1, f"{len(inside)} rows for the record at {start}"
        elif not inside and not stretch_is_torn and end > start:
            num_others -= 1
        stretch_is_torn = (inside[-1] == Rule.TORN_MEMBER) if inside else stretch_is_torn
    assert num_others >= 0, f"nothing says what became of {-num_others} damaged records"


def peak_kib() -> int:
    """The largest memory since `forget_peak`; 0 where there is no /proc."""
    if not STATUS.exists():
        return 0
    return next(int(line.split()[1]) for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))


def forget_peak() -> None:
    if STATUS.exists():
        STATUS.with_name("clear_refs").write_text("5")


def run_round(folder: Path, rng: Random, num_records: int) -> Counter[str]:
    path = folder / "fuzz.warc.gz"
    places = write_round(rng, path, num_records)
    forget_peak()  # writing takes more than reading
    config = CurateConfig.model_validate({"sources": [str(path)], "max_bad_record_ratio": 1, **LIMITS})
    (source,) = list_warcs(config.sources)
    out = folder / "out"
    curated = curate_warc(WarcShard(source, config, str(out)))
    compact = list(read_compact(str(out / compact_path(source.key))))
    full = [(row.offset or 0, row.rule) for row in read_full(str(out / full_path(source.key)))]
    rows = sorted(compact + full)
    check(rows, curated.counts["other_records"], places)
    assert curated.counts["records"] == len(rows)
    bounds = sorted({0, path.stat().st_size, *(rng.randrange(path.stat().st_size) for _ in range(3))})
    parts = [WarcReader(path, config.max_page_bytes, span) for span in itertools.pairwise(bounds)]
    assert [page.offset for part in parts for page in part] == [offset for offset, _ in rows], bounds
    shutil.rmtree(out)
    return Counter(rule.label for _, rule in rows)


def main(folder: Path, seed: int, num_records: int) -> None:
    totals: Counter[str] = Counter()
    peak = 0
    for first in range(0, num_records, RECORDS_A_ROUND):
        size = min(RECORDS_A_ROUND, num_records - first)
        totals += run_round(folder, random.Random(f"{seed} {first}"), size)
        peak = max(peak, peak_kib())
        print(f"{first + size} records", flush=True)
    print(json.dumps({"rules": totals, "peak_kib": peak}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
