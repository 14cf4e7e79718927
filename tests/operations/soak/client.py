"""A client that keeps books."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from ledger import Attempt, Ledger
from services import error_details_pb2, model_pb2, model_pb2_grpc

GENERATED = str(Path(model_pb2.__file__).parents[2])
DEADLINE = 60  # seconds, of a call
MAX_MESSAGE = 64 << 20
FINISH = {
    model_pb2.FINISH_REASON_STOP_TOKEN: "stop_token",
    model_pb2.FINISH_REASON_MAX_NEW_TOKENS: "max_new_tokens",
    model_pb2.FINISH_REASON_MAX_CONTEXT: "max_context",
}


def open_channel(address: str) -> grpc.Channel:
    return grpc.insecure_channel(
        address,
        options=[
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1000),
            ("grpc.max_send_message_length", MAX_MESSAGE),
        ],
    )


def reason_of(error: grpc.RpcError) -> str:
    """The API's reason; empty where no service of ours has spoken."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            status = error_details_pb2.RpcStatus.FromString(value)
            for detail in status.details:
                if detail.type_url.endswith("google.rpc.ErrorInfo"):
                    return error_details_pb2.ErrorInfo.FromString(detail.value).reason
    return ""


class RefusedError(Exception):
    """A call that did not end with OK."""

    def __init__(self, error: grpc.RpcError) -> None:
        super().__init__(f"{error.code().name} {reason_of(error)}: {error.details()}")
        self.code = error.code().name
        self.reason = reason_of(error)

    def told(self) -> bool:
        return bool(self.reason) or self.code == "UNAUTHENTICATED"

    def passes(self) -> bool:
        """Whether a replica, the proxy, the store or the line may have failed."""
        if self.code == "UNAVAILABLE" or self.reason in ("SESSION_BUSY", "LEASE_LOST"):
            return True
        return not self.told() and self.code in ("CANCELLED", "UNKNOWN", "INTERNAL")


@dataclass
class Outcome:
    """What a Generate call brought."""

    attempt: Attempt
    ids: list[int] = field(default_factory=list)
    complete: model_pb2.GenerateComplete | None = None
    refused: RefusedError | None = None
    left: bool = False  # by the client, before its end


# Goes through a call's messages; leaves it by not taking all of them.
Reader = Callable[[Iterator[model_pb2.GenerateResponse]], Iterator[model_pb2.GenerateResponse]]


def read_all(events: Iterator[Any]) -> Iterator[Any]:
    return events


def leave_after(messages: int) -> Reader:
    def read(events: Iterator[Any]) -> Iterator[Any]:
        for _, event in zip(range(messages), events, strict=False):
            yield event

    return read


def read_slowly(rest: float) -> Reader:
    def read(events: Iterator[Any]) -> Iterator[Any]:
        yield next(events)
        time.sleep(rest)
        yield from events

    return read


class Client:
    """One tenant's, through the proxy unless `ring` says that it goes to one replica."""

    def __init__(
        self, ledger: Ledger, channel: grpc.Channel, tenant: str, key: str, *, ring: bool = True
    ) -> None:
        self.ledger, self.tenant, self.key, self.ring = ledger, tenant, key, ring
        self.model = model_pb2_grpc.ModelServiceStub(channel)

    def metadata(self, session: str) -> list[tuple[str, str]]:
        return [("authorization", f"Bearer {self.key}"), ("kvasir-session", session)]

    def begin(self, method: str, session: str) -> Attempt:
        attempt = Attempt(method, self.tenant, session, time.monotonic(), ring=self.ring)
        return self.ledger.begin(attempt)

    def call(self, method: str, request: Any, session: str = "", stub: Any = None) -> Any:
        """A unary RPC's response, or a stream's messages as a list; raises RefusedError."""
        attempt = self.begin(method, session)
        try:
            answer = getattr(stub or self.model, method)(
                request, metadata=self.metadata(session), timeout=DEADLINE
            )
            if isinstance(answer, grpc.Call):
                answer = list(answer)
            attempt.code, attempt.told = "OK", True
            return answer
        except grpc.RpcError as error:
            refused = RefusedError(error)
            attempt.code, attempt.told = refused.code, refused.told()
            raise refused from None
        finally:
            attempt.ended = time.monotonic()

    def generate(self, request: model_pb2.GenerateRequest, read: Reader = read_all) -> Outcome:
        outcome = Outcome(self.begin("Generate", request.session_id))
        attempt = outcome.attempt
        attempt.most_tokens = request.max_new_tokens
        call = self.model.Generate(
            request, metadata=self.metadata(request.session_id), timeout=DEADLINE
        )
        try:
            for event in read(iter(call)):
                attempt.arrived = True
                outcome.ids.extend(event.chunk.ids)
                if event.HasField("complete"):
                    outcome.complete = event.complete
            if outcome.complete is None:
                call.cancel()
                outcome.left = True
            else:
                list(call)  # the status
        except grpc.RpcError as error:
            outcome.refused = RefusedError(error)
        attempt.ended = time.monotonic()
        self.settle_books(outcome)
        return outcome

    def generate_and_die(self, request: model_pb2.GenerateRequest, messages: int) -> Outcome:
        """In a process that is killed when it has said so many."""
        outcome = Outcome(self.begin("Generate", request.session_id), left=True)
        outcome.attempt.most_tokens = request.max_new_tokens
        paths = os.pathsep.join([GENERATED, str(Path(__file__).parent)])
        process = subprocess.Popen(
            [sys.executable, "-B", str(Path(__file__).with_name("mortal_client.py")), self.address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": paths, "KVASIR_API_KEY": self.key},
        )
        with process:
            process.stdin.write(request.SerializeToString())
            process.stdin.close()
            for number, line in enumerate(process.stdout, start=1):
                outcome.attempt.arrived = True
                outcome.ids.extend(int(word) for word in line.split())
                if number == messages:
                    process.kill()
        outcome.attempt.ended = time.monotonic()
        self.settle_books(outcome)
        return outcome

    address = ""  # of the proxy, for processes of their own

    def settle_books(self, outcome: Outcome) -> None:
        attempt = outcome.attempt
        attempt.least_tokens = len(outcome.ids)
        with self.ledger.lock:
            self.ledger.tokens_received += len(outcome.ids)
        if outcome.complete is not None:
            attempt.finish = FINISH.get(outcome.complete.finish_reason, "")
            attempt.least_tokens = attempt.most_tokens = outcome.complete.usage.generated_tokens
        if outcome.refused is not None:
            attempt.code, attempt.told = outcome.refused.code, outcome.refused.told()
        elif outcome.complete is not None:
            attempt.code, attempt.told = "OK", True


def some_ids(random_: random.Random, count: int) -> list[int]:
    return [random_.randrange(1, 1500) for _ in range(count)]
