"""Mixed load with faults on three replicas behind HAProxy with Redis, and a tokenizer. Run by
scripts/soak.sh, which says what it does.
"""

import argparse
import contextlib
import itertools
import json
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from client import Client, RefusedError, open_channel
from conversation import Conversation, LostError
from fleet import KEYS, Fleet, Sample, measure
from ledger import Ledger, compare, expected_counters, possible_moves
from load import Misuser, Person, Talker, gather
from plot import plot
from replay import replay
from services import model_pb2, wait_for
from verdict import Verdict

MOVES = "kvasir_session_moves_total"
DRAINED, STOPPED, KILLED = 0, 1, 2  # replicas; the first one is never restarted


class Soak:
    def __init__(self, folder: Path, seconds: float, seed: int, talkers: int) -> None:
        self.seconds, self.seed, self.talkers = seconds, seed, talkers
        self.ledger, self.verdict = Ledger(), Verdict()
        self.fleet = Fleet(folder)
        self.stop = threading.Event()
        self.marks: list[tuple[float, str]] = []  # of faults
        self.rates: list[tuple[float, int, int]] = []  # time, calls and tokens until then
        self.problems: list[str] = []

    def at(self) -> float:
        return time.monotonic() - self.begun

    def rest(self) -> dict[str, Sample]:
        """What programs have open that nobody is connected to."""
        found = {}
        for member in self.fleet.members():
            pid = member.program.process.pid
            # Connections that were there a moment ago are still being closed.
            for _ in range(50):
                sample = measure(pid, 0)
                time.sleep(0.1)
                if measure(pid, 0).descriptors == sample.descriptors:
                    break
            found[member.name] = sample
        return found

    def break_something(self, number: int) -> None:
        kind = ("Redis restarted", "replica 2: SIGTERM", "replica 1 drained", "replica 3: kill -9")
        way = (self.restart_redis, self.stop_replica, self.drain, self.kill_replica)
        begun = time.monotonic()
        self.marks.append((self.at(), kind[number % 4]))
        way[number % 4](number // 4)
        self.fleet.changes.append((begun, time.monotonic() + 0.1))

    def restart_redis(self, turn: int) -> None:
        self.fleet.restart_redis((signal.SIGTERM, signal.SIGKILL)[turn % 2], away=0.5 + turn % 3)

    def stop_replica(self, _: int) -> None:
        self.replace(STOPPED, signal.SIGTERM, 0)

    def kill_replica(self, _: int) -> None:
        self.replace(KILLED, signal.SIGKILL, -signal.SIGKILL)

    def replace(self, number: int, how: signal.Signals, expected: int) -> None:
        if (code := self.fleet.end(number, how)) != expected:
            self.problems.append(
                f"{self.fleet.replicas[number].name}: {how.name}, exit code {code}"
            )
        time.sleep(0.5)
        self.fleet.start(number)
        self.fleet.await_up(self.fleet.replicas[number].name)

    def drain(self, _: int) -> None:
        server = f"set server replicas/{self.fleet.replicas[DRAINED].name} state"
        self.fleet.ask_proxy(f"{server} drain")
        time.sleep(min(5, self.seconds / 12))
        self.fleet.ask_proxy(f"{server} ready")

    def watch(self) -> None:
        """Takes a sample a second, and starts anew what has ended by itself."""
        while not self.stop.wait(1):
            self.fleet.watch_proxy()
            for number, member in enumerate(self.fleet.members()):
                self.fleet.look(member)
                if member.program is None and len(self.fleet.deaths) > len(self.problems):
                    self.problems.append(self.fleet.deaths[-1])
                    self.fleet.start(number)
            with self.ledger.lock:
                calls, tokens = len(self.ledger.attempts), self.ledger.tokens_received
            self.rates.append((self.at(), calls, tokens))

    def run(self) -> None:
        before = self.rest()
        self.fleet.start_proxy()
        self.fleet.watch_proxy()
        people, channels = gather(self.ledger, self.fleet, self.talkers, self.seed, self.stop)
        self.begun = self.fleet.begun = time.monotonic()
        for member in self.fleet.members():
            member.samples.clear()
        watcher = threading.Thread(target=self.watch, daemon=True)
        for thread in [*people, watcher]:
            thread.start()
        period = min(20.0, max(4.0, self.seconds / 10))
        for number in itertools.count():
            wait = (number + 1) * period - self.at()
            if wait > 0:
                time.sleep(wait)
            if self.at() > self.seconds - period or self.ledger.failures:
                break
            self.break_something(number)
            self.tell(people)
        time.sleep(max(0.0, self.seconds - self.at()))
        self.stop.set()
        for thread in [*people, watcher]:
            thread.join()
        self.judge(people, channels, before)

    def tell(self, people: list[Person]) -> None:
        turns = sum(each.done["talk"] for each in people)
        print(
            f"{self.at():6.0f} s: {len(self.ledger.attempts)} calls, {turns} turns, "
            f"{self.ledger.tokens_received} tokens, {len(self.marks)} faults, last: "
            f"{self.marks[-1][1]}; {len(self.ledger.failures)} failures",
            flush=True,
        )

    def judge(self, people: list[Person], channels: list, before: dict[str, Sample]) -> None:
        verdict, fleet = self.verdict, self.fleet
        talkers = [each for each in people if isinstance(each, Talker)]
        conversations = [each for talker in talkers for each in talker.conversations]
        done = sum((each.done for each in people), Counter())
        print(f"{self.at():6.0f} s: the load has ended; now what has become of it")
        verdict.check_all(
            "no program ended by itself", fleet.deaths + self.problems, f"{len(self.marks)} faults"
        )
        verdict.check_all(
            "each call was answered as it must be",
            self.ledger.failures,
            ", ".join(f"{count} x {name}" for name, count in sorted(done.items())),
        )
        self.check_sessions(conversations)
        self.check_deliberate_moves(conversations)
        wrong = replay(self.ledger, conversations, self.seed)
        verdict.check_all(
            "conversations are those of a server that was left in peace",
            wrong,
            "12 of them were led again, token for token",
        )
        self.check_counters(talkers)
        for channel in channels:
            channel.close()
        for person in people:
            if isinstance(person, Misuser):
                person.close()
        fleet.stop_proxy()
        for name, sample in self.rest().items():
            verdict.check_quiet(name, before[name], sample)
        for member in (fleet.replicas[DRAINED], fleet.tokenizer):
            verdict.check_growth(member, self.seconds)

    def check_sessions(self, conversations: list[Conversation]) -> None:
        wrong = []
        for conversation in conversations:
            try:
                conversation.check()
            except (LostError, RefusedError) as error:
                wrong.append(str(error))
        self.verdict.check_all(
            "every session holds all that was acknowledged",
            wrong,
            f"{len(conversations)} sessions, {sum(len(each.ids) for each in conversations)} tokens",
        )
        wrong = []
        for tenant in KEYS:
            mine = [each for each in conversations if each.client.tenant == tenant]
            listed, token = [], ""
            while mine:
                request = model_pb2.ListSessionsRequest(page_size=7, page_token=token)
                page = mine[0].client.call("ListSessions", request)
                listed += [session.session_id for session in page.sessions]
                token = page.next_page_token
                if not token:
                    break
            if sorted(each.id for each in mine) != listed:
                wrong.append(f"{tenant}: {len(listed)} are listed, not {len(mine)}")
        stored = "kvasir_session_store_sessions"

        def counted() -> bool:
            self.fleet.look(self.fleet.replicas[DRAINED])
            return self.fleet.replicas[DRAINED].counters.get(stored) == len(conversations)

        try:
            wait_for(counted, stored)
        except AssertionError:
            wrong.append(f"{stored} is {self.fleet.replicas[DRAINED].counters.get(stored)}")
        self.verdict.check_all(
            "there are as many sessions as clients have", wrong, f"{len(conversations)} are listed"
        )

    def check_deliberate_moves(self, conversations: list[Conversation]) -> None:
        """All sessions go to one replica, then to another one: each by one move."""
        counts = []
        for number in (DRAINED, STOPPED):
            channel = open_channel(self.fleet.addresses[number])
            before = self.fleet.totals().get(MOVES, 0)
            for each in conversations:
                each.client = Client(
                    self.ledger, channel, each.client.tenant, each.client.key, ring=False
                )
                try:
                    each.turn(4)
                except (LostError, RefusedError) as error:
                    self.ledger.fail(str(error))
            counts.append(self.fleet.totals().get(MOVES, 0) - before)
            channel.close()
        self.deliberate = int(sum(counts))
        self.verdict.check(
            "a session that moves is counted once",
            counts[1] == len(conversations),
            f"{counts[1]:.0f} moves of {len(conversations)} sessions",
        )

    def check_counters(self, talkers: list[Talker]) -> None:
        ranges = expected_counters(self.ledger.attempts, self.fleet.losses)
        wrong: list[str] = []

        def agree() -> bool:
            wrong[:] = compare(ranges, self.fleet.totals())
            return not wrong

        with contextlib.suppress(AssertionError):
            wait_for(agree, "counters")  # the last calls are about to be counted
        totals = self.fleet.totals()
        tokens = ranges["kvasir_generated_tokens_total"]
        self.verdict.check_all(
            "counters agree with the clients' books",
            wrong,
            f"{len(ranges)} series; e.g. {totals['kvasir_generated_tokens_total']:.0f} tokens "
            f"generated, by the books {tokens}",
        )
        forked = {name for each in talkers for name in each.forked}
        most = possible_moves(self.ledger.attempts, self.fleet.changes, forked)
        moves = totals.get(MOVES, 0) - self.deliberate
        self.verdict.check(
            "sessions moved only when they had to",
            0 < moves <= most,
            f"{moves:.0f} moves, {most} occasions",
        )

    def report(self, folder: Path) -> None:
        members = self.fleet.members()

        def lines(value: str, scale: float = 1) -> dict[str, list[tuple[float, float]]]:
            return {
                each.name: [(s.seconds, getattr(s, value) * scale) for s in each.samples]
                for each in members
            }

        pace = list(zip(self.rates, self.rates[1:], strict=False))
        rates = {
            "calls/s": [(b[0], (b[1] - a[1]) / (b[0] - a[0])) for a, b in pace],
            "tokens/s": [(b[0], (b[2] - a[2]) / (b[0] - a[0])) for a, b in pace],
        }
        panels = {
            "Resident memory, MiB": lines("memory", 1 / (1 << 20)),
            "File descriptors": lines("descriptors"),
            "Threads": lines("threads"),
            "Sessions in memory": lines("sessions"),
            "What clients got": rates,
        }
        title = f"Kvasir under load with faults, {self.seconds / 60:.3g} minutes"
        (folder / "soak.svg").write_text(plot(title, panels, self.marks, self.seconds))
        figures = {
            "seconds": self.seconds,
            "seed": self.seed,
            "held": self.verdict.held(),
            "calls": len(self.ledger.attempts),
            "tokens": self.ledger.tokens_received,
            "faults": Counter(kind for _, kind in self.marks),
            "codes": Counter(f"{a.method} {a.code}" for a in self.ledger.attempts),
            "checks": self.verdict.checks,
        }
        (folder / "soak.json").write_text(json.dumps(figures, indent=2) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=1200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--talkers", type=int, default=4, help="of each of two tenants")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    random.seed(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        soak = Soak(Path(folder), arguments.seconds, arguments.seed, arguments.talkers)
        try:
            soak.run()
            soak.report(arguments.out)
        finally:
            soak.stop.set()
            soak.fleet.stop()
    print(f"{arguments.out}/soak.svg, {arguments.out}/soak.json")
    print("all held" if soak.verdict.held() else "NOT ALL HELD")
    return 0 if soak.verdict.held() else 1


if __name__ == "__main__":
    sys.exit(main())
