"""The services as whole programs, and calls to them from Python."""

import contextlib
import importlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(os.environ["KVASIR_BIN_DIR"])
PATIENCE = 30  # seconds


def _generated() -> tuple[ModuleType, ...]:
    folder = tempfile.mkdtemp()
    files = [str(path) for path in (ROOT / "proto/kvasir/v1").glob("*.proto")]
    includes = [f"-I{ROOT / 'proto'}", f"-I{Path(protoc.__file__).parent / '_proto'}"]
    outputs = [f"--python_out={folder}", f"--grpc_python_out={folder}"]
    if protoc.main(["protoc", *includes, *outputs, *files]) != 0:
        raise RuntimeError("protoc failed")
    sys.path.insert(0, folder)
    names = ["model_pb2", "model_pb2_grpc", "tokenizer_pb2", "tokenizer_pb2_grpc"]
    names += ["error_details_pb2"]
    return tuple(importlib.import_module(f"kvasir.v1.{name}") for name in names)


model_pb2, model_pb2_grpc, tokenizer_pb2, tokenizer_pb2_grpc, error_details_pb2 = _generated()


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    """What `condition` returns once it is true."""
    give_up = time.monotonic() + PATIENCE
    while not (result := condition()):
        if time.monotonic() > give_up:
            raise AssertionError(f"in vain for {PATIENCE} s: {what}")
        time.sleep(0.02)
    return result


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


# Takes an image's root and the folder of a volume; the rest is the command.
CONTAINER = """
set -e
mount --bind "$1" "$1"
mount -o remount,bind,ro "$1"
mount --rbind /proc "$1/proc"
mount --bind "$2" "$1/var/lib/kvasir/sessions"
shift 2
exec "$@"
"""


def in_container(image: Path, volume: Path) -> list[str]:
    """What starts a command as a container of an image would: with a root that is read-only, and as
    the images' user, where we may choose.
    """
    as_root = os.geteuid() == 0
    unshare = ["unshare", "--mount", *([] if as_root else ["--map-root-user"])]
    chroot = ["chroot", *(["--userspec=10001:10001"] if as_root else []), str(image)]
    return [*unshare, "sh", "-c", CONTAINER, "sh", str(image), str(volume), *chroot]


class Program:
    """A service on free ports of loopback, with metrics where it is `measured`; with `container`,
    started by that."""

    def __init__(
        self,
        name: str,
        *flags: str,
        stderr: int | None = None,
        container: list[str] | None = None,
        listen: str = "127.0.0.1:0",
        measured: bool = True,
        **environment: str,
    ) -> None:
        command = [*container, f"/usr/local/bin/{name}"] if container else [str(BIN / name)]
        metrics = ["--metrics=127.0.0.1:0"] if measured else []
        self.folder = tempfile.TemporaryDirectory()
        self.log_path = Path(self.folder.name, "stderr")
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, f"--listen={listen}", *metrics, *flags],
                stdout=subprocess.PIPE,
                stderr=log if stderr is None else stderr,
                text=True,
                env=os.environ | environment,
            )
        if measured:
            self.metrics = self.line("metrics on ")

    def line(self, prefix: str) -> str:
        """What follows `prefix` in the next line of stdout, which begins with it."""
        line = self.process.stdout.readline()
        if not line.startswith(prefix):
            raise AssertionError(f"{prefix!r} expected, not {line!r}: {self.log()}")
        return line[len(prefix) :].strip()

    def serve(self) -> "Program":
        """Waits until it serves."""
        self.address = self.line("listening on ")
        self.channel = grpc.insecure_channel(self.address)
        self.model = model_pb2_grpc.ModelServiceStub(self.channel)
        self.tokenizer = tokenizer_pb2_grpc.TokenizerServiceStub(self.channel)
        return self

    def log(self) -> str:
        return self.log_path.read_text()

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://{self.metrics}{path}", timeout=PATIENCE) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metric(self, series: str) -> float:
        """Of a series by the spelling of its line; nan where there is none."""
        found = re.search(rf"^{re.escape(series)} (\S+)$", self.get("/metrics")[1], re.MULTILINE)
        return float(found[1]) if found else float("nan")

    def stop(self) -> int:
        """Stops it and returns its exit code."""
        if hasattr(self, "channel"):
            self.channel.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(PATIENCE)
        finally:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()


class ServiceTest(unittest.TestCase):
    """Programs that end with their test."""

    def start(self, name: str, *flags: str, **options: Any) -> Program:
        program = Program(name, *flags, **options)
        self.addCleanup(program.folder.cleanup)
        self.addCleanup(program.stop)
        return program

    def folder(self) -> Path:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        return Path(folder.name)

    def start_redis(self, folder: Path, port: int, *flags: str) -> subprocess.Popen:
        """Redis with its log in `folder`; returns once it can be reached."""
        here = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder)]
        redis = subprocess.Popen(
            ["redis-server", *here, "--appendonly", "yes", *flags], stdout=subprocess.DEVNULL
        )
        self.addCleanup(redis.wait)
        self.addCleanup(redis.kill)

        def answers() -> bool:
            with socket.socket() as connection:
                return connection.connect_ex(("127.0.0.1", port)) == 0

        wait_for(answers, "redis-server")
        return redis

    @contextlib.contextmanager
    def assert_code(self, code: grpc.StatusCode) -> Iterator[None]:
        with self.assertRaises(grpc.RpcError) as raised:
            yield
        self.assertEqual(raised.exception.code(), code)


def generate(program: Program, metadata: tuple = (), **fields: Any) -> list[int]:
    """The ids that a Generate call brings; it ends by count alone."""
    fields = {"max_new_tokens": 5, "ignore_eos": True} | fields
    call = program.model.Generate(model_pb2.GenerateRequest(**fields), metadata=metadata)
    return [token for event in call for token in event.chunk.ids]
