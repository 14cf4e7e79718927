"""Draws build/bench/result.json: decoding against batch and against context, with the limits.

python scripts/bench/plot.py docs/performance.svg
"""

import json
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

WIDTH, HEIGHT, MARGIN = 360, 240, 44
LINES = {"Kvasir": "#1f6feb", "llama.cpp": "#d29922", "limit": "#8b949e"}


@dataclass
class Panel:
    """One diagram: lines of (x, y), x in equal steps."""

    title: str
    labels: list[str]
    lines: dict[str, list[float]]

    def svg(self, left: int) -> list[str]:
        """The diagram's elements, `left` pixels to the right."""
        top = max(max(values) for values in self.lines.values()) * 1.08
        span = max(1, len(self.labels) - 1)

        def x(i: int) -> float:
            return left + MARGIN + i * (WIDTH - 2 * MARGIN) / span

        def y(value: float) -> float:
            return HEIGHT - MARGIN - value / top * (HEIGHT - 2 * MARGIN)

        out = [f'<text x="{left + WIDTH / 2}" y="20" text-anchor="middle">{self.title}</text>']
        for part in range(5):
            value = top * part / 4
            out.append(
                f'<path d="M{x(0)} {y(value):.1f}H{x(span)}" stroke="#d0d7de"/>'
                f'<text x="{x(0) - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.0f}</text>'
            )
        for i, label in enumerate(self.labels):
            out.append(
                f'<text x="{x(i):.1f}" y="{HEIGHT - MARGIN + 18}" text-anchor="middle">{label}</text>'
            )
        for name, values in self.lines.items():
            points = " ".join(f"{x(i):.1f},{y(value):.1f}" for i, value in enumerate(values))
            dash = ' stroke-dasharray="4 3"' if name == "limit" else ""
            out.append(
                f'<polyline points="{points}" fill="none" stroke="{LINES[name]}" '
                f'stroke-width="2"{dash}/>'
            )
            if name != "limit":
                out += [
                    f'<circle cx="{x(i):.1f}" cy="{y(v):.1f}" r="3" fill="{LINES[name]}"/>'
                    for i, v in enumerate(values)
                ]
        return out


def panel(title: str, by: str, figures: list[dict]) -> Panel:
    """Decoding figures, ordered by `by`."""
    figures = sorted(figures, key=lambda f: f[by])

    def best(figure: dict) -> float:
        """Of llama.cpp, in the mode that comes nearest to the limit."""

        def fraction(mode: str) -> float:
            pairs = zip(figure["peer"][mode], figure["peer_limits"][mode], strict=True)
            return statistics.median(rate / limit for rate, limit in pairs)

        return statistics.median(figure["peer"][max(figure["peer"], key=fraction)])

    return Panel(
        title,
        [str(f[by]) for f in figures],
        {
            "limit": [statistics.median(f["limits"]) for f in figures],
            "Kvasir": [statistics.median(f["ours"]) for f in figures],
            "llama.cpp": [best(f) for f in figures],
        },
    )


def main() -> None:
    """Writes the picture."""
    result = json.loads(Path("build/bench/result.json").read_text())
    decode = [f for f in result["figures"] if f["what"] == "decode" and f["shape"] == "0.6b"]
    panels = [
        panel(
            "tokens/s against sessions together", "batch", [f for f in decode if f["depth"] == 0]
        ),
        panel("tokens/s against context", "depth", [f for f in decode if f["batch"] == 1]),
    ]
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{2 * WIDTH}" height="{HEIGHT + 20}" '
        'font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for i, each in enumerate(panels):
        out += each.svg(i * WIDTH)
    for i, (name, colour) in enumerate(LINES.items()):
        left = MARGIN + 110 * i
        out.append(
            f'<rect x="{left}" y="{HEIGHT}" width="14" height="4" fill="{colour}"/>'
            f'<text x="{left + 20}" y="{HEIGHT + 6}">{name}</text>'
        )
    Path(sys.argv[1]).write_text("\n".join([*out, "</svg>"]) + "\n")


if __name__ == "__main__":
    main()
