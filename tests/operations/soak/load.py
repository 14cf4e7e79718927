"""Who uses the services during a soak, and who misuses them."""

import itertools
import math
import random
import socket
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import grpc

from client import Client, RefusedError, leave_after, open_channel, read_slowly, some_ids
from conversation import Conversation, LostError
from fleet import KEYS, Fleet
from ledger import Ledger
from services import model_pb2, tokenizer_pb2, tokenizer_pb2_grpc

SESSIONS = 6  # that a talker keeps
LENGTH = 700  # tokens; a longer session is cut or deleted
VOCABULARY = 1536


class Person(threading.Thread):
    """Does one thing after the other until told to stop."""

    def __init__(self, name: str, ledger: Ledger, seed: int, stop: threading.Event) -> None:
        super().__init__(name=name, daemon=True)
        self.ledger, self.stop_ = ledger, stop
        self.random = random.Random(f"{name} {seed}")
        self.done: Counter[str] = Counter()

    def pause(self) -> float:
        return self.random.uniform(0, 0.06)

    def act(self) -> None:
        raise NotImplementedError

    def run(self) -> None:
        while not self.stop_.wait(self.pause()):
            try:
                self.act()
            except (LostError, RefusedError) as error:
                self.ledger.fail(f"{self.name}: {error}")
                return
            except Exception as error:
                self.ledger.fail(f"{self.name}: {error!r}")
                raise


class Talker(Person):
    """Leads a few conversations, in every way that there is."""

    def __init__(
        self, name: str, client: Client, fleet: Fleet, seed: int, stop: threading.Event
    ) -> None:
        super().__init__(name, client.ledger, seed, stop)
        self.client, self.fleet = client, fleet
        self.numbers = itertools.count()
        self.conversations: list[Conversation] = []
        self.forked: set[str] = set()

    def act(self) -> None:
        if len(self.conversations) < 2:
            self.create()
            return
        conversation = self.random.choice(self.conversations)
        ways: dict[Callable[[Conversation], Any], float] = {
            self.talk: 60,
            self.leave: 8,
            self.read_slowly: 0.7,
            self.die: 0.5,
            self.fork: 6,
            self.cut: 5,
            self.delete: 3,
            self.check: 4,
            self.list_: 2,
            self.one_shot: 6,
        }
        if len(conversation.ids) > LENGTH:
            ways = {self.cut: 2, self.delete: 1}
        (way,) = self.random.choices(list(ways), list(ways.values()))
        way(conversation)
        self.done[way.__name__] += 1

    def new_id(self) -> str:
        return f"{self.name}-{next(self.numbers)}"

    def keep(self, conversation: Conversation) -> None:
        self.conversations.append(conversation)
        if len(self.conversations) > SESSIONS:
            self.delete(self.conversations[0])

    def create(self) -> None:
        conversation = Conversation(self.client, self.new_id(), self.random, self.faults)
        conversation.create()
        self.done["create"] += 1
        self.keep(conversation)

    def faults(self) -> list[tuple[float, float]]:
        return self.fleet.faults

    def talk(self, conversation: Conversation) -> None:
        fields: dict[str, Any] = {}
        if self.random.random() < 0.1:
            fields["top_logprobs"] = self.random.randrange(0, 6)
        if self.random.random() < 0.05:
            fields["prompt_logprobs"] = True
        conversation.turn(self.random.randrange(1, 60), **fields)

    def leave(self, conversation: Conversation) -> None:
        conversation.turn(300, leave_after(self.random.randrange(2, 12)))

    def read_slowly(self, conversation: Conversation) -> None:
        # Messages large enough to fill what lies between the engine and the client.
        conversation.turn(600, read_slowly(self.random.uniform(1, 4)), top_logprobs=20)

    def die(self, conversation: Conversation) -> None:
        conversation.turn(300, die_after=self.random.randrange(2, 12))

    def fork(self, conversation: Conversation) -> None:
        child = conversation.fork(self.new_id())
        self.forked.add(child.id)
        self.keep(child)

    def cut(self, conversation: Conversation) -> None:
        conversation.truncate()

    def delete(self, conversation: Conversation) -> None:
        conversation.delete()
        self.conversations.remove(conversation)

    def check(self, conversation: Conversation) -> None:
        conversation.check()

    def list_(self, _: Conversation) -> None:
        self.call("ListSessions", model_pb2.ListSessionsRequest(page_size=5))
        self.call("GetModelInfo", model_pb2.GetModelInfoRequest())

    def call(self, method: str, request: Any) -> None:
        try:
            self.client.call(method, request)
        except RefusedError as refused:
            if not refused.passes():
                raise

    def one_shot(self, _: Conversation) -> None:
        request = model_pb2.GenerateRequest(
            input_ids=some_ids(self.random, 20), max_new_tokens=20, ignore_eos=True
        )
        refused = self.client.generate(request).refused
        if refused is not None and not refused.passes():
            raise refused


