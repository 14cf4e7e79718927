"""Trains the embedded model from nothing: tokenizer, weights, configuration.

    python models/tiny/train.py --output models/tiny

Everything is made from `--seed`; no data is read and nothing is downloaded. Weights are trained in
float32 with bfloat16 products and written as bfloat16.
"""

import argparse
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm
from transformers import AttentionInterface, GenerationConfig, Qwen3Config, Qwen3ForCausalLM

import dialogues
import stories

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
VOCABULARY = 1536
# The rule by which Qwen2 and Qwen3 cut text before merging.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CHAT_TEMPLATE = (
    "{%- for message in messages %}\n"
    "    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}\n"
    "{%- endfor %}\n"
    "{%- if add_generation_prompt %}\n"
    "    {{- '<|im_start|>assistant\\n' }}\n"
    "{%- endif %}"
)
TOKENS_PER_STEP = 4096
LONGEST = 1024
TILE = 64
POOL = 384
# The share of lessons at the start and later, and how many steps it takes to get there.
LESSONS = 0.9
LATER_LESSONS = 0.55
LESSON_STEPS = 800
PLAIN_STORIES = 0.08
# Recall is a small part of what is said and all that is hard: it weighs more, and most of all what
# often stands before the word that it is asked by, and what is not there at all.
HARD_KINDS = ("count", "colour", "who", "unknown", "two facts")
HARD_WEIGHT = 6.0
RECALL_WEIGHT = 2.0
WARM_UP_STEPS = 100
COOL_DOWN = 0.67
# Fixed, since sums may come out differently with another count.
THREADS = 2
MATRIX_RATE = 3e-3
OTHER_RATE = 3e-3


def chat_text(dialogue: dialogues.Dialogue) -> str:
    """The conversation as the chat template renders it, with nothing after the last turn's end."""
    return "".join(
        f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in dialogue.messages()
    ).removesuffix("\n")


def train_tokenizer(seed: int) -> Tokenizer:
    """A byte-level BPE in the file format of Qwen3's, special tokens after the merged ones."""
    rng = random.Random(f"tokenizer {seed}")
    writer = dialogues.Writer(rng, want_held_out=False)
    texts: list[str] = []
    for _ in range(6000):
        for message in writer.dialogue().messages():
            texts.append(f"{message['role']}\n{message['content']}")
        texts.append(stories.write(rng)[0])
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False),
        ]
    )
    tokenizer.post_processor = processors.ByteLevel(
        add_prefix_space=False, trim_offsets=False, use_regex=False
    )
    tokenizer.decoder = decoders.ByteLevel(
        add_prefix_space=False, trim_offsets=False, use_regex=False
    )
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(SPECIAL),
        show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(texts, trainer)
    # By the file, so that the optional fields of the BPE are spelt as Qwen3 spells them.
    spec = json.loads(tokenizer.to_str())
    spec["model"].update(continuing_subword_prefix="", end_of_word_suffix="")
    tokenizer = Tokenizer.from_str(json.dumps(spec))
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIAL])
    assert tokenizer.get_vocab_size() == VOCABULARY
    return tokenizer


def tokenizer_config(tokenizer: Tokenizer) -> dict[str, object]:
    """tokenizer_config.json, as Qwen3 checkpoints have it."""
    decoder = {
        str(tokenizer.token_to_id(t)): {
            "content": t, "lstrip": False, "normalized": False, "rstrip": False,
            "single_word": False, "special": True,
        }
        for t in SPECIAL
    }  # fmt: skip
    return {
        "add_bos_token": False,
        "add_prefix_space": False,
        "added_tokens_decoder": decoder,
        "additional_special_tokens": ["<|im_start|>", "<|im_end|>"],
        "bos_token": None,
        "chat_template": CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>",
        "errors": "replace",
        "model_max_length": 262144,
        "pad_token": "<|endoftext|>",
        "split_special_tokens": False,
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": None,
    }


