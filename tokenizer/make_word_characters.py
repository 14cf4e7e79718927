#!/usr/bin/env python3
"""Asks Hugging Face tokenizers which characters its `single_word` rule takes for word characters.

Writes data/word-characters.json. Needs the PyPI package `tokenizers`. Only to be run again
when the reference moves to another Unicode version.
"""

import json
from pathlib import Path

import tokenizers
from tokenizers import AddedToken, Tokenizer, models

DATA = Path(__file__).parent / "data" / "word-characters.json"
MARK = "\u2021"  # No letter, no combining mark, not in the empty vocabulary.


def ranges(code_points: list[int]) -> list[list[int]]:
    """Inclusive ranges of an ascending list."""
    out: list[list[int]] = []
    for c in code_points:
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def main() -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.add_tokens([AddedToken(MARK, single_word=True, normalized=False)])
    word = [
        c
        for c in range(0x110000)
        if not 0xD800 <= c < 0xE000
        and chr(c) != MARK
        and not tokenizer.encode(MARK + chr(c), add_special_tokens=False).ids
    ]
    note = (
        "Inclusive code point ranges of \\w as Hugging Face tokenizers "
        f"{tokenizers.__version__} (Rust regex) sees it: the characters c for which an added "
        "token T with single_word is not found in T + c. Made by make_word_characters.py."
    )
    content = {"_note": note, "word": ranges(word)}
    DATA.write_text(json.dumps(content, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
