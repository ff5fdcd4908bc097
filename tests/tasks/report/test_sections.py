"""What the sections work out from the artifacts: cut sentences, thinned curves, scores beside the base, reruns."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from storage.artifact import FileEntry, Outcome, new_file
from tasks.report.artifacts import RunArtifacts
from tasks.report.provenance import inputs, machines, stages, versions
from tasks.report.scores import scores
from tasks.report.training import MAX_POINTS, learning_curve, mixture, start_checks, training, validation
from tasks.report.vocabulary import SENTENCES, cut_sentence, first_sentence, tokenizer
from tests.tasks.report.made_up_files import ENGLISH_TEXTS, TEXTS
from tests.tasks.report.made_up_run import ENVIRONMENT, LICENCES, RUN, make_run, seal_stage, uri_of, write_rows
from tokenizer.encoder import DocumentPolicy, Encoder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> RunArtifacts:
    return RunArtifacts.read(make_run(tmp_path_factory.mktemp("run")))


class BytesEncoder(Encoder):
    """One token a byte, and 300 for the whole of 空."""

    def __init__(self) -> None:
        super().__init__(DocumentPolicy((), (0,)))

    def encode(self, text: str) -> list[int]:
        return [token for part in text for token in ([300] if part == "空" else list(part.encode()))]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [self.encode(text) for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        return b"".join("空".encode() if token == 300 else bytes([token]) for token in ids).decode(errors="replace")


def test_a_sentence_is_cut_at_whole_characters() -> None:
    assert cut_sentence(BytesEncoder(), "a雀空b", 256) == [
        {"text": "a", "tokens": 1, "new": False},
        {"text": "雀", "tokens": 3, "new": False},
        {"text": "空", "tokens": 1, "new": True},
        {"text": "b", "tokens": 1, "new": False},
    ]


def test_a_text_that_holds_the_replacement_character_itself_is_not_lost() -> None:
    runs = cut_sentence(BytesEncoder(), "a\ufffdb\ufffd", 256)
    assert "".join(run["text"] for run in runs) == "a\ufffdb\ufffd"
    assert sum(run["tokens"] for run in runs) == 8


def test_both_tokenizers_cut_the_same_sentences(made: RunArtifacts) -> None:
    facts = tokenizer(made)
    assert facts["sentences_held_out"] is True
    held_out = {text.split("。")[0] + "。" for text in TEXTS} | {text.split(". ")[0] + "." for text in ENGLISH_TEXTS}
    assert len(facts["sentences"]) == 5
    assert {sentence["text"] for sentence in facts["sentences"]} < held_out
    for sentence in facts["sentences"]:
        for which in ("base", "expanded"):
            assert "".join(run["text"] for run in sentence[which]["runs"]) == sentence["text"]
        japanese = not sentence["text"].isascii()
        assert sentence["same"] is not japanese
        assert any(run["new"] for run in sentence["expanded"]["runs"]) is japanese
        assert not any(run["new"] for run in sentence["base"]["runs"])
        assert (sentence["expanded"]["tokens"] < sentence["base"]["tokens"]) is japanese


def test_fertility_is_measured_on_held_out_documents_too(made: RunArtifacts) -> None:
    japanese, english = tokenizer(made)["held_out"]
    assert (japanese["language"], japanese["documents"]) == ("ja", 4)
    assert japanese["characters"] == sum(len(text) for text in TEXTS)
    assert 0.3 < japanese["expanded"] < japanese["base"] < 3.1  # a byte-level base spends up to three a character
    assert japanese["change"] == pytest.approx(japanese["expanded"] / japanese["base"] - 1)
    assert english["change"] == 0


def test_bytes_per_token_and_what_training_saves(made: RunArtifacts, tmp_path: Path) -> None:
    """Hidden 8, one layer: by hand 8x8 twice, 2 x 8x4, 3 x 8x16 and causal attention over 16 tokens, then 8 a piece."""
    japanese, english = tokenizer(made)["held_out"]
    assert (japanese["flops_change"], english["flops_change"]) == (None, None), "no model, no operations"
    for row in (japanese, english):
        for which in ("base", "expanded"):
            size = row["bytes_per_token"][which] * row[which] * row["characters"]
            expected = sum(len(text.encode()) for text in TEXTS) if row is japanese else row["characters"]
            assert size == pytest.approx(expected)
    config = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 4}
    config |= {"num_key_value_heads": 2, "vocab_size": 1}
    with new_file(uri_of(tmp_path, "initialize"), "model/config.json") as file:
        file.write(json.dumps(config).encode())
    entry = FileEntry.of("model/config.json", file)
    initialize = seal_stage(tmp_path, "initialize", Outcome([entry]))
    train = seal_stage(tmp_path, "train", Outcome(), literals={"seq_len": 16})
    with_model = RunArtifacts.read(dict(made.uris) | {"initialize": initialize, "train": train})
    facts = tokenizer(with_model)
    layer = 2 * 8 * 8 + 2 * 8 * 4 + 3 * 8 * 16 + 8 * 16
    dearer = (layer + 8 * facts["vocab"]) / (layer + 8 * facts["base_vocab"])
    japanese, english = facts["held_out"]
    assert japanese["flops_change"] == pytest.approx((1 + japanese["change"]) * dearer - 1)
    assert english["flops_change"] == pytest.approx(dearer - 1), "as many tokens, each dearer"


def test_without_held_out_documents_sentences_of_ours_are_cut(made: RunArtifacts) -> None:
    facts = tokenizer(RunArtifacts.read({"expand": made.uris["expand"]}))
    assert [sentence["text"] for sentence in facts["sentences"]] == list(SENTENCES)
    assert facts["sentences_held_out"] is False
    assert facts["held_out"] == []


@pytest.mark.parametrize(
    ("text", "language", "sentence"),
    [
        ("見出し\n雲雀が空へ上がっていく。次の文。", "ja", "雲雀が空へ上がっていく。"),
        ("Settings of the service.\nサービスの設定を変えます。", "ja", "サービスの設定を変えます。"),
        ("Version 3.14 is out today. Read on.", "en", "Version 3.14 is out today."),
        ("長い" * 60 + "。春の麦畑に雲雀が鳴く。", "ja", "春の麦畑に雲雀が鳴く。"),
        ("短い。\n" * 3, "ja", None),
    ],
)
def test_the_first_sentence_of_a_readable_length_is_taken(text: str, language: str, sentence: str | None) -> None:
    assert first_sentence(text, language) == sentence


def test_without_an_expansion_there_is_nothing_to_compare(tmp_path: Path) -> None:
    uri = seal_stage(tmp_path, "expand", Outcome(counts={"base_vocab": 8, "new_pieces": 0, "vocab": 8}))
    facts = tokenizer(RunArtifacts.read({"expand": uri}))
    assert facts["sentences"] == []
    assert facts["new_pieces"] == 0


def test_a_long_curve_is_thinned_to_means(tmp_path: Path) -> None:
    num_steps = 2 * MAX_POINTS + 1
    rows = [
        {"step": step, "language_loss": {"en": 1.0, "ja": float(step)}, "lr": 1e-4} for step in range(1, num_steps + 1)
    ]
    curve = learning_curve(rows)
    assert curve["steps_per_point"] == 3
    assert len(curve["steps"]) <= MAX_POINTS
    assert (curve["steps"][0], curve["steps"][-1]) == (3, num_steps)
    assert curve["losses"]["ja"][:2] == [2.0, 5.0]
    assert list(curve["losses"]) == ["ja", "en"]


def test_a_language_that_a_step_lacks_is_a_gap_and_not_a_zero(made: RunArtifacts) -> None:
    facts = training(made)
    english = facts["curve"]["losses"]["en"]
    assert english[2] is None
    assert min(value for value in english if value is not None) > 2
    assert [row["language"] for row in facts["losses"]] == ["ja", "en"]
    japanese = facts["losses"][0]
    assert japanese["loss_change"] < -0.3
    assert japanese["bits_per_byte_last"] == pytest.approx(japanese["loss_last"] / 0.693147 / 4.4, rel=1e-3)


def test_metrics_without_languages_or_speed_are_no_obstacle(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"step": 1, "loss": 2.0, "grad_norm": float("inf")},
        {"step": 2, "loss": 1.9, "language_loss": None, "lr": 1e-4},
    ]
    uri = seal_stage(tmp_path, "train", Outcome([write_rows(tmp_path, "train", "metrics.jsonl", rows)]))
    facts = training(RunArtifacts.read({"train": uri}))
    assert facts["losses"] == []
    assert facts["curve"]["steps"] == [1, 2]
    assert facts["tokens_per_second"] is None
    assert facts["grad_norm"] is None  # an infinity has no place in JSON
    assert facts["curve"]["measures"]["grad_norm"] == [None, None]
    assert facts["curve"]["tflops"] == {}


def test_speed_memory_and_gradient_norm_are_kept_over_the_steps(made: RunArtifacts) -> None:
    curve = training(made)["curve"]
    assert set(curve["measures"]) == {"lr", "tokens_per_second", "memory_gib", "grad_norm"}
    assert {len(values) for values in curve["measures"].values()} == {len(curve["steps"])} == {120}
    assert set(curve["tflops"]) == {"model_causal", "swallow_2023_12"}
    assert curve["tflops"]["swallow_2023_12"][0] == 0.28


def test_held_out_losses_stand_before_the_first_step_and_at_the_end(made: RunArtifacts) -> None:
    facts = training(made)
    held_out = facts["validation"]
    assert held_out["steps"] == [0, 40, 80, 120]
    assert [row["language"] for row in held_out["languages"]] == ["ja", "en"]
    japanese, english = held_out["languages"]
    assert japanese["loss_first"] == 4.2
    assert japanese["loss_change"] < 0 < english["loss_change"], "the source language was forgotten a little"
    assert held_out["measure"] == "bits_per_byte"
    assert held_out["values"]["ja"][-1] == japanese["bits_per_byte_last"]
    assert (facts["mfu"], facts["skipped_steps"], facts["restarts"]) == (0.42, 1, 1)
    assert facts["peak_tflops"] == pytest.approx(0.5)


def test_validation_in_nats_where_a_languages_bytes_are_unknown() -> None:
    result = {"ja": {"loss": 2.0, "bits_per_byte": 1.0, "tokens": 5}, "en": {"loss": 3.0, "tokens": 5}}
    held_out = validation([{"step": 0, "languages": {"ja": result["ja"]}}, {"step": 9, "languages": result}])
    assert held_out["measure"] == "loss"
    assert held_out["values"] == {"ja": [2.0, 2.0], "en": [None, 3.0]}
    assert validation([])["languages"] == []


def test_a_training_that_continues_another_names_it(tmp_path: Path) -> None:
    recorded = {"continues": {"training": "s3://bucket/train/demo-0123456789ab", "step": 4000}}
    outcome = Outcome([write_rows(tmp_path, "train", "metrics.jsonl", [])])
    uri = seal_stage(tmp_path, "train", outcome, recorded=recorded)
    checks = start_checks(RunArtifacts.read({"train": uri}))
    assert checks["continued"] == {"training": "demo-0123456789ab", "step": 4000}


def test_mixture_shows_asked_beside_achieved(made: RunArtifacts) -> None:
    facts = mixture(made)
    corpus, english = facts["splits"][0]["sources"]
    assert (corpus["weight"], english["weight"]) == (0.9, 0.1)
    assert corpus["achieved"] + english["achieved"] == pytest.approx(1)
    assert facts["sources"][0]["bytes_per_token"] == pytest.approx(9.109, abs=1e-3)


def test_scores_stand_beside_the_base_in_a_fixed_order(made: RunArtifacts) -> None:
    facts = scores(made, RUN)
    assert facts["models"] == ["base", "initialized", "trained"]
    assert [(m["metric"], m["language"]) for m in facts["summary"]] == [
        (metric, language) for metric in ("bits_per_byte", "accuracy", "margin") for language in ("ja", "en")
    ]
    first = facts["measures"][0]["scores"]
    assert first["trained"]["base_value"] == first["base"]["value"] == 1.704
    assert facts["category_models"] == ["base", "trained"]
    assert {measure["category"] for measure in facts["categories"]} == {"everyday", "science"}


def test_every_stage_names_the_command_that_makes_it_again(made: RunArtifacts) -> None:
    facts = stages(made, {**RUN, "root": "s3://bucket/my runs"})
    row = next(row for row in facts["rows"] if row["stage"] == "binarize")
    assert row["rerun"] == "hibari run 's3://bucket/my runs/runs/made-up.yaml' --only binarize --force binarize"
    assert sum(row["share"] for row in facts["rows"]) == pytest.approx(1)


def test_versions_that_differ_between_stages_are_all_named(tmp_path: Path) -> None:
    made = RunArtifacts.read(
        {
            "curate": seal_stage(tmp_path, "curate", Outcome(), libraries={"numpy": "2.4.6", "pyarrow": "25.0"}),
            "mix": seal_stage(tmp_path, "mix", Outcome(), libraries={"numpy": "2.5.0"}),
        }
    )
    assert versions(made)["libraries"] == {"numpy": ["2.4.6", "2.5.0"], "pyarrow": ["25.0"]}


def test_machines_are_told_apart_by_what_the_stages_recorded(tmp_path: Path) -> None:
    two = {**ENVIRONMENT, "gpus": []}
    uris = {
        "curate": seal_stage(tmp_path, "curate", Outcome(), recorded={"environment": two}),
        "mix": seal_stage(tmp_path, "mix", Outcome(), recorded={"environment": two}),
        "train": seal_stage(tmp_path, "train", Outcome(), recorded={"environment": ENVIRONMENT}),
        "export": seal_stage(tmp_path, "export", Outcome()),
    }
    rows = machines(RunArtifacts.read(uris))
    assert [row["stages"] for row in rows] == [["curate", "mix"], ["train"], ["export"]]
    assert [row["gpus"] for row in rows] == [[], ["Made-up H900"], None]


def test_licences_stand_beside_their_inputs() -> None:
    rows = {row["what"]: row for row in inputs(RUN, LICENCES)}
    assert (rows["WARC files"]["licence"], rows["WARC files"]["attribution"]) == ("CC-BY-4.0", "the larks")
    assert (rows["base model"]["licence"], rows["base model"]["stated_by"]) == ("apache-2.0", "README.md")
    assert rows["base tokenizer"]["licence"] is None


def test_inputs_are_what_came_from_outside() -> None:
    assert {row["what"]: row["places"] for row in inputs(RUN)} == {
        "WARC files": ["warc/*.warc.gz"],
        "base tokenizer": ["models/small"],
        "base model": ["models/small"],
        "documents of web-en": ["text/en.jsonl.gz"],
    }
    random = {"initialize": {"base_model": {"random": {"hidden_size": 64}}}}
    assert inputs(random) == []
