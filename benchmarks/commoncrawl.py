"""What index mode finds and costs beside whole-WARC mode, on a small Common Crawl on loopback, with and without faults.

The WARC files are laid out as a crawl: listings, columnar index, files behind a server with range requests. What the
index calls their languages comes from `lid.176` on the visible text of each page, up to three with at least a tenth of
the probability: a stand-in for CLD2 as the real index has it, weak on short, mixed and badly labelled pages.

Recall is of the pages that whole-WARC mode found Japanese (they reached the quality rules), and of the documents it
kept. Bytes and requests are those that the server counted: of WARC files, and of index and listings beside.

    python -m benchmarks.commoncrawl
    python -m benchmarks.commoncrawl --warcs 'crawl/*.warc.gz' --gaps 0 1048576 --faults 0.35 --json
"""

from __future__ import annotations

import argparse
import glob
import json
import re
import resource
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from storage.artifact import content_digest
from storage.documents import read_documents
from tasks.curate.charset import decode
from tasks.curate.config import CurateConfig
from tasks.curate.curate import curate
from tasks.shards import ExecutorConfig
from tests.tasks.curate.common_crawl_server import KINDS, Server, lay_out, seeded_faults

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
CRAWL = "CC-MAIN-2024-10"
MIN_PROBABILITY = 0.1
MAX_LANGUAGES = 3
_TAGS = re.compile(r"<(script|style)\b.*?</\1>|<[^>]*>", re.DOTALL | re.IGNORECASE)
_ISO_639_3 = {"ja": "jpn", "en": "eng", "zh": "zho", "ko": "kor", "de": "deu", "fr": "fra", "es": "spa", "ru": "rus"}


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    mode: str
    digest: str
    japanese: set[bytes]
    documents: set[bytes]
    records: int
    requests: int
    warc_bytes: int
    other_bytes: int
    cpu_s: float
    wall_s: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Lay the crawl out, run each mode, and print the table."""
    options = _parser().parse_args(arguments)
    warcs = sorted(Path(path) for pattern in options.warcs for path in glob.glob(pattern))
    if not warcs:
        sys.exit(f"no WARC files at {' '.join(options.warcs)}")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        lay_out(folder / "crawl", CRAWL, warcs, language_finder(options.model), rows_per_group=2048)
        rows = [run(folder, "whole WARC", 0.0, options)]
        for gap in options.gaps:
            rows.append(run(folder, f"index, gaps of {gap:,} B", 0.0, options, mode="index", max_gap_bytes=gap))
        if options.faults:
            rows.append(run(folder, f"whole WARC, {options.faults:.0%} faults", options.faults, options))
            gap = sorted(options.gaps)[len(options.gaps) // 2]
            name = f"index, gaps of {gap:,} B, {options.faults:.0%} faults"
            rows.append(run(folder, name, options.faults, options, mode="index", max_gap_bytes=gap))
    print(_table(rows))
    if options.json:
        print(json.dumps([_figures(row, rows[0]) for row in rows]))


def run(folder: Path, name: str, faults: float, options: argparse.Namespace, **commoncrawl: object) -> Row:
    """Curate the crawl once."""
    kinds = [kind for kind in KINDS if kind != "503 later"]  # it asks for a second each time
    out = folder / f"out-{len(list(folder.iterdir()))}"
    with Server(folder / "crawl", seeded_faults(options.seed, faults, kinds)) as server:
        config = CurateConfig(
            sources=[f"commoncrawl:{CRAWL}"],
            commoncrawl={"base": server.url, "requests_per_second": options.rate} | commoncrawl,
        )
        started, used = time.monotonic(), _cpu_s()
        outcome = curate(config, out=str(out), executor=ExecutorConfig(workers=options.workers))
        wall_s, cpu_s = time.monotonic() - started, _cpu_s() - used
        warc_bytes = server.bytes_of(".warc.gz")
        other_bytes = sum(each.num_bytes for each in server.served) - warc_bytes
        return Row(
            mode=name,
            digest=content_digest(outcome.files),
            japanese=_ids(out / "metrics"),
            documents=_ids(out / "documents"),
            records=outcome.counts["records"],
            requests=len(server.served),
            warc_bytes=warc_bytes,
            other_bytes=other_bytes,
            cpu_s=cpu_s,
            wall_s=wall_s,
        )


def language_finder(model: str) -> Callable[[bytes], str | None]:
    """The content_languages of a page, as the index would have them."""
    import fasttext

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        classifier = fasttext.load_model(model)

    def find(body: bytes) -> str | None:
        decoded = decode(body)
        text = " ".join(_TAGS.sub(" ", decoded.text if decoded else "").split())[:20_000]
        if not text:
            return None
        labels, probabilities = classifier.predict(text, k=MAX_LANGUAGES)
        codes = [label.removeprefix("__label__") for label in labels]
        found = [
            _ISO_639_3.get(code, code)
            for code, probability in zip(codes, probabilities, strict=True)
            if probability >= MIN_PROBABILITY
        ]
        return ",".join(found) or None

    return find


def _ids(folder: Path) -> set[bytes]:
    found: set[bytes] = set()
    for path in folder.glob("*.parquet"):
        for batch in read_documents(str(path), ["id"]):
            found.update(batch.column("id").to_pylist())
    return found


def _cpu_s() -> float:
    """Of the workers that have ended; the server runs in this process and is left out."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _figures(row: Row, whole: Row) -> dict[str, object]:
    figures = asdict(row) | {"japanese": len(row.japanese), "documents": len(row.documents)}
    return figures | {
        "recall_japanese": len(row.japanese & whole.japanese) / len(whole.japanese),
        "recall_documents": len(row.documents & whole.documents) / len(whole.documents),
        "bytes_ratio": row.warc_bytes / whole.warc_bytes,
    }


def _table(rows: Sequence[Row]) -> str:
    lines = [
        f"{'mode':44} {'records':>8} {'Japanese':>9} {'recall':>7} {'kept':>6} {'recall':>7} "
        f"{'requests':>9} {'WARC MB':>8} {'other MB':>9} {'CPU s':>6} {'wall s':>7}  content"
    ]
    for row in rows:
        figures = _figures(row, rows[0])
        lines.append(
            f"{row.mode:44} {row.records:8,} {len(row.japanese):9,} {figures['recall_japanese']:7.2%} "
            f"{len(row.documents):6,} {figures['recall_documents']:7.2%} {row.requests:9,} {row.warc_bytes / 1e6:8.2f} "
            f"{row.other_bytes / 1e6:9.2f} {row.cpu_s:6.1f} {row.wall_s:7.1f}  {row.digest[:12]}"
        )
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--warcs", nargs="+", default=[str(DATA / "warc" / "*.warc.gz")], help="paths or globs")
    parser.add_argument("--model", default=str(DATA / "models" / "lid.176.ftz"), help="fastText language model")
    parser.add_argument(
        "--gaps", nargs="+", type=int, default=[0, 16_384, 65_536, 1 << 20], help="max_gap_bytes to try"
    )
    parser.add_argument("--faults", type=float, default=0.3, help="share of requests that fail; 0: do not try")
    parser.add_argument("--seed", type=int, default=1, help="of the faults")
    parser.add_argument("--rate", type=float, default=1000, help="requests per second")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--json", action="store_true", help="end in a JSON line with every figure")
    return parser


if __name__ == "__main__":
    main()
