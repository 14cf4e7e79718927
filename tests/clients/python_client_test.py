"""clients/python against live services: run by scripts/with_services.sh, with the wheel on the path."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from kvasir import (
    AsyncKvasir,
    InvalidRequestError,
    Kvasir,
    KvasirError,
    SamplingParameters,
    SessionConflictError,
    SessionNotFoundError,
    UnauthenticatedError,
    UnavailableError,
)
from kvasir.v1 import model_pb2, model_pb2_grpc, tokenizer_pb2, tokenizer_pb2_grpc

ROOT = Path(__file__).resolve().parents[2]
MODEL = os.environ["KVASIR_MODEL_ADDRESS"]
TOKENIZER = os.environ["KVASIR_TOKENIZER_ADDRESS"]
KEY = "a-key-of-the-python-test"
GREEDY = SamplingParameters(temperature=0)
# Answers that nothing but their length ends.
ENDLESS = SamplingParameters(seed=7, logit_bias={1533: -100, 1535: -100})
LONG = 1500


def connect(**options: Any) -> Kvasir:
    return Kvasir(MODEL, tokenizer=TOKENIZER, **options)


def kill_model() -> None:
    """It is started again under its address, on the same store."""
    os.kill(int(Path(os.environ["KVASIR_MODEL_PID_FILE"]).read_text()), signal.SIGKILL)


def session_ids(session_id: str) -> list[int]:
    with grpc.insecure_channel(MODEL) as channel:
        request = model_pb2.ReadSessionRequest(session_id=session_id)
        parts = model_pb2_grpc.ModelServiceStub(channel).ReadSession(request)
        return [token for part in parts for token in part.ids]


class ChatTest(unittest.TestCase):
    def test_each_turn_sends_only_what_is_new(self) -> None:
        with connect() as client, client.chat("Be brief.", sampling=GREEDY) as chat:
            lengths = [chat.length]
            for question in ("My name is Ada.", "I have three cats.", "What is my name?"):
                answer = "".join(chat.send(question))
                usage = chat.last.usage
                lengths.append(chat.length)
                self.assertEqual(
                    usage.input_tokens + usage.generated_tokens, lengths[-1] - lengths[-2]
                )
                self.assertEqual(chat.last.session_length, chat.length)
                self.assertLess(usage.input_tokens, 40)
                self.assertGreaterEqual(usage.cached_tokens, max(0, lengths[-2] - 1))
            self.assertIn("Ada", answer)
            chat.delete()
            with self.assertRaises(SessionNotFoundError):
                chat.delete()

    def test_pieces_come_before_the_end(self) -> None:
        with connect() as client, client.chat(sampling=ENDLESS, max_new_tokens=100) as chat:
            pieces = list(chat.send("Tell me of the sea."))
            self.assertGreater(len(pieces), 10)
            self.assertNotIn("\N{REPLACEMENT CHARACTER}", "".join(pieces))

    def test_a_fork_goes_its_own_way(self) -> None:
        with connect() as client, client.chat(sampling=GREEDY) as chat:
            "".join(chat.send("My name is Ada."))
            fork = chat.fork()
            self.assertNotEqual(fork.session_id, chat.session_id)
            "".join(chat.send("I live in Rome."))
            length = chat.length
            self.assertIn("Ada", "".join(fork.send("What is my name?")))
            self.assertLess(fork.last.usage.input_tokens, 40)
            self.assertEqual(chat.length, length)
            self.assertIn("Ada", "".join(chat.send("What is my name?")))

    def test_rewind_takes_turns_back(self) -> None:
        with connect() as client, client.chat(sampling=GREEDY) as chat:
            first = "".join(chat.send("My name is Ada."))
            second, length = "".join(chat.send("What is my name?")), chat.length
            chat.rewind()
            self.assertEqual("".join(chat.send("What is my name?")), second)
            self.assertEqual(chat.length, length)
            chat.rewind(turns=2)
            self.assertEqual("".join(chat.send("My name is Ada.")), first)
            for turns in (0, 2):
                with self.assertRaisesRegex(ValueError, "turns"):
                    chat.rewind(turns)

    def test_another_client_resumes_the_session(self) -> None:
        with connect() as client, client.chat(sampling=GREEDY) as chat:
            "".join(chat.send("My name is Ada."))
        with connect() as client, client.resume(chat.session_id, sampling=GREEDY) as again:
            self.assertEqual(again.length, chat.length)
            self.assertIn("Ada", "".join(again.send("What is my name?")))
            self.assertLess(again.last.usage.input_tokens, 40)
            with again.resume(chat.session_id) as third:
                self.assertEqual(third.length, again.length)

    def test_an_answer_that_is_left_stays_as_far_as_it_was_heard(self) -> None:
        with connect() as client, client.chat(sampling=ENDLESS, max_new_tokens=LONG) as chat:
            answer = chat.send("Tell me of the sea.")
            heard = "".join(next(answer) for _ in range(5))
            fork = chat.fork()  # while `answer` still waits to be read
            self.assertEqual(list(answer), [])
            self.assertEqual(self.answer_in(fork.session_id), heard)
            self.assertEqual(fork.length, chat.length)
            chat.rewind()
            self.assertEqual(chat.length, 0)
            for piece in chat.send("Tell me of the sea."):
                heard = piece
                break
        self.assertEqual(self.answer_in(chat.session_id), heard)

    def answer_in(self, session_id: str) -> str:
        ids = session_ids(session_id)
        with grpc.insecure_channel(TOKENIZER) as channel:
            stub = tokenizer_pb2_grpc.TokenizerServiceStub(channel)
            text = stub.Decode(tokenizer_pb2.DecodeRequest(ids=ids, skip_special_tokens=True)).text
        return text.rpartition("assistant\n")[2]

    def test_errors_have_types(self) -> None:
        with connect(retry_for=0) as client:
            with self.assertRaises(SessionNotFoundError) as raised, client.resume("nobody-s"):
                pass
            self.assertEqual(raised.exception.reason, "SESSION_NOT_FOUND")
            with client.chat(sampling=SamplingParameters(temperature=1e6)) as chat:
                with self.assertRaisesRegex(InvalidRequestError, "temperature") as raised:
                    "".join(chat.send("Hello"))
                self.assertEqual(chat.length, 0)
                "".join(chat.send("Hello", sampling=GREEDY))  # it goes on after an error
                with client.resume(chat.session_id) as other:
                    "".join(other.send("Hello"))
                with self.assertRaises(SessionConflictError) as raised:
                    "".join(chat.send("Are you there?", sampling=GREEDY))
                self.assertEqual(raised.exception.reason, "LENGTH_MISMATCH")
                self.assertEqual(raised.exception.metadata["session_length"], str(other.length))
        begin = time.monotonic()
        with (
            self.assertRaises(UnavailableError),
            Kvasir("127.0.0.1:1", retry_for=0.5) as nowhere,
            nowhere.chat(),
        ):
            pass
        self.assertLess(time.monotonic() - begin, 10)

    def test_an_option_that_there_is_not_is_refused(self) -> None:
        with self.assertRaisesRegex(TypeError, "tls_cafile"):
            connect(tls_cafile="ca.crt")  # else the key would go in plain text
        wrong: dict[str, Any] = {"max_tokens": 5}
        with connect() as client, self.assertRaisesRegex(TypeError, "max_tokens"):
            client.chat(**wrong)

    def test_it_works_where_an_event_loop_runs(self) -> None:
        async def notebook() -> str:
            with connect() as client, client.chat(sampling=GREEDY) as chat:
                next(chat.send("Tell me of the sea."))
                chat.rewind()
                return "".join(chat.send("My name is Ada."))

        self.assertIn("Ada", asyncio.run(notebook()))


class WayToModel:
    """A connection to the model service that can break, or swallow what the service says."""

    def __enter__(self) -> "WayToModel":
        self.silent, self._ends = False, list[socket.socket]()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:{1}".format(*self._listener.getsockname())
        threading.Thread(target=self._accept).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self.break_now()

    def break_now(self) -> None:
        while self._ends:
            with contextlib.suppress(OSError):
                self._ends.pop().shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        host, port = MODEL.rsplit(":", 1)
        with contextlib.suppress(OSError), self._listener:
            while True:
                client, _ = self._listener.accept()
                service = socket.create_connection((host, int(port)))
                self._ends += [client, service]
                threading.Thread(target=self._carry, args=(client, service, False)).start()
                threading.Thread(target=self._carry, args=(service, client, True)).start()

    def _carry(self, source: socket.socket, to: socket.socket, from_service: bool) -> None:
        with contextlib.suppress(OSError), source:
            while data := source.recv(65536):
                if not (self.silent and from_service):
                    to.sendall(data)
        with contextlib.suppress(OSError):
            to.shutdown(socket.SHUT_RDWR)


class BrokenTurnTest(unittest.TestCase):
    def test_a_killed_server_does_not_show_in_the_answer(self) -> None:
        with connect() as client, client.chat(sampling=ENDLESS, max_new_tokens=LONG) as chat:
            undisturbed = "".join(chat.send("Tell me of the sea."))
            self.assertTrue(chat.last.HasField("timing"))
            chat.rewind()
            answer = chat.send("Tell me of the sea.")
            pieces = [next(answer)]
            kill_model()
            pieces.extend(answer)
            self.assertEqual("".join(pieces), undisturbed)
            self.assertFalse(chat.last.HasField("timing"), "the turn was not broken")
            self.assertEqual(chat.last.usage.generated_tokens, LONG)
            self.assertEqual(len(session_ids(chat.session_id)), chat.length)
            self.assertEqual(chat.last.session_length, chat.length)

    def test_nor_does_a_connection_that_breaks(self) -> None:
        with (
            WayToModel() as way,
            Kvasir(way.address, TOKENIZER) as client,
            client.chat(sampling=ENDLESS, max_new_tokens=LONG) as chat,
        ):
            undisturbed = "".join(chat.send("Tell me of the sea."))
            chat.rewind()
            answer = chat.send("Tell me of the sea.")
            pieces = [next(answer)]
            way.break_now()
            pieces.extend(answer)
            self.assertEqual("".join(pieces), undisturbed)
            self.assertFalse(chat.last.HasField("timing"), "the turn was not broken")
            self.assertEqual(chat.last.usage.generated_tokens, LONG)
            self.assertEqual(len(session_ids(chat.session_id)), chat.length)

    def test_nor_does_an_answer_that_was_lost_whole(self) -> None:
        for sampling, limit in ((GREEDY, None), (ENDLESS, 40)):
            with (
                WayToModel() as way,
                Kvasir(way.address, TOKENIZER) as client,
                client.chat(sampling=sampling, max_new_tokens=limit) as chat,
            ):
                undisturbed = "".join(chat.send("My name is Ada."))
                reason, length = chat.last.finish_reason, chat.length
                chat.rewind()
                way.silent = True
                with ThreadPoolExecutor() as pool:
                    answer = pool.submit(lambda c: "".join(c.send("My name is Ada.")), chat)
                    while len(session_ids(chat.session_id)) < length and not answer.done():
                        time.sleep(0.01)
                    way.silent = False
                    way.break_now()
                    self.assertEqual(answer.result(), undisturbed)
                self.assertFalse(chat.last.HasField("timing"), "the turn was not broken")
                self.assertEqual(chat.last.finish_reason, reason)
                self.assertEqual(chat.last.session_length, length)
                self.assertEqual(len(session_ids(chat.session_id)), length)

    def test_nor_in_asyncio(self) -> None:
        async def tell(kill: bool) -> str:
            async with (
                AsyncKvasir(MODEL, tokenizer=TOKENIZER) as client,
                client.chat(sampling=ENDLESS, max_new_tokens=LONG) as chat,
            ):
                pieces = []
                async for piece in chat.send("Tell me of the sea."):
                    if kill and not pieces:
                        kill_model()
                    pieces.append(piece)
                self.assertEqual(chat.last.HasField("timing"), not kill)
                return "".join(pieces)

        self.assertEqual(asyncio.run(tell(kill=True)), asyncio.run(tell(kill=False)))


class AsyncChatTest(unittest.IsolatedAsyncioTestCase):
    async def test_does_what_the_other_does(self) -> None:
        async with AsyncKvasir(MODEL, tokenizer=TOKENIZER) as client:
            async with client.chat(sampling=GREEDY) as chat:
                first = "".join([piece async for piece in chat.send("My name is Ada.")])
                fork = await chat.fork()
                answers = await asyncio.gather(*map(self.name, (chat, fork)))
                self.assertEqual(answers[0], answers[1])
                self.assertIn("Ada", answers[0])
                await chat.rewind(turns=2)
                self.assertEqual("".join([p async for p in chat.send("My name is Ada.")]), first)
            async with client.resume(fork.session_id, sampling=GREEDY) as again:
                self.assertEqual(again.length, fork.length)
                self.assertIn("Ada", await self.name(again))
                await again.delete()
                with self.assertRaises(SessionNotFoundError):
                    async with again.resume(fork.session_id):
                        pass

    async def name(self, chat: Any) -> str:
        return "".join([piece async for piece in chat.send("What is my name?")])

    async def test_a_cancelled_task_leaves_a_whole_session(self) -> None:
        async with AsyncKvasir(MODEL, tokenizer=TOKENIZER) as client:
            chat = client.chat(sampling=ENDLESS, max_new_tokens=LONG)
            heard = asyncio.Event()

            async def listen() -> None:
                async for _ in chat.send("Tell me of the sea."):
                    heard.set()

            task = asyncio.create_task(listen())
            await heard.wait()
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await chat.rewind()
            self.assertEqual(session_ids(chat.session_id), [])


@contextlib.contextmanager
def service(name: str, *flags: str) -> Iterator[str]:
    """A service of a test's own; its address."""
    command = [ROOT / "build/release/bin" / name, "--listen=localhost:0", "--metrics=", *flags]
    environment = {k: v for k, v in os.environ.items() if k != "KVASIR_SESSION_STORE"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            if not line.startswith("listening on "):
                raise AssertionError(f"{name} did not start: {line}")
            yield "localhost:" + line.strip().rpartition(":")[2]
        finally:
            process.kill()


# Of older answers it shows the beginning only.
FORGETFUL = """{% for message in messages %}<|im_start|>{{ message.role }}
{% if message.role == 'assistant' and loop.index < messages|length - 1 %}{{ message.content[:9] }}
{%- else %}{{ message.content }}{% endif %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


class TemplateTest(unittest.TestCase):
    def test_the_session_is_the_rendering_also_where_it_rewrites_history(self) -> None:
        file = Path(self.enterContext(tempfile.TemporaryDirectory()), "template.jinja")
        file.write_text(FORGETFUL)
        tokenizer = self.enterContext(service("kvasir-tokenizer", f"--chat-template={file}"))
        stub = tokenizer_pb2_grpc.TokenizerServiceStub(grpc.insecure_channel(tokenizer))
        messages: list[dict[str, str]] = []
        with Kvasir(MODEL, tokenizer) as client, client.chat(sampling=GREEDY) as chat:
            for text in ("My name is Ada.", "I have three cats.", "I live in Rome.", "Who am I?"):
                answer = "".join(chat.send(text))
                messages.append({"role": "user", "content": text})
                rendered = stub.ApplyChatTemplate(
                    tokenizer_pb2.ApplyChatTemplateRequest(messages=messages)
                )
                ids = session_ids(chat.session_id)
                self.assertEqual(len(ids), chat.length)
                held = stub.Decode(tokenizer_pb2.DecodeRequest(ids=ids)).text
                self.assertEqual(held, f"{rendered.text}{answer}<|im_end|>")
                messages.append({"role": "assistant", "content": answer})


class SecuredTest(unittest.TestCase):
    def test_tls_and_a_key(self) -> None:
        folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        new = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.crt"
        subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
        subprocess.run(
            ["openssl", *new.split(), *subject], cwd=folder, check=True, capture_output=True
        )
        (folder / "keys").write_text(f"team {KEY}\n")
        flags = [
            f"--tls-cert={folder}/ca.crt",
            f"--tls-key={folder}/ca.key",
            f"--api-keys={folder}/keys",
        ]
        tokenizer = self.enterContext(service("kvasir-tokenizer", *flags))
        model = self.enterContext(service("kvasir-model", "--kv-memory=64MiB", *flags))
        trusted = {"tls_ca": f"{folder}/ca.crt", "retry_for": 0}

        with Kvasir(model, tokenizer, api_key=KEY, **trusted) as client, client.chat() as chat:
            self.assertNotEqual("".join(chat.send("Hello")), "")
        os.environ["KVASIR_API_KEY"] = KEY
        self.addCleanup(os.environ.pop, "KVASIR_API_KEY")
        with Kvasir(model, tokenizer, **trusted) as client, client.resume(chat.session_id) as again:
            self.assertEqual(again.length, chat.length)
        for key in ("", "another-key-of-nobody"):
            with (
                self.assertRaises(UnauthenticatedError),
                Kvasir(model, tokenizer, api_key=key, **trusted) as client,
                client.chat(),
            ):
                pass
        with (  # nobody answers in plain text
            self.assertRaises(KvasirError),
            Kvasir(model, tokenizer, api_key=KEY, retry_for=0) as client,
            client.chat(),
        ):
            pass


if __name__ == "__main__":
    unittest.main()
