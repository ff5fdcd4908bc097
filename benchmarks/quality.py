"""The quality metrics and rules: what they cost, what each setting changes, where the thresholds come from.

In: the Japanese pages of WARC files, and texts in JSON lines. Out: three tables.

1. CPU time a text of each part of `measure`, and of the released swallow-corpus `quality.py` where a checkout is named;
   all on the same texts in turn, `--repeat` times, medians.
2. Texts kept by the recipe (profile swallow-v1), by the recipe with one setting of the hibari profile at a time, and by
   the hibari profile; in brackets what is newly kept and newly dropped.
3. The 99.5th percentile of each `repeated_{n}gram_fraction` among the texts that the recipe keeps, and the threshold
   that follows; and how many letters of each source are in NG words.

    python -m benchmarks.quality --swallow-corpus ~/swallow-corpus
    python -m benchmarks.quality --warcs a.warc.gz --texts b.jsonl.gz --json
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import json
import math
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tasks.code_points import code_points
from tasks.curate import metrics as quality_metrics
from tasks.curate.config import CurateConfig
from tasks.curate.metrics import Metrics, measure
from tasks.curate.ngrams import REPEATED_SIZES, ngram_fractions
from tasks.curate.ngwords import NgWords, load_ng_words
from tasks.curate.page import Examiner
from tasks.curate.quality_config import QualityConfig
from tasks.curate.rules import decide
from tasks.curate.warc import WarcReader

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
TEXTS = [DATA / "text" / f"{name}.jsonl.gz" for name in ("ja_aozora", "ja_python_docs")]
TEXTS.append(DATA / "oracles" / "oracle_quality_shared.jsonl.gz")
PERCENTILE = 99.5
PAGES = "WARC pages"
RECIPE: QualityConfig = CurateConfig(sources=["-"], profile="swallow-v1").quality
OURS: QualityConfig = CurateConfig(sources=["-"]).quality
SWITCHES = ("japanese_letters", "ngram_duplication", "sentences")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    options = _parser().parse_args(arguments)
    texts = {PAGES: page_texts(options.warcs)} | {path.name.split(".")[0]: read_texts(path) for path in options.texts}
    words = load_ng_words(OURS.ng_words)
    assert words is not None
    measured = {source: [measure(text, words) for text in found] for source, found in texts.items()}
    costs = cpu_ms(texts[PAGES], words, options.swallow_corpus, options.repeat)
    kept = {name: kept_by(config, measured) for name, config in _configs().items()}
    thresholds = calibrate([each for found in measured.values() for each in found])
    ng_shares = {source: _ng_share(found, words) for source, found in texts.items()}
    num_letters = sum(map(len, texts[PAGES]))
    print(f"CPU ms a text, {len(texts[PAGES]):,} pages of {num_letters / max(1, len(texts[PAGES])):,.0f} characters")
    print("\n".join(f"  {name:24}{cost:8.3f}" for name, cost in costs.items()))
    print("\n" + _table(kept, measured))
    print(f"\nrepeated n-grams: {PERCENTILE} % of the texts that the recipe keeps have at most")
    print("\n".join(f"  {n:2}  {value:.4f} -> {threshold:.2f}" for n, (value, threshold) in thresholds.items()))
    print("\nletters in NG words / letters; most in one text")
    print("\n".join(f"  {name:24}{share:.1e} {most:.4f}" for name, (share, most) in ng_shares.items()))
    if options.json:
        counts = {name: {source: sum(flags) for source, flags in found.items()} for name, found in kept.items()}
        print(json.dumps({"cpu_ms": costs, "kept": counts, "thresholds": thresholds, "ng_words": ng_shares}))


def page_texts(warcs: Sequence[Path]) -> list[str]:
    """The texts of WARC files that reach the quality rules of the hibari profile."""
    config = CurateConfig(sources=["-"])
    with Examiner(config) as examiner:
        examined = (examiner(page) for path in warcs for page in WarcReader(path, config.max_page_bytes))
        return [each.text for each in examined if each.metrics is not None]


def read_texts(path: Path) -> list[str]:
    """The texts of a file of JSON lines, without blank lines, as an extractor gives them."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        found = [json.loads(line)["text"] for line in lines]
    return ["\n".join(line for line in map(str.rstrip, text.split("\n")) if line) for text in found]


