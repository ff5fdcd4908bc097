"""New pieces for a SentencePiece BPE tokenizer with byte fallback (Llama 2, Mistral).

In: the bytes of the base's `tokenizer.model` and a corpus sample. Out: the bytes of the expanded model and
what is known of each new piece. Subwords are trained on the sample's lines that hold Japanese
(sentencepiece's own BPE trainer, identity normalisation, no prefix, one thread); those made only of
Japanese-class characters and not in the base are candidates, in the trainer's order, each preceded by the
characters it needs. What can never be formed, or is too rare, is pruned (`tokenizer.prune`).

Words (`words: mecab`): the trainer reads each different word of those lines once, with its count (its "tsv"
input), so that it never sees two words side by side; the delimiter that it offers for the same purpose would
have to be a character that no text holds, and the whole sample would be its input. What this promises is about
learning: every candidate lies inside a word of the sample. It promises nothing about
encoding, which knows no words: in 今日本屋へ a piece 日本 is used although the words are 今日 and 本屋, and
`count` is how often encoding uses a piece, wherever.

A new piece's score continues downwards by ones from the lowest *regular* score of the base. Llama 2 keeps
its whitespace pieces at -1e9, where neighbouring float32 values lie 64 apart: scores below those would tie,
ties merge from the left, and the tokenizer.json that ranks merges would disagree.

How a piece is merged does not depend on the text around it: a merge across its edge would have prevented
it, and among the merges inside it the order (score, then leftmost) is the same everywhere. So a piece can
be formed in some text exactly when it is formed from its own characters alone, in one way, which
`derivations` computes.

    data, expansion = expand_sentencepiece(model, sample.documents, ExpandOptions())
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import sentencepiece
from sentencepiece import sentencepiece_model_pb2

from tokenizer.characters import has_japanese, is_japanese
from tokenizer.expansion import ExpandOptions, Expansion, NewPiece
from tokenizer.prune import fitting, prune
from tokenizer.words import Words

ModelProto: Any = sentencepiece_model_pb2.ModelProto  # type: ignore[attr-defined]  # made at import
_NORMAL, _USER_DEFINED = 1, 4
_BPE = 2
_SPACE = "▁"


def parse_model(data: bytes) -> Any:
    """Parse `tokenizer.model`.

    Raises:
        ValueError: not a SentencePiece BPE model with byte fallback, identity normalisation and no
            user-defined pieces, the only kind whose expansion is known to leave other text as it was.
    """
    model = ModelProto()
    try:
        model.ParseFromString(data)
    except Exception as error:
        raise ValueError(f"not a SentencePiece model: {error}") from error
    trainer, normalizer = model.trainer_spec, model.normalizer_spec
    user_defined = [piece.piece for piece in model.pieces if piece.type == _USER_DEFINED]
    problems = [
        problem
        for found, problem in [
            (not model.pieces, "it has no pieces"),
            (trainer.model_type != _BPE, f"its model type is {trainer.model_type}, expected 2 (BPE)"),
            (not trainer.byte_fallback, "it has no byte fallback"),
            (bool(normalizer.precompiled_charsmap), f"it normalises text ({normalizer.name})"),
            (normalizer.remove_extra_whitespaces, "it removes extra spaces"),
            (not normalizer.escape_whitespaces, f"it does not write spaces as {_SPACE}"),
            (trainer.treat_whitespace_as_suffix, "it puts spaces at the end of words"),
            (bool(user_defined), f"it has {len(user_defined)} user-defined pieces ({user_defined[:3]})"),
        ]
        if found
    ]
    if problems:
        raise ValueError(
            f"this SentencePiece model is not supported: {'; '.join(problems)}. "
            "Expected a BPE model with byte fallback such as Llama 2's or Mistral's first"
        )
    return model


def expand_sentencepiece(
    data: bytes,
    documents: Sequence[str],
    options: ExpandOptions,
) -> tuple[bytes, Expansion]:
    """The expanded `tokenizer.model` and its new pieces, from the highest rank to the lowest.

    Raises:
        ValueError: the base is of another kind, or `num_candidates` cannot hold the sample's characters.
    """
    base = parse_model(data)
    trained = train_pieces(documents, options)
    present = {piece.piece for piece in base.pieces}
    candidates = _candidates(trained, present, options.max_piece_characters)

    def count(pieces: Sequence[str]) -> Mapping[str, int]:
        return dict(zip(pieces, _count_new(data, pieces, documents), strict=True))

    def parts(pieces: Sequence[str]) -> Mapping[str, Sequence[str]]:
        return derivations(base, pieces)

    fit = partial(fitting, base_vocab=len(base.pieces), options=options)
    kept, counts = prune(candidates, count=count, parts=parts, min_count=options.min_count, fit=fit)
    probe = sentencepiece.SentencePieceProcessor(model_proto=_without_prefix(data))
    new = [
        NewPiece(len(base.pieces) + rank, text, text, text.encode(), counts[text], tuple(probe.encode(text)))
        for rank, text in enumerate(kept)
    ]
    return add_pieces(data, kept), Expansion("sentencepiece", len(base.pieces), new)


def train_pieces(documents: Sequence[str], options: ExpandOptions) -> list[str]:
    """Pieces that sentencepiece learns from these documents, in its order: merged ones, then characters.

    With `words: mecab` the trainer gets each different word once, with its count, so that no pair of characters
    across a word's edge exists for it; with `words: none` it gets the lines. Either way only lines that hold
    Japanese.

    Raises:
        ValueError: `num_candidates` cannot hold the sample's characters.
    """
    if options.words == "mecab":
        counts = Words().count(documents)
        sentences = (f"{word}\t{counts[word]}" for word in sorted(counts) if "\t" not in word)
    else:
        sentences = (line for text in documents for line in text.split("\n") if has_japanese(line))
    written = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=sentences,
            input_format="tsv" if options.words == "mecab" else "text",
            model_writer=written,
            model_type="bpe",
            vocab_size=options.num_candidates + 3,  # and <unk>, <s>, </s>
            hard_vocab_limit=False,  # a small corpus has fewer
            character_coverage=options.character_coverage,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            add_dummy_prefix=False,  # else each line begins with a piece that holds a space
            max_sentence_length=1 << 30,  # bytes; longer lines would be left out without a word
            max_sentencepiece_length=options.max_piece_characters,
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        if "required_chars" not in str(error):
            raise
        characters = len(set().union(*(text for text in documents if has_japanese(text))))
        raise ValueError(
            f"expand.num_candidates: {options.num_candidates} cannot hold the {characters} different "
            "characters of the sample; raise it above that, or lower expand.character_coverage"
        ) from error
    model = ModelProto.FromString(written.getvalue())
    return [piece.piece for piece in model.pieces if piece.type == _NORMAL]


def _candidates(trained: Iterable[str], present: set[str], max_characters: int) -> list[str]:
    """Japanese-class pieces that the base lacks, in order; a character precedes the first piece with it.

    sentencepiece could merge characters that have no piece of their own; Hugging Face's BPE turns those into
    bytes first. With every character present the two agree.
    """
    ordered: dict[str, None] = {}
    for piece in trained:
        if piece not in present and is_japanese(piece) and len(piece) <= max_characters:
            ordered.update(dict.fromkeys(character for character in piece if character not in present))
            ordered[piece] = None
    return list(ordered)


def add_pieces(data: bytes, pieces: Sequence[str]) -> bytes:
    """A model with these pieces after the base's own, each a step of one below the one before."""
    model = ModelProto.FromString(data)
    lowest = _lowest_regular_score(model)
    for rank, text in enumerate(pieces):
        model.pieces.add(piece=text, score=lowest - 1 - rank, type=_NORMAL)
    model.trainer_spec.vocab_size = len(model.pieces)
    return model.SerializeToString(deterministic=True)


