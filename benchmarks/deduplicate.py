"""Deduplication beside its peers, at scale, against theory, and with verification, on planted duplicates.

    python -m benchmarks.deduplicate speed --documents 20000 100000 --repeat 3 --json
    python -m benchmarks.deduplicate scale --documents 100000 1000000 --workers 2
    python -m benchmarks.deduplicate recall --pairs 10000
    python -m benchmarks.deduplicate verification --documents 20000 --oracles ../shared/data/oracles

`speed` takes everything from Parquet to the decision, ours with documents, index and ledger written: the deduplicate
stage with refinement off and without the S-curve that it measures for the report (a second for any corpus), and the
installed peers of `benchmarks/peers/`, which write only which documents they keep. Each run is a fresh process, in
turn, start-up included; machine code is compiled before. `scale` is the stage alone on growing corpora, with the disk
it takes. `recall` signs planted pairs and compares the share that meet in a bucket with 1 - (1 - J^rows)^bands.
`verification` says what comparing texts does to precision and recall, and costs.

Truth: the planted pairs and their exact similarity, or all pairs of 0.8 or more of `oracle_dedup_2k_*`. A pair is found
if not both of its documents are kept; a drop is right if the document has a partner of 0.8 or more.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.deduplicate_stage import kept_documents
from benchmarks.measure import DiskWatch, Used, measured
from benchmarks.planted_corpus import (
    MIN_JACCARD,
    NGRAM,
    Pairs,
    Quality,
    judge,
    read_oracle,
    read_pairs,
    write_corpus,
)
from tasks.deduplicate.config import DeduplicateConfig
from tasks.deduplicate.planted import measured_s_curve, s_curve

PEERS = {"rensa": "rensa_lsh.py", "datasketch": "datasketch_lsh.py"}
SCHEMES = ("40x20", "14x8")
_PEER_FOLDER = Path(__file__).resolve().parent / "peers"
_WARM_UP = 200  # documents


@dataclass(frozen=True)
class Run:
    """One line of a table: medians over repeats; `peak_mib` of all processes together, `largest_mib` of one."""

    name: str
    workers: int
    scheme: str
    quality: Quality
    cpu_s: float
    wall_s: float
    peak_mib: float
    largest_mib: float

    @property
    def cpu_ms(self) -> float:
        """CPU milliseconds per document."""
        return 1000 * self.cpu_s / self.quality.documents


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one of the comparisons and print its table."""
    options = _parser().parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="hibari-deduplicate-", dir=options.work) as work:
        figures = options.compare(options, Path(work))
    if options.json:
        print(json.dumps(figures))


def speed(options: argparse.Namespace, work: Path) -> list[dict[str, Any]]:
    """Ours and the peers, in turn."""
    peers = [name for name in options.peers if importlib.util.find_spec(name)]
    for name in options.peers:
        if name not in peers:
            print(f"{name} is not installed: left out (pip install 'hibari[dev]')")
    _compile(work)
    figures: list[dict[str, Any]] = []
    for num_documents in options.documents:
        corpus = work / f"corpus-{num_documents}"
        shards = write_corpus(corpus, num_documents, workers=max(options.workers))
        pairs = read_pairs(corpus)
        rows = [("hibari", workers) for workers in options.workers] + [(peer, 1) for peer in peers]
        for scheme in options.schemes:
            measurements: dict[tuple[str, int], list[tuple[Used, np.ndarray]]] = {row: [] for row in rows}
            for repeat in range(options.repeat):
                for name, workers in rows:
                    out = work / f"{name}-{workers}-{num_documents}-{scheme}-{repeat}"
                    measurements[name, workers].append(_measure(name, workers, scheme, shards, out))
                    shutil.rmtree(out, ignore_errors=True)  # peers leave none
            runs = [_median(*row, scheme, found, pairs) for row, found in measurements.items()]
            expected = expected_recall(scheme, pairs)
            print(f"\n{num_documents:,} documents, {scheme}; the S-curve expects recall {expected:.4f} at J >= 0.8")
            print(_speed_table(runs))
            figures += [asdict(run) | {"cpu_ms": run.cpu_ms, "expected_recall_80": expected} for run in runs]
    return figures