def cpu_ms(texts: Sequence[str], words: NgWords, released: Path | None, repeat: int) -> dict[str, float]:
    """Median CPU time a text, in milliseconds, of everything that is measured and of its parts."""
    parts: dict[str, Callable[[str], Any]] = {
        "measure": lambda text: measure(text, words),
        "  letters": quality_metrics._letter_metrics,
        "  sentences": quality_metrics._sentence_metrics,
        "  n-grams": lambda text: ngram_fractions(code_points(text)),
        "  NG words": words.count_letters,
    }
    if released is not None:
        spec = importlib.util.spec_from_file_location("released_quality", released / "quality.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        texts = [text for text in texts if text.strip("。．！？!?\n")]  # it crashes on others
        parts["released quality.py"] = lambda text: module.main({"text": text})
    spent: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(repeat):
        for name, run in parts.items():
            start = time.process_time()
            for text in texts:
                run(text)
            spent[name].append(time.process_time() - start)
    return {name: 1000 * statistics.median(times) / max(1, len(texts)) for name, times in spent.items()}


def kept_by(config: QualityConfig, measured: dict[str, list[Metrics]]) -> dict[str, list[bool]]:
    return {source: [decide(each, config).keep for each in found] for source, found in measured.items()}


def calibrate(measured: Sequence[Metrics]) -> dict[int, tuple[float, float]]:
    """For each n the percentile among the texts that the recipe keeps, and that rounded up to hundredths."""
    kept = [each for each in measured if decide(each, RECIPE).keep]
    found = {}
    for n in REPEATED_SIZES:
        value = float(np.percentile([getattr(each, f"repeated_{n}gram_fraction") for each in kept], PERCENTILE))
        found[n] = (value, math.ceil(100 * value) / 100)
    return found


def _configs() -> dict[str, QualityConfig]:
    single = {
        f"  {name}: {getattr(OURS, name)}": RECIPE.model_copy(update={name: getattr(OURS, name)}) for name in SWITCHES
    }
    return {"swallow-v1": RECIPE} | single | {"hibari": OURS}


def _ng_share(texts: Sequence[str], words: NgWords) -> tuple[float, float]:
    covered = [words.count_letters(text) for text in texts]
    most = max((count / len(text) for count, text in zip(covered, texts, strict=True) if text), default=0.0)
    return sum(covered) / max(1, sum(map(len, texts))), most


def _table(kept: dict[str, dict[str, list[bool]]], measured: dict[str, list[Metrics]]) -> str:
    base = kept["swallow-v1"]
    head = "texts kept".ljust(36) + "".join(f"{source[:22]:>24}" for source in measured)
    rows = [head, " " * 36 + "".join(f"{'of ' + format(len(found), ','):>24}" for found in measured.values())]
    for name, found in kept.items():
        row = name.ljust(36)
        for source, flags in found.items():
            new = sum(now and not before for now, before in zip(flags, base[source], strict=True))
            lost = sum(before and not now for now, before in zip(flags, base[source], strict=True))
            row += f"{f'{sum(flags):,} (+{new} -{lost})':>24}"
        rows.append(row)
    return "\n".join(rows)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description="Quality metrics and rules")
    parser.add_argument("--warcs", nargs="+", type=Path, default=sorted((DATA / "warc").glob("*.warc.gz")))
    parser.add_argument("--texts", nargs="*", type=Path, default=TEXTS, help="JSON lines, gzipped, with a text each")
    parser.add_argument("--swallow-corpus", type=Path, help="checkout of the released code, to time its quality.py")
    parser.add_argument("--repeat", type=int, default=3, help="turns of the timed parts")
    parser.add_argument("--json", action="store_true", help="end in one line of JSON with every figure")
    return parser


if __name__ == "__main__":
    main()
