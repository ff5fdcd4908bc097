"""Vocabulary expansion: subwords learned on the corpus, added to the base tokenizer.

In: a base tokenizer (a SentencePiece `tokenizer.model`, or a Hugging Face folder) and the corpus's texts.
Out, below the artifact: `tokenizer/`, a folder that `AutoTokenizer.from_pretrained` and `load_encoder` both
take, with

    tokenizer.model         SentencePiece only: the truth about that kind
    tokenizer.json          for Hugging Face
    tokenizer_config.json   special tokens, and the base's chat template
    hibari_tokenizer.json   kind, sizes, and what stands before and after a document
    expansion.json          each new piece: id, text, count in the sample, base ids
    base/                   the base tokenizer in the same form

How pieces are learned: `sentencepiece_expansion` and `byte_level_expansion`. A new id stands for exactly
the tokens that the base would give in its place, so text without Japanese-class characters is encoded as
before; this is checked on the whole sample. With `enabled=False` the folder holds the base and an empty
expansion. Source: the method of Swallow (Fujii et al. 2024, section 3.1): BPE trained on the corpus, pieces
merged into Llama 2's model.

    outcome = expand("llama2/tokenizer.model", lambda: iter(texts), ExpandOptions(), out=out, seed=1234)
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from storage.artifact import Outcome, file_entries
from storage.uri import exists, filesystem, join, read_bytes, write_bytes
from tokenizer.byte_level_expansion import expand_byte_level
from tokenizer.characters import has_japanese
from tokenizer.encoder import POLICY, Encoder, load_encoder, read_json
from tokenizer.expansion import EXPANSION, ExpandOptions, Expansion, Kind, NewPiece
from tokenizer.sample import Texts, draw_sample
from tokenizer.sentencepiece_expansion import expand_sentencepiece, parse_model
from tokenizer.sentencepiece_json import to_tokenizer_json
from tokenizer.words import segmenter

logger = logging.getLogger(__name__)

FOLDER = "tokenizer"
_COPIED = ("special_tokens_map.json", "chat_template.jinja", "LICENSE", "NOTICE")
_MACHINE_FIELDS = ("auto_map", "backend", "is_local", "local_files_only", "name_or_path", "processor_class")
_EXAMPLES = 20


@dataclass(frozen=True)
class BaseTokenizer:
    """A base tokenizer's files: `main` is the one that decides (tokenizer.model or tokenizer.json)."""

    kind: Kind
    main: bytes
    config: Mapping[str, Any]
    copied: Mapping[str, bytes]
    encoder: Encoder


def expand(base: str, texts: Texts, options: ExpandOptions, *, out: str, seed: int) -> Outcome:
    """Expand `base` on a sample of `texts` and write the tokenizer folder below `out`.

    Args:
        base: path of a `tokenizer.model`, or of a folder with that or with a byte-level `tokenizer.json`.
        texts: gives the corpus from its beginning each time it is called.

    Raises:
        ValueError: no base tokenizer or an unsupported one, no Japanese, options that cannot be met.
    """
    source = read_base(base)
    sample = draw_sample(texts, characters=options.sample_characters, seed=seed)
    logger.info("sample: %d documents, %d characters", len(sample.documents), sample.characters)
    main, expansion = _expanded(source, sample.documents, options)
    files = _folder_files(source, main, expansion)
    if expansion.new_pieces:
        nothing = Expansion(source.kind, expansion.base_vocab, [])
        files |= {f"base/{name}": data for name, data in _folder_files(source, source.main, nothing).items()}
    for name, data in files.items():
        write_bytes(join(out, FOLDER, name), data)
    encoder = load_encoder(join(out, FOLDER))
    fertility = _compare(source.encoder, encoder, expansion, sample.documents)
    details = {
        "kind": source.kind,
        "words": segmenter() if options.enabled and options.words == "mecab" else None,
        "fertility": fertility,
        "corpus_documents": sample.corpus_documents,
        "corpus_characters": sample.corpus_characters,
        **_piece_details(expansion.new_pieces, options.min_count),
    }
    if source.kind == "sentencepiece":
        details["documents_where_tokenizer_json_differs"] = _disagreements(
            encoder, files["tokenizer.json"], sample.documents
        )
    counts = {
        "base_vocab": expansion.base_vocab,
        "new_pieces": len(expansion.new_pieces),
        "vocab": expansion.vocab,
        "sample_documents": len(sample.documents),
        "sample_characters": sample.characters,
    }
    return Outcome(file_entries(out, [join(FOLDER, name) for name in files]), counts, details)


