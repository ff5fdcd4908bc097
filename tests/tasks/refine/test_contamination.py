"""Items of benchmarks must be found however they are written, and common phrases must not be taken for them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from tasks.refine.contamination import Contamination, Hit, merge_tallies
from tasks.refine.contamination_config import DecontaminationConfig

SHORT = "雲雀が春の空で長く鳴きつづけるのはなぜですか？"
LONG = (
    "太郎は朝の7時に家を出て、駅まで15分歩きました。駅で3分待ってから電車に乗り、40分後に町に着きました。"
    "そこから図書館までは自転車で8分かかります。太郎が図書館に着いたのは何時何分ですか。"
)
ENGLISH = "A lark sang for three hours every morning, and then it rested until the sun went down behind the hills."
TOO_SHORT = "鳥は何羽？"
PAGE = (
    "春になると畑の上で鳥の声がする。姿を探しても、まぶしくてなかなか見つからない。\n"
    "祖父はその声を聞くと仕事の手を休め、しばらく空を見上げていたものだ。\n"
)


@pytest.fixture
def config(tmp_path: Path) -> DecontaminationConfig:
    rows = [{"id": "s", "q": SHORT}, {"id": "l", "q": LONG}, {"id": "t", "q": TOO_SHORT}, {"id": "s2", "q": SHORT}]
    (tmp_path / "birds.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "english.txt").write_text(ENGLISH + "\nThat is the only way.\n")
    return DecontaminationConfig.model_validate(
        {
            "benchmarks": [
                {"name": "birds", "files": [str(tmp_path / "birds.jsonl")], "fields": ["q"], "id": "id"},
                {"name": "english", "files": [str(tmp_path / "english.txt")]},
            ]
        }
    )


@pytest.fixture
def contamination(config: DecontaminationConfig) -> Contamination:
    return Contamination(config)


def spread(text: str, every: int, by: str) -> str:
    return by.join(text[start : start + every] for start in range(0, len(text), every))


def full_width(text: str) -> str:
    return "".join(chr(ord(character) + 0xFEE0) if "!" <= character <= "~" else character for character in text)


@pytest.mark.parametrize(("text", "item"), [(SHORT, "s"), (LONG, "l"), (ENGLISH, "english.txt:1")])
@pytest.mark.parametrize(
    "write",
    [
        pytest.param(str, id="verbatim"),
        pytest.param(lambda text: spread(text, 4, " "), id="spaced"),
        pytest.param(lambda text: spread(text, 7, "\n"), id="broken into lines"),
        pytest.param(full_width, id="full width"),
        pytest.param(str.upper, id="capitals"),
        pytest.param(lambda text: text.replace("、", "，").rstrip("？。."), id="other punctuation"),
        pytest.param(lambda text: f"【問】「{text}」", id="quoted"),
    ],
)
def test_planted_items_are_found(contamination: Contamination, text: str, item: str, write) -> None:
    page = PAGE + write(text) + "\n" + PAGE
    (hit,) = contamination.find(page)
    assert (hit.item, hit.overlap) == (item, 1.0)
    found = page[slice(*hit.span)]
    assert found[0] == write(text).strip("【問】「")[0]
    assert len(PAGE) <= hit.span[0] < hit.span[1] <= len(page) - len(PAGE)


def test_clean_pages_are_clean(contamination: Contamination) -> None:
    assert contamination.find(PAGE) == []
    assert contamination.find("") == []
    assert contamination.find("That is the only way. " + TOO_SHORT) == []


def test_a_short_item_must_be_there_as_a_whole(contamination: Contamination) -> None:
    assert contamination.find(PAGE + SHORT[:-3] + "。") == []
    assert contamination.find(PAGE + SHORT.replace("空", "宙")) == []
    halves = SHORT[:14] + "、" + PAGE + SHORT[1:]
    assert contamination.find(halves) == []


def test_of_a_long_item_half_of_the_ngrams_is_enough(contamination: Contamination) -> None:
    letters_only = "".join(character for character in LONG if character.isalnum())
    num_ngrams = len(letters_only) - 9
    enough = 9 + -(-num_ngrams // 2)
    (hit,) = contamination.find(PAGE + letters_only[:enough] + "。" + PAGE)
    assert hit.overlap == pytest.approx(0.5, abs=0.01)
    assert hit.needed == 0.5
    assert contamination.find(PAGE + letters_only[: enough - 1] + "。" + PAGE) == []


def test_pieces_far_apart_do_not_add_up(contamination: Contamination) -> None:
    """Sentences that a page shares with an item, here and there, are not the item."""
    pieces = [LONG[:40], LONG[40:80]]
    assert contamination.find(pieces[0] + "\n" + pieces[1])
    assert contamination.find(pieces[0] + "\n" + PAGE * 4 + pieces[1]) == []


def test_repetition_does_not_add_up(contamination: Contamination) -> None:
    assert contamination.find((LONG[:30] + "。") * 20) == []


def test_the_largest_overlap_comes_first(contamination: Contamination) -> None:
    hits = contamination.find(LONG[: len(LONG) * 3 // 4] + PAGE + SHORT)
    assert [hit.item for hit in hits] == ["s", "l"]
    assert hits[0].overlap > hits[1].overlap


def test_tables_count_items_and_documents(contamination: Contamination) -> None:
    pages = [PAGE + SHORT, SHORT + LONG, PAGE]
    tally = contamination.tally([contamination.find(page) for page in pages])
    assert tally == {
        "birds": {"items": 2, "skipped": 1, "documents": 2, "found": {"l": 1, "s": 2}},
        "english": {"items": 1, "skipped": 1, "documents": 0, "found": {}},
    }
    other = contamination.tally([[Hit("birds", "s", 1.0, 1.0, (0, 1))]])
    table = merge_tallies([tally, json.loads(json.dumps(other))])
    assert table["birds"] == {
        "items": 2,
        "skipped": 1,
        "items_found": 2,
        "documents": 3,
        "examples": [["s", 3], ["l", 1]],
    }
    assert table["english"]["documents"] == 0
    assert SHORT not in json.dumps(table, ensure_ascii=False)


def test_a_changed_file_is_read_again(config: DecontaminationConfig) -> None:
    assert Contamination(config).find(SHORT)
    path = Path(config.benchmarks[0].files[0])
    path.write_text(json.dumps({"id": "n", "q": "燕が軒下に巣を作るのはどうしてでしょうか？"}))
    again = Contamination(config)
    assert again.find(SHORT) == []
    assert [hit.item for hit in again.find("燕が軒下に巣を作るのはどうしてでしょうか")] == ["n"]


def test_many_items_agree_with_a_plain_search(tmp_path: Path) -> None:
    """The index against Python's `in`, on items and pages drawn from few letters, where n-grams repeat."""
    draw = np.random.default_rng(5)
    items = ["".join(draw.choice(list("空雲雀鳥声"), size)) for size in draw.integers(5, 12, 300)]
    (tmp_path / "items.txt").write_text("\n".join(items))
    config = DecontaminationConfig.model_validate(
        {"ngram": 5, "benchmarks": [{"name": "b", "files": [str(tmp_path / "items.txt")]}]}
    )
    contamination = Contamination(config)
    num_found = 0
    for _ in range(40):
        page = "".join(draw.choice(list("空雲雀鳥声"), 400))
        found = {items[int(hit.item.split(":")[1]) - 1] for hit in contamination.find(page)}
        assert found == {item for item in items if item in page}
        num_found += len(found)
    assert num_found > 100


