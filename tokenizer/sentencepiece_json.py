"""`tokenizer.json` from a SentencePiece BPE model, so that Hugging Face's encoder agrees with sentencepiece.

In: the bytes of `tokenizer.model`. Out: the bytes of `tokenizer.json` for the `tokenizers` library: the
normalizer, decoder and byte fallback of Llama, and every way to split a piece into two pieces as a merge.
sentencepiece merges the pair whose result has the highest score, leftmost first; Hugging Face merges the
pair of the lowest rank. So merges are ranked by the score of their result, not by its id: with ids, the
conversion in transformers 5.23 prefers `▁▁` (id 259, score -1e9) to `▁To` and differs on every ninth
document. Pieces that share a score (the runs of spaces) come longest first, which grows a run from its left
end as sentencepiece does.

    write_bytes("tokenizer.json", to_tokenizer_json(read_bytes("tokenizer.model")))
"""

from __future__ import annotations

import json
from typing import Any

from tokenizer.sentencepiece_expansion import parse_model

_NORMAL, _UNKNOWN, _CONTROL = 1, 2, 3


def to_tokenizer_json(data: bytes) -> bytes:
    """`tokenizer.json` for these bytes of `tokenizer.model`.

    Raises:
        ValueError: the model is not of the kind that `parse_model` takes.
    """
    model = parse_model(data)
    pieces = model.pieces
    special = [index for index, piece in enumerate(pieces) if piece.type in (_UNKNOWN, _CONTROL)]
    unknown = next((pieces[index].piece for index in special if pieces[index].type == _UNKNOWN), None)
    normalizers: list[dict[str, Any]] = [{"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]
    strip: list[dict[str, Any]] = []
    if model.normalizer_spec.add_dummy_prefix:
        normalizers.insert(0, {"type": "Prepend", "prepend": "▁"})
        strip.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    document = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": index,
                "content": pieces[index].piece,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for index in special
        ],
        "normalizer": {"type": "Sequence", "normalizers": normalizers},
        "pre_tokenizer": None,
        "post_processor": _post_processor(
            model.trainer_spec.bos_piece, {pieces[index].piece: index for index in special}
        ),
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                *strip,
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": unknown,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": {piece.piece: index for index, piece in enumerate(pieces)},
            "merges": _merges(pieces),
        },
    }
    return json.dumps(document, ensure_ascii=False).encode() + b"\n"


def _merges(pieces: Any) -> list[tuple[str, str]]:
    """All splits of all pieces into two pieces, by the piece's score, then length, then id."""
    normal = {piece.piece for piece in pieces if piece.type == _NORMAL}
    ranked = sorted(
        (-piece.score, -len(piece.piece), index) for index, piece in enumerate(pieces) if piece.type == _NORMAL
    )
    merges = []
    for _, _, index in ranked:
        text = pieces[index].piece
        splits = ((text[:at], text[at:]) for at in range(1, len(text)))
        merges += [(left, right) for left, right in splits if left in normal and right in normal]
    return merges


def _post_processor(bos: str, special: dict[str, int]) -> dict[str, Any] | None:
    """What Hugging Face puts around a text when asked for special tokens: BOS before it, as in Llama."""
    if bos not in special:
        return None
    first = {"SpecialToken": {"id": bos, "type_id": 0}}
    second = {"SpecialToken": {"id": bos, "type_id": 1}}
    return {
        "type": "TemplateProcessing",
        "single": [first, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [
            first,
            {"Sequence": {"id": "A", "type_id": 0}},
            second,
            {"Sequence": {"id": "B", "type_id": 1}},
        ],
        "special_tokens": {bos: {"id": bos, "ids": [special[bos]], "tokens": [bos]}},
    }
