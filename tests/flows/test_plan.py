"""The plan: fingerprints move with what decides bytes and with nothing else; selections and status."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.config import ConfigError, RunConfig
from flows.plan import Plan, make_plan, plan_at_step
from flows.selection import Selection
from flows.status import run_status
from storage.artifact import Manifest, seal
from tasks.stage import STAGES, StagePlan
from tests.tasks.evaluate import stand_ins


@pytest.fixture
def values(tmp_path: Path) -> dict[str, Any]:
    """A run whose external inputs exist, though nothing could be made of them."""
    (tmp_path / "a.warc.gz").write_bytes(gzip.compress(b"WARC/1.0\r\n", mtime=0))
    (tmp_path / "tokenizer.model").write_bytes(b"pieces")
    (tmp_path / "en.jsonl").write_text('{"text": "The lark sings."}\n')
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "config.json").write_text("{}")
    return yaml.safe_load(
        f"""
        name: tiny
        root: {tmp_path}/runs
        curate: {{sources: ["{tmp_path}/*.warc.gz"]}}
        expand: {{base: {tmp_path}/tokenizer.model}}
        initialize: {{base_model: {tmp_path}/base}}
        sources:
          - {{name: corpus, language: ja, weight: 0.9}}
          - {{name: web, language: en, weight: 0.1, documents: ["{tmp_path}/en.jsonl"]}}
        mix: {{train_tokens: 1000000}}
        train: {{seq_len: 64, global_batch: 8, micro_batch: 2, warmup_steps: 2}}
        """
    )


def plan_of(values: dict[str, Any], changes: dict[str, Any] | None = None, **selection: Any) -> Plan:
    changed = yaml.safe_load(yaml.safe_dump(values))
    for name, value in (changes or {}).items():
        section = changed
        *path, last = name.split(".")
        for key in path:
            section = section.setdefault(key, {})
        section[last] = value
    return make_plan(RunConfig.model_validate(changed), Selection(**selection))


def moved(values: dict[str, Any], changes: dict[str, Any]) -> set[str]:
    """Stages whose fingerprint another plan changes."""
    return {
        a.stage
        for a, b in zip(plan_of(values), plan_of(values, changes), strict=True)
        if a.fingerprint != b.fingerprint
    }


def after(stage: str) -> set[str]:
    return set(STAGES[STAGES.index(stage) :])


@pytest.mark.parametrize(
    ("change", "stages"),
    [
        ({"curate.quality": {"min_letters": 300}}, after("curate")),
        ({"deduplicate": {"bands": 14}}, after("deduplicate")),
        ({"refine": {"boilerplate": {"min_share": 0.5}}}, after("deduplicate")),
        ({"refine": {"footer": {"files": []}}}, after("deduplicate")),
        ({"refine": {"profile": "hibari"}}, set()),
        ({"expand.min_count": 9}, after("expand")),
        ({"expand.words": "none"}, after("expand")),
        ({"binarize": {"validation_ratio": 0.2}}, after("expand")),  # what is held out is not learned on
        ({"mix.train_tokens": 2_000_000}, after("mix")),
        ({"mix.packing": "best_fit"}, after("mix")),
        ({"mix.attention": "within"}, after("mix")),
        ({"train.batch_ramp": {"start": 2, "increment": 2, "samples": 64}}, after("mix")),
        ({"train.lr": 5e-5}, after("train")),
        ({"train.schedule": "constant"}, after("train")),
        ({"train.decay": "linear"}, after("train")),
        ({"train.spikes": {"action": "skip"}}, after("train")),
        ({"export": {"dtype": "float32"}}, after("export")),
        ({"evaluate": {"max_bytes": 9000}}, after("evaluate")),
        # How and where it runs is recorded, and changes nothing.
        ({"executor": {"kind": "process", "workers": 7}}, set()),
        ({"train.parallel": {"dp": 2, "tp": 1, "pp": 1}}, set()),
        ({"curate.max_page_seconds": 1}, set()),
        ({"train.save_every": 7}, set()),
        ({"train.recompute": "full", "train.compile": False, "train.loss_chunk": 7}, set()),
        ({"train.async_checkpoints": False, "train.keep_every": 70, "train.max_restarts": 0}, set()),
        ({"train.validate_every": 7, "train.validation_samples": 7, "train.forgetting": {"action": "off"}}, set()),
        ({"train.straggler_every": 7, "train.straggler_ratio": 7, "train.stack_dump_s": 7}, set()),
        ({"train.wandb_project": "larks"}, set()),
        ({"root": "elsewhere"}, set()),
        ({"name": "other"}, {"report"}),
        # A licence decides what the page says, and nothing else.
        ({"curate.licence": "CC-BY-4.0", "curate.attribution": "the larks"}, {"report"}),
        ({"expand.licence": "MIT", "initialize.licence": "MIT"}, {"report"}),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_change_moves_its_stage_and_all_after_it(
    values: dict[str, Any], change: dict[str, Any], stages: set[str]
) -> None:
    assert moved(values, change) == stages


def test_without_expansion_the_tokenizer_does_not_wait_for_the_corpus(values: dict[str, Any]) -> None:
    plan = plan_of(values, {"expand.enabled": False})
    assert set(plan.expand.inputs) == {"base tokenizer"}
    for change in ({"deduplicate": {"bands": 14}}, {"binarize": {"validation_ratio": 0.2}}):
        assert plan_of(values, {"expand.enabled": False} | change).initialize == plan.initialize


@pytest.fixture
def benchmarks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The evaluate section of a run that asks two benchmarks, whose files are there."""
    stand_ins.install(monkeypatch)
    data, prompts = stand_ins.write_data(tmp_path / "data"), stand_ins.write_prompts(tmp_path / "prompts")
    asked = {"tasks": ["bits_per_byte", "jcommonsenseqa", "niilc"], "profile": "both"}
    return asked | {"data": str(data), "prompts": str(prompts)}


