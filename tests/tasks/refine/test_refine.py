"""A document's way through refinement: the order of the steps, what is counted, and what profiles switch on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from storage.ledger import Rule
from tasks.refine.boilerplate import add_up, count_lines
from tasks.refine.config import RefineConfig
from tasks.refine.refine import COUNTS, Refiner

BODY = "\n".join(f"{number}番目の巣では，雲雀の雛が{number + 2}羽育った．" for number in range(20))
MENDED = BODY.replace("，", "、").replace("．", "。")
NOTICE = "この頁にある文章と写真は，雲雀観察会の会員が撮影し，執筆したものです．"
FOOTER = "お問い合わせ\n丘の上の小屋まで．"


def row(text: str, host: str | None = "hibari.example", url: str = "https://hibari.example/") -> dict[str, Any]:
    return {"id": b"0" * 16, "host": host, "url": url, "text": text}


def refiner(config: dict[str, Any] | None = None) -> Refiner:
    """A refiner for which NOTICE is boilerplate of hibari.example."""
    keys = add_up(count_lines([("hibari.example", NOTICE)], 20))["key"]
    return Refiner(RefineConfig.model_validate(config or {}), keys)


def test_a_document_is_cut_mended_and_masked_and_all_of_it_counted() -> None:
    text = f"{NOTICE}\n{BODY}\n便りは suzu@hibari.example.jp まで．\n{FOOTER}"
    refined = refiner().refine(row(text))
    assert (refined.rule, refined.text) == (None, f"{MENDED}\n便りは <メールアドレス> まで。")
    assert refined.counts == {
        "boilerplate_lines": 1,
        "boilerplate_characters": len(NOTICE) + 1,
        "punctuation_marks": 42,  # those of the footer too, and none of what was cut before
        "footer_lines": 2,
        "footer_characters": len(FOOTER) + 1,
        "masked_emails": 1,
    }
    assert set(refined.counts) <= set(COUNTS)


def test_an_untouched_document_is_the_same_and_counts_nothing() -> None:
    refined = refiner().refine(row(MENDED, host=None))
    assert (refined.text, refined.rule, refined.counts, refined.hits) == (MENDED, None, {}, [])


def test_a_blocked_host_comes_first() -> None:
    refined = refiner().refine(row(f"{NOTICE}\n{BODY}", host="egg.5ch.net"))
    assert (refined.rule, refined.blocked_by, refined.counts) == (Rule.BLOCKED_HOST, "*.5ch.net", {})


@pytest.mark.parametrize(("left", "rule"), [(200, None), (199, Rule.EMPTIED)])
def test_a_document_of_which_too_little_is_left_is_dropped(left: int, rule: Rule | None) -> None:
    refined = refiner().refine(row("雲" * left + f"\n{NOTICE}"))
    assert refined.rule == rule
    if rule:
        assert (refined.value, refined.threshold) == (left, 200)
        assert refined.counts["boilerplate_lines"] == 1


def test_a_short_document_that_was_not_cut_stays() -> None:
    assert refiner().refine(row("雲雀。")).rule is None
    assert refiner().refine(row(" \n")).rule == Rule.EMPTIED


def test_swallow_v1_does_what_the_recipe_has_and_nothing_else() -> None:
    text = f"{NOTICE}\n{BODY}\nsuzu@hibari.example.jp\n{FOOTER}"
    refined = refiner({"profile": "swallow-v1"}).refine(row(text, host="other.example"))
    kept = f"{NOTICE}\n{BODY}".replace("，", "、").replace("．", "。")
    assert refined.text == f"{kept}\nsuzu@hibari.example.jp"
    assert set(refined.counts) == {"punctuation_marks", "footer_lines", "footer_characters"}
    emptied = refiner({"profile": "swallow-v1"}).refine(row("お問い合わせ"))
    assert (emptied.rule, emptied.value, emptied.threshold) == (Rule.EMPTIED, 0, 1)


def test_a_profile_lies_beneath_what_is_set() -> None:
    config = RefineConfig.model_validate(
        {"profile": "swallow-v1", "hosts": {"files": []}, "pii": {"email": True}, "footer": {"num_lines": 5}}
    )
    assert (config.hosts.files, config.hosts.patterns) == ((), ("*.5ch.net", "*wikipedia.org"))
    assert (config.pii.email, config.pii.phone, config.boilerplate.enabled) == (True, False, False)
    assert (config.footer.num_lines, config.footer.max_keyword_ratio) == (5, 0.3)
    assert RefineConfig.model_validate(config.model_dump(mode="json")) == config
    with pytest.raises(ValidationError, match="profile"):
        RefineConfig(profile="swallow-v9")


def benchmark(tmp_path: Path, action: str) -> dict[str, Any]:
    (tmp_path / "quiz.txt").write_text(
        "春の野原で空高く昇りながら長くさえずる茶色い小鳥の名前は何でしょうか。\n", encoding="utf-8"
    )
    named = {"name": "quiz", "files": [f"{tmp_path}/quiz.txt"]}
    return {"decontamination": {"benchmarks": [named], "action": action}}


@pytest.mark.parametrize(("action", "rule"), [("drop", Rule.CONTAMINATED), ("mark", None)])
def test_a_benchmarks_item_is_found_and_the_document_dropped_or_marked(
    tmp_path: Path, action: str, rule: Rule | None
) -> None:
    found = refiner(benchmark(tmp_path, action))
    item = "春の野原で空高く昇りながら、長くさえずる茶色い小鳥の名前は何でしょうか？"
    refined = found.refine(row(f"{MENDED}\n{item}"))
    assert (refined.rule, [hit.benchmark for hit in refined.hits]) == (rule, ["quiz"])
    if rule:
        assert (refined.value or 0) >= (refined.threshold or 1)
    assert found.refine(row(MENDED)).hits == []


def test_without_boilerplate_lines_nothing_of_the_kind_is_cut() -> None:
    refined = Refiner(RefineConfig(), np.empty(0, np.uint64)).refine(row(f"{NOTICE}\n{BODY}"))
    assert "boilerplate_lines" not in refined.counts


OFF = {
    "hosts": {"files": [], "patterns": []},
    "japanese_punctuation": False,
    "footer": {"files": []},
    "pii": {"enabled": False},
}


@pytest.mark.parametrize(
    "part",
    [
        {"hosts": {"files": [], "patterns": ["*.jp"]}},
        {"japanese_punctuation": True},
        {"footer": {}},
        {"pii": {"enabled": True}},
    ],
)
def test_a_refiner_is_active_where_any_part_of_it_can_change_a_text(part: dict[str, Any]) -> None:
    """Documents of an inactive one are written without being looked at."""
    assert not Refiner(RefineConfig.model_validate(OFF)).is_active
    assert Refiner(RefineConfig.model_validate(OFF | part)).is_active
    assert refiner(OFF).is_active, "it knows lines of boilerplate"