def _lowest_regular_score(model: Any) -> float:
    return min(piece.score for piece in model.pieces if piece.type == _NORMAL and piece.piece.strip(_SPACE))


def derivations(base: Any, pieces: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The two parts of each piece's last merge, none for a character; pieces that cannot form are missing."""
    scores = {piece.piece: piece.score for piece in base.pieces if piece.type == _NORMAL}
    lowest = _lowest_regular_score(base)
    scores.update({text: lowest - 1 - rank for rank, text in enumerate(pieces)})
    found: dict[str, tuple[str, ...]] = {}
    for text in pieces:
        symbols = list(text)
        last: tuple[str, ...] = ()
        while len(symbols) > 1:
            pairs = [(scores.get(left + right), -at) for at, (left, right) in enumerate(pairwise(symbols))]
            known = [(score, position) for score, position in pairs if score is not None]
            if not known:
                break
            at = -max(known)[1]
            last = (symbols[at], symbols[at + 1])
            symbols[at : at + 2] = ["".join(last)]
        if symbols == [text]:
            found[text] = last
    return found


def _count_new(data: bytes, pieces: Sequence[str], documents: Iterable[str]) -> list[int]:
    """How often each of these pieces, added to the base, is used when the documents are encoded."""
    processor = sentencepiece.SentencePieceProcessor(model_proto=add_pieces(data, pieces))
    total = np.zeros(processor.vocab_size(), np.int64)
    for text in documents:
        total += np.bincount(np.array(processor.encode(text), np.int64), minlength=len(total))
    return total[len(total) - len(pieces) :].tolist()


def _without_prefix(data: bytes) -> bytes:
    """The model without the space it puts before every text, to segment what stands inside one."""
    model = ModelProto.FromString(data)
    model.normalizer_spec.add_dummy_prefix = False
    return model.SerializeToString(deterministic=True)
