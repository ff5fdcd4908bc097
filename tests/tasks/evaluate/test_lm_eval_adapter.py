"""Breaks when lm-eval's requests do not reach a backend as they are meant, or ours not one of its models.

Where lm-eval is installed it is used, and compared with; else the few classes that the adapter needs stand in.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tasks.evaluate.encoding import fit_all
from tasks.evaluate.model import LanguageModel
from tasks.evaluate.requests import Context, Generate, Generated, LogLikelihood, Rolling, Scored
from tests.tasks.evaluate import stand_in_lm_eval
from tests.tasks.evaluate.conftest import ENGLISH, JAPANESE
from tokenizer.encoder import Encoder, load_encoder

MODULE = "tasks.evaluate.lm_eval_adapter"
PAIRS = [
    (JAPANESE[0], "港の市場では、"),
    (JAPANESE[0], "雨の日は図書館で古い地図を眺める。"),
    ("The ferry leaves ", "the harbour."),
    ("", JAPANESE[3]),
]


@pytest.fixture
def adapter(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module."""
    if importlib.util.find_spec("lm_eval") is None:
        stand_in_lm_eval.install(monkeypatch)
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    yield importlib.import_module(MODULE)
    sys.modules.pop(MODULE, None)


@pytest.fixture
def encoder(byte_level_folder: Path) -> Encoder:
    return load_encoder(byte_level_folder)


@pytest.fixture
def model(byte_level_folder: Path, encoder: Encoder) -> LanguageModel:
    return LanguageModel.load(byte_level_folder, encoder=encoder)


def instances(adapter: Any, kind: str, arguments: Sequence[tuple[Any, ...]], document: int | None = None) -> list[Any]:
    return [adapter.Instance(kind, {}, each, place, ("birds", document, 1)) for place, each in enumerate(arguments)]


def assert_close(found: Sequence[Scored], expected: Sequence[Scored]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.log_likelihood == pytest.approx(other.log_likelihood, abs=1e-4)
        assert (one.is_greedy, one.num_tokens) == (other.is_greedy, other.num_tokens)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_log_likelihoods_come_in_the_order_of_the_requests(
    adapter: Any, model: LanguageModel, encoder: Encoder, batch_size: int
) -> None:
    found = adapter.HibariLM(model, encoder, batch_size=batch_size).loglikelihood(
        instances(adapter, "loglikelihood", PAIRS)
    )
    for (context, continuation), (value, is_greedy) in zip(PAIRS, found, strict=True):
        stripped = context.rstrip()
        before = encoder.encode(stripped) or [encoder.eos_id]
        after = encoder.encode(f"{context}{continuation}")[len(encoder.encode(stripped)) :]
        (expected,) = model.log_likelihoods([([*before, *after], len(before))], batch_size=1)
        assert value == pytest.approx(expected.sum(), abs=1e-4)
        assert is_greedy is False


def test_a_long_context_loses_its_left_end(adapter: Any, byte_level_folder: Path, encoder: Encoder) -> None:
    short = LanguageModel.load(byte_level_folder, max_length=24)
    context = "".join(JAPANESE)
    ((found, _),) = adapter.HibariLM(short, encoder).loglikelihood(
        instances(adapter, "loglikelihood", [(context, JAPANESE[0][:3])])
    )
    whole, continuation = encoder.encode(context + JAPANESE[0][:3]), len(encoder.encode(JAPANESE[0][:3]))
    (expected,) = short.log_likelihoods([(whole[-24:], 24 - continuation)], batch_size=1)
    assert found == pytest.approx(expected.sum(), abs=1e-4)


def test_whole_texts_and_lm_evals_cache(adapter: Any, model: LanguageModel, encoder: Encoder) -> None:
    learnt: list[tuple[Any, ...]] = []

    class Hook:
        def add_partial(self, *what: Any) -> None:
            learnt.append(what)

    told: list[tuple[int, int]] = []
    lm = adapter.HibariLM(model, encoder, batch_size=1, on_requests=lambda *done: told.append(done))
    lm.set_cache_hook(Hook())
    texts = [(JAPANESE[1],), (ENGLISH[2],)]
    found = lm.loglikelihood_rolling(instances(adapter, "loglikelihood_rolling", texts))
    for (text,), value in zip(texts, found, strict=True):
        (expected,) = model.log_likelihoods([([encoder.eos_id, *encoder.encode(text)], 1)], batch_size=1)
        assert value == pytest.approx(expected.sum(), abs=1e-4)
    assert sorted(learnt) == sorted(
        ("loglikelihood_rolling", text, value) for text, value in zip(texts, found, strict=True)
    )
    assert told == [(1, 2), (2, 2)]


def test_texts_end_where_the_task_says(adapter: Any, model: LanguageModel, encoder: Encoder) -> None:
    lm = adapter.HibariLM(model, encoder)
    (whole,) = lm.generate_until(instances(adapter, "generate_until", [(JAPANESE[0], {"max_gen_toks": 20})]))
    assert len(whole) > 6
    stop = whole[4:6]
    asked = [
        (JAPANESE[0], {"until": stop, "max_gen_toks": 20, "do_sample": False, "temperature": 0.0}),
        (JAPANESE[0], {"until": ["", "ありえない"], "max_new_tokens": 20}),
        (JAPANESE[0], {"until": [], "max_gen_toks": 1, "max_tokens": 9}),
    ]
    cut, same, one = lm.generate_until(instances(adapter, "generate_until", asked))
    assert (cut, same) == (whole[: whole.find(stop)], whole)
    assert whole.startswith(one)
    assert len(one) < len(whole)


def test_a_task_that_sets_no_limit_gets_that_of_lm_eval(adapter: Any) -> None:
    assert adapter.generate_request("問題：", {"until": ["\n"]}) == Generate(
        Context(after="問題：", overlong="left"), ("\n",), max_tokens=256
    )


@pytest.mark.parametrize("settings", [{"do_sample": True}, {"temperature": 0.7}, {"num_beams": 4}])
def test_samples_and_beams_are_refused(adapter: Any, settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="write the greedy text only"):
        adapter.generate_request("問題：", settings)


def test_our_requests_through_one_of_lm_evals_models(adapter: Any, model: LanguageModel, encoder: Encoder) -> None:
    """There and back: a backend behind lm-eval's interface behind ours answers as it does itself."""
    back = adapter.LmEvalBackend(adapter.HibariLM(model, encoder), encoder)
    assert (back.max_length, back.device) == (model.max_length, "cpu")
    scored = fit_all(encoder, [LogLikelihood(Context(context), rest) for context, rest in PAIRS], 1024)
    assert_close(back.loglikelihood(scored), model.loglikelihood(scored))
    texts = fit_all(encoder, [Rolling(JAPANESE[1])], 1024)
    assert_close(back.loglikelihood_rolling(texts), model.loglikelihood_rolling(texts))
    asked = fit_all(
        encoder,
        [
            Generate(Context(JAPANESE[0]), max_characters=4),
            Generate(Context(JAPANESE[0]), max_tokens=6),
        ],
        1024,
    )
    found, expected = back.generate_until(asked), model.generate_until(asked)
    assert [each.text for each in found] == [each.text for each in expected]
    assert found[0].ended_by == "characters"


def test_what_had_to_be_cut_is_cut_for_lm_eval_too(adapter: Any, encoder: Encoder) -> None:
    asked: list[Any] = []

    class Model(adapter.LM):  # type: ignore[misc, name-defined]
        max_length = 60

        def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]:
            raise NotImplementedError

        def loglikelihood_rolling(self, requests: list[Any]) -> list[float]:
            raise NotImplementedError

        def generate_until(self, requests: list[Any]) -> list[str]:
            asked.extend(request.args for request in requests)
            return ["雲雀" for _ in requests]

    context = Context(
        head="答えよ。",
        shots=("問：鳥は？答：雲雀\n", "問：春は？答：三月\n"),
        passage=JAPANESE[0] * 2,
        after="問：空は？答：",
    )
    fitted = fit_all(encoder, [Generate(context, ("\n",), max_tokens=20)], Model.max_length)
    backend = adapter.LmEvalBackend(Model(), encoder)
    assert fitted[0].shots_dropped
    assert fitted[0].characters_cut
    assert backend.generate_until(fitted) == [Generated("雲雀", len(encoder.encode("雲雀")), "stop")]
    ((text, settings),) = asked
    assert len(encoder.encode(text)) <= 40
    assert text.startswith("答えよ。")
    assert text.endswith("問：空は？答：")
    assert encoder.encode(text) == list(fitted[0].context)
    assert settings == {"until": ["\n"], "max_gen_toks": 20, "do_sample": False}


