"""What each id of a tokenizer stands for: its text, or the part of a character that it is.

In: a tokenizer folder or a lone `tokenizer.model`, of the kinds that `tokenizer.encoder` reads. Out: one entry per id.
A token that is only part of a character is a byte of SentencePiece's byte fallback from 0x80 on (below that a byte is
a character: Llama 2 has its newline so), or a piece of byte-level BPE whose bytes are not whole characters.

    vocabulary = read_vocabulary("runs/expand/demo-0123/tokenizer")
    vocabulary.texts[29871]   # " "
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sentencepiece import SentencePieceProcessor
from tokenizers import Tokenizer

from storage.uri import exists, filesystem, join, read_bytes
from tokenizer.byte_alphabet import piece_bytes

_SPACE = "▁"


@dataclass(frozen=True)
class Vocabulary:
    """The ids of a tokenizer.

    Attributes:
        texts: text of each id; None for special tokens and for parts of characters.
        parts: (vocab_size,) bool: whether an id is only part of a character.
    """

    texts: list[str | None]
    parts: np.ndarray

    def __len__(self) -> int:
        return len(self.texts)


def read_vocabulary(path: str) -> Vocabulary:
    """The vocabulary of a tokenizer folder or of a `tokenizer.model` file that `load_encoder` takes."""
    fs, path_there = filesystem(path)
    if fs.isfile(path_there):
        return _sentencepiece(read_bytes(path))
    if exists(join(path, "tokenizer.model")):
        return _sentencepiece(read_bytes(join(path, "tokenizer.model")))
    return _byte_level(read_bytes(join(path, "tokenizer.json")))


def _sentencepiece(model: bytes) -> Vocabulary:
    processor = SentencePieceProcessor(model_proto=model)
    size = processor.vocab_size()
    texts: list[str | None] = [None] * size
    parts = np.zeros(size, bool)
    for index in range(size):
        piece = processor.id_to_piece(index)
        if processor.is_byte(index):
            byte = int(piece[1:-1], 16)  # <0x0A>
            parts[index] = byte >= 0x80
            texts[index] = None if parts[index] else chr(byte)
        elif not (processor.is_control(index) or processor.is_unknown(index)):
            texts[index] = piece.replace(_SPACE, " ")
    return Vocabulary(texts, parts)


def _byte_level(tokenizer_json: bytes) -> Vocabulary:
    tokenizer = Tokenizer.from_buffer(tokenizer_json)
    vocab = tokenizer.get_vocab()
    special = set(tokenizer.get_added_tokens_decoder())
    size = max(vocab.values()) + 1
    texts: list[str | None] = [None] * size
    parts = np.zeros(size, bool)
    for piece, index in vocab.items():
        data = None if index in special else piece_bytes(piece)
        if data is None:
            continue
        try:
            texts[index] = data.decode()
        except UnicodeDecodeError:
            parts[index] = True
    return Vocabulary(texts, parts)
