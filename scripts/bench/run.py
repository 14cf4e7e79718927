"""Measures Kvasir beside llama.cpp and the machine's own limits, and writes one table.

Run by scripts/bench.sh. Every figure is the median of interleaved runs, a process each.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from checkpoint import SHAPES, Shape

HERE = Path(__file__).parent
TOP = HERE.parent.parent
BIN = TOP / "build/release/bin"


@dataclass
class Scenario:
    """What both programs are asked for; `read` names the figures that are taken from it."""

    name: str
    prompt: int
    generate: int
    batches: list[int]
    depth: int
    read: tuple[str, ...]  # "prefill", "decode"
    runs: int
    shapes: tuple[str, ...] = ("0.6b",)
    flash: tuple[bool, ...] = (True,)  # modes of llama.cpp to try; the best counts
    mmap: tuple[bool, ...] = (True,)


SCENARIOS = [
    Scenario("prompt", 512, 32, [1], 0, ("prefill", "decode"), 3, ("0.6b",), (True, False),
             (True, False)),
    Scenario("together", 16, 32, [2, 4, 8, 16], 0, ("decode",), 2),
    Scenario("shallow", 16, 16, [1], 1024, ("decode",), 1),
    Scenario("deep", 16, 16, [1], 4096, ("decode",), 1, flash=(True, False)),
    Scenario("deeper", 512, 16, [1], 8192, ("prefill", "decode"), 1, flash=(True, False)),
    Scenario("prompt", 512, 16, [1], 0, ("prefill", "decode"), 2, ("4b",), mmap=(True, False)),
]  # fmt: skip


@dataclass
class Figure:
    """One line of the table: rates of both, and what the machine would allow."""

    shape: str
    what: str
    batch: int
    depth: int
    limit: float  # tokens a second
    limited_by: str
    ours: list[float] = field(default_factory=list)
    peer: dict[str, list[float]] = field(default_factory=dict)  # by mode

    def best_peer(self) -> tuple[str, list[float]]:
        """The mode of llama.cpp with the best median."""
        return max(self.peer.items(), key=lambda item: statistics.median(item[1]))


def run_json(command: list[str]) -> list[dict[str, float]]:
    """What a program prints, which is JSON."""
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"bench: exit code {done.returncode} from {' '.join(command)}")
    parsed = json.loads(done.stdout)
    return parsed if isinstance(parsed, list) else [parsed]


def limits() -> dict[str, float]:
    """The machine's own rates."""
    measured = run_json([str(BIN / "machine_limits")])[0]
    os.environ["OMP_NUM_THREADS"] = str(int(measured["threads"]))
    return measured | run_json([str(BIN / "library_gemm")])[0]


def limit_of(
    shape: Shape, what: str, batch: int, depth: int, tokens: int, machine: dict[str, float]
) -> tuple[float, str]:
    """Tokens a second at most, and by what: bytes to read, or operations to do.

    Prefill: two operations for each weight of the layers and token, and four for each query head,
    value of a head and visible key; only the last token needs the head. Decode, a step: all weights
    and each session's K and V from memory once, or the operations, whichever takes longer.
    """
    gemm = max(machine["gemm_f32_flops"], machine["gemm_bf16_flops"])
    layers = shape.parameters_read_by_a_token() - shape.vocab * shape.hidden
    width = shape.heads * shape.head_dim * shape.layers
    if what == "prefill":
        visible = depth + (tokens + 1) / 2
        flops = tokens * (2 * layers + 4 * width * visible) + 2 * shape.vocab * shape.hidden
        return tokens * gemm / flops, "GEMM rate"
    keys = depth + tokens / 2
    bytes_read = 2 * (layers + shape.vocab * shape.hidden) + batch * keys * 2 * (
        shape.kv_values_per_token()
    )
    flops = batch * (2 * (layers + shape.vocab * shape.hidden) + 4 * width * keys)
    by_bytes = bytes_read / machine["read_bytes_per_second"]
    by_flops = flops / gemm
    return batch / max(by_bytes, by_flops), "bandwidth" if by_bytes > by_flops else "GEMM rate"


def our_command(folder: Path, s: Scenario) -> list[str]:
    """`kvasir bench` for a scenario."""
    tokens = max(s.batches) * (s.depth + s.prompt + s.generate + 64)
    shape = SHAPES[folder.name]
    return [
        str(BIN / "kvasir"), "bench", "--json", f"--model={folder}", f"--prompt={s.prompt}",
        f"--generate={s.generate}", f"--batch={','.join(map(str, s.batches))}",
        f"--depth={s.depth}", f"--kv-memory={tokens * shape.kv_values_per_token() * 2}",
    ]  # fmt: skip


