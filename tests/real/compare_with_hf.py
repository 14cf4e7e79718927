#!/usr/bin/env python3
"""Writes what transformers computes for a checkpoint of the user's, for real_parity_test.

    PYTHONPATH=tests/golden python3 tests/real/compare_with_hf.py DIR --output GOLDEN_DIR

The file is one of tests/golden/make_golden.py's, for a text sampled from the model itself.
Exact arithmetic in f64, which large models have no memory for, is left out: its two
distances are NaN. Memory: the model in fp32, then in bf16.
"""

import argparse
import gc
import math
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file

from make_golden import distance, ids_to_look_at, load, logprobs_at, sampled_tokens

SEED = 400


@torch.no_grad()
def write_golden(directory: Path, output: Path) -> str:
    """Returns a line about it."""
    model = load(directory, torch.float32)
    drawn = sampled_tokens(model, torch.Generator().manual_seed(SEED))
    tokens, following = drawn[:-1], drawn[1:]
    logits = model(tokens[None], use_cache=False).logits[0]  # [T, vocab]
    ids = ids_to_look_at(logits, following)
    logprobs = logprobs_at(logits, ids)
    del model, logits
    gc.collect()  # before the next model needs the memory
    coarse = load(directory, torch.bfloat16)(tokens[None], use_cache=False).logits[0]
    bf16 = distance(logprobs_at(coarse, ids), logprobs)
    save_file(
        {
            "tokens": tokens.float(),
            "ids": ids.float().contiguous(),
            "logprobs": logprobs.float().contiguous(),
            "distance": torch.tensor([bf16.mean, bf16.max, math.nan, math.nan]),
        },
        output / "golden.safetensors",
    )
    return f"{len(tokens)} positions; transformers bf16: mean {bf16.mean:.1e} max {bf16.max:.1e}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path, help="a Hugging Face checkpoint")
    parser.add_argument("--output", type=Path, required=True, help="an existing folder")
    arguments = parser.parse_args()
    torch.set_float32_matmul_precision("highest")
    transformers.utils.logging.disable_progress_bar()
    print(write_golden(arguments.directory, arguments.output))


if __name__ == "__main__":
    main()
