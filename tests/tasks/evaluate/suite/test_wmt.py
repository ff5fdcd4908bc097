from __future__ import annotations

from pathlib import Path

import pytest
import sacrebleu

from tasks.evaluate.benchmark import Files, Items, MissingDataError
from tasks.evaluate.requests import Generate
from tasks.evaluate.suite import load_benchmark
from tasks.evaluate.suite.wmt import WMT20_EN_JA, WMT20_JA_EN, WMT21_EN_JA
from tests.tasks.evaluate.suite.suite_cases import judged, lines_file, prompt_of, requests_of, use_shots

ENGLISH = "A lark sings. \nThe ferry is late.\n"
JAPANESE = "雲雀が鳴いている。\n船が遅れている。\n"


def pair(folder: Path, english: str = ENGLISH, japanese: str = JAPANESE) -> Files:
    (folder / "en-ja.src.en").write_text(english, encoding="utf-8")
    (folder / "en-ja.ref.ja").write_text(japanese, encoding="utf-8")
    return Files((str(folder / "en-ja.src.en"), str(folder / "en-ja.ref.ja")))


@pytest.fixture
def items(tmp_path: Path) -> Items:
    return WMT20_EN_JA.read(pair(tmp_path))


def test_two_files_line_by_line_without_spaces_at_the_end(items: Items) -> None:
    assert [(item.id, item.parts["source"], item.gold) for item in items.items] == [
        ("1", "A lark sings.", "雲雀が鳴いている。"),
        ("2", "The ferry is late.", "船が遅れている。"),
    ]


def test_rows_of_the_hub(tmp_path: Path) -> None:
    rows = [{"translation": {"en": "A lark sings.", "ja": "雲雀が鳴いている。"}}]
    (item,) = WMT20_JA_EN.read(lines_file(tmp_path / "test.jsonl", rows)).items

    assert (item.parts["source"], item.gold) == ("雲雀が鳴いている。", "A lark sings.")


def test_empty_lines_keep_the_others_in_step(tmp_path: Path) -> None:
    items = WMT20_EN_JA.read(pair(tmp_path, f"Lost.\n\n{ENGLISH}", f"\nなし。\n{JAPANESE}"))

    assert [item.id for item in items.items] == ["3", "4"]
    assert [message.split(": ")[0] for message in items.malformed] == ["en-ja.src.en:1", "en-ja.src.en:2"]


def test_a_line_that_is_no_text_keeps_the_others_in_step(tmp_path: Path) -> None:
    files = pair(tmp_path)
    Path(files.items[0]).write_bytes(ENGLISH.encode() + b"\xff\n")
    Path(files.items[1]).write_text(f"{JAPANESE}海。\n", encoding="utf-8")
    items = WMT20_EN_JA.read(files)

    assert len(items.items) == 2
    assert len(items.malformed) == 1
    assert "en-ja.src.en:3: not UTF-8" in items.malformed[0]


def test_files_of_different_length_and_missing_ones(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"src\.en has 2 lines, .*ref\.ja has 3"):
        WMT20_EN_JA.read(pair(tmp_path, ENGLISH, f"{JAPANESE}海。\n"))
    with pytest.raises(MissingDataError, match=r"sacrebleu -t wmt20 -l en-ja --echo src > wmt20/en-ja\.src\.en"):
        WMT20_EN_JA.read(Files(("missing.en", "missing.ja")))
    with pytest.raises(MissingDataError, match="wmt21-news-systems"):
        WMT21_EN_JA.read(Files((str(tmp_path / "en-ja.src.en"), "missing.ja")))
    with pytest.raises(ValueError, match="two files, source and reference, got 3"):
        WMT20_EN_JA.read(Files(("a", "b", "c")))


def test_swallow_shows_other_sentences_of_the_test_set(items: Items) -> None:
    (request,) = requests_of(WMT20_EN_JA, "swallow-2023", items, 0)

    assert isinstance(request, Generate)
    assert prompt_of(request) == (
        "English phrase: The ferry is late.\nJapanese phrase: 船が遅れている。\n\n"
        "English phrase: A lark sings.\nJapanese phrase:|"
    )
    assert (request.stops, request.max_tokens) == (("\n",), 256)


