#!/usr/bin/env python3
"""Writes unicode_tables.cc from data/: character classes, and what NFC needs.

Classes and NFC are those of the reference (Hugging Face tokenizers), which are not of one Unicode
version; see the notes in data/hf-unicode-tables.json and data/word-characters.json.
"""

import json
from collections.abc import Iterable
from pathlib import Path

HERE = Path(__file__).parent
CODE_POINTS = 0x110000
CLASS_BLOCK = 256  # Code points a block: as in unicode.h
NFC_BLOCK = 128  # As in nfc.cc

# Bits of a class, as in unicode.h.
LETTER, NUMBER, SPACE, WORD, NFC_ACTIVE, MIXED = 1, 2, 4, 8, 16, 32
# Bits of an NFC property above the combining class, as in nfc.cc.
NOT_BOUNDARY = 0x100

HANGUL_SYLLABLES = range(0xAC00, 0xD7A4)
HANGUL_VOWELS = range(0x1161, 0x1176)
HANGUL_TAILS = range(0x11A8, 0x11C3)


def code_points(ranges: list[list[int]]) -> Iterable[int]:
    for first, last in ranges:
        yield from range(first, last + 1)


def wrapped(items: Iterable[str]) -> str:
    """The items, comma-terminated, in lines of at most 100 columns."""
    lines = [""]
    for item in items:
        if len(lines[-1]) + len(item) + 1 > 100:
            lines.append("")
        lines[-1] += item + ","
    return "\n".join(lines)


def array(kind: str, name: str, values: list[int]) -> str:
    return f"const {kind} {name}[{len(values)}] = {{\n{wrapped(map(str, values))}\n}};"


def two_stage(values: list[int], block: int) -> tuple[list[int], list[int]]:
    """Equal blocks are kept once: values[c] == data[index[c // block] * block + c % block]."""
    index: list[int] = []
    data: list[int] = []
    seen: dict[tuple[int, ...], int] = {}
    for begin in range(0, len(values), block):
        key = tuple(values[begin : begin + block])
        if key not in seen:
            seen[key] = len(seen)
            data.extend(key)
        index.append(seen[key])
    return index, data


def lead_classes(classes: list[int]) -> list[int]:
    """What the characters that start with a byte have in common, by that byte; see unicode.h."""
    members: list[set[int]] = [set() for _ in range(256)]
    for c, value in enumerate(classes):
        if not 0xD800 <= c < 0xE000:
            members[chr(c).encode()[0]].add(value)
    out = []
    for values in members:
        splits = {value & (LETTER | NUMBER | SPACE) for value in values}
        active = NFC_ACTIVE if any(value & NFC_ACTIVE for value in values) else 0
        out.append(splits.pop() | active if len(splits) == 1 else MIXED | active)
    return out


def main() -> None:
    tables = json.loads((HERE / "data" / "hf-unicode-tables.json").read_text())
    words = json.loads((HERE / "data" / "word-characters.json").read_text())
    ccc = {int(c): v for c, v in tables["nfc"]["ccc"].items()}
    decomposition = {int(c): v for c, v in tables["nfc"]["decomposition"].items()}
    composition = sorted(tables["nfc"]["composition"])
    composites = {composite for _, _, composite in composition}

    # A boundary is what NFC leaves alone and what no earlier character can compose with.
    nfc = [0] * CODE_POINTS
    for c, value in ccc.items():
        nfc[c] |= value
    for c in decomposition:
        if c not in composites:  # Never composed again: NFC replaces it.
            nfc[c] |= NOT_BOUNDARY
    for _, second, _ in composition:
        nfc[second] |= NOT_BOUNDARY
    for c in (*HANGUL_VOWELS, *HANGUL_TAILS):
        nfc[c] |= NOT_BOUNDARY

    classes = [NFC_ACTIVE if value else 0 for value in nfc]
    for bit, ranges in (
        (LETTER, tables["classes"]["L"]),
        (NUMBER, tables["classes"]["N"]),
        (SPACE, tables["classes"]["White_Space"]),
        (WORD, words["word"]),
    ):
        for c in code_points(ranges):
            classes[c] |= bit

    class_index, class_data = two_stage(classes, CLASS_BLOCK)
    nfc_index, nfc_data = two_stage(nfc, NFC_BLOCK)
    assert max(class_index) < 256 and max(nfc_index) < 256

    keys = sorted(decomposition)
    assert not any(c in HANGUL_SYLLABLES for c in keys)
    begins = [0]
    parts: list[int] = []
    for c in keys:
        parts.extend(decomposition[c])
        begins.append(len(parts))

    text = "\n".join(
        [
            "// Made by make_unicode_tables.py from data/: do not edit.",
            '#include "tokenizer/unicode_tables.h"',
            "",
            "// clang-format off",
            "namespace kvasir::unicode_tables {",
            "",
            array("uint8_t", "kClassIndex", class_index),
            array("uint8_t", "kClassData", class_data),
            array("uint8_t", "kLeadClasses", lead_classes(classes)),
            array("uint8_t", "kNfcIndex", nfc_index),
            array("uint16_t", "kNfcData", nfc_data),
            array("uint32_t", "kDecomposed", keys),
            array("uint16_t", "kDecomposedBegin", begins),
            array("uint32_t", "kDecomposedParts", parts),
            f"const Composition kCompositions[{len(composition)}] = {{",
            wrapped(f"{{{a},{b},{c}}}" for a, b, c in composition),
            "};",
            f"const int kDecomposedCount = {len(keys)};",
            f"const int kCompositionsCount = {len(composition)};",
            "",
            "}  // namespace kvasir::unicode_tables",
            "",
        ]
    )
    (HERE / "unicode_tables.cc").write_text(text)


if __name__ == "__main__":
    main()
