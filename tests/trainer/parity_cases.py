"""The cases of the parity matrix: what they vary, which can exist, and which of them are run.

for case in matrix():
    folder, config, mixture = case.write_model(tmp_path), case.config(), case.mixture()
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from tests.trainer.cover import Values, cheapest, covering
from tests.trainer.ranks import FakeMixture, PackedMixture, tiny_config, write_tiny_model
from trainer.config import ParallelConfig, TrainConfig

GLOBAL_BATCH = 8


@dataclass(frozen=True)
class Case:
    """What a case of the matrix varies. 33 rows over eight ranks leave one rank with padding only."""

    tp: int = 1
    pp: int = 1
    dp: int = 1
    sequence_parallel: bool = True
    virtual_stages: int = 1
    tied: bool = True
    kv_heads: int = 2
    vocab: int = 64
    recompute: Literal["none", "selective", "full"] = "none"
    data_parallel: Literal["zero1", "fsdp", "hsdp"] = "zero1"
    documents: Literal["across", "within"] = "across"
    micro_batch: int = 1

    @property
    def name(self) -> str:
        words = [f"tp{self.tp}-pp{self.pp}-dp{self.dp}", self.data_parallel, self.recompute, self.documents]
        words += ["sp"] * (self.sequence_parallel and self.tp > 1) + ["virtual"] * (self.virtual_stages > 1)
        words += ["tied"] * self.tied + [f"kv{self.kv_heads}", f"vocab{self.vocab}", f"micro{self.micro_batch}"]
        return "-".join(words)

    @property
    def parallel(self) -> ParallelConfig:
        return ParallelConfig(
            tp=self.tp,
            pp=self.pp,
            dp=self.dp,
            sequence_parallel=self.sequence_parallel,
            virtual_stages=self.virtual_stages,
            data_parallel="zero1" if self.data_parallel == "zero1" else "fsdp",
            fsdp_shard=2 if self.data_parallel == "hsdp" else None,
        )

    @property
    def num_layers(self) -> int:
        """Three do not divide over two or four stages; eight stages need six layers beside embedding and head."""
        return {1: 2, 2: 3, 4: 3, 8: 6}[self.pp * self.virtual_stages]

    @property
    def num_passes(self) -> int:
        return GLOBAL_BATCH // (self.micro_batch * self.dp)

    @property
    def cost(self) -> float:
        """About how long it takes: gloo's exchanges between many processes on few cores, most of all inside layers."""
        return 1 + self.tp * self.pp * self.dp + self.tp**2 * self.num_passes

    def config(self, **changes: Any) -> TrainConfig:
        settings = {
            "parallel": self.parallel.model_dump(),
            "micro_batch": self.micro_batch,
            "recompute": self.recompute,
            "global_batch": GLOBAL_BATCH,
            "dtype": "float64",
            "loss_chunk": 12,  # so that the last chunk of a micro-batch is a shorter one
        }
        return tiny_config(**settings | changes)

    def write_model(self, folder: Path) -> Path:
        """The case's random model, written once into a folder of its own below `folder`."""
        own = folder / f"layers{self.num_layers}-tied{self.tied}-kv{self.kv_heads}-vocab{self.vocab}"
        if not own.exists():
            write_tiny_model(
                own,
                num_hidden_layers=self.num_layers,
                num_attention_heads=8,
                num_key_value_heads=self.kv_heads,
                vocab_size=self.vocab,
                tie_word_embeddings=self.tied,
            )
        return own

    def mixture(self) -> RecordingMixture:
        kind = PackedMixture if self.documents == "within" else FakeMixture
        return RecordingMixture(kind(num_samples=200, vocab=self.vocab))


OPTIONS: dict[str, list[Any]] = {
    "tp": [1, 2, 4, 8],
    "pp": [1, 2, 4, 8],
    "dp": [1, 2, 4, 8],
    "sequence_parallel": [True, False],
    "virtual_stages": [1, 2],
    "tied": [True, False],
    "kv_heads": [8, 2, 1],
    "vocab": [64, 33],
    "recompute": ["none", "selective", "full"],
    "data_parallel": ["zero1", "fsdp", "hsdp"],
    "documents": ["across", "within"],
    "micro_batch": [1, 2],
}


def allowed(case: Values) -> bool:
    """Up to eight ranks, each with a micro-batch, and as many of these as pipeline ranks.

    Sixteen stages would need fourteen layers; replicas of shards need four ranks.
    """
    return (
        case["tp"] * case["pp"] * case["dp"] <= 8
        and case["micro_batch"] * case["dp"] * case["pp"] <= GLOBAL_BATCH
        and (case["sequence_parallel"] or case["tp"] > 1)
        and (case["virtual_stages"] == 1 or case["pp"] in (2, 4))
        and (case["data_parallel"] != "fsdp" or case["dp"] > 1)
        and (case["data_parallel"] != "hsdp" or case["dp"] > 2)
    )


def matrix() -> list[Case]:
    """The cases of the parity matrix: every layout, every pair of options, and the triples that share code."""
    together = [
        ("tp", "pp", "dp"),
        ("tp", "pp", "tied"),
        ("tp", "sequence_parallel", "kv_heads"),
        ("tp", "dp", "data_parallel"),
        ("pp", "virtual_stages", "tied"),
    ]
    return [Case(**values) for values in covering(OPTIONS, allowed, together)]


def fast_cases(cases: Sequence[Case]) -> list[Case]:
    """Cheap ones of them in which every value of every option occurs; one process; and all three axes at once."""
    chosen = cheapest([asdict(case) for case in cases], lambda values: Case(**values).cost)
    three_axes = Case(tp=2, pp=2, dp=2, kv_heads=1, vocab=33, documents="within", micro_batch=2)
    return [Case(), *(Case(**values) for values in chosen), three_axes]


@dataclass
class RecordingMixture:
    """A mixture that remembers which samples were asked for."""

    mixture: FakeMixture
    asked: list[int] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # unpickling asks before there is a mixture
            raise AttributeError(name)
        return getattr(self.mixture, name)

    def __getitem__(self, index: int) -> Any:
        self.asked.append(index)
        return self.mixture[index]
