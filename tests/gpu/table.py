"""A table of what gpu_bench measured, with the goals.

python3 tests/gpu/table.py build/gpu-results

Rates are held against the device's own limits, measured in the same run: bytes against the faster
of reading and copying, operations against a large matrix product.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import results
from results import Figure, Results


@dataclass
class Goal:
    """One thing that is asked of the backend."""

    name: str
    measured: float | None  # None: not measured, or nothing to hold it against
    wanted: float
    at_most: bool = False

    @property
    def met(self) -> bool:
        if self.measured is None:
            return False
        return self.measured <= self.wanted if self.at_most else self.measured >= self.wanted

    def line(self) -> str:
        measured = "not measured" if self.measured is None else f"{self.measured:.1%}"
        verdict = "met" if self.met else "MISSED"
        if self.measured is None:
            verdict = "-"
        sign = "<=" if self.at_most else ">="
        return f"  {self.name:<58} {measured:>12}  {sign} {self.wanted:.0%}  {verdict}"


def goals(measured: Results) -> list[Goal]:
    """All of them are about 4B, as fast as it goes."""
    fast = {"shape": "4b", "deterministic": False}

    def part_of(limit: float, rate: str, figures: list[Figure]) -> float | None:
        return figures[0][rate] / limit if figures else None

    decode = measured.find(what="decode", graphs=True, **fast)
    prefill = measured.find(what="prefill", rows=4096, depth=0, **fast)
    library = measured.limits["gemm_by"] != "own"
    steps = [*decode, *measured.find(what="prefill", **fast)]
    gaps = [f["host_gap"] for f in steps]

    def decode_at(batch: int, depth: int) -> list[Figure]:
        return [f for f in decode if (f["batch"], f["depth"]) == (batch, depth)]

    return [
        Goal(
            "decode, batch 1: of the bandwidth",
            part_of(measured.bandwidth, "bytes_per_second", decode_at(1, 0)),
            0.85,
        ),
        Goal(
            "decode, 64 x 4096: of the bandwidth",
            part_of(measured.bandwidth, "bytes_per_second", decode_at(64, 4096)),
            0.75,
        ),
        Goal(
            "prefill of 4096: of cuBLASLt's rate",
            part_of(measured.gemm, "flops_per_second", prefill if library else []),
            0.60,
        ),
        Goal("host gap, the worst, at most", max(gaps, default=None), 0.03, at_most=True),
    ]


def rows(measured: Results) -> list[str]:
    """One line a figure; decode without graphs stands beside decode with them."""
    lines = [
        f"{'':24}{'batch':>6}{'depth':>7}{'rows':>6}{'ms/step':>9}{'tok/s':>9}"
        f"{'GB/s':>7}{'of bw':>7}{'TFLOP/s':>9}{'of gemm':>8}{'gap':>7}{'no graphs':>11}"
    ]
    for f in measured.figures:
        if f["what"] == "decode" and not f["graphs"]:
            continue
        same = {k: f[k] for k in ("shape", "deterministic", "batch", "depth", "rows")}
        plain = measured.find(what="decode", graphs=False, **same) if f["graphs"] else []
        name = f"{f['what']} {f['shape']}{' det.' if f['deterministic'] else ''}"
        lines.append(
            f"{name:24}{f['batch']:>6}{f['depth']:>7}{f['rows']:>6}{f['step_ms']:>9.3f}"
            f"{f['tokens_per_second']:>9.0f}{f['bytes_per_second'] / 1e9:>7.0f}"
            f"{f['bytes_per_second'] / measured.bandwidth:>7.1%}"
            f"{f['flops_per_second'] / 1e12:>9.1f}"
            f"{f['flops_per_second'] / measured.gemm:>8.1%}"
            f"{f['host_gap']:>7.1%}"
            f"{format(plain[0]['step_ms'], '.3f') if plain else '':>11}"
        )
    return lines


def main() -> None:
    """Prints it."""
    measured = results.load(Path(sys.argv[1]))
    limits = measured.limits
    print(
        f"{limits['device']}, sm_{limits['compute_capability'].replace('.', '')}: "
        f"copies {limits['copy_bytes_per_second'] / 1e9:.0f} GB/s, "
        f"reads {limits['read_bytes_per_second'] / 1e9:.0f} GB/s, "
        f"multiplies {limits['gemm_flops_per_second'] / 1e12:.1f} TFLOP/s by {limits['gemm_by']}, "
        f"{limits['own_gemm_flops_per_second'] / 1e12:.1f} by our own kernel"
    )
    for m in measured.models:
        print(
            f"{m['shape']}{' deterministic' if m['deterministic'] else ''}: {m['numerics']}, "
            f"weights {m['weight_bytes'] / 1e9:.2f} GB, "
            f"workspace {m['workspace_bytes'] / 1e9:.2f} GB, KV {m['kv_bytes'] / 1e9:.2f} GB; "
            f"loaded in {m['load_seconds']:.1f} s, made ready in {m['prepare_seconds']:.1f} s"
        )
    print(*rows(measured), sep="\n")
    wanted = goals(measured)
    print(f"goals met: {sum(g.met for g in wanted)} of {len(wanted)}")
    print(*[g.line() for g in wanted], sep="\n")


if __name__ == "__main__":
    main()
