"""Measures Kvasir beside llama.cpp and the machine's own limits, and writes one table.

Run by scripts/bench.sh. Every figure is the median of interleaved runs, a process each. A machine's
memory and clock change from minute to minute, so the limits are measured before and after each run,
and each run is held against its own.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from checkpoint import SHAPES, Shape
from limits import BIN, TOP, limit_of, limits_now, mean, peaks, run_json

HERE = Path(__file__).parent


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
    Scenario("prompt", 512, 64, [1], 0, ("prefill", "decode"), 5, ("0.6b",), (True, False),
             (True, False)),
    Scenario("together", 16, 32, [2, 4, 8, 16], 0, ("decode",), 5),
    Scenario("shallow", 16, 32, [1], 1024, ("decode",), 3),
    Scenario("deep", 16, 32, [1], 4096, ("decode",), 3, flash=(True, False)),
    Scenario("deeper", 512, 16, [1], 8192, ("prefill", "decode"), 1, flash=(True, False)),
    Scenario("prompt", 512, 16, [1], 0, ("prefill", "decode"), 3, ("4b",), mmap=(True, False)),
]  # fmt: skip


@dataclass
class Figure:
    """One line of the table: rates of both, and what the machine would allow."""

    shape: str
    what: str
    batch: int
    depth: int
    limited_by: list[str] = field(default_factory=list)  # of each run of ours
    ours: list[float] = field(default_factory=list)
    limits: list[float] = field(default_factory=list)  # tokens a second, during each run of ours
    peer: dict[str, list[float]] = field(default_factory=dict)  # by mode
    peer_limits: dict[str, list[float]] = field(default_factory=dict)

    def fraction(self) -> float:
        """Of the limit, the median over runs."""
        return median_fraction(self.ours, self.limits)

    def peer_fraction(self, mode: str) -> float:
        """The same for a mode of llama.cpp."""
        return median_fraction(self.peer[mode], self.peer_limits[mode])

    def best_mode(self) -> str:
        """The mode of llama.cpp that comes nearest to the limit."""
        return max(self.peer, key=self.peer_fraction)

    def ratio(self) -> float:
        """To llama.cpp at its best, as if both had run at the same moment."""
        return self.fraction() / self.peer_fraction(self.best_mode())


def median_fraction(rates: list[float], limits: list[float]) -> float:
    """Of rates, each to its own limit."""
    return statistics.median(rate / top for rate, top in zip(rates, limits, strict=True))


def kv_bytes(shape: Shape, s: Scenario) -> int:
    """Of a pool with room for a scenario."""
    tokens = max(s.batches) * (s.depth + s.prompt + s.generate + 64)
    return tokens * shape.kv_values_per_token() * 2


def our_command(folder: Path, s: Scenario) -> list[str]:
    """`kvasir bench` for a scenario."""
    return [
        str(BIN / "kvasir"), "bench", "--json", f"--model={folder}", f"--prompt={s.prompt}",
        f"--generate={s.generate}", f"--batch={','.join(map(str, s.batches))}",
        f"--depth={s.depth}", f"--kv-memory={kv_bytes(SHAPES[folder.name], s)}",
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


@dataclass
class Bench:
    """What is measured so far."""

    threads: int
    figures: list[Figure] = field(default_factory=list)
    limits: list[dict[str, float]] = field(default_factory=list)  # during each run
    rows: dict[str, list[dict[str, float]]] = field(default_factory=dict)  # ours, by scenario

    def run(self, command: list[str]) -> tuple[list[dict[str, float]], dict[str, float]]:
        """A program's rows, and the limits meanwhile."""
        before = limits_now()
        rows = run_json(command)
        self.limits.append(mean(before, limits_now()))
        return rows, self.limits[-1]

    def measure(self, shape_name: str, s: Scenario) -> None:
        """Runs a scenario, one program after the other, again and again."""
        folder = TOP / "build/bench" / shape_name
        figures = {
            (what, batch): Figure(shape_name, what, batch, s.depth)
            for what in s.read
            for batch in s.batches
        }
        for run in range(s.runs):
            programs = {"": our_command(folder, s), **peer_commands(folder, s, self.threads)}
            for mode, command in programs.items():
                began = time.time()
                files = ["model.safetensors", "model.gguf"]
                make_warm(folder, *(files if not mode else reversed(files)))
                rows, machine = self.run(command)
                if not mode:
                    self.rows.setdefault(f"{shape_name} {s.name}", []).extend(rows)
                for row, what in ((row, what) for row in rows for what in s.read):
                    figure = figures[what, int(row["batch"])]
                    add_run(figure, s, mode, row[f"{what}_tokens_per_second"], machine)
                tell(f"{shape_name} {s.name}, run {run + 1} of {s.runs}, {mode or 'kvasir'}", began)
        self.figures += figures.values()