def test_a_run_without_benchmarks_is_evaluated_as_before(values: dict[str, Any]) -> None:
    plan = plan_of(values).evaluate
    assert set(plan.inputs) == {"initialize", "binarize", "export"}
    assert set(plan.libraries) == {"torch", "transformers"}
    assert plan.literals["batch_size"] == 4
    assert not {"limit", "forms", "data"} & set(plan.literals)


def test_what_benchmarks_files_hold_is_an_input_and_where_they_lie_is_not(
    values: dict[str, Any], benchmarks: dict[str, Any], tmp_path: Path
) -> None:
    plan = plan_of(values, {"evaluate": benchmarks}).evaluate
    assert {"benchmark jcommonsenseqa", "benchmark niilc", "deduplicate"} < set(plan.inputs)
    assert plan.literals["forms"] == {
        "jcommonsenseqa-strict": 1,
        "jcommonsenseqa-swallow-2023": 1,
        "niilc-strict": 3,
        "niilc-swallow-2023": 3,
    }
    assert set(plan.libraries) == {"torch", "transformers", "tokenizers", "sentencepiece", "rapidfuzz"}
    assert plan.recorded == {"batch_size": 4, "processes": 1}
    moved_data = Path(benchmarks["data"]).rename(tmp_path / "moved")
    for change in ({"data": str(moved_data)}, {"data": str(moved_data), "batch_size": 9, "processes": 3}):
        assert plan_of(values, {"evaluate": benchmarks | change}).evaluate.fingerprint == plan.fingerprint
    benchmarks = benchmarks | {"data": str(moved_data)}
    for change in ({"limit": 3}, {"contamination": {"enabled": False}}, {"profile": "strict"}):
        assert plan_of(values, {"evaluate": benchmarks | change}).evaluate.fingerprint != plan.fingerprint
    for file in (moved_data / "niilc/items.jsonl", Path(benchmarks["prompts"]) / "niilc.json"):
        before = plan_of(values, {"evaluate": benchmarks}).evaluate
        file.write_text(file.read_text() + "\n")
        after_it = plan_of(values, {"evaluate": benchmarks}).evaluate
        differs = {name for name in before.inputs if before.inputs[name] != after_it.inputs[name]}
        assert differs == {"benchmark niilc"}


def test_the_corpus_is_searched_by_the_runs_own_evaluation_only(
    values: dict[str, Any], benchmarks: dict[str, Any]
) -> None:
    at_step = plan_of(values, {"evaluate": benchmarks}, step=3).evaluate
    assert "deduplicate" not in at_step.inputs
    assert "benchmark niilc" in at_step.inputs
    unsearched = benchmarks | {"contamination": {"enabled": False}}
    assert "deduplicate" not in plan_of(values, {"evaluate": unsearched}).evaluate.inputs


