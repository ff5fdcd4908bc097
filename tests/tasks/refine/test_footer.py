"""Footers: from which line on a document ends, just inside and just outside of each limit."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.refine.config import FooterConfig
from tasks.refine.footer import Footer

BODY = "\n".join(f"{number}番目の巣には、雲雀の卵が三つあった。" for number in range(12))


def footer(tmp_path: Path, *keywords: str, **limits: float) -> Footer:
    (tmp_path / "keywords.txt").write_text("\n".join(keywords), encoding="utf-8")
    return Footer(FooterConfig(files=(f"{tmp_path}/keywords.txt",), **limits))


def test_everything_from_the_first_footer_line_on_is_cut(tmp_path: Path) -> None:
    tail = "\n問い合わせ先\nこの行は本文のように見えるが、もう終わりの方だ。"
    assert footer(tmp_path, "問い合わせ").cut(BODY + tail) == (BODY, 2)


@pytest.mark.parametrize(("line", "is_cut"), [("卵卵卵あああああああ", False), ("卵卵卵卵ああああああ", True)])
def test_more_than_three_tenths_of_a_line_must_be_keywords(tmp_path: Path, line: str, is_cut: bool) -> None:
    text = "本文。\n" + line
    assert footer(tmp_path, "卵").cut(text) == (("本文。", 1) if is_cut else (text, 0))


@pytest.mark.parametrize(("after", "is_cut"), [(9, True), (10, False)])
def test_only_the_last_ten_lines_are_looked_at(tmp_path: Path, after: int, is_cut: bool) -> None:
    text = "本文。\n巣箱\n" + "\n".join(["空は青い。"] * after)
    assert footer(tmp_path, "巣箱").cut(text)[1] == (after + 1 if is_cut else 0)


def test_long_keywords_go_first_and_letters_count_once(tmp_path: Path) -> None:
    """`ログ` inside `ブログ` is not counted again: three of eleven letters are too few, four would not be."""
    found = footer(tmp_path, "ログ", "ブログ", "ロ")
    assert found.cut("春のブログは花を見る記")[1] == 0
    assert found.cut("春のブログはロを見る記")[1] == 1


def test_a_short_page_can_be_all_footer_and_an_empty_line_is_none(tmp_path: Path) -> None:
    found = footer(tmp_path, "巣箱")
    assert found.cut("巣箱\n\n空は青い。") == ("", 3)
    assert found.cut("\n\n") == ("\n\n", 0)


def test_limits_are_the_run_files(tmp_path: Path) -> None:
    found = footer(tmp_path, "卵", num_lines=1, max_keyword_ratio=0.5)
    assert found.cut("卵\n空")[1] == 0
    assert found.cut("空\n卵卵空空")[1] == 0
    assert found.cut("空\n卵卵卵空空")[1] == 1


@pytest.mark.parametrize(
    "line",
    [
        "Copyright © 2024 ひばり出版 All Rights Reserved.",
        "プライバシーポリシー | 利用規約 | 会社概要 | お問い合わせ",
        "当サイトの文章・画像の無断転載を禁じます",
        "ツイートする シェアする はてなブックマーク",
        "前の記事 次の記事",
        "ページの先頭へ",
    ],
)
def test_the_shipped_keywords_find_footers(line: str) -> None:
    assert Footer(FooterConfig()).cut(f"{BODY}\n{line}") == (BODY, 1)


@pytest.mark.parametrize(
    "line",
    [
        "3.2. ログイン",
        "「次のページ」ボタンを押すと、続きが表示されます。",
        "利用規約をよく読み、同意できないときは使用をやめてください。",
        "検索の結果は、上から順に並んでいます。",
        "春になると、雲雀は空高く昇って鳴く。",
    ],
)
def test_the_shipped_keywords_leave_sentences_alone(line: str) -> None:
    text = f"{BODY}\n{line}"
    assert Footer(FooterConfig()).cut(text) == (text, 0)


def test_without_keywords_nothing_is_cut() -> None:
    assert Footer(FooterConfig(files=())).cut("Copyright") == ("Copyright", 0)
