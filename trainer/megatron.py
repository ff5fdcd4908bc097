"""A Llama as Megatron-core's GPTModel: which parts of which Hugging Face tensors each of its parameters is; no torch.

In: the model's shape, the layout, a pipeline stage, a tensor-parallel rank. Out: parameter name -> the blocks of
Hugging Face tensors that it stacks by rows; the same table is read forwards to write Megatron's files and backwards to
read them. As Megatron-core 0.16 to 0.20 lays a model out (`GPTModel.state_dict`, tools/checkpoint/schema_core.py):

    embedding.word_embeddings, output_layer   rows of the vocabulary, padded with 0 to a multiple of vocab_multiple x tp
    self_attention.linear_qkv                 of each query group: its query heads, its key head, its value head
    mlp.linear_fc1                            a rank's rows of gate_proj, then its rows of up_proj
    self_attention.linear_proj, mlp.linear_fc2   a rank's columns of o_proj and down_proj
    norms                                     whole on every rank

A rank's `linear_qkv` is its part of the whole matrix, which with fewer query groups than ranks cuts through a group.
Rotary embedding turns dimension i with i + head_dim / 2 in both, so nothing is permuted.

    for name, blocks in rank_parameters(model, layout, stage, tp_rank=0).items(): ...
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from trainer.llama_config import LinearRopeScaling, Llama3RopeScaling, LlamaConfig
from trainer.sharding import EMBEDDING, HEAD, NORM, Block
from trainer.stages import Stage

Spec = Literal["transformer_engine", "local"]

TRACKER = "latest_checkpointed_iteration.txt"
FILE = "model_optim_rng.pt"

# Where the norms before attention and MLP lie: with Transformer Engine inside the linear layer that follows.
_NORMS: dict[Spec, tuple[str, str]] = {
    "transformer_engine": ("self_attention.linear_qkv.layer_norm_weight", "mlp.linear_fc1.layer_norm_weight"),
    "local": ("input_layernorm.weight", "pre_mlp_layernorm.weight"),
}
_LINEARS = ("self_attention.linear_qkv", "self_attention.linear_proj", "mlp.linear_fc1", "mlp.linear_fc2")


@dataclass(frozen=True)
class MegatronLayout:
    """How a model is cut into Megatron's files, and which layers read them.

    Attributes:
        spec: Megatron's --transformer-impl; it decides the names of the norms.
        padded_vocab: rows of embedding and head over all tensor-parallel ranks.
    """

    tp: int
    pp: int
    spec: Spec
    padded_vocab: int


def padded_vocab(vocab_size: int, tp: int, vocab_multiple: int) -> int:
    """Rows that Megatron gives a vocabulary under --make-vocab-size-divisible-by `vocab_multiple`."""
    multiple = vocab_multiple * tp
    return -(-vocab_size // multiple) * multiple


def layout_problems(model: LlamaConfig, layout: MegatronLayout) -> list[str]:
    """Why Megatron-core cannot hold this model in this layout; empty when it can."""
    tp, pp, groups = layout.tp, layout.pp, model.num_kv_heads
    found = [
        f"tp {tp} does not divide the model's {size} {what}; choose one that does"
        for size, what in ((model.num_heads, "attention heads"), (model.intermediate_size, "MLP dimensions"))
        if size % tp
    ]
    if groups % tp and tp % groups:
        found.append(f"tp {tp} is neither a divisor nor a multiple of the model's {groups} key-value heads; choose one")
    elif _qkv_rows(model) % tp:
        found.append(
            f"tp {tp} does not divide the {_qkv_rows(model)} rows of query, key and value; choose a smaller one"
        )
    if model.num_layers % pp:
        found.append(f"pp {pp} does not divide the model's {model.num_layers} layers; Megatron splits them evenly")
    scaling = model.rope_scaling
    factor = scaling.factor if isinstance(scaling, LinearRopeScaling) else 1.0
    for value, option in ((model.rope_theta, "--rotary-base"), (factor, "--rotary-seq-len-interpolation-factor")):
        if value != int(value):
            found.append(f"rotary embedding's {value} is no whole number, as Megatron's {option} has to be")
    if isinstance(scaling, Llama3RopeScaling) and scaling != Llama3RopeScaling(scaling.factor, 1, 4, 8192):
        found.append(
            f"{scaling}: Megatron-core knows no other RoPE scaling than low_freq_factor 1, high_freq_factor 4 and "
            f"8,192 original positions (RotaryEmbedding._apply_scaling)"
        )
    return found


def arguments(model: LlamaConfig, layout: MegatronLayout) -> dict[str, Any]:
    """Megatron's command-line arguments that the model and its layout decide, as its checkpoints hold them."""
    scaling = model.rope_scaling
    return {
        "num_layers": model.num_layers,
        "hidden_size": model.hidden_size,
        "ffn_hidden_size": model.intermediate_size,
        "num_attention_heads": model.num_heads,
        "group_query_attention": model.num_kv_heads != model.num_heads,
        "num_query_groups": model.num_kv_heads,
        "kv_channels": model.head_dim,
        "max_position_embeddings": model.max_positions,
        "seq_length": min(model.max_positions, model.sliding_window or model.max_positions),
        "vocab_size": model.vocab_size,
        "padded_vocab_size": layout.padded_vocab,
        "untie_embeddings_and_output_weights": not model.tied,
        "position_embedding_type": "rope",
        "add_position_embedding": True,
        "rotary_base": int(model.rope_theta),
        "rotary_percent": 1.0,
        "rotary_interleaved": False,
        "use_rope_scaling": isinstance(scaling, Llama3RopeScaling),
        "rope_scaling_factor": scaling.factor if isinstance(scaling, Llama3RopeScaling) else 8.0,
        "rotary_seq_len_interpolation_factor": (
            int(scaling.factor) if isinstance(scaling, LinearRopeScaling) else None
        ),
        "normalization": "RMSNorm",
        **dict.fromkeys(("norm_epsilon", "layernorm_epsilon"), model.rms_norm_eps),  # the second since core 0.18
        "apply_layernorm_1p": False,
        "layernorm_zero_centered_gamma": False,
        "swiglu": True,
        "squared_relu": False,
        "add_bias_linear": False,
        "add_qkv_bias": False,
        "attention_dropout": 0.0,
        "hidden_dropout": 0.0,
        "apply_query_key_layer_scaling": False,
        "num_experts": None,
        "expert_model_parallel_size": 1,
        "tensor_model_parallel_size": layout.tp,
        "pipeline_model_parallel_size": layout.pp,
        "virtual_pipeline_model_parallel_size": None,
        "num_layers_per_virtual_pipeline_stage": None,
        "sequence_parallel": layout.tp > 1,
        "transformer_impl": layout.spec,
        "tokenizer_type": "HuggingFaceTokenizer",
        "bert_binary_head": False,
        "ckpt_format": "torch",
        "no_save_optim": True,
        "no_save_rng": True,
        "consumed_train_samples": 0,
        "consumed_valid_samples": 0,
    }


