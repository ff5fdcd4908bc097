"""Breaks when NG words are found otherwise than from left to right, the longest first."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tasks.curate.ngwords import BUILTIN, NgWords, load_ng_words, ng_word_uris, read_words
from tasks.curate.quality_config import NgWordsConfig
from tests.tasks.curate.warc_files import JAPANESE


def longest_match(words: list[str], text: str) -> list[tuple[int, int]]:
    """What the released code does: at each place the longest word, then behind it."""
    spans = []
    start = 0
    while start < len(text):
        found = max((len(word) for word in words if text.startswith(word, start)), default=0)
        if found:
            spans.append((start, start + found))
        start += found or 1
    return spans


@pytest.mark.parametrize("seed", range(20))
def test_matches_are_those_of_the_released_code(seed: int) -> None:
    chance = random.Random(seed)
    words = ["".join(chance.choices("あいう𠮷a", k=chance.randint(1, 5))) for _ in range(chance.randint(1, 12))]
    text = "".join(chance.choices("あいう𠮷a。", k=200))
    found = NgWords(words)
    assert found.spans(text) == longest_match(words, text)
    assert found.count_letters(text) == sum(end - start for start, end in found.spans(text))


def test_a_list_is_one_word_a_line(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_bytes("\ufeff# 見出し\n雲雀\r\n\n  雲雀の巣 \n# 終わり\n".encode())
    assert read_words(str(path)) == ["雲雀", "雲雀の巣"]


def test_lists_are_put_together(tmp_path: Path) -> None:
    for name, word in (("a.txt", "春"), ("b.txt", "夏")):
        (tmp_path / name).write_text(word + "\n春\n", encoding="utf-8")
    words = load_ng_words(NgWordsConfig(files=[str(tmp_path / "a.txt"), str(tmp_path / "b.txt"), BUILTIN]))
    assert words is not None
    assert words.count_letters("春と夏と秋") == 2
    assert len(words.words) > 300


def test_no_list_no_words() -> None:
    assert load_ng_words(NgWordsConfig(files=[])) is None


def test_what_is_no_list_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    with pytest.raises(FileNotFoundError, match=r"words\.txt"):
        read_words(str(path))
    path.write_bytes("雲雀".encode("cp932"))
    with pytest.raises(ValueError, match=r"words\.txt: expected a list in UTF-8"):
        read_words(str(path))
    path.write_text("# nothing\n")
    with pytest.raises(ValueError, match=r"words\.txt: expected one word a line, found none"):
        read_words(str(path))
    with pytest.raises(ValueError, match="at least one letter"):
        NgWords([""])


def test_the_list_that_comes_along() -> None:
    words = read_words(ng_word_uris(NgWordsConfig())[0])
    assert len(words) == len(set(words)) > 300
    assert min(map(len, words)) > 1
    assert load_ng_words(NgWordsConfig()).count_letters(JAPANESE) == 0  # type: ignore[union-attr]


# Everyday words in which an offensive one hides, or which have another meaning altogether.
HARMLESS = (
    "パチンコ店の前のベンチで休む。先生はめったに怒らない。選手マンションに住む。クジラの潮吹きを見た。"
    "うどんはシコシコした歯ごたえがよい。背中だしの服。池沼の生き物。基地外の土地。ガイジンと呼ばれた。"
    "雌豚の飼育。微乳化した油。円光を背にした仏像。沈没をちんぽつと書いた。死ねば楽になるのか。DQNという強化学習。"
)


def test_everyday_words_are_not_hit() -> None:
    words = load_ng_words(NgWordsConfig())
    assert words is not None
    assert [HARMLESS[start:end] for start, end in words.spans(HARMLESS)] == []
