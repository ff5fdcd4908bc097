"""The plan of a run: ten stages with their fingerprints and places, known before anything runs.

A fingerprint covers what decides bytes: the stage's algorithm version, its config literals, the fingerprints of its
inputs and the versions of the libraries it computes with. Paths, worker counts, batch sizes of
evaluation, logging and the training layout do not enter it; they are recorded beside.

    plan = make_plan(run, Selection(only=("curate",)))
    plan.curate.uri, plan.curate.fingerprint
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from importlib.metadata import PackageNotFoundError
from typing import Any

from flows.benchmarks import benchmark_digest, benchmark_libraries, form_versions
from flows.config import ConfigError, RunConfig
from flows.digests import (
    digest_of,
    file_digest,
    files_digest,
    folder_digest,
    ng_words_digest,
    tokenizer_digest,
    warcs_digest,
)
from flows.onto import CURATED, base_fingerprint, curated_as
from flows.selection import STEP_STAGES, Selection
from storage.artifact import artifact_uri, fingerprint, input_digests, library_versions, read_manifest
from storage.checkpoints import FOLDER, checkpoint_uri
from storage.tombstones import TOMBSTONES, tombstones_digest
from storage.uri import join
from tasks.evaluate.config import EvaluateConfig
from tasks.refine.config import RefineConfig
from tasks.report.licences import licences
from tasks.stage import STAGES, StagePlan
from tasks.train.continued import CONTINUES, training_fingerprint
from tasks.train.launch import work_folder
from trainer.batch_ramp import samples_before

# Raise a stage's version whenever the same inputs and literals give other bytes.
ALGORITHMS: dict[str, tuple[str, tuple[str, ...]]] = {
    "curate": ("2", ("resiliparse", "ahocorasick-rs", "pyarrow", "numpy", "xxhash")),
    "deduplicate": ("3", ("xxhash", "pyarrow", "numpy")),
    "expand": ("2", ("sentencepiece", "tokenizers", "fugashi", "unidic-lite")),
    "initialize": ("2", ("torch", "safetensors")),
    "binarize": ("2", ("sentencepiece", "tokenizers", "pyarrow", "xxhash")),
    "mix": ("2", ("numpy",)),
    "train": ("2", ("torch",)),
    "export": ("1", ("torch", "safetensors")),
    "evaluate": ("2", ("torch", "transformers")),
    "report": ("6", ("matplotlib", "jinja2", "sentencepiece", "tokenizers")),
}
# Settings that decide when a stage gives up, or how its work is laid out, not what it computes.
CURATE_LIMITS = {"max_page_seconds", "max_page_memory_mib", "max_bad_record_ratio"}
SOURCE_LIMITS = {"max_bad_record_ratio"}  # what is left out of a broken file is the same under any limit it keeps
# Where lists and benchmarks lie; what they hold is an input. The profile is in the settings it gives.
REFINE_PATHS: dict[str, Any] = {"profile": True, "hosts": {"files"}, "footer": {"files"}}
REFINE_PATHS["decontamination"] = {"benchmarks": {"__all__": {"files"}}}
# What computes the signatures does not change them; the corpus that is added to is an input.
DEDUPLICATE_OUTSIDE = {"signatures", "onto"}
# What decides which records of a crawl are read; how they are fetched decides nothing.
INDEX_CHOICE = {"languages", "mime"}
# What the run file says of an input's licence decides nothing but the report's page.
STATED_LICENCE = {"licence", "attribution"}
TRAIN_LAYOUT = {
    "micro_batch",
    "parallel",
    "launcher",
    "save_every",
    "keep_checkpoints",
    "log_every",
    "threads_per_rank",
}
TRAIN_LAYOUT |= {"collective_timeout_s", "stack_dump_s", "stop_grace_s", "cancel_grace_s", "timeout_s", "max_restarts"}
TRAIN_LAYOUT |= {"recompute", "compile", "loss_chunk", "async_checkpoints", "keep_every", "wandb_project"}
TRAIN_LAYOUT |= {"validate_every", "validation_samples", "forgetting", "straggler_every", "straggler_ratio"}


@dataclass(frozen=True)
class Plan:
    """The ten stages of a run, in order."""

    curate: StagePlan
    deduplicate: StagePlan
    expand: StagePlan
    initialize: StagePlan
    binarize: StagePlan
    mix: StagePlan
    train: StagePlan
    export: StagePlan
    evaluate: StagePlan
    report: StagePlan

    def __iter__(self) -> Iterator[StagePlan]:
        return (getattr(self, stage.name) for stage in fields(self))


@dataclass
class _Planner:
    """Collects the stages in order, and every external input that cannot be read."""

    run: RunConfig
    selection: Selection
    run_file: str
    stages: dict[str, StagePlan] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def external(self, name: str, read: Callable[[], str]) -> str:
        """The digest of an external input; what cannot be read is a problem, reported with all others."""
        try:
            return read()
        except (OSError, ValueError) as error:
            self.problems.append(f"{name}: {error}")
            return "unreadable"

    def made(self, *names: str) -> dict[str, str]:
        """Earlier stages as inputs."""
        return {name: self.stages[name].fingerprint for name in names}

    def add(
        self,
        name: str,
        literals: Mapping[str, Any],
        inputs: Mapping[str, str],
        recorded: Mapping[str, Any] | None = None,
        optional_libraries: tuple[str, ...] = (),
    ) -> None:
        """Plan the next stage; a library that is not installed is a problem."""
        version, libraries = ALGORITHMS[name]
        versions: dict[str, str] = {}
        try:
            versions = library_versions(libraries + optional_libraries)
        except PackageNotFoundError as error:
            self.problems.append(f"{name}: the library {error.name} is not installed: pip install {error.name}")
        identity = fingerprint(name, version, literals, inputs, versions)
        self.stages[name] = StagePlan(
            stage=name,
            name=self.run.name,
            uri=artifact_uri(self.run.root, name, self.run.name, identity),
            fingerprint=identity,
            algorithm_version=version,
            literals=literals,
            inputs=inputs,
            libraries=versions,
            recorded=recorded or {},
            selected=self.selection.selects(name),
            force=name in self.selection.force,
            wait=self.selection.wait,
            rerun=f"hibari run {self.run_file} --root {self.run.root} --only {name}{self._step_option(name)}",
        )

    @property
    def step(self) -> int | None:
        """The step of an earlier checkpoint than the last; None where the run's own last one is meant."""
        return None if self.selection.step == self.run.num_steps else self.selection.step

    def _step_option(self, stage: str) -> str:
        return f" --step {self.step}" if self.step is not None and stage in STEP_STAGES else ""


