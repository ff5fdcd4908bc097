"""Parallel Japanese-English text as documents: pairs of sentences put after one another, in one direction or the other.

In: pairs (Japanese, English). Out: the text of a document of one or several pairs. Two templates, as Fujii et al.
(2024, "Continual Pre-Training for Cross-Lingual LLM Adaptation", on parallel corpora) compared them, in words of ours:

- `concatenation`: the source sentence, a line feed, its translation.
- `instruction`: the source sentence, the request to translate it, the translation.

Pairs stand apart by an empty line. The direction of a document is a bit of its id, so half of the documents go each
way, and adding documents turns none round.

    text = render_pairs([("雲雀が鳴く。", "A lark sings.")], document_id, "concatenation")
"""

from __future__ import annotations

from collections.abc import Sequence

CONCATENATION = "concatenation"
INSTRUCTION = "instruction"
_TEMPLATES = {
    (CONCATENATION, "ja-en"): "{ja}\n{en}",
    (CONCATENATION, "en-ja"): "{en}\n{ja}",
    (INSTRUCTION, "ja-en"): "日本語: {ja}\n上の日本語を英語に訳してください。\n英語: {en}",
    (INSTRUCTION, "en-ja"): "English: {en}\nTranslate the English above into Japanese.\nJapanese: {ja}",
}


def direction(document_id: bytes) -> str:
    """`ja-en` or `en-ja`: the lowest bit of the id, which is a hash."""
    return "en-ja" if document_id[-1] & 1 else "ja-en"


def render_pairs(pairs: Sequence[tuple[str, str]], document_id: bytes, template: str) -> str:
    """The text of a document.

    Args:
        pairs: (Japanese, English), in their order in the file.
        template: `concatenation` or `instruction`.
    """
    one = _TEMPLATES[template, direction(document_id)]
    return "\n\n".join(one.format(ja=ja, en=en) for ja, en in pairs)
