"""How much memory kvasir-model needs, by the model's config.json: the table in docs/operations.md.

python3 scripts/sizing.py          the table
python3 scripts/sizing.py DIR...   the same of models in directories
"""

import json
import sys
from pathlib import Path
from typing import NamedTuple

# Tokens of a session, and sessions whose K and V are to be in memory at once.
CASES = ((4096, 1), (4096, 16), (4096, 64), (32768, 1), (32768, 16), (262144, 1))
STEP_TOKENS, RUNNING, PROMPT_LOGITS = 512, 64, 64  # --max-step-tokens, --max-running
REST = 500_000_000  # program, threads, sessions' ids, index of blocks
GIGA = 1e9


class Shape(NamedTuple):
    layers: int
    hidden: int
    ffn: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    context: int
    tied: bool = True
    bytes: int = 2  # of a weight, and of a number in K and V


SHAPES = {
    "Qwen3-0.6B": Shape(28, 1024, 3072, 16, 8, 128, 151936, 40960),
    "Qwen3-4B-Instruct-2507": Shape(36, 2560, 9728, 32, 8, 128, 151936, 262144),
}


def read_shape(folder: Path) -> Shape:
    config = json.loads((folder / "config.json").read_text())
    kind = config.get("dtype") or config.get("torch_dtype")
    return Shape(
        config["num_hidden_layers"],
        config["hidden_size"],
        config["intermediate_size"],
        config["num_attention_heads"],
        config["num_key_value_heads"],
        config["head_dim"],
        config["vocab_size"],
        config["max_position_embeddings"],
        config.get("tie_word_embeddings", True),
        4 if kind == "float32" else 2,
    )


def weights(shape: Shape) -> int:
    queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    layer = shape.hidden * (2 * queries + 2 * keys) + 3 * shape.hidden * shape.ffn
    matrices = shape.layers * layer + (1 if shape.tied else 2) * shape.vocab * shape.hidden
    norms = shape.layers * (2 * shape.hidden + 2 * shape.head_dim) + shape.hidden
    return matrices * shape.bytes + norms * 4


def kv_per_token(shape: Shape) -> int:
    return 2 * shape.layers * shape.kv_heads * shape.head_dim * shape.bytes


def work(shape: Shape) -> int:
    """One step's activations in f32, and its logits."""
    queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    token = 3 * shape.hidden + 2 * queries + 2 * keys + 3 * shape.ffn
    row = shape.hidden + shape.vocab
    return 4 * (STEP_TOKENS * token + (RUNNING + PROMPT_LOGITS) * row)


def gigabytes(size: float) -> str:
    return f"{size / GIGA:.1f} GB" if size >= GIGA else f"{size / 1e6:.0f} MB"


def table(shapes: dict[str, Shape]) -> str:
    heads = [f"{sessions} x {context:,}" for context, sessions in CASES]
    lines = [
        "| model | weights | K and V of a token | step | " + " | ".join(heads) + " |",
        "|---" * (4 + len(CASES)) + "|",
    ]
    for name, shape in shapes.items():
        fixed = weights(shape) + work(shape) + REST
        cells = [gigabytes(weights(shape)), f"{kv_per_token(shape):,} B", gigabytes(work(shape))]
        for context, sessions in CASES:
            if context > shape.context:
                cells.append("-")
                continue
            pool = context * sessions * kv_per_token(shape)
            cells.append(f"{gigabytes(pool)} / **{gigabytes(fixed + pool)}**")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    given = {Path(folder).resolve().name: read_shape(Path(folder)) for folder in sys.argv[1:]}
    sys.stdout.write(table(given or SHAPES))