def even_stages(num_layers: int, pp: int) -> list[Stage]:
    """Megatron's pipeline stages where nothing else is asked of it: equal numbers of layers."""
    layers = num_layers // pp
    return [Stage(index, pp, index, range(index * layers, (index + 1) * layers)) for index in range(pp)]


def rank_parameters(
    model: LlamaConfig, layout: MegatronLayout, stage: Stage, tp_rank: int
) -> dict[str, tuple[Block, ...]]:
    """Megatron's name -> the blocks that its parameter stacks, of a rank, without Transformer Engine's extra states.

    Layers are numbered from 0 within the stage. A tied model's matrix is on the first stage and, where that is another
    one, on the last.
    """
    rank = _Rank(model, layout, tp_rank)
    found: dict[str, tuple[Block, ...]] = {}
    if stage.has_embedding:
        found["embedding.word_embeddings.weight"] = (rank.vocabulary(EMBEDDING),)
    for number, layer in enumerate(stage.layers):
        found |= {f"decoder.layers.{number}.{name}": blocks for name, blocks in rank.layer(layer).items()}
    if stage.has_head:
        found["decoder.final_layernorm.weight"] = (rank.norm(NORM),)
        if not (model.tied and stage.has_embedding):
            found["output_layer.weight"] = (rank.vocabulary(EMBEDDING if model.tied else HEAD),)
    return found


