"""How the Japanese harness of 2023 shortens prompts of news articles: each article at the end of a sentence.

In: a prompt of articles with summaries, and the model's tokenizer. Out: the prompt's text, every article cut to the
same number of tokens. It is done where prompt, reference summary and ten tokens more do not fit into the model, though
generating then takes 256 tokens, for which ids go at the left. Source: `preprocess_ctx` of lm_eval/tasks/ja/xlsum_ja.py
in swallow-llm/swallow-evaluation at 89c4e71.

    text = cut_articles(context, encoder, max_length=4096)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks.evaluate.requests import Context

if TYPE_CHECKING:
    from tokenizer.encoder import Encoder

SUMMARY = "要約:"  # the label between an article, with its newline, and its summary
STOP = "。"
MARGIN = 10  # tokens kept free besides the reference's


def cut_articles(context: Context, encoder: Encoder, max_length: int) -> str:
    """The text of a prompt, its articles cut where it is too long.

    Args:
        context: shots `{article}\\n要約:{summary}` and the article asked about; `reference` is its true summary.
    """
    room = max_length - len(encoder.encode(context.reference)) - MARGIN
    if len(encoder.encode(context.text)) <= room:
        return context.text
    parts = [*context.shots, f"{context.before}{context.passage}{context.after}"]
    share = max(0, room) // len(parts)
    return context.head + "".join(_cut(part, encoder, share) for part in parts)


def _cut(part: str, encoder: Encoder, share: int) -> str:
    """An article with its label and what follows that; the summary does not count towards the share."""
    article, label, summary = part.rpartition(SUMMARY)
    kept: list[str] = []
    for sentence in article.split(STOP):
        if len(encoder.encode(STOP.join([*kept, sentence]))) > share:
            text = STOP.join(kept) + STOP if kept else encoder.decode(encoder.encode(sentence)[:share])
            return f"{text}\n{label}{summary}"
        kept.append(sentence)
    return part
