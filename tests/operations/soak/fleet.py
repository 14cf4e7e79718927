"""Three replicas behind HAProxy with one Redis, and a tokenizer; and what is measured of them."""

import contextlib
import math
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path

from ledger import Window
from services import ROOT, Program, free_port, wait_for

HAPROXY = shutil.which("haproxy", path="/usr/sbin:/usr/bin") or "haproxy"
REPLICAS = 3
KEYS = {"team-a": "a-key-of-the-first-tenant", "team-b": "a-key-of-the-second-one"}
STATUS, WENT_DOWN = 17, 21  # columns of HAProxy's "show stat"


@dataclass(frozen=True)
class Sample:
    seconds: float
    memory: int  # bytes resident
    descriptors: int
    threads: int
    sessions: int = 0


def measure(pid: int, seconds: float, sessions: int = 0) -> Sample:
    status = Path(f"/proc/{pid}/status").read_text()
    return Sample(
        seconds,
        int(re.search(r"VmRSS:\s+(\d+)", status)[1]) * 1024,
        len(list(Path(f"/proc/{pid}/fd").iterdir())),
        int(re.search(r"Threads:\s+(\d+)", status)[1]),
        sessions,
    )


def parse(scrape: str) -> dict[str, float]:
    lines = (line.rpartition(" ") for line in scrape.splitlines() if not line.startswith("#"))
    return {series: float(value) for series, _, value in lines}


@dataclass
class Member:
    """One place in the fleet, and the programs that were in it one after the other."""

    name: str
    program: Program | None = None
    counters: dict[str, float] = field(default_factory=dict)  # when it was asked last
    asked: float = 0
    samples: list[Sample] = field(default_factory=list)
    expected_to_live: bool = False


