from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaForCausalLM

from tasks.evaluate import packed
from tasks.evaluate.batching import common_prefix, plan_batches
from tasks.evaluate.drafts import Drafts
from tasks.evaluate.encoding import fit, fit_all
from tasks.evaluate.model import LanguageModel
from tasks.evaluate.requests import Context, Fitted, Generate, Generated
from tests.tasks.evaluate.characters import EOS, FIRST, VOCABULARY, CharacterEncoder, small_llama
from tests.tasks.evaluate.test_scoring import nearly_tied
from tokenizer.encoder import load_encoder

KANJI = [chr(0x4E00 + number) for number in range(VOCABULARY - FIRST)]  # a character for every id


def encoder_of(pieces: Sequence[str] = KANJI) -> CharacterEncoder:
    return CharacterEncoder(pieces)


def written(module: torch.nn.Module, context: Sequence[int], count: int) -> list[int]:
    """Ids that the model writes by itself, each from a plain pass over all before it."""
    ids = list(context)
    for _ in range(count):
        with torch.no_grad():
            ids.append(int(module(torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[len(context) :]


def requests(num: int = 9, *, seed: int = 4, **limits: int) -> list[Generate]:
    """Prompts of two common shots and a question of one to thirty characters."""
    generator = np.random.default_rng(seed)

    def text(length: int) -> str:
        return "".join(generator.choice(KANJI, length))

    shots = (text(25), text(25))
    return [Generate(Context(shots=shots, after=text(length)), **limits) for length in generator.integers(1, 31, num)]


def answers(
    model: LanguageModel, batch: Sequence[Fitted], batch_size: int, prefix: Sequence[int], seed: int = 0
) -> list[Generated]:
    order = list(range(len(batch)))
    random.Random(seed).shuffle(order)
    shuffled = [batch[place] for place in order]
    found: dict[int, Generated] = {}
    for places in plan_batches(shuffled, batch_size):
        results = model.generate_until([shuffled[place] for place in places], prefix)
        found.update(zip((order[place] for place in places), results, strict=True))
    return [found[place] for place in range(len(batch))]


@pytest.fixture(scope="module")
def module() -> LlamaForCausalLM:
    return small_llama()


def test_texts_are_those_of_plain_greedy_decoding(module: LlamaForCausalLM) -> None:
    encoder = encoder_of()
    batch = fit_all(encoder, requests(max_tokens=20), 256)
    prefix = common_prefix(batch)
    assert len(prefix) == 51
    expected = []
    for each in batch:
        ids = written(module, each.context, 20)
        ids = ids[: ids.index(EOS)] if EOS in ids else ids
        expected.append((encoder.decode(ids), len(ids)))
    for batch_size, begins in itertools.product((1, 4, 16), ((), prefix)):
        results = answers(LanguageModel(module, encoder), batch, batch_size, begins)
        assert [(result.text, result.num_tokens) for result in results] == expected


def test_rows_end_one_by_one_and_the_others_go_on(module: LlamaForCausalLM) -> None:
    encoder = encoder_of()
    asked = [Generate(each.context, max_tokens=limit) for limit, each in enumerate(requests(9), start=1)]
    random.Random(1).shuffle(asked)
    batch = fit_all(encoder, asked, 256)
    results = LanguageModel(module, encoder).generate_until(batch, common_prefix(batch))
    for each, result in zip(batch, results, strict=True):
        assert isinstance(each.request, Generate)
        assert result.text == encoder.decode(written(module, each.context, each.request.max_tokens or 0))
        assert result.ended_by == "tokens"


def endless() -> LlamaForCausalLM:
    """A model that never writes an id that ends texts: theirs have a logit of 0."""
    module = small_llama()
    with torch.no_grad():
        module.lm_head.weight[:FIRST] = 0
    return module


class Watched(LanguageModel):
    """Notes how many ids each pass of the model has."""

    def __init__(self, module: torch.nn.Module, encoder: CharacterEncoder) -> None:
        super().__init__(module, encoder)
        self.passes: list[int] = []
        logits = self._packed.logits

        def noted(ids: Sequence[int], *arguments: Any, **options: Any) -> torch.Tensor:
            self.passes.append(len(ids))
            return logits(ids, *arguments, **options)

        self._packed.logits = noted  # type: ignore[method-assign]


@pytest.mark.parametrize("with_prefix", [False, True])
def test_a_loop_is_written_in_few_passes(with_prefix: bool) -> None:
    """In a model whose ids see themselves alone the next id hangs on the last one, so each text becomes a loop."""
    module = endless()
    with torch.no_grad():
        for layer in module.model.layers:
            layer.self_attn.o_proj.weight.zero_()
    encoder = encoder_of()
    batch = fit_all(encoder, requests(5, max_tokens=70), 256)
    model = Watched(module, encoder)
    results = model.generate_until(batch, common_prefix(batch) if with_prefix else ())
    assert [result.text for result in results] == [encoder.decode(written(module, each.context, 70)) for each in batch]
    assert len(model.passes) < 40


@pytest.mark.parametrize("seed", range(3))
def test_wrong_guesses_change_nothing(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Guesses that are right for a while, for other lengths in each row and step, then wrong."""
    module = endless()
    encoder = encoder_of()
    batch = fit_all(encoder, requests(max_tokens=30), 256)
    answers_of = {tuple(each.context): written(module, each.context, 60) for each in batch}
    generator = random.Random(seed)

    def guess(drafts: Drafts, most: int) -> list[int]:
        known, told = next(
            (begin, told) for begin, told in answers_of.items() if tuple(drafts._ids[: len(begin)]) == begin
        )
        begun = len(drafts._ids) - len(known)
        return [*told[begun : begun + generator.randrange(6)], *([9, 11] if generator.random() < 0.5 else [])][:most]

    monkeypatch.setattr(Drafts, "next", guess)
    for prefix in ((), common_prefix(batch)):
        results = LanguageModel(module, encoder).generate_until(batch, prefix)
        for each, result in zip(batch, results, strict=True):
            assert result.text == encoder.decode(answers_of[tuple(each.context)][:30])


def test_what_contexts_have_in_common_is_read_once(module: LlamaForCausalLM) -> None:
    """Three openings, of which two begin alike; each before several questions, in any order of the batch."""
    encoder = encoder_of()
    generator = np.random.default_rng(5)

    def text(length: int) -> str:
        return "".join(generator.choice(KANJI, length))

    begin = text(50)
    openings = [begin + KANJI[0] + text(40), begin + KANJI[1] + text(60), KANJI[2] + text(70)]
    contexts = [Context(after=f"{opening}{KANJI[number]}{text(3)}") for opening in openings for number in range(3)]
    generator.shuffle(contexts)  # type: ignore[arg-type]
    batch = fit_all(encoder, [Generate(each, max_tokens=8) for each in contexts], 256)
    model = Watched(module, encoder)
    results = model.generate_until(batch)
    for each, result in zip(batch, results, strict=True):
        assert result.text == encoder.decode(written(module, each.context, 8))
    # All begin with BOS, too little to be worth it for the third opening.
    assert model.passes[0] == (1 + 50) + 41 + 61 + (1 + 71) + 9 * 4


def from_ids(module: LlamaForCausalLM, count: int = 12) -> tuple[Context, list[int]]:
    """A prompt whose answer is known, and that answer's ids; all of them differ from the id that ends texts."""
    encoder = encoder_of()
    context = requests(1)[0].context
    ids = written(module, fit(encoder, Generate(context, max_tokens=1), 256).context, count)
    assert EOS not in ids
    return context, ids


def respelled(ids: Sequence[int], spellings: Sequence[str]) -> CharacterEncoder:
    """An encoder in which the first ids of an answer decode to these strings."""
    pieces = list(KANJI)
    for token, spelling in zip(ids, spellings, strict=False):
        pieces[token - FIRST] = spelling
    return encoder_of(pieces)


def answer(module: LlamaForCausalLM, encoder: CharacterEncoder, request: Generate) -> Generated:
    """To a prompt in `KANJI`, whatever `encoder` makes of the answer."""
    context = fit(encoder_of(), Generate(request.context, max_tokens=1), 256).context
    return LanguageModel(module, encoder).generate_until([Fitted(request, context)])[0]


@pytest.mark.parametrize(
    ("spellings", "stops", "text", "num"),
    [
        (["東", "京", "\n"], ("\n",), "東京", 3),
        (["東", "京。\n問", "い"], ("\n",), "東京。", 2),
        (["東", "Que", "stion", ":"], ("Question:",), "東", 4),
        (["東", "Q", "A", ":"], ("A:", "QA"), "東", 3),
        (["\n", "東"], ("\n",), "", 1),
        ([" 東", "京", "\n\n"], ("\n\n", "\n"), " 東京", 3),
        (["東\n京", "\n\n"], ("\n\n",), "東\n京", 2),
    ],
)
def test_a_stop_is_found_wherever_ids_end(
    module: LlamaForCausalLM, spellings: list[str], stops: tuple[str, ...], text: str, num: int
) -> None:
    context, ids = from_ids(module)
    assert len(set(ids[: len(spellings)])) == len(spellings)
    result = answer(module, respelled(ids, spellings), Generate(context, stops=stops, max_tokens=12))
    assert result == Generated(text, num, "stop")


def test_an_empty_stop_stops_nothing(module: LlamaForCausalLM) -> None:
    context, _ = from_ids(module)
    assert answer(module, encoder_of(), Generate(context, stops=("",), max_tokens=5)).num_tokens == 5


@pytest.mark.parametrize(
    ("spellings", "most", "text", "ended_by"),
    [
        (["東", "京", "都"], 2, "東京", "characters"),
        (["東", "京都は", "\n"], 2, "東京", "characters"),
        (["東", "京\n都"], 2, "東京", "stop"),
        (["東", "京都\n"], 2, "東京", "characters"),
        (["東", "\ufffd", "\ufffd", "京", "都"], 4, "東\ufffd\ufffd京", "characters"),
    ],
)
def test_a_text_is_cut_at_its_limit_of_characters(
    module: LlamaForCausalLM, spellings: list[str], most: int, text: str, ended_by: str
) -> None:
    context, ids = from_ids(module)
    result = answer(module, respelled(ids, spellings), Generate(context, stops=("\n",), max_characters=most))
    assert (result.text, result.ended_by) == (text, ended_by)


@pytest.mark.parametrize(
    ("request_of", "text", "ended_by"),
    [
        ({"stop_loops": True}, "東" + "はい" * 24, "loop"),
        ({"stop_loops": True, "max_characters": 40}, "東" + "はい" * 19 + "は", "characters"),
        ({"stop_loops": True, "stops": ("いは",)}, "東は", "stop"),
        ({}, "東" + "はい" * 30, "tokens"),
    ],
)
def test_a_text_that_only_repeats_itself_is_cut_where_it_is_asked(
    module: LlamaForCausalLM, request_of: dict[str, Any], text: str, ended_by: str
) -> None:
    context, ids = from_ids(module)
    spellings = ["東", *["はい" * 6] * 5]
    assert len(set(ids[:6])) == 6
    result = answer(module, respelled(ids, spellings), Generate(context, max_tokens=6, **request_of))
    assert (result.text, result.ended_by) == (text, ended_by)


@pytest.mark.parametrize("where", ["tokenizer", "config", "generation_config"])
def test_every_id_that_ends_texts_ends_them(where: str) -> None:
    """A chat model names the end of a turn in its files, and was trained with another id between documents."""
    module = small_llama()
    context, ids = from_ids(module)
    end = ids[3]
    before = ids[: ids.index(end)]
    encoder = encoder_of()
    if where == "config":
        module.config.eos_token_id = [end, 3]
    elif where == "generation_config":
        module.generation_config.eos_token_id = end
    else:
        encoder.policy = type(encoder.policy)((0,), (end,))
    result = answer(module, encoder, Generate(context, max_tokens=12))
    assert result == Generated(encoder.decode(before), len(before), "end_of_text")


def test_without_limits_a_text_ends_where_the_model_does(module: LlamaForCausalLM) -> None:
    context, _ = from_ids(module)
    encoder = encoder_of()
    fitted = fit(encoder, Generate(context), 100)
    result = LanguageModel(module, encoder, max_length=100).generate_until([fitted])[0]
    assert len(fitted.context) + result.num_tokens == 100
    assert result.ended_by == "tokens"


def test_a_context_that_leaves_no_room_is_an_error(module: LlamaForCausalLM) -> None:
    model = LanguageModel(module, encoder_of(), max_length=8)
    with pytest.raises(ValueError, match="leaves no room"):
        model.generate_until([Fitted(Generate(Context(after="東"), max_tokens=3), [5] * 8)])


def test_little_memory_gives_the_same(module: LlamaForCausalLM, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = encoder_of()
    batch = fit_all(encoder, requests(max_tokens=20), 256)
    expected = LanguageModel(module, encoder).generate_until(batch, common_prefix(batch))
    monkeypatch.setattr(packed, "_CPU_CACHE_BYTES", 2 * 40 * 512)
    model = LanguageModel(module, encoder)
    model._packed.pass_ids = 30
    assert model.generate_until(batch, common_prefix(batch)) == expected


@pytest.mark.parametrize("seed", [3, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 4))])
def test_texts_do_not_depend_on_batches_where_ids_nearly_tie(seed: int) -> None:
    """Half of the ids tie exactly with their neighbour, half within rounding; the lower of equal ones is taken."""
    module = nearly_tied(seed)
    encoder = encoder_of()
    batch = fit_all(encoder, requests(7, seed=seed, max_tokens=6), 256)
    texts = set()
    for batch_size, prefix, order in itertools.product((1, 4, 16), ((), common_prefix(batch)), (0, 1)):
        model = LanguageModel(module, encoder)
        results = answers(model, batch, batch_size, prefix, order)
        assert model.recomputed >= sum(result.num_tokens for result in results)
        texts.add(tuple(result.text for result in results))
    assert len(texts) == 1
    taken = [token for text in texts.pop() for token in encoder.encode("".join(text))]
    assert any(token % 4 == 2 for token in taken)
    assert not any(token % 4 == 3 for token in taken)  # 2 and 3 of four tie exactly


def test_a_space_that_a_text_begins_with_is_kept(sentencepiece_folder: Path) -> None:
    """SentencePiece decodes ids by themselves without it: the answer would differ, and a stop not be seen."""
    encoder = load_encoder(sentencepiece_folder)
    module = AutoModelForCausalLM.from_pretrained(sentencepiece_folder, dtype=torch.float32).eval()
    asked = Generate(Context(after="The ferry leaves"), max_tokens=1)
    fitted = fit(encoder, asked, 256)
    spaced = encoder.encode("The ferry leaves the")[len(encoder.encode("The ferry leaves"))]
    assert encoder.decode([5, spaced]) == encoder.decode([5]) + " " + encoder.decode([spaced])
    with torch.no_grad():  # the model's answer is this id
        last = module.model(torch.tensor([fitted.context])).last_hidden_state[0, -1]
        module.lm_head.weight[spaced] = 100 * last
    model = LanguageModel(module, encoder)
    assert model.generate_until([fitted])[0].text == " " + encoder.decode([spaced])
    stopped = Fitted(Generate(asked.context, stops=(" ",), max_tokens=1), fitted.context)
    assert model.generate_until([stopped])[0] == Generated("", 1, "stop")
