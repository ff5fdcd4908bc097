from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    Gemma2Config,
    GPT2Config,
    Lfm2Config,
    LlamaForCausalLM,
    MambaConfig,
    MistralConfig,
    PretrainedConfig,
    Qwen3Config,
)

from tasks.evaluate import scoring
from tasks.evaluate.batching import common_prefix, plan_batches
from tasks.evaluate.model import LanguageModel
from tasks.evaluate.requests import Context, Fitted, LogLikelihood, Rolling, Scored
from tests.tasks.evaluate.characters import VOCABULARY, small_llama

SHOTS = list(np.random.default_rng(7).integers(2, VOCABULARY, 40))


def asked(context: Sequence[int], continuation: Sequence[int], text: str = "雲雀") -> Fitted:
    request = LogLikelihood(Context(after="何が鳴く？"), text)
    return Fitted(request, [int(token) for token in context], [int(token) for token in continuation])


def questions(seed: int = 3, prefix: Sequence[int] = SHOTS) -> list[Fitted]:
    """Items of one to four choices of one to nine ids, after contexts of one to thirty of their own."""
    generator = np.random.default_rng(seed)
    batch = []
    for size in (1, 2, 9, 30, 17, 1, 23):
        context = [*prefix, *generator.integers(2, VOCABULARY, size)]
        for length in generator.integers(1, 10, generator.integers(1, 5)):
            batch.append(asked(context, generator.integers(2, VOCABULARY, length)))
    return batch


def by_itself(module: torch.nn.Module, fitted: Fitted) -> tuple[float, bool]:
    """Log-likelihood and greediness from one plain pass of transformers."""
    ids = torch.tensor([[*fitted.context, *fitted.continuation]])
    with torch.no_grad():
        logits = module(ids).logits[0, len(fitted.context) - 1 : -1].double()
    targets = ids[0, len(fitted.context) :]
    values = torch.log_softmax(logits, -1)[range(len(targets)), targets]
    return float(values.sum()), bool((logits.argmax(-1) == targets).all())


def answers(
    model: LanguageModel, batch: Sequence[Fitted], batch_size: int, prefix: Sequence[int], seed: int = 0
) -> list[Scored]:
    """Results in the order of `batch`, computed in batches of the shuffled requests."""
    order = list(range(len(batch)))
    random.Random(seed).shuffle(order)
    shuffled = [batch[place] for place in order]
    found: dict[int, Scored] = {}
    for places in plan_batches(shuffled, batch_size):
        results = model.loglikelihood([shuffled[place] for place in places], prefix)
        found.update(zip((order[place] for place in places), results, strict=True))
    return [found[place] for place in range(len(batch))]


@pytest.fixture(scope="module")
def module() -> LlamaForCausalLM:
    return small_llama()


@pytest.mark.parametrize("prefixed", [False, True])
@pytest.mark.parametrize("batch_size", [1, 4, 16])
def test_values_are_those_of_each_sequence_by_itself(module: LlamaForCausalLM, batch_size: int, prefixed: bool) -> None:
    batch = questions()
    prefix = common_prefix(batch) if prefixed else []
    assert len(prefix) == (40 if prefixed else 0)
    scored = answers(LanguageModel(module), batch, batch_size, prefix)
    for each, result in zip(batch, scored, strict=True):
        value, greedy = by_itself(module, each)
        assert result.log_likelihood == pytest.approx(value, abs=1e-4)
        assert (result.is_greedy, result.num_tokens) == (greedy, len(each.continuation))


def test_what_the_model_would_write_is_greedy(module: LlamaForCausalLM) -> None:
    context = SHOTS[:9]
    with torch.no_grad():
        written = module.generate(torch.tensor([context]), max_new_tokens=5, do_sample=False, pad_token_id=0)[0, 9:]
    last = int(written[-1])
    others = [asked(context, written), asked(context, written[:1]), asked(context, [*written[:-1], (last + 1) % 130])]
    assert [each.is_greedy for each in LanguageModel(module).loglikelihood(others)] == [True, True, False]


