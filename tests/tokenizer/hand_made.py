"""Two SentencePiece tokenizers small enough to count by hand: a base, and it with four Japanese pieces more.

The base knows the letters of `lark`, the characters 雲, 雀, が, 鳴 and く, the piece `la`, and bytes. The expanded one
also knows 雲雀, 鳴く, 雲雀が and 雲雀が鳴く.
"""

from __future__ import annotations

import json
from pathlib import Path

from sentencepiece import SentencePieceProcessor

from tokenizer.encoder import POLICY
from tokenizer.expansion import EXPANSION, Expansion, NewPiece
from tokenizer.sentencepiece_expansion import ModelProto

NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6
BASE = ("la", "l", "a", "r", "k", "▁", "雲", "雀", "が", "鳴", "く")


def model(pieces: tuple[str, ...]) -> bytes:
    made = ModelProto()
    for piece, kind in (("<unk>", UNKNOWN), ("<s>", CONTROL), ("</s>", CONTROL)):
        made.pieces.add(piece=piece, score=0.0, type=kind)
    for byte in range(256):
        made.pieces.add(piece=f"<0x{byte:02X}>", score=0.0, type=BYTE)
    for rank, piece in enumerate(pieces):
        made.pieces.add(piece=piece, score=-1.0 - rank, type=NORMAL)
    made.trainer_spec.model_type = 2  # BPE
    made.trainer_spec.byte_fallback = True
    made.trainer_spec.vocab_size = len(made.pieces)
    made.normalizer_spec.name = "identity"
    made.normalizer_spec.add_dummy_prefix = False
    made.normalizer_spec.remove_extra_whitespaces = False
    return made.SerializeToString(deterministic=True)


def write_base(folder: Path) -> Path:
    """A lone `tokenizer.model`."""
    path = folder / "base.model"
    path.write_bytes(model(BASE))
    return path


def write_expanded(folder: Path) -> Path:
    """A tokenizer folder as `expand` leaves it."""
    made, base = folder / "expanded", model(BASE)
    (made / "base").mkdir(parents=True)
    pieces = ("雲雀", "鳴く", "雲雀が", "雲雀が鳴く")
    processor = SentencePieceProcessor(model_proto=base)
    first = processor.vocab_size()
    new = [
        NewPiece(first + rank, text, text, text.encode(), 9, tuple(processor.encode(text)))
        for rank, text in enumerate(pieces)
    ]
    (made / "tokenizer.model").write_bytes(model(BASE + pieces))
    (made / "base" / "tokenizer.model").write_bytes(base)
    (made / EXPANSION).write_bytes(Expansion("sentencepiece", first, new).to_json())
    (made / POLICY).write_text(json.dumps({"document_prefix": [1], "document_suffix": [2]}))
    return made
