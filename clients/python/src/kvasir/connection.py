"""Calls to both services. What a chat does is written once, as a plan; who waits, and how, is said
here: a thread, or an asyncio task.
"""

import os
import time
import types
from asyncio import sleep
from collections.abc import Generator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from kvasir.errors import KvasirError
from kvasir.v1 import model_pb2, tokenizer_pb2

_SERVICES = [
    model_pb2.DESCRIPTOR.services_by_name["ModelService"],
    tokenizer_pb2.DESCRIPTOR.services_by_name["TokenizerService"],
]
_METHODS = {method.name: method for service in _SERVICES for method in service.methods}


@dataclass(frozen=True)
class Call:
    """Wants the response; of a method that streams, what Next takes."""

    method: str
    request: Message

    @classmethod
    def of(cls, method: str, fields: dict[str, Any]) -> "Call":
        return cls(method, GetMessageClass(_METHODS[method].input_type)(**fields))


@dataclass(frozen=True)
class Next:
    """Wants the next message of a stream; None: it has ended."""

    stream: Any


@dataclass(frozen=True)
class Sleep:
    seconds: float


# It yields what it wants done, and pieces of text; a call that failed is raised in it.
T = TypeVar("T")
Plan = Generator[Call | Next | Sleep | str, Any, T]


class Connection:
    """`grpc_module`: grpc or grpc.aio. Files are in PEM; with `tls_ca` all goes over TLS."""

    def __init__(
        self,
        grpc_module: types.ModuleType,
        address: str,
        tokenizer: str,
        api_key: str | None = None,
        tls_ca: str | None = None,
        tls_cert: str | None = None,
        tls_key: str | None = None,
        retry_for: float = 30,
    ) -> None:
        key = os.environ.get("KVASIR_API_KEY", "") if api_key is None else api_key
        self._metadata = [("authorization", f"Bearer {key}")] if key else []
        self.retry_for = retry_for
        files = (Path(file).read_bytes() if file else None for file in (tls_ca, tls_key, tls_cert))
        credentials = grpc.ssl_channel_credentials(*files) if tls_ca else None
        self.channels = {}
        for service, at, mib in zip(_SERVICES, (address, tokenizer), (16, 64), strict=True):
            options = {
                "grpc.max_receive_message_length": mib << 20,
                "grpc.max_send_message_length": mib << 20,
                # How often we try is said in one place, not by the channel as well.
                "grpc.initial_reconnect_backoff_ms": 100,
                "grpc.max_reconnect_backoff_ms": 100,
                "grpc.min_reconnect_backoff_ms": 5_000,
                # A server whose machine is gone is noticed while it is silent.
                "grpc.keepalive_time_ms": 20_000,
                "grpc.keepalive_timeout_ms": 10_000,
            }.items()
            self.channels[service.full_name] = (
                grpc_module.secure_channel(at, credentials, options=list(options))
                if credentials
                else grpc_module.insecure_channel(at, options=list(options))
            )

    def begin(self, call: Call) -> Any:
        method, request = _METHODS[call.method], call.request
        service = method.containing_service.full_name
        channel = self.channels[service]
        form = channel.unary_stream if method.server_streaming else channel.unary_unary
        deserializer = GetMessageClass(method.output_type).FromString
        invoke = form(f"/{service}/{method.name}", type(request).SerializeToString, deserializer)
        # By it a proxy sends a session's calls to one server; a fork's goes where it will live.
        session = getattr(request, "new_session_id", "") or getattr(request, "session_id", "")
        named = session and session.isascii() and session.isprintable()
        header = [("kvasir-session", session)] if named else []
        return invoke(request, metadata=[*self._metadata, *header])


def _error(error: grpc.RpcError) -> KvasirError:
    trailers: Any = error.trailing_metadata() or ()
    details = (value for key, value in trailers if key == "grpc-status-details-bin")
    return KvasirError.of(error.code(), error.details() or "", next(details, b""))


def advance(connection: Connection, plan: Plan[None]) -> str | None:
    """Until the plan says something: this is it; None: the plan is done."""
    step = partial(plan.send, None)
    while True:
        try:
            want = step()
        except StopIteration:
            return None
        try:
            if isinstance(want, str):
                return want
            if isinstance(want, Sleep):
                time.sleep(want.seconds)
                step = partial(plan.send, None)
            elif isinstance(want, Next):
                step = partial(plan.send, next(want.stream, None))
            else:
                step = partial(plan.send, connection.begin(want))
        except grpc.RpcError as error:
            step = partial(plan.throw, _error(error))


async def advance_async(connection: Connection, plan: Plan[None]) -> str | None:
    """The same where waiting is asyncio's."""
    step = partial(plan.send, None)
    while True:
        try:
            want = step()
        except StopIteration:
            return None
        try:
            if isinstance(want, str):
                return want
            if isinstance(want, Sleep):
                await sleep(want.seconds)
                step = partial(plan.send, None)
            elif isinstance(want, Next):
                response = await want.stream.read()
                step = partial(plan.send, None if response is grpc.aio.EOF else response)
            else:
                call = connection.begin(want)
                streams = _METHODS[want.method].server_streaming
                step = partial(plan.send, call if streams else await call)
        except grpc.RpcError as error:
            step = partial(plan.throw, _error(error))
