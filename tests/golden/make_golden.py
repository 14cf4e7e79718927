#!/usr/bin/env python3
"""Writes the golden files that the numerics gate compares Kvasir with.

    python3 -m venv ~/golden && ~/golden/bin/pip install -r tests/golden/requirements.txt
    ~/golden/bin/python tests/golden/make_golden.py            # all of them
    ~/golden/bin/python tests/golden/make_golden.py tiny       # after a new training

For each random checkpoint of random_checkpoint.py, and for models/tiny, Hugging Face
transformers reads a sequence of tokens in one piece, in fp32 and in bf16: random ones;
for models/tiny, which was trained, a text of its own (sampled; on noise a trained model
amplifies rounding).
The golden file holds, for every position, the fp32 log-probabilities of 32 ids: the token
that comes next, the 16 most probable ones, and 15 that walk through the vocabulary, so
that every row of the head is looked at. It is a safetensors file with F32 tensors only
(ids are exact in F32 below 2^24), which the engine's own reader opens:

    tokens    [T]       the sequence
    ids       [T, 32]   the ids looked at
    logprobs  [T, 32]   transformers fp32
    distance  [4]       from logprobs, over all entries: transformers bf16 (mean, max),
                        exact arithmetic in f64 (mean, max)
"""

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from tqdm import tqdm
from transformers import Qwen3ForCausalLM

from exact_qwen3 import exact_logits
from random_checkpoint import SPECS, write_checkpoint

GOLDEN = Path(__file__).resolve().parent
TINY = GOLDEN.parent.parent / "models" / "tiny"
POSITIONS = 657  # no multiple of any tile
TOP_IDS = 16
WALKING_IDS = 15
# Where transformers fp32 itself is further than this from the exact values, it cannot tell who is
# right to 1e-4: another sequence is drawn.
MAX_REFERENCE_ERROR = 4e-5
MAX_TRIES = 10

DrawTokens = Callable[[Qwen3ForCausalLM, torch.Generator], torch.Tensor]


@dataclass(frozen=True)
class Distance:
    mean: float
    max: float


@dataclass(frozen=True)
class Reference:
    """What transformers fp32 says of a sequence."""

    tokens: torch.Tensor  # [T]
    ids: torch.Tensor  # [T, 32]
    logprobs: torch.Tensor  # [T, 32]
    error: Distance  # of logprobs from exact arithmetic
    entropy: float  # mean, in nats
    keys: float  # attended_keys


def load(directory: Path, dtype: torch.dtype) -> Qwen3ForCausalLM:
    model = Qwen3ForCausalLM.from_pretrained(directory, dtype=dtype, attn_implementation="eager")
    return model.eval()


def random_tokens(model: Qwen3ForCausalLM, generator: torch.Generator) -> torch.Tensor:
    """One more than is read: the last one is only predicted."""
    return torch.randint(model.config.vocab_size, (POSITIONS + 1,), generator=generator)


def sampled_tokens(model: Qwen3ForCausalLM, generator: torch.Generator) -> torch.Tensor:
    """As many, drawn from the model's own distribution after a random first one."""
    token = torch.randint(model.config.vocab_size, (1,), generator=generator)
    tokens, cache = [token], None
    for _ in range(POSITIONS):
        output = model(token[None], past_key_values=cache, use_cache=True)
        cache = output.past_key_values
        token = torch.multinomial(output.logits[0, -1].softmax(-1), 1, generator=generator)
        tokens.append(token)
    return torch.cat(tokens)


def ids_to_look_at(logits: torch.Tensor, following: torch.Tensor) -> torch.Tensor:
    """[T, 32]"""
    count, vocab = logits.shape
    top = logits.topk(TOP_IDS).indices
    walk = torch.arange(count * WALKING_IDS).view(count, WALKING_IDS) % vocab
    return torch.cat((following[:, None], top, walk), dim=1)


