"""Calls to both services, written as coroutines once. Over blocking gRPC they never wait, so that a
thread runs them in one step; over grpc.aio they are asyncio's.
"""

import asyncio
import os
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Mapping
from pathlib import Path
from typing import Any, TypedDict, TypeVar, cast

import grpc
import grpc.aio

from kvasir.errors import KvasirError
from kvasir.v1 import model_pb2, model_pb2_grpc, tokenizer_pb2, tokenizer_pb2_grpc

_CHANNEL = [
    # How often we try is said in one place, not by the channel as well.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 5_000),
    # A server whose machine is gone is noticed while it is silent.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
]
_STUBS: Any = (model_pb2_grpc.ModelServiceStub, tokenizer_pb2_grpc.TokenizerServiceStub)

T = TypeVar("T")


class ConnectionOptions(TypedDict, total=False):
    """The key is KVASIR_API_KEY's where none is given; files are in PEM, with `tls_ca` all goes over
    TLS; a service that is away is waited for `retry_for` seconds, 30 where nothing is said.
    """

    api_key: str | None
    tls_ca: str | None
    tls_cert: str | None
    tls_key: str | None
    retry_for: float


def refuse_unknown(options: Mapping[str, object], known: type) -> None:
    for name in options.keys() - known.__annotations__.keys():
        raise TypeError(f"got an unexpected keyword argument '{name}'")


class Connection:
    def __init__(
        self, waits: bool, address: str, tokenizer: str, options: ConnectionOptions
    ) -> None:
        refuse_unknown(options, ConnectionOptions)
        self._waits, self.retry_for = waits, options.get("retry_for", 30.0)
        key = options.get("api_key")
        key = os.environ.get("KVASIR_API_KEY") if key is None else key
        self._metadata = [("authorization", f"Bearer {key}")] if key else []
        files = (options.get("tls_ca"), options.get("tls_key"), options.get("tls_cert"))
        pem = [Path(file).read_bytes() if file else None for file in files]
        credentials = grpc.ssl_channel_credentials(*pem) if files[0] else None
        library: Any = grpc.aio if waits else grpc
        self._channels, self._stubs = list[Any](), list[Any]()
        for stub, at, mib in zip(_STUBS, (address, tokenizer), (16, 64), strict=True):
            limits = ("grpc.max_receive_message_length", "grpc.max_send_message_length")
            settings = [*_CHANNEL, *((limit, mib << 20) for limit in limits)]
            self._channels.append(
                library.secure_channel(at, credentials, settings)
                if credentials
                else library.insecure_channel(at, settings)
            )
            self._stubs.append(stub(self._channels[-1]))

    async def close(self) -> None:
        for channel in self._channels:
            closed = channel.close()
            if self._waits:
                await closed

    async def sleep(self, seconds: float) -> None:
        if self._waits:
            await asyncio.sleep(seconds)
        else:
            time.sleep(seconds)

    async def call(self, method: str, **fields: Any) -> Any:
        """The response; of ReadSession, all ids."""
        if method == "ReadSession":
            return [token async for part in self.stream(method, **fields) for token in part.ids]
        try:
            response = self._begin(method, fields)
            return await response if self._waits else response
        except grpc.RpcError as error:
            raise _error(error) from error

    async def stream(self, method: str, **fields: Any) -> AsyncGenerator[Any, None]:
        call = self._begin(method, fields)
        try:
            end = grpc.aio.EOF
            while (message := await call.read() if self._waits else next(call, end)) is not end:
                yield message
        except grpc.RpcError as error:
            raise _error(error) from error
        finally:  # also where nobody wants to hear the rest
            call.cancel()

    def _begin(self, method: str, fields: dict[str, Any]) -> Any:
        ours = hasattr(self._stubs[0], method)
        messages, stub = (model_pb2, self._stubs[0]) if ours else (tokenizer_pb2, self._stubs[1])
        # By it a proxy sends a session's calls to one server; a fork's goes where it will live.
        session = fields.get("new_session_id") or fields.get("session_id", "")
        named = session and session.isascii() and session.isprintable()
        header = [("kvasir-session", session)] if named else []
        request = getattr(messages, f"{method}Request")(**fields)
        return getattr(stub, method)(request, metadata=[*self._metadata, *header])


class Retries:
    """An outage begins with a failed call and ends with the next that succeeds; waits in it grow."""

    def __init__(self, connection: Connection) -> None:
        self.connection, self.budget = connection, connection.retry_for
        self.repeated = False  # the last call was, so one that failed may have been carried out
        self._begin: float | None = None

    def progress(self) -> None:
        self._begin = None

    async def again(self, failure: KvasirError) -> None:
        """Waits before the next try; where it would come too late, `failure` is raised."""
        self._begin = self._begin or time.monotonic()
        waited = time.monotonic() - self._begin
        if waited + failure.retry_after >= self.budget:
            self._begin, failure.given_up = None, True
            failure.add_note(f"given up after {self.budget:g} s")
            raise failure
        wait = random.uniform(0.5, 1) * min(2, 0.1 + waited)
        await self.connection.sleep(min(max(failure.retry_after, wait), self.budget - waited))

    async def call(self, method: str, **fields: Any) -> Any:
        """Repeats the call while the service cannot be reached."""
        self.repeated = False
        while True:
            try:
                response = await self.connection.call(method, **fields)
            except KvasirError as failure:
                if not failure.transient:
                    raise
                await self.again(failure)
                self.repeated = True
            else:
                self.progress()
                return response


def _error(error: grpc.RpcError) -> KvasirError:
    trailers: Any = error.trailing_metadata() or ()
    details = (value for key, value in trailers if key == "grpc-status-details-bin")
    return KvasirError.of(error.code(), error.details() or "", next(details, b""))


def run(steps: Awaitable[T]) -> T:
    """Of a connection that does not wait: it is done after one step."""
    try:
        next(steps.__await__())
    except StopIteration as end:
        return cast(T, end.value)
    raise AssertionError("a blocking call waits")
