"""What is written is what Megatron-core computes with: its GPTModel loads our files strictly and gives our logits.

Megatron-core is no dependency (0.19 needs Python 3.12): where it is not installed these tests are skipped. Its local
layers run on a CPU once three calls to CUDA are replaced; those of Transformer Engine do not.

    pip install megatron-core && pytest tests/trainer/test_megatron_core.py
"""

from __future__ import annotations

import contextlib
import importlib.util
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.trainer.ranks import run_ranks, write_tiny_model
from trainer.hf import load_model
from trainer.megatron import FILE, rank_folder
from trainer.megatron_export import write_megatron
from trainer.megatron_import import read_rank

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("megatron") is None or importlib.util.find_spec("megatron.core") is None,
    reason="megatron-core is not installed",
)

MODELS: dict[str, dict[str, Any]] = {
    "grouped queries, tied, odd vocabulary": {"vocab_size": 97},
    "untied, all heads their own keys": {"num_key_value_heads": 4, "tie_word_embeddings": False, "vocab_size": 131},
    "head_dim of its own": {"head_dim": 16, "tie_word_embeddings": False},
    "Llama 3's RoPE": {
        "max_position_embeddings": 32768,
        "rope_parameters": {
            "rope_type": "llama3", "rope_theta": 500000.0, "factor": 32.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
        },
    },
    "linear RoPE scaling": {"rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}},
    "one key-value head": {"num_key_value_heads": 1, "tie_word_embeddings": False},
}  # fmt: skip


@pytest.mark.parametrize(("tp", "pp"), [(1, 1), (2, 2)])
def test_megatron_core_computes_our_logits(tmp_path: Path, tp: int, pp: int) -> None:
    tokens = torch.randint(0, 96, (2, 48), generator=torch.Generator().manual_seed(0))
    folders = [write_tiny_model(tmp_path / str(i), **changes) for i, changes in enumerate(MODELS.values())]
    for folder in folders:
        write_megatron(folder, folder / "megatron", step=3, tp=tp, pp=pp, spec="local", vocab_multiple=16)
    of_ranks = run_ranks(tp, all_logits, [folder / "megatron/iter_0000003" for folder in folders], tokens.tolist(), pp)
    wrong = []
    for number, (name, folder) in enumerate(zip(MODELS, folders, strict=True)):
        with torch.no_grad():
            ours = load_model(folder, torch.float32)(tokens)
        theirs = torch.from_numpy(np.concatenate([logits[number] for logits in of_ranks], axis=-1))
        difference = (theirs[..., : ours.shape[-1]] - ours).abs().max().item()
        print(f"tp {tp}, pp {pp}, {name}: logits up to {ours.abs().max():.2f}, largest difference {difference:.1e}")
        if difference > 4e-6 or theirs[..., ours.shape[-1] :].any():
            wrong.append(name)
    assert not wrong


def all_logits(mesh: Any, folders: list[Path], token_ids: list[list[int]], pp: int) -> list[np.ndarray]:
    """This tensor-parallel rank's logits of each model (arrays, as tensors would come through shared memory)."""
    torch.cuda.current_device = lambda: "cpu"
    torch.cuda.set_device = lambda device: None
    from megatron.core import parallel_state
    from megatron.core.tensor_parallel.random import CudaRNGStatesTracker

    CudaRNGStatesTracker.fork = lambda *_: contextlib.nullcontext()
    parallel_state.initialize_model_parallel(tensor_model_parallel_size=torch.distributed.get_world_size())
    return [megatron_logits(folder, torch.tensor(token_ids), mesh.rank, pp).numpy() for folder in folders]


@torch.no_grad()
def megatron_logits(folder: Path, tokens: Tensor, tp_rank: int, pp: int) -> Tensor:
    """Logits (batch, seq, padded vocabulary / tp), all pipeline stages computed here one after another."""
    seq = tokens.shape[1]
    position = torch.arange(seq).expand_as(tokens)
    hidden = None
    for pp_rank in range(pp):
        saved = read_rank(folder / rank_folder(tp_rank, pp_rank, pp) / FILE)
        stage = gpt_model(saved["args"], pp_rank, pp).eval()
        stage.load_state_dict(saved["model"], strict=True)
        stage.set_input_tensor(hidden)
        hidden = stage(tokens, position, torch.ones(1, 1, seq, seq, dtype=torch.bool).triu(1))
    assert hidden is not None
    return hidden


def gpt_model(args: Namespace, pp_rank: int, pp: int) -> Any:
    """Megatron-core's model of a pipeline stage as our arguments describe it, in fp32."""
    from megatron.core.models.gpt import GPTModel
    from megatron.core.models.gpt.gpt_layer_specs import get_gpt_layer_local_spec
    from megatron.core.transformer import TransformerConfig

    config = TransformerConfig(
        num_layers=args.num_layers // pp,  # of this stage: it is built as a model of its own
        hidden_size=args.hidden_size,
        ffn_hidden_size=args.ffn_hidden_size,
        num_attention_heads=args.num_attention_heads,
        num_query_groups=args.num_query_groups,
        kv_channels=args.kv_channels,
        normalization=args.normalization,
        layernorm_epsilon=args.norm_epsilon,
        gated_linear_unit=args.swiglu,
        activation_func=torch.nn.functional.silu,
        add_bias_linear=args.add_bias_linear,
        rotary_interleaved=args.rotary_interleaved,
        attention_dropout=args.attention_dropout,
        hidden_dropout=args.hidden_dropout,
        tensor_model_parallel_size=args.tensor_model_parallel_size,
        use_cpu_initialization=True,
        params_dtype=args.params_dtype,
    )
    return GPTModel(
        config,
        get_gpt_layer_local_spec(normalization=args.normalization),
        vocab_size=args.padded_vocab_size,
        max_sequence_length=args.max_position_embeddings,
        pre_process=pp_rank == 0,
        post_process=pp_rank == pp - 1,
        share_embeddings_and_output_weights=not args.untie_embeddings_and_output_weights,
        position_embedding_type=args.position_embedding_type,
        rotary_percent=args.rotary_percent,
        rotary_base=args.rotary_base,
        rope_scaling=args.use_rope_scaling,
        rope_scaling_factor=args.rope_scaling_factor,
        seq_len_interpolation_factor=args.rotary_seq_len_interpolation_factor,
    )
