"""What to add, and what was added: `expansion.json`, read by embedding initialisation and by the report.

expansion = Expansion.from_json(read_bytes("tokenizer/expansion.json"))
expansion.new_pieces[0].base_ids  # (29871, 30267)
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal

Kind = Literal["sentencepiece", "byte_level_bpe"]
WordBoundaries = Literal["mecab", "none"]
EXPANSION = "expansion.json"


@dataclass(frozen=True)
class ExpandOptions:
    """How to expand; the fields of the run file's `expand` section, which describes them, without `base`."""

    enabled: bool = True
    num_candidates: int = 16_000
    max_new_pieces: int | None = None
    min_count: int = 5
    max_piece_characters: int = 16
    character_coverage: float = 0.9995
    align_to: int = 8
    words: WordBoundaries = "mecab"
    sample_characters: int = 10_000_000


@dataclass(frozen=True)
class NewPiece:
    """A piece of vocabulary that the base lacks.

    `piece` is what the vocabulary holds (for byte-level BPE in its byte alphabet), `data` its bytes in
    text, `text` those decoded or None where they are only the beginning of a character. `count` is how
    often the sample uses it, `base_ids` its segmentation by the base tokenizer.
    """

    id: int
    piece: str
    text: str | None
    data: bytes
    count: int
    base_ids: tuple[int, ...]

    @property
    def tokens_saved(self) -> int:
        return self.count * (len(self.base_ids) - 1)


@dataclass(frozen=True)
class Expansion:
    """All that was added to a base vocabulary of `base_vocab` ids; the new ids follow, in order of rank."""

    kind: Kind
    base_vocab: int
    new_pieces: list[NewPiece]

    @property
    def vocab(self) -> int:
        return self.base_vocab + len(self.new_pieces)

    def to_json(self) -> bytes:
        """One line a piece, so that two expansions can be compared with diff."""
        head = json.dumps({"kind": self.kind, "base_vocab": self.base_vocab, "vocab": self.vocab})[:-1]
        rows = [
            json.dumps(
                {
                    "id": new.id,
                    "piece": new.piece,
                    "text": new.text,
                    "bytes": new.data.hex(),
                    "count": new.count,
                    "base_ids": new.base_ids,
                },
                ensure_ascii=False,
            )
            for new in self.new_pieces
        ]
        return "\n".join([f'{head}, "new_pieces": [', ",\n".join(rows), "]}\n"]).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Expansion:
        """Read `expansion.json`.

        Raises:
            ValueError: it is damaged: ids do not follow the base vocabulary one by one.
        """
        fields = json.loads(data)
        new = [
            NewPiece(
                row["id"],
                row["piece"],
                row["text"],
                bytes.fromhex(row["bytes"]),
                row["count"],
                tuple(row["base_ids"]),
            )
            for row in fields["new_pieces"]
        ]
        expansion = cls(fields["kind"], fields["base_vocab"], new)
        if [piece.id for piece in new] != list(range(expansion.base_vocab, fields["vocab"])):
            raise ValueError(
                f"{EXPANSION}: its {len(new)} ids are not {expansion.base_vocab} to {fields['vocab'] - 1}; "
                "make the tokenizer again (hibari run RUNFILE --force expand)"
            )
        return expansion
