"""Punctuation: which documents are changed, and which marks in them; as the released swallow-corpus code does."""

from __future__ import annotations

import pytest

from tasks.refine.punctuation import to_japanese


@pytest.mark.parametrize(
    ("text", "mended"),
    [
        ("朝は，霧が出た．昼は，晴れた．", "朝は、霧が出た。昼は、晴れた。"),
        # Commas and full stops are decided apart.
        ("朝は，霧が出た。", "朝は、霧が出た。"),
        ("朝は、霧が出た．", "朝は、霧が出た。"),
        # Runs stay as long as they were, and count once.
        ("さて，，，どうする．．．", "さて、、、どうする。。。"),
        # After full-width letters and digits a mark is part of a number or a name.
        ("高さは，約３．５メートル，幅は，２．１メートルだ．", "高さは、約３．５メートル、幅は、２．１メートルだ。"),
        ("はい，Ａ，Ｂ，と，答えた，", "はい、Ａ，Ｂ，と、答えた、"),
        ("彼は（笑），そう言った．", "彼は（笑）、そう言った。"),
        # After anything else it is replaced in a document that is mended, whatever that is.
        ("春は，夏は，abc，秋\n，冬", "春は、夏は、abc、秋\n、冬"),
    ],
)
def test_western_marks_become_japanese_where_they_are_more(text: str, mended: str) -> None:
    changed = sum(before != after for before, after in zip(text, mended, strict=True))
    assert to_japanese(text) == (mended, changed)


@pytest.mark.parametrize(
    "text",
    [
        "朝は，霧が出て、昼は晴れた。",  # as many of one as of the other
        "朝は，霧、昼は、晴れ。",
        "Ｈｉ，と言って手を振った。",  # the only one follows a full-width letter
        "値は３．１４である。",
        "英語は a，b，c のように書く、という。",  # only marks after Japanese characters are counted
        "サーバー，ルーター，等",  # ー is none of them, as in the released code
        "𠮷，𠮷，",  # nor are kanji beyond the Basic Multilingual Plane
        "ＡＢＣ，ａｂｃ．",
        "１２３ｶﾅ①㈱",  # nothing is folded
        "",
    ],
)
def test_other_documents_are_left_as_they_are(text: str) -> None:
    assert to_japanese(text) == (text, 0)


def test_quirks_of_the_released_code_are_kept() -> None:
    """Of a run after a full-width letter only the first stays; a run at the very start stays, and one after ^."""
    assert to_japanese("，春は，夏は，Ａ，，秋^，") == ("，春は、夏は、Ａ，、秋^，", 3)