def model_config() -> Qwen3Config:
    """The shape: Qwen3 with head_dim != hidden / heads, three query heads to a KV head, tied."""
    return Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=12,
        num_key_value_heads=4,
        head_dim=32,
        tie_word_embeddings=True,
        max_position_embeddings=262144,
        rope_parameters={"rope_type": "default", "rope_theta": 5_000_000.0},
        rms_norm_eps=1e-6,
        attention_bias=False,
        hidden_act="silu",
        bos_token_id=None,
        eos_token_id=VOCABULARY - 1,
        pad_token_id=VOCABULARY - 3,
    )


def turn_weight(turn: dialogues.Turn) -> float:
    """How much what the assistant says in the turn counts."""
    if turn.kind in HARD_KINDS:
        return HARD_WEIGHT
    return 1.0 if turn.kind in ("", "again") else RECALL_WEIGHT


class Corpus:
    """An endless supply of batches: tokens and, beside them, which of them to learn."""

    def __init__(self, tokenizer: Tokenizer, seed: int) -> None:
        self.tokenizer = tokenizer
        self.rng = random.Random(f"corpus {seed}")
        self.writer = dialogues.Writer(self.rng, want_held_out=False)
        self.end_of_text, self.im_start, self.im_end = (tokenizer.token_to_id(t) for t in SPECIAL)
        self.assistant = tokenizer.encode("assistant\n").ids
        self.lessons = LESSONS

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Pairs (tokens [B, T], weights [B, T]) of about `TOKENS_PER_STEP` tokens each.

        Texts of like length go together; every text starts at position 0 as it will when served.
        """
        while True:
            pool = sorted(self._pool(), key=lambda pair: len(pair[0]))
            groups: list[list[tuple[list[int], list[float]]]] = [[]]
            for pair in pool:
                if len(pair[0]) * (len(groups[-1]) + 1) > TOKENS_PER_STEP and groups[-1]:
                    groups.append([])
                groups[-1].append(pair)
            self.rng.shuffle(groups)
            for group in groups:
                width = max(len(ids) for ids, _ in group)
                tokens = torch.full((len(group), width), self.end_of_text)
                weights = torch.zeros(len(group), width)
                for row, (ids, weight) in enumerate(group):
                    tokens[row, : len(ids)] = torch.tensor(ids)
                    weights[row, : len(ids)] = torch.tensor(weight)
                yield tokens, weights

    def _pool(self) -> list[tuple[list[int], list[float]]]:
        texts: list[str] = []
        turn_weights: list[list[float]] = []
        for _ in range(POOL):
            if self.rng.random() < PLAIN_STORIES:
                texts.append(stories.write(self.rng)[0] + SPECIAL[0])
                turn_weights.append([])
            else:
                dialogue = self.writer.dialogue(self.lessons)
                texts.append(chat_text(dialogue))
                turn_weights.append([turn_weight(t) for t in dialogue.turns])
        encoded = [e.ids[:LONGEST] for e in self.tokenizer.encode_batch(texts)]
        return [(i, self._weights(i, w)) for i, w in zip(encoded, turn_weights, strict=True)]

    def _weights(self, ids: list[int], turn_weights: list[float]) -> list[float]:
        """For what the assistant says its turn's weight, for plain stories 1, else 0."""
        if not turn_weights:
            return [1.0] * len(ids)
        weights = [0.0] * len(ids)
        turns = iter(turn_weights)
        weight, start = 0.0, len(ids)
        for index, token in enumerate(ids):
            if token == self.im_start:
                start = index + 1 + len(self.assistant)
                weight = next(turns) if ids[index + 1 : start] == self.assistant else 0.0
            if index >= start:
                weights[index] = weight
            if token == self.im_end:
                weight = 0.0
        return weights


