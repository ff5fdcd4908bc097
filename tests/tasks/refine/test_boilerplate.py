"""Boilerplate: which lines of a host are cut, at each limit, and that what is not repeated stays."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.refine.boilerplate import Boilerplate, add_up, choose, count_lines, host_key, line_keys
from tasks.refine.config import BoilerplateConfig

NOTICE = "この頁にある文章と写真は、雲雀観察会の会員が撮影し、執筆したものです。"
SHORT = "観察の記録"


def learn(pages: list[tuple[str, str]], **limits: float) -> Boilerplate:
    """Boilerplate of (host, text) pages, counted as two shards and added up."""
    config = BoilerplateConfig(**limits)
    shards = [count_lines(part, config.min_letters) for part in (pages[::2], pages[1::2])]
    counts = add_up(np.concatenate(shards))
    hosts, num_documents = np.unique([host_key(host) for host, _ in pages], return_counts=True)
    return Boilerplate(counts["key"][choose(counts, hosts, num_documents, config)], config)


def story(number: int) -> str:
    return f"{number}日目の朝、丘の上で雲雀が{number + 3}度鳴いた。\nそのあと{number}羽が麦畑へ降りた。"


def pages(num_pages: int, with_line: int, line: str = NOTICE, host: str = "hibari.example") -> list[tuple[str, str]]:
    """Different stories of one host, the first `with_line` of them with a line in their middle."""
    texts = [story(number).replace("\n", f"\n{line}\n" if number < with_line else "\n") for number in range(num_pages)]
    return [(host, text) for text in texts]


@pytest.mark.parametrize(
    ("num_pages", "with_line", "is_cut"),
    [
        (5, 5, True),  # min_documents
        (4, 4, False),
        (40, 8, True),  # a fifth
        (40, 7, False),
        (1000, 100, True),  # enough_documents, for a long line
        (1000, 99, False),
    ],
)
def test_a_long_line_is_cut_from_so_many_documents_on(num_pages: int, with_line: int, is_cut: bool) -> None:
    found = learn(pages(num_pages, with_line))
    host, text = pages(num_pages, with_line)[0]
    cut = (story(0), 1, len(NOTICE) + 1)
    assert found.cut(host, text) == (cut if is_cut else (text, 0, 0))
    assert found.cut(host, story(1)) == (story(1), 0, 0)


def test_enough_documents_is_for_long_lines_only() -> None:
    """`Parameters` in 300 of 2,000 manual pages is a heading."""
    text = f"{NOTICE}\n{SHORT}\n{story(0)}"
    found = learn([("hibari.example", text)] * 300 + [("hibari.example", story(n)) for n in range(1, 1700)])
    assert found.cut("hibari.example", text) == (f"{SHORT}\n{story(0)}", 1, len(NOTICE) + 1)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"前。\n{SHORT}\n後。", f"前。\n{SHORT}\n後。"),  # a heading between what is not repeated
        (f"{SHORT}\n後。", f"{SHORT}\n後。"),
        (f"前。\n{SHORT}\n\n{SHORT}\n後。", "前。\n後。"),  # a menu
        (f"前。\n{SHORT}\n----\n  {SHORT}　\n後。", "前。\n後。"),  # with a rule between, and other white space
        (f"前。\n{SHORT}\n{NOTICE}\n後。", "前。\n後。"),  # beside a long one
        (f"前。\n{SHORT}", "前。"),  # nothing follows
        (f"前。\n{SHORT}\n♪ 12:34\n", "前。\n♪ 12:34\n"),  # nothing with a letter
        (f"前。\n----\n{NOTICE}\n----\n後。", "前。\n----\n----\n後。"),  # what stands outside is left
        (SHORT, ""),
    ],
)
def test_a_short_line_is_cut_beside_boilerplate_or_at_the_end(text: str, left: str) -> None:
    found = learn([("hibari.example", f"{number}。\n{SHORT}\n{NOTICE}") for number in range(5)])
    assert found.cut("hibari.example", text)[0] == left


@pytest.mark.parametrize(("letters", "is_cut"), [(19, False), (20, True)])
def test_letters_make_a_line_long(letters: int, is_cut: bool) -> None:
    line = "雲" * letters + "、。1234567890「」！？"
    found = learn(pages(5, 5, line))
    assert found.cut("hibari.example", f"前。\n{line}\n後。")[1] == int(is_cut)


def test_other_hosts_pages_do_not_count() -> None:
    spread = [(f"{number}.example", f"{NOTICE}\n{story(number)}") for number in range(50)]
    found = learn(spread + pages(5, 5))
    assert found.cut("3.example", spread[3][1]) == (spread[3][1], 0, 0)
    assert found.cut(None, spread[3][1]) == (spread[3][1], 0, 0)
    assert found.cut("hibari.example", f"{NOTICE}\n本文。")[0] == "本文。"


def test_a_line_counts_once_a_document_and_lines_without_letters_never() -> None:
    refrain = [("hibari.example", f"{NOTICE}\n" * 9 + "-----\n1234\n" + story(number)) for number in range(4)]
    found = learn([*refrain, *(("hibari.example", f"-----\n1234\n{story(number)}") for number in range(4, 8))])
    assert found.cut(*refrain[0]) == (refrain[0][1], 0, 0)


def test_keys_are_the_same_for_the_same_words_and_say_what_is_long() -> None:
    keys = line_keys("a.example", [f"  {NOTICE} ", NOTICE, SHORT, "", "ー ー", "・・・ 2024"], 20)
    assert keys[0] == keys[1]
    assert [int(key) % 2 for key in keys[:3]] == [1, 1, 0]
    assert keys[3:].astype(bool).tolist() == [False, True, False]
    assert line_keys("b.example", [NOTICE], 20)[0] != keys[0]
    assert (host_key(None), host_key("")) == (0, 0)


def test_nothing_counted_is_nothing_cut() -> None:
    assert len(add_up(count_lines([], 20))) == 0
    assert learn(pages(3, 3)).cut("hibari.example", NOTICE) == (NOTICE, 0, 0)
