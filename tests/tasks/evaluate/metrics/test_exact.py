from __future__ import annotations

from tasks.evaluate.metrics.exact import exact_match, harness_exact_match
from tasks.evaluate.metrics.normalise import encodable, first_line, for_c_library, nfkc


def test_width_and_composition_do_not_count() -> None:
    assert nfkc("１９８９年 ｗｅｂ ㈱ ﾊﾝｶｸ か\u3099") == "1989年 web (株) ハンカク が"
    assert exact_match("ﾅｺﾞﾔ１号", ["名古屋", "ナゴヤ1号"]) == 1.0


def test_white_space_around_an_answer_counts_for_the_harness_alone() -> None:
    assert exact_match("\u3000はい\n", ["はい"]) == 1.0
    assert harness_exact_match(" はい", "はい") == 0.0
    assert harness_exact_match("１", "1") == 1.0


def test_what_is_near_is_wrong() -> None:
    assert exact_match("東京", ["東京都", "TOKYO"]) == 0.0
    assert exact_match("tokyo", ["TOKYO"]) == 0.0
    assert exact_match("", ["東京"]) == 0.0
    assert exact_match("東京", []) == 0.0


def test_the_first_line_is_taken_as_it_is() -> None:
    assert first_line(" 札幌 \n質問：") == " 札幌 "
    assert first_line("\n札幌") == ""
    assert first_line("") == ""


def test_c_libraries_get_no_nul_and_no_half_characters() -> None:
    assert for_c_library("東\x00京\ud83d") == "東 京\ufffd"
    assert encodable("a\udfffb😀\x00") == "a\ufffdb😀\x00"
