"""The same twice: for threads, and for asyncio."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from types import ModuleType
from typing import Generic, Self, TypeVar

import grpc
import grpc.aio

from kvasir.chat import ChatPlans, Settings
from kvasir.connection import Connection, Plan, advance, advance_async
from kvasir.v1 import model_pb2


class _Chat:
    """One conversation, for one thread or task at a time; an answer that still runs ends when
    something else is asked of the chat. Its session is kept until delete().
    """

    def __init__(self, plans: ChatPlans) -> None:
        self._plans, self._connection = plans, plans.connection

    @property
    def session_id(self) -> str:
        return self._plans.session_id

    @property
    def length(self) -> int:
        """The session's tokens, as far as this chat knows."""
        return self._plans.conversation.length

    @property
    def last(self) -> model_pb2.GenerateComplete:
        """Of the last whole answer: how it ended, what it took; empty before the first."""
        return self._plans.last


class Chat(_Chat):
    def send(
        self, text: str, sampling: model_pb2.SamplingParameters | None = None
    ) -> Iterator[str]:
        """The answer, as it comes. Where it is not read to its end, the session keeps what was."""
        plan = self._plans.begin(self._plans.send(text, sampling))
        with closing(plan):
            while (piece := advance(self._connection, plan)) is not None:
                yield piece

    def rewind(self, turns: int = 1) -> None:
        """Takes the last turns back."""
        self._do(self._plans.rewind(turns))

    def fork(self) -> "Chat":
        """A chat with the same past, in a session of its own."""
        fork = self.resume("")
        self._do(self._plans.fork_into(fork._plans))
        return fork

    def resume(self, session_id: str) -> "Chat":
        """A chat with the same settings in another session that there is."""
        return Chat(self._plans.other(session_id))

    def delete(self) -> None:
        self._do(self._plans.delete())

    def _do(self, plan: Plan[None]) -> None:
        advance(self._connection, self._plans.begin(plan))

    def __enter__(self) -> Self:
        self._do(self._plans.ready())
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._plans.settled())


class AsyncChat(_Chat):
    async def send(
        self, text: str, sampling: model_pb2.SamplingParameters | None = None
    ) -> AsyncIterator[str]:
        plan = self._plans.begin(self._plans.send(text, sampling))
        with closing(plan):
            while (piece := await advance_async(self._connection, plan)) is not None:
                yield piece

    async def rewind(self, turns: int = 1) -> None:
        await self._do(self._plans.rewind(turns))

    async def fork(self) -> "AsyncChat":
        fork = self.resume("")
        await self._do(self._plans.fork_into(fork._plans))
        return fork

    def resume(self, session_id: str) -> "AsyncChat":
        return AsyncChat(self._plans.other(session_id))

    async def delete(self) -> None:
        await self._do(self._plans.delete())

    async def _do(self, plan: Plan[None]) -> None:
        await advance_async(self._connection, self._plans.begin(plan))

    async def __aenter__(self) -> Self:
        await self._do(self._plans.ready())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._do(self._plans.settled())


C = TypeVar("C", bound=_Chat)


class _Kvasir(Generic[C]):
    """Addresses are HOST:PORT. The API key is KVASIR_API_KEY's where none is given; files are in
    PEM, with `tls_ca` all goes over TLS; a service that is away is waited for `retry_for` seconds.
    """

    _grpc: ModuleType
    _chat: Callable[[ChatPlans], C]

    def __init__(
        self,
        address: str = "127.0.0.1:50052",
        tokenizer: str = "127.0.0.1:50051",
        *,
        api_key: str | None = None,
        tls_ca: str | None = None,
        tls_cert: str | None = None,
        tls_key: str | None = None,
        retry_for: float = 30,
    ) -> None:
        files = (tls_ca, tls_cert, tls_key)
        self._connection = Connection(self._grpc, address, tokenizer, api_key, *files, retry_for)

    def chat(
        self,
        system: str = "",
        *,
        session_id: str = "",
        template_arguments: str = "",
        max_new_tokens: int | None = None,
        sampling: model_pb2.SamplingParameters | None = None,
    ) -> C:
        """In a new session, or in the one of this id, which is made where there is none."""
        settings = Settings(system, template_arguments, max_new_tokens, sampling)
        return self._chat(ChatPlans(self._connection, settings, session_id, create=True))

    def resume(
        self,
        session_id: str,
        *,
        template_arguments: str = "",
        max_new_tokens: int | None = None,
        sampling: model_pb2.SamplingParameters | None = None,
    ) -> C:
        """In a session that there is; when it is used first, SessionNotFoundError where there is none."""
        settings = Settings("", template_arguments, max_new_tokens, sampling)
        return self._chat(ChatPlans(self._connection, settings, session_id, create=False))


class Kvasir(_Kvasir[Chat]):
    _grpc, _chat = grpc, Chat

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for channel in self._connection.channels.values():
            channel.close()


class AsyncKvasir(_Kvasir[AsyncChat]):
    _grpc, _chat = grpc.aio, AsyncChat

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for channel in self._connection.channels.values():
            await channel.close()