def scale(options: argparse.Namespace, work: Path) -> list[dict[str, Any]]:
    """The stage on corpora of growing size."""
    _compile(work)
    lines: list[list[str]] = []
    figures: list[dict[str, Any]] = []
    for num_documents in options.documents:
        corpus, out = work / f"corpus-{num_documents}", work / f"out-{num_documents}"
        shards = write_corpus(corpus, num_documents, workers=options.workers)
        pairs = read_pairs(corpus)
        with DiskWatch(out / "_work") as scratch:
            used, kept = _measure("hibari", options.workers, options.scheme, shards, out)
        run = _median("hibari", options.workers, options.scheme, [(used, kept)], pairs)
        index = sum(path.stat().st_size for path in (out / "index").iterdir())
        figures.append(asdict(run) | {"cpu_ms": run.cpu_ms, "index_bytes": index, "scratch_bytes": scratch.peak})
        lines.append([
            f"{num_documents:,}",
            f"{run.wall_s:,.1f}",
            f"{run.cpu_s:,.1f}",
            f"{run.cpu_ms:.3f}",
            f"{run.peak_mib:,.0f}",
            f"{run.largest_mib:,.0f}",
            f"{index / num_documents:.0f}",
            f"{scratch.peak / num_documents:.0f}",
            f"{run.quality.recall_80:.4f}",
            f"{run.wall_s / figures[0]['wall_s']:.2f}",
            f"{run.cpu_s / figures[0]['cpu_s']:.2f}",
        ])  # fmt: skip
    titles = ["documents", "wall s", "CPU s", "CPU ms/doc", "MiB", "MiB largest", "index B/doc", "scratch B/doc",
              "recall .8", "x wall", "x CPU"]  # fmt: skip
    print(_table(titles, lines))
    return figures


def recall(options: argparse.Namespace, work: Path) -> list[dict[str, Any]]:
    """Pairs that meet in a bucket, bin by bin, against theory."""
    figures = []
    for scheme in options.schemes:
        curve = measured_s_curve(_config(scheme), options.pairs, seed=options.seed)
        lines = []
        for found in curve:
            off = deviation(found.observed - found.theory, found.standard_error)
            figures.append({"scheme": scheme, **asdict(found), "deviation": off})
            lines.append([f"{found.low:.2f}-{found.high:.2f}", f"{found.pairs:,}", f"{found.mean_jaccard:.4f}",
                          f"{found.theory:.5f}", f"{found.observed:.5f}", f"{found.standard_error:.5f}",
                          f"{off:+.2f}"])  # fmt: skip
        print(f"\n{scheme}, n-grams of {NGRAM}")
        print(_table(["J", "pairs", "mean J", "theory", "observed", "std. error", "off by"], lines))
    return figures


def verification(options: argparse.Namespace, work: Path) -> list[dict[str, Any]]:
    """The stage with and without comparing texts."""
    _compile(work)
    sets = {}
    for num_documents in options.documents:
        corpus = work / f"corpus-{num_documents}"
        sets[f"planted {num_documents:,}"] = (write_corpus(corpus, num_documents), read_pairs(corpus))
    if options.oracles:
        sets["oracle 2k"] = read_oracle(options.oracles, work / "oracle")
    lines: list[list[str]] = []
    figures: list[dict[str, Any]] = []
    for name, (shards, pairs) in sets.items():
        for scheme in options.schemes:
            for verify in (False, True):
                outs = [work / f"{len(figures)}-{repeat}" for repeat in range(options.repeat)]
                found = [_measure("hibari", 1, scheme, shards, out, verify=verify) for out in outs]
                run = _median("verified" if verify else "buckets", 1, scheme, found, pairs)
                figures.append({"set": name} | asdict(run) | {"cpu_ms": run.cpu_ms})
                lines.append([name, scheme, run.name, *_quality_cells(run.quality), f"{run.cpu_ms:.3f}"])
    print(_table(["set", "scheme", "", *_QUALITY_TITLES, "CPU ms/doc"], lines))
    return figures


def expected_recall(scheme: str, pairs: Pairs) -> float:
    """The share of the pairs of MIN_JACCARD or more that share a bucket by theory."""
    config = _config(scheme)
    return float(s_curve(config.bands, config.rows, pairs.jaccards[pairs.jaccards >= MIN_JACCARD]).mean())


def deviation(difference: float, standard_error: float) -> float:
    """In standard errors; where the theory allows no error at all, 0 or infinity."""
    if difference == 0:
        return 0.0
    return difference / standard_error if standard_error else float("inf")


