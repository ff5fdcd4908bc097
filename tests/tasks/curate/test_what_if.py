"""Breaks when a what-if decides otherwise than curation would, row by row, or shows an unfair draw."""

from __future__ import annotations

import random
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from storage.documents import document_id, write_parquet
from storage.ledger import LedgerRow, Rule, write_full
from storage.tombstones import Tombstones
from tasks.curate.config import CurateConfig
from tasks.curate.metrics import Metrics
from tasks.curate.output import METRICS, METRICS_SCHEMA
from tasks.curate.proposal import propose
from tasks.curate.quality_config import QualityConfig
from tasks.curate.rules import QUALITY_RULES, decide
from tasks.curate.what_if import Trial, count_let_in, decided_by, refusals, try_config

CONFIG = CurateConfig(sources=["a.warc.gz"])
SWALLOW = CurateConfig(sources=["a.warc.gz"], profile="swallow-v1")


def made_up(seed: int) -> Metrics:
    """Metrics around the thresholds: most rules pass, each fails now and then, some are met exactly."""
    rng = random.Random(seed)
    values: dict[str, Any] = {}
    for field in fields(Metrics):
        thresholds = [float(rule.threshold_in(CONFIG.quality)) for rule in QUALITY_RULES if rule.metric == field.name]
        bounds = [rule.bound for rule in QUALITY_RULES if rule.metric == field.name]
        threshold, is_least = (thresholds[0], bounds[0] == "min") if thresholds else (1.0, True)
        good, bad = (2.0, 0.5) if is_least else (0.5, 1.5)
        value = threshold * rng.choices([good, 1.0, bad], [30, 1, 1])[0]
        values[field.name] = round(value) if "int" in str(field.type) else value
    if "quality_score" in values and seed % 2:
        values["quality_score"] = None
    return Metrics(**values)


def columns(rows: list[Metrics]) -> dict[str, np.ndarray]:
    batch = pa.RecordBatch.from_pylist([{name: getattr(row, name) for name in METRICS} for row in rows])
    return {name: batch.column(name).to_numpy(zero_copy_only=False) for name in METRICS}


@pytest.mark.parametrize(
    "quality",
    [CONFIG.quality, SWALLOW.quality, QualityConfig(min_quality_score=0.5), QualityConfig(max_sentence_length=100)],
    ids=["hibari", "swallow", "score", "short"],
)
def test_columns_are_decided_as_rows_are(quality: QualityConfig) -> None:
    rows = [made_up(seed) for seed in range(400)]
    expected = [decide(row, quality).rule for row in rows]
    assert decided_by(refusals(columns(rows), quality)).tolist() == expected
    assert len(set(expected)) > 15, "the rows must fail by many rules, and some by none"
    assert Rule.KEPT in expected


def write_metrics(folder: Path, shard: str, rows: list[Metrics], **more: list[Any]) -> str:
    """A shard's metrics as curate stores them, under the config of these tests."""
    table = [{name: getattr(row, name) for name in METRICS} for row in rows]
    for number, row in enumerate(table):
        row |= {"id": document_id(shard, number), "offset": number, "url": f"https://{shard}.example.jp/{number}"}
        row |= {"rule": int(decide(rows[number], CONFIG.quality).rule), "language_score": 0.9}
        row |= {name: column[number] for name, column in more.items()}
    batch = pa.RecordBatch.from_pylist(table, METRICS_SCHEMA)
    write_parquet(str(folder), f"{shard}.parquet", [batch], METRICS_SCHEMA)
    return str(folder / f"{shard}.parquet")


def trial(files: dict[str, str], *settings: str, tombstones: Tombstones | None = None, **draw: Any) -> Trial:
    new, _ = propose(CONFIG, settings)
    return try_config(files, CONFIG, new, tombstones or Tombstones(), **draw)


def test_what_changes_is_counted_by_rule_and_host(tmp_path: Path) -> None:
    good = next(row for row in map(made_up, range(99)) if decide(row, CONFIG.quality).keep)
    short = replace(good, num_letters=300)
    worse = replace(short, top_2gram_fraction=0.9)
    files = {"a": write_metrics(tmp_path, "a", [good, short]), "b": write_metrics(tmp_path, "b", [short, worse])}
    found = trial(files, "min_letters=200")
    assert found.newly_kept.documents == 2
    assert found.newly_kept.characters == 600
    assert found.newly_kept.rules == {Rule.TOO_FEW_LETTERS: 2}
    assert found.newly_kept.hosts == {
        "a.example.jp": {"documents": 1, "characters": 300},
        "b.example.jp": {"documents": 1, "characters": 300},
    }
    assert found.newly_dropped.documents == 0
    assert found.otherwise == 1, "the worse page is dropped by its 2-grams then"
    assert found.before.alone[Rule.TOO_FEW_LETTERS] == 2, "two pages fail that rule only"
    assert (found.before.failing[Rule.TOO_FEW_LETTERS], found.after.failing[Rule.TOO_FEW_LETTERS]) == (3, 0)
    assert (found.before.documents[Rule.TOP_2GRAM], found.after.documents[Rule.TOP_2GRAM]) == (0, 1)
    assert found.after.characters[Rule.KEPT] == good.num_letters + 600
    assert found.disagreeing == 0
    stricter = trial(files, f"too_few_letters={good.num_letters + 1}")
    (sample,) = stricter.newly_dropped.samples
    assert (sample.shard, sample.offset, sample.refused_by) == ("a", 0, Rule.TOO_FEW_LETTERS)
    assert (sample.value, sample.old_threshold, sample.new_threshold) == (good.num_letters, 400, good.num_letters + 1)


