"""The same twice: for asyncio, and for threads."""

from collections.abc import Callable, Iterator
from typing import ClassVar, Generic, Self, TypeVar, Unpack

from kvasir.chat import AsyncChat, ChatOptions
from kvasir.connection import Connection, ConnectionOptions, run
from kvasir.v1.model_pb2 import GenerateComplete, SamplingParameters


class Chat:
    """AsyncChat for one thread at a time."""

    def __init__(self, chat: AsyncChat) -> None:
        self._chat, self.session_id = chat, chat.session_id

    @property
    def length(self) -> int:
        """The session's tokens, as far as this chat knows."""
        return self._chat.length

    @property
    def last(self) -> GenerateComplete:
        """Of the last whole answer: how it ended, what it took; empty before the first."""
        return self._chat.last

    def send(self, text: str, sampling: SamplingParameters | None = None) -> Iterator[str]:
        """The answer, as it comes. Where it is not read to its end, the session keeps what was."""
        pieces = self._chat.send(text, sampling)
        try:
            while piece := run(anext(pieces, "")):
                yield piece
        finally:
            run(pieces.aclose())

    def rewind(self, turns: int = 1) -> None:
        """Takes the last turns back."""
        run(self._chat.rewind(turns))

    def fork(self) -> "Chat":
        """A chat with the same past, in a session of its own."""
        return Chat(run(self._chat.fork()))

    def resume(self, session_id: str) -> "Chat":
        """A chat with the same settings in another session that there is."""
        return Chat(self._chat.resume(session_id))

    def delete(self) -> None:
        run(self._chat.delete())

    def __enter__(self) -> Self:
        run(self._chat.__aenter__())
        return self

    def __exit__(self, *_: object) -> None:
        run(self._chat.__aexit__())


C = TypeVar("C", Chat, AsyncChat)


class _Kvasir(Generic[C]):
    """Addresses are HOST:PORT; see ConnectionOptions and ChatOptions for the rest."""

    _waits: ClassVar[bool]
    _chat: Callable[[AsyncChat], C]

    def __init__(
        self,
        address: str = "127.0.0.1:50052",
        tokenizer: str = "127.0.0.1:50051",
        **options: Unpack[ConnectionOptions],
    ) -> None:
        self._connection = Connection(self._waits, address, tokenizer, options)

    def chat(self, system: str = "", *, session_id: str = "", **options: Unpack[ChatOptions]) -> C:
        """In a new session, or in the one of this id, which is made where there is none."""
        return self._chat(AsyncChat(self._connection, session_id, True, system, options))

    def resume(self, session_id: str, **options: Unpack[ChatOptions]) -> C:
        """In a session that there is; when it is used first, SessionNotFoundError where there is none."""
        return self._chat(AsyncChat(self._connection, session_id, False, "", options))


class Kvasir(_Kvasir[Chat]):
    _waits, _chat = False, Chat

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        run(self._connection.close())


class AsyncKvasir(_Kvasir[AsyncChat]):
    _waits = True

    @staticmethod
    def _chat(chat: AsyncChat) -> AsyncChat:
        return chat

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connection.close()
