"""Draws what gpu_bench measured of decoding: tokens/s against the batch, with the bandwidth's roof.

python3 tests/gpu/plot.py build/gpu-results build/gpu-results/bench.svg

The roof is what a step would take if it did nothing but read every weight and all keys and values
once, as fast as the device has been seen to read.
"""

import math
import sys
from pathlib import Path

import results
from results import Figure, Results

WIDTH, HEIGHT, MARGIN = 460, 340, 56
COLOURS = ["#1f6feb", "#1a7f37", "#d29922", "#cf222e"]


def ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times the powers of ten between them."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [v for d in decades for m in (1, 2, 5) if low <= (v := m * 10.0**d) <= high]


def panel(measured: Results, shape: str, left: int) -> list[str]:
    """One model's diagram, both axes logarithmic, `left` pixels to the right."""
    figures = measured.find(what="decode", graphs=True, shape=shape, deterministic=False)
    batches = sorted({f["batch"] for f in figures})

    def roof(f: Figure) -> float:
        return f["batch"] * measured.bandwidth / f["bytes"]

    rates = [r for f in figures for r in (f["tokens_per_second"], roof(f))]
    low, high = min(rates) * 0.8, max(rates) * 1.25
    last = max(1.0, math.log2(batches[-1] / batches[0]))

    def x(batch: int) -> float:
        return left + MARGIN + math.log2(batch / batches[0]) / last * (WIDTH - 2 * MARGIN)

    def y(rate: float) -> float:
        part = math.log(rate / low) / math.log(high / low)
        return HEIGHT - MARGIN - part * (HEIGHT - 2 * MARGIN)

    def line(points: list[tuple[int, float]], style: str) -> str:
        text = " ".join(f"{x(batch):.1f},{y(rate):.1f}" for batch, rate in points)
        return f'<polyline points="{text}" fill="none" {style}/>'

    title = f"Qwen3 {shape}: tokens/s against sessions together"
    out = [f'<text x="{left + WIDTH / 2}" y="24" text-anchor="middle">{title}</text>']
    for tick in ticks(low, high):
        out.append(
            f'<path d="M{x(batches[0])} {y(tick):.1f}H{x(batches[-1])}" stroke="#d0d7de"/>'
            f'<text x="{x(batches[0]) - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>'
        )
    for batch in batches:
        out.append(
            f'<text x="{x(batch):.1f}" y="{HEIGHT - MARGIN + 18}" text-anchor="middle">{batch}</text>'
        )
    for i, depth in enumerate(sorted({f["depth"] for f in figures})):
        colour = COLOURS[i % len(COLOURS)]
        mine = sorted((f for f in figures if f["depth"] == depth), key=lambda f: f["batch"])
        points = [(f["batch"], f["tokens_per_second"]) for f in mine]
        out.append(line(points, f'stroke="{colour}" stroke-width="2"'))
        out += [
            f'<circle cx="{x(b):.1f}" cy="{y(r):.1f}" r="3" fill="{colour}"/>' for b, r in points
        ]
        out.append(
            line([(f["batch"], roof(f)) for f in mine], f'stroke="{colour}" stroke-dasharray="4 3"')
        )
        at = left + MARGIN + i * 90
        out.append(
            f'<rect x="{at}" y="{HEIGHT - 22}" width="12" height="4" fill="{colour}"/>'
            f'<text x="{at + 16}" y="{HEIGHT - 16}">{depth} keys</text>'
        )
    return out


def main() -> None:
    """Writes the picture."""
    measured = results.load(Path(sys.argv[1]))
    shapes = list(dict.fromkeys(f["shape"] for f in measured.find(what="decode", graphs=True)))
    if not shapes:
        sys.exit("plot.py: no figures of decoding")
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{len(shapes) * WIDTH}" '
        f'height="{HEIGHT + 24}" font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for i, shape in enumerate(shapes):
        out += panel(measured, shape, i * WIDTH)
    out.append(
        f'<text x="{MARGIN}" y="{HEIGHT + 12}">{measured.limits["device"]}; dashed: the roof at '
        f"{measured.bandwidth / 1e9:.0f} GB/s, as measured</text>"
    )
    Path(sys.argv[2]).write_text("\n".join([*out, "</svg>"]) + "\n")


if __name__ == "__main__":
    main()