def add_run(figure: Figure, s: Scenario, mode: str, rate: float, machine: dict[str, float]) -> None:
    """A rate, of ours where there is no mode, and its limit."""
    depth = s.depth + (s.prompt if figure.what == "decode" else 0)
    tokens = s.prompt if figure.what == "prefill" else s.generate
    limit, limited_by = limit_of(
        SHAPES[figure.shape], figure.what, figure.batch, depth, tokens, machine
    )
    if mode:
        figure.peer.setdefault(mode, []).append(rate)
        figure.peer_limits.setdefault(mode, []).append(limit)
    else:
        figure.ours.append(rate)
        figure.limits.append(limit)
        figure.limited_by.append(limited_by)


def make_warm(folder: Path, own: str, other: str) -> None:
    """Brings a program's own file into the page cache, and the other's out: both may be too much."""
    with (folder / other).open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    with (folder / own).open("rb", buffering=0) as file:
        while file.read(1 << 26):
            pass


def tell(what: str, began: float) -> None:
    """A line of progress."""
    print(f"{what}: {time.time() - began:.0f} s", file=sys.stderr)


def loading(bench: Bench, shape_name: str) -> str:
    """How long the engine took to start, and its memory."""
    file = (TOP / "build/bench" / shape_name / "model.safetensors").stat().st_size
    rows = bench.rows[f"{shape_name} prompt"]
    shape = SHAPES[shape_name]
    seconds = [row["load_seconds"] for row in rows]
    peak = max(max(row["load_peak_resident_bytes"], row["peak_resident_bytes"]) for row in rows)
    scenario = next(s for s in SCENARIOS if s.name == "prompt" and shape_name in s.shapes)
    pool = kv_bytes(shape, scenario)
    read = statistics.median(limit["read_bytes_per_second"] for limit in bench.limits)
    return (
        f"- {shape_name}: ready in {spread(seconds)} s from warm page cache (twice the reading of its "
        f"file, and 2 s: {2 * file / read + 2:.1f} s); peak resident memory {peak / 1e9:.2f} GB "
        f"(1.05 x weights + KV pool + 200 MB: {(1.05 * file + pool + 200e6) / 1e9:.2f} GB)."
    )


def continuing(bench: Bench) -> str:
    """A session's next turn: all of the call against its step alone."""
    rows = bench.rows["0.6b deep"]
    call = statistics.median(row["prefill_seconds"] for row in rows)
    step = statistics.median(row["prefill_step_seconds"] for row in rows)
    return (
        f"- 0.6b: a session of 4,096 goes on with 16 new tokens: the first answer after "
        f"{call * 1e3:.1f} ms, of which the step took {step * 1e3:.1f} ms ({call / step:.2f} x)."
    )


def around_steps(bench: Bench) -> list[str]:
    """What a step costs beside the model, at the largest batch."""
    lines = []
    tiny = run_json([str(BIN / "kvasir"), "bench", "--json", "--model=models/tiny", "--batch=16"])
    together = [row for row in bench.rows["0.6b together"] if row["batch"] == 16]
    for name, rows in (("0.6b", together), ("tiny", tiny)):
        step = statistics.median(16 / row["decode_tokens_per_second"] for row in rows)
        share = statistics.median(row["decode_sampling_share"] for row in rows)
        around = statistics.median(row["decode_around_seconds"] for row in rows)
        lines.append(
            f"- {name}, 16 together: a step takes {step * 1e3:.2f} ms, sampling "
            f"{100 * share:.1f} % of it ({share * step * 1e6:.0f} us), scheduler and delivery "
            f"{around * 1e6:.0f} us."
        )
    return lines


