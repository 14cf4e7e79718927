"""What clients know of their calls, and whether the services' counters agree with it.

Not all is known: who is cut off does not know how its call ended, and counters die with their process. So
the books say of each counter between which two numbers it must be.
"""

import itertools
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field

# A call is counted when its status has been sent, which may be a little after its client has it.
COUNTED_WITHIN = 1.0  # seconds

Window = tuple[float, float]  # of time.monotonic()


@dataclass(slots=True)
class Attempt:
    """One RPC as its client saw it."""

    method: str
    tenant: str
    session: str
    begun: float
    ended: float = 0
    code: str = ""
    told: bool = False  # the service itself gave the code
    arrived: bool = False  # the service has begun it
    ring: bool = True  # went through the proxy
    # Tokens sampled for it: between the two.
    least_tokens: int = 0
    most_tokens: int = 0
    finish: str = ""

    def within(self, windows: Iterable[Window]) -> bool:
        return any(self.ended > begin and self.begun < end for begin, end in windows)


@dataclass(slots=True)
class Range:
    least: int = 0
    most: int = 0

    def add(self, least: int, most: int) -> None:
        self.least += least
        self.most += most

    def holds(self, value: float) -> bool:
        return self.least <= value <= self.most

    def __str__(self) -> str:
        return str(self.least) if self.least == self.most else f"{self.least}..{self.most}"


@dataclass
class Ledger:
    attempts: list[Attempt] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    tokens_received: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, attempt: Attempt) -> Attempt:
        with self.lock:
            self.attempts.append(attempt)
        return attempt

    def fail(self, what: str) -> None:
        with self.lock:
            self.failures.append(what)


def expected_counters(attempts: list[Attempt], losses: list[Window]) -> dict[str, Range]:
    """Of each series that counts calls or tokens, where it must be. `losses`: when a process died, from
    the last look at its counters on.
    """
    lost = [(begin - COUNTED_WITHIN, end) for begin, end in losses]
    ranges: dict[str, Range] = {}

    def add(series: str, least: int, most: int) -> None:
        ranges.setdefault(series, Range()).add(least, most)

    codes: dict[str, set[str]] = {}
    for each in attempts:
        codes.setdefault(each.method, {"OK", "CANCELLED"})
        if each.told:
            codes[each.method].add(each.code)
    for each in attempts:
        counted = not each.within(lost)
        sure = int(each.told and counted)
        for code in [each.code] if each.told else codes[each.method]:
            add(f'kvasir_requests_total{{code="{code}",method="{each.method}"}}', sure, 1)
        add(f"calls of {each.method}", int((each.told or each.arrived) and counted), 1)
        if each.method != "Generate":
            continue
        # Of those that found their session; one that was refused may have.
        found = int(each.arrived and counted)
        add(f'kvasir_tenant_calls_total{{tenant="{each.tenant}"}}', found, 1)
        if each.told and not each.arrived:
            continue
        tokens = (each.least_tokens if counted else 0, each.most_tokens)
        add("kvasir_generated_tokens_total", *tokens)
        add(f'kvasir_tenant_generated_tokens_total{{tenant="{each.tenant}"}}', *tokens)
        if each.finish:
            add(f'kvasir_request_success_total{{finished_reason="{each.finish}"}}', int(counted), 1)
        elif not each.told:
            for finish in ("stop_token", "max_new_tokens"):
                add(f'kvasir_request_success_total{{finished_reason="{finish}"}}', 0, 1)
    return ranges


def compare(ranges: dict[str, Range], counters: dict[str, float]) -> list[str]:
    """What does not agree. `counters`: of all processes that ever ran, added up."""
    wrong = []
    by_method: dict[str, float] = {}
    for series, value in counters.items():
        name, _, labels = series.partition("{")
        if name == "kvasir_requests_total":
            method = labels.split('method="')[1].split('"')[0]
            by_method[f"calls of {method}"] = by_method.get(f"calls of {method}", 0) + value
        known = name in ("kvasir_requests_total", "kvasir_generated_tokens_total")
        known = known or name.startswith(("kvasir_tenant_calls", "kvasir_tenant_generated"))
        if known and value > 0 and series not in ranges:
            wrong.append(f"{series} is {value:.0f}, and no client knows of it")
    for series, expected in ranges.items():
        value = counters.get(series, by_method.get(series, 0))
        if not expected.holds(value):
            wrong.append(f"{series} is {value:.0f}, by the clients' books {expected}")
    return wrong


# Those that need the session at the replica which answers them.
MOVING = ("Generate", "TruncateSession", "ForkSession", "DeleteSession")


def possible_moves(attempts: list[Attempt], changes: list[Window], forked: set[str]) -> int:
    """How often sessions can have gone from one replica to another at most: once for each call on them
    before which the proxy may have changed its mind, and for each change there and back. `changes`: when
    it may have; `forked`: sessions whose first call may go to another replica than that which made them.
    """
    calls: dict[str, list[Attempt]] = {}
    for each in sorted(attempts, key=lambda attempt: attempt.begun):
        if each.ring and each.method in MOVING:
            calls.setdefault(each.session, []).append(each)
    moves = sum(session in forked for session in calls)
    for mine in calls.values():
        times: dict[Window, int] = {}
        for before, after in itertools.pairwise(mine):
            span = (before.begun, max(before.ended, after.ended))
            for begin, end in changes:
                if span[1] > begin and span[0] < end:
                    times[begin, end] = min(times.get((begin, end), 0) + 1, 2)
        moves += min(len(mine) - 1, sum(times.values()))
    return moves