def extra_states(layout: MegatronLayout, stage: Stage) -> list[str]:
    """Names under which Transformer Engine 2 keeps FP8 scales, empty without FP8; a strict load wants them there."""
    if layout.spec == "local":
        return []
    found = [f"decoder.layers.{i}.{name}._extra_state" for i in range(len(stage.layers)) for name in _LINEARS]
    return found + (["decoder.final_layernorm._extra_state"] if stage.has_head else [])


def rank_folder(tp_rank: int, pp_rank: int, pp: int) -> str:
    """The folder of a rank's file below an iteration's."""
    return f"mp_rank_{tp_rank:02}" + (f"_{pp_rank:03}" if pp > 1 else "")


@dataclass(frozen=True)
class _Rank:
    """Makes the blocks of one tensor-parallel rank."""

    model: LlamaConfig
    layout: MegatronLayout
    tp_rank: int

    def vocabulary(self, name: str) -> Block:
        vocab, hidden = self.model.vocab_size, self.model.hidden_size
        rows = self.layout.padded_vocab // self.layout.tp
        first = min(vocab, rows * self.tp_rank)
        size = min(vocab, first + rows) - first
        return Block(name, (vocab, hidden), (first, 0), (size, hidden), (rows, hidden))

    def norm(self, name: str) -> Block:
        size = (self.model.hidden_size,)
        return Block(name, size, (0,), size, size)

    def columns(self, name: str, columns: int) -> Block:
        own, hidden = columns // self.layout.tp, self.model.hidden_size
        return Block(name, (hidden, columns), (0, own * self.tp_rank), (hidden, own), (hidden, own))

    def rows(self, name: str, rows: int) -> Block:
        own = rows // self.layout.tp
        return _rows(name, rows, self.model.hidden_size, own * self.tp_rank, own)

    def qkv(self, prefix: str) -> tuple[Block, ...]:
        own = _qkv_rows(self.model) // self.layout.tp
        first, last = own * self.tp_rank, own * (self.tp_rank + 1)
        found, begin = [], 0
        for block in _query_groups(self.model, prefix):
            start, stop = max(first, begin), min(last, begin + block.size[0])
            if start < stop:
                found.append(
                    _rows(block.name, block.shape[0], block.shape[1], block.offset[0] + start - begin, stop - start)
                )
            begin += block.size[0]
        return tuple(found)

    def layer(self, number: int) -> dict[str, tuple[Block, ...]]:
        model, prefix = self.model, f"model.layers.{number}."
        inner = model.intermediate_size
        attention_norm, mlp_norm = _NORMS[self.layout.spec]
        return {
            attention_norm: (self.norm(f"{prefix}input_layernorm.weight"),),
            "self_attention.linear_qkv.weight": self.qkv(f"{prefix}self_attn."),
            "self_attention.linear_proj.weight": (
                self.columns(f"{prefix}self_attn.o_proj.weight", model.num_heads * model.head_dim),
            ),
            mlp_norm: (self.norm(f"{prefix}post_attention_layernorm.weight"),),
            "mlp.linear_fc1.weight": (
                self.rows(f"{prefix}mlp.gate_proj.weight", inner),
                self.rows(f"{prefix}mlp.up_proj.weight", inner),
            ),
            "mlp.linear_fc2.weight": (self.columns(f"{prefix}mlp.down_proj.weight", inner),),
        }


def _qkv_rows(model: LlamaConfig) -> int:
    return (model.num_heads + 2 * model.num_kv_heads) * model.head_dim


def _query_groups(model: LlamaConfig, prefix: str) -> Iterator[Block]:
    """The rows of the whole linear_qkv, in order."""
    dim, hidden, groups = model.head_dim, model.hidden_size, model.num_kv_heads
    queries = model.num_heads // groups * dim
    for group in range(groups):
        yield _rows(f"{prefix}q_proj.weight", model.num_heads * dim, hidden, group * queries, queries)
        yield _rows(f"{prefix}k_proj.weight", groups * dim, hidden, group * dim, dim)
        yield _rows(f"{prefix}v_proj.weight", groups * dim, hidden, group * dim, dim)


def _rows(name: str, rows: int, columns: int, first: int, size: int) -> Block:
    return Block(name, (rows, columns), (first, 0), (size, columns), (size, columns))
