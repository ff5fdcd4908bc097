"""Curation's speed and memory, beside the floor and the peers, on the same WARC files in one run.

Rows: `floor` (FastWARC iterates and reads every record), each profile of ours from WARC to documents and ledger, and
where they are at hand the released swallow-corpus scripts and datatrove's nearest pipeline. Each is a fresh process;
CPU time is of that process and all below it, start-up included. Rows take turns, `--repeat` times; the table has
medians. `--join 1` puts all WARC files into one, so that a shard's start-up weighs as little as in a crawl. With
`--japanese-share 0.05` the WARC files are first thinned to that share of Japanese records (by the
manifest), as a crawl has it.

    python -m benchmarks.curate --join 1 --repeat 3 --workers 1 2
    python -m benchmarks.curate --join 1 --japanese-share 0.05 --rows floor hibari
    python -m benchmarks.curate --swallow-corpus ~/swallow-corpus --datatrove-python ~/datatrove/bin/python --json

The released scripts need a language model in nanigo.ja.model.gz: ours is written there in their format.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from operator import attrgetter
from pathlib import Path

from benchmarks.measure import Used, measured

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
LID_MODEL = DATA / "models" / "lid.176.ftz"
PEERS = Path(__file__).resolve().parent / "peers"


@dataclass(frozen=True)
class Row:
    """One line of the table; times and memory are medians."""

    name: str
    workers: int
    records: int
    kept: int
    extracted: int
    cpu_s: float
    wall_s: float
    peak_mib: float

    @property
    def cpu_s_per_1000(self) -> float:
        return 1000 * self.cpu_s / self.records

    @property
    def records_per_s(self) -> float:
        return self.records / self.wall_s

    @property
    def cpu_ms_per_extracted(self) -> float | None:
        return 1000 * self.cpu_s / self.extracted if self.extracted else None


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the rows in turn and print the table."""
    options = _parser().parse_args(arguments)
    if options.job:
        print(json.dumps(JOBS[options.job](options)))
        return
    warcs = [str(path) for path in options.warcs]
    with tempfile.TemporaryDirectory(prefix="hibari-curate-") as work:
        if options.japanese_share:
            warcs = thin(warcs, options.manifest, options.japanese_share, Path(work))
        if options.join:
            warcs = join(warcs, options.join, Path(work))
        names = options.rows or [*JOBS_HERE, *_peers_at_hand(options)]
        runs: dict[tuple[str, int], list[Used]] = {}
        for repeat in range(options.repeat):
            for name in names:
                for workers in options.workers if name in PROFILES else [1]:
                    chosen = warcs if name in JOBS else warcs[: options.peer_warcs]
                    out = Path(work) / f"{name}-{workers}-{repeat}"
                    runs.setdefault((name, workers), []).append(measured(_command(name, workers, chosen, out, options)))
        rows = [
            _median(name, workers, used, count_responses(warcs if name in JOBS else warcs[: options.peer_warcs]))
            for (name, workers), used in runs.items()
        ]
    print(_table(rows))
    if options.json:
        print(json.dumps([asdict(row) | {"cpu_s_per_1000": row.cpu_s_per_1000} for row in rows]))


def run_floor(options: argparse.Namespace) -> dict[str, int]:
    """Iterate over every record and read it."""
    count_responses(options.warcs)
    return {"kept": 0, "extracted": 0}


def count_responses(warcs: Sequence[str]) -> int:
    """Response records of WARC files, each read to its end."""
    from fastwarc.warc import ArchiveIterator, WarcRecordType

    records = 0
    for path in warcs:
        with open(path, "rb") as file:
            for record in ArchiveIterator(file, record_types=WarcRecordType.response):
                record.reader.read()
                records += 1
    return records


def run_profile(options: argparse.Namespace) -> dict[str, int]:
    """The curate stage with one of our profiles."""
    from storage.ledger import Rule
    from tasks.curate.config import CurateConfig
    from tasks.curate.curate import curate
    from tasks.shards import ExecutorConfig

    sources = [str(path) for path in options.warcs]
    size = sum(path.stat().st_size for path in options.warcs)
    part = max(1, math.ceil(size / options.workers[0] / (1 << 20)))  # MiB: each worker gets an equal part of one file
    config = CurateConfig(sources=sources, profile=options.job, shard_mib=part)
    outcome = curate(config, out=str(options.out), executor=ExecutorConfig(workers=options.workers[0]))
    counts = outcome.counts
    unread = sum(counts.get(f"dropped_{rule.label}", 0) for rule in Rule if rule in NOT_EXTRACTED)
    return {"kept": counts["kept"], "extracted": counts["records"] - unread}


