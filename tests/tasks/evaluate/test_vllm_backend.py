"""Breaks when what vLLM is asked is not what it takes, or when what it says is read wrongly.

vLLM itself needs a GPU; a stand-in with its interface computes the same by transformers.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tasks.evaluate.encoding import fit_all
from tasks.evaluate.model import LanguageModel
from tasks.evaluate.requests import Context, Fitted, Generate, LogLikelihood, Rolling, Scored
from tests.tasks.evaluate import stand_in_vllm
from tests.tasks.evaluate.conftest import ENGLISH, JAPANESE
from tokenizer.encoder import Encoder, load_encoder

MODULE = "tasks.evaluate.vllm_backend"


@pytest.fixture
def vllm_backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module, over the stand-in."""
    monkeypatch.setitem(sys.modules, "vllm", stand_in_vllm)  # type: ignore[arg-type]
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    yield importlib.import_module(MODULE)
    sys.modules.pop(MODULE, None)


@pytest.fixture(params=["byte_level_folder", "sentencepiece_folder"])
def folder(request: pytest.FixtureRequest) -> Path:
    found: Path = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def encoder(folder: Path) -> Encoder:
    return load_encoder(folder)


def fitted(encoder: Encoder, *requests: Any, max_length: int = 1023) -> list[Fitted]:
    return fit_all(encoder, requests, max_length)


def likeliest_id(backend: Any, each: Fitted) -> int:
    """After the context of a request."""
    asked = stand_in_vllm.SamplingParams(temperature=0.0, max_tokens=1)
    return backend._llm.generate([{"prompt_token_ids": list(each.context)}], asked)[0].outputs[0].token_ids[0]


def assert_close(found: list[Scored], expected: list[Scored]) -> None:
    assert [each.num_tokens for each in found] == [each.num_tokens for each in expected]
    assert [each.is_greedy for each in found] == [each.is_greedy for each in expected]
    values = [each.log_likelihood for each in found]
    assert values == pytest.approx([each.log_likelihood for each in expected], abs=1e-4)


def test_log_likelihoods_are_those_of_transformers(vllm_backend: Any, folder: Path, encoder: Encoder) -> None:
    ours = LanguageModel.load(folder, encoder=encoder)
    backend = vllm_backend.VllmBackend.load(folder, dtype="fp32")
    batch = fitted(
        encoder,
        LogLikelihood(Context("朝の畑で"), "雲雀が鳴く。"),
        LogLikelihood(Context("", start=True), JAPANESE[1]),
        LogLikelihood(Context("The ferry leaves "), "at noon."),
    )
    batch.append(replace(batch[0], continuation=[likeliest_id(backend, batch[0])]))
    expected = ours.loglikelihood(batch)
    assert [each.is_greedy for each in expected] == [False, False, False, True]
    assert_close(backend.loglikelihood(batch), expected)


def test_texts_longer_than_the_model_reads_are_scored_in_windows(
    vllm_backend: Any, folder: Path, encoder: Encoder
) -> None:
    batch = fitted(encoder, Rolling("".join(JAPANESE)), Rolling(ENGLISH[0]))
    backend = vllm_backend.VllmBackend.load(folder, dtype="fp32", max_length=33)
    assert backend.max_length == 33
    assert batch[0].num_tokens > 2 * 33
    # An engine that reads 33 ids of which the last is only scored is one that reads 32.
    assert_close(
        backend.loglikelihood_rolling(batch), LanguageModel.load(folder, max_length=32).loglikelihood_rolling(batch)
    )


def test_a_prompt_as_long_as_the_model_reads_loses_its_first_id(
    vllm_backend: Any, folder: Path, encoder: Encoder
) -> None:
    ours = LanguageModel.load(folder, encoder=encoder)
    backend = vllm_backend.VllmBackend.load(folder, dtype="fp32", max_length=ours.max_length)
    assert backend.max_length == ours.max_length - 1
    long = "".join(JAPANESE) * 40
    (whole,) = fitted(
        encoder, LogLikelihood(Context(long, overlong="left"), "雲雀が鳴く。"), max_length=ours.max_length
    )
    assert whole.num_tokens == ours.max_length
    assert_close(backend.loglikelihood([whole]), ours.loglikelihood([replace(whole, context=whole.context[1:])]))


def test_texts_and_their_ends_are_those_of_transformers(vllm_backend: Any, folder: Path, encoder: Encoder) -> None:
    ours = LanguageModel.load(folder, encoder=encoder)
    whole = ours.generate_until(fitted(encoder, Generate(Context(JAPANESE[0]), max_tokens=24)))[0]
    requests = [
        Generate(Context(JAPANESE[0]), max_tokens=24),
        Generate(Context(JAPANESE[0]), (whole.text[4:6],), max_tokens=24),
        Generate(Context(JAPANESE[0]), max_characters=5),
        Generate(Context(ENGLISH[0]), ("", "\n"), max_tokens=7),
    ]
    batch = fitted(encoder, *requests)
    found = vllm_backend.VllmBackend.load(folder, dtype="fp32", encoder=encoder).generate_until(batch)
    expected = ours.generate_until(batch)
    assert [(each.text, each.ended_by) for each in found] == [(each.text, each.ended_by) for each in expected]
    assert {"tokens", "stop", "characters"} <= {each.ended_by for each in found}


def test_a_document_ends_at_the_id_that_ended_documents_in_training(
    vllm_backend: Any, folder: Path, encoder: Encoder
) -> None:
    (context,) = fitted(encoder, Generate(Context(JAPANESE[2]), max_tokens=5))
    backend = vllm_backend.VllmBackend.load(folder, dtype="fp32")
    backend._end_id = likeliest_id(backend, context)
    ended = backend.generate_until([context])[0]
    assert (ended.text, ended.ended_by) == ("", "end_of_text")


def test_the_engine_is_asked_for_what_the_evaluation_needs(vllm_backend: Any, folder: Path) -> None:
    backend = vllm_backend.VllmBackend.load(folder, dtype="bf16", max_length=100, tensor_parallel_size=2)
    assert stand_in_vllm.LLM.last_options == {
        "dtype": "bfloat16",
        "max_model_len": 101,
        "enable_prefix_caching": True,
        "trust_remote_code": False,
        "seed": 0,
        "tensor_parallel_size": 2,
    }
    assert (backend.name, backend.device) == ("vllm-bf16", "cuda")


def test_without_vllm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)  # type: ignore[arg-type]
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    with pytest.raises(ImportError, match=r"hibari\[vllm\]"):
        importlib.import_module(MODULE)