def test_swallow_into_english(tmp_path: Path) -> None:
    files = pair(tmp_path)
    items = WMT20_JA_EN.read(Files((files.items[1], files.items[0])))
    (request,) = requests_of(WMT20_JA_EN, "swallow-2023", items, 1)

    assert prompt_of(request) == (
        "Japanese phrase: 雲雀が鳴いている。\nEnglish phrase: A lark sings.\n\n"
        "Japanese phrase: 船が遅れている。\nEnglish phrase:|"
    )


def test_strict_asks_with_our_words(items: Items, monkeypatch: pytest.MonkeyPatch) -> None:
    use_shots(monkeypatch, "Translate.", {"source": "The sea.", "answer": "海。"})
    (request,) = requests_of(WMT20_EN_JA, "strict", items, 0)

    assert isinstance(request, Generate)
    assert prompt_of(request) == (
        "Translate.\n\nEnglish: The sea.\nJapanese: 海。\n\nEnglish: A lark sings.\nJapanese:|"
    )
    assert (request.stops, request.max_characters) == (("\n",), 300)


@pytest.mark.parametrize("profile", ["strict", "swallow-2023"])
def test_bleu_of_both_directions_is_sacrebleu_s(tmp_path: Path, profile: str) -> None:
    """Over the two sentences together; Japanese words are those of the profile."""
    outputs = {
        "ja": [" 雲雀が高く鳴いている。", " 船が遅れている。"],
        "en": [" A lark sings.", " The ferry is very late."],
    }
    files = pair(tmp_path)
    for benchmark, target, reference in (
        (WMT20_EN_JA, "ja", JAPANESE.split()),
        (WMT20_JA_EN, "en", ["A lark sings.", "The ferry is late."]),
    ):
        items = benchmark.read(files if target == "ja" else Files(files.items[::-1]))
        rows = [
            {"columns": judged(benchmark, profile, item, output).columns}  # type: ignore[arg-type]
            for item, output in zip(items.items, outputs[target], strict=True)
        ]
        metric = benchmark.forms[profile].metrics[0]  # type: ignore[index]
        hypotheses = [output.strip() for output in outputs[target]]
        if target == "en":
            expected = sacrebleu.corpus_bleu(hypotheses, [reference])
        elif profile == "strict":
            expected = sacrebleu.corpus_bleu(hypotheses, [reference], tokenize="ja-mecab")
        else:
            import nagisa

            split = [[" ".join(nagisa.tagging(text).words) for text in texts] for texts in (hypotheses, reference)]
            expected = sacrebleu.corpus_bleu(split[0], [split[1]])
        assert metric.name == "bleu"
        assert metric.of(rows) == pytest.approx(expected.score / 100, abs=1e-9)


def test_right_and_empty(items: Items) -> None:
    right = judged(WMT20_EN_JA, "strict", items.items[0], " 雲雀が鳴いている。")
    empty = judged(WMT20_EN_JA, "strict", items.items[0], "")

    assert right.columns["chrf"] == pytest.approx(1.0)
    assert (empty.columns["chrf"], empty.flags) == (0.0, ("empty_output",))
    assert WMT20_EN_JA.forms["strict"].metrics[0].of([{"columns": empty.columns}]) == 0.0
    assert judged(WMT20_EN_JA, "swallow-2023", items.items[0], "").flags == ("empty_output",)


def test_stand_ins_carry_their_own_names() -> None:
    for year in (21, 22):
        for direction in ("en_ja", "ja_en"):
            benchmark = load_benchmark(f"wmt{year}_{direction}")
            assert benchmark.name == f"wmt{year}_{direction}"
            assert f"WMT{year}" in benchmark.label
            assert benchmark.stands_in_for == f"wmt20_{direction}"
    assert WMT20_EN_JA.stands_in_for is None


@pytest.mark.parametrize(
    ("name", "number"),
    [("wmt21_en_ja", 1000), ("wmt21_ja_en", 1005), ("wmt22_en_ja", 2037), ("wmt22_ja_en", 2008)],
)
def test_the_published_files_hold_what_is_said(shared_data: Path, name: str, number: int) -> None:
    benchmark = load_benchmark(name)
    items = benchmark.read(Files(tuple(str(shared_data / "eval" / path) for path in benchmark.default_items[0])))

    assert (len(items.items), len(items.malformed)) == (number, 0)
    longest = max(len(item.gold) for item in items.items)
    (request,) = requests_of(benchmark, "strict", items, 0)
    assert isinstance(request, Generate)
    assert request.max_characters is not None
    assert longest < request.max_characters  # no reference would have been cut off