def read_base(base: str) -> BaseTokenizer:
    """Read a base tokenizer and say what kind it is.

    Raises:
        ValueError: there is none, it is of an unsupported kind, or its Hugging Face side has tokens that its
            SentencePiece model lacks.
    """
    encoder = load_encoder(base)
    fs, path = filesystem(base)
    if fs.isfile(path):
        return BaseTokenizer("sentencepiece", read_bytes(base), {}, {}, encoder)
    copied = {name: read_bytes(join(base, name)) for name in _COPIED if exists(join(base, name))}
    config = read_json(join(base, "tokenizer_config.json"))
    if encoder.kind == "byte_level_bpe":
        return BaseTokenizer(encoder.kind, read_bytes(join(base, "tokenizer.json")), config, copied, encoder)
    beside = read_json(join(base, "tokenizer.json")).get("added_tokens", [])
    added = {token["content"]: token["id"] for token in beside} | read_json(join(base, "added_tokens.json"))
    beyond = sorted(content for content, index in added.items() if index >= encoder.vocab_size)
    if beyond:
        raise ValueError(
            f"{base}: {len(beyond)} tokens ({', '.join(beyond[:5])}) were added beside the "
            f"{encoder.vocab_size} of tokenizer.model, under ids that new pieces would take; expected none"
        )
    return BaseTokenizer(encoder.kind, read_bytes(join(base, "tokenizer.model")), config, copied, encoder)


def _expanded(source: BaseTokenizer, documents: Sequence[str], options: ExpandOptions) -> tuple[bytes, Expansion]:
    if not options.enabled:
        return source.main, Expansion(source.kind, source.encoder.vocab_size, [])
    if not any(has_japanese(text) for text in documents):
        raise ValueError(
            f"expand: the sample of {len(documents)} documents has no Japanese to learn pieces from; "
            "see what the stages before dropped, or set expand.enabled: false"
        )
    grow = expand_sentencepiece if source.kind == "sentencepiece" else expand_byte_level
    main, expansion = grow(source.main, documents, options)
    if not expansion.new_pieces:
        raise ValueError(
            f"expand: no new piece is used {options.min_count} times or more in a sample of "
            f"{sum(map(len, documents))} characters; lower expand.min_count, give more text, "
            "or set expand.enabled: false"
        )
    return main, expansion


def _folder_files(source: BaseTokenizer, main: bytes, expansion: Expansion) -> dict[str, bytes]:
    """Everything that belongs in a tokenizer folder, by name."""
    if source.kind == "sentencepiece":
        files = {"tokenizer.model": main, "tokenizer.json": to_tokenizer_json(main)}
    else:
        files = {"tokenizer.json": main}
    policy = {
        "schema_version": 1,
        "kind": source.kind,
        "document_prefix": source.encoder.policy.prefix,
        "document_suffix": source.encoder.policy.suffix,
        "base_vocab": expansion.base_vocab,
        "new_pieces": len(expansion.new_pieces),
        "vocab": expansion.vocab,
    }
    config = json.dumps(_huggingface_config(source), ensure_ascii=False, indent=2)
    return {
        **source.copied,
        **files,
        "tokenizer_config.json": config.encode() + b"\n",
        POLICY: json.dumps(policy, indent=1).encode() + b"\n",
        EXPANSION: expansion.to_json(),
    }


