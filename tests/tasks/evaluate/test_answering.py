"""Batches hold every request once, of one method each, and do not depend on anything but the requests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.evaluate.answering import answer, estimated_tokens, plan_requests, plan_work
from tasks.evaluate.config import EvaluateConfig
from tasks.evaluate.requests import Context, Fitted, Generate, Generated, LogLikelihood, Request, Rolling, Scored
from tasks.evaluate.suite_plan import AskedTask, plan_suite
from tests.tasks.evaluate import stand_ins
from tests.tasks.evaluate.conftest import JAPANESE
from tokenizer.encoder import Encoder, load_encoder


@pytest.fixture(scope="module")
def encoder(byte_level_folder: Path) -> Encoder:
    return load_encoder(byte_level_folder)


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[AskedTask]:
    stand_ins.install(monkeypatch)
    data = stand_ins.write_data(tmp_path / "data")
    return plan_suite(EvaluateConfig(tasks=["jcommonsenseqa", "niilc"], data=str(data)))


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_every_request_is_in_one_batch_and_an_item_in_one(
    suite: list[AskedTask], encoder: Encoder, batch_size: int
) -> None:
    choices = suite[0]
    work = plan_work(choices, encoder, max_length=512, batch_size=batch_size)
    assert sorted(place for batch in work.batches for place in batch) == list(range(30))
    for batch in work.batches:
        assert {place // 3 for place in batch} == {place // 3 for place in batch if place % 3 == 0}
        assert len(batch) <= 3 * batch_size


def test_the_common_shots_are_every_batchs_prefix(suite: list[AskedTask], encoder: Encoder) -> None:
    for asked in suite:
        work = plan_work(asked, encoder, max_length=512, batch_size=4)
        shots = encoder.encode("".join(stand_ins.SHOTS))
        assert len(set(map(tuple, work.prefixes))) == 1
        assert list(work.prefixes[0][: len(shots)]) == shots


def test_prompts_that_were_cut_do_not_take_the_prefix_from_the_others(encoder: Encoder) -> None:
    shots = (f"{JAPANESE[0]}\n", f"{JAPANESE[1]}\n")
    afters = ["鳥は？", "魚は？", "手袋は？" + JAPANESE[2]]
    requests: list[Request] = [Generate(Context(after, shots=shots), max_tokens=2) for after in afters]
    whole = plan_requests(requests, [0, 1, 2], encoder, max_length=900, batch_size=8)
    room = max(each.num_tokens for each in whole.fitted[:2]) + 2
    assert whole.fitted[2].num_tokens > room
    work = plan_requests(requests, [0, 1, 2], encoder, max_length=room, batch_size=8)
    assert work.fitted[2].shots_dropped
    assert [list(batch) for batch in work.batches] in ([[0, 1], [2]], [[1, 0], [2]])
    assert len(work.prefixes[0]) >= len(encoder.encode("".join(shots))) - 1


def test_a_batch_is_of_one_method(encoder: Encoder) -> None:
    requests: list[Request] = [
        LogLikelihood(Context("空に"), "雲雀"),
        Generate(Context("空に"), max_tokens=3),
        Rolling(JAPANESE[0]),
        Generate(Context("海に"), max_tokens=3),
    ]
    work = plan_requests(requests, [0, 0, 1, 2], encoder, max_length=256, batch_size=8)
    found = {method: sorted(batch) for method, batch in zip(work.methods, work.batches, strict=True)}
    assert found == {"generate_until": [1, 3], "loglikelihood": [0], "loglikelihood_rolling": [2]}

    class Says:
        name, device, max_length = "said", "cpu", 256

        def loglikelihood(self, batch: list[Fitted], prefix: list[int]) -> list[Scored]:
            return [Scored(-1.0, False, 1) for _ in batch]

        def loglikelihood_rolling(self, batch: list[Fitted]) -> list[Scored]:
            return [Scored(-2.0, False, 1) for _ in batch]

        def generate_until(self, batch: list[Fitted], prefix: list[int]) -> list[Generated]:
            return [Generated("雲雀", 1, "stop") for _ in batch]

    said = {work.methods[number]: list(answer(Says(), work.job(number))) for number in range(3)}  # type: ignore[arg-type]
    assert said["loglikelihood_rolling"] == [Scored(-2.0, False, 1)]
    assert said["loglikelihood"] == [Scored(-1.0, False, 1)]
    assert len(said["generate_until"]) == 2


def test_the_estimate_counts_what_is_read_beyond_the_prefix_and_what_may_be_written(
    suite: list[AskedTask], encoder: Encoder
) -> None:
    answers = suite[1]
    work = plan_work(answers, encoder, max_length=512, batch_size=4)
    own = [each.num_tokens - len(work.prefixes[0]) for each in work.fitted]
    assert estimated_tokens(answers, encoder, 512) == pytest.approx(sum(own) / len(own) + 8, abs=1)
