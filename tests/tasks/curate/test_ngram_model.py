"""Breaks when the score is not the released form's, when a look-up misses an n-gram, or a broken model is taken."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tasks.curate.ngram_model import NgramModel, load_model, model_file, pack_ngrams, slices, unpack_ngrams, write_model


def by_hand(model: NgramModel, text: str) -> float:
    """The released form, slice by slice."""
    features = [text[start : start + length] for length in (1, 2, 3) for start in range(len(text))]
    return sum(model.as_dict().get(feature, 0.0) for feature in features) / len(features) ** 0.5


def test_the_score_of_three_characters_by_hand() -> None:
    model = NgramModel({"空": 3, "い空": -5, "青い空": 7, "青": 2, "海": 100}, step=0.5)
    # 1-grams 青 い 空; 2-grams 青い い空 空; 3-grams 青い空 い空 空: the last two characters count again.
    expected = 0.5 * ((2 + 0 + 3) + (0 - 5 + 3) + (7 - 5 + 3)) / 9**0.5
    assert model.score("青い空") == pytest.approx(expected)


@pytest.mark.parametrize("text", ["海", "海辺", "ab\ncd", "𠮷野家", "か\u3099", "あ" * 500])
def test_short_long_and_rare_characters(text: str) -> None:
    ngrams = {text[start : start + length] for length in (1, 2, 3) for start in range(len(text))}
    model = NgramModel({ngram: 3 * len(ngram) - 4 for ngram in ngrams}, step=0.25)
    assert model.score(text) == pytest.approx(by_hand(model, text))
    assert model.score(text + "?") == pytest.approx(by_hand(model, text + "?"))


def test_an_empty_text_scores_nothing() -> None:
    assert NgramModel({"a": 1}, 1.0).score("") == 0


def test_every_ngram_of_a_large_model_is_found_and_no_other() -> None:
    points = [chr(0x3041 + number) for number in range(80)]
    ngrams = {a + b: number % 50 + 1 for number, (a, b) in enumerate((a, b) for a in points for b in points)}
    ngrams |= {a + b + "。": -7 for a in points for b in points[:40]}
    model = NgramModel(ngrams, 1.0)
    keys = pack_ngrams(list(ngrams))
    found = np.array([model._lookup.hashed.sum(keys[number : number + 1]) for number in range(len(keys))])
    assert found.tolist() == list(ngrams.values())
    absent = pack_ngrams([a + "漢" for a in points] + [a + b + "漢" for a in points for b in points])
    assert model._lookup.hashed.sum(absent) == 0


def test_packing_is_undone_by_unpacking() -> None:
    ngrams = ["a", "あ", "𠮷", "ab", "\n。", "漢字か", "\U0010ffff\U0010fffe\U0010fffd"]
    assert unpack_ngrams(pack_ngrams(ngrams)) == ngrams
    assert unpack_ngrams(slices("abc")) == ["a", "b", "c", "c", "c", "ab", "bc", "abc", "bc"]
    assert unpack_ngrams(slices("a")) == ["a", "a", "a"]


def test_a_model_file_is_read_back_and_the_same_model_is_the_same_bytes(tmp_path: Path) -> None:
    model = NgramModel({"の": 40, '"\\': -3, "a\nb": 1, "𠮷": 9}, 0.125, {"japanese": [{"file": "a.txt", "texts": 1}]})
    write_model(tmp_path / "a.json", model)
    write_model(tmp_path / "b.json", NgramModel(dict(reversed(model.ngrams.items())), 0.125, model.training))
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    again = load_model(str(tmp_path / "a.json"))
    assert (again.ngrams, again.step, again.training) == (model.ngrams, model.step, model.training)


GOOD = {"format": "hibari-ngram", "version": 1, "step": 0.5, "training": {}, "ngrams": {"の": 1}}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (json.dumps(GOOD)[:-9], "JSONDecodeError"),
        (b'{"a": "\xff"}', "UnicodeDecodeError"),
        (json.dumps({"の": 0.5}), "expected an object with format hibari-ngram"),
        (json.dumps([1]), "expected an object with format hibari-ngram"),
        (json.dumps(GOOD | {"version": 2}), "format version 2, this Hibari reads 1"),
        (json.dumps({key: value for key, value in GOOD.items() if key != "step"}), "'step'"),
        (json.dumps(GOOD | {"ngrams": ["の"]}), "expected ngrams to be an object, got list"),
        (json.dumps(GOOD | {"ngrams": {"のです。": 1}}), "'のです。'"),
        (json.dumps(GOOD | {"ngrams": {"の": 40000}}), "40000"),
        (json.dumps(GOOD | {"ngrams": {"の": 0.5}}), "whole numbers expected"),
    ],
)
def test_what_is_no_model_is_refused_by_name(tmp_path: Path, content: str | bytes, says: str) -> None:
    path = tmp_path / "broken.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=r"broken\.json: not a language model of Hibari") as caught:
        load_model(str(path))
    assert says in str(caught.value)


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no language model at .*none\.json"):
        load_model(str(tmp_path / "none.json"))


def test_the_shipped_model_is_small_and_says_what_it_was_trained_on() -> None:
    assert Path(model_file("builtin")).stat().st_size < 1_000_000
    training = load_model("builtin").training
    assert all(len(file["sha256"]) == 64 for side in ("japanese", "other") for file in training[side])
