"""The section on duplicates says what deduplication counted, and leaves out what an old manifest does not hold."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from markupsafe import escape

from storage.artifact import Outcome
from tasks.report.artifacts import RunArtifacts
from tasks.report.duplicates import MAX_MATRIX_CRAWLS, duplicates
from tasks.report.report import gather, render
from tests.tasks.report.made_up_duplicates import CRAWLS, DUPLICATES
from tests.tasks.report.made_up_run import DEDUPLICATE, seal_stage

LITERALS = {"ngram": 5, "bands": 40, "rows": 20}


def read(
    root: Path, details: dict[str, Any], counts: dict[str, int] = DEDUPLICATE, literals: dict[str, Any] = LITERALS
) -> RunArtifacts:
    outcome = Outcome(counts=counts, details=details)
    return RunArtifacts.read({"deduplicate": seal_stage(root, "deduplicate", outcome, literals=literals)})


def section(made: RunArtifacts) -> str:
    """The section as HTML."""
    page = render(gather(made, {}, ()))
    return page[page.index('<section id="duplicates">') : page.index('<section id="tokenizer">')]


def words(html: str) -> str:
    """What one reads of it."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).split())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> RunArtifacts:
    return read(tmp_path_factory.mktemp("run"), DUPLICATES)


@pytest.fixture(scope="module")
def html(made: RunArtifacts) -> str:
    return section(made)


def test_cluster_sizes_are_grouped_and_all_documents_are_in_them(tmp_path: Path) -> None:
    sizes = {"1": 1_048, "2": 40, "3": 9, "7": 2, "9": 1, "22": 1, "150": 1, "20000": 2}
    facts = duplicates(read(tmp_path, {"cluster_sizes": sizes}))
    rows = {row["size"]: (row["clusters"], row["documents"], row["dropped"]) for row in facts["sizes"]}
    assert rows["5 to 9"] == (3, 23, 20)
    assert rows["20 to 49"] == (1, 22, 21)
    assert rows["100 to 999"] == (1, 150, 149)
    assert rows["10,000 or more"] == (2, 40_000, 39_998)
    assert sum(documents for _, documents, _ in rows.values()) == 1_048 + 80 + 27 + 23 + 22 + 150 + 40_000
    assert sum(row["share"] for row in facts["sizes"]) == pytest.approx(1)
    assert facts["largest"] == 20_000


def test_levels_lead_from_all_documents_to_the_corpus(tmp_path: Path) -> None:
    assert [row["remaining"] for row in duplicates(read(tmp_path / "a", {}))["levels"]] == [1_204, 1_164, 1_100]
    more = {"same_url": 4, "dropped_blocked_host": 2, "dropped_emptied": 1, "kept": 1_093, "dropped": 111}
    facts = duplicates(read(tmp_path / "b", {}, DEDUPLICATE | more))
    assert [row["dropped"] for row in facts["levels"]] == [None, 4, 40, 64, 3]
    assert [row["remaining"] for row in facts["levels"]] == [1_204, 1_200, 1_160, 1_096, 1_093]
    assert facts["levels"][-1]["remaining"] == facts["kept"]


def test_the_page_has_the_figures_of_the_manifest(html: str) -> None:
    shown = [
        "what is left dropped here left of all",
        "with a text of their own 40 1,164 96.7 %",
        "of which no near-duplicate is kept 64 1,100 91.4 %",
        "the largest has 22 documents",
        "5 to 9 2 14 12",
        "These 2 clusters hold 26.0 % of all copies",  # (21 + 6) / 104
        "22 documents tsubame.example.jp tsubameの案内です。<電話番号> までご連絡ください。",
        "dropped: near duplicate, Jaccard similarity 0.914; CC-MAIN-2023-50",
        "dropped: exact duplicate; CC-MAIN-2024-10",
        "https://suzume.example.jp/<guide>",
        "hiwa.example.jp 90 60 66.7 % 45 15",
        "no host 40 10 25.0 % 10 0",
        "suzume.example.jp tsubame.example.jp 13",
        "Of 28.8 % of the copies, what is kept is of the same crawl",  # 30 / 104
        "40 bands of 20 hashes find one in two of the pairs whose Jaccard similarity is 0.82",
        "The points are 800 planted pairs of known similarity",
    ]
    text = words(html)
    assert not [part for part in shown if part not in text]
    assert "None" not in text


def test_crawls_are_a_matrix_newest_first(made: RunArtifacts, html: str) -> None:
    crawls = duplicates(made)["crawls"]
    assert crawls["names"] == list(CRAWLS)
    cells = {row["crawl"]: [cell["documents"] for cell in row["cells"]] for row in crawls["matrix"]}
    assert [row["cells"][0]["heat"] for row in crawls["matrix"]] == pytest.approx(
        [(30 / 64) ** 0.5, 1, (10 / 64) ** 0.5]
    )
    assert cells == {CRAWLS[0]: [30, 0, 0], CRAWLS[1]: [64, 0, 0], CRAWLS[2]: [10, 0, 0]}
    assert "crawl of the copy 2024-10 2023-50 unknown 2024-10 30 2023-50 64 unknown 10" in words(html)