def test_benchmarks_whose_files_are_missing_are_named_with_all_other_problems(
    values: dict[str, Any], benchmarks: dict[str, Any], tmp_path: Path
) -> None:
    for name in ("jcommonsenseqa", "niilc"):
        (Path(benchmarks["data"]) / name / "items.jsonl").unlink()
    with pytest.raises(ConfigError) as raised:
        plan_of(values, {"evaluate": benchmarks, "expand.base": str(tmp_path / "nowhere.model")})
    said = "\n".join(raised.value.problems)
    for part in ("nowhere.model", "evaluate.tasks: jcommonsenseqa: no data", "evaluate.tasks: niilc: no data"):
        assert part in said


def test_an_input_that_changes_in_place_is_noticed_and_one_that_moves_is_not(
    values: dict[str, Any], tmp_path: Path
) -> None:
    before = plan_of(values)
    (tmp_path / "moved").mkdir()
    (tmp_path / "en.jsonl").rename(tmp_path / "moved" / "en.jsonl")
    values["sources"][1]["documents"] = [f"{tmp_path}/moved/en.jsonl"]
    assert plan_of(values).report.fingerprint == before.report.fingerprint
    (tmp_path / "moved" / "en.jsonl").write_text('{"text": "The lark is silent."}\n')
    assert plan_of(values).binarize.fingerprint != before.binarize.fingerprint
    assert plan_of(values).expand.fingerprint == before.expand.fingerprint


def test_what_a_list_holds_is_an_input_and_where_it_lies_is_not(values: dict[str, Any], tmp_path: Path) -> None:
    def plan_with(folder: str) -> StagePlan:
        quiz = {"name": "quiz", "files": [f"{tmp_path}/{folder}/quiz.txt"]}
        hosts = {"files": ["builtin", f"{tmp_path}/{folder}/hosts"]}
        return plan_of(values, {"refine": {"hosts": hosts, "decontamination": {"benchmarks": [quiz]}}}).deduplicate

    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "hosts").write_text("karuta.example\n")
        (tmp_path / folder / "quiz.txt").write_text("雲雀はどこに巣を作るか。\n")
    before = plan_with("here")
    assert set(before.inputs) == {"curate", "blocked hosts", "footer keywords", "benchmark quiz"}
    assert str(tmp_path) not in str(before.literals)
    assert plan_with("there").fingerprint == before.fingerprint
    (tmp_path / "there" / "hosts").write_text("sugoroku.example\n")
    assert plan_with("there").inputs["blocked hosts"] != before.inputs["blocked hosts"]
    with pytest.raises(ConfigError, match=r"refine\.hosts\.files: nothing found at .*nowhere/hosts"):
        plan_with("nowhere")


def test_what_a_list_of_ng_words_holds_is_an_input(values: dict[str, Any], tmp_path: Path) -> None:
    def plan_with(*files: str) -> StagePlan:
        return plan_of(values, {"curate": values["curate"] | {"quality": {"ng_words": {"files": list(files)}}}}).curate

    (tmp_path / "here.txt").write_text("雲雀\n")
    (tmp_path / "there.txt").write_text("雲雀\n")
    before = plan_with("builtin", f"{tmp_path}/here.txt")
    assert "NG words" in before.inputs
    assert str(tmp_path) not in str(before.literals)
    assert plan_with("builtin", f"{tmp_path}/there.txt").fingerprint == before.fingerprint
    assert plan_with("builtin").inputs["NG words"] != before.inputs["NG words"]
    assert "NG words" not in plan_with().inputs
    with pytest.raises(ConfigError, match=r"curate\.quality\.ng_words.*nowhere\.txt"):
        plan_with("nowhere.txt")


def test_all_missing_inputs_are_reported_at_once(values: dict[str, Any], tmp_path: Path) -> None:
    changes = {
        "curate.sources": ["nowhere/*.warc.gz"],
        "expand.base": "no.model",
        "initialize.base_model": "nofolder",
    }
    with pytest.raises(ConfigError) as caught:
        plan_of(values, changes)
    assert [row.split(":")[0] for row in caught.value.problems] == [
        "curate.sources",
        "expand.base",
        "initialize.base_model",
    ]
    assert "nowhere/*.warc.gz" in caught.value.problems[0]


