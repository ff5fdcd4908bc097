"""The encoder: which tokenizer decides, what stands around a document, what is ordinary text."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from sentencepiece import SentencePieceProcessor

from tokenizer.encoder import Encoded, load_encoder
from tokenizer.sentencepiece_expansion import ModelProto


@pytest.fixture(params=["sentencepiece_base", "smollm_like", "llama3_like"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A tokenizer folder of either kind, free to be changed."""
    source: Path = request.getfixturevalue(request.param)
    for path in [source] if source.is_file() else source.iterdir():
        shutil.copy(path, tmp_path)
    return tmp_path


def test_round_trip_and_batch(folder: Path, tries: list[str]) -> None:
    encoder = load_encoder(folder)
    ids = [encoder.encode(text) for text in tries]
    assert encoder.encode_batch(tries) == ids
    assert max(map(max, ids)) < encoder.vocab_size
    readable = [text for text in tries if "▁" not in text]  # sentencepiece's own sign for a space
    assert [encoder.decode(encoder.encode(text)) for text in readable] == readable
    assert encoder.encode("") == []


def test_documents_begin_and_end_by_the_policy(folder: Path) -> None:
    encoder = load_encoder(folder)
    inner = encoder.encode("灯台です。")
    before = [] if encoder.bos_id is None else [encoder.bos_id]
    assert encoder.document("灯台です。") == [*before, *inner, encoder.eos_id]
    assert encoder.document("") == [*before, encoder.eos_id]


def rows(encoded: Encoded) -> list[list[int]]:
    return [encoded.ids[first:last].tolist() for first, last in pairwise(encoded.bounds)]


def test_many_texts_in_one_array(folder: Path, tries: list[str]) -> None:
    """From strings and from Arrow: as one by one."""
    encoder = load_encoder(folder)
    texts = ["", *tries[:100], ""]
    plain, around = [encoder.encode(text) for text in texts], [encoder.document(text) for text in texts]
    for given in (texts, pa.array(texts, pa.string()), pa.array(["x", *texts, "y"], pa.large_string()).slice(1, 102)):
        assert rows(encoder.encode_texts(given)) == plain
        assert rows(encoder.documents(given)) == around
    encoded = encoder.documents(texts)
    assert (encoded.ids.dtype, encoded.bounds.dtype) == (np.uint16, np.int64)
    for given in ([], pa.array([], pa.string())):
        assert rows(encoder.documents(given)) == []
    with pytest.raises(ValueError, match="1 of 2 texts are null"):
        encoder.encode_texts(pa.array(["a", None]))
    with pytest.raises(UnicodeEncodeError, match="surrogates not allowed"):
        encoder.documents(["good", "\udc00"])


def test_a_large_vocabulary_takes_int32(sentencepiece_base: Path, tmp_path: Path) -> None:
    model = ModelProto.FromString(sentencepiece_base.read_bytes())
    for number in range(65_500):
        model.pieces.add(piece=f"ｘ{number}", score=-1e6 - number, type=1)
    (tmp_path / "tokenizer.model").write_bytes(model.SerializeToString())
    encoded = load_encoder(tmp_path).documents(["the"])
    assert encoded.ids.dtype == np.int32
    assert encoded.ids.tolist() == load_encoder(sentencepiece_base).document("the")


