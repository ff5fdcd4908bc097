"""The funnel subtracts to what is kept, says so when it does not, and explains every rule there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.artifact import Outcome
from storage.ledger import Rule
from tasks.report.artifacts import RunArtifacts
from tasks.report.corpus import COPIES, OTHER, RULES, STEPS, TAKEN_DOWN, funnel
from tests.tasks.report.made_up_run import CURATE, DEDUPLICATE, seal_stage


def read(root: Path, curate: dict[str, int] | None = None) -> RunArtifacts:
    uris = {
        "curate": seal_stage(root, "curate", Outcome(counts=CURATE if curate is None else curate)),
        "deduplicate": seal_stage(root, "deduplicate", Outcome(counts=DEDUPLICATE)),
    }
    return RunArtifacts.read(uris)


def test_every_rule_is_explained_and_belongs_to_one_step() -> None:
    rules = set(Rule) - {Rule.KEPT}
    assert set(RULES) == rules
    for rule in rules:
        assert sum(rule in step.numbers for step in (*STEPS, COPIES, TAKEN_DOWN)) == 1, rule


def test_the_last_step_is_what_the_stage_kept(tmp_path: Path) -> None:
    steps = funnel(read(tmp_path))["steps"]
    assert [step["remaining"] for step in steps] == [19_265, 18_842, 3_942, 3_904, 2_704, 1_204, 1_100]
    assert [step["dropped"] for step in steps] == [None, 423, 14_900, 38, 1_200, 1_500, 104]
    assert steps[-1]["share"] == pytest.approx(1_100 / 19_265)


def test_rules_come_in_the_order_in_which_they_are_asked(tmp_path: Path) -> None:
    counts = CURATE | {"dropped_too_little_prose": 1, "dropped_sentences_too_short": 1}
    names = [rule["rule"] for rule in funnel(read(tmp_path, counts))["rules"]]
    assert names.index("top_2gram") < names.index("too_little_hiragana") < names.index("exact_duplicate")
    assert names.index("too_little_prose") < names.index("sentences_too_short")  # not in the order of their numbers
    assert names[0] == "torn_member"


def test_it_is_said_whether_the_counts_add_up(tmp_path: Path) -> None:
    assert [check["holds"] for check in funnel(read(tmp_path / "a"))["checks"]] == [True, True]
    lost_one = {**CURATE, "dropped_not_html": CURATE["dropped_not_html"] - 1}
    assert [check["holds"] for check in funnel(read(tmp_path / "b", lost_one))["checks"]] == [False, True]
    unread = {**CURATE, "records": CURATE["records"] + 1}
    assert [check["holds"] for check in funnel(read(tmp_path / "c", unread))["checks"]] == [False, True]
    assert [check["holds"] for check in funnel(read(tmp_path / "d", {}))["checks"]] == [None, True]


def test_what_refinement_dropped_is_among_what_deduplicate_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refined = {"dropped_blocked_host": 2, "dropped_emptied": 1, "dropped_contaminated": 0}
    fewer = {"kept": DEDUPLICATE["kept"] - 3, "dropped": DEDUPLICATE["dropped"] + 3}
    monkeypatch.setattr(f"{__name__}.DEDUPLICATE", DEDUPLICATE | refined | fewer)
    facts = funnel(read(tmp_path))
    assert facts["checks"][1]["holds"] is True
    assert [(rule["rule"], rule["dropped"]) for rule in facts["rules"][-2:]] == [("blocked_host", 2), ("emptied", 1)]


def test_documents_of_one_url_are_copies_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fewer = {"kept": DEDUPLICATE["kept"] - 5, "dropped": DEDUPLICATE["dropped"] + 5}
    monkeypatch.setattr(f"{__name__}.DEDUPLICATE", DEDUPLICATE | {"same_url": 5} | fewer)
    facts = funnel(read(tmp_path))
    assert facts["checks"][1]["holds"] is True
    assert [rule["rule"] for rule in facts["rules"][-3:]] == ["same_url", "exact_duplicate", "near_duplicate"]


def test_a_rule_that_the_page_does_not_know_still_counts(tmp_path: Path) -> None:
    counts = {**CURATE, "dropped_from_the_future": 10, "dropped": 18_071, "records": 19_275}
    facts = funnel(read(tmp_path, counts))
    assert facts["checks"][0]["holds"] is True
    assert next(step for step in facts["steps"] if step["reason"] == OTHER.reason)["dropped"] == 10
    assert facts["rules"][-3]["rule"] == "from_the_future"
