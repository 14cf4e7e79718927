"""Measures llama.cpp on a GGUF file as `kvasir bench` measures Kvasir, and prints the same JSON.

    python scripts/bench/peer.py --model=model.gguf --prompt=512 --generate=32 --batch=1,8

Through llama-cpp-python's plain binding of llama.h: decoding a batch and nothing else. Its answers
are not sampled, Kvasir's are: the difference is to llama.cpp's advantage.
"""

import argparse
import json
import random
import resource
import time

import llama_cpp as llama

CHUNK = 512


class Peer:
    """A model and one context with room for `sequences` conversations."""

    def __init__(
        self, model: str, threads: int, sequences: int, tokens: int, mmap: bool, flash: bool
    ) -> None:
        llama.llama_backend_init()
        self._quiet = llama.llama_log_callback(lambda *_: None)
        llama.llama_log_set(self._quiet, None)
        options = llama.llama_model_default_params()
        options.use_mmap = mmap
        self.model = llama.llama_model_load_from_file(model.encode(), options)
        if not self.model:
            raise SystemExit(f"peer.py: llama.cpp does not load {model}")
        self.vocab = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(self.model))
        settings = llama.llama_context_default_params()
        settings.n_ctx = (tokens + 256) * sequences
        settings.n_batch = CHUNK
        settings.n_ubatch = CHUNK
        settings.n_seq_max = sequences
        settings.n_threads = settings.n_threads_batch = threads
        settings.flash_attn_type = int(flash)
        self.context = llama.llama_init_from_model(self.model, settings)
        if not self.context:
            raise SystemExit("peer.py: llama.cpp makes no context")
        self.batch = llama.llama_batch_init(CHUNK, 0, 1)
        self.lengths = [0] * sequences
        self.random = random.Random(1)

    def decode(self, rows: list[tuple[int, bool]]) -> None:
        """One step: a random token for each (sequence, whether its logits are wanted)."""
        batch = self.batch
        batch.n_tokens = len(rows)
        for i, (sequence, wanted) in enumerate(rows):
            batch.token[i] = self.random.randrange(self.vocab)
            batch.pos[i] = self.lengths[sequence]
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = sequence
            batch.logits[i] = wanted
            self.lengths[sequence] += 1
        if llama.llama_decode(self.context, batch) != 0:
            raise SystemExit("peer.py: llama_decode failed")

    def feed(self, sequences: int, tokens: int) -> None:
        """Prompts of so many tokens, chunks filled across sequences."""
        rows = [(s, t == tokens - 1) for s in range(sequences) for t in range(tokens)]
        for begin in range(0, len(rows), CHUNK):
            self.decode(rows[begin : begin + CHUNK])

    def measure(self, batch: int, prompt: int, generate: int, depth: int) -> dict[str, float]:
        """As `kvasir bench` does: prefill of all, then decoding together."""
        llama.llama_memory_clear(llama.llama_get_memory(self.context), True)
        self.lengths = [0] * len(self.lengths)
        self.feed(batch, depth)
        llama.llama_synchronize(self.context)
        start = time.perf_counter()
        self.feed(batch, prompt)
        llama.llama_synchronize(self.context)
        prefilled = time.perf_counter()
        for _ in range(generate):
            self.decode([(s, True) for s in range(batch)])
        llama.llama_synchronize(self.context)
        ended = time.perf_counter()
        return {
            "prompt_tokens": prompt,
            "generated_tokens": generate,
            "batch": batch,
            "depth": depth,
            "prefill_tokens_per_second": batch * prompt / (prefilled - start),
            "decode_tokens_per_second": batch * generate / (ended - prefilled),
            "peak_resident_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }


def main() -> None:
    """Prints a JSON array, an object for each batch size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--generate", type=int, default=32)
    parser.add_argument("--batch", default="1")
    parser.add_argument("--depth", type=int, default=0)
    parser.add_argument("--mmap", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--flash", action=argparse.BooleanOptionalAction, default=True)
    a = parser.parse_args()
    batches = [int(b) for b in a.batch.split(",")]
    tokens = a.depth + a.prompt + a.generate
    peer = Peer(a.model, a.threads, max(batches), max(tokens, 64), a.mmap, a.flash)
    peer.measure(1, 16, 2, 0)  # the first steps touch memory for the first time
    print(json.dumps([peer.measure(b, a.prompt, a.generate, a.depth) for b in batches]))


if __name__ == "__main__":
    main()