def test_one_id_choices_cost_no_more_than_their_context(
    module: LlamaForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = LanguageModel(module)
    sizes: list[tuple[int, int]] = []
    plain = model._packed.logits

    def counted(ids: Sequence[int], positions: Sequence[int], plan: object, wanted: Sequence[int]) -> torch.Tensor:
        sizes.append((len(ids), len(wanted)))
        return plain(ids, positions, plan, wanted)  # type: ignore[arg-type]

    monkeypatch.setattr(model._packed, "logits", counted)
    contexts = [SHOTS[:20], SHOTS[5:20]]
    model.loglikelihood([asked(context, [choice]) for context in contexts for choice in (5, 6, 7, 8)])
    assert sizes == [(35, 2)]
    sizes.clear()
    model.loglikelihood([asked(SHOTS[:20], [choice, 9, 9]) for choice in (5, 6, 7, 8)])
    assert sizes == [(20 + 4 * 2, 1 + 4 * 2)]


def passes(module: LlamaForCausalLM, batch: Sequence[Fitted], monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The ids of each pass, where no two items share one, in order."""
    model = LanguageModel(module)
    model._packed.pass_ids = 1
    seen: list[tuple[int, ...]] = []
    plain = model._packed.logits

    def recorded(ids: Sequence[int], *rest: object) -> torch.Tensor:
        seen.append(tuple(ids))
        return plain(ids, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(model._packed, "logits", recorded)
    model.loglikelihood(batch)
    return sorted(seen)


def test_an_item_is_computed_the_same_way_in_any_order(
    module: LlamaForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = questions()
    shuffled = random.Random(1).sample(batch, len(batch))
    assert passes(module, shuffled, monkeypatch) == passes(module, batch, monkeypatch)


def test_texts_that_begin_with_the_same_few_ids_are_no_item(
    module: LlamaForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else what is computed together would depend on which texts are in the batch."""
    batch = [asked([0], [5, 6, 7]), asked([0], [8, 9])]
    assert passes(module, batch, monkeypatch) == [(0, 5, 6), (0, 8)]


def test_a_prefix_is_computed_once_for_batches_that_follow_one_another(module: LlamaForCausalLM) -> None:
    model = LanguageModel(module)
    batch = questions()
    first = model.loglikelihood(batch[:2], SHOTS)
    kept = model._packed.kept(SHOTS)
    model.loglikelihood(batch, SHOTS)
    assert model._packed.kept(SHOTS) is kept
    model.loglikelihood(batch, SHOTS[:20])
    assert model._packed.kept(SHOTS) is not kept
    assert model.loglikelihood(batch[:2], SHOTS) == first


def test_a_context_that_does_not_begin_with_the_prefix_is_an_error(module: LlamaForCausalLM) -> None:
    with pytest.raises(ValueError, match="does not begin with the prefix"):
        LanguageModel(module).loglikelihood([asked([5, 6, 7], [8])], [6, 7])
    with pytest.raises(ValueError, match="does not begin with the prefix"):
        LanguageModel(module).loglikelihood([asked([5, 6, 7], [8])], [5, 6, 7])


@pytest.mark.parametrize(("most_ids", "most_logits", "branches"), [(1, 1, 1), (25, 10 * VOCABULARY, 4)])
def test_small_passes_give_the_same(
    module: LlamaForCausalLM,
    monkeypatch: pytest.MonkeyPatch,
    most_ids: int,
    most_logits: int,
    branches: int,
) -> None:
    """Where memory does not hold the choices of an item together, they go through in parts."""
    batch = questions()
    expected = LanguageModel(module).loglikelihood(batch, SHOTS)
    monkeypatch.setattr(scoring, "MAX_LOGITS", most_logits)
    monkeypatch.setattr(scoring, "MAX_BRANCHES", branches)
    model = LanguageModel(module)
    model._packed.pass_ids = most_ids
    for ours, theirs in zip(model.loglikelihood(batch, SHOTS), expected, strict=True):
        assert ours.log_likelihood == pytest.approx(theirs.log_likelihood, abs=1e-4)
        assert ours.is_greedy == theirs.is_greedy


def nearly_tied(seed: int) -> LlamaForCausalLM:
    """Every odd row of the output head is nearly the even one before it, or exactly: logits tie within rounding."""
    module = small_llama(seed)
    with torch.no_grad():
        head = module.lm_head.weight
        head[1::2] = head[::2]
        head[1::4] += 1e-6 * torch.randn_like(head[1::4])
    return module


def tied_questions() -> list[Fitted]:
    """Two choices each that differ in their last id only, by a pair that ties."""
    generator = np.random.default_rng(11)
    batch = []
    for _ in range(8):
        context = [*SHOTS, *generator.integers(2, VOCABULARY, generator.integers(3, 30))]
        beginning = list(generator.integers(2, VOCABULARY, generator.integers(0, 6)))
        last = 2 * int(generator.integers(1, VOCABULARY // 2))
        batch += [asked(context, [*beginning, last]), asked(context, [*beginning, last + 1])]
    return batch


@pytest.mark.parametrize("seed", [3, pytest.param(1, marks=pytest.mark.slow)])
def test_nearly_tied_choices_are_decided_alike_in_any_batch(seed: int) -> None:
    module = nearly_tied(seed)
    batch = tied_questions()
    decided = set()
    for batch_size, prefix, order in itertools.product((1, 4, 16), ((), SHOTS), (0, 1)):
        model = LanguageModel(module)
        scored = [each.log_likelihood for each in answers(model, batch, batch_size, prefix, order)]
        assert model.recomputed >= len(batch)
        decided.add(tuple(int(np.argmax(pair)) for pair in np.reshape(scored, (-1, 2))))
    assert len(decided) == 1


def test_nearly_tied_sentences_before_one_ending_are_decided_alike() -> None:
    """As in XWinograd: the item's contexts differ and its continuation is one."""
    module = nearly_tied(1)
    with torch.no_grad():
        embedding = module.model.embed_tokens.weight
        embedding[1::2] = embedding[::2]
    batch = [
        Fitted(LogLikelihood(Context(after=""), "鳴く"), [*SHOTS[:9], 20 + other, 7, 9], [30, 31, 32])
        for other in (0, 1)
    ]
    model = LanguageModel(module)
    together = model.loglikelihood(batch)
    assert model.recomputed == 2
    alone = [model.loglikelihood([each])[0] for each in batch]
    assert together == alone


def test_greedy_is_decided_alike_where_two_ids_nearly_tie() -> None:
    module = nearly_tied(1)
    generator = np.random.default_rng(5)
    batch = []
    for _ in range(20):
        context = generator.integers(2, VOCABULARY, 30)
        with torch.no_grad():
            likely = int(module(torch.tensor(context[None])).logits[0, -1].argmax()) // 2 * 2
        batch += [asked(context, [likely]), asked(context, [likely + 1])]
    greedy = {
        tuple(each.is_greedy for each in answers(LanguageModel(module), batch, size, (), size)) for size in (1, 4, 16)
    }
    assert len(greedy) == 1
    pairs = np.reshape(list(greedy.pop()), (-1, 2))
    assert (pairs.sum(axis=1) == 1).all()  # of two ids, one is written
    exact = [pair[0] for pair, each in zip(pairs, batch[::2], strict=True) if each.continuation[0] % 4 == 2]
    assert exact
    assert all(exact)  # the lower of two that tie exactly


def test_a_rerun_gives_the_same_bits(module: LlamaForCausalLM) -> None:
    batch = questions()
    assert LanguageModel(module).loglikelihood(batch, SHOTS) == LanguageModel(module).loglikelihood(batch, SHOTS)


def test_rolling_scores_every_id_once_in_windows(module: LlamaForCausalLM) -> None:
    """Windows of 16: the last one begins as early as it can, as in lm-evaluation-harness."""
    ids = [int(token) for token in np.random.default_rng(2).integers(2, VOCABULARY, 40)]
    whole = [0, *ids]
    model = LanguageModel(module, max_length=16)
    (scored,) = model.loglikelihood_rolling([Fitted(Rolling("雲雀"), [0], ids)])
    spans = [(whole[:17], 1), (whole[16:33], 1), (whole[24:], 9)]
    expected = sum(float(values.sum()) for values in model.log_likelihoods(spans, batch_size=1))
    assert scored.log_likelihood == pytest.approx(expected, abs=1e-4)
    assert scored.num_tokens == 40


def test_short_texts_are_rolled_whole_and_do_not_see_one_another(module: LlamaForCausalLM) -> None:
    texts = [[5, 6, 7, 8], [9, 10], [5, 6, 7, 9]]
    model = LanguageModel(module)
    scored = model.loglikelihood_rolling([Fitted(Rolling("雀"), [0], ids) for ids in texts])
    expected = [
        float(values.sum()) for values in model.log_likelihoods([([0, *ids], 1) for ids in texts], batch_size=1)
    ]
    assert [each.log_likelihood for each in scored] == pytest.approx(expected, abs=1e-4)


def test_a_text_without_ids_has_no_log_likelihood_to_speak_of(module: LlamaForCausalLM) -> None:
    assert LanguageModel(module).loglikelihood_rolling([Fitted(Rolling(""), [0], [])]) == [Scored(0.0, True, 0)]


def test_output_that_is_not_finite_is_an_error() -> None:
    module = small_llama()
    with torch.no_grad():
        module.lm_head.weight[3, 3] = float("nan")
    with pytest.raises(ValueError, match="not finite"):
        LanguageModel(module).loglikelihood([asked([5, 6], [7, 8])])


SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}


@pytest.mark.parametrize(
    ("config", "max_length"),
    [
        (GPT2Config(vocab_size=VOCABULARY, n_embd=16, n_layer=1, n_head=2, n_positions=128), 128),
        (
            Qwen3Config(**SIZES, num_key_value_heads=1, head_dim=8, max_position_embeddings=128),
            128,
        ),
        (MistralConfig(**SIZES, num_key_value_heads=1, sliding_window=64), 64),
    ],
    ids=["gpt2", "qwen3", "mistral, within its window"],
)
def test_other_models_than_llama_are_scored_as_by_themselves(config: PretrainedConfig, max_length: int) -> None:
    torch.manual_seed(1)
    module = AutoModelForCausalLM.from_config(config).eval()
    model = LanguageModel(module)
    assert model.max_length == max_length
    batch = questions(prefix=SHOTS[:20])
    for each, result in zip(batch, model.loglikelihood(batch, SHOTS[:20]), strict=True):
        assert result.log_likelihood == pytest.approx(by_itself(module, each)[0], abs=1e-4)


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (Gemma2Config(**SIZES, num_key_value_heads=1, head_dim=8), "eager"),
        (MambaConfig(vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=1), "no softmax attention"),
        (BloomConfig(vocab_size=VOCABULARY, hidden_size=16, n_layer=1, n_head=2), "no other"),
        (
            Lfm2Config(**SIZES, num_key_value_heads=1, layer_types=["conv"]),
            "no softmax attention",
        ),
    ],
    ids=["gemma2", "mamba", "bloom", "lfm2"],
)
def test_a_model_that_would_be_computed_wrongly_is_refused(config: PretrainedConfig, why: str) -> None:
    """A convolution over ids laid end to end would mix sequences."""
    model = LanguageModel(AutoModelForCausalLM.from_config(config).eval())
    with pytest.raises(ValueError, match=why) as raised:
        model.loglikelihood(questions())
    assert "vLLM" in str(raised.value)


def test_long_sequences_after_a_prefix_and_their_branches(module: LlamaForCausalLM) -> None:
    """Longer than a block of queries, so that blocks end within the context and within the choices."""
    generator = np.random.default_rng(8)
    module = small_llama(max_positions=1024)
    batch = []
    for size in (250, 300, 520):
        context = [*SHOTS, *generator.integers(2, VOCABULARY, size)]
        batch += [asked(context, generator.integers(2, VOCABULARY, length)) for length in (4, 20, 9)]
    for prefix in ((), SHOTS):
        for each, result in zip(batch, LanguageModel(module).loglikelihood(batch, prefix), strict=True):
            assert result.log_likelihood == pytest.approx(by_itself(module, each)[0], abs=2e-4)


def test_bf16_is_near_and_nothing_is_computed_again() -> None:
    module = nearly_tied(1)
    batch = tied_questions()
    exact = LanguageModel(module).loglikelihood(batch)
    model = LanguageModel(nearly_tied(1).to(torch.bfloat16))
    assert model.name == "transformers-bf16"
    differences = [
        abs(a.log_likelihood - b.log_likelihood) for a, b in zip(model.loglikelihood(batch), exact, strict=True)
    ]
    assert 0 < np.mean(differences) < 0.3
    assert model.recomputed == 0