def make_plan(run: RunConfig, selection: Selection | None = None, run_file: str = "") -> Plan:
    """Fingerprint all ten stages.

    Args:
        run_file: how the user named the run file, for the rerun commands; else they name the one that the run leaves.

    Raises:
        ConfigError: external inputs are missing or unreadable: all of them.
    """
    planner = _Planner(run, selection or Selection(), named_run_file(run, run_file))
    _plan_corpus(planner, run)
    _plan_tokenizer(planner, run)
    _plan_dataset(planner, run)
    _plan_model(planner, run)
    if planner.problems:
        raise ConfigError(planner.problems)
    return Plan(**planner.stages)


def plan_corpus(run: RunConfig, run_file: str = "") -> tuple[StagePlan, StagePlan]:
    """Fingerprint curate and deduplicate alone; no input of a later stage is read.

    Raises:
        ConfigError: their inputs are missing or unreadable: all of them.
    """
    planner = _Planner(run, Selection(), named_run_file(run, run_file))
    _plan_corpus(planner, run)
    if planner.problems:
        raise ConfigError(planner.problems)
    return planner.stages["curate"], planner.stages["deduplicate"]


def _plan_corpus(planner: _Planner, run: RunConfig) -> None:
    # What these import is for runs, not for `--help`.
    from tasks.curate.commoncrawl import index_digest
    from tasks.curate.ngram_model import model_file

    outside: dict[str, Any] = {"sources": True, "commoncrawl": True, "language": {"model"}, "classifier": True}
    outside |= dict.fromkeys(CURATE_LIMITS | STATED_LICENCE, True)
    outside["quality"] = {"ng_words"}  # what the lists hold is an input
    literals = run.curate.model_dump(mode="json", exclude=outside)
    uses_fasttext = run.curate.language.method == "fasttext" or run.curate.classifier.model is not None
    chosen = (run.curate.extractor == "trafilatura", "trafilatura"), (uses_fasttext, "fasttext-numpy2")
    optional = tuple(library for used, library in chosen if used)
    inputs = {"warcs": planner.external("curate.sources", lambda: warcs_digest(run.curate))}
    if (parts := run.curate.commoncrawl.parts_per_warc) != 1:  # other files, of the same documents
        literals["parts_per_warc"] = parts
    fetching = run.curate.commoncrawl
    for crawl in run.curate.indexed_crawls:  # only records that its index names are read
        literals["index"] = fetching.model_dump(mode="json", include=INDEX_CHOICE)
        inputs[f"index of {crawl}"] = planner.external("curate.sources", partial(index_digest, crawl, fetching))
    if model := run.curate.language.model:
        inputs["language model"] = planner.external("curate.language.model", lambda: file_digest(model_file(model)))
    if classifier := run.curate.classifier.model:
        inputs["quality classifier"] = planner.external("curate.classifier.model", lambda: file_digest(classifier))
    if run.curate.quality.ng_words.files:
        inputs["NG words"] = planner.external("curate.quality.ng_words.files", lambda: ng_words_digest(run.curate))
    if taken_down := planner.external("takedown list", lambda: tombstones_digest(run.root)):
        inputs[TOMBSTONES] = taken_down
    workers = {"executor": run.executor.model_dump(mode="json")}
    planner.add("curate", literals, inputs, {"sources": run.curate.sources} | workers, optional)
    _plan_deduplicate(planner, run)


