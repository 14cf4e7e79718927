#!/usr/bin/env python3
"""Encodes random texts with Kvasir and with Hugging Face tokenizers and compares the ids; then what
the ids of the plain text decode to with the text that the file's rules make of it.

    tests/tokenizer/differential.py --encode build/release/tests/encode_stream \
        --model build/testdata/qwen3 --count 200000 --seed 1

Needs the PyPI package `tokenizers` (0.23). Prints differences, and exits with 1 if there is one.
With --flags, the model's added tokens are replaced by ones that use lstrip, rstrip, single_word and
normalized, and some of its rules by others.
"""

import argparse
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

os.environ["RUST_BACKTRACE"] = "0"

from tokenizers import Tokenizer, normalizers  # reads the variable

PROSE = (
    "The quick brown fox doesn't jump over the lazy dog's bed; they'll say \"we've won\" at 10:45!\n"
    "    def main(argc: int) -> None:\n\t\treturn {'a': 1, \"b\": [2.5e-3]}  # ok\r\n\r\n"
    "Élan vital, naïve façade, Straße, ŒUVRE, \u017ftra\u017f\u017fe '\u017f 'S 'RE 'Ll \u212a\u017f İıΣς. "
    "Съешь же ещё этих мягких французских булок. الحمد لله رب العالمين. שָׁלוֹם "
    "中文分词测试,没有空格。日本語のテキスト 한국어 문장 각 ไทยภาษา हिन्दी क्षत्रिय "
    "Tiếng Việt Tie\u0302\u0301ng Vie\u0323\u0302t a\u0308\u0323 q\u0307\u0323 \u1e9b\u0323 "
    "👩‍👩‍👧‍👦🏳️‍🌈🇩🇪 ½ ² ① Ⅷ ٣ ௧ \u3000\u2003\u00a0\u0085\u2028x\u2029 \ufeff \u200b https://example.org/?q=%20&x=1"
)
ODD = [
    0x00, 0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x1C, 0x20, 0x27, 0x85, 0xA0, 0xAD, 0x130, 0x131, 0x149,
    0x17F, 0x1F0, 0x300, 0x301, 0x308, 0x323, 0x327, 0x338, 0x340, 0x344, 0x345, 0x34F, 0x387,
    0x958, 0x9BE, 0x9C7, 0xBBE, 0xBC6, 0xF71, 0xF72, 0xF73, 0x1100, 0x1161, 0x11A7, 0x11A8,
    0x1680, 0x180E, 0x1E9E, 0x1FEF, 0x2000, 0x200A, 0x200B, 0x200D, 0x2028, 0x2029, 0x202F,
    0x205F, 0x2060, 0x2126, 0x212A, 0x212B, 0x2ADC, 0x3000, 0x3099, 0x309A, 0xAC00, 0xAC01,
    0xD7A3, 0xF900, 0xFA40, 0xFB01, 0xFB06, 0xFB1D, 0xFB2C, 0xFEFF, 0xFFFD, 0xFFFF, 0x110B9,
    0x110BA, 0x1D15E, 0x1D1BB, 0x1F600, 0x2F800, 0xE0001, 0x10FFFF,
]  # fmt: skip
FLAG_CONTENTS = [
    "<a>", "<ab>", "<abc", "b>", "mid", " lead", "tail ", "\n", "  ", "é", "e\u0301x", "\u212b",
    "각", "'s", "中文", "1", "ﬁ", "\u0301", "<|im_end|>", "a", "\u1100\u1161",
]  # fmt: skip


def scalar(rng: random.Random) -> str:
    """Any character, with those that matter to the rules more often."""
    kind = rng.randrange(8)
    if kind == 0:
        return chr(rng.choice(ODD))
    if kind == 1:
        return chr(rng.randrange(0x80))
    if kind == 2:
        return chr(rng.randrange(0x300, 0x370))
    if kind in (3, 4):
        block = rng.randrange(0, 0x3000 if kind == 3 else 0x20000, 0x80)
        c = block + rng.randrange(0x80)
    elif kind == 5:
        return rng.choice("sStTmMdDrRvVeElL'' \n\r")
    elif kind == 6:
        return rng.choice(PROSE)
    else:
        c = rng.randrange(0x110000)
    return chr(c) if not 0xD800 <= c < 0xE000 else "\ufffd"


def soup(rng: random.Random) -> str:
    parts = []
    for _ in range(rng.randrange(1, 12)):
        parts.append(scalar(rng) * rng.choice((1, 1, 1, 2, 3, rng.randrange(1, 20))))
    return "".join(parts)


def block_text(rng: random.Random) -> str:
    """Characters of one Unicode block, as a text in some script has them."""
    begin = rng.randrange(0, 0x30000, 0x80)
    if 0xD800 <= begin < 0xE000:
        begin = 0
    letters = [chr(begin + rng.randrange(0x80)) for _ in range(rng.randrange(1, 6))]
    return "".join(rng.choice([*letters, *" '1a\n\u0301"]) for _ in range(rng.randrange(1, 30)))


def mutated(rng: random.Random) -> str:
    begin = rng.randrange(len(PROSE))
    text = list(PROSE[begin : begin + rng.randrange(1, 120)])
    for _ in range(rng.randrange(0, 6)):
        at = rng.randrange(len(text) + 1)
        match rng.randrange(4):
            case 0:
                text[at:at] = scalar(rng)
            case 1:
                del text[at : at + rng.randrange(1, 4)]
            case 2:
                text[at:at] = text[max(0, at - 5) : at]
            case _:
                text[at : at + 1] = [c.swapcase() for c in text[at : at + 1]]
    return "".join(text)