def test_a_page_that_was_taken_down_does_not_come_back(tmp_path: Path) -> None:
    good = next(row for row in map(made_up, range(99)) if decide(row, CONFIG.quality).keep)
    rules = [int(Rule.TAKEDOWN), int(Rule.TOO_FEW_LETTERS)]
    uri = write_metrics(tmp_path, "a", [good, replace(good, num_letters=300)], rule=rules)
    down = Tombstones.of(["https://a.example.jp/0", "https://a.example.jp/1"])
    found = trial({"a": uri}, "min_letters=200", tombstones=down)
    assert found.newly_kept.documents == 0
    assert found.after.documents[Rule.TAKEDOWN] == 2
    assert found.disagreeing == 0
    assert trial({"a": uri}, "min_letters=200").newly_kept.documents == 1, "only the page on no list comes in"


def test_decisions_that_the_rules_do_not_explain_are_counted(tmp_path: Path) -> None:
    good = next(row for row in map(made_up, range(99)) if decide(row, CONFIG.quality).keep)
    uri = write_metrics(tmp_path, "a", [good, good], rule=[0, int(Rule.NG_WORDS)])
    assert trial({"a": uri}, "min_letters=200").disagreeing == 1


def test_the_language_score_is_asked_before_the_rules(tmp_path: Path) -> None:
    good = next(row for row in map(made_up, range(99)) if decide(row, CONFIG.quality).keep)
    lowest = CONFIG.language.min_score
    rows = [good, good, replace(good, num_letters=10)]
    uri = write_metrics(tmp_path, "a", rows, language_score=[lowest + 0.2, lowest + 0.05, lowest + 0.05])
    found = trial({"a": uri}, f"min_score={lowest + 0.1}")
    assert found.newly_dropped.rules == {Rule.NOT_JAPANESE: 1}
    assert found.after.documents[Rule.NOT_JAPANESE] == 2
    assert found.newly_dropped.samples[0].value == lowest + 0.05
    ledger = [LedgerRow(bytes(16), None, "curate", Rule.NOT_JAPANESE, score, lowest) for score in (0.0, 0.1, 0.2)]
    ledger.append(LedgerRow(bytes(16), None, "curate", Rule.TOO_FEW_LETTERS, 300.0, 400.0))
    write_full(str(tmp_path), "ledger.parquet", ledger)
    assert count_let_in(str(tmp_path / "ledger.parquet"), 0.3, 0.1) == 1
    assert count_let_in(str(tmp_path / "ledger.parquet"), 0.1, -1) == 2


def test_the_draw_is_fair_and_the_same_every_time(tmp_path: Path) -> None:
    good = next(row for row in map(made_up, range(99)) if decide(row, CONFIG.quality).keep)
    files = {shard: write_metrics(tmp_path, shard, [replace(good, num_letters=300)] * 10) for shard in "ab"}
    drawn = [
        [(sample.shard, sample.offset) for sample in trial(files, "min_letters=1", num=4, seed=seed).newly_kept.samples]
        for seed in range(20)
    ]
    again = trial(files, "min_letters=1", num=4, seed=0).newly_kept.samples
    assert [(sample.shard, sample.offset) for sample in again] == drawn[0]
    assert all(len(set(pages)) == 4 for pages in drawn)
    times = [sum(page in pages for pages in drawn) for page in {page for pages in drawn for page in pages}]
    assert len(times) == 20, "each page is drawn by some seed"
    assert max(times) < 14, "80 draws of 20 pages: about 4 each"


def test_settings_are_called_by_field_rule_or_path() -> None:
    for name in ("min_letters", "quality.min_letters", "curate.quality.min_letters", "too_few_letters"):
        config, (change,) = propose(CONFIG, [f"{name}=200"])
        assert config.quality.min_letters == 200
        assert (change.name, change.old, change.new) == ("quality.min_letters", 400, 200)
    config, _ = propose(SWALLOW, ["sentences=prose", "language.min_score=0.5"])
    assert config == SWALLOW.model_copy(
        update={
            "quality": SWALLOW.quality.model_copy(update={"sentences": "prose"}),
            "language": SWALLOW.language.model_copy(update={"min_score": 0.5}),
        }
    )


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("min_leters=1", "did you mean min_letters"),
        ("ng_words.files=[]", "no setting of this name"),
        ("extractor=trafilatura", "no setting of this name"),
        ("min_letters", "expected name=value"),
        ("min_letters=-1", "quality.min_letters"),
        ("sentences=verse", "quality.sentences"),
    ],
)
def test_a_setting_that_cannot_be_tried_is_refused(setting: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        propose(CONFIG, [setting])