def arrival(bench: Bench) -> list[str]:
    """Gaps between tokens while a prompt is read."""
    folder = TOP / "build/bench/0.6b"
    command = [
        str(BIN / "kvasir"), "bench", "--json", f"--model={folder}", "--prompt=16",
        "--generate=16", "--batch=8", "--arrival=4096", "--kv-memory=3GiB",
    ]  # fmt: skip
    lines = []
    for _ in range(3):
        began = time.time()
        rows, _ = bench.run(command)
        bench.rows.setdefault("0.6b arrival", []).extend(rows)
        usual, late, longest = (
            rows[0][f"{gap}_gap_seconds"] for gap in ("usual", "late", "longest")
        )
        lines.append(
            f"- 0.6b, 8 decoding while a prompt of 4,096 is read: a token usually every "
            f"{usual * 1e3:.1f} ms, 99 of 100 within {late * 1e3:.1f} ms ({late / usual:.2f} x), "
            f"the longest gap {longest * 1e3:.1f} ms ({longest / usual:.2f} x)."
        )
        tell("0.6b arrival, kvasir", began)
    return lines


def grpc() -> list[str]:
    """What the service adds to the engine."""
    lines = []
    program = str(BIN / "grpc_overhead_bench")
    for name, arguments in (
        ("0.6b", [str(TOP / "build/bench/0.6b"), "16", "160", "7"]),
        ("tiny", [str(TOP / "models/tiny")]),
    ):
        row = run_json([program, *arguments])[0]
        lines.append(
            f"- {name} over gRPC, 16 together, client on the same CPUs: "
            f"{row['grpc_tokens_per_second']:.0f} tokens/s against "
            f"{row['direct_tokens_per_second']:.0f} in process ({row['loss_percent']:.1f} % less), "
            f"{row['added_ms']:.2f} ms more to the first token."
        )
    return lines


def spread(rates: list[float]) -> str:
    """Median (min to max)."""
    return f"{statistics.median(rates):.1f} ({min(rates):.1f} to {max(rates):.1f})"


def table(figures: list[Figure]) -> str:
    """Markdown."""
    lines = [
        "| model | what | batch | depth | Kvasir, tok/s | llama.cpp, tok/s | Kvasir, of the limit "
        "| llama.cpp, of the limit | limit | ratio |",
        "|---|---|---:|---:|---:|---:|---:|---:|---|---:|",
    ]
    for f in figures:
        mode = f.best_mode()
        limited_by = " or ".join(sorted(set(f.limited_by)))
        lines.append(
            f"| {f.shape} | {f.what} | {f.batch} | {f.depth} | {spread(f.ours)} | "
            f"{spread(f.peer[mode])}; {mode} | {100 * f.fraction():.0f} % | "
            f"{100 * f.peer_fraction(mode):.0f} % | {limited_by} | {f.ratio():.2f} |"
        )
    return "\n".join(lines)


def range_of(bench: Bench, key: str) -> str:
    """Smallest and largest, in 10^9."""
    values = [limit[key] / 1e9 for limit in bench.limits]
    return f"{min(values):.0f} to {max(values):.0f}"


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
    machine = peaks()
    shapes = ["0.6b"] if arguments.quick else ["0.6b", "4b"]
    bench = Bench(int(machine["threads"]))
    for shape in shapes:
        for scenario in SCENARIOS:
            if shape in scenario.shapes:
                bench.measure(shape, scenario)
    notes = [loading(bench, shape) for shape in shapes]
    notes += [continuing(bench), *around_steps(bench), *arrival(bench), *grpc()]
    peer = f"llama-cpp-python {version('llama-cpp-python')}"
    heading = (
        f"{cpu_name()}, {int(machine['threads'])} threads; {peer}, bf16. Limits in this run: "
        f"{range_of(bench, 'read_bytes_per_second')} GB/s read, "
        f"{machine['f32_fma_flops'] / 1e9:.0f} GFLOP/s f32 FMA, "
        f"{machine['bf16_dot_flops'] / 1e9:.0f} GFLOP/s vdpbf16ps, oneDNN GEMM "
        f"{range_of(bench, 'gemm_f32_flops')} (f32) and "
        f"{range_of(bench, 'gemm_bf16_flops')} (bf16) GFLOP/s."
    )
    result = {
        "cpu": cpu_name(), "peer": peer, "peaks": machine, "limits": bench.limits,
        "figures": [f.__dict__ for f in bench.figures], "rows": bench.rows, "notes": notes,
        "seconds": time.time() - began,
    }  # fmt: skip
    folder = TOP / "build/bench"
    (folder / "result.json").write_text(json.dumps(result, indent=2) + "\n")
    text = f"{heading}\n\n{table(bench.figures)}\n\n" + "\n".join(notes) + "\n"
    (folder / "result.md").write_text(text)
    print(text)
    tell("all", began)


if __name__ == "__main__":
    main()
