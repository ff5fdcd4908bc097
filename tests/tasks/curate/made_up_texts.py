"""Texts made to fail one quality rule and no other, as closely as wanted.

Letters are drawn so that no n-gram comes twice by chance where it would count. `families` has for each rule a function
of a whole number: the larger the number, the further the text goes towards failing that rule.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import islice

from storage.ledger import Rule

NG_WORD = "禁句禁句禁"
_HIRAGANA = [chr(point) for point in range(0x3042, 0x3094)]
_KATAKANA = [chr(point) for point in range(0x30A2, 0x30F5)]
_KANJI = [chr(point) for point in range(0x4E00, 0x9000)]


def letters(hiragana: float = 0.6, katakana: float = 0.0, seed: int = 0) -> Iterator[str]:
    """Letters without end; shares of hiragana and katakana, the rest kanji."""
    chance = random.Random(seed)
    while True:
        kind = chance.random()
        yield chance.choice(
            _HIRAGANA if kind < hiragana else _KATAKANA if kind < hiragana + katakana else _KANJI,
        )


def take(source: Iterator[str], count: int) -> str:
    return "".join(islice(source, count))


def sentences(source: Iterator[str], count: int, length: int = 40, end: str = "。") -> list[str]:
    """So many sentences of that length, their end counted."""
    return [take(source, length - 1) + end for _ in range(count)]


def broken_up(units: list[str], per_line: int) -> str:
    """Units one after another, so many to a line, each line a sentence."""
    return "".join(
        "".join(units[start : start + per_line]) + "。\n" for start in range(0, len(units), per_line)
    ).rstrip("\n")


def short_lines(number: int) -> str:
    """Paragraphs of several sentences among which one short line comes again and again."""
    source = letters()
    paragraphs = ["".join(sentences(source, 8)) for _ in range(20)]
    return "\n".join(paragraphs + ["目次です"] * number)


def lines_again(number: int) -> str:
    """A line that comes again among lines of its length."""
    again, source = sentences(letters(seed=1), 1), letters()
    return "\n".join(line for index in range(120) for line in sentences(source, 1) + again * (index < number))


def short_sentences(number: int) -> str:
    """Lines of several sentences, a short one of which comes again and again."""
    source = letters()
    return "\n".join(
        "".join(sentences(source, 1, 60)) + ("そうです。" if index < number else "") for index in range(60)
    )


def sentences_again(number: int) -> str:
    """Lines of their own that end in the same sentence."""
    source, again = letters(), "".join(sentences(letters(seed=1), 1))
    return "\n".join("".join(sentences(source, 2)) + (again if index < number else "") for index in range(100))


def one_ngram(size: int) -> Callable[[int], str]:
    """An n-gram that comes again and again, between letters that do not."""

    def made(number: int) -> str:
        source = letters()
        core = take(letters(seed=1), size)
        units = [core + letter for letter in islice(letters(hiragana=0.3, seed=2), number)]
        return broken_up(units, 30 // size) + "\n" + "\n".join(sentences(source, 12))

    return made


def repeated_ngrams(size: int) -> Callable[[int], str]:
    """N-grams that come again, those of this size more than longer and shorter ones.

    A core of `size - 1` letters stands between letters that come twice, in another order the second time: what holds
    one such letter is repeated, what holds two is not. A few n-grams of just that size come again by themselves.
    """

    def made(number: int) -> str:
        core, source = take(letters(seed=1), size - 1), letters(seed=4)
        between = [chr(0x9000 + index) for index in range(number)]
        units = [core + letter for letter in between + random.Random(3).sample(between, len(between))]
        chunks = [take(letters(seed=100 + index), size) for index in range(20)]
        chunks = [chunk + take(source, 1) for chunk in chunks + chunks[::-1]]
        text = broken_up(units, 150 // size) + "\n" + broken_up(chunks, 80 // size) + "\n"
        return text + "\n".join(sentences(source, max(0, 6000 - len(text)) // 41))

    return made


def of_sentence_length(num_letters: int) -> str:
    """Forty sentences with so many letters in all."""
    source = letters()
    shorter, num_longer = divmod(max(num_letters, 400), 40)
    return "\n".join([*sentences(source, 40 - num_longer, shorter), *sentences(source, num_longer, shorter + 1)])


def one_sentence(number: int) -> str:
    """A sentence of that length among others, with a tenth and more of the text."""
    source = letters()
    return "\n".join([*sentences(source, 1, number), *sentences(source, 30)])


def ellipses(number: int) -> str:
    source = letters()
    return "\n".join([*sentences(source, number, end="…"), *sentences(source, 100 - number)])


def of_letters(number: int) -> str:
    """One line of so many letters, all of them Japanese."""
    source = letters()
    return "".join([*sentences(source, number // 40), *sentences(source, 1, number % 40 or 40)])[:number]


def of_japanese_letters(number: int) -> str:
    return of_letters(number) + " ok."


def of_hiragana(number: int) -> str:
    """A thousand letters, so many of them hiragana."""
    kinds = [_HIRAGANA[index % 80] for index in range(number)]
    kinds += [_KANJI[7 * index % len(_KANJI)] for index in range(975 - number)]
    random.Random(6).shuffle(kinds)
    return "\n".join("".join(kinds[start : start + 39]) + "。" for start in range(0, 975, 39))


def of_katakana(number: int) -> str:
    """The same with katakana, and hiragana for the rest."""
    chance = random.Random(7)
    kinds = [chance.choice(_KATAKANA) for _ in range(number)]
    kinds += [chance.choice(_HIRAGANA) for _ in range(975 - number)]
    chance.shuffle(kinds)
    return "\n".join("".join(kinds[start : start + 39]) + "。" for start in range(0, 975, 39))


def of_latin_letters(number: int) -> str:
    """Japanese sentences with so many Latin letters."""
    chance = random.Random(8)
    kinds = [chance.choice("bcdfghjklmnpqrstvwxyz") for _ in range(number)]
    kinds += islice(letters(seed=9), 1170 - number)
    chance.shuffle(kinds)
    return "\n".join("".join(kinds[start : start + 39]) + "。" for start in range(0, 1170, 39))


def list_items(number: int) -> str:
    """A hundred lines, so many of them of a list."""
    source = letters()
    return "\n".join([take(source, 40) for _ in range(number)] + sentences(source, 100 - number))


def ng_words(number: int) -> str:
    source = letters()
    return "\n".join(take(source, 39) + (NG_WORD if index < number else "") + "。" for index in range(40))


def no_sentence(number: int) -> str:
    return "\n".join(sentences(letters(), 20)) if not number else "。" * 800


def families() -> dict[Rule, Callable[[int], str]]:
    """The texts of each rule."""
    families: dict[Rule, Callable[[int], str]] = {
        Rule.TOO_FEW_LETTERS: lambda number: of_letters(500 - number),
        Rule.TOO_FEW_JAPANESE_LETTERS: lambda number: of_japanese_letters(500 - number),
        Rule.NO_SENTENCE: no_sentence,
        Rule.DUPLICATE_PARAGRAPHS: short_lines,
        Rule.DUPLICATE_PARAGRAPH_CHARACTERS: lines_again,
        Rule.DUPLICATE_SENTENCES: short_sentences,
        Rule.DUPLICATE_SENTENCE_CHARACTERS: sentences_again,
        Rule.TOO_LITTLE_HIRAGANA: lambda number: of_hiragana(400 - number),
        Rule.TOO_MUCH_KATAKANA: of_katakana,
        Rule.TOO_LITTLE_JAPANESE: of_latin_letters,
        Rule.TOO_LITTLE_PROSE: list_items,
        Rule.SENTENCES_TOO_SHORT: lambda number: of_sentence_length(1600 - number),
        Rule.SENTENCES_TOO_LONG: of_sentence_length,
        Rule.SENTENCE_TOO_LONG: one_sentence,
        Rule.TOO_MANY_ELLIPSES: ellipses,
        Rule.NG_WORDS: ng_words,
    }
    families |= {Rule[f"TOP_{n}GRAM"]: one_ngram(n) for n in (2, 3, 4)}
    families |= {Rule[f"DUPLICATE_{n}GRAMS"]: repeated_ngrams(n) for n in range(5, 11)}
    return families
