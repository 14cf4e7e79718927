"""/healthz and /readyz of real programs: while they load, serve, drain and miss their store."""

import contextlib
import ctypes
import fcntl
import os
import shutil
import signal
import threading
import unittest
from collections.abc import Iterator
from pathlib import Path

import grpc

from services import ROOT, Program, ServiceTest, free_port, generate, model_pb2, wait_for

SECRET = "an-unguessable-password"


@contextlib.contextmanager
def leased(path: Path) -> Iterator[None]:
    """Whoever opens the file meanwhile waits (fcntl(2), leases)."""
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)  # tells that somebody waits
    with path.open("rb+") as file:
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        try:
            yield
        finally:
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
            signal.signal(signal.SIGIO, before)


@contextlib.contextmanager
def stopped(thread: int) -> Iterator[None]:
    """Stops one thread of another process (ptrace(2))."""
    library = ctypes.CDLL(None, use_errno=True)
    library.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]

    def ptrace(request: int) -> None:
        if library.ptrace(request, thread, None, None) != 0:
            raise OSError(ctypes.get_errno(), "ptrace")

    attach, detach = 16, 17
    ptrace(attach)
    os.waitpid(thread, 0x40000000)  # __WALL
    try:
        yield
    finally:
        ptrace(detach)


class ProbesTest(ServiceTest):
    def test_not_ready_while_it_loads(self) -> None:
        for name, file in (("kvasir-model", "config.json"), ("kvasir-tokenizer", "tokenizer.json")):
            folder = self.folder()
            for path in (ROOT / "models/tiny").iterdir():
                shutil.copyfile(path, folder / path.name)
            with leased(folder / file):
                program = self.start(name, f"--model={folder}")
                self.assertEqual(program.get("/readyz"), (503, "loading\n"))
                self.assertEqual(program.get("/healthz"), (200, "ok\n"))
                self.assertIn("process_resident_memory_bytes", program.get("/metrics")[1])
            program.serve()
            self.assertEqual(program.get("/readyz"), (200, "ok\n"))
            self.assertEqual(program.get("/healthz"), (200, "ok\n"))

    def test_not_ready_while_it_drains(self) -> None:
        program = self.start("kvasir-model").serve()
        # More than fits between its server and a client that does not read.
        call = program.model.Generate(
            model_pb2.GenerateRequest(
                input_ids=[1, 2, 3], max_new_tokens=2000, ignore_eos=True, top_logprobs=20
            )
        )
        next(call)
        program.process.send_signal(signal.SIGTERM)
        wait_for(lambda: program.get("/readyz") == (503, "draining\n"), "draining")
        self.assertEqual(program.get("/healthz"), (200, "ok\n"))
        with self.assert_code(grpc.StatusCode.UNAVAILABLE):
            program.model.GetModelInfo(model_pb2.GetModelInfoRequest())
        self.assertEqual(sum(len(event.chunk.ids) for event in call), 2000)
        self.assertEqual(program.stop(), 0)

    def test_unhealthy_while_the_engine_hangs(self) -> None:
        program = self.start("kvasir-model", "--watchdog=1").serve()
        threads = Path(f"/proc/{program.process.pid}/task").iterdir()
        engine = next(each for each in threads if (each / "comm").read_text() == "engine\n")
        with stopped(int(engine.name)):
            wait_for(lambda: program.get("/healthz")[0] == 503, "unhealthy")
            self.assertIn("no sign of the engine", program.get("/healthz")[1])
            self.assertGreater(program.metric("kvasir_engine_silent_seconds"), 1)
        wait_for(lambda: program.get("/healthz") == (200, "ok\n"), "healthy again")

    def test_not_ready_without_its_store(self) -> None:
        port = free_port()
        folder = self.folder()
        redis = self.start_redis(folder, port, "--requirepass", SECRET)
        program = self.start(
            "kvasir-model",
            f"--session-store=redis://:{SECRET}@127.0.0.1:{port}/0",
            "--advertise=a-replica:50052",
        ).serve()
        generate(program, session_id="s", input_ids=[1, 2, 3], create_if_missing=True)
        self.assertEqual(program.get("/readyz"), (200, "ok\n"))
        self.assertEqual(program.metric("kvasir_session_store_reachable"), 1)

        redis.kill()
        redis.wait()
        # Whoever needs the store finds out, if the engine's own visits to it have not.
        self.assertEqual(self.ask_for_another(program), grpc.StatusCode.UNAVAILABLE)
        self.assertEqual(program.get("/readyz"), (503, "the session store cannot be reached\n"))
        self.assertEqual(program.get("/healthz"), (200, "ok\n"))
        self.assertEqual(program.metric("kvasir_session_store_reachable"), 0)

        self.start_redis(folder, port, "--requirepass", SECRET)
        not_found = grpc.StatusCode.NOT_FOUND
        wait_for(lambda: self.ask_for_another(program) == not_found, "the store again")
        self.assertEqual(program.get("/readyz"), (200, "ok\n"))
        self.assertNotIn(SECRET, program.log() + program.get("/metrics")[1])

    @staticmethod
    def ask_for_another(program: Program) -> grpc.StatusCode:
        try:
            program.model.GetSession(model_pb2.GetSessionRequest(session_id="another"))
        except grpc.RpcError as error:
            return error.code()
        return grpc.StatusCode.OK

    def test_many_probes_at_once(self) -> None:
        program = self.start("kvasir-tokenizer").serve()
        answers: list[tuple[int, str]] = []
        threads = [
            threading.Thread(target=lambda: answers.append(program.get("/healthz")))
            for _ in range(50)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(answers, [(200, "ok\n")] * 50)


if __name__ == "__main__":
    unittest.main()
