#!/usr/bin/env python3
"""Writes what transformers computes inside a model, for compare_layers to look at.

    tests/golden/dump_layers.py MODEL_DIR dump.safetensors
    build/release/tests/compare_layers MODEL_DIR dump.safetensors --dtype=bf16

Probes, named as Qwen3::set_probe names them: "embed", each layer's contribution to the
residual stream ("3.attention", "3.mlp"), and "final", after the last norm: F32
[T, hidden], by transformers fp32. "<probe>.bf16_error" [1] is the mean distance of
transformers bf16 from it; "tokens" [T] are the ids that were read.
"""

import argparse
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from tqdm import tqdm
from transformers import Qwen3ForCausalLM


@torch.no_grad()
def probe_values(
    directory: Path, dtype: torch.dtype, tokens: torch.Tensor | None, positions: int
) -> dict[str, torch.Tensor]:
    """Every probe's value, and "tokens"; random ones where none are given."""
    model = Qwen3ForCausalLM.from_pretrained(
        directory, dtype=dtype, attn_implementation="eager"
    ).eval()
    if tokens is None:
        count = min(positions, model.config.max_position_embeddings)
        generator = torch.Generator().manual_seed(1)
        tokens = torch.randint(model.config.vocab_size, (count,), generator=generator)
    values = {"tokens": tokens}
    modules = {"embed": model.model.embed_tokens, "final": model.model.norm}
    for i, layer in enumerate(model.model.layers):
        modules[f"{i}.attention"] = layer.self_attn.o_proj
        modules[f"{i}.mlp"] = layer.mlp.down_proj
    bar = tqdm(total=len(modules), desc=str(dtype))
    for name, module in modules.items():

        def keep(_module: object, _args: object, output: torch.Tensor, name: str = name) -> None:
            values[name] = output[0].float().clone()
            bar.update()

        module.register_forward_hook(keep)
    model(tokens[None], use_cache=False)
    bar.close()
    return values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="a Hugging Face model directory")
    parser.add_argument("out", type=Path, help="the safetensors file to write")
    parser.add_argument("--positions", type=int, default=657, help="tokens to read (657)")
    args = parser.parse_args()

    torch.set_float32_matmul_precision("highest")
    transformers.utils.logging.disable_progress_bar()
    values = probe_values(args.model, torch.float32, None, args.positions)
    tokens = values.pop("tokens")
    coarse = probe_values(args.model, torch.bfloat16, tokens, args.positions)
    errors = {
        f"{name}.bf16_error": (coarse[name] - value).abs().mean().reshape(1)
        for name, value in values.items()
    }
    save_file({"tokens": tokens.float(), **values, **errors}, args.out)


if __name__ == "__main__":
    main()