def tiled_attention(
    module: nn.Module,
    query: Tensor,  # [B, H, T, D]
    key: Tensor,  # [B, K, T, D]
    value: Tensor,  # [B, K, T, D]
    attention_mask: Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **_: object,
) -> tuple[Tensor, None]:
    """Causal attention in tiles of queries: twice as fast here as PyTorch's own kernel for CPUs."""
    assert attention_mask is None and dropout == 0.0
    batch, heads, length, width = query.shape
    kv_heads = key.shape[1]
    grouped = query.reshape(batch, kv_heads, heads // kv_heads, length, width) * scaling
    keys = key.transpose(-1, -2)
    tiles = []
    for begin in range(0, length, TILE):
        end = min(length, begin + TILE)
        rows = grouped[:, :, :, begin:end].reshape(batch, kv_heads, -1, width)
        scores = (rows @ keys[..., :end]).view(batch, kv_heads, -1, end - begin, end)
        future = torch.full((end - begin, end - begin), float("-inf"), dtype=scores.dtype).triu(1)
        scores[..., begin:] += future
        weights = scores.softmax(-1).view(batch, kv_heads, -1, end)
        tiles.append((weights @ value[:, :, :end]).view(batch, heads, end - begin, width))
    return torch.cat(tiles, 2).transpose(1, 2).contiguous(), None


def loss_of(model: Qwen3ForCausalLM, tokens: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean cross-entropy of the tokens to learn; only those rows get logits."""
    chosen = weights[:, 1:] > 0
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = model.model(input_ids=tokens, use_cache=False).last_hidden_state  # [B, T, H]
        logits = model.lm_head(hidden[:, :-1][chosen])  # [N, V]
    losses = functional.cross_entropy(logits.float(), tokens[:, 1:][chosen], reduction="none")
    weight = weights[:, 1:][chosen]
    return (losses * weight).sum() / weight.sum()


def learning_rate(step: int, steps: int) -> float:
    """A factor of the peak rate: up at once, level for a third, then straight down to nothing."""
    return min(1.0, (step + 1) / WARM_UP_STEPS, (steps - step) / (COOL_DOWN * steps))


def train_model(tokenizer: Tokenizer, steps: int, seed: int) -> Qwen3ForCausalLM:
    """Runs the whole training and returns the model, in float32."""
    torch.set_num_threads(THREADS)
    torch.manual_seed(seed)
    AttentionInterface.register("tiled", tiled_attention)
    model = Qwen3ForCausalLM(model_config())
    model.set_attn_implementation("tiled")
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "layers" in n]
    others = [p for n, p in model.named_parameters() if not (p.ndim == 2 and "layers" in n)]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.Muon(
            matrices, lr=MATRIX_RATE, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"
        ),
        torch.optim.AdamW(others, lr=OTHER_RATE, betas=(0.9, 0.98), weight_decay=0.0),
    ]
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(o, lambda s: learning_rate(s, steps)) for o in optimizers
    ]
    corpus = Corpus(tokenizer, seed)
    batches = corpus.batches()
    bar = tqdm(range(steps), desc="training", unit="step")
    for step in bar:
        corpus.lessons = max(LATER_LESSONS, LESSONS * (1 - step / LESSON_STEPS))
        loss = loss_of(model, *next(batches))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        if step % 20 == 0:
            bar.set_postfix(loss=f"{loss.item():.3f}")
    return model


def save(model: Qwen3ForCausalLM, tokenizer: Tokenizer, folder: Path) -> None:
    """Writes the folder that a Hugging Face checkpoint is, weights in bfloat16."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    text = json.dumps(tokenizer_config(tokenizer), indent=2) + "\n"
    (folder / "tokenizer_config.json").write_text(text)
    model = model.to(torch.bfloat16)
    model.generation_config = GenerationConfig(
        do_sample=True,
        temperature=0.7,
        top_k=20,
        top_p=0.8,
        eos_token_id=[tokenizer.token_to_id("<|im_end|>"), tokenizer.token_to_id("<|endoftext|>")],
        pad_token_id=tokenizer.token_to_id("<|endoftext|>"),
    )
    model.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)


def main() -> None:
    """Trains and saves."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    parser.add_argument("--steps", type=int, default=5200)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    began, cpu_began = time.time(), time.process_time()
    tokenizer = train_tokenizer(arguments.seed)
    model = train_model(tokenizer, arguments.steps, arguments.seed)
    save(model, tokenizer, arguments.output)
    print(f"wall {time.time() - began:.0f} s, CPU {time.process_time() - cpu_began:.0f} s")


if __name__ == "__main__":
    main()