def test_without_lm_eval_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval.api.instance", None)  # type: ignore[arg-type]
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    with pytest.raises(ImportError, match=r"hibari\[lm-eval\]"):
        importlib.import_module(MODULE)


@pytest.mark.slow
def test_lm_evals_own_model_says_the_same(adapter: Any, sentencepiece_folder: Path, tmp_path: Path) -> None:
    """A task of lm-eval, on its model and on ours; needs lm-eval."""
    lm_eval = pytest.importorskip("lm_eval")
    if not hasattr(lm_eval, "simple_evaluate"):
        pytest.skip("lm-eval is not installed")
    settings = {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "bos_token": "<s>", "eos_token": "</s>"}
    folder = tmp_path / "model"
    folder.mkdir()
    for path in sentencepiece_folder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"unk_token": "<unk>", "legacy": False}))
    rows = [{"query": text[:12], "choices": [text[12:], *ENGLISH[:2]], "gold": 0} for text in JAPANESE]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    task = {
        "task": "birds",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(tmp_path / "rows.jsonl")}, "cache_dir": str(tmp_path / "cache")},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{query}}",
        "doc_to_target": "{{gold}}",
        "doc_to_choice": "choices",
        "metric_list": [{"metric": "acc"}],
    }

    def values(lm: Any) -> list[float]:
        found = lm_eval.simple_evaluate(model=lm, tasks=[task], log_samples=True, bootstrap_iters=0)
        samples = sorted(found["samples"]["birds"], key=lambda sample: sample["doc_id"])
        return [float(response[0][0]) for sample in samples for response in sample["resps"]]

    theirs = values(adapter.load_lm_eval(folder, dtype="fp32", device="cpu")._lm)
    ours = values(adapter.HibariLM.load(folder))
    assert len(ours) == 15
    assert ours == pytest.approx(theirs, abs=1e-4)