def test_of_many_crawls_the_pairs_with_most_copies_are_listed(tmp_path: Path) -> None:
    names = [f"CC-MAIN-2024-{week:02}" for week in range(10, 11 + MAX_MATRIX_CRAWLS)]
    pairs = [{"dropped_crawl": name, "survivor_crawl": names[-1], "documents": 100 - n} for n, name in enumerate(names)]
    made = read(tmp_path, {"crawl_pairs": pairs}, DEDUPLICATE | {"near_duplicates": 2_000 - 40})
    facts = duplicates(made)["crawls"]
    assert facts["matrix"] == []
    assert facts["within"] is None  # not all pairs are known
    text = words(section(made))
    assert "crawl of the copy crawl of what is kept copies of all CC-MAIN-2024-10 CC-MAIN-2024-22 100 5.0 %" in text
    assert "is of the same crawl" not in text


def test_one_crawl_needs_no_table(tmp_path: Path) -> None:
    for name, says in ((CRAWLS[0], "All copies lie within one crawl, CC-MAIN-2024-10."), ("unknown", "name no crawl.")):
        pairs = [{"dropped_crawl": name, "survivor_crawl": name, "documents": 7}]
        text = words(section(read(tmp_path / name, {"crawl_pairs": pairs})))
        assert says in text
        assert "crawl of the copy" not in text


def test_the_s_curve_is_that_of_the_settings_and_says_how_far_off_the_points_are(made: RunArtifacts) -> None:
    facts = duplicates(made)["s_curve"]
    curve = dict(facts["curve"])
    assert curve[0.8] == pytest.approx(1 - (1 - 0.8**20) ** 40)
    assert (curve[0.0], curve[1.0]) == (0, 1)
    assert facts["middle"] == pytest.approx(0.816, abs=1e-3)
    assert 1 - (1 - facts["middle"] ** 20) ** 40 == pytest.approx(0.5)
    # At 0.91 and 0.98 hardly a pair is expected to be missed: a standard error says nothing there.
    distances = [
        abs(point["observed"] - point["theory"]) / point["standard_error"] for point in DUPLICATES["s_curve"][:2]
    ]
    assert facts["farthest"] == pytest.approx(max(distances))
    assert facts["pairs"] == 800


def test_verification_is_said(tmp_path: Path, html: str) -> None:
    verify = {"enabled": True, "min_jaccard": 0.75}
    verified = section(read(tmp_path, DUPLICATES, literals=LITERALS | {"verify": verify}))
    assert "whose texts have a similarity below 0.75 do not count as copies" in words(verified)
    assert "do not count as copies" not in html


def test_a_corpus_that_adds_onto_another_says_what_changed(tmp_path: Path, html: str) -> None:
    added = {"documents_added": 300, "returned": 1, "superseded": 25}
    one = {"generations": {"earlier": ["mini-0123456789ab"], **added}}
    text = words(section(read(tmp_path / "a", DUPLICATES | one)))
    assert "300 documents were added onto an earlier corpus, whose texts were not signed again." in text
    assert "25 of its documents are no longer kept, and 1 that it had dropped is kept again" in text
    three = {"generations": {"earlier": ["a-0", "b-1", "c-2"], **added}}
    assert "onto a corpus of 3 generations" in section(read(tmp_path / "b", DUPLICATES | three))
    assert "added onto" not in html


def test_a_manifest_of_an_older_version_shows_what_it_has(tmp_path: Path) -> None:
    old = read(tmp_path, {"scheme": "old", "cluster_sizes": {"1": 1_048, "2": 40}})
    html = section(old)
    assert "documents in cluster" in html
    for title in ("Largest clusters", "Hosts with most copies", "Copies between crawls"):
        assert title not in html
        assert title in section(read(tmp_path / "new", DUPLICATES))
    assert "None" not in words(html)
    assert "planted pairs" not in html  # the curve of the settings alone


def test_without_deduplicate_there_are_only_dashes() -> None:
    html = section(RunArtifacts.read({}))
    assert "<svg" not in html
    assert "– of – documents were kept" in html


def test_text_out_of_pages_is_escaped(tmp_path: Path) -> None:
    evil = "<script>alert('雲雀')</script>"
    cluster = DUPLICATES["largest_clusters"][0]
    survivor = cluster["survivor"] | {"url": evil, "host": evil, "excerpt": evil}
    html = section(read(tmp_path, DUPLICATES | {"largest_clusters": [cluster | {"survivor": survivor}]}))
    assert "<script" not in html
    assert html.count(str(escape(evil))) == 4  # in the summary the host and the beginning, below the URL and all of it