def logprobs_at(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """[T, 32] in f64: the softmax's own rounding is nobody's error."""
    return logits.double().log_softmax(-1).gather(1, ids)


def distance(values: torch.Tensor, reference: torch.Tensor) -> Distance:
    difference = (values - reference).abs()
    if not difference.isfinite().all():
        raise ValueError("transformers computed a NaN or an infinity")
    return Distance(difference.mean().item(), difference.max().item())


def attended_keys(attentions: tuple[torch.Tensor, ...]) -> float:
    """The perplexity of an attention row, over rows that can see at least 100 keys."""
    p = torch.stack([a[0, :, 100:] for a in attentions]).double()
    entropy = -(p * p.clamp_min(1e-300).log()).sum(-1)
    return entropy.exp().mean().item()


def read_tokens(model: Qwen3ForCausalLM, drawn: torch.Tensor) -> Reference:
    tokens, following = drawn[:-1], drawn[1:]
    output = model(tokens[None], output_attentions=True, use_cache=False)
    logits = output.logits[0]  # [T, vocab]
    ids = ids_to_look_at(logits, following)
    logprobs = logprobs_at(logits, ids)
    exact = logprobs_at(exact_logits(model.config, model.state_dict(), tokens), ids)
    p = logits.double().softmax(-1)
    entropy = -(p * p.log()).nan_to_num().sum(-1).mean().item()
    error = distance(exact, logprobs)
    return Reference(tokens, ids, logprobs, error, entropy, attended_keys(output.attentions))


@torch.no_grad()
def make_golden(name: str, directory: Path, seed: int, draw: DrawTokens, bar: tqdm) -> str:
    """Writes <name>/golden.safetensors; returns a line about it."""
    bar.set_description(f"{name}: fp32")
    model = load(directory, torch.float32)
    if model.config.max_position_embeddings < POSITIONS:
        raise ValueError(f"{name}: context shorter than {POSITIONS}")
    for tries in range(MAX_TRIES):
        used_seed = seed + tries
        golden = read_tokens(model, draw(model, torch.Generator().manual_seed(used_seed)))
        if golden.error.max <= MAX_REFERENCE_ERROR:
            break
    else:
        raise ValueError(f"{name}: fp32 is no reference, off by {golden.error.max:.1e}")
    bar.update()

    bar.set_description(f"{name}: bf16")
    coarse = load(directory, torch.bfloat16)(golden.tokens[None], use_cache=False).logits[0]
    bf16 = distance(logprobs_at(coarse, golden.ids), golden.logprobs)
    bar.update()

    save_file(
        {
            "tokens": golden.tokens.float(),
            "ids": golden.ids.float().contiguous(),
            "logprobs": golden.logprobs.float().contiguous(),
            "distance": torch.tensor([bf16.mean, bf16.max, golden.error.mean, golden.error.max]),
        },
        GOLDEN / name / "golden.safetensors",
        # One entry: safetensors writes several in any order.
        metadata={
            "made_with": f"transformers {transformers.__version__}, torch {torch.__version__}, "
            f"eager attention, {torch.backends.cpu.get_cpu_capability()}, seed {used_seed}"
        },
    )
    return (
        f"{name}: seed {used_seed}, entropy {golden.entropy:.2f} of "
        f"{math.log(model.config.vocab_size):.2f} nats, {golden.keys:.1f} keys attended; "
        f"from fp32: exact max {golden.error.max:.1e}, "
        f"bf16 mean {bf16.mean:.1e} max {bf16.max:.1e}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [spec.name for spec in SPECS] + ["tiny"]
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(names))
    wanted = parser.parse_args().names or names
    if unknown := set(wanted) - set(names):
        parser.error(f"no such golden: {', '.join(sorted(unknown))}")

    torch.set_float32_matmul_precision("highest")
    torch.set_num_threads(1)  # the same bits again, however many cores there are
    transformers.utils.logging.disable_progress_bar()
    lines = []
    with tqdm(total=2 * len(wanted)) as bar:
        for i, spec in enumerate(SPECS):
            if spec.name in wanted:
                write_checkpoint(spec, GOLDEN / spec.name, seed=100 + i)
                directory = GOLDEN / spec.name
                lines.append(make_golden(spec.name, directory, 200 + i, random_tokens, bar))
        if "tiny" in wanted:
            (GOLDEN / "tiny").mkdir(exist_ok=True)
            lines.append(make_golden("tiny", TINY, 300, sampled_tokens, bar))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