def _huggingface_config(source: BaseTokenizer) -> dict[str, Any]:
    """`tokenizer_config.json`, with the class that takes tokenizer.json as it is and rebuilds nothing.

    It leaves `split_special_tokens` as the base has it, which is off: set, transformers would also take the special
    tokens of a chat template for ordinary text (SmolLM2's prompt grows from 27 tokens to 51, none of them a turn's
    beginning), and generation with the folder would differ from the base's. Who encodes text of others with
    transformers passes `split_special_tokens=True` to the call; everything here goes through `load_encoder`.
    """
    config = {name: value for name, value in source.config.items() if name not in _MACHINE_FIELDS}
    config |= {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    if source.kind == "sentencepiece" and not source.config:
        pieces = parse_model(source.main)
        trainer = pieces.trainer_spec
        names = {
            "unk_token": trainer.unk_piece,
            "bos_token": trainer.bos_piece,
            "eos_token": trainer.eos_piece,
        }
        present = {piece.piece for piece in pieces.pieces}
        config |= {name: piece for name, piece in names.items() if piece in present}
    return config


def _compare(
    base: Encoder, expanded: Encoder, expansion: Expansion, documents: Iterable[str]
) -> dict[str, dict[str, float]]:
    """Fertility of both on the documents, once it is sure that the expansion only groups the base's tokens."""
    sizes = np.ones(expanded.vocab_size, np.int64)
    sizes[expansion.base_vocab :] = [len(piece.base_ids) for piece in expansion.new_pieces]
    spelt = [*range(expansion.base_vocab), *(index for piece in expansion.new_pieces for index in piece.base_ids)]
    spelling, ends = np.array(spelt, np.int64), np.cumsum(sizes)
    before = after = characters = size = 0
    for text in documents:
        old, new = base.encode_texts([text]).ids, expanded.encode_texts([text]).ids
        first = np.repeat(
            np.cumsum(sizes[new]) - ends[new], sizes[new]
        )  # of each token: where its spelling would begin
        ungrouped = spelling[np.arange(len(first)) - first]
        assert np.array_equal(ungrouped, old), f"new ids do not stand for the base's tokens in: {text[:200]!r}"
        before += len(old)
        after += len(new)
        characters += len(text)
        size += len(text.encode())
    return {
        name: {
            "tokens": tokens,
            "characters_per_token": round(characters / max(tokens, 1), 4),
            "bytes_per_token": round(size / max(tokens, 1), 4),
        }
        for name, tokens in (("base", before), ("expanded", after))
    }


def _piece_details(pieces: Sequence[NewPiece], min_count: int) -> dict[str, Any]:
    whole = [piece for piece in pieces if piece.text is not None]
    useful = sorted(whole, key=lambda piece: (-piece.tokens_saved, piece.id))[:_EXAMPLES]
    longest = sorted(whole, key=lambda piece: (-len(piece.text or ""), -piece.count, piece.id))[:_EXAMPLES]
    lengths = Counter(len(piece.text or "") for piece in whole)
    return {
        "pieces_by_characters": {str(length): lengths[length] for length in sorted(lengths)},
        "pieces_of_part_of_a_character": len(pieces) - len(whole),
        "most_useful_pieces": [_example(piece) for piece in useful],
        "longest_pieces": [_example(piece) for piece in longest],
        "pieces_only_inside_longer_ones": sum(piece.count < min_count for piece in pieces),
    }


def _example(piece: NewPiece) -> dict[str, Any]:
    return {
        "text": piece.text,
        "count": piece.count,
        "base_tokens": len(piece.base_ids),
        "tokens_saved": piece.tokens_saved,
    }


def _disagreements(encoder: Encoder, tokenizer_json: bytes, documents: Sequence[str]) -> int:
    """In how many documents Hugging Face's encoder differs from sentencepiece."""
    huggingface = Tokenizer.from_buffer(tokenizer_json)
    huggingface.encode_special_tokens = True
    different = [
        text for text in documents if huggingface.encode(text, add_special_tokens=False).ids != encoder.encode(text)
    ]
    if different:
        logger.warning(
            "tokenizer.json differs from tokenizer.model on %d of %d documents; tokenizer.model is used here",
            len(different),
            len(documents),
        )
    return len(different)
