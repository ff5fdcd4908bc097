"""datatrove's nearest pipeline over WARC files: read, extract by trafilatura, filter by language and repetition.

    python datatrove_pipeline.py OUT LID_MODEL FOLDER

The filters are FineWeb's, with the Japanese word tokenizer; rules made for English words (stop words, word lengths,
share of alphabetic words) are off. LID_MODEL is lid.176.bin or .ftz, which datatrove would download.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.extractors import Trafilatura
from datatrove.pipeline.filters import GopherQualityFilter, GopherRepetitionFilter, LanguageFilter
from datatrove.pipeline.readers import WarcReader
from datatrove.pipeline.writers import JsonlWriter
from datatrove.utils.lid import FT176LID
from fasttext.FastText import _FastText


def main(out: str, lid_model: str, folder: str) -> None:
    """Run the pipeline; one JSON line with the counts."""
    loaded = _FastText(lid_model)
    FT176LID.model = property(lambda self: loaded)
    read = 0

    def count(documents: Iterator[Any], rank: int = 0, world_size: int = 1) -> Iterator[Any]:
        nonlocal read
        for document in documents:
            read += 1
            yield document

    quality = GopherQualityFilter(
        language="jpn",
        min_avg_word_length=None,
        max_avg_word_length=None,
        max_non_alpha_words_ratio=None,
        min_stop_words=None,
    )
    steps = [
        WarcReader(folder, glob_pattern="*.warc.gz"),
        count,
        Trafilatura(favour_precision=True),
        LanguageFilter(languages=["ja"]),
        GopherRepetitionFilter(language="jpn"),
        quality,
        JsonlWriter(f"{out}/documents"),
    ]
    LocalPipelineExecutor(pipeline=steps, tasks=1, workers=1, logging_dir=f"{out}/logs").run()
    kept = sum(1 for path in Path(out).glob("documents/*") for _ in _lines(path))
    print(json.dumps({"kept": kept, "extracted": read}))


def _lines(path: Path) -> Iterator[str]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from file


if __name__ == "__main__":
    main(*sys.argv[1:])
