"""The page as a reader meets it: every section, right figures, nothing loaded, nothing lost, the same bytes again."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.plan import ALGORITHMS
from storage.artifact import Outcome, content_digest, file_entries
from storage.uri import read_bytes
from tasks.report.report import SECTIONS, build_report
from tests.tasks.report.made_up_benchmarks import write_evaluation
from tests.tasks.report.made_up_run import (
    CHARSETS,
    CURATE,
    LICENCES,
    RUN,
    STAGES,
    make_run,
    seal_stage,
    uri_of,
    write_rows,
)

VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """Collects what the tests ask: ids, references, visible text, and whether tags are balanced."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.references: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        assert self.open == [], f"never closed: {self.open}"
        self.text = re.sub(r"\s+", " ", self.text.replace("\u00a0", " "))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("src", "href", "xlink:href", "srcset", "data", "action"):
                self.references.append(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1:] == [tag], f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += f" {data}"


def build(artifacts: dict[str, str], out: Path, run: dict[str, Any] = RUN) -> tuple[Page, dict[str, Any], Outcome]:
    outcome = build_report(artifacts, run, LICENCES, out=str(out))
    facts = json.loads(read_bytes(str(out / "report.json")))
    return Page(read_bytes(str(out / "report.html")).decode()), facts, outcome


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def built(artifacts: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Page, dict[str, Any], Outcome]:
    return build(artifacts, tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def page(built: tuple[Page, dict[str, Any], Outcome]) -> Page:
    return built[0]


def test_every_section_is_there_and_linked(page: Page) -> None:
    for name, title in SECTIONS:
        assert page.ids.count(name) == 1
        assert f"#{name}" in page.references
        assert title in page.text


def test_the_page_loads_nothing(page: Page) -> None:
    assert {reference[:1] for reference in page.references} == {"#"}
    assert not page.tags & {"script", "link", "img", "iframe", "object", "embed"}
    assert set(re.findall(r'[a-z:-]+="[^"]*http', page.html)) == set()  # addresses are text, not links
    assert "@import" not in page.html
    assert set(re.findall(r"url\((.)", page.html)) <= {"#"}


def test_ids_are_unique_so_that_one_chart_never_clips_another(page: Page) -> None:
    assert len(set(page.ids)) == len(page.ids)
    used = set(re.findall(r"url\(#([^)]+)\)", page.html)) | {reference[1:] for reference in page.references}
    assert used <= set(page.ids)


def test_figures_are_those_of_the_manifests(page: Page) -> None:
    shown = [
        "Japanese: 1.704 → 1.395 bits per byte, −18.1 % against the base (−19.9 to −16.4 %).",
        "English: 1.008 → 0.985 bits per byte, −2.3 % against the base (−5.3 to +0.7 %).",
        "curate: 1,204 kept + 18,061 dropped = 19,265 read. Adds up",
        "1,100 of 1,204 documents were kept (91.4 %): 40 exact and 64 near duplicates",
        "the largest has 22 documents",
        "120 optimizer steps, 983,040 tokens in 8 min 03 s",
        "all 49,152 old rows. 1,000 rows were new",
        "shifted by −1.88 nats in the mean (−4.50 to 0.25; output_shift: frequency ), measured with the base model on "
        "4,099 tokens of 17 documents",
        "With the new logits masked, the loss was the base model's, to the bit.",
        "transformers' logits differ from the trainer's by at most 0 on a probe",
        "hibari run runs/runs/made-up.yaml --only train --force train",
        "12 min 13 s",
        "8 documents, 292 characters; fetched from 2024-03-01 to 2024-03-",
        "https://warc-00000.example.jp/page/900?q=<雲雀>",
        "120 at least 400",
        "0.31 at most 0.2",
        "WARC-00000, byte 7",
        "1,920 of 1,920 samples planned, 15,360 tokens",
        "the trained model needs fewer bits than the base for 2 of 4 documents, more for 2",
        "train took 2",
        "Made-up 9000, 16 cores",
        "Made-up H900",
        "dp 2, pp 1, ranks 2, tp 1",
        "CC-BY-4.0 stated by the run file the larks",
        "apache-2.0 stated by README.md",
    ]
    missing = [text for text in shown if text not in page.text]
    assert not missing


def test_japanese_survives(built: tuple[Page, dict[str, Any], Outcome]) -> None:
    page, facts, _ = built
    assert '<meta charset="utf-8">' in page.html
    assert "雲雀" in page.html
    assert "雲雀" in [piece["text"] for piece in facts["tokenizer"]["most_useful"]]
    assert "\ufffd" not in page.html


def test_the_same_artifacts_give_the_same_bytes(
    artifacts: dict[str, str], built: tuple[Page, dict[str, Any], Outcome], tmp_path: Path
) -> None:
    _, _, again = build(artifacts, tmp_path)
    assert again == built[2]
    assert [file.path for file in again.files] == ["report.html", "report.json"]
    assert again.counts == {"stages": 9}


def test_golden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where this fails, the page changed: raise the report's algorithm version, and put the new digest here."""
    monkeypatch.chdir(tmp_path)  # places are on the page
    outcome = build_report(make_run(Path("runs"), num_steps=40), RUN, LICENCES, out="report")
    assert (ALGORITHMS["report"][0], content_digest(outcome.files)[:16]) == ("6", "599beafa4f73f753")


def test_text_out_of_data_is_escaped(tmp_path: Path) -> None:
    counts = {**CURATE, "dropped_<b>bold</b>": 0}
    outcome = Outcome(counts=counts, details={"charsets": {"<script>alert(1)</script>": CHARSETS["cp932"]}})
    artifacts = {"curate": seal_stage(tmp_path, "curate", outcome)}
    page, _, _ = build(artifacts, tmp_path / "out", {**RUN, "name": "a & b <i>", "note": "</pre><script>"})
    assert "script" not in page.tags
    for text in ("a & b <i>", "</pre><script>", "<b>bold</b>", "<script>alert(1)</script>"):
        assert text in page.text


def test_benchmarks_stand_beside_held_out_text_and_probe(tmp_path: Path) -> None:
    """Averages in the summary, the authors' tables and examples in the scores; all of it in report.json."""
    artifacts = {"evaluate": uri_of(tmp_path, "evaluate")}
    write_evaluation(Path(artifacts["evaluate"]), profiles=("strict",))
    own = {"model": "base", "task": "bits_per_byte", "metric": "bits_per_byte", "unit": "bits/byte", "language": "ja"}
    own |= {"category": None, "n": 9, "value": 1.7, "ci_low": 1.6, "ci_high": 1.8, "kind": "bits", "subset": "all"}
    scores = Path(artifacts["evaluate"]) / "scores.jsonl"
    scores.write_text(scores.read_text() + json.dumps(own) + "\n")
    paths = sorted(str(path.relative_to(scores.parent)) for path in scores.parent.rglob("*.json*"))
    seal_stage(tmp_path, "evaluate", Outcome(files=file_entries(artifacts["evaluate"], paths)))
    page, facts, outcome = build(artifacts, tmp_path / "out")
    for text in ("Japanese average (strict): 32.0 → 39.4 %", "Japanese, profile strict", "48.1", "札幌市", "1.700"):
        assert text in page.text, text
    assert [measure["metric"] for measure in facts["scores"]["measures"]] == ["bits_per_byte"], (
        "no benchmark among them"
    )
    assert facts["scores"]["models"] == ["base", "initialized", "trained"]
    assert len(page.ids) == len(set(page.ids))
    assert not page.tags & {"script", "link", "img"}
    assert {table["name"] for table in facts["benchmarks"]["tables"]} >= {"averages", "scores-strict-ja", "tasks"}
    assert outcome.details["summary"][-1].startswith("English average (strict): 37.5 → 30.5")


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_that_counted_nothing_is_dashes(stage: str, tmp_path: Path) -> None:
    page, facts, _ = build({stage: seal_stage(tmp_path, stage, Outcome())}, tmp_path / "out")
    assert "–" in page.text
    assert "None" not in page.text
    assert [row["stage"] for row in facts["stages"]["rows"] if row["fingerprint"]] == [stage]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_that_is_not_there_is_dashes(stage: str, artifacts: dict[str, str], tmp_path: Path) -> None:
    drawn = {"train", "evaluate"}  # their charts take the time
    there = {name: uri for name, uri in artifacts.items() if name != stage and (stage in drawn or name not in drawn)}
    gone = {stage: str(tmp_path / "nothing")}
    page, facts, outcome = build({**there, **gone}, tmp_path / "out")
    assert outcome.counts == {"stages": len(there)}
    assert "None" not in page.text
    assert next(row for row in facts["stages"]["rows"] if row["stage"] == stage)["fingerprint"] is None


def test_no_artifact_at_all_is_still_a_page(tmp_path: Path) -> None:
    page, _, outcome = build({}, tmp_path, {})
    assert outcome.counts == {"stages": 0}
    assert [name for name, _ in SECTIONS if name not in page.ids] == []
    assert "None" not in page.text


def test_the_run_file_on_the_page_is_the_run_file(tmp_path: Path) -> None:
    run = {**RUN, "note": "雲雀: & <yaml>"}
    page, facts, _ = build({}, tmp_path, run)
    assert yaml.safe_load(facts["run_file"]) == run
    assert "雲雀: & <yaml>" in page.text


def test_nothing_is_called_proven_that_was_not_compared(tmp_path: Path) -> None:
    checks = {"base_vocab": 8, "vocab": 10, "tolerance": 0.0, "languages": {}}
    files = [write_rows(tmp_path, "train", "start_checks.json", [checks])]
    page, _, _ = build({"train": seal_stage(tmp_path, "train", Outcome(files))}, tmp_path / "out")
    assert "all 8 old rows. 2 rows were new" in page.text
    assert "to the bit" not in page.text
    assert "no text was given to compare on" in page.text
