"""Measures Kvasir's tokenizer beside PyPI's `tokenizers` and prints a Markdown table.

    build/tools/venv/bin/python scripts/bench/tokenizer.py [--model DIR] [--runs 5]

Needs build/release/bin/{tokenizer_bench,tokenizer_rpc_bench,kvasir-tokenizer}. Both tokenizers read
the same documents in turns, a process each time; every figure is the median of the runs, a ratio that
of the runs' ratios. The ids of both are compared. The texts come from Debian packages, which are
fetched into build/bench/tokenizer.
"""

import argparse
import json
import os
import platform
import statistics
import struct
import subprocess
import sys
import time
from pathlib import Path

from tokenizer_corpora import make_corpora

HERE = Path(__file__).parent
TOP = HERE.parent.parent
BIN = TOP / "build/release/bin"

Figures = dict[str, float]


def run_json(*command: str | Path) -> Figures:
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def median(runs: list[Figures], key: str) -> float:
    return statistics.median(run[key] for run in runs)


def rate(figures: Figures, key: str) -> float:
    """Megabytes a second."""
    return figures["bytes"] / figures[key] / 1e6


def row(*cells: str) -> None:
    print("| " + " | ".join(cells) + " |", flush=True)


def compare(name: str, model: Path, documents: Path, runs: int) -> None:
    pairs = []
    peer = (sys.executable, "-B", HERE / "tokenizer_peer.py", model, documents)
    for i in range(runs):
        ours = run_json(BIN / "tokenizer_bench", model, documents)
        theirs = run_json(*peer, *(["--ids"] if i == 0 else []))
        if i == 0 and ours["ids_crc32"] != theirs["ids_crc32"]:
            sys.exit(f"{name}: the ids differ")
        pairs.append((ours, theirs))
    cold = statistics.median(rate(ours, "cold_seconds") for ours, _ in pairs)
    reference = statistics.median(rate(theirs, "cold_seconds") for _, theirs in pairs)
    ratio = statistics.median(p["cold_seconds"] / o["cold_seconds"] for o, p in pairs)
    decode = statistics.median(rate(ours, "decode_seconds") for ours, _ in pairs)
    row(name, f"{cold:.0f}", f"{reference:.2f}", f"{ratio:.1f} x", f"{decode:.0f}")


def quarter(documents: Path) -> Path:
    """A file with the first quarter of its only document."""
    text = documents.read_bytes()[4:].decode()
    data = text[: len(text) // 4].encode()
    out = documents.with_suffix(".quarter")
    out.write_bytes(struct.pack("<I", len(data)) + data)
    return out


def hostile(name: str, model: Path, documents: Path, runs: int) -> None:
    whole = [run_json(BIN / "tokenizer_bench", model, documents) for _ in range(runs)]
    part = [run_json(BIN / "tokenizer_bench", model, quarter(documents)) for _ in range(runs)]
    rates = [statistics.median(rate(run, "cold_seconds") for run in each) for each in (whole, part)]
    row(name, *(f"{each:.1f}" for each in rates))


def start_service(model: Path, runs: int) -> tuple[float, float, float]:
    """Milliseconds from the start of the process until it says that it serves; MB resident then,
    and at most."""
    times, resident, peak = [], [], []
    command = [BIN / "kvasir-tokenizer", f"--model={model}", "--listen=127.0.0.1:0", "--metrics="]
    for _ in range(runs):
        begin = time.perf_counter()
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as service:
            assert service.stdout is not None
            line = service.stdout.readline()
            times.append(1e3 * (time.perf_counter() - begin))
            assert b"127.0.0.1:" in line, line
            status = Path(f"/proc/{service.pid}/status").read_text()
            sizes = dict(each.split(":", 1) for each in status.splitlines())
            resident.append(int(sizes["VmRSS"].split()[0]) / 1024)
            peak.append(int(sizes["VmHWM"].split()[0]) / 1024)
            service.terminate()
    return statistics.median(times), statistics.median(resident), statistics.median(peak)


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, default=TOP / "build/testdata/qwen3")
    parser.add_argument("--corpora", type=Path, default=TOP / "build/bench/tokenizer")
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    corpora = make_corpora(args.corpora)
    print(f"{processor()}, {os.cpu_count()} threads, load {os.getloadavg()[0]:.1f}\n")

    row("text", "Kvasir MB/s", "tokenizers MB/s", "ratio", "decode MB/s")
    row("---", "---", "---", "---", "---")
    for name in ("mixed", "English", "code", "CJK"):
        compare(name, args.model, corpora[name], args.runs)

    print()
    row("hostile text", "1 MB: MB/s", "its first quarter: MB/s")
    row("---", "---", "---")
    for name, documents in corpora.items():
        if name.startswith("hostile"):
            hostile(name.split(": ")[1], args.model, documents, args.runs)

    both = [
        run_json(BIN / "tokenizer_bench", args.model, corpora["mixed"], "2")
        for _ in range(args.runs)
    ]
    tokens = median(both, "tokens")
    milliseconds, resident, peak = start_service(args.model, 2 * args.runs + 1)
    rpc = run_json(BIN / "tokenizer_rpc_bench", args.model)
    print()
    row("what", "figure")
    row("---", "---")
    row("2 threads against 1, by the clock", f"{median(both, 'threads_speedup'):.2f} x")
    row("CPU time of 1 thread by that of 2", f"{median(both, 'threads_cpu_ratio'):.2f}")
    row("streaming decode, a message an id",
        f"{1e6 * median(both, 'stream_decode_seconds') / tokens:.2f} µs")  # fmt: skip
    row("service start until it serves", f"{milliseconds:.0f} ms")
    row("resident when it serves; at most until then", f"{resident:.0f} MB; {peak:.0f} MB")
    row("Encode of 100 bytes, 16 clients", f"{rpc['encode_per_second']:.0f} a second")
    row("an RPC that does nothing, same clients", f"{rpc['empty_per_second']:.0f} a second")
    row("ratio of the two", f"{rpc['ratio']:.2f}")
    print(f"\nload at the end: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
