"""The language decision beside lid.176 and a bare count of kana, on real pages.

Two truths, neither taken from a detector. The first is of every page: Japanese by the manifest (the folder it comes
from), and kana and kanji at least half of the letters of its main text. The second is of the mixed pages in
`benchmarks/labels/mixed_pages.tsv`, labelled by hand.

Detectors: `ngram` scores the whole main text, as profile swallow-v1 decides; `hibari` is the default profile's
decision, which looks at mixed pages again and takes those that tell most in Japanese; `lid.176` is fastText's
probability of ja for the main text; `kana` counts the page's kana, menus and all. Each is shown at its own threshold,
and at the best one of each half of the pages, applied to the other half. CPU time is of the detector alone, over all
pages. The pre-check's recall is on the first truth.

    python -m benchmarks.language
    python -m benchmarks.language --model my-model.json --json
"""

from __future__ import annotations

import argparse
import csv
import gzip
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from tasks.curate.characters import JAPANESE, KANA, LETTER, classify
from tasks.curate.charset import decode
from tasks.curate.config import JapaneseLinesConfig, LanguageConfig
from tasks.curate.extract import Extractor, tidy
from tasks.curate.language import LanguageJudge
from tasks.curate.precheck import looks_japanese
from tasks.curate.warc import WarcReader

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
LABELS = Path(__file__).resolve().parent / "labels" / "mixed_pages.tsv"
MIN_SHARE = 0.5  # of kana and kanji in the letters of the main text
MAX_THRESHOLDS = 500  # tried for the best


@dataclass(frozen=True)
class Page:
    """A page as the detectors see it, with what the first truth needs."""

    url: str
    is_from_japanese_folder: bool
    charset: str
    text: str
    num_kana: int
    passes_precheck: bool

    @property
    def is_japanese(self) -> bool:
        classes = classify(self.text)
        num_japanese = np.count_nonzero(classes & JAPANESE)
        num_letters = np.count_nonzero(classes & (LETTER | JAPANESE))
        return self.is_from_japanese_folder and num_japanese > 0 and num_japanese >= MIN_SHARE * num_letters


@dataclass(frozen=True)
class Label:
    url: str
    kind: str
    is_japanese: bool


@dataclass(frozen=True)
class Detector:
    """A score for each page; above `threshold` it is Japanese. A decision without a score has no other threshold."""

    name: str
    threshold: float
    score: Callable[[Page], float]
    is_decision: bool = False


@dataclass(frozen=True)
class Row:
    """A detector on some pages. `best_f1`: at a threshold chosen on the other half of the pages, for each half."""

    detector: str
    pages: int
    japanese: int
    precision: float
    recall: float
    f1: float
    best_f1: float | None
    cpu_ms: float


def main() -> None:
    options = _options()
    pages = list(read_pages(options.warcs, read_manifest(options.manifest)))
    detectors = make_detectors(options.model, options.fasttext_model)
    truth = np.array([page.is_japanese for page in pages])
    scores, cpu_ms = {}, {}
    for detector in detectors:
        start = time.process_time()
        scores[detector.name] = np.array([detector.score(page) for page in pages])
        cpu_ms[detector.name] = 1000 * (time.process_time() - start) / len(pages)

    def rows(chosen: np.ndarray, true: np.ndarray) -> list[Row]:
        halves = np.array([in_first_half(pages[number].url) for number in chosen])
        return [evaluate(each, scores[each.name][chosen], true, halves, cpu_ms[each.name]) for each in detectors]

    everything = np.arange(len(pages))
    result = {"share": rows(everything, truth)}
    for charset in sorted({page.charset for page in pages}):
        chosen = np.array([number for number, page in enumerate(pages) if page.charset == charset])
        result[f"share, {charset}"] = rows(chosen, truth[chosen])
    place = {page.url: number for number, page in enumerate(pages)}
    labels = [label for label in read_labels(options.labels) if label.url in place]
    for kind in ["", *sorted({label.kind for label in labels})]:
        of_kind = [label for label in labels if kind in ("", label.kind)]
        chosen = np.array([place[label.url] for label in of_kind])
        result[f"labels, {kind}" if kind else "labels"] = rows(chosen, np.array([each.is_japanese for each in of_kind]))
    passed = np.array([page.passes_precheck for page in pages])
    _show(result, lost=int(np.count_nonzero(truth & ~passed)), passed=int(np.count_nonzero(passed)), options=options)


def read_pages(warcs: Sequence[Path], from_japanese_folder: dict[tuple[str, str], bool]) -> Iterator[Page]:
    """The pages of the WARC files that the manifest knows, decoded and with their main text."""
    with Extractor("resiliparse", max_seconds=60) as extractor:
        for warc in warcs:
            for page in WarcReader(warc, max_page_bytes=8 << 20):
                decoded = decode(page.body, page.http_charset) if page.problem is None else None
                known = (warc.name, page.url or "")
                if decoded is None or known not in from_japanese_folder:
                    continue
                is_plain = page.content_type == "text/plain"
                text = tidy(decoded.text) if is_plain else extractor.extract(decoded.text)
                num_kana = int(np.count_nonzero(classify(decoded.text) & KANA))
                passes = looks_japanese(page.body)
                yield Page(known[1], from_japanese_folder[known], decoded.charset, text, num_kana, passes)


