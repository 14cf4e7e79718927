"""Whether a soak has found all as it must be."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from fleet import Member, Sample
from trend import trend

WARM_UP = 0.25  # of the time
# Of its median, that a quantity may grow by over the rest of the time: what a heap that is cut up anew
# all the time adds or gives back. A growth that the measurements do not exclude with 99 % counts.
FLAT = 0.02
# One that needs more time than so to show itself is not judged in a shorter soak.
LONG = 600  # seconds
# Connections come and go, and with them the most of what is open; so many are noise.
COUNT_NOISE = 3


@dataclass
class Verdict:
    checks: list[dict[str, Any]] = field(default_factory=list)

    def check(self, name: str, held: bool | None, detail: str, **figures: Any) -> None:
        """`held`: None where it was not judged."""
        self.checks.append({"check": name, "held": held, "detail": detail, **figures})
        word = {True: "holds", False: "FAILS", None: "not judged"}[held]
        print(f"  {word:10}  {name}: {detail}", flush=True)

    def held(self) -> bool:
        return all(check["held"] is not False for check in self.checks)

    def check_growth(self, member: Member, seconds: float) -> None:
        """Of a program that has run all the time, under load."""
        samples = [each for each in member.samples if WARM_UP * seconds <= each.seconds < seconds]
        if len(samples) < 3:
            self.check(f"{member.name} was measured", False, f"{len(samples)} samples")
            return
        for name in ("memory", "descriptors", "threads"):
            line = trend([(each.seconds, getattr(each, name)) for each in samples])
            allowed = FLAT * line.level if name == "memory" else COUNT_NOISE
            scale, unit = (1 / (1 << 20), " MiB") if name == "memory" else (1.0, "")
            detail = (
                f"median {line.level * scale:.2f}{unit}, in {line.seconds:.0f} s it grew by "
                f"{line.growth() * scale:+.3f}{unit}, with 99 % by {line.least_growth() * scale:+.3f} "
                f"to {line.most_growth() * scale:+.3f}, allowed {allowed * scale:.2f}"
            )
            held = line.most_growth() <= allowed if seconds >= LONG else None
            self.check(f"{name} of {member.name} is flat", held, detail, **asdict(line))

    def check_quiet(self, name: str, before: Sample, after: Sample) -> None:
        """Nobody is connected, before the load and after it."""
        self.check(
            f"nothing of {name} stays open",
            after.descriptors <= before.descriptors,
            f"{before.descriptors} descriptors before all calls, {after.descriptors} after them; "
            f"{before.threads} and {after.threads} threads",
        )

    def check_all(self, name: str, wrong: Sequence[str], detail: str) -> None:
        self.check(name, not wrong, "; ".join(wrong[:10]) if wrong else detail)
