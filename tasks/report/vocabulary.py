"""The report's tokenizer section: sizes, fertility, new pieces, and sentences cut by both tokenizers.

In: the artifact of expand (counts, details, and the two tokenizer folders it holds). Out: JSON-like facts. A sentence
is cut into runs: the fewest tokens that together are whole characters, so that a character which the base spells in
three byte tokens shows as one run of three.

    facts = tokenizer(made)
    facts["sentences"][0]["base"]["runs"]  # [{"text": "雲", "tokens": 3, "new": False}, ...]
"""

from __future__ import annotations

from typing import Any

from storage.uri import join
from tasks.report.artifacts import RunArtifacts
from tokenizer.encoder import POLICY, Encoder, load_encoder

SENTENCES = (
    "春になると、雲雀が麦畑の上で高く鳴いている。",
    "設定を変えたあとは、サービスを再起動してください。",
    "図書館で借りた本は、来週の水曜日までに返さなければならない。",
    "The skylark rises above the wheat and sings until it is out of sight.",
)
_MANY = 12


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
    names = ("base_vocab", "new_pieces", "vocab", "sample_documents", "sample_characters")
    return {
        **{name: counts.get(name) for name in names},
        "kind": made.detail("expand", "kind"),
        "new_rows": made.count("initialize", "new_rows"),
        "new_rows_from": made.detail("initialize", "new_rows"),
        "fertility": rows,
        "most_useful": (made.detail("expand", "most_useful_pieces") or [])[:_MANY],
        "longest": (made.detail("expand", "longest_pieces") or [])[:_MANY],
        "sentences": sentences(made),
    }


def sentences(made: RunArtifacts) -> list[dict[str, Any]]:
    """Our sentences cut by the base and by the expanded tokenizer; none where expand left no pair of them."""
    folders = {"base": "tokenizer/base", "expanded": "tokenizer"}
    if any(made.file("expand", join(folder, POLICY)) is None for folder in folders.values()):
        return []
    encoders = {name: load_encoder(join(made.uris["expand"], folder)) for name, folder in folders.items()}
    base_vocab = made.count("expand", "base_vocab")
    cut = []
    for text in SENTENCES:
        runs = {name: cut_sentence(encoder, text, base_vocab) for name, encoder in encoders.items()}
        same = encoders["base"].encode(text) == encoders["expanded"].encode(text)
        cut.append(
            {
                "text": text,
                "same": same,
                **{
                    name: {"runs": found, "tokens": sum(run["tokens"] for run in found)} for name, found in runs.items()
                },
            }
        )
    return cut


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
