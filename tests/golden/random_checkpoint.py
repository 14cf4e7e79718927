"""Small random Qwen3 checkpoints whose outputs depend on every part of the model.

A checkpoint initialised for training is a poor witness: its logits are almost
uniform, its norms all ones and its attention an average over everything, so that a
wrong mask or a wrong rotation moves nothing. Here logits have a standard deviation of
above two, norm weights spread around one, and attention prefers some keys. Not
sharper than that: fp32 itself must stay well inside the gate's 1e-4 (transformers turns
by angles in fp32, wrong by 3e-5 rad at position 600, and sharp attention amplifies it).
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import Qwen3Config

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class CheckpointSpec:
    """One checkpoint: its shape, and how it is written down."""

    name: str
    layers: int
    hidden: int
    ffn: int
    vocab: int
    heads: int
    kv_heads: int
    head_dim: int
    rope_theta: float
    tied: bool
    dtype: torch.dtype
    # transformers >= 5 writes rope_parameters and dtype; before: rope_theta, torch_dtype.
    new_spelling: bool
    shards: int = 1
    norm_eps: float = 1e-6
    max_positions: int = 40960
    # Mean weight of q_norm and of k_norm; its square scales every attention score.
    sharpness: float = 1.15


SPECS = [
    CheckpointSpec(
        name="mha_f32_tied",
        layers=3,
        hidden=40,
        ffn=72,
        vocab=331,
        heads=3,
        kv_heads=3,
        head_dim=16,
        rope_theta=1e4,
        tied=True,
        dtype=torch.float32,
        new_spelling=False,
        max_positions=657,  # the golden sequence ends at the last one
    ),
    CheckpointSpec(
        name="gqa4_bf16_untied",
        layers=3,
        hidden=48,
        ffn=64,
        vocab=509,
        heads=8,
        kv_heads=2,
        head_dim=16,
        rope_theta=1e6,
        tied=False,
        dtype=torch.bfloat16,
        new_spelling=True,
    ),
    CheckpointSpec(
        name="gqa8_bf16_tied",
        layers=3,
        hidden=48,
        ffn=56,
        vocab=331,
        heads=8,
        kv_heads=1,
        head_dim=32,
        rope_theta=5e6,
        tied=True,
        dtype=torch.bfloat16,
        new_spelling=False,
        max_positions=262144,
        sharpness=1.0,
    ),
    CheckpointSpec(
        name="gqa4_f16_sharded",
        layers=5,
        hidden=36,
        ffn=52,
        vocab=397,
        heads=4,
        kv_heads=1,
        head_dim=24,
        rope_theta=1e6,
        tied=False,
        dtype=torch.float16,
        new_spelling=True,
        shards=3,
        norm_eps=1e-3,  # large enough that another epsilon shows
    ),
    CheckpointSpec(
        name="head128_bf16_tied",
        layers=3,
        hidden=40,
        ffn=48,
        vocab=211,
        heads=2,
        kv_heads=1,
        head_dim=128,
        rope_theta=5e6,
        tied=True,
        dtype=torch.bfloat16,
        new_spelling=True,
        max_positions=262144,
        sharpness=1.0,
    ),
    CheckpointSpec(
        name="deep_f32_untied",
        layers=7,
        hidden=24,
        ffn=40,
        vocab=331,
        heads=4,
        kv_heads=4,
        head_dim=8,
        rope_theta=1e4,
        tied=False,
        dtype=torch.float32,
        new_spelling=True,
        sharpness=1.0,
    ),
]


def random_tensors(spec: CheckpointSpec, generator: torch.Generator) -> Tensors:
    def matrix(rows: int, cols: int, gain: float) -> torch.Tensor:
        return torch.randn(rows, cols, generator=generator) * (gain / math.sqrt(cols))

    def norm(size: int, mean: float = 1.0) -> torch.Tensor:
        return mean * torch.exp(0.35 * torch.randn(size, generator=generator))

    q_rows = spec.heads * spec.head_dim
    kv_rows = spec.kv_heads * spec.head_dim
    tensors = {"model.embed_tokens.weight": matrix(spec.vocab, spec.hidden, 2.2)}
    for i in range(spec.layers):
        layer = f"model.layers.{i}"
        attention = f"{layer}.self_attn"
        tensors |= {
            f"{layer}.input_layernorm.weight": norm(spec.hidden),
            f"{attention}.q_proj.weight": matrix(q_rows, spec.hidden, 1.0),
            f"{attention}.k_proj.weight": matrix(kv_rows, spec.hidden, 1.0),
            f"{attention}.v_proj.weight": matrix(kv_rows, spec.hidden, 1.0),
            f"{attention}.q_norm.weight": norm(spec.head_dim, spec.sharpness),
            f"{attention}.k_norm.weight": norm(spec.head_dim, spec.sharpness),
            f"{attention}.o_proj.weight": matrix(spec.hidden, q_rows, 0.5),
            f"{layer}.post_attention_layernorm.weight": norm(spec.hidden),
            f"{layer}.mlp.gate_proj.weight": matrix(spec.ffn, spec.hidden, 1.2),
            f"{layer}.mlp.up_proj.weight": matrix(spec.ffn, spec.hidden, 1.0),
            f"{layer}.mlp.down_proj.weight": matrix(spec.hidden, spec.ffn, 0.4),
        }
    tensors["model.norm.weight"] = norm(spec.hidden)
    if not spec.tied:
        tensors["lm_head.weight"] = matrix(spec.vocab, spec.hidden, 2.2)
    return {name: value.to(spec.dtype) for name, value in tensors.items()}


def write_config(spec: CheckpointSpec, directory: Path) -> None:
    dtype = str(spec.dtype).removeprefix("torch.")
    if spec.new_spelling:
        config = Qwen3Config(
            architectures=["Qwen3ForCausalLM"],
            vocab_size=spec.vocab,
            hidden_size=spec.hidden,
            intermediate_size=spec.ffn,
            num_hidden_layers=spec.layers,
            num_attention_heads=spec.heads,
            num_key_value_heads=spec.kv_heads,
            head_dim=spec.head_dim,
            max_position_embeddings=spec.max_positions,
            rms_norm_eps=spec.norm_eps,
            tie_word_embeddings=spec.tied,
            rope_parameters={"rope_type": "default", "rope_theta": spec.rope_theta},
            bos_token_id=0,
            eos_token_id=1,
            dtype=dtype,
        )
        config.save_pretrained(directory)
        return
    # As Qwen3-4B's own config.json spells it.
    config_json = {
        "architectures": ["Qwen3ForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "head_dim": spec.head_dim,
        "hidden_act": "silu",
        "hidden_size": spec.hidden,
        "initializer_range": 0.02,
        "intermediate_size": spec.ffn,
        "max_position_embeddings": spec.max_positions,
        "max_window_layers": spec.layers,
        "model_type": "qwen3",
        "num_attention_heads": spec.heads,
        "num_hidden_layers": spec.layers,
        "num_key_value_heads": spec.kv_heads,
        "rms_norm_eps": spec.norm_eps,
        "rope_scaling": None,
        "rope_theta": int(spec.rope_theta),
        "sliding_window": None,
        "tie_word_embeddings": spec.tied,
        "torch_dtype": dtype,
        "transformers_version": "4.51.0",
        "use_cache": True,
        "use_sliding_window": False,
        "vocab_size": spec.vocab,
    }
    text = json.dumps(config_json, indent=2) + "\n"
    (directory / "config.json").write_text(text)


def write_checkpoint(spec: CheckpointSpec, directory: Path, seed: int) -> None:
    """Writes config.json and the weights, replacing what is there."""
    directory.mkdir(parents=True, exist_ok=True)
    for stale in directory.glob("model*.safetensors*"):
        stale.unlink()
    write_config(spec, directory)
    tensors = random_tensors(spec, torch.Generator().manual_seed(seed))
    if spec.shards == 1:
        metadata = {"format": "pt"}
        save_file(tensors, directory / "model.safetensors", metadata=metadata)
        return
    names = list(tensors)
    per_shard = math.ceil(len(names) / spec.shards)
    weight_map: dict[str, str] = {}
    for shard in range(spec.shards):
        file = f"model-{shard + 1:05}-of-{spec.shards:05}.safetensors"
        part = {n: tensors[n] for n in names[shard * per_shard :][:per_shard]}
        save_file(part, directory / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    size = sum(t.numel() * t.element_size() for t in tensors.values())
    index = {"metadata": {"total_size": size}, "weight_map": weight_map}
    text = json.dumps(index, indent=2, sort_keys=True) + "\n"
    (directory / "model.safetensors.index.json").write_text(text)
