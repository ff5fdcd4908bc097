"""The report's tokenizer section: sizes, fertility, new pieces, and sentences cut by both tokenizers.

In: the artifact of expand (counts, details, and the two tokenizer folders it holds), the held-out documents of binarize
and the model's shape from initialize. Out: JSON-like facts. What training computes for a text is `model_causal` of
`trainer.flops`: for fewer tokens, each with a larger output layer. The sentences are the first ones of held-out
documents, in the order of their ids; a run without held-out documents shows sentences of ours. A sentence is cut into
runs: the fewest tokens that together are whole characters, so that a character which the base spells in three byte
tokens shows as one run of three.

    facts = tokenizer(made)
    facts["sentences"][0]["base"]["runs"]  # [{"text": "雲", "tokens": 3, "new": False}, ...]
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from storage.documents import read_documents
from storage.token_catalog import document_rows_path
from storage.uri import join
from tasks.report.artifacts import RunArtifacts
from tokenizer.characters import has_japanese
from tokenizer.encoder import POLICY, Encoder, load_encoder
from trainer.flops import flops_per_step
from trainer.llama_config import llama_config

SENTENCES = (
    "春になると、雲雀が麦畑の上で高く鳴いている。",
    "設定を変えたあとは、サービスを再起動してください。",
    "図書館で借りた本は、来週の水曜日までに返さなければならない。",
    "The skylark rises above the wheat and sings until it is out of sight.",
)
NUM_SENTENCES = {"ja": 4}  # of another language one
HELD_OUT_CHARACTERS = 100_000
_MANY = 12
# From the beginning of a line or after the end of a sentence, to the end of a sentence.
_SENTENCE = re.compile(
    r"(?:^|(?<=[。！？])|(?<=[.!?] ))[^\s。！？][^\n。！？]{8,78}?(?:[。！？]|[.!?](?=\s|$))", re.MULTILINE
)


def tokenizer(made: RunArtifacts) -> dict[str, Any]:
    """Facts of the tokenizer before and after expansion."""
    counts = made.counts("expand")
    fertility = {name: made.detail("expand", "fertility", name) or {} for name in ("base", "expanded")}
    measures = (
        ("tokens", "tokens on the sample"),
        ("characters_per_token", "characters per token"),
        ("bytes_per_token", "bytes per token"),
    )
    rows = []
    for key, label in measures:
        before, after = fertility["base"].get(key), fertility["expanded"].get(key)
        rows.append({
            "name": key,
            "label": label,
            "base": before,
            "expanded": after,
            "change": (after - before) / before if before and after is not None else None,
        })  # fmt: skip
    encoders, texts = _encoders(made), held_out_texts(made)
    chosen = [sentence for language in texts for sentence in _first_sentences(texts[language], language)]
    names = ("base_vocab", "new_pieces", "vocab", "sample_documents", "sample_characters")
    return {
        **{name: counts.get(name) for name in names},
        "kind": made.detail("expand", "kind"),
        "new_rows": made.count("initialize", "new_rows"),
        "new_rows_from": made.detail("initialize", "new_rows"),
        "new_output_rows_from": made.detail("initialize", "new_output_rows"),
        "output_shift": made.detail("initialize", "output_shift"),
        "shift": made.detail("initialize", "shift"),
        "calibration": made.detail("initialize", "calibration"),
        "words": made.detail("expand", "words"),
        "fertility": rows,
        "most_useful": (made.detail("expand", "most_useful_pieces") or [])[:_MANY],
        "longest": (made.detail("expand", "longest_pieces") or [])[:_MANY],
        "held_out": _held_out_fertility(made, encoders, texts) if encoders else [],
        "sentences": sentences(encoders, chosen or SENTENCES, counts.get("base_vocab")) if encoders else [],
        "sentences_held_out": bool(chosen),
    }


def sentences(encoders: Mapping[str, Encoder], texts: Sequence[str], base_vocab: int | None) -> list[dict[str, Any]]:
    """Each text cut by the base and by the expanded tokenizer, with their tokens and tokens per character."""
    rows = []
    for text in texts:
        cut = {name: cut_sentence(encoder, text, base_vocab) for name, encoder in encoders.items()}
        same = len({tuple(encoder.encode(text)) for encoder in encoders.values()}) == 1
        row: dict[str, Any] = {"text": text, "same": same}
        for name, runs in cut.items():
            tokens = sum(run["tokens"] for run in runs)
            row[name] = {"runs": runs, "tokens": tokens, "tokens_per_character": tokens / len(text)}
        rows.append(row)
    return rows


def _encoders(made: RunArtifacts) -> dict[str, Encoder]:
    """`base` and `expanded`; none where expand left no pair of them."""
    folders = {"base": "tokenizer/base", "expanded": "tokenizer"}
    if any(made.file("expand", join(folder, POLICY)) is None for folder in folders.values()):
        return {}
    return {name: load_encoder(join(made.uris["expand"], folder)) for name, folder in folders.items()}


def held_out_texts(made: RunArtifacts) -> dict[str, list[str]]:
    """Language -> texts of held-out documents in the order of their ids: at most the first row group of each source."""
    texts: dict[str, list[tuple[bytes, str]]] = {}
    for source in made.detail("binarize", "sources") or []:
        path = document_rows_path(source["name"], "validation")
        if made.paths("binarize", path):
            first = next(read_documents(join(made.uris["binarize"], path), ["id", "text"]), None)
            rows = first.to_pylist() if first is not None else []
            texts.setdefault(source["language"], []).extend((row["id"], row["text"]) for row in rows)
    return {language: [text for _, text in sorted(rows)] for language, rows in texts.items()}


def first_sentence(text: str, language: str) -> str | None:
    """The first sentence of 10 to 80 characters, of Japanese one with Japanese characters; None where there is none."""
    for found in _SENTENCE.finditer(text):
        if language != "ja" or has_japanese(found[0]):
            return found[0]
    return None


def _first_sentences(texts: Sequence[str], language: str) -> list[str]:
    found = (sentence for text in texts if (sentence := first_sentence(text, language)))
    return list(islice(dict.fromkeys(found), NUM_SENTENCES.get(language, 1)))


def _held_out_fertility(
    made: RunArtifacts, encoders: Mapping[str, Encoder], texts: Mapping[str, Sequence[str]]
) -> list[dict[str, Any]]:
    """Tokens per character and bytes per token of each language, over the beginning of its held-out documents."""
    rows = []
    dearer = _flops_of_a_token(made, encoders)
    for language, all_of_it in texts.items():
        chosen = _up_to(all_of_it, HELD_OUT_CHARACTERS)
        characters, size = sum(map(len, chosen)), sum(len(text.encode()) for text in chosen)
        tokens = {name: len(encoder.encode_texts(chosen).ids) for name, encoder in encoders.items()}
        fewer = tokens["expanded"] / tokens["base"] if tokens["base"] else None
        rows.append({
            "language": language,
            "documents": len(chosen),
            "characters": characters,
            **{name: found / characters if characters else None for name, found in tokens.items()},
            "bytes_per_token": {name: size / found if found else None for name, found in tokens.items()},
            "change": fewer - 1 if fewer else None,
            "flops_change": fewer * dearer - 1 if fewer and dearer else None,
        })  # fmt: skip
    return rows


def _flops_of_a_token(made: RunArtifacts, encoders: Mapping[str, Encoder]) -> float | None:
    """Operations of training on a token of the expanded tokenizer over those of the base's; None without a model."""
    fields, train = made.json("initialize", "model/config.json"), made.manifests.get("train")
    seq_len = train.literals.get("seq_len") if train else None
    if fields is None or seq_len is None:
        return None
    shape = llama_config(fields)
    base, expanded = (
        flops_per_step("model_causal", replace(shape, vocab_size=encoders[name].vocab_size), seq_len, 1)
        for name in ("base", "expanded")
    )
    return expanded / base


def _up_to(texts: Sequence[str], characters: int) -> list[str]:
    """The first texts, cut off after so many characters in all."""
    chosen: list[str] = []
    for text in texts:
        if characters <= 0:
            break
        chosen.append(text[:characters])
        characters -= len(text)
    return chosen


def cut_sentence(encoder: Encoder, text: str, base_vocab: int | None) -> list[dict[str, Any]]:
    """The sentence's runs of tokens: `text`, how many `tokens`, whether one of them is `new` in the vocabulary."""
    ids = encoder.encode(text)
    runs = []
    start, shown = 0, ""
    for end in range(1, len(ids) + 1):
        decoded = encoder.decode(ids[:end])
        whole = decoded.startswith(shown) and not decoded.endswith("\ufffd")
        if (whole and len(decoded) > len(shown)) or end == len(ids):
            new = base_vocab is not None and any(token >= base_vocab for token in ids[start:end])
            runs.append({"text": decoded[len(shown) :], "tokens": end - start, "new": new})
            start, shown = end, decoded
    return runs
