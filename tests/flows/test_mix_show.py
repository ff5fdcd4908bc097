"""`hibari mix show` names the documents of a step, proves them by their ids, and says what it cannot find."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows import cli
from flows.config import RunConfig, load_run
from flows.plan import Plan, make_plan
from storage.corpus import corpus_shards, corpus_texts
from storage.mixture import Mixture
from storage.uri import write_bytes
from tasks.mix.task import mix
from tasks.stage import StageRecord
from tests.flows.small_root import call, make_data_stages, write_run_with_urls
from tests.storage.test_s3 import s3_root
from tokenizer.encoder import load_encoder

Show = Callable[..., list[dict[str, Any]]]
__all__ = ["s3_root"]
STEPS, BATCH = 6, 4


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunConfig, Plan]:
    """A run whose data stages are complete; nothing is trained."""
    path = write_run_with_urls(tmp_path_factory.mktemp("mix-show"))
    run = load_run(path)
    return path, run, make_data_stages(run)


def hibari(*arguments: str) -> int:
    """Run the command line here; its exit status."""
    with pytest.raises(SystemExit) as ended:
        cli.app([*arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.fixture
def shown(made: tuple[Path, RunConfig, Plan], capsys: pytest.CaptureFixture[str]) -> Show:
    """What the command prints as JSON."""

    def show(*options: str) -> list[dict[str, Any]]:
        assert hibari("mix", "show", str(made[0]), "--json", *options) == 0
        samples: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
        return samples

    return show


@pytest.fixture(scope="module")
def texts(made: tuple[Path, RunConfig, Plan]) -> dict[str, tuple[str | None, str]]:
    """id -> URL and text of every document there is, read the plain way."""
    path, _, plan = made
    found: dict[str, tuple[str | None, str]] = {}
    for shard in corpus_shards(plan.deduplicate.uri):
        found |= {id.hex(): (None, text) for id, text in corpus_texts(shard)}
    from storage.sources import read_source_with_urls

    for id, url, text in read_source_with_urls([str(path.parent / "en.jsonl")], "web-en"):
        found[id.hex()] = (url, text)
    return found


def test_every_token_of_every_step_is_that_of_the_document_it_names(
    made: tuple[Path, RunConfig, Plan], shown: Show, texts: dict[str, tuple[str | None, str]]
) -> None:
    _, _, plan = made
    encoder = load_encoder(f"{plan.expand.uri}/tokenizer")
    samples = shown("--step", "1", "--last", str(STEPS))
    assert [(sample["step"], sample["sample"]) for sample in samples] == [
        (i // BATCH + 1, i) for i in range(STEPS * BATCH)
    ]
    with Mixture.open(plan.mix.uri) as mixture:
        for sample in samples:
            ids: list[int] = []
            for document in sample["documents"]:
                url, text = texts[document["id"]]
                assert sample["source"] == "corpus" or document["url"] == url
                ids += encoder.document(text)[document["from"] : document["to"]]
            assert np.array_equal(mixture[sample["sample"]].tokens, ids)


def test_steps_before_and_after_a_change_of_the_mixture_are_those_that_training_reads(
    made: tuple[Path, RunConfig, Plan], shown: Show, texts: dict[str, tuple[str | None, str]]
) -> None:
    path, _, plan = made
    job = {"mixture": plan.mix.uri, "fingerprint": plan.train.fingerprint}
    write_bytes(f"{plan.train.uri}/job.json", json.dumps(job).encode())
    changes = [
        f"mix.continues={{training: {plan.train.uri}, step: 4}}",
        "mix.train_tokens=2048",
        "mix.packing=best_fit",
        "mix.attention=within",
        "sources.corpus.weight=0.5",
        "sources.web-en.weight=0.5",
    ]
    run = load_run(path, changes)
    assert run.num_steps == 8
    later = make_plan(run)
    tokens = StageRecord("binarize", later.binarize.uri, later.binarize.fingerprint, "reused")
    assert later.binarize.uri == plan.binarize.uri
    call(mix, later.mix, run.mix, run.weights, run.train, run.seed, tokens)
    options = [part for change in changes for part in ("--set", change)]
    samples = shown("--step", "3", "--last", "8", *options)
    assert [sample["sample"] for sample in samples] == list(range(8, 32))
    assert samples[:8] == shown("--step", "3", "--last", "4")
    english = [sum(sample["source"] == "web-en" for sample in part) for part in (samples[:8], samples[8:])]
    assert english[1] > 4 * english[0]
    encoder = load_encoder(f"{plan.expand.uri}/tokenizer")
    with Mixture.open(later.mix.uri) as mixture:
        assert mixture.first_sample == 16
        for sample in samples[8:]:
            ids = [
                token
                for document in sample["documents"]
                for token in encoder.document(texts[document["id"]][1])[document["from"] : document["to"]]
            ]
            read = mixture[sample["sample"]]
            assert read.padding == sample["padding"]
            real = read.tokens[: len(read.tokens) - read.padding].tolist()
            assert real[len(real) - len(ids) :] == ids
            assert len(real) - len(ids) <= 1


def test_both_sources_have_urls_and_places(shown: Show, made: tuple[Path, RunConfig, Plan]) -> None:
    samples = shown("--step", "1", "--last", str(STEPS))
    by_source = {
        name: [d for s in samples if s["source"] == name for d in s["documents"]] for name in ("corpus", "web-en")
    }
    assert all(by_source.values())
    assert {document["url"].split("/")[2] for document in by_source["web-en"]} == {"old.example.org", "new.example.org"}
    assert all(document["url"].startswith("http") for document in by_source["corpus"])
    lines = (made[0].parent / "en.jsonl").read_text().splitlines()
    for document in by_source["web-en"]:
        assert json.loads(lines[document["row"]])["url"] == document["url"]


def test_text_and_source_choose_what_is_shown(shown: Show, texts: dict[str, tuple[str | None, str]]) -> None:
    samples = shown("--step", "1", "--last", str(STEPS), "--source", "web-en", "--text")
    assert samples
    assert {sample["source"] for sample in samples} == {"web-en"}
    for document in (document for sample in samples for document in sample["documents"]):
        inside = document["text"].removesuffix("…")[8:40].strip()  # a piece may begin inside a word, or with <s>
        assert len(inside) > 10
        assert inside in " ".join(texts[document["id"]][1].split())


def test_held_out_documents_are_shown_by_batches(shown: Show) -> None:
    train = {d["id"] for s in shown("--step", "1", "--last", str(STEPS)) for d in s["documents"]}
    held_out = {d["id"] for s in shown("--step", "1", "--split", "validation") for d in s["documents"]}
    assert held_out
    assert not train & held_out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--step", "7"], "--step 7: expected steps of the train mixture, 1 to 6"),
        (["--step", "0"], "--step 0: expected steps"),
        (["--step", "4", "--last", "3"], "--step 4 --last 3: expected steps"),
        (["--step", "1", "--source", "nothing"], "--source nothing: no such source; the mixture has corpus, web-en"),
        (["--step", "1", "--split", "test"], "test"),
        ([], "--step"),
    ],
)
def test_what_the_mixture_does_not_have_is_bad_usage(
    made: tuple[Path, RunConfig, Plan], capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    assert hibari("mix", "show", str(made[0]), *options) == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_a_mixture_that_is_not_made_says_how_to_make_it(
    made: tuple[Path, RunConfig, Plan], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert hibari("mix", "show", str(made[0]), "--step", "1", "--root", str(tmp_path)) == 1
    assert "--until mix" in capsys.readouterr().err


def test_what_was_changed_or_removed_since_is_said_and_not_made_up(
    made: tuple[Path, RunConfig, Plan], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _, _ = made
    monkeypatch.setattr(cli.console, "_width", 300)
    command = ("mix", "show", str(path), "--step", "1", "--last", str(STEPS), "--source", "web-en")
    assert hibari(*command) == 0
    assert "example.org" in capsys.readouterr().out
    file, hidden = path.parent / "en.jsonl", path.parent / "tokenizer.model"
    kept = file.read_text()
    hidden.rename(path.parent / "elsewhere.model")  # nothing can be planned: the run's record names its mixture
    try:
        file.write_text("".join(f'{{"id": "other {n}", "text": "larks {n}"}}\n' for n in range(30)))
        assert hibari(*command) == 0
        said = capsys.readouterr().out
        assert "not looked up: the file has another document there: it was changed" in said
        assert "en.jsonl, row " in said
        file.unlink()
        assert hibari(*command) == 0
        assert "not looked up: nothing found at" in capsys.readouterr().out
    finally:
        file.write_text(kept)
        (path.parent / "elsewhere.model").rename(hidden)


@pytest.mark.slow
def test_a_root_on_s3_is_read_like_a_folder(
    s3_root: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], made: tuple[Path, RunConfig, Plan]
) -> None:
    path, _, _ = made
    root = f"{s3_root}/mix-show"
    make_data_stages(load_run(path, root=root))
    command = ("mix", "show", str(path), "--json", "--text", "--step", "2")
    printed = []
    for options in (("--root", root), ()):
        assert hibari(*command, *options) == 0
        printed.append(json.loads(capsys.readouterr().out))
    there, here = (
        [{**d, "file": Path(d["file"]).name} for s in samples for d in s["documents"]] for samples in printed
    )
    assert there == here
