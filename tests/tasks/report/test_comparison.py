"""The comparison as a reader meets it: the right figures in the right cells, the best marked, the same bytes again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from storage.artifact import Outcome
from tasks.report.artifacts import RunArtifacts
from tasks.report.comparison import VariantRun, build_comparison, gather
from tasks.report.comparison_charts import draw_checkpoints, short_count
from tasks.report.comparison_markdown import setting
from tests.tasks.report.made_up_benchmarks import score_rows
from tests.tasks.report.made_up_run import RUN, STAGES, make_run, seal_stage, write_rows
from tests.tasks.report.test_report import Page

Scores = dict[str, tuple[float, ...]]

LARGE: Scores = {"base": (1.704, 1.008, 0.30, 0.60), "initialized": (1.9, 1.01), "trained": (1.4, 0.99, 0.40, 0.58)}
NONE: Scores = {"base": (1.704, 1.008, 0.30, 0.60), "initialized": (1.704, 1.008), "trained": (1.5, 0.98, 0.35, 0.61)}
EARLY: Scores = {"trained": (1.6, 1.0, 0.33, 0.59)}
MEASURES = [("bits_per_byte", "ja"), ("bits_per_byte", "en"), ("accuracy", "ja"), ("accuracy", "en")]


def seal_scores(root: Path, scores: Scores) -> str:
    """An evaluation with these values of ja and en bits per byte and ja and en accuracy; one probe category."""
    rows = []
    for model, values in scores.items():
        for (metric, language), value in zip(MEASURES, values, strict=False):
            for category in (None, "science") if metric == "accuracy" else (None,):
                row = {"model": model, "metric": metric, "language": language, "category": category, "value": value}
                unit = "share" if metric == "accuracy" else "bits/byte"
                rows.append(row | {"unit": unit, "ci_low": value - 0.1, "ci_high": value + 0.1, "task": "x"})
    return seal_stage(root, "evaluate", Outcome(files=[write_rows(root, "evaluate", "scores.jsonl", rows)]))


@pytest.fixture
def variants(tmp_path: Path) -> list[VariantRun]:
    """`large` and `none` share their corpus and have an earlier checkpoint each; `broken` has come no further."""
    first = make_run(tmp_path / "large")
    first["evaluate"] = seal_scores(tmp_path / "large", LARGE)
    second = make_run(tmp_path / "none")
    second["evaluate"] = seal_scores(tmp_path / "none", NONE)
    early = {name: seal_scores(tmp_path / f"early-{name}", EARLY) for name in ("large", "none")}
    corpus = {stage: first[stage] for stage in ("curate", "deduplicate")}
    difference = {"task": "bits_per_byte", "metric": "bits_per_byte", "language": "ja", "category": None}
    worse = difference | {"difference": 0.1, "difference_low": 0.04, "difference_high": 0.15}
    open_ = difference | {"language": "en", "difference": -0.01, "difference_low": -0.03, "difference_high": 0.01}
    better = {
        "task": "hibari_probe",
        "metric": "accuracy",
        "language": "en",
        "category": None,
        "difference": 0.03,
        "difference_low": 0.01,
        "difference_high": 0.05,
    }
    steps = {"num_steps": 120, "tokens_after": lambda step: step * 8_192}
    shared = dict.fromkeys(STAGES) | {"curate": "large", "deduplicate": "large"}
    return [
        VariantRun("large", RUN, first, checkpoints={60: early["large"]}, shared=dict.fromkeys(STAGES), **steps),
        VariantRun(
            "none",
            RUN | {"expand": {"base": "models/small", "enabled": False}, "variant": "none"},
            second | corpus,
            checkpoints={60: early["none"]},
            shared=shared,
            differences={120: [worse, open_, better]},
            **steps,
        ),
        VariantRun("broken", RUN, corpus, shared=shared, failures=["mix failed: <no> tokens\n  inputs: ..."], **steps),
    ]


def test_lines_are_the_base_and_every_variant_at_every_step(variants: list[VariantRun]) -> None:
    lines = gather("x", variants)["lines"]
    assert [(line["label"], line["model"], line["step"], line["tokens"]) for line in lines] == [
        ("base model", "base", 0, 0),
        ("large", "initialized", 0, 0),
        ("large", "trained", 60, 491_520),
        ("large", "trained", 120, 983_040),
        ("none", "initialized", 0, 0),
        ("none", "trained", 60, 491_520),
        ("none", "trained", 120, 983_040),
    ]
    assert lines[3]["scores"]["bits_per_byte/ja/"]["value"] == 1.4
    assert lines[3]["scores"]["bits_per_byte/mean/"]["value"] == pytest.approx((1.4 + 0.99) / 2)
    assert "accuracy/mean/" not in lines[1]["scores"], "not asked before training"


def test_the_best_of_each_column_is_marked_whichever_way_it_runs(variants: list[VariantRun]) -> None:
    lines = gather("x", variants)["lines"]

    def best(key: str) -> list[tuple[str, int]]:
        return [(line["label"], line["step"]) for line in lines if line["scores"].get(key, {}).get("best")]

    assert best("bits_per_byte/ja/") == [("large", 120)]
    assert best("bits_per_byte/en/") == [("none", 120)]
    assert best("accuracy/ja/") == [("large", 120)]
    assert best("accuracy/en/science") == [("none", 120)]


def test_a_base_that_differs_has_a_line_of_its_own(variants: list[VariantRun], tmp_path: Path) -> None:
    seal_scores(tmp_path / "none", NONE | {"base": (1.8, 1.1, 0.2, 0.5)})
    labels = [line["label"] for line in gather("x", variants)["lines"] if line["model"] == "base"]
    assert labels == ["base model", "base model of none"]


def test_differences_say_what_is_sure(variants: list[VariantRun]) -> None:
    """Bits per byte fall, accuracies rise: better is below zero for one and above it for the other."""
    (line,) = gather("x", variants)["differences"]
    assert (line["label"], line["step"]) == ("none", 120)
    verdicts = {key: score["verdict"] for key, score in line["scores"].items()}
    assert verdicts == {"bits_per_byte/ja/": "worse", "bits_per_byte/en/": "", "accuracy/en/": "better"}


def test_what_differs_and_what_is_shared(variants: list[VariantRun]) -> None:
    facts = gather("x", variants)
    assert facts["changed"] == [{"field": "expand.enabled", "values": {"large": None, "none": False, "broken": None}}]
    stages = {row["stage"]: row["cells"] for row in facts["stages"]}
    assert stages["curate"]["none"] == {"shared": "large", "seconds": 41.2}
    assert stages["expand"]["none"]["shared"] is None
    assert stages["train"]["broken"]["seconds"] is None
    assert facts["totals"]["shared_artifacts"] == 4
    assert facts["totals"]["saved_seconds"] == pytest.approx(2 * (41.2 + 7.75))


def test_cost_is_counted_from_what_training_logged(variants: list[VariantRun]) -> None:
    """0.21 TFLOPS on each of the two ranks that the made-up run has, for 120 steps of 32 seconds."""
    first, _, broken = gather("x", variants)["variants"]
    assert first["tokens"] == 983_040
    assert first["new_pieces"] > 0
    expanded = RunArtifacts.read(variants[0].artifacts).detail("expand", "fertility", "expanded")
    assert first["tokens_per_character"] == pytest.approx(1 / expanded["characters_per_token"])
    assert first["flops"] == pytest.approx(0.21e12 * 2 * 120 * 32, rel=0.01)
    assert (broken["flops"], broken["vocab"], broken["tokens_per_second"]) == (None, None, None)


def test_the_page_shows_all_of_it_and_loads_nothing(variants: list[VariantRun], tmp_path: Path) -> None:
    build_comparison("tokenizer-ablation", variants, out=str(tmp_path / "out"))
    page = Page((tmp_path / "out" / "comparison.html").read_text())
    for text in ("tokenizer-ablation", "base model", "1.400", "+7.1 %", "expand.enabled", "= large", "science"):
        assert text in page.text
    assert "broken failed" in page.text
    assert "&lt;no&gt;" in page.html, "what a message says is text"
    assert len(page.ids) == len(set(page.ids))
    assert "script" not in page.tags
    assert all(reference.startswith(("#", "../../report/")) for reference in page.references)
    assert page.html.count("<svg") == 4
    exported = (tmp_path / "out" / "tables" / "variants.csv").read_text().splitlines()
    assert exported[0].startswith("variant,tokens,bits_per_byte_ja,bits_per_byte_ja_low,bits_per_byte_ja_high")
    assert exported[2].startswith('"large, step 60",491520,1.6,1.5')
    assert r"\textbf{1.400}" in (tmp_path / "out" / "tables" / "variants.tex").read_text()


def test_the_tables_as_markdown(variants: list[VariantRun], tmp_path: Path) -> None:
    build_comparison("x", variants, out=str(tmp_path))
    text = (tmp_path / "comparison.md").read_text().replace("\u00a0", " ")
    assert "- **broken failed**: mix failed: <no> tokens\n" in text
    assert "| large, step 120 | 983,040 | **1.400** | 0.990 |" in text
    assert "| curate | 41 s | = large | = large |" in text
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert all(len({line.count("|") for line in table}) == 1 for table in tables), "every row has every cell"


def test_the_same_artifacts_give_the_same_bytes(variants: list[VariantRun], tmp_path: Path) -> None:
    for name in ("a", "b"):
        build_comparison("x", variants, out=str(tmp_path / name))
    for file in ("comparison.html", "comparison.json", "comparison.md"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def seal_benchmarks(root: Path, shift: float, models: tuple[str, ...] = ("base", "trained")) -> str:
    rows = [row for row in score_rows(("base", "trained"), ("strict",), ("jsquad", "jnli", "gsm8k"), shift)
            if row["model"] in models]  # fmt: skip
    return seal_stage(root, "evaluate", Outcome(files=[write_rows(root, "evaluate", "scores.jsonl", rows)]))


def test_benchmarks_of_a_sweep_side_by_side(variants: list[VariantRun], tmp_path: Path) -> None:
    """The base once, each variant at each step, differences with what survives Holm, curves; all of it exported."""
    for variant, shift in zip(variants[:2], (0.0, -0.05), strict=True):
        seal_benchmarks(tmp_path / variant.name, shift)
        seal_benchmarks(Path(variant.checkpoints[60]).parents[1], shift - 0.02, models=("trained",))
    difference = {"task": "jsquad", "profile": "strict", "label": "JSQuAD", "kind": "RC", "metric": "character_f1",
                  "unit": "share", "language": "ja", "category": None, "headline": True, "lower_is_better": False,
                  "value": 0.8073,
        "difference": -0.05, "difference_low": -0.07, "difference_high": -0.03, "p_holm": 0.01}  # fmt: skip
    variants[1] = replace(variants[1], differences={120: [difference]})
    out = tmp_path / "out"
    build_comparison("x", variants, out=str(out))
    table = json.loads((out / "tables" / "scores-strict-ja.json").read_text())
    assert [row["model"] for row in table["rows"]] == ["base", "large, step 60", "large", "none, step 60", "none"]
    assert [row["jsquad"]["value"] for row in table["rows"]] == [0.7917, 0.8373, 0.8573, 0.7873, 0.8073]
    assert "jnli" not in table["rows"][0], "does not count: in a table of its own"
    (against,) = json.loads((out / "tables" / "differences-strict-ja.json").read_text())["rows"]
    assert (against["model"], against["jsquad"]["mark"], against["jsquad"]["verdict"]) == ("none", "*", "worse")
    page = Page((out / "comparison.html").read_text())
    assert "Japanese against large, profile strict" in page.text
    assert "Japanese average" in page.html
    assert "| large | **85.7** | **85.7** |" in (out / "comparison.md").read_text()
    exported = {path.stem for path in (out / "tables").glob("*.tex")}
    assert {"cost", "averages", "further-strict-ja"} <= exported


def test_before_anything_is_scored_there_is_a_page_too(tmp_path: Path) -> None:
    nothing = VariantRun(
        "a", RUN, dict.fromkeys(STAGES, str(tmp_path / "no")), num_steps=1, tokens_after=lambda step: step * 8
    )
    facts = build_comparison("x", [nothing], out=str(tmp_path / "out"))
    assert facts["lines"] == []
    assert "Nothing has been scored yet" in (tmp_path / "out" / "comparison.html").read_text()
    json.loads((tmp_path / "out" / "comparison.json").read_text())


@pytest.mark.parametrize(
    ("value", "shown"),
    [(True, "yes"), (2e-4, "2e-4"), (0.5, "0.5"), (16000, "16,000"), (None, "–"), (["a"], "['a']")],
    ids=str,
)
def test_settings_as_people_write_them(value: Any, shown: str) -> None:
    assert setting(value) == shown


@pytest.mark.parametrize(("value", "shown"), [(0, "0"), (40_960, "41k"), (2_500_000, "2.5M"), (1e11, "100B")], ids=str)
def test_tokens_on_an_axis(value: float, shown: str) -> None:
    assert short_count(value) == shown


def test_many_variants_are_told_apart(tmp_path: Path) -> None:
    """Beyond the colours there are, lines differ in dashes."""
    from tasks.report.comparison_charts import measure_curve

    lines = {f"v{number}": [(0, 2.0), (10, 1.0 + number / 10)] for number in range(9)}
    svg = measure_curve("bits per byte", None, lines)
    assert all(f">{name}<" in svg for name in lines)
    assert "stroke-dasharray" in svg


def test_the_picture_of_the_checkpoints_is_a_png_with_or_without_a_base() -> None:
    rows = [
        {"tokens": tokens, "model": "trained", "metric": "bits_per_byte", "language": "ja", "value": 2.0 - tokens / 10}
        for tokens in (2, 4)
    ]
    base = {"tokens": 0, "model": "base", "metric": "bits_per_byte", "language": "ja", "value": 2.5}
    pictures = [draw_checkpoints(found, last_tokens=6) for found in (rows, [base, *rows])]
    assert all(picture.startswith(b"\x89PNG") for picture in pictures)
    assert pictures[0] != pictures[1]