def peer_commands(folder: Path, s: Scenario, threads: int) -> dict[str, list[str]]:
    """llama.cpp's modes that are tried for a scenario."""
    commands = {}
    for mmap in s.mmap:
        for flash in s.flash:
            mode = f"{'mmap' if mmap else 'no mmap'}, flash attention {'on' if flash else 'off'}"
            commands[mode] = [
                sys.executable, str(HERE / "peer.py"), f"--model={folder / 'model.gguf'}",
                f"--threads={threads}", f"--prompt={s.prompt}", f"--generate={s.generate}",
                f"--batch={','.join(map(str, s.batches))}", f"--depth={s.depth}",
                "--mmap" if mmap else "--no-mmap", "--flash" if flash else "--no-flash",
            ]  # fmt: skip
    return commands


def measure(shape_name: str, s: Scenario, machine: dict[str, float]) -> list[Figure]:
    """Runs a scenario, one program after the other, again and again."""
    folder = TOP / "build/bench" / shape_name
    shape = SHAPES[shape_name]
    figures = {
        (what, batch): Figure(
            shape_name, what, batch, s.depth,
            *limit_of(shape, what, batch, s.depth + (s.prompt if what == "decode" else 0),
                      s.prompt if what == "prefill" else s.generate, machine))
        for what in s.read for batch in s.batches
    }  # fmt: skip
    for run in range(s.runs):
        programs = {"": our_command(folder, s), **peer_commands(folder, s, int(machine["threads"]))}
        for mode, command in programs.items():
            began = time.time()
            for row in run_json(command):
                for what in s.read:
                    figure = figures[what, int(row["batch"])]
                    rates = figure.peer.setdefault(mode, []) if mode else figure.ours
                    rates.append(row[f"{what}_tokens_per_second"])
            print(
                f"{shape_name} {s.name}, run {run + 1} of {s.runs}, {mode or 'kvasir'}: "
                f"{time.time() - began:.0f} s",
                file=sys.stderr,
            )
    return list(figures.values())


def spread(rates: list[float]) -> str:
    """Median (min to max)."""
    return f"{statistics.median(rates):.1f} ({min(rates):.1f} to {max(rates):.1f})"


def table(figures: list[Figure]) -> str:
    """Markdown."""
    lines = [
        "| model | what | batch | depth | Kvasir, tok/s | llama.cpp, tok/s | ratio | of the limit |",
        "|---|---|---:|---:|---:|---:|---:|---|",
    ]
    for f in figures:
        mode, peer = f.best_peer()
        ours = statistics.median(f.ours)
        lines.append(
            f"| {f.shape} | {f.what} | {f.batch} | {f.depth} | {spread(f.ours)} | {spread(peer)}; "
            f"{mode} | {ours / statistics.median(peer):.2f} | {100 * ours / f.limit:.0f} % of "
            f"{f.limited_by} |"
        )
    return "\n".join(lines)


def cpu_name() -> str:
    """As the kernel calls it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def main() -> None:
    """Measures everything and writes build/bench/result.json and result.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the 0.6B alone")
    arguments = parser.parse_args()
    began = time.time()
    machine = limits()
    shapes = ["0.6b"] if arguments.quick else ["0.6b", "4b"]
    figures: list[Figure] = []
    for shape in shapes:
        for scenario in SCENARIOS:
            if shape in scenario.shapes:
                figures += measure(shape, scenario, machine)
    peer = f"llama-cpp-python {version('llama-cpp-python')}"
    heading = (
        f"{cpu_name()}, {int(machine['threads'])} threads; {peer}, bf16. Limits in this run: "
        f"{machine['read_bytes_per_second'] / 1e9:.1f} GB/s read, "
        f"{machine['f32_fma_flops'] / 1e9:.0f} GFLOP/s f32 FMA, "
        f"{machine['bf16_dot_flops'] / 1e9:.0f} GFLOP/s vdpbf16ps, oneDNN GEMM "
        f"{machine['gemm_f32_flops'] / 1e9:.0f} (f32) and "
        f"{machine['gemm_bf16_flops'] / 1e9:.0f} (bf16) GFLOP/s."
    )
    result = {
        "cpu": cpu_name(), "peer": peer, "limits": machine,
        "figures": [f.__dict__ for f in figures], "seconds": time.time() - began,
    }  # fmt: skip
    folder = TOP / "build/bench"
    (folder / "result.json").write_text(json.dumps(result, indent=2) + "\n")
    text = f"{heading}\n\n{table(figures)}\n"
    (folder / "result.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