def with_added(rng: random.Random, contents: list[str]) -> str:
    parts = []
    for _ in range(rng.randrange(1, 8)):
        content = rng.choice(contents)
        match rng.randrange(4):
            case 0:
                begin = rng.randrange(len(content))
                parts.append(content[begin : begin + rng.randrange(1, len(content) + 1)])
            case 1:
                parts.append(
                    rng.choice((" ", "\n", "  ", "\u3000", "x", "_", "\u0301", scalar(rng)))
                )
            case _:
                parts.append(content)
    return "".join(parts)


def from_vocabulary(rng: random.Random, tokens: list[str]) -> str:
    return "".join(rng.choice(tokens) for _ in range(rng.randrange(1, 12)))


def letters(rng: random.Random) -> str:
    """Words too long for any table."""
    alphabet = rng.choice(("ab", "abcdefghijklmnopqrstuvwxyz", "aeinrst", "каобе", "的一是", "=-#"))
    return "".join(rng.choice(alphabet) for _ in range(rng.randrange(1, 300)))


def texts(rng: random.Random, tokens: list[str], contents: list[str]) -> Iterator[str]:
    while True:
        yield soup(rng)
        yield mutated(rng)
        yield with_added(rng, contents)
        yield block_text(rng)
        yield from_vocabulary(rng, tokens)
        yield soup(rng) + with_added(rng, contents) + mutated(rng)
        if rng.randrange(4) == 0:
            yield letters(rng)


def with_flags(model: Path, rng: random.Random, out: Path) -> list[str]:
    """Copies the model with random added tokens in place of its own; returns their contents."""
    spec = json.loads((model / "tokenizer.json").read_text())
    vocabulary: dict[str, int] = spec["model"]["vocab"]
    contents = rng.sample(FLAG_CONTENTS, rng.randrange(4, len(FLAG_CONTENTS)))
    # Hugging Face counts new ids up from the vocabulary's size.
    next_id = len(vocabulary)
    added = []
    for content in contents:
        token_id = vocabulary.get(content)
        if token_id is None:
            token_id, next_id = next_id, next_id + 1
        added.append(
            {
                "id": token_id,
                "content": content,
                "special": rng.random() < 0.3,
                **{
                    flag: rng.random() < 0.4
                    for flag in ("lstrip", "rstrip", "single_word", "normalized")
                },
            }
        )
    spec["added_tokens"] = added
    if rng.random() < 0.5:
        spec["normalizer"] = None if spec["normalizer"] else {"type": "NFC"}
    if rng.random() < 0.3:
        spec["model"]["ignore_merges"] = not spec["model"].get("ignore_merges", False)
    if spec["pre_tokenizer"]["type"] == "ByteLevel":
        spec["pre_tokenizer"]["add_prefix_space"] = rng.random() < 0.5
    (out / "tokenizer.json").write_text(json.dumps(spec))
    shutil.copy(model / "tokenizer_config.json", out)
    return contents


def ours(encode: Path, model: Path, sample: list[str]) -> Iterator[tuple[list[int], str]]:
    """For each text its ids, and what those of the plain text decode to."""
    records = [text.encode() for text in sample]
    stdin = b"".join(struct.pack("<I", len(record)) + record for record in records)
    stdout = subprocess.run([encode, model], input=stdin, capture_output=True, check=True).stdout
    at = 0
    while at < len(stdout):
        (count,) = struct.unpack_from("<I", stdout, at)
        ids = list(struct.unpack_from(f"<{count}I", stdout, at + 4))
        at += 4 + 4 * count
        (size,) = struct.unpack_from("<I", stdout, at)
        yield ids, stdout[at + 4 : at + 4 + size].decode()
        at += 4 + size


def compare(encode: Path, model: Path, contents: list[str], rng: random.Random, count: int) -> int:
    """The number of texts that the two encode differently, or that do not come back."""
    spec = json.loads((model / "tokenizer.json").read_text())
    nfc = normalizers.NFC() if spec["normalizer"] else None
    reference = Tokenizer.from_file(str(model / "tokenizer.json"))
    tokens = [
        text
        for text in (reference.decode([i]) for i in range(reference.get_vocab_size()))
        if "\ufffd" not in text
    ]
    source = texts(rng, tokens, contents)
    sample = ["", *(next(source) for _ in range(count - 1))]
    differences = failures = 0
    for text, (got, back) in zip(sample, ours(encode, model, sample), strict=True):
        plain = nfc.normalize_str(text) if nfc else text
        if spec["pre_tokenizer"].get("add_prefix_space") and plain and plain[0] != " ":
            plain = " " + plain
        try:
            want = reference.encode(text, add_special_tokens=False).ids
        except BaseException:  # A panic in the reference, which is no Exception.
            failures += 1
            want = got
        if got != want or back != plain:
            differences += 1
            if differences <= 10:
                print(f"{text!a}\n  want {want}\n  got  {got}\n  back {back!a}")
    print(
        f"{model}: {count} texts, {differences} differences, {failures} failures of the reference"
    )
    return differences


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--encode", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True, nargs="+")
    parser.add_argument("--count", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--flags", type=int, default=0, help="sets of added tokens and rules to try"
    )
    args = parser.parse_args()
    rng = random.Random(args.seed)
    differences = 0
    for model in args.model:
        if args.flags == 0:
            spec = json.loads((model / "tokenizer.json").read_text())
            contents = [token["content"] for token in spec["added_tokens"]]
            differences += compare(args.encode, model, contents, rng, args.count)
        for _ in range(args.flags):
            with tempfile.TemporaryDirectory() as out:
                contents = with_flags(model, rng, Path(out))
                differences += compare(
                    args.encode, Path(out), contents, rng, args.count // args.flags
                )
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