def _plan_deduplicate(planner: _Planner, run: RunConfig) -> None:
    literals = run.deduplicate.model_dump(mode="json", exclude=DEDUPLICATE_OUTSIDE)
    literals["refine"] = run.refine.model_dump(mode="json", exclude=REFINE_PATHS)
    if run.deduplicate.survivor == "best_quality" and run.curate.classifier.model is None:
        planner.problems.append(
            "deduplicate.survivor: best_quality goes by the quality classifier's score, and there is none: set "
            "curate.classifier.model, or choose newest, oldest or longest"
        )
    recorded = {"executor": run.executor.model_dump(mode="json")}
    recorded |= {CURATED: curated_as(planner.stages["curate"], run.curate.sources)}
    inputs = planner.made("curate") | _refine_inputs(planner, run.refine)
    planner.add("deduplicate", literals, inputs, recorded)
    if (folder := run.deduplicate.onto) is not None:
        at_once = planner.stages["deduplicate"]
        base = planner.external("deduplicate.onto", lambda: base_fingerprint(at_once, folder))
        planner.add("deduplicate", literals, inputs | {"onto": base}, recorded)


def _refine_inputs(planner: _Planner, refine: RefineConfig) -> dict[str, str]:
    """What the lists and benchmarks hold that refinement reads."""
    from tasks.refine.lists import FOOTER_KEYWORDS, HOSTS, list_files

    def digest(setting: str, files: Sequence[str], builtin: str) -> str:
        return planner.external(setting, lambda: digest_of(input_digests(list_files(files, builtin))))

    inputs = {}
    if refine.hosts.files:
        inputs["blocked hosts"] = digest("refine.hosts.files", refine.hosts.files, HOSTS)
    if refine.footer.files:
        inputs["footer keywords"] = digest("refine.footer.files", refine.footer.files, FOOTER_KEYWORDS)
    for benchmark in refine.decontamination.benchmarks:  # with the files' names: they name items without an id
        setting, files = f"refine.decontamination.benchmarks.{benchmark.name}", benchmark.files
        inputs[f"benchmark {benchmark.name}"] = planner.external(setting, partial(files_digest, files))
    return inputs


def _plan_tokenizer(planner: _Planner, run: RunConfig) -> None:
    inputs = {"base tokenizer": planner.external("expand.base", lambda: tokenizer_digest(run.expand.base))}
    literals: dict[str, Any] = {"enabled": False}
    if run.expand.enabled:
        literals = run.expand.model_dump(mode="json", exclude={"base"} | STATED_LICENCE) | {"seed": run.seed}
        literals["validation_ratio"] = run.binarize.validation_ratio  # held-out documents are not learned on
        inputs |= planner.made("deduplicate")
    planner.add("expand", literals, inputs, {"base": run.expand.base})
    _plan_initialize(planner, run)


def _plan_initialize(planner: _Planner, run: RunConfig) -> None:
    config, folder = run.initialize, run.initialize.base_model
    literals = config.literals
    inputs, recorded = planner.made("expand"), {}
    optional: tuple[str, ...] = ()
    if isinstance(folder, str):
        inputs["base model"] = planner.external("initialize.base_model", lambda: folder_digest(folder))
        recorded = {"base_model": folder}
    else:
        literals["base_model"] = folder.model_dump(mode="json")
    if config.draws or not isinstance(folder, str):
        literals["seed"] = run.seed
    if config.calibrated and run.expand.enabled:  # the base reads some of the corpus
        literals["validation_ratio"] = run.binarize.validation_ratio
        inputs |= planner.made("deduplicate")
        optional = ("transformers", "sentencepiece", "tokenizers")
    planner.add("initialize", literals, inputs, recorded, optional)


