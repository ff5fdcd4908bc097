"""A text that only repeats itself is cut where it begins to, whatever the pieces it came in."""

from __future__ import annotations

import pytest

from tasks.evaluate.loops import loop_end


def test_a_short_phrase_ends_the_text_after_48_characters_of_it() -> None:
    assert loop_end("東京です。" + "はい" * 40) == 5 + 48
    assert loop_end("0" * 100) == 48


def test_a_long_phrase_ends_it_at_its_third_time() -> None:
    sentence = "雲雀は朝の空に高く昇り、麦畑の上でいつまでも鳴いている。"
    assert len(sentence) == 28
    assert loop_end("答え：" + sentence * 5) == 3 + 3 * 28


def test_what_is_over_before_it_is_long_or_varies_is_no_loop() -> None:
    assert loop_end("ははは" * 15) is None  # 45 characters
    assert loop_end("1+1=2、2+2=4、3+3=6、4+4=8、5+5=10、6+6=12、7+7=14、8+8=16、9+9=18") is None
    assert loop_end("") is None
    phrase = "春夏秋冬東西南北" * 8  # 64 characters, itself a phrase of 8
    assert loop_end(phrase[:47]) is None


@pytest.mark.parametrize("size", [1, 2, 3, 7, 200])
def test_it_is_found_at_the_same_place_in_pieces_of_any_size(size: int) -> None:
    text = "大阪、神戸、奈良。" + "また明日、" * 30
    known = 0
    for end in range(size, len(text) + size, size):
        found = loop_end(text[:end], known)
        if found is not None:
            break
        known = min(end, len(text))
    assert found == loop_end(text) == 9 + 48