def test_a_benchmark_can_leave_out_what_everyone_says(tmp_path: Path) -> None:
    (tmp_path / "wmt.ja").write_text("ありがとうございました。\n" + SHORT)
    entry = {"name": "wmt", "files": [str(tmp_path / "wmt.ja")]}
    thanks = PAGE + "ありがとうございました。"
    for min_letters, found, skipped in ((0, 1, 0), (13, 0, 1)):
        config = DecontaminationConfig.model_validate({"benchmarks": [{**entry, "min_letters": min_letters}]})
        contamination = Contamination(config)
        assert len(contamination.find(thanks)) == found
        assert contamination.tally([])["wmt"]["skipped"] == skipped
        assert contamination.find(SHORT)


def test_a_benchmark_of_short_texts_only(tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("春は？\n秋は？\n")
    config = DecontaminationConfig.model_validate(
        {"benchmarks": [{"name": "short", "files": [str(tmp_path / "short.txt")]}]}
    )
    contamination = Contamination(config)
    assert contamination.find(PAGE + "春は？") == []
    assert contamination.tally([])["short"] == {"items": 0, "skipped": 2, "documents": 0, "found": {}}


def test_config_is_checked() -> None:
    entry = {"name": "a", "files": ["a.txt"]}
    with pytest.raises(ValidationError, match="every name once"):
        DecontaminationConfig.model_validate({"benchmarks": [entry, entry]})
    assert DecontaminationConfig().files == []
    assert isinstance(hash(DecontaminationConfig.model_validate({"benchmarks": [entry]})), int)
