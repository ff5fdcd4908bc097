"""From documents to samples: what training reads can be traced, and is never what evaluation is given."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

from storage.documents import document_id
from storage.mixture import Mixture
from tasks.binarize.binarize import SourceInput, binarize
from tasks.binarize.config import BinarizeConfig
from tasks.mix.config import MixConfig
from tasks.mix.mix import mix
from tasks.shards import ExecutorConfig
from tests.tasks.binarize.inputs import en, ja, train_tokenizer, write_lines
from tokenizer.encoder import load_encoder


def test_samples_decode_to_the_documents_they_are_traced_to(tmp_path: Path) -> None:
    texts = {f"ja-{n}": ja(n) for n in range(80)} | {f"en-{n}": en(n) for n in range(40)}
    folder = train_tokenizer(tmp_path / "tokenizer")
    sources = []
    for language in ("ja", "en"):
        rows = [{"id": key, "text": text} for key, text in texts.items() if key.startswith(language)]
        path = write_lines(tmp_path / f"{language}.jsonl", rows)
        sources.append(SourceInput(f"web-{language}", language, (path,)))
    tokens, out = str(tmp_path / "binarize" / "x"), str(tmp_path / "mix" / "x")
    config = BinarizeConfig(validation_ratio=0.2)
    binarize(sources, folder, config, out=tokens, executor=ExecutorConfig(workers=1))
    settings = MixConfig(train_tokens=4000, validation_tokens=200, max_epochs=4)
    mix(tokens, {"web-ja": 0.9, "web-en": 0.1}, settings, seq_len=32, seed=7, out=out)

    encoder = load_encoder(folder)
    by_id = {document_id(f"web-{key[:2]}", key): text for key, text in texts.items()}
    held_out = {
        text
        for source in sources
        for text in pq.read_table(f"{tokens}/{source.name}/validation.parquet").column("text").to_pylist()
    }
    assert held_out
    mixture = Mixture.open(out)
    for i in range(len(mixture)):
        trace = mixture.trace(i)
        read: list[int] = []
        for span, found in zip(trace.spans, mixture.document_ids(trace), strict=True):
            assert by_id[found] not in held_out
            read += encoder.document(by_id[found])[span.offset : span.offset + span.length]
        assert read == mixture[i].tokens.tolist()
