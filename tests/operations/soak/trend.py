"""Whether a quantity that was measured over time grows."""

import math
from dataclasses import dataclass
from statistics import median

# Single samples depend on their neighbours; medians of so many spans of time hardly do.
SPANS = 30
CONFIDENT = 2.576  # standard deviations: 99 % of both sides


@dataclass(frozen=True)
class Trend:
    """A straight line by Theil and Sen: the median of the slopes of all pairs, which no outlier moves.
    Its bounds are Sen's: the slopes that Kendall's rank correlation does not exclude with 99 %.
    """

    slope: float  # per second
    least: float
    most: float
    seconds: float  # of what was looked at
    level: float  # median

    def growth(self) -> float:
        """Over the time that was looked at, by the line."""
        return self.slope * self.seconds

    def most_growth(self) -> float:
        return self.most * self.seconds

    def least_growth(self) -> float:
        return self.least * self.seconds


def trend(samples: list[tuple[float, float]]) -> Trend:
    """Of (time, value), in order of time. Needs three spans with samples at least."""
    begin, end = samples[0][0], samples[-1][0]
    width = (end - begin) / SPANS or 1.0
    spans: dict[int, list[tuple[float, float]]] = {}
    for sample in samples:
        spans.setdefault(min(int((sample[0] - begin) / width), SPANS - 1), []).append(sample)
    points = [
        (median(time for time, _ in span), median(value for _, value in span))
        for span in spans.values()
    ]
    slopes = sorted(
        (after[1] - before[1]) / (after[0] - before[0])
        for index, before in enumerate(points)
        for after in points[index + 1 :]
    )
    # Kendall's S has the variance n(n-1)(2n+5)/18 where nothing grows; ties only make it less.
    count = len(points)
    reach = CONFIDENT * math.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    lower = max(0, math.floor((len(slopes) - reach) / 2))
    upper = min(len(slopes) - 1, math.ceil((len(slopes) + reach) / 2))
    return Trend(
        slope=median(slopes),
        least=slopes[lower],
        most=slopes[upper],
        seconds=end - begin,
        level=median(value for _, value in samples),
    )