def thin(warcs: Sequence[str], manifest: Path, share: float, out: Path) -> list[str]:
    """Copies of WARC files with every other record but only so many Japanese ones as make up `share`.

    Japanese is what the manifest calls ja and has at least 50 kana; those that stay are spread evenly over the file.
    """
    from fastwarc.warc import ArchiveIterator

    with gzip.open(manifest, "rt", encoding="utf-8") as lines:
        rows = map(json.loads, lines)
        japanese = {row["record_id"] for row in rows if row["lang"] == "ja" and row["kana"] >= 50}
    written = []
    for path in warcs:
        data = Path(path).read_bytes()
        with open(path, "rb") as file:
            members = [(record.stream_pos, record.record_id) for record in ArchiveIterator(file, parse_http=False)]
        ends = [start for start, _ in members[1:]] + [len(data)]
        num_japanese = sum(id in japanese for _, id in members)
        wanted = round((len(members) - num_japanese) * share / (1 - share))
        seen = 0
        written.append(str(out / Path(path).name))
        with open(written[-1], "wb") as thinned:
            for (start, id), end in zip(members, ends, strict=True):
                if id in japanese:
                    seen += 1
                    if seen * wanted // num_japanese == (seen - 1) * wanted // num_japanese:
                        continue
                thinned.write(data[start:end])
    return written


def join(warcs: Sequence[str], copies: int, out: Path) -> list[str]:
    """All WARC files one after another, `copies` times, as one file: a crawl's are a hundred times as long as these."""
    joined = out / "joined.warc.gz"
    with open(joined, "wb") as file:
        for _ in range(copies):
            for path in warcs:
                file.write(Path(path).read_bytes())
    return [str(joined)]


def write_nanigo_model(path: Path) -> None:
    """Our language model in the format of the released scripts: gzipped JSON, n-gram -> weight."""
    from tasks.curate.ngram_model import BUILTIN, load_model

    with gzip.open(path, "wt", encoding="utf-8") as file:
        json.dump(load_model(BUILTIN).as_dict(), file, ensure_ascii=False)


def _command(name: str, workers: int, warcs: list[str], out: Path, options: argparse.Namespace) -> list[str]:
    if name == "swallow-corpus":
        folder = Path(tempfile.mkdtemp(dir=out.parent))
        write_nanigo_model(folder / "nanigo.ja.model.gz")
        return [sys.executable, str(PEERS / "swallow_corpus.py"), str(options.swallow_corpus), str(folder), *warcs]
    if name == "datatrove":
        folder = Path(tempfile.mkdtemp(dir=out.parent))  # it reads all of a folder
        for path in warcs:
            (folder / Path(path).name).symlink_to(Path(path).resolve())
        return [options.datatrove_python, str(PEERS / "datatrove_pipeline.py"), str(out), str(LID_MODEL), str(folder)]
    command = [sys.executable, "-m", "benchmarks.curate", "--job", name, "--workers", str(workers)]
    return [*command, "--out", str(out), "--warcs", *warcs]


def _peers_at_hand(options: argparse.Namespace) -> list[str]:
    at_hand = {"swallow-corpus": options.swallow_corpus, "datatrove": options.datatrove_python}
    return [name for name, place in at_hand.items() if place]


def _median(name: str, workers: int, used: Sequence[Used], records: int) -> Row:
    found = json.loads(used[0].output.splitlines()[-1])
    cpu_s, wall_s, peak_mib = (statistics.median(map(attrgetter(field), used)) for field in _MEASURED)
    return Row(name, workers, records, found["kept"], found["extracted"], cpu_s, wall_s, peak_mib)


def _table(rows: Sequence[Row]) -> str:
    floor = next((row.cpu_s_per_1000 for row in rows if row.name == "floor"), None)
    titles = "pipeline", "workers", "records", "kept", "records/s", "CPU s/1,000", "x floor", "CPU ms/extracted", "MiB"
    lines = [titles]
    for row in rows:
        per_page = row.cpu_ms_per_extracted
        lines.append((
            row.name,
            str(row.workers),
            f"{row.records:,}",
            f"{row.kept:,}",
            f"{row.records_per_s:,.0f}",
            f"{row.cpu_s_per_1000:.3f}",
            f"{row.cpu_s_per_1000 / floor:.1f}" if floor else "-",
            f"{per_page:.2f}" if per_page else "-",
            f"{row.peak_mib:,.0f}",
        ))  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--warcs", type=Path, nargs="+", default=sorted(DATA.glob("warc/*.warc.gz")))
    parser.add_argument("--manifest", type=Path, default=DATA / "manifest.jsonl.gz", help="languages of the records")
    parser.add_argument("--japanese-share", type=float, help="thin the WARC files to this share of Japanese records")
    parser.add_argument(
        "--join", type=int, metavar="N", help="put all WARC files N times into one, so long as a crawl's"
    )
    parser.add_argument("--rows", nargs="+", help="only these: floor, hibari, swallow-v1, swallow-corpus, datatrove")
    parser.add_argument("--workers", type=int, nargs="+", default=[1], help="of our profiles")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--peer-warcs", type=int, help="peers read only the first so many WARC files")
    parser.add_argument("--swallow-corpus", type=Path, help="folder of the released scripts (commit 2d03507)")
    parser.add_argument("--datatrove-python", help="interpreter of an environment that has datatrove")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--job", choices=JOBS, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    return parser


def _not_extracted() -> set[int]:
    from storage.ledger import Rule

    return {rule for rule in Rule if rule.value in range(1, 8)} | {Rule.MOJIBAKE}


NOT_EXTRACTED = _not_extracted()
_MEASURED = ("cpu_s", "wall_s", "peak_mib")
PROFILES = ("hibari", "swallow-v1")
JOBS = {"floor": run_floor, **dict.fromkeys(PROFILES, run_profile)}
JOBS_HERE = tuple(JOBS)

if __name__ == "__main__":
    main()