def _plan_dataset(planner: _Planner, run: RunConfig) -> None:
    documents = {
        f"documents of {source.name}": planner.external(
            f"sources.{source.name}", partial(files_digest, source.documents)
        )
        for source in run.sources
        if source.documents is not None
    }
    literals = run.binarize.model_dump(mode="json")
    literals["sources"] = [
        {"name": source.name, "language": source.language}
        | {field: value for field, value in source.reading.items() if field not in SOURCE_LIMITS}
        for source in run.sources
    ]
    inputs = planner.made("deduplicate", "expand") | documents
    if documents and (taken_down := planner.stages["curate"].inputs.get(TOMBSTONES)):
        inputs[TOMBSTONES] = taken_down
    planner.add("binarize", literals, inputs, {"executor": run.executor.model_dump(mode="json")})
    literals = run.mix.model_dump(mode="json", exclude={"continues"}) | {"seed": run.seed}
    literals["weights"] = [[source.name, source.weight] for source in run.sources]
    literals |= {"seq_len": run.train.seq_len, "global_batch": run.train.global_batch, "ceilings": run.ceilings}
    if (ramp := run.train.batch_ramp) is not None:  # decides which samples a step reads
        literals["batch_ramp"] = ramp.model_dump(mode="json")
    inputs = planner.made("binarize")
    if (continues := run.mix.continues) is not None:
        literals["continued_samples"] = samples_before(continues.step + 1, ramp, run.train.global_batch)
        inputs["continued mixture"] = planner.external("mix.continues", partial(_mixture_read_by, continues.training))
    planner.add("mix", literals, inputs)


def _mixture_read_by(training: str) -> str:
    """Fingerprint of the mixture that an earlier training reads."""
    from storage.continuation import mixture_of  # what it imports is for runs, not for `--help`

    manifest = read_manifest(mixture_of(training))
    assert manifest is not None, "mixture_of finds complete mixtures only"
    return manifest.fingerprint


def _plan_model(planner: _Planner, run: RunConfig) -> None:
    train = run.train.model_dump(mode="json")
    literals = {key: value for key, value in train.items() if key not in TRAIN_LAYOUT} | {"seed": run.seed}
    layout = {key: value for key, value in train.items() if key in TRAIN_LAYOUT}
    inputs = planner.made("expand", "initialize", "binarize", "mix")
    if (earlier := run.mix.continues) is not None:
        fingerprint_of = partial(training_fingerprint, earlier.training)
        inputs["continued training"] = planner.external("mix.continues.training", fingerprint_of)
        layout |= {CONTINUES: earlier.model_dump(mode="json")}
    planner.add("train", literals, inputs, layout)
    _plan_scores(planner, run)


def _plan_scores(planner: _Planner, run: RunConfig) -> None:
    exported, evaluated = run.export.model_dump(mode="json"), run.evaluate.literals | {"seed": run.seed}
    recorded = {}
    if (step := planner.step) is not None:
        if step > run.num_steps:
            planner.problems.append(f"--step {step}: this run has {run.num_steps} steps")
        exported |= {"step": step}
        evaluated |= {"models": ["trained"]}  # the base and the initialised model are scored once, by the run itself
        recorded = {"checkpoint": checkpoint_uri(checkpoint_folder(planner.stages["train"]), step)}
    planner.add("export", exported, planner.made("initialize", "train"), recorded)
    inputs = planner.made("initialize", "binarize", "export") | _benchmark_inputs(planner, run.evaluate)
    laid_out = {}
    if run.evaluate.benchmarks:
        evaluated |= {"forms": form_versions(run.evaluate)}
        laid_out = {"batch_size": run.evaluate.batch_size, "processes": run.evaluate.processes}
        if run.evaluate.contamination.enabled and step is None:  # a checkpoint is asked the same items
            inputs |= planner.made("deduplicate")
    planner.add("evaluate", evaluated, inputs, laid_out, benchmark_libraries(run.evaluate))
    page = {"run": run.label, "licences": licences(run.model_dump(mode="json"))}
    planner.add("report", page, planner.made(*STAGES[:-1]))


def _benchmark_inputs(planner: _Planner, config: EvaluateConfig) -> dict[str, str]:
    """What the files hold that benchmarks are read from."""
    return {
        f"benchmark {name}": planner.external(f"evaluate.tasks: {name}", partial(benchmark_digest, name, config))
        for name in config.benchmarks
    }


def plan_at_step(run: RunConfig, plan: Plan, step: int) -> Plan:
    """The same plan with export and evaluate of the checkpoint of `step`; reads no input again."""
    planner = _Planner(run, Selection(step=step), "", stages={stage.stage: stage for stage in plan})
    _plan_scores(planner, run)
    return Plan(**planner.stages)


def checkpoint_folder(train: StagePlan) -> str:
    """Where training keeps its checkpoints while it runs, and afterwards as long as they are kept."""
    return join(str(work_folder(train.uri)), FOLDER)


def named_run_file(run: RunConfig, run_file: str) -> str:
    """What to call a run file in a command: as the user did, else the one that the run leaves."""
    return run_file or run_record_uri(run, run.variant or "")


def run_record_uri(run: RunConfig, label: str = "") -> str:
    """Where a run leaves its resolved run file; the record beside it is `flows.records`'s."""
    return join(run.root, "runs", f"{run.name}@{label}.yaml" if label else f"{run.name}.yaml")
