"""Qwen3 in double precision, written from its definition.

Tells how far transformers' own fp32 run is from the exact value: what the gate cannot
blame on anybody else. RMSNorm: Zhang & Sennrich 2019; rotary embedding: Su et al. 2021;
grouped queries: Ainslie et al. 2023; SwiGLU: Shazeer 2020.
"""

import math

import torch
from transformers import Qwen3Config


def _norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    return x / torch.sqrt(x.pow(2).mean(-1, keepdim=True) + eps) * weight


def _rope(x: torch.Tensor, theta: float) -> torch.Tensor:
    """x: [T, heads, D]; pairs (i, i + D/2) turn by position * theta^(-2i/D)."""
    positions, _, dim = x.shape
    frequency = theta ** -(torch.arange(0, dim, 2, dtype=torch.float64) / dim)
    angle = torch.arange(positions, dtype=torch.float64)[:, None] * frequency
    cos, sin = angle.cos()[:, None], angle.sin()[:, None]
    a, b = x[..., : dim // 2], x[..., dim // 2 :]
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


def exact_logits(
    config: Qwen3Config, weights: dict[str, torch.Tensor], tokens: torch.Tensor
) -> torch.Tensor:
    """[T, vocab] in f64. `weights` by their names in the checkpoint."""
    w = {name: value.double() for name, value in weights.items()}
    eps, dim = config.rms_norm_eps, config.head_dim
    rope, kv_heads = config.rope_parameters, config.num_key_value_heads
    if rope is None or kv_heads is None:
        raise ValueError("not a loaded configuration")
    theta = float(rope["rope_theta"])
    group = config.num_attention_heads // kv_heads
    count = len(tokens)
    future = torch.ones(count, count, dtype=torch.bool).triu(1)

    x = w["model.embed_tokens.weight"][tokens]
    for i in range(config.num_hidden_layers):
        layer = f"model.layers.{i}"
        attention = f"{layer}.self_attn"
        normed = _norm(x, w[f"{layer}.input_layernorm.weight"], eps)
        q, k, v = (
            (normed @ w[f"{attention}.{p}_proj.weight"].T).view(count, -1, dim) for p in "qkv"
        )
        q = _rope(_norm(q, w[f"{attention}.q_norm.weight"], eps), theta)
        k = _rope(_norm(k, w[f"{attention}.k_norm.weight"], eps), theta)
        k, v = (y.repeat_interleave(group, dim=1) for y in (k, v))
        scores = torch.einsum("thd,shd->hts", q, k) / math.sqrt(dim)
        probabilities = scores.masked_fill(future, -math.inf).softmax(-1)
        attended = torch.einsum("hts,shd->thd", probabilities, v).flatten(1)
        x = x + attended @ w[f"{attention}.o_proj.weight"].T
        normed = _norm(x, w[f"{layer}.post_attention_layernorm.weight"], eps)
        gate = normed @ w[f"{layer}.mlp.gate_proj.weight"].T
        up = normed @ w[f"{layer}.mlp.up_proj.weight"].T
        mlp = torch.nn.functional.silu(gate) * up
        x = x + mlp @ w[f"{layer}.mlp.down_proj.weight"].T
    x = _norm(x, w["model.norm.weight"], eps)
    tied = config.tie_word_embeddings
    return x @ w["model.embed_tokens.weight" if tied else "lm_head.weight"].T
