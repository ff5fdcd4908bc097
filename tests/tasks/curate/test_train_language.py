"""Breaks when training does not learn, differs from run to run, or labels mixtures by anything but their letters."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from tasks.curate.ngram_model import NgramModel, write_model
from tasks.curate.train_language import TrainingConfig, _is_half_japanese, _mixture, _pieces, train_language
from tests.tasks.curate.test_language import CHINESE, KOREAN
from tests.tasks.curate.warc_files import ENGLISH, PARAGRAPHS

SMALL = TrainingConfig(max_characters=60_000, min_samples=2, num_ngrams=2000, max_steps=40)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], list[str]]:
    """Files of both sides, one of each kind that can be named."""
    folder = tmp_path_factory.mktemp("texts")
    with gzip.open(folder / "ja.jsonl.gz", "wt", encoding="utf-8") as file:
        for number in range(60):
            file.write(json.dumps({"text": "\n".join(np.roll(PARAGRAPHS, number))}) + "\n")
    for name, text in (("zh", CHINESE), ("en", ENGLISH), ("ko", KOREAN)):
        (folder / f"{name}.txt").write_text("\n".join([text] * 60), encoding="utf-8")
    return [str(folder / "ja.jsonl.gz")], [str(folder / "*.txt")]


@pytest.fixture(scope="module")
def model(files: tuple[list[str], list[str]]) -> NgramModel:
    return train_language(*files, SMALL)[0]


def test_what_was_learnt(model: NgramModel) -> None:
    for paragraph in PARAGRAPHS:
        assert model.score(paragraph) > 0
        assert model.score(paragraph[7:27]) > 0
    for other in (CHINESE, ENGLISH, KOREAN):
        assert model.score(other) < 0
        assert model.score(other[5:30]) < 0
    assert model.score(f"{PARAGRAPHS[0]}\n{ENGLISH[:40]}") > 0
    assert model.score(f"{PARAGRAPHS[0][:20]}\n{ENGLISH}") < 0


def test_the_header_names_the_files(model: NgramModel) -> None:
    assert [file["file"] for file in model.training["japanese"]] == ["ja.jsonl.gz"]
    assert [file["file"] for file in model.training["other"]] == ["en.txt", "ko.txt", "zh.txt"]
    assert model.training["num_ngrams"] == 2000
    assert len(model.ngrams) <= 2000


def test_training_again_gives_the_same_bytes(
    files: tuple[list[str], list[str]], model: NgramModel, tmp_path: Path
) -> None:
    write_model(tmp_path / "a.json", model)
    write_model(tmp_path / "b.json", train_language(*files, SMALL)[0])
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_samples_are_held_out_and_measured(files: tuple[list[str], list[str]]) -> None:
    said: list[str] = []
    _, report = train_language(*files, SMALL, said.append)
    assert report.held_out == report.num_samples // 10
    assert report.held_out_precision > 0.9
    assert report.held_out_recall > 0.9
    assert any("loss" in line for line in said)


def test_only_so_much_of_each_file_is_read(files: tuple[list[str], list[str]]) -> None:
    config = TrainingConfig(max_characters=3000, min_samples=2, num_ngrams=500, max_steps=5)
    model, _ = train_language(*files, config)
    (japanese,) = model.training["japanese"]
    text = len("\n".join(PARAGRAPHS))
    assert (japanese["texts"], japanese["characters"]) == (-(-3000 // text), -(-3000 // text) * text)


def test_a_mixture_is_cut_to_its_ratio_and_labelled_by_its_letters() -> None:
    japanese, other = "雲雀は高い空で鳴く" * 20, "the lark sings high in the sky " * 40
    for ratio in (0.25, 0.9, 1.2, 6.0):
        text, label = _mixture(japanese, other, ratio, other_first=False)
        num_other = sum(character.isascii() and character.isalpha() for character in text)
        num_japanese = sum(not character.isascii() for character in text)
        assert num_other / num_japanese == pytest.approx(ratio, rel=0.1)
        assert label == (ratio < 1)
    _, label = _mixture("雲雀" * 50, "云雀" * 50, 1.2, other_first=True)
    assert not label, "kanji of the other piece count as Japanese"


def test_half_japanese_just_each_side_of_half() -> None:
    assert _is_half_japanese("空の色 abc")
    assert not _is_half_japanese("空の色 abcd")
    assert not _is_half_japanese("2026-11-22")


def test_pieces_take_turns_in_length_and_lose_nothing() -> None:
    pieces = list(_pieces(["あ" * 100, "い" * 5]))
    assert pieces == ["あ" * 20, "あ" * 40, "あ" * 40, "い" * 5]


def test_too_little_text_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "ja.txt").write_text("雲雀が鳴く。")
    (tmp_path / "en.txt").write_text(ENGLISH)
    with pytest.raises(ValueError, match="too little text to learn from"):
        train_language([str(tmp_path / "ja.txt")], [str(tmp_path / "en.txt")], SMALL)


def test_a_text_in_another_charset_is_named(tmp_path: Path) -> None:
    (tmp_path / "ja.txt").write_bytes("雲雀が鳴く。".encode("cp932"))
    with pytest.raises(ValueError, match=r"ja\.txt: not text in UTF-8"):
        train_language([str(tmp_path / "ja.txt")], [str(tmp_path / "ja.txt")], SMALL)
