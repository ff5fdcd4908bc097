"""datatrove's DocumentTokenizer over JSON lines: what `benchmarks.binarize` runs beside ours.

    python datatrove_tokens.py OUT TOKENIZER_JSON FOLDER WORKERS

One task a file; Hugging Face's `tokenizers` encode, no shuffling. The last line printed is JSON with the tokens.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"  # a worker is one core

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.tokens import DocumentTokenizer


def main(out: str, tokenizer: str, folder: str, workers: str) -> None:
    """Tokenise every file of the folder."""
    steps = [
        JsonlReader(folder, glob_pattern="*.jsonl"),
        DocumentTokenizer(f"{out}/tokens", tokenizer_name_or_path=tokenizer, eos_token="</s>", shuffle_documents=False),
    ]
    LocalPipelineExecutor(
        pipeline=steps,
        tasks=len(list(Path(folder).glob("*.jsonl"))),
        workers=int(workers),
        logging_dir=f"{out}/logs",
        start_method="fork",  # others hide the children's CPU time
    ).run()
    num_bytes = sum(path.stat().st_size for path in Path(out, "tokens").glob("*.ds"))
    print(json.dumps({"tokens": num_bytes // 2}))


if __name__ == "__main__":
    main(*sys.argv[1:])
