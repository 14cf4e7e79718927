"""deploy/haproxy/haproxy.cfg: HAProxy accepts it, and a replica's health is what it says of itself.

The replica is made of a socket: it takes the check's bytes apart as HTTP/2 would.
"""

import contextlib
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path
from typing import BinaryIO

CONFIG = Path(__file__).resolve().parents[2] / "deploy/haproxy/haproxy.cfg"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS, HEADERS, DATA = 4, 1, 0
SERVING, NOT_SERVING = 1, 2
PATIENCE = 30  # seconds


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return (
        struct.pack(">I", len(payload))[1:]
        + bytes([kind, flags])
        + struct.pack(">I", stream)
        + payload
    )


class Replica:
    """Answers health checks with `status`; `requests` holds the frames of the last one."""

    def __init__(self) -> None:
        self.status = SERVING
        self.requests: list[tuple[int, int, bytes]] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        while True:
            connection, _ = self.listener.accept()
            # The check may hang up at any time.
            with connection, contextlib.suppress(OSError, struct.error):
                self.answer(connection.makefile("rb"), connection)

    def answer(self, stream: BinaryIO, connection: socket.socket) -> None:
        if stream.read(len(PREFACE)) != PREFACE:
            return
        frames = []
        while not frames or frames[-1][0] != DATA:
            length, kind, _, number = struct.unpack(">I", b"\0" + stream.read(3)) + struct.unpack(
                ">BBI", stream.read(6)
            )
            frames.append((kind, number, stream.read(length)))
        self.requests = frames
        message = b"\0" + struct.pack(">I", 2) + bytes([8, self.status])
        connection.sendall(
            frame(SETTINGS, 0, 0) + frame(HEADERS, 4, 1, b"\x88") + frame(DATA, 0, 1, message)
        )
        stream.read(1)  # until it hangs up


class HaproxyTest(unittest.TestCase):
    def setUp(self) -> None:
        self.haproxy = shutil.which("haproxy", path="/usr/sbin:" + os.environ["PATH"])
        self.assertIsNotNone(self.haproxy, "haproxy is missing: scripts/setup.sh installs it")
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.socket = f"{folder.name}/admin"
        self.listen = f"unix@{folder.name}/listen"

    def environment(self, replicas: list[str]) -> dict[str, str]:
        named = {f"KVASIR_REPLICA_{i + 1}": address for i, address in enumerate(replicas)}
        return {"KVASIR_PROXY_LISTEN": self.listen, "KVASIR_PROXY_SOCKET": self.socket} | named

    def check(self, replicas: list[str]) -> subprocess.CompletedProcess:
        return subprocess.run(
            [self.haproxy, "-c", "-f", CONFIG],
            env=self.environment(replicas),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def test_one_to_eight_replicas(self) -> None:
        for count in range(1, 9):
            result = self.check([f"10.0.0.{i}:50052" for i in range(1, count + 1)])
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertNotIn("WARNING", result.stderr)
        self.assertNotEqual(self.check([]).returncode, 0)

    def command(self, text: str) -> str:
        with socket.socket(socket.AF_UNIX) as admin:
            admin.connect(self.socket)
            admin.sendall(text.encode() + b"\n")
            return admin.makefile().read()

    def await_status(self, server: str, status: str) -> None:
        give_up = time.monotonic() + PATIENCE
        found = None
        while time.monotonic() < give_up:
            if Path(self.socket).exists():
                rows = [line.split(",") for line in self.command("show stat").splitlines()]
                found = {row[1]: row[17] for row in rows if row[0] == "replicas"}
                if found.get(server, "").startswith(status):
                    return
            time.sleep(0.05)
        self.fail(f"{server} is not {status}: {found}")

    def test_health_is_what_the_replica_says(self) -> None:
        replicas = [Replica(), Replica()]
        replicas[1].status = NOT_SERVING
        process = subprocess.Popen(
            [self.haproxy, "-f", CONFIG],
            env=self.environment([replica.address for replica in replicas]),
            stderr=subprocess.DEVNULL,
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.await_status("replica2", "DOWN")
        self.await_status("replica1", "UP")
        kinds = [(kind, stream) for kind, stream, _ in replicas[0].requests]
        self.assertEqual(kinds, [(SETTINGS, 0), (HEADERS, 1), (DATA, 1)])
        self.assertIn(b"\x04\x1c/grpc.health.v1.Health/Check", replicas[0].requests[1][2])
        self.assertIn(b"\x10application/grpc", replicas[0].requests[1][2])
        self.assertEqual(replicas[0].requests[2][2], bytes(5))

        replicas[0].status, replicas[1].status = NOT_SERVING, SERVING
        self.await_status("replica1", "DOWN")
        self.await_status("replica2", "UP")
        self.command("set server replicas/replica2 state drain")
        self.await_status("replica2", "DRAIN")
        self.command("set server replicas/replica2 state ready")
        self.await_status("replica2", "UP")


if __name__ == "__main__":
    sys.exit(unittest.main())
