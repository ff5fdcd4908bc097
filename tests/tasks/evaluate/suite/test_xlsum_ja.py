from __future__ import annotations

import json
from pathlib import Path

import pytest

from tasks.evaluate.benchmark import Files, Items, MissingDataError
from tasks.evaluate.requests import Generate
from tasks.evaluate.suite.xlsum_ja import BENCHMARK
from tests.tasks.evaluate.suite.suite_cases import judged, lines_file, prompt_of, requests_of, use_shots

ROWS = [
    {"id": "a", "url": "x", "title": "鳥", "text": "雲雀が戻った。\n春が来た。", "summary": "春に雲雀が戻った。"},
    {"id": "b", "url": "y", "title": "港", "text": "港に船が着いた。", "summary": "船が着いた。"},
]


@pytest.fixture
def items(tmp_path: Path) -> Items:
    return BENCHMARK.read(lines_file(tmp_path / "test.jsonl", ROWS))


@pytest.fixture
def prompts(tmp_path: Path) -> str:
    (tmp_path / "xlsum_ja.json").write_text('{"instruction": "短くまとめること。\\n\\n"}', encoding="utf-8")
    return str(tmp_path)


def test_articles_and_summaries(items: Items) -> None:
    assert [(item.id, item.parts["text"], item.gold) for item in items.items] == [
        ("a", "雲雀が戻った。\n春が来た。", "春に雲雀が戻った。"),
        ("b", "港に船が着いた。", "船が着いた。"),
    ]


def test_rows_that_are_none_and_missing_files(items: Items, tmp_path: Path) -> None:
    read = BENCHMARK.read(lines_file(tmp_path / "test.jsonl", [{**ROWS[0], "summary": ""}, *ROWS]))

    assert read.malformed == ['test.jsonl:1: expected text in `summary`, got str ""']
    with pytest.raises(MissingDataError, match=r"BUET.*mkshing/xlsum_ja.*15-grams"):
        BENCHMARK.read(Files((str(tmp_path / "missing.jsonl"),)))
    for files in (Files(()), Files((), prompts=str(tmp_path))):
        with pytest.raises(MissingDataError, match=r"instruction.*xlsum_ja\.json.*DESCRIPTION"):
            BENCHMARK.forms["swallow-2023"].shots(items, files, None)


@pytest.mark.parametrize("content", ["雲雀", "[]", '{"instruction": " "}'])
def test_a_prompt_file_that_is_none(items: Items, tmp_path: Path, content: str) -> None:
    (tmp_path / "xlsum_ja.json").write_text(content, encoding="utf-8")

    with pytest.raises(ValueError, match=r"xlsum_ja\.json: no"):
        BENCHMARK.forms["swallow-2023"].shots(items, Files((), prompts=str(tmp_path)), None)


def test_swallow_asks_with_the_user_s_sentence(items: Items, prompts: str, tmp_path: Path) -> None:
    training = lines_file(tmp_path / "train.jsonl", ROWS[1:])
    files = Files((), shots=training.items[0], prompts=prompts)
    (request,) = requests_of(BENCHMARK, "swallow-2023", items, 0, files)

    assert isinstance(request, Generate)
    assert prompt_of(request) == (
        "短くまとめること。\n\nニュース記事:港に船が着いた。\n要約:船が着いた。\n\n"
        "ニュース記事:雲雀が戻った。\n春が来た。\n要約:|"
    )
    assert (request.stops, request.max_tokens) == (("\n",), 256)
    assert (request.context.overlong, request.context.reference) == ("sentences", "春に雲雀が戻った。")


def test_strict_may_cut_the_article_and_keeps_the_label(items: Items, monkeypatch: pytest.MonkeyPatch) -> None:
    use_shots(monkeypatch, "要約しなさい。", {"text": "雨が降った。", "answer": "雨。"})
    (request,) = requests_of(BENCHMARK, "strict", items, 0)

    assert isinstance(request, Generate)
    assert prompt_of(request) == (
        "要約しなさい。\n\n記事：雨が降った。\n要約：雨。\n\n記事：雲雀が戻った。\n春が来た。\n要約：|"
    )
    assert (request.context.passage, request.context.after) == ("雲雀が戻った。\n春が来た。", "\n要約：")
    assert (request.stops, request.max_characters) == (("\n",), 200)


def test_rouge_over_words_and_over_the_model_s_own_pieces(items: Items) -> None:
    """With a tokenizer of characters, "雲雀が戻る。" has 5 bigrams, the reference 春に雲雀が戻った。 8; 雲雀, 雀が and
    が戻 are common: 2 * 3 / 13."""
    for profile in ("strict", "swallow-2023"):
        judgement = judged(BENCHMARK, profile, items.items[0], "雲雀が戻る。")
        assert judgement.columns["rouge_2_subword"] == pytest.approx(6 / 13)
        same = judged(BENCHMARK, profile, items.items[0], "春に雲雀が戻った。")
        assert same.columns == {"rouge_2": 1.0, "rouge_2_subword": 1.0}
        nothing = judged(BENCHMARK, profile, items.items[0], "")
        assert (nothing.columns, nothing.flags) == ({"rouge_2": 0.0, "rouge_2_subword": 0.0}, ("empty_output",))


def test_each_profile_has_its_own_headline() -> None:
    headlines = {profile: form.metrics[0].name for profile, form in BENCHMARK.forms.items()}

    assert headlines == {"strict": "rouge_2", "swallow-2023": "rouge_2_subword"}


def test_rows_as_published_compressed(tmp_path: Path) -> None:
    import bz2

    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
    (tmp_path / "japanese_test.jsonl.bz2").write_bytes(bz2.compress(lines.encode()))

    assert len(BENCHMARK.read(Files((str(tmp_path / "japanese_test.jsonl.bz2"),))).items) == 2