class Misuser(Person):
    """Calls that must be refused, each for its reason; and bytes that are no calls."""

    def __init__(self, client: Client, fleet: Fleet, seed: int, stop: threading.Event) -> None:
        super().__init__("misuser", client.ledger, seed, stop)
        self.client, self.fleet = client, fleet
        self.channel = open_channel(fleet.proxy_address)
        self.stranger = Client(client.ledger, self.channel, "", "no-key-of-theirs")

    def pause(self) -> float:
        return self.random.uniform(0.1, 0.5)

    def act(self) -> None:
        if self.random.random() < 0.4:
            self.send_garbage()
            self.done["garbage"] += 1
            return
        way = self.random.choice([self.wrong_fields, self.unknown, self.no_key, self.too_much])
        method, request, code = way()
        client = self.stranger if code == "UNAUTHENTICATED" else self.client
        try:
            client.call(method, request)
        except RefusedError as refused:
            if refused.code != code and not refused.passes():
                self.ledger.fail(f"misuse: {code} expected, not {refused}")
        else:
            self.ledger.fail(f"misuse: {code} expected, and it went well: {way.__name__}")
        self.done[code] += 1

    def wrong_fields(self) -> tuple[str, Any, str]:
        generate = model_pb2.GenerateRequest
        requests = [
            generate(input_ids=[1, VOCABULARY]),
            generate(session_id="a/b", input_ids=[1], create_if_missing=True),
            generate(session_id="a" * 1_000_000, input_ids=[1], create_if_missing=True),
            generate(input_ids=[1], request_id="r" * (15 << 20)),
            generate(input_ids=[1], sampling=model_pb2.SamplingParameters(temperature=math.nan)),
            generate(input_ids=[1], top_logprobs=21),
            generate(),
        ]
        if self.random.random() < 0.2:
            create = model_pb2.CreateSessionRequest(labels={"label": "v" * 5000})
            return "CreateSession", create, "INVALID_ARGUMENT"
        return "Generate", self.random.choice(requests), "INVALID_ARGUMENT"

    def unknown(self) -> tuple[str, Any, str]:
        method = self.random.choice(["Get", "Delete", "Truncate", "Fork", "Read"])
        request = getattr(model_pb2, f"{method}SessionRequest")(session_id="nobody-knows-it")
        if method == "Truncate":
            request.length = 1
        return f"{method}Session", request, "NOT_FOUND"

    def no_key(self) -> tuple[str, Any, str]:
        return "GetModelInfo", model_pb2.GetModelInfoRequest(), "UNAUTHENTICATED"

    def too_much(self) -> tuple[str, Any, str]:
        if self.random.random() < 0.5:  # more than the pool can hold
            request = model_pb2.GenerateRequest(input_ids=[1] * 20_000, max_new_tokens=1)
        else:  # more than a message may have
            request = model_pb2.GenerateRequest(input_ids=[1], request_id="r" * (17 << 20))
        return "Generate", request, "RESOURCE_EXHAUSTED"

    def close(self) -> None:
        self.channel.close()

    def send_garbage(self) -> None:
        ports = [self.fleet.proxy_address, *self.fleet.addresses]
        ports += [each.program.metrics for each in self.fleet.members() if each.program is not None]
        preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        garbage = [
            self.random.randbytes(self.random.randrange(1, 4000)),
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + self.random.randbytes(500),
            preface[: self.random.randrange(len(preface))],
            preface + self.random.randbytes(200),
            preface + b"\x00\xff\xff\x00\x00\x00\x00\x00\x00",
            b"",
        ]
        host, _, port = self.random.choice(ports).rpartition(":")
        try:
            with socket.create_connection((host, int(port)), 2) as connection:
                connection.sendall(self.random.choice(garbage))
                connection.settimeout(0.2)
                connection.recv(1000)
        except OSError:
            pass


class Writer(Person):
    """Uses the tokenizer, which must give back what it got."""

    def __init__(
        self, client: Client, channel: grpc.Channel, seed: int, stop: threading.Event
    ) -> None:
        super().__init__("writer", client.ledger, seed, stop)
        self.client = client
        self.tokenizer = tokenizer_pb2_grpc.TokenizerServiceStub(channel)

    def pause(self) -> float:
        return self.random.uniform(0, 0.1)

    def act(self) -> None:
        words = "Anna and the dragon went home, été 東京 🙂 once upon a time".split()
        text = " ".join(self.random.choices(words, k=self.random.randrange(1, 200)))
        ids = self.call("Encode", tokenizer_pb2.EncodeRequest(text=text)).ids
        decoded = self.call("Decode", tokenizer_pb2.DecodeRequest(ids=ids)).text
        if decoded != text:
            self.ledger.fail(f"writer: {decoded!r} for {text!r}")
        message = tokenizer_pb2.ChatMessage(role="user", content=text)
        template = tokenizer_pb2.ApplyChatTemplateRequest(messages=[message])
        self.call("ApplyChatTemplate", template)
        try:
            self.call("Decode", tokenizer_pb2.DecodeRequest(ids=[VOCABULARY]))
        except RefusedError as refused:
            if refused.code != "INVALID_ARGUMENT":
                raise
        else:
            self.ledger.fail("writer: an id outside the vocabulary was decoded")
        self.done["text"] += 1

    def call(self, method: str, request: Any) -> Any:
        return self.client.call(method, request, stub=self.tokenizer)


def gather(
    ledger: Ledger, fleet: Fleet, talkers: int, seed: int, stop: threading.Event
) -> tuple[list[Person], list[grpc.Channel]]:
    """`talkers` of each tenant, a misuser and a writer, and the channels that they use."""
    Client.address = fleet.proxy_address
    channels, people = [], []
    for tenant, key in KEYS.items():
        channels.append(open_channel(fleet.proxy_address))
        client = Client(ledger, channels[-1], tenant, key)
        people += [
            Talker(f"{tenant}-{number}", client, fleet, seed, stop) for number in range(talkers)
        ]
    tenant, key = next(iter(KEYS.items()))
    people.append(Misuser(Client(ledger, channels[0], tenant, key), fleet, seed, stop))
    channels.append(open_channel(fleet.tokenizer.program.address))
    writer = Client(ledger, channels[-1], tenant, key, ring=False)
    people.append(Writer(writer, channels[-1], seed, stop))
    return people, channels
