"""A corpus is added to only where that gives what deduplicating at once would give; else the plan says what differs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.config import ConfigError, RunConfig
from flows.onto import find_base, first_generations
from flows.plan import make_plan, plan_corpus
from storage.artifact import Manifest, read_manifest, seal
from storage.tombstones import add_tombstones
from tasks.stage import StagePlan
from tests.flows.test_plan import moved, plan_of, values

__all__ = ["values"]  # a fixture

NOWHERE = "tiny-000000000000"


def complete(plan: StagePlan) -> str:
    """Seal an artifact without files; its folder."""
    made_of = (plan.algorithm_version, dict(plan.literals), dict(plan.inputs), dict(plan.libraries))
    when = ("2026-01-01T00:00:00+00:00", 1.0)
    recorded = dict(plan.recorded)
    seal(plan.uri, Manifest(plan.stage, plan.name, plan.fingerprint, *made_of, [], {}, "", *when, recorded=recorded))
    return plan.uri.rsplit("/", 1)[-1]


def problems_of(values: dict[str, Any], changes: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        plan_of(values, changes)
    return caught.value.problems


def test_the_corpus_that_is_added_to_is_an_input_and_its_folder_no_literal(values: dict[str, Any]) -> None:
    before = plan_of(values)
    folder = complete(before.deduplicate)
    plan = plan_of(values, {"deduplicate": {"onto": folder}})
    assert plan.deduplicate.inputs == before.deduplicate.inputs | {"onto": before.deduplicate.fingerprint}
    assert plan.deduplicate.literals == before.deduplicate.literals
    assert plan.deduplicate.fingerprint != before.deduplicate.fingerprint
    assert plan.curate == before.curate


def test_what_computes_the_signatures_decides_nothing(values: dict[str, Any]) -> None:
    assert moved(values, {"deduplicate": {"signatures": "datasketch"}}) == set()
    for change in ({"survivor": "longest"}, {"grouping": "any_bucket"}, {"urls": True}, {"verify": {"enabled": True}}):
        assert "deduplicate" in moved(values, {"deduplicate": change}), change


def test_the_best_quality_needs_a_score(values: dict[str, Any], tmp_path: Path) -> None:
    (problem,) = problems_of(values, {"deduplicate": {"survivor": "best_quality"}})
    assert problem.startswith("deduplicate.survivor: best_quality goes by the quality classifier's score")
    assert "set curate.classifier.model" in problem
    (tmp_path / "quality.bin").write_bytes(b"classifier")
    scored = {"deduplicate": {"survivor": "best_quality"}, "curate.classifier": {"model": f"{tmp_path}/quality.bin"}}
    assert plan_of(values, scored).deduplicate.literals["survivor"] == "best_quality"


def test_a_corpus_that_is_not_there_is_told_with_those_that_are(values: dict[str, Any]) -> None:
    onto = {"deduplicate": {"onto": NOWHERE}}
    (problem,) = problems_of(values, onto)
    assert problem.startswith(f"deduplicate.onto: {values['root']}/deduplicate has no complete corpus '{NOWHERE}'")
    assert "this run has none yet" in problem
    assert problem.endswith("without it (deduplicate.onto=null) the corpus is made at once")
    complete(plan_of(values, {"name": "tiny-other"}).deduplicate)
    folder = complete(plan_of(values).deduplicate)
    Path(values["root"], "deduplicate", "tiny-999999999999").mkdir()  # begun
    assert f"of this run there is {folder};" in problems_of(values, onto)[0]
    for elsewhere in (f"../deduplicate/{folder}", "", ".."):
        assert "has no complete corpus" in problems_of(values, {"deduplicate": {"onto": elsewhere}})[0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"deduplicate": {"survivor": "oldest"}}, "survivor: newest -> oldest"),
        ({"deduplicate": {"verify": {"enabled": True}}}, "verify.enabled: False -> True"),
        ({"deduplicate": {"bands": 14, "rows": 8}}, "bands: 40 -> 14; rows: 20 -> 8"),
        ({"refine": {"min_characters": 7}}, "refine.min_characters: 200 -> 7"),
        ({"refine": {"footer": {"files": []}}}, "input footer keywords"),
        ({"curate.quality": {"min_letters": 300}}, "curate.quality.min_letters: 400 -> 300"),
        ({"curate.language": {"min_score": 0.9}}, "curate.language.min_score"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_settings_are_named(values: dict[str, Any], change: dict[str, Any], said: str) -> None:
    folder = complete(plan_of(values).deduplicate)
    change = change | {"deduplicate": {"onto": folder} | change.get("deduplicate", {})}
    (problem,) = problems_of(values, change)
    assert problem.startswith(f"deduplicate.onto: {folder} was made otherwise (")
    assert said in problem
    if ";" not in said:
        assert problem.count(";") == 1, "what is the same is not said"


def test_another_algorithm_or_library_of_curation_is_named(values: dict[str, Any]) -> None:
    plan = plan_of(values).deduplicate
    folder = complete(plan)
    made = read_manifest(plan.uri)
    assert made is not None
    curated = made.recorded["curated"]
    older = vars(made) | {"recorded": {"curated": curated | {"libraries": curated["libraries"] | {"numpy": "1.0"}}}}
    seal(plan.uri, Manifest(**older))
    assert "curate's numpy: 1.0 -> " in problems_of(values, {"deduplicate": {"onto": folder}})[0]
    seal(plan.uri, Manifest(**vars(made) | {"algorithm_version": "2"}))
    assert "algorithm 2 -> 3" in problems_of(values, {"deduplicate": {"onto": folder}})[0]


def test_a_corpus_of_before_a_takedown_is_not_added_to(values: dict[str, Any]) -> None:
    folder = complete(plan_of(values).deduplicate)
    add_tombstones(values["root"], ["host:karuta.example"], reason="request", list_digest="0" * 64)
    (problem,) = problems_of(values, {"deduplicate": {"onto": folder}})
    assert "(input tombstones of curate); pages were taken down since, which it may hold; without it" in problem


def test_more_files_may_be_read_and_no_crawl_fewer(values: dict[str, Any], tmp_path: Path) -> None:
    folder = complete(plan_of(values).deduplicate)
    (tmp_path / "b.warc.gz").write_bytes((tmp_path / "a.warc.gz").read_bytes())
    plan = plan_of(values, {"deduplicate": {"onto": folder}})
    assert plan.curate.fingerprint != plan_of(values, {"curate.sources": [f"{tmp_path}/a.warc.gz"]}).curate.fingerprint

    crawls = [f"commoncrawl:CC-MAIN-2024-{week}" for week in (10, 18)]
    made = plan.deduplicate
    curated = made.recorded["curated"] | {"sources": crawls}
    asked = StagePlan(**vars(made) | {"recorded": {"curated": curated | {"sources": [f"{crawls[0]}:8"]}}})
    folder = complete(StagePlan(**vars(made) | {"recorded": {"curated": curated}}))
    with pytest.raises(ValueError, match=r"\(it holds CC-MAIN-2024-18, which curate\.sources do not name\)"):
        find_base(asked, folder)


def test_a_crawl_came_with_the_first_generation_that_names_it(values: dict[str, Any]) -> None:
    plan = plan_of(values).deduplicate
    chain = []
    for sources in (["commoncrawl:CC-MAIN-2024-10", "a.warc.gz"], ["commoncrawl:CC-MAIN-2024-1" + n for n in "08"]):
        complete(StagePlan(**vars(plan) | {"recorded": {"curated": {"sources": sources}}}))
        made = read_manifest(plan.uri)
        assert made is not None
        chain.append(made)
    assert first_generations(chain) == {"CC-MAIN-2024-10": 1, "CC-MAIN-2024-18": 2}


def test_corpus_and_whole_plan_agree(values: dict[str, Any]) -> None:
    folder = complete(plan_of(values).deduplicate)
    run = RunConfig.model_validate(yaml.safe_load(yaml.safe_dump(values | {"deduplicate": {"onto": folder}})))
    assert plan_corpus(run)[1] == make_plan(run, run_file="").deduplicate
