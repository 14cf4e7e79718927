"""What the machine could do at most, and what that means for a model."""

import json
import os
import subprocess
import sys
from pathlib import Path

from checkpoint import Shape

TOP = Path(__file__).parent.parent.parent
BIN = TOP / "build/release/bin"


def run_json(command: list[str]) -> list[dict[str, float]]:
    """What a program prints, which is JSON."""
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"bench: exit code {done.returncode} from {' '.join(command)}")
    parsed = json.loads(done.stdout)
    return parsed if isinstance(parsed, list) else [parsed]


def peaks() -> dict[str, float]:
    """The machine's rates on registers; also sets OMP_NUM_THREADS for library_gemm."""
    measured = run_json([str(BIN / "machine_limits")])[0]
    os.environ["OMP_NUM_THREADS"] = str(int(measured["threads"]))
    return measured


def limits_now() -> dict[str, float]:
    """Rates that change from minute to minute."""
    return (
        run_json([str(BIN / "machine_limits"), "--read"])[0]
        | run_json([str(BIN / "library_gemm")])[0]
    )


def mean(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """Key by key."""
    return {key: (before[key] + after[key]) / 2 for key in before}


def limit_of(
    shape: Shape, what: str, batch: int, depth: int, tokens: int, machine: dict[str, float]
) -> tuple[float, str]:
    """Tokens a second at most, and by what: bytes to read, or operations to do.

    Prefill: two operations for each weight of the layers and token, and four for each query head,
    value of a head and visible key; only the last token needs the head. Decode, a step: all weights
    and each session's K and V from memory once, or the operations, whichever takes longer.
    """
    gemm = max(machine["gemm_f32_flops"], machine["gemm_bf16_flops"])
    layers = shape.parameters_read_by_a_token() - shape.vocab * shape.hidden
    width = shape.heads * shape.head_dim * shape.layers
    if what == "prefill":
        visible = depth + (tokens + 1) / 2
        flops = tokens * (2 * layers + 4 * width * visible) + 2 * shape.vocab * shape.hidden
        return tokens * gemm / flops, "GEMM rate"
    keys = depth + tokens / 2
    bytes_read = 2 * (layers + shape.vocab * shape.hidden) + batch * keys * 2 * (
        shape.kv_values_per_token()
    )
    flops = batch * (2 * (layers + shape.vocab * shape.hidden) + 4 * width * keys)
    by_bytes = bytes_read / machine["read_bytes_per_second"]
    by_flops = flops / gemm
    return batch / max(by_bytes, by_flops), "bandwidth" if by_bytes > by_flops else "GEMM rate"
