"""The released swallow-corpus scripts over WARC files: warc2raw's extraction, then quality.py's metrics and decision.

    python swallow_corpus.py FOLDER_OF_SCRIPTS FOLDER_WITH_MODEL WARC...

Counts how often trafilatura is asked, so that time can be given per extracted page.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import sys


def main(scripts: str, model_folder: str, warcs: list[str]) -> None:
    """Extract and judge; one JSON line with the counts."""
    os.chdir(model_folder)  # warc2raw opens its model in the current folder
    sys.path.insert(0, scripts)
    import quality
    import trafilatura
    import warc2raw

    asked, extract = 0, trafilatura.extract

    def counting(*arguments: object, **options: object) -> object:
        nonlocal asked
        asked += 1
        return extract(*arguments, **options)

    trafilatura.extract = counting
    kept = 0
    for warc in warcs:
        pages = io.StringIO()
        with gzip.open(warc) as file:
            warc2raw.extract(file, pages)
        for line in pages.getvalue().split("\n"):
            if line:
                page = json.loads(line)
                with contextlib.suppress(IndexError):  # a text without a sentence
                    kept += bool(quality.apply_v1(quality.main(page)))
    print(json.dumps({"kept": kept, "extracted": asked}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
