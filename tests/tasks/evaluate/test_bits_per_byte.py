from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from tasks.evaluate.bits_per_byte import (
    HeldOut,
    cut_windows,
    plan_documents,
    score_documents,
    select_texts,
    start_ids,
)
from tasks.evaluate.model import LanguageModel
from tests.tasks.evaluate.conftest import END, ENGLISH, JAPANESE
from tokenizer.encoder import Encoder, load_encoder

DOCUMENTS = [
    HeldOut("01", "ja", "夕方の川べりで、子どもたちが石を投げて遊んでいた。" * 12),
    HeldOut("02", "ja", "雲雀。"),
    HeldOut("03", "en", "The clock on the shelf was slow. " * 20),
]


@pytest.fixture(scope="module")
def encoder(byte_level_folder: Path) -> Encoder:
    return load_encoder(byte_level_folder)


@pytest.fixture(scope="module")
def model(byte_level_folder: Path) -> LanguageModel:
    return LanguageModel.load(byte_level_folder, device="cpu")


def test_a_model_without_opinion_needs_log2_of_the_vocabulary_for_each_token(
    byte_level_folder: Path, encoder: Encoder
) -> None:
    module = AutoModelForCausalLM.from_pretrained(byte_level_folder, dtype=torch.float32)
    torch.nn.init.zeros_(module.lm_head.weight)
    plans = plan_documents(encoder, DOCUMENTS, window=64, stride=48)
    rows = score_documents(LanguageModel(module), plans, batch_size=4)
    for row, document in zip(rows, DOCUMENTS, strict=True):
        num_tokens = len(encoder.encode(document.text))  # nothing for the end of the document
        assert row["tokens"] == num_tokens
        assert row["bytes"] == len(document.text.encode())
        assert row["bits"] == pytest.approx(num_tokens * math.log2(400), rel=1e-6)
        assert row["score"] == pytest.approx(row["bits"] / row["bytes"], abs=1e-6)


def test_a_document_that_fits_is_scored_in_full_context(
    byte_level_folder: Path, model: LanguageModel, encoder: Encoder
) -> None:
    plain = AutoModelForCausalLM.from_pretrained(byte_level_folder, dtype=torch.float32).eval()
    plans = plan_documents(encoder, DOCUMENTS, window=1024, stride=1)
    assert [len(plan.spans) for plan in plans] == [1, 1, 1]
    rows = score_documents(model, plans, batch_size=2)
    for row, document in zip(rows, DOCUMENTS, strict=True):
        ids = torch.tensor([[encoder.eos_id, *encoder.encode(document.text)]])
        with torch.no_grad():
            nats = float(plain(ids, labels=ids).loss) * (ids.shape[1] - 1)
        assert row["bits"] == pytest.approx(nats / math.log(2), rel=1e-5)


def test_windows_give_each_token_the_context_they_state(model: LanguageModel, encoder: Encoder) -> None:
    window, stride = 20, 12
    plan = plan_documents(encoder, DOCUMENTS[:1], window=window, stride=stride)[0]
    scored = np.concatenate(model.log_likelihoods(plan.spans, batch_size=4))
    ids = [encoder.eos_id, *encoder.encode(DOCUMENTS[0].text)]
    expected = []
    for position in range(1, len(ids)):
        moved = max(0, math.ceil((position - window) / stride))  # windows before the one that scores it
        begin = moved * stride
        assert begin == 0 or position - begin > window - stride
        expected.append(model.log_likelihoods([(ids[begin : position + 1], position - begin)], batch_size=1)[0][0])
    np.testing.assert_allclose(scored, expected, atol=1e-4)


@pytest.mark.parametrize(("window", "stride"), [(2, 1), (3, 3), (5, 2), (8, 8), (50, 7)])
@pytest.mark.parametrize("length", [1, 2, 3, 9, 10, 40, 51])
def test_windows_score_every_token_once(length: int, window: int, stride: int) -> None:
    ids = list(range(length))
    spans = cut_windows(ids, 1, window=window, stride=stride)
    assert [token for span, first in spans for token in span[first:]] == ids[1:]
    assert all(len(span) <= window + 1 and first >= 1 for span, first in spans)


def test_windows_by_hand() -> None:
    assert cut_windows([9, 1, 2, 3, 4, 5], 1, window=3, stride=2) == [([9, 1, 2, 3], 1), ([2, 3, 4, 5], 2)]


def test_batches_do_not_matter(model: LanguageModel, encoder: Encoder) -> None:
    plans = plan_documents(encoder, DOCUMENTS, window=30, stride=20)
    one, many = (score_documents(model, plans, batch_size=size) for size in (1, 7))
    assert [row["bits"] for row in one] == pytest.approx([row["bits"] for row in many], abs=1e-4)


def test_what_precedes_a_text_is_bos_or_else_the_document_separator(
    encoder: Encoder, sentencepiece_folder: Path
) -> None:
    assert start_ids(encoder) == [0]  # <|endoftext|>, as between documents in training
    assert start_ids(load_encoder(sentencepiece_folder)) == [1]  # <s>


def test_a_special_looking_string_is_ordinary_text(encoder: Encoder) -> None:
    plan = plan_documents(encoder, [HeldOut("01", "en", f"write {END} here")], window=64, stride=64)[0]
    ids, first = plan.spans[0]
    assert encoder.eos_id not in ids[first:]
    assert encoder.decode(ids[first:]) == f"write {END} here"


def test_texts_are_chosen_by_id_whatever_order_they_come_in() -> None:
    texts = [(bytes([index * 37 % 256]), JAPANESE[index % 5]) for index in range(20)]
    limits = {"max_bytes": 500, "max_document_bytes": 300}
    chosen = select_texts(texts, language="ja", **limits)
    assert chosen == select_texts(texts[::-1], language="ja", **limits)
    assert [text.id for text in chosen] == sorted(text.id for text in chosen)


def test_texts_are_cut_between_characters_and_fill_the_budget() -> None:
    texts = [(bytes([index]), "雲雀" * 300) for index in range(9)]
    chosen = select_texts(texts, language="ja", max_bytes=2000, max_document_bytes=700)
    assert [len(text.text) for text in chosen] == [233, 233, 200]  # 699, 699, then 600 of 602 bytes
    assert all(set(text.text) == set("雲雀") for text in chosen)


def test_no_text_is_a_clear_error() -> None:
    for texts in ([], [(b"1", ""), (b"2", " \n")]):
        with pytest.raises(ValueError, match=r"no held-out ja text.*validation_ratio"):
            select_texts(texts, language="ja", max_bytes=1000, max_document_bytes=1000)


def test_a_model_of_nans_is_named_not_averaged(byte_level_folder: Path, encoder: Encoder) -> None:
    module = AutoModelForCausalLM.from_pretrained(byte_level_folder, dtype=torch.float32)
    torch.nn.init.constant_(module.lm_head.weight, float("nan"))
    plans = plan_documents(encoder, [HeldOut("0a", "en", ENGLISH[0])], window=64, stride=64)
    with pytest.raises(ValueError, match=r"document 0a \(en\).*not finite"):
        score_documents(LanguageModel(module), plans, batch_size=1)
