"""What the options say, and every mistake in them at once."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from flows.config import ConfigError, load_run
from flows.plan import make_plan
from flows.tokenizer_comparison.config import PRESETS, Compared, candidate_runs, parse_compared
from tests.flows.conftest import write_run


def parse(**options: list[str]) -> Compared:
    names = ("tokenizers", "texts", "code", "models")
    given = {name: options.get(name, []) for name in names}
    return parse_compared(options.get("candidates"), **given, max_characters=None, context=None)


def test_options_become_a_comparison() -> None:
    found = parse(
        candidates=["8000", "none", "8000"],
        tokenizers=["a=x/y=z"],
        texts=["ja=t/*.jsonl", "ja=u.parquet"],
    )
    assert found.candidates == [8000, "none"]
    assert found.tokenizers == {"a": "x/y=z"}
    assert [(text.language, text.files) for text in found.texts] == [("ja", "t/*.jsonl"), ("ja", "u.parquet")]
    assert found.models == Compared().models
    assert parse().candidates == [16_000, 32_000, "none"]


def test_mistakes_are_said_together() -> None:
    with pytest.raises(ConfigError) as caught:
        parse(tokenizers=["a", "b=", "c=x", "c=y"], texts=["ja"])
    assert len(caught.value.problems) == 4
    for candidates, said in (["many"], "--candidates many"), (["0"], "expected a number of candidates from 1"):
        with pytest.raises(ConfigError, match=said):
            parse(candidates=candidates)
    with pytest.raises(ConfigError, match="a size of vocabulary is called that"):
        parse(candidates=["16000"], tokenizers=["16k=x"])
    with pytest.raises(ConfigError, match=r"texts\.0\.language"):
        parse(texts=["Japanese=x"])


def test_the_deployment_compares_what_the_command_does() -> None:
    deployed = yaml.safe_load((PRESETS.parents[1] / "prefect.yaml").read_text())["deployments"]
    (parameters,) = (entry["parameters"] for entry in deployed if entry["name"] == "tokenizers")
    assert Compared.model_validate(parameters["compared"]) == Compared()


def test_candidates_are_the_run_with_another_vocabulary(tmp_path: Path) -> None:
    """They share everything before expansion, and one that is the run's own size is the run's own artifact."""
    run = load_run(write_run(tmp_path))
    runs = candidate_runs(run, [600, 1000, "none"])
    assert list(runs) == ["600", "1k", "none"]
    own, plans = make_plan(run), {name: make_plan(candidate) for name, candidate in runs.items()}
    assert {plan.deduplicate.uri for plan in plans.values()} == {own.deduplicate.uri}
    assert plans["600"].expand.uri == own.expand.uri
    assert len({plan.expand.uri for plan in plans.values()}) == 3
    assert [candidate.variant for candidate in runs.values()] == ["tokenizer-600", "tokenizer-1k", "tokenizer-none"]
    switched_off = run.model_copy(update={"expand": run.expand.model_copy(update={"enabled": False})})
    assert make_plan(candidate_runs(switched_off, [600])["600"]).expand.uri == own.expand.uri
    with pytest.raises(ConfigError, match="--candidates 600000"):
        candidate_runs(run, [600_000])
