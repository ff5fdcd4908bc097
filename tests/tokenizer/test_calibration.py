"""Shifted logits: by how much, in which contexts, from which text; and that all of it can be repeated."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from storage.artifact import Outcome, content_digest
from tokenizer.calibration import (
    SEQUENCE_TOKENS,
    calibration_sequences,
    log_mean_probability,
    shift_direction,
)
from tokenizer.encoder import Encoder, load_encoder
from tokenizer.expand import expand
from tokenizer.expansion import ExpandOptions, Expansion
from tokenizer.initialize import initialize
from tokenizer.new_rows import RowOptions, shares_of_first
from tokenizer.random_model import RandomModel


@pytest.fixture(scope="module")
def tokenizer(smollm_like: Path, documents: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("expanded")
    expand(str(smollm_like), lambda: iter(documents), ExpandOptions(num_candidates=100), out=str(out), seed=1)
    return out / "tokenizer"


@pytest.fixture(scope="module")
def encoders(tokenizer: Path) -> tuple[Encoder, Encoder]:
    return load_encoder(tokenizer / "base"), load_encoder(tokenizer)


def write_base(tokenizer: Path, folder: Path, *, tied: bool) -> Path:
    """A random model whose hidden states share a direction, as those of trained models do."""
    sizes = RandomModel(
        hidden_size=32, num_layers=2, num_heads=2, max_position=512, dtype="float32", tie_embeddings=tied
    )
    initialize(None, sizes, tokenizer=str(tokenizer), out=str(folder), seed=3)
    model = AutoModelForCausalLM.from_pretrained(folder / "base")
    shared = torch.randn(32, generator=torch.Generator().manual_seed(2))
    model.model.embed_tokens.weight.data += 0.1 * shared
    model.save_pretrained(folder / "base")
    return folder / "base"


@pytest.fixture(scope="module")
def base(tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tokenizer, tmp_path_factory.mktemp("untied"), tied=False)


@pytest.fixture(scope="module")
def tied_base(tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tokenizer, tmp_path_factory.mktemp("tied"), tied=True)


def made(base: Path, tokenizer: Path, documents: list[str], out: Path, options: RowOptions | None = None) -> Outcome:
    shards = [lambda: iter(documents[::2]), lambda: iter(documents[1::2])]
    return initialize(str(base), None, tokenizer=str(tokenizer), out=str(out), seed=3, options=options, shards=shards)


def head_rows(folder: Path) -> np.ndarray:
    rows: np.ndarray = AutoModelForCausalLM.from_pretrained(folder).lm_head.weight.detach().numpy()
    return rows


@torch.no_grad()
def run(folder: Path, sequences: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Final hidden states `(positions, hidden)` and logits `(positions, vocab)`."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    outputs = [model(torch.tensor([ids]), output_hidden_states=True) for ids in sequences]
    states = torch.cat([output.hidden_states[-1][0] for output in outputs])
    return states.numpy(), torch.cat([output.logits[0] for output in outputs]).numpy()


def test_text_is_taken_from_the_shards_in_turn(encoders: tuple[Encoder, Encoder]) -> None:
    base, expanded = encoders
    read: list[str] = []

    def shard(texts: list[str]) -> Iterator[str]:
        for text in texts:
            read.append(text)
            yield text

    long, short = "郵便屋さんは坂道を。" * 400, "猫。"
    shards = [[long, long], ["", short], [short, short, short]]
    text = calibration_sequences([partial(shard, texts) for texts in shards], base, expanded, 300)
    assert read == [long, "", short, long]  # and no more than that
    rest = 300 - SEQUENCE_TOKENS - len(base.document(short))
    assert [len(ids) for ids in text.sequences] == [SEQUENCE_TOKENS, len(base.document(short)), rest]
    assert text.tokens == 300
    assert text.sequences[0] == base.document(long)[:SEQUENCE_TOKENS]
    assert 0 < text.new_share < 1
    with pytest.raises(ValueError, match="all of it is held out, or there is none"):
        calibration_sequences([lambda: iter([])], base, expanded, 300)


def test_few_of_many_shards_are_opened(encoders: tuple[Encoder, Encoder]) -> None:
    opened: list[int] = []

    def shard(number: int) -> Iterator[str]:
        opened.append(number)
        yield "ありがとうございます。"

    shards = [partial(shard, number) for number in range(320)]
    calibration_sequences(shards, *encoders, 10_000)
    assert opened == list(range(0, 320, 10))


def test_the_direction_has_product_one_with_states_that_share_something() -> None:
    generator = np.random.default_rng(1)
    states = generator.standard_normal((500, 24))
    states[:, 0] += 6
    states[:, 1] = 3 + 3 * states[:, 1]  # part of the mean, but of little use as a constant
    products = states @ shift_direction(states.astype(np.float32))
    along_mean = states @ (states.mean(axis=0) / (states.mean(axis=0) ** 2).sum())
    assert abs(products.mean() - 1) < 0.05
    assert products.std() < 0.7 * along_mean.std()


def test_probabilities_are_averaged_without_overflow() -> None:
    states, rows = np.array([[1.0], [3.0]], np.float32), np.array([[2.0], [500.0]], np.float32)
    found = log_mean_probability(rows, states, np.array([2.0, 6.0]))
    assert np.allclose(found[0], 0.0)
    assert np.allclose(found[1], 1500 - 6 - np.log(2))


@pytest.mark.parametrize("model", ["base", "tied_base"])
def test_a_number_shifts_every_new_piece_by_about_it(
    request: pytest.FixtureRequest,
    model: str,
    tokenizer: Path,
    documents: list[str],
    encoders: tuple[Encoder, Encoder],
    tmp_path: Path,
) -> None:
    folder, base_vocab = request.getfixturevalue(model), encoders[0].vocab_size
    made(folder, tokenizer, documents, tmp_path / "mean")
    made(folder, tokenizer, documents, tmp_path / "low", RowOptions(output_shift=-2.0))
    before, after = head_rows(tmp_path / "mean/model"), head_rows(tmp_path / "low/model")
    assert np.array_equal(before[:base_vocab], after[:base_vocab])
    difference = after[base_vocab:] - before[base_vocab:]
    assert np.allclose(difference, difference[0], atol=1e-6)  # one vector, the same for all
    states, _ = run(folder, [encoders[0].document(text) for text in documents[:8]])
    assert abs((states @ difference[0]).mean() + 2) < 0.2


def test_frequency_gives_pieces_their_share_of_how_often_they_stand(
    base: Path, tokenizer: Path, documents: list[str], encoders: tuple[Encoder, Encoder], tmp_path: Path
) -> None:
    options = RowOptions(output_shift="frequency", frequency_share=0.25, calibration_tokens=1000)
    outcome = made(base, tokenizer, documents, tmp_path, options)
    pieces = Expansion.from_json((tokenizer / "expansion.json").read_bytes()).new_pieces
    shards = [lambda: iter(documents[::2]), lambda: iter(documents[1::2])]
    text = calibration_sequences(shards, *encoders, 1000)
    _, logits = run(tmp_path / "model", text.sequences)
    base_vocab = encoders[0].vocab_size
    old, new = logits[:, :base_vocab].astype(float), logits[:, base_vocab:].astype(float)
    found = np.exp(new - np.logaddexp.reduce(old, axis=1)[:, None]).mean(axis=0)
    counts = np.array([max(piece.count, 0.5) for piece in pieces])
    expected = 0.25 * text.new_share * counts / counts.sum()
    assert np.abs(np.log(found / expected)).max() < 0.5
    assert np.corrcoef(np.log(found), np.log(expected))[0, 1] > 0.95
    assert outcome.details["calibration"]["tokens"] == 1000
    shift = outcome.details["shift"]
    assert shift["lowest"] < shift["mean"] < shift["highest"]


def test_share_is_the_part_of_the_first_token(
    base: Path, tokenizer: Path, documents: list[str], tmp_path: Path
) -> None:
    pieces = Expansion.from_json((tokenizer / "expansion.json").read_bytes()).new_pieces
    base_vocab = pieces[0].id
    made(base, tokenizer, documents, tmp_path / "first", RowOptions(new_output_rows="first"))
    options = RowOptions(new_output_rows="first", output_shift="share")
    made(base, tokenizer, documents, tmp_path / "share", options)
    difference = head_rows(tmp_path / "share/model")[base_vocab:] - head_rows(tmp_path / "first/model")[base_vocab:]
    logs = np.log(shares_of_first(pieces))
    longest = difference[logs.argmin()]
    assert np.allclose(difference @ longest / (longest**2).sum(), logs / logs.min(), atol=1e-4)


def test_the_same_again_gives_the_same_bytes(base: Path, tokenizer: Path, documents: list[str], tmp_path: Path) -> None:
    options = RowOptions(new_output_rows="leading", output_shift="frequency", calibration_tokens=500)
    outcomes = [made(base, tokenizer, documents, tmp_path / name, options) for name in ("one", "two")]
    assert len({content_digest(outcome.files) for outcome in outcomes}) == 1


def test_what_a_base_cannot_have_is_refused(
    tied_base: Path, tokenizer: Path, documents: list[str], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="new_output_rows: leading, but this model's output head is its input"):
        made(tied_base, tokenizer, documents, tmp_path, RowOptions(new_output_rows="leading"))
    options = RowOptions(output_shift=-1.0)
    with pytest.raises(ValueError, match="a random base has nothing to calibrate on"):
        initialize(None, RandomModel(), tokenizer=str(tokenizer), out=str(tmp_path), seed=1, options=options)


def test_input_and_output_rows_are_chosen_apart(
    base: Path, tokenizer: Path, documents: list[str], tmp_path: Path
) -> None:
    made(base, tokenizer, documents, tmp_path / "mean")
    made(base, tokenizer, documents, tmp_path / "apart", RowOptions(new_output_rows="first", output_shift=-1.0))
    models = [AutoModelForCausalLM.from_pretrained(tmp_path / name / "model") for name in ("mean", "apart")]
    inputs = [model.model.embed_tokens.weight for model in models]
    assert torch.equal(*inputs)
    assert not torch.equal(models[0].lm_head.weight, models[1].lm_head.weight)