def test_sentencepiece_encodes_what_the_fast_encoder_cannot(
    sentencepiece_base: Path, tmp_path: Path, tries: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """A user-defined piece is found in text before anything is merged."""
    model = ModelProto.FromString(sentencepiece_base.read_bytes())
    model.pieces.add(piece="[QUOTE]", score=0.0, type=4)
    path = tmp_path / "tokenizer.model"
    path.write_bytes(model.SerializeToString())
    texts = ["so [QUOTE] it is", *tries[:50]]
    with caplog.at_level("INFO"):
        encoder = load_encoder(path)
        encoder.encode_texts(["x"])
    assert "sentencepiece itself encodes" in caplog.text
    assert "user-defined pieces (['[QUOTE]'])" in caplog.text
    processor = SentencePieceProcessor(model_file=str(path))
    assert rows(encoder.encode_texts(texts)) == encoder.encode_batch(texts) == processor.encode(texts)
    assert rows(encoder.documents(texts)) == [encoder.document(text) for text in texts]
    with pytest.raises(UnicodeEncodeError, match="surrogates not allowed"):
        encoder.encode("a\ud83d")


def test_a_fast_encoder_that_disagrees_is_not_used(sentencepiece_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokenizer.bpe._ranks", lambda scores: np.arange(len(scores), dtype=np.int32))
    with pytest.raises(RuntimeError, match=r"disagrees with sentencepiece on '.*please report it"):
        load_encoder(sentencepiece_base).documents(["x"])


def test_strings_like_special_tokens_are_ordinary_text(folder: Path) -> None:
    """A page that mentions `<|endoftext|>` must not end a document."""
    encoder = load_encoder(folder)
    special = {encoder.bos_id, encoder.eos_id}
    for text in ("<s>", "</s>", "<unk>", "<|endoftext|>", "<|begin_of_text|>", "a</s>b", "<|im_end|>"):
        assert not special & set(encoder.encode(text))
        assert encoder.decode(encoder.encode(text)) == text


def test_half_a_surrogate_pair_is_refused(folder: Path) -> None:
    encoder = load_encoder(folder)
    with pytest.raises(UnicodeEncodeError, match="surrogates not allowed"):
        encoder.encode("a\ud83d")
    with pytest.raises(UnicodeEncodeError, match="surrogates not allowed"):
        encoder.encode_batch(["good", "\udc00"])


def test_a_stated_policy_wins(folder: Path) -> None:
    (folder / "hibari_tokenizer.json").write_text(json.dumps({"document_prefix": [7, 8], "document_suffix": [9]}))
    encoder = load_encoder(folder)
    assert encoder.document("x") == [7, 8, *encoder.encode("x"), 9]
    assert (encoder.bos_id, encoder.eos_id) == (7, 9)


def test_guessed_policies(sentencepiece_base: Path, byte_level_base: Path) -> None:
    encoder = load_encoder(sentencepiece_base)
    assert (encoder.kind, encoder.bos_id, encoder.eos_id) == ("sentencepiece", 1, 2)
    encoder = load_encoder(byte_level_base)
    vocabulary = json.loads((byte_level_base / "tokenizer.json").read_text())
    ids = {token["content"]: token["id"] for token in vocabulary["added_tokens"]}
    if "<|endoftext|>" in ids:  # SmolLM2: not the <|im_end|> that tokenizer_config.json names
        assert (encoder.bos_id, encoder.eos_id) == (None, ids["<|endoftext|>"])
    else:  # Llama 3
        assert (encoder.bos_id, encoder.eos_id) == (ids["<|begin_of_text|>"], ids["<|end_of_text|>"])


def test_a_byte_level_tokenizer_without_an_end_of_document_is_refused(byte_level_base: Path, tmp_path: Path) -> None:
    fields = json.loads((byte_level_base / "tokenizer.json").read_text())
    fields["added_tokens"], fields["post_processor"] = [], None
    fields["model"]["vocab"].pop("<|endoftext|>", None)
    (tmp_path / "tokenizer.json").write_text(json.dumps(fields))
    with pytest.raises(ValueError, match="state document_prefix and document_suffix"):
        load_encoder(tmp_path)


def test_missing_and_foreign_tokenizers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no tokenizer at .*expected a folder with tokenizer.model"):
        load_encoder(tmp_path / "nowhere")
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"type": "Unigram"}, "pre_tokenizer": None}))
    with pytest.raises(ValueError, match=r"put that model's tokenizer.model beside"):
        load_encoder(tmp_path)


def test_llama2_encodes_as_recorded(shared_data: Path) -> None:
    rows = json.loads((shared_data / "oracles/oracle_llama2_tokenizer.json").read_text(encoding="utf-8"))["rows"]
    encoder = load_encoder(shared_data / "models/llama2/tokenizer.model")
    assert encoder.encode_batch([row["text"] for row in rows]) == [row["ids"] for row in rows]
    assert [encoder.document(row["text"]) for row in rows] == [row["ids_bos_eos"] for row in rows]
    assert [encoder.decode(row["ids"]) for row in rows] == [row["decoded"] for row in rows]


def test_it_starts_light() -> None:
    """Every worker of binarize imports this."""
    program = "import sys, tokenizer.encoder; print(sorted({'torch', 'transformers', 'pyarrow'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
