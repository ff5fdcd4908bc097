"""The classifier must tell good texts from bad ones it has not seen, be the same every time, and say what is wrong."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from tasks.curate import train_classifier as training
from tasks.curate.classifier import MAX_CHARACTERS, Classifier, as_characters
from tasks.curate.fit_fasttext import fit
from tasks.curate.train_classifier import TrainingReport, train_classifier

GOOD = [
    "雲雀は畑の土のくぼみに巣を作る",
    "親鳥は巣から離れた所に降りて歩く",
    "卵は十日あまりで孵り雛はすぐに育つ",
    "空高く昇って縄張りを知らせる",
]
BAD = [
    "今だけ無料で登録できます",
    "下のリンクを押して会員になろう",
    "激安の商品が続々と入荷中です",
    "人気ランキング一位の動画はこちら",
]


def write(path: Path, sentences: list[str], num: int, seed: int) -> str:
    draw = random.Random(seed)
    rows = ["。".join(draw.choices(sentences, k=3)) + f"。{draw.randrange(10**9)}" for _ in range(num)]
    path.write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    return str(path)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small table of n-grams: the model of a test need not be 17 MB."""
    monkeypatch.setitem(training._OPTIONS, "bucket", 4096)
    monkeypatch.setattr(training, "_MIN_UPDATES", 4000)


@pytest.fixture
def files(tmp_path: Path) -> dict[int, list[str]]:
    return {1: [write(tmp_path / "good.jsonl", GOOD, 150, 1)], 0: [write(tmp_path / "bad.jsonl", BAD, 200, 2)]}


def train(files: dict[int, list[str]], out: Path, **options: object) -> TrainingReport:
    return train_classifier(files, str(out), held_out=0.2, **options)  # type: ignore[arg-type]


def test_good_texts_score_higher(files: dict[int, list[str]], tmp_path: Path) -> None:
    report = train(files, tmp_path / "model.bin")
    assert report.auc > 0.99
    assert sum(report.texts.values()) + sum(report.held_out.values()) == 350
    classifier = Classifier(str(tmp_path / "model.bin"))
    good, bad = (
        classifier.score("雲雀は空高く昇って巣から離れた所に降りる。"),
        classifier.score("登録は無料の会員になろう。"),
    )
    assert 0 <= bad < 0.5 < good <= 1
    assert json.loads((tmp_path / "model.bin.json").read_text())["auc"] == report.auc


def test_the_same_texts_give_the_same_model(files: dict[int, list[str]], tmp_path: Path) -> None:
    """Byte for byte, in whatever order the files hold them; another seed gives another."""
    first = train(files, tmp_path / "a.bin")
    lines = Path(files[0][0]).read_text().splitlines(keepends=True)
    Path(files[0][0]).write_text("".join(reversed(lines)))
    assert train(files, tmp_path / "b.bin") == first  # the model's sha256 among others
    assert train(files, tmp_path / "c.bin", seed=7).model_sha256 != first.model_sha256


def test_graded_texts_score_by_the_expected_grade(tmp_path: Path) -> None:
    grades = {0: BAD[:2], 1: BAD[2:], 2: GOOD[:2], 3: GOOD[2:]}
    files = {grade: [write(tmp_path / f"{grade}.jsonl", texts, 120, grade)] for grade, texts in grades.items()}
    train(files, tmp_path / "model.bin")
    classifier = Classifier(str(tmp_path / "model.bin"))
    scores = [classifier.score("。".join(texts)) for texts in grades.values()]
    assert scores == sorted(scores)
    assert scores[0] < 0.2
    assert scores[3] > 0.8
    assert abs(scores[1] - 1 / 3) < 0.2


def test_a_quantized_model_is_smaller_and_scores_alike(files: dict[int, list[str]], tmp_path: Path) -> None:
    whole, small = train(files, tmp_path / "a.bin"), train(files, tmp_path / "b.bin", quantize=True)
    assert small.model_bytes < whole.model_bytes / 2
    assert small.auc > 0.99


def test_training_that_fails_says_why(
    files: dict[int, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(training._OPTIONS, "lr", 1e30)
    with pytest.raises(ValueError, match=r"fastText could not be trained: .*NaN"):
        train(files, tmp_path / "model.bin")
    assert not (tmp_path / "model.bin").exists()


def test_what_cannot_be_trained_on_is_said(files: dict[int, list[str]], tmp_path: Path) -> None:
    few = write(tmp_path / "few.jsonl", GOOD, 30, 3)
    with pytest.raises(ValueError, match=r"class 1 has .* expected 10 of each at least"):
        train({**files, 1: [few]}, tmp_path / "model.bin")
    with pytest.raises(ValueError, match="a text is in class 0 and in class 1"):
        train({0: files[0], 1: files[0]}, tmp_path / "model.bin")
    with pytest.raises(ValueError, match="classes 0 and 1, or 0 to K, got classes 1"):
        train({1: files[1]}, tmp_path / "model.bin")
    assert not (tmp_path / "model.bin").exists()


def test_copies_are_trained_on_once(files: dict[int, list[str]], tmp_path: Path) -> None:
    report = train({0: files[0] * 2, 1: files[1]}, tmp_path / "model.bin")
    assert report.duplicates == 200


def test_what_is_no_model_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Classifier(str(tmp_path / "none.bin"))
    (tmp_path / "text.bin").write_text("雲雀")
    with pytest.raises(ValueError, match=r"text\.bin is not a fastText model"):
        Classifier(str(tmp_path / "text.bin"))


def test_a_model_of_other_labels_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("__label__ja 雲 雀\n__label__en l a r k\n" * 30)
    options = {**training._OPTIONS, "dim": 2}
    fit(tmp_path / "lines.txt", tmp_path / "lid.bin", options, quantize=False)
    with pytest.raises(ValueError, match="has the labels __label__en, __label__ja; expected __label__0, __label__1"):
        Classifier(str(tmp_path / "lid.bin"))


def test_texts_become_characters() -> None:
    assert as_characters("雲 雀\n\tが。") == "雲 雀 が 。"
    assert as_characters("\ud800") == "?"
    assert as_characters("") == ""
    assert len(as_characters("あ" * 100_000)) == 2 * MAX_CHARACTERS - 1


def test_figures_agree_with_counting() -> None:
    draw = np.random.default_rng(1)
    scores, is_good = draw.integers(0, 8, 200) / 8, draw.random(200) < 0.4
    figures = training._figures(scores, is_good)
    pairs = [(good > bad) + (good == bad) / 2 for good in scores[is_good] for bad in scores[~is_good]]
    assert figures["auc"] == pytest.approx(np.mean(pairs))
    assert figures["recall"] == pytest.approx((scores[is_good] >= 0.5).mean())
    assert figures["effects"][2].bad_kept == pytest.approx((scores[~is_good] >= 0.5).mean())
