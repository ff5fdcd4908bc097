"""Japanese words, at whose boundaries new pieces of vocabulary must not be learned across.

In: a text. Out: its words as slices that put together are the text, byte for byte. MeCab (Kudo et al. 2004) with the
dictionary of the package unidic-lite (UniDic 2.1.2, short units) cuts; it drops white space and reads up to a NUL only,
so its words are found again in the text, and what lies between them stands as a slice of its own, as do NUL, line
feeds and halves of surrogate pairs. MeCab is given at most `MAX_CHARACTERS` at once, for it holds the lattice of all
that it is given: a longer line is cut after its last punctuation mark or space within that, or where there is none at
that length. A cut there is a boundary too many, never one too few.

MeCab is a function of the line alone: no seed, no state. The dictionary decides bytes, so the versions of fugashi and
unidic-lite belong to the fingerprint of what is made with words.

    Words().cut("雲雀が 鳴く。")  # ["雲雀", "が", " ", "鳴く", "。"]
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path

import fugashi
import unidic_lite

from tokenizer.characters import has_japanese

MAX_CHARACTERS = 4_096
_APART = re.compile("([\x00\n\ud800-\udfff])")
_BREAK = re.compile(r"[。、！？」』!?,.;\s]")


class Words:
    """A MeCab tagger; make one in each process and keep it."""

    def __init__(self) -> None:
        dictionary = Path(unidic_lite.DICDIR)
        self._tagger = fugashi.GenericTagger(f'-Owakati -r "{dictionary / "mecabrc"}" -d "{dictionary}"')

    def cut(self, text: str) -> list[str]:
        """The text as words and what lies between them, in order; none is empty."""
        return [word for piece in _pieces(text) for word in self._cut_piece(piece)]

    def count(self, documents: Iterable[str]) -> Counter[str]:
        """How often each word occurs in the lines that hold Japanese-class characters; white space is left out.

        Memory is that of the different words: 48,000 in 2 million characters of Japanese prose and documentation.
        """
        words: Counter[str] = Counter()
        for text in documents:
            for line in text.split("\n"):
                if has_japanese(line):
                    words.update(self.cut(line))
        for word in [word for word in words if not word.strip()]:
            del words[word]
        return words

    def _cut_piece(self, piece: str) -> list[str]:
        if _APART.fullmatch(piece):
            return [piece]
        found = self._tagger.parse(piece).split(" ")
        if "".join(found) == piece:
            return found if found[0] else [word for word in found if word]
        words: list[str] = []
        end = 0
        for word in found:
            if word:
                start = piece.index(word, end)  # no word of MeCab's begins with the white space that it drops
                words += [piece[end:start], word]
                end = start + len(word)
        words.append(piece[end:])
        return [word for word in words if word]


def segmenter() -> dict[str, str]:
    """What cuts words here, with the versions that decide where."""
    return {
        "segmenter": f"MeCab (fugashi {version('fugashi')})",
        "dictionary": f"unidic-lite {version('unidic-lite')} (UniDic {_dictionary_version()})",
    }


def _dictionary_version() -> str:
    return (Path(unidic_lite.DICDIR) / "version").read_text(encoding="utf-8").strip()


def _pieces(text: str) -> Iterator[str]:
    """What MeCab is given at once, and between them the characters that it cannot be given."""
    for part in _APART.split(text):
        start = 0
        while len(part) - start > MAX_CHARACTERS:
            end = start + MAX_CHARACTERS
            breaks = [found.end() for found in _BREAK.finditer(part, start, end)]
            yield part[start : (end := breaks[-1] if breaks else end)]
            start = end
        if start < len(part):
            yield part[start:]