class Fleet:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.begun = time.monotonic()
        self.lock = threading.RLock()
        self.retired: dict[str, float] = {}  # counters of programs that have ended, added up
        self.losses: list[Window] = []  # when a program's counters were not seen before it ended
        self.faults: list[Window] = []  # when turns may fail
        self.changes: list[Window] = []  # when the proxy may have changed its mind
        self.deaths: list[str] = []  # nobody's doing
        self.proxy_rows: dict[str, tuple[str, str]] = {}
        self.proxy_asked = self.begun
        self.proxy: subprocess.Popen | None = None
        (folder / "keys").write_text("".join(f"{name} {key}\n" for name, key in KEYS.items()))
        (folder / "redis").mkdir()
        self.redis_port = free_port()
        self.redis = self.start_redis()
        self.replicas = [Member(f"replica{number}") for number in range(1, REPLICAS + 1)]
        self.tokenizer = Member("tokenizer")
        self.addresses = [f"127.0.0.1:{free_port()}" for _ in self.replicas]
        for number in range(REPLICAS):
            self.start(number)
        program = Program("kvasir-tokenizer", f"--api-keys={folder / 'keys'}", "--log-level=error")
        self.tokenizer.program = program.serve()
        self.tokenizer.expected_to_live = True

    def members(self) -> list[Member]:
        return [*self.replicas, self.tokenizer]

    def start_redis(self) -> subprocess.Popen:
        here = ["--bind", "127.0.0.1", "--port", str(self.redis_port), "--save", ""]
        keep = ["--dir", str(self.folder / "redis"), "--appendonly", "yes"]
        process = subprocess.Popen(
            ["redis-server", *here, *keep, "--appendfsync", "always"], stdout=subprocess.DEVNULL
        )

        def answers() -> bool:
            with socket.socket() as connection:
                return connection.connect_ex(("127.0.0.1", self.redis_port)) == 0

        wait_for(answers, "redis-server")
        return process

    def start(self, number: int) -> None:
        member = self.replicas[number]
        program = Program(
            "kvasir-model",
            "--threads=1",
            "--kv-memory=24MiB",
            "--log-level=error",
            f"--api-keys={self.folder / 'keys'}",
            f"--advertise={member.name}:50052",
            f"--session-store=redis://127.0.0.1:{self.redis_port}/0",
            listen=self.addresses[number],
        ).serve()
        with self.lock:
            member.program, member.expected_to_live = program, True
            member.counters, member.asked = {}, time.monotonic()

    def start_proxy(self) -> None:
        self.proxy_address = f"127.0.0.1:{free_port()}"
        environment = {
            "KVASIR_PROXY_LISTEN": self.proxy_address,
            "KVASIR_PROXY_SOCKET": str(self.folder / "haproxy"),
        }
        for number, address in enumerate(self.addresses, start=1):
            environment[f"KVASIR_REPLICA_{number}"] = address
        self.proxy = subprocess.Popen(
            [HAPROXY, "-f", str(ROOT / "deploy/haproxy/haproxy.cfg")],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for member in self.replicas:
            self.await_up(member.name)

    def stop_proxy(self) -> None:
        if self.proxy is not None:
            self.proxy.kill()
            self.proxy.wait()

    def ask_proxy(self, command: str) -> str:
        path = self.folder / "haproxy"
        if not path.exists():
            return ""
        with socket.socket(socket.AF_UNIX) as admin:
            admin.connect(str(path))
            admin.sendall(f"{command}\n".encode())
            return admin.makefile().read()

    def proxy_status(self) -> dict[str, tuple[str, str]]:
        rows = [line.split(",") for line in self.ask_proxy("show stat").splitlines()]
        return {
            row[1]: (row[STATUS], row[WENT_DOWN])
            for row in rows
            if len(row) > WENT_DOWN and row[0] == "replicas" and row[1] != "BACKEND"
        }

    def await_up(self, name: str) -> None:
        wait_for(
            lambda: self.proxy_status().get(name, ("", ""))[0].startswith("UP"), f"{name} is up"
        )

    def watch_proxy(self) -> None:
        """Notes when it has changed its mind since it was asked before."""
        now = time.monotonic()
        rows = self.proxy_status()
        if rows != self.proxy_rows:
            self.changes.append((self.proxy_asked - 0.1, now))
        self.proxy_rows, self.proxy_asked = rows, now

    def look(self, member: Member) -> None:
        """Reads a program's counters and takes a sample; notes it where the program is dead."""
        with self.lock:
            program = member.program
            if program is None:
                return
            if member.expected_to_live and program.process.poll() is not None:
                self.deaths.append(
                    f"{member.name} ended by itself with {program.process.returncode}: "
                    + program.log()[-4000:]
                )
                self.bury(member)
                return
            asked = time.monotonic()
            try:
                status, text = program.get("/metrics")
                sample = measure(program.process.pid, asked - self.begun)
            except (OSError, HTTPException, TypeError):  # about to end
                return
            if status != 200:
                return
            member.counters, member.asked = parse(text), asked
            sessions = int(member.counters.get("kvasir_sessions", 0))
            member.samples.append(
                Sample(sample.seconds, sample.memory, sample.descriptors, sample.threads, sessions)
            )

    def bury(self, member: Member) -> None:
        """A program has ended: what it had counted stays."""
        with self.lock:
            for series, value in member.counters.items():
                self.retired[series] = self.retired.get(series, 0) + value
            self.losses.append((member.asked, time.monotonic()))
            member.program.stop()
            member.program.folder.cleanup()
            member.program, member.expected_to_live = None, False

    def end(self, number: int, how: signal.Signals) -> int:
        """Ends a replica under load; returns its exit code."""
        member = self.replicas[number]
        self.look(member)
        with self.lock:
            if member.program is None:
                return 0
            member.expected_to_live = False
            process = member.program.process
        with self.fault():
            process.send_signal(how)
            give_up = time.monotonic() + 60
            while process.poll() is None and time.monotonic() < give_up:
                self.look(member)
            code = process.wait(1)
            self.bury(member)
        return code

    @contextlib.contextmanager
    def fault(self) -> Iterator[None]:
        begun = time.monotonic()
        self.faults.append((begun, math.inf))
        yield
        # Who was in the middle of something hears of it a little later.
        self.faults[self.faults.index((begun, math.inf))] = (begun, time.monotonic() + 1)

    def restart_redis(self, how: signal.Signals, away: float) -> None:
        with self.fault():
            self.redis.send_signal(how)
            self.redis.wait()
            time.sleep(away)
            self.redis = self.start_redis()

    def totals(self) -> dict[str, float]:
        """Counters of all programs that ever ran, added up."""
        with self.lock:
            sums = dict(self.retired)
            for member in self.members():
                self.look(member)
                for series, value in member.counters.items():
                    sums[series] = sums.get(series, 0) + value
            return sums

    def stop(self) -> None:
        self.stop_proxy()
        for member in self.members():
            if member.program is not None:
                member.expected_to_live = False
                member.program.stop()
        self.redis.kill()
        self.redis.wait()
