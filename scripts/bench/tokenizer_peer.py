"""Hugging Face tokenizers on the documents that tokenizer_bench reads: one JSON object with the same
figures. Run by tokenizer.py, a process for each corpus."""

import argparse
import array
import json
import os
import struct
import time
import zlib
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"

import tokenizers  # reads the variable


def documents(path: Path) -> list[str]:
    data = path.read_bytes()
    texts = []
    at = 0
    while at < len(data):
        (size,) = struct.unpack_from("<I", data, at)
        texts.append(data[at + 4 : at + 4 + size].decode())
        at += 4 + size
    return texts


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("documents", type=Path)
    parser.add_argument(
        "--ids", action="store_true", help="the ids' checksum too, by one more pass"
    )
    args = parser.parse_args()
    texts = documents(args.documents)
    begin = time.perf_counter()
    tokenizer = tokenizers.Tokenizer.from_file(str(args.model / "tokenizer.json"))
    figures: dict[str, float | int | str] = {
        "version": tokenizers.__version__,
        "load_seconds": time.perf_counter() - begin,
        "bytes": sum(len(text.encode()) for text in texts),
    }
    begin = time.thread_time()
    for text in texts:
        tokenizer.encode(text, add_special_tokens=False)
    figures["cold_seconds"] = time.thread_time() - begin
    if args.ids:
        checksum = 0
        ids = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
        for each in ids:
            checksum = zlib.crc32(array.array("I", each).tobytes(), checksum)
        begin = time.thread_time()
        for each in ids:
            tokenizer.decode(each, skip_special_tokens=False)
        figures["decode_seconds"] = time.thread_time() - begin
        figures["tokens"] = sum(map(len, ids))
        figures["ids_crc32"] = checksum
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
