"""A chat whose memory is a session of the model service (services/cli/chat_session.h)."""

import copy
import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Any, Self, TypedDict

from kvasir.connection import Connection
from kvasir.conversation import Conversation, Turn
from kvasir.errors import KvasirError, SessionConflictError, SessionNotFoundError
from kvasir.turn import ResumableTurn, Retries
from kvasir.v1.model_pb2 import GenerateComplete, SamplingParameters


class ChatOptions(TypedDict, total=False):
    """`template_arguments` is a JSON object of variables for the chat template."""

    template_arguments: str
    max_new_tokens: int | None
    sampling: SamplingParameters | None


class AsyncChat:
    """One conversation, for one task at a time; an answer that still runs ends when something else
    is asked of the chat. Its session is kept until delete().
    """

    def __init__(
        self,
        connection: Connection,
        session_id: str,
        create: bool,
        system: str,
        options: ChatOptions,
    ) -> None:
        self.session_id = session_id or secrets.token_hex(16)
        self.last = GenerateComplete()
        self._connection, self._options, self._create = connection, options, create
        self._retries = Retries(connection)
        self._system, arguments = system, options.get("template_arguments", "")
        self._conversation = Conversation(self._retries, system, arguments)
        self._opened = False
        # Of the turn that did not end well, the session may hold more than was told.
        self._unsettled: tuple[Turn, ResumableTurn, AsyncGenerator[str, None]] | None = None

    @property
    def length(self) -> int:
        """The session's tokens, as far as this chat knows."""
        return len(self._conversation.ids)

    async def send(
        self, text: str, sampling: SamplingParameters | None = None
    ) -> AsyncGenerator[str, None]:
        """The answer, as it comes. Where it is not read to its end, the session keeps what was."""
        await self._ready()
        turn = await self._conversation.next_turn(text)
        await self._cut_to(turn.keep)
        running = ResumableTurn(
            self._retries,
            session_id=self.session_id,
            request_id=secrets.token_hex(16),
            expected_length=turn.keep,
            input_ids=turn.ids,
            max_new_tokens=self._options.get("max_new_tokens"),
            sampling=sampling or self._options.get("sampling"),
        )
        answer = running.run()
        self._unsettled = turn, running, answer
        async with aclosing(answer):
            async for piece in answer:
                yield piece
        if running.complete and self._unsettled and self._unsettled[1] is running:
            self._conversation.add_turn(turn, running.ids, running.text)
            self._unsettled, self.last = None, running.complete

    async def rewind(self, turns: int = 1) -> None:
        """Takes the last turns back."""
        await self._ready()
        known = len(self._conversation.turns)
        if not 1 <= turns <= known:
            raise ValueError(f"turns: {turns} is not of the {known} that this chat knows")
        await self._cut_to(self._conversation.forget(turns))

    async def fork(self) -> "AsyncChat":
        """A chat with the same past, in a session of its own."""
        await self._ready()
        fork = self.resume("")
        # The new id is random: who took it was a try of ours whose answer was lost.
        fields = {"new_session_id": fork.session_id, "length": self.length}
        await self._unless_there("ForkSession", **fields)
        same = {id(self._retries): fork._retries}
        fork._conversation, fork._opened = copy.deepcopy(self._conversation, same), True
        return fork

    def resume(self, session_id: str) -> "AsyncChat":
        """A chat with the same settings in another session that there is."""
        return AsyncChat(self._connection, session_id, False, self._system, self._options)

    async def delete(self) -> None:
        if self._unsettled:
            await self._unsettled[2].aclose()
        try:
            await self._call("DeleteSession")
        except SessionNotFoundError:
            if not self._retries.repeated:  # else a try whose answer was lost has done it
                raise

    async def __aenter__(self) -> Self:
        await self._ready()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Settles where the service is there; else a later chat in the session finds what it finds."""
        if self._unsettled:
            self._retries.budget = 0
            with suppress(KvasirError):
                await self._ready()
            self._retries.budget = self._connection.retry_for

    async def _ready(self) -> None:
        """The session is there, and holds what this chat knows."""
        if not self._opened:
            if self._create:
                await self._unless_there("CreateSession")
            self._conversation.resume(await self._call("ReadSession"))
            self._opened = True
        if self._unsettled:
            await self._settle(*self._unsettled)
            self._unsettled = None

    async def _settle(
        self, turn: Turn, running: ResumableTurn, answer: AsyncGenerator[str, None]
    ) -> None:
        """The session keeps what was told of the answer; where nothing was, it is as it had been."""
        await answer.aclose()
        for _ in range(500):  # the call that we gave up may take a moment to end
            session = (await self._call("GetSession")).session
            if not session.busy:
                break
            await self._connection.sleep(0.02)
        start = self.length + len(turn.ids)
        if session.last_request_id == running.request.request_id and session.length >= start:
            told = min(len(running.told), session.length - start)
            await self._truncate(start + told if told else self.length, session.length)
            if told:
                self._conversation.add_turn(turn, running.told[:told], running.text)

    async def _cut_to(self, length: int) -> None:
        await self._truncate(length, self.length)
        self._conversation.cut_to(length)

    async def _truncate(self, length: int, expected_length: int) -> None:
        if length == expected_length:
            return
        try:
            await self._call("TruncateSession", length=length, expected_length=expected_length)
        except SessionConflictError as failure:
            done = failure.metadata.get("session_length") == str(length)
            if not (self._retries.repeated and done):  # by a try whose answer was lost
                raise

    async def _unless_there(self, method: str, **fields: Any) -> None:
        try:
            await self._call(method, **fields)
        except SessionConflictError as failure:
            if failure.reason != "SESSION_EXISTS":
                raise

    async def _call(self, method: str, **fields: Any) -> Any:
        return await self._retries.call(method, session_id=self.session_id, **fields)