def read_manifest(path: Path) -> dict[tuple[str, str], bool]:
    """(WARC name, URL) -> whether the page comes from a Japanese folder."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return {(row["warc"], row["url"]): row["lang"] == "ja" for row in rows}


def read_labels(path: Path) -> list[Label]:
    """The labels of a file such as `labels/mixed_pages.tsv`."""
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader((line for line in file if not line.startswith("#")), delimiter="\t"))
    if wrong := [row for row in rows if row["label"] not in ("ja", "not-ja")]:
        raise ValueError(f"{path}: expected label ja or not-ja, got {wrong[0]['label']!r} for {wrong[0]['url']}")
    return [Label(row["url"], row["kind"], row["label"] == "ja") for row in rows]


def make_detectors(model: str, fasttext_model: Path) -> list[Detector]:
    """Ours and those it is held against."""
    judge = LanguageJudge(LanguageConfig(model=model), JapaneseLinesConfig())
    fasttext = LanguageConfig(method="fasttext", model=str(fasttext_model))
    lid = LanguageJudge(fasttext, JapaneseLinesConfig())
    return [
        Detector("ngram", 0, lambda page: judge.score(page.text)),
        Detector("hibari", 0.5, lambda page: judge(page.text).is_japanese, is_decision=True),
        Detector("lid.176", 0.5, lambda page: lid.score(page.text)),
        Detector("kana", 49.5, lambda page: page.num_kana),
    ]


def in_first_half(url: str) -> bool:
    return hashlib.sha256(url.encode()).digest()[0] % 2 == 0


def evaluate(detector: Detector, scores: np.ndarray, truth: np.ndarray, halves: np.ndarray, cpu_ms: float) -> Row:
    """A detector's row: `halves` says which pages are in the first half."""
    called = scores > detector.threshold
    right = np.count_nonzero(called & truth)
    crossed = np.zeros(len(truth), bool)
    for half in (halves, ~halves):
        crossed[half] = scores[half] > best_threshold(scores[~half], truth[~half])
    return Row(
        detector=detector.name,
        pages=len(truth),
        japanese=int(np.count_nonzero(truth)),
        precision=right / max(1, np.count_nonzero(called)),
        recall=right / max(1, np.count_nonzero(truth)),
        f1=f1(called, truth),
        best_f1=None if detector.is_decision else f1(crossed, truth),
        cpu_ms=cpu_ms,
    )


def best_threshold(scores: np.ndarray, truth: np.ndarray) -> float:
    """The threshold of highest F1 among values halfway between two scores; the middle one of equals."""
    values = np.unique(scores)
    between = (values[1:] + values[:-1]) / 2 if len(values) > 1 else values
    between = between[:: max(1, len(between) // MAX_THRESHOLDS)]
    reached = np.array([f1(scores > threshold, truth) for threshold in between])
    best = between[reached == reached.max()] if len(between) else np.zeros(1)
    return float(best[len(best) // 2])


def f1(called: np.ndarray, truth: np.ndarray) -> float:
    """2 · right / (called + true); 0 where both are none."""
    total = np.count_nonzero(called) + np.count_nonzero(truth)
    return float(2 * np.count_nonzero(called & truth) / total) if total else 0.0


def _show(result: dict[str, list[Row]], lost: int, passed: int, options: argparse.Namespace) -> None:
    console = Console(width=100)
    table = Table("truth", "pages", "ja", "detector", "precision", "recall", "F1", "best F1", "ms/page")
    for truth, rows in result.items():
        if not rows[0].japanese:
            continue  # no F1 to speak of; the JSON line has them
        for row in rows:
            figures = (row.precision, row.recall, row.f1, row.best_f1)
            texts = ["" if figure is None else f"{figure:.4f}" for figure in figures]
            head = [truth, f"{row.pages:,}", f"{row.japanese:,}"] if row is rows[0] else ["", "", ""]
            table.add_row(*head, row.detector, *texts, f"{row.cpu_ms:.3f}", end_section=row is rows[-1])
    console.print(table)
    num_japanese = result["share"][0].japanese
    console.print(
        f"pre-check: {passed:,} pages pass, {lost} of {num_japanese:,} Japanese ones are lost", highlight=False
    )
    if options.json:
        figures = {truth: [asdict(row) for row in rows] for truth, rows in result.items()}
        print(json.dumps({"rows": figures, "precheck": {"passed": passed, "lost": lost, "japanese": num_japanese}}))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = sorted((DATA / "warc").glob("*.warc.gz"))
    parser.add_argument("--warcs", type=Path, nargs="+", default=shared, help="WARC files, as the manifest names them")
    parser.add_argument(
        "--manifest", type=Path, default=DATA / "manifest.jsonl.gz", help="warc, url, lang of the pages"
    )
    parser.add_argument("--labels", type=Path, default=LABELS, help="labels of mixed pages")
    parser.add_argument("--model", default="builtin", help="our model: builtin, or a path")
    parser.add_argument("--fasttext-model", type=Path, default=DATA / "models" / "lid.176.ftz", help="lid.176")
    parser.add_argument("--json", action="store_true", help="end in one JSON line")
    options = parser.parse_args()
    if not options.warcs:
        parser.error(f"no WARC files in {DATA / 'warc'}: name some with --warcs")
    return options


if __name__ == "__main__":
    main()
