"""Writes a Qwen3 checkpoint with random weights twice: as Hugging Face keeps it, and as GGUF.

    python scripts/bench/checkpoint.py --shape=0.6b --output=DIR

Both hold the same tensors in bfloat16 (norms in float32 in the GGUF, as llama.cpp wants them).
There is no tokenizer: what is measured is ids to ids.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

Bits = NDArray[np.uint16]  # bfloat16


@dataclass(frozen=True)
class Shape:
    """The sizes of a Qwen3 model with tied embeddings."""

    layers: int
    hidden: int
    ffn: int
    heads: int
    kv_heads: int
    head_dim: int = 128
    vocab: int = 151936
    theta: float = 1_000_000.0
    epsilon: float = 1e-6
    context: int = 40960

    def parameters_read_by_a_token(self) -> int:
        """Weights that one decode step reads: all matrices, the embedding as the head."""
        attention = self.hidden * self.head_dim * (2 * self.heads + 2 * self.kv_heads)
        return self.layers * (attention + 3 * self.hidden * self.ffn) + self.vocab * self.hidden

    def kv_values_per_token(self) -> int:
        """K and V of one token over all layers."""
        return 2 * self.layers * self.kv_heads * self.head_dim


SHAPES = {
    "0.6b": Shape(layers=28, hidden=1024, ffn=3072, heads=16, kv_heads=8),
    "4b": Shape(layers=36, hidden=2560, ffn=9728, heads=32, kv_heads=8),
}


def tensors(shape: Shape) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """(name in safetensors, name in GGUF, shape) of each tensor."""
    q, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    h = shape.hidden
    yield "model.embed_tokens.weight", "token_embd.weight", (shape.vocab, h)
    yield "model.norm.weight", "output_norm.weight", (h,)
    parts: list[tuple[str, str, tuple[int, ...]]] = [
        ("input_layernorm", "attn_norm", (h,)),
        ("self_attn.q_proj", "attn_q", (q, h)),
        ("self_attn.k_proj", "attn_k", (kv, h)),
        ("self_attn.v_proj", "attn_v", (kv, h)),
        ("self_attn.o_proj", "attn_output", (h, q)),
        ("self_attn.q_norm", "attn_q_norm", (shape.head_dim,)),
        ("self_attn.k_norm", "attn_k_norm", (shape.head_dim,)),
        ("post_attention_layernorm", "ffn_norm", (h,)),
        ("mlp.gate_proj", "ffn_gate", (shape.ffn, h)),
        ("mlp.up_proj", "ffn_up", (shape.ffn, h)),
        ("mlp.down_proj", "ffn_down", (h, shape.ffn)),
    ]
    for layer in range(shape.layers):
        for ours, theirs, size in parts:
            yield f"model.layers.{layer}.{ours}.weight", f"blk.{layer}.{theirs}.weight", size


class RandomWeights:
    """Values of any count, cut from one block of random numbers."""

    def __init__(self) -> None:
        block = np.random.default_rng(1).standard_normal(1 << 24, dtype=np.float32) * 0.03
        self.block: Bits = (block.view(np.uint32) >> 16).astype(np.uint16)
        self.next = 0

    def take(self, size: tuple[int, ...]) -> Bits:
        """A matrix of small numbers, or a norm's ones."""
        count = int(np.prod(size))
        if len(size) == 1:
            return np.full(size, 0x3F80, dtype=np.uint16)
        self.next = (self.next + 4099) % self.block.size
        return np.resize(np.roll(self.block, -self.next), count).reshape(size)


def config(shape: Shape) -> dict[str, object]:
    """config.json."""
    return {
        "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_act": "silu",
        "hidden_size": shape.hidden, "intermediate_size": shape.ffn,
        "num_hidden_layers": shape.layers, "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads, "head_dim": shape.head_dim,
        "vocab_size": shape.vocab, "rope_theta": shape.theta, "rms_norm_eps": shape.epsilon,
        "max_position_embeddings": shape.context, "tie_word_embeddings": True,
        "attention_bias": False, "torch_dtype": "bfloat16",
    }  # fmt: skip


# As Qwen publishes it: what Kvasir samples by where a call does not say.
GENERATION_CONFIG = {"do_sample": True, "temperature": 0.7, "top_k": 20, "top_p": 0.8}


def write(shape: Shape, folder: Path) -> None:
    """Both checkpoints; the safetensors file is written as it goes, a tensor at a time."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config(shape), indent=2) + "\n")
    (folder / "generation_config.json").write_text(json.dumps(GENERATION_CONFIG) + "\n")
    header: dict[str, object] = {}
    end = 0
    for name, _, size in tensors(shape):
        begin, end = end, end + 2 * int(np.prod(size))
        header[name] = {"dtype": "BF16", "shape": size, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)

    out = gguf.GGUFWriter(folder / "model.gguf", "qwen3")
    out.add_context_length(shape.context)
    out.add_embedding_length(shape.hidden)
    out.add_block_count(shape.layers)
    out.add_feed_forward_length(shape.ffn)
    out.add_head_count(shape.heads)
    out.add_head_count_kv(shape.kv_heads)
    out.add_key_length(shape.head_dim)
    out.add_value_length(shape.head_dim)
    out.add_rope_freq_base(shape.theta)
    out.add_layer_norm_rms_eps(shape.epsilon)
    out.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    out.add_tokenizer_model("none")
    out.add_vocab_size(shape.vocab)
    for _, name, size in tensors(shape):
        if len(size) == 1:
            out.add_tensor_info(name, size, np.dtype(np.float32), 4 * size[0])
        else:
            bytes_shape = (*size[:-1], 2 * size[-1])
            out.add_tensor_info(name, bytes_shape, np.dtype(np.uint8), 2 * int(np.prod(size)),
                                raw_dtype=gguf.GGMLQuantizationType.BF16)  # fmt: skip
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_ti_data_to_file()

    weights = RandomWeights()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, _, size in tqdm(list(tensors(shape)), desc="weights"):
            data = weights.take(size)
            file.write(data.data)
            if len(size) == 1:
                out.write_tensor_data((data.astype(np.uint32) << 16).view(np.float32))
            else:
                out.write_tensor_data(data.view(np.uint8))
    out.close()


def main() -> None:
    """Writes, unless it has been written."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=sorted(SHAPES), required=True)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    done = arguments.output / "done"
    if not done.exists():
        write(SHAPES[arguments.shape], arguments.output)
        done.touch()


if __name__ == "__main__":
    main()
