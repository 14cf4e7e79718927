"""A chat whose memory is a session of the model service (services/cli/chat_session.h)."""

import copy
import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Any, Self, TypedDict

from kvasir.connection import Connection, Retries, refuse_unknown
from kvasir.conversation import Conversation
from kvasir.errors import KvasirError
from kvasir.turn import ResumableTurn
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
        refuse_unknown(options, ChatOptions)
        self.session_id = session_id or secrets.token_hex(16)
        self.last = GenerateComplete()
        self._connection, self._options, self._create = connection, options, create
        self._retries = Retries(connection)
        self._system, arguments = system, options.get("template_arguments", "")
        self._conversation = Conversation(self._retries, system, arguments)
        self._opened = False
        # Of the turn that did not end well, the session may hold more than was told.
        self._unsettled: tuple[str, ResumableTurn] | None = None

    @property
    def length(self) -> int:
        """The session's tokens, as far as this chat knows."""
        return len(self._conversation.ids)

    async def send(
        self, text: str, sampling: SamplingParameters | None = None
    ) -> AsyncGenerator[str, None]:
        """The answer, as it comes. Where it is not read to its end, the session keeps what was."""
        await self._ready()
        keep, ids = await self._conversation.next_turn(text)
        await self._cut_to(keep)
        turn = ResumableTurn(
            self._retries,
            sampling or self._options.get("sampling"),
            session_id=self.session_id,
            request_id=secrets.token_hex(16),
            expected_length=keep,
            input_ids=ids,
            max_new_tokens=self._options.get("max_new_tokens"),
        )
        self._unsettled = text, turn
        async with aclosing(turn.pieces):
            async for piece in turn.pieces:
                yield piece
        if turn.complete and self._unsettled == (text, turn):
            self._conversation.add_turn(text, ids, turn.ids, turn.text)
            self._unsettled, self.last = None, turn.complete

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
        fields = {"new_session_id": fork.session_id, "length": self.length}
        await self._once("ForkSession", "SESSION_EXISTS", **fields)
        same = {id(self._retries): fork._retries}
        fork._conversation, fork._opened = copy.deepcopy(self._conversation, same), True
        return fork

    def resume(self, session_id: str) -> "AsyncChat":
        """A chat with the same settings in another session that there is."""
        return AsyncChat(self._connection, session_id, False, self._system, self._options)

    async def delete(self) -> None:
        if self._unsettled:
            await self._unsettled[1].pieces.aclose()
        await self._once("DeleteSession", "SESSION_NOT_FOUND")

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
                await self._once("CreateSession", "SESSION_EXISTS")
            self._conversation.resume(await self._call("ReadSession"))
            self._opened = True
        if self._unsettled:
            await self._settle(*self._unsettled)
            self._unsettled = None

    async def _settle(self, question: str, turn: ResumableTurn) -> None:
        """The session keeps what was told of the answer; where nothing was, it is as it had been."""
        await turn.pieces.aclose()
        for _ in range(500):  # the call that we gave up may take a moment to end
            session = (await self._call("GetSession")).session
            if not session.busy:
                break
            await self._connection.sleep(0.02)
        sent = turn.request["input_ids"]
        start = self.length + len(sent)
        if session.last_request_id == turn.request["request_id"] and session.length >= start:
            told = turn.told[: session.length - start]
            await self._truncate(start + len(told) if told else self.length, session.length)
            if told:
                self._conversation.add_turn(question, sent, told, turn.text)

    async def _cut_to(self, length: int) -> None:
        await self._truncate(length, self.length)
        self._conversation.cut_to(length)

    async def _truncate(self, length: int, expected: int) -> None:
        if length != expected:
            fields = {"length": length, "expected_length": expected}
            await self._once("TruncateSession", str(length), **fields)

    async def _once(self, method: str, done: str, **fields: Any) -> None:
        """`done` is what a failure tells where an earlier try, whose answer was lost, came through;
        a session that exists, whoever made it, will do.
        """
        try:
            await self._call(method, **fields)
        except KvasirError as failure:
            told = done in (failure.reason, failure.metadata.get("session_length"))
            if not (told and (self._retries.repeated or done == "SESSION_EXISTS")):
                raise

    async def _call(self, method: str, **fields: Any) -> Any:
        return await self._retries.call(method, session_id=self.session_id, **fields)
