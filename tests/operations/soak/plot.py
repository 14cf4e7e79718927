"""What was measured in a soak, as an SVG."""

from collections.abc import Sequence
from html import escape

Line = Sequence[tuple[float, float]]
WIDTH, HEIGHT, LEFT, TOP, RIGHT, GAP = 900, 150, 70, 60, 110, 40
COLORS = ["#1b6ca8", "#c0392b", "#2e8b57", "#8e44ad", "#b7791f", "#34495e", "#7f8c8d"]
POINTS = 240  # of a line: more nobody sees


def thin(line: Line) -> Line:
    """Of each bit of time the highest value, so that no peak goes."""
    size = max(1, len(line) // POINTS)
    parts = (line[begin : begin + size] for begin in range(0, len(line), size))
    return [max(part, key=lambda point: point[1]) for part in parts]


def ceiling(value: float) -> float:
    """A round number that is not less."""
    power = 1.0
    while power * 10 <= value:
        power *= 10
    return next(step * power for step in (1, 2, 3, 4, 5, 6, 8, 10) if step * power >= value)


def plot(
    title: str,
    panels: dict[str, dict[str, Line]],
    faults: Sequence[tuple[float, str]],
    seconds: float,
) -> str:
    """`panels`: a panel's name, and its lines by name; time and `faults` in seconds."""
    kinds = sorted({kind for _, kind in faults})
    height = TOP + len(panels) * (HEIGHT + GAP) + 10
    total = LEFT + WIDTH + RIGHT

    def x(time: float) -> str:
        return f"{LEFT + WIDTH * time / seconds:.1f}"

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total} {height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{total}" height="{height}" fill="#fff"/>',
        f'<text x="{LEFT}" y="20" font-size="15">{escape(title)}</text>',
    ]
    for index, kind in enumerate(kinds):
        at = LEFT + 190 * index
        parts.append(
            f'<path d="M{at} 34v12" stroke="{COLORS[index + 1]}" stroke-dasharray="3 2"/>'
            f'<text x="{at + 6}" y="44">{escape(kind)}</text>'
        )
    for number, (name, lines) in enumerate(panels.items()):
        top = TOP + number * (HEIGHT + GAP) + 14
        peak = ceiling(max((v for line in lines.values() for _, v in line), default=1) or 1)
        parts.append(f'<text x="{LEFT}" y="{top - 5}" font-weight="bold">{escape(name)}</text>')
        for quarter in range(5):
            y = top + HEIGHT * (1 - quarter / 4)
            parts.append(
                f'<path d="M{LEFT} {y:.1f}h{WIDTH}" stroke="#ddd"/>'
                f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{peak * quarter / 4:g}</text>'
            )
        for time, kind in faults:
            color = COLORS[kinds.index(kind) + 1]
            parts.append(
                f'<path d="M{x(time)} {top}v{HEIGHT}" stroke="{color}" stroke-opacity=".6" '
                'stroke-dasharray="3 2"/>'
            )
        for index, (label, line) in enumerate(lines.items()):
            color = COLORS[index % len(COLORS)]
            points = " ".join(
                f"{x(time)},{top + HEIGHT * (1 - value / peak):.1f}" for time, value in thin(line)
            )
            parts.append(
                f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="1.3"/>'
                f'<text x="{LEFT + WIDTH + 8}" y="{top + 14 + 16 * index}" fill="{color}">'
                f"{escape(label)}</text>"
            )
        for tenth in range(0, 11, 2):
            time = seconds * tenth / 10
            parts.append(
                f'<text x="{x(time)}" y="{top + HEIGHT + 15}" text-anchor="middle">'
                f"{time / 60:.3g} min</text>"
            )
    return "\n".join([*parts, "</svg>\n"])
