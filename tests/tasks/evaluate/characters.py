"""A tokenizer whose ids can be counted by hand, and a small model for it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tokenizer.encoder import DocumentPolicy, Encoder

BOS, EOS, FIRST = 0, 1, 2
VOCABULARY = 130


class CharacterEncoder(Encoder):
    """An id a character, `FIRST` on: those of `alphabet`, whatever they are (several characters may be one id)."""

    kind = "byte_level_bpe"
    vocab_size = VOCABULARY

    def __init__(self, pieces: Sequence[str] = (), *, bos: bool = True) -> None:
        super().__init__(DocumentPolicy((BOS,) if bos else (), (EOS,)))
        self._pieces = list(pieces)
        self.encoded = 0

    def encode(self, text: str) -> list[int]:
        self.encoded += 1
        ids = []
        for character in text:
            if character not in self._pieces:
                self._pieces.append(character)
            ids.append(FIRST + self._pieces.index(character))
        return ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [self.encode(text) for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(self._pieces[token - FIRST] if token >= FIRST else "" for token in ids)


def small_llama(seed: int = 1, vocab_size: int = VOCABULARY, max_positions: int = 256) -> LlamaForCausalLM:
    """Two layers, random; weights large enough that its predictions differ between ids."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=max_positions,
        initializer_range=0.3,
        bos_token_id=None,
        eos_token_id=None,
    )
    return LlamaForCausalLM(config).eval()