def _measure(
    name: str, workers: int, scheme: str, shards: Sequence[str], out: Path, *, verify: bool = False
) -> tuple[Used, np.ndarray]:
    """One run in a process of its own, and which documents it keeps."""
    config = _config(scheme)
    if name == "hibari":
        command = [sys.executable, "-m", "benchmarks.deduplicate_stage", str(out), "--workers", str(workers)]
        command += [
            "--bands",
            str(config.bands),
            "--rows",
            str(config.rows),
            *(["--verify"] if verify else []),
            *shards,
        ]
        return measured(command), kept_documents(out)
    kept = out.with_suffix(".npy")
    numbers = [str(number) for number in (config.bands, config.rows, NGRAM)]
    used = measured([sys.executable, str(_PEER_FOLDER / PEERS[name]), str(kept), *numbers, *shards])
    return used, np.load(kept)


def _compile(work: Path) -> None:
    """Have numba compile what it has not yet, outside of what is measured."""
    shards = write_corpus(work / "warm-up", _WARM_UP)
    _measure("hibari", 1, SCHEMES[0], shards, work / "warm-up-out", verify=True)


def _config(scheme: str) -> DeduplicateConfig:
    bands, rows = scheme.split("x")
    return DeduplicateConfig(ngram=NGRAM, bands=int(bands), rows=int(rows))


def _median(name: str, workers: int, scheme: str, found: Sequence[tuple[Used, np.ndarray]], pairs: Pairs) -> Run:
    if any((kept != found[0][1]).any() for _, kept in found):
        raise RuntimeError(f"{name} kept other documents when it ran again")
    medians = {
        field: statistics.median(getattr(used, field) for used, _ in found)
        for field in ("cpu_s", "wall_s", "peak_mib", "largest_mib")
    }
    return Run(name, workers, scheme, judge(found[0][1], pairs), **medians)


def _speed_table(runs: Sequence[Run]) -> str:
    ours = runs[0]
    lines = [
        [
            run.name,
            str(run.workers),
            f"{run.cpu_ms:.3f}",
            f"{run.cpu_ms / ours.cpu_ms:.2f}",
            f"{run.quality.documents / run.wall_s:,.0f}",
            f"{ours.wall_s / run.wall_s:.2f}",
            f"{run.peak_mib:,.0f}",
            f"{run.largest_mib:,.0f}",
            *_quality_cells(run.quality),
        ]
        for run in runs
    ]
    titles = ["", "workers", "CPU ms/doc", "x CPU", "docs/s", "x faster", "MiB", "MiB largest", *_QUALITY_TITLES]
    return _table(titles, lines)


def _quality_cells(quality: Quality) -> list[str]:
    shares = quality.recall_90, quality.recall_80, quality.precision
    return [f"{quality.kept:,}", *("-" if share is None else f"{share:.4f}" for share in shares)]


def _table(titles: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [titles, *lines]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for compare in (speed, scale, recall, verification):
        command = commands.add_parser(compare.__name__, help=compare.__doc__)
        command.set_defaults(compare=compare)
        command.add_argument("--json", action="store_true", help="end with one line of JSON")
        command.add_argument("--work", type=Path, help="folder for corpora and results, which are removed at the end")
        if compare is not recall:
            sizes = [100_000, 1_000_000] if compare is scale else [20_000]
            command.add_argument("--documents", type=int, nargs="+", default=sizes)
        if compare is scale:
            command.add_argument("--workers", type=int, default=2)
            command.add_argument("--scheme", choices=SCHEMES, default=SCHEMES[0], help="bands x rows")
            continue
        schemes = SCHEMES[:1] if compare is speed else SCHEMES
        command.add_argument("--schemes", choices=SCHEMES, nargs="+", default=schemes, help="bands x rows")
        if compare is recall:
            command.add_argument("--pairs", type=int, default=10_000, help="planted pairs in each bin")
            command.add_argument("--seed", type=int, default=0)
            continue
        command.add_argument("--repeat", type=int, default=1)
        if compare is speed:
            command.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="of ours")
            command.add_argument("--peers", choices=PEERS, nargs="*", default=list(PEERS))
        else:
            command.add_argument("--oracles", type=Path, help="folder of oracle_dedup_2k_*: all pairs by brute force")
    return parser


_QUALITY_TITLES = ("kept", "recall .9", "recall .8", "precision")

if __name__ == "__main__":
    main()
