"""What is asked: the right files, the right items, and everything that is missing said at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tasks.evaluate.benchmark import Item, MissingDataError
from tasks.evaluate.config import EvaluateConfig
from tasks.evaluate.examples import describe_benchmark
from tasks.evaluate.suite_plan import chosen_items, files_of, plan_suite, skipped_profiles
from tests.tasks.evaluate import stand_ins

ANSWERS = "Answers (swallow-2023)"
ITEMS = [Item(str(number), {}, "", "") for number in range(200)]


@pytest.fixture(autouse=True)
def _stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_ins.install(monkeypatch)


def test_a_smaller_limits_items_are_among_a_larger_ones_in_the_order_of_the_file() -> None:
    few, more = chosen_items(ITEMS, 20), chosen_items(ITEMS, 50)
    assert (len(few), len(more)) == (20, 50)
    assert {item.id for item in few} < {item.id for item in more}
    numbers = [int(item.id) for item in more]
    assert numbers == sorted(numbers)
    assert numbers != list(range(50)), "the beginning of the file is no sample"
    assert chosen_items(ITEMS[::-1], 20) == few[::-1], "the order of the file decides nothing"
    assert chosen_items(ITEMS, None) == chosen_items(ITEMS, 500) == ITEMS


def test_both_profiles_ask_the_same_items(tmp_path: Path) -> None:
    data, prompts = stand_ins.write_data(tmp_path / "data"), stand_ins.write_prompts(tmp_path / "prompts")
    config = EvaluateConfig(
        tasks=["niilc", "jcommonsenseqa"], profile="both", data=str(data), prompts=str(prompts), limit=4
    )
    suite = plan_suite(config)
    assert [asked.key for asked in suite] == [
        "niilc-strict",
        "niilc-swallow-2023",
        "jcommonsenseqa-strict",
        "jcommonsenseqa-swallow-2023",
    ]
    assert [item.id for item in suite[0].items] == [item.id for item in suite[1].items]
    first = suite[0]
    assert (len(first.items), first.num_all, first.label) == (4, 10, "Answers (strict)")
    assert list(first.malformed) == ["items.jsonl:11: not JSON"]
    assert suite[2].starts == [0, 3, 6, 9, 12]
    assert len(suite[2].flat) == 12
    assert suite[1].flat[0].context.text.startswith("一語で答えよ。\n質問：")  # type: ignore[union-attr]
    assert [asked.shots_from for asked in suite[:2]] == ["strict/niilc.json", "niilc.json"]


def test_all_that_is_missing_is_said_at_once(tmp_path: Path) -> None:
    data = stand_ins.write_data(tmp_path)
    (data / "jcommonsenseqa/items.jsonl").unlink()
    config = EvaluateConfig(tasks=["jcommonsenseqa", "niilc"], profile="both", data=str(data))
    with pytest.raises(MissingDataError) as raised:
        plan_suite(config)
    said = str(raised.value).splitlines()
    assert len(said) == 2, said
    for part in ("jcommonsenseqa: ", "jcommonsenseqa/items.jsonl", str(data), "Written by the tests", "evaluate.files"):
        assert part in said[0]
    assert said[1].startswith("niilc (swallow-2023): expected niilc.json")


def test_without_a_data_folder_the_message_names_the_setting() -> None:
    with pytest.raises(MissingDataError, match=r"niilc: no data: evaluate\.data names no folder"):
        plan_suite(EvaluateConfig(tasks=["niilc"]))


def test_a_file_without_an_item_is_no_benchmark(tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    config = EvaluateConfig(tasks=["niilc"], files={"niilc": {"items": [str(tmp_path / "broken")]}})
    with pytest.raises(ValueError, match=r"niilc: .*directory"):
        plan_suite(config)


def test_files_that_are_named_come_before_the_usual_places(tmp_path: Path) -> None:
    data = str(stand_ins.write_data(tmp_path))
    usual = files_of(stand_ins.CHOICES, EvaluateConfig(data=data))
    assert usual.items == (f"{data}/jcommonsenseqa/items.jsonl",), "the first of the usual places is empty"
    named = {"jcommonsenseqa": {"items": ["hf:larks/birds@test"], "shots": "train.jsonl"}}
    found = files_of(stand_ins.CHOICES, EvaluateConfig(data=data, files=named, prompts="prompts"))
    assert (found.items, found.shots, found.prompts) == (("hf:larks/birds@test",), "train.jsonl", "prompts")


def test_what_a_reader_leaves_out_is_carried_into_what_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = str(stand_ins.write_data(tmp_path))
    without = replace(stand_ins.ANSWERS, read=lambda files: replace(stand_ins.ANSWERS.read(files), left_out=3))
    monkeypatch.setattr("tasks.evaluate.suite_plan.load_benchmark", lambda name: without)
    (asked,) = plan_suite(EvaluateConfig(tasks=["niilc"], data=data, limit=4))
    told = describe_benchmark(asked)
    assert (told["n"], told["n_all"], told["num_malformed"], told["left_out"]) == (4, 10, 1, 3)


def test_a_profile_without_its_prompt_file_may_be_skipped_but_not_all_of_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = {
        "tasks": ["jcommonsenseqa", "niilc"],
        "data": str(stand_ins.write_data(tmp_path)),
        "skip_unprompted": True,
    }
    config = EvaluateConfig.model_validate(settings | {"profile": "both"})
    suite = plan_suite(config)
    assert [asked.key for asked in suite] == ["jcommonsenseqa-strict", "jcommonsenseqa-swallow-2023", "niilc-strict"]
    assert skipped_profiles(config, suite) == [{"task": "niilc", "profile": "swallow-2023", "label": ANSWERS}]
    assert ANSWERS in caplog.text
    alone = EvaluateConfig.model_validate(settings | {"tasks": ["niilc"], "profile": "swallow-2023"})
    with pytest.raises(MissingDataError, match=r"niilc \(swallow-2023\): expected niilc\.json"):
        plan_suite(alone)


def test_items_that_are_missing_are_never_skipped(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="niilc: no data"):
        plan_suite(EvaluateConfig(tasks=["niilc"], data=str(tmp_path), skip_unprompted=True))


def test_nothing_is_asked_without_benchmarks() -> None:
    assert plan_suite(EvaluateConfig()) == []