def test_selections(values: dict[str, Any]) -> None:
    def selected(**selection: Any) -> list[str]:
        return [stage.stage for stage in plan_of(values, **selection) if stage.selected]

    assert selected() == list(STAGES)
    assert selected(from_="export") == ["export", "evaluate", "report"]
    assert selected(from_="expand", until="initialize") == ["expand", "initialize"]
    assert selected(only=("mix", "curate")) == ["curate", "mix"]
    assert [stage.stage for stage in plan_of(values, force=("mix",)) if stage.force] == ["mix"]
    with pytest.raises(ValueError, match="no stage cook; the stages are curate"):
        Selection(only=("cook",))
    with pytest.raises(ValueError, match="--from train comes after --until mix"):
        Selection(from_="train", until="mix")


def test_a_step_moves_export_and_evaluate_only_and_names_its_checkpoint(values: dict[str, Any]) -> None:
    last, early = plan_of(values), plan_of(values, step=100)
    changed = [a.stage for a, b in zip(last, early, strict=True) if a.fingerprint != b.fingerprint]
    assert changed == ["export", "evaluate", "report"]
    assert [stage.stage for stage in early if stage.selected] == ["export", "evaluate"]
    assert early.export.recorded["checkpoint"] == f"{early.train.uri}/checkpoints/step-00000100"
    assert early.evaluate.literals["models"] == ["trained"], "the base is scored once, by the run itself"
    assert early.export.rerun.endswith("--only export --step 100")
    assert "step" not in last.export.literals
    assert plan_at_step(RunConfig.model_validate(values), last, 100).evaluate.uri == early.evaluate.uri


def test_the_last_step_is_the_run_s_own(values: dict[str, Any]) -> None:
    steps = RunConfig.model_validate(values).num_steps
    assert plan_of(values, step=steps).evaluate.uri == plan_of(values).evaluate.uri
    with pytest.raises(ConfigError, match=f"--step {steps + 1}: this run has {steps} steps"):
        plan_of(values, step=steps + 1)


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        ({"step": 0}, "--step 0: expected the number of an optimizer step, from 1"),
        ({"step": 5, "only": ("train", "export")}, "it cannot run train"),
        ({"step": 5, "force": ("curate",)}, "it cannot run curate"),
    ],
    ids=str,
)
def test_a_step_goes_with_export_and_evaluate_only(selection: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Selection(**selection)


def complete(plan: StagePlan) -> None:
    manifest = Manifest(
        stage=plan.stage,
        name=plan.name,
        fingerprint=plan.fingerprint,
        algorithm_version=plan.algorithm_version,
        literals=dict(plan.literals),
        inputs=dict(plan.inputs),
        libraries=dict(plan.libraries),
        files=[],
        counts={},
        content_digest="",
        started="2026-01-01T00:00:00+00:00",
        seconds=1.0,
    )
    seal(plan.uri, manifest)


def test_status_says_what_is_done_and_which_field_made_the_rest_stale(values: dict[str, Any]) -> None:
    plan = plan_of(values)
    complete(plan.curate)
    complete(plan.deduplicate)
    changed = plan_of(values, {"deduplicate": {"bands": 14}})
    states = {status.plan.stage: status for status in run_status(changed)}
    assert states["curate"].state == "complete"
    assert (states["deduplicate"].state, states["deduplicate"].differs) == ("stale", ("bands: 40 -> 14",))
    assert states["expand"].state == "missing"
    upstream = {status.plan.stage: status for status in run_status(plan_of(values, {"curate.max_page_bytes": 9999}))}
    assert upstream["curate"].differs == ("max_page_bytes: 8388608 -> 9999",)
    assert upstream["deduplicate"].differs == ("input curate",)


def test_a_run_whose_name_begins_like_another_is_not_mistaken_for_it(values: dict[str, Any]) -> None:
    complete(plan_of(values, {"name": "tiny-two"}).curate)
    states = {
        status.plan.stage: status.state for status in run_status(plan_of(values, {"curate.max_page_bytes": 9999}))
    }
    assert states["curate"] == "missing"
