"""A chat whose memory is a session of the model service (services/cli/chat_session.h)."""

import contextlib
import copy
import secrets
from dataclasses import dataclass
from typing import Any

from kvasir.connection import Connection, Plan, Sleep
from kvasir.conversation import Conversation, Turn
from kvasir.errors import KvasirError, SessionConflictError, SessionNotFoundError
from kvasir.turn import ResumableTurn, Retries
from kvasir.v1 import model_pb2

_LAST_IDS = 64  # a template's closing is no longer


@dataclass(frozen=True)
class Settings:
    system: str = ""
    template_arguments: str = ""  # a JSON object
    max_new_tokens: int | None = None
    sampling: model_pb2.SamplingParameters | None = None


class ChatPlans:
    """What is done for a chat. A plan that begins ends the one that has not ended."""

    def __init__(
        self, connection: Connection, settings: Settings, session_id: str, create: bool
    ) -> None:
        self.connection, self.settings, self.create = connection, settings, create
        self.session_id = session_id or secrets.token_hex(16)
        self.last = model_pb2.GenerateComplete()
        self._retries = Retries(connection)
        self.conversation = Conversation(
            self._retries, settings.system, settings.template_arguments
        )
        self._opened = False
        self._running: Plan[None] | None = None
        # Of the turn that did not end well, the session may hold more than was shown.
        self._unsettled: tuple[Turn, ResumableTurn] | None = None

    def begin(self, plan: Plan[None]) -> Plan[None]:
        if self._running:
            self._running.close()
        self._running = plan
        return plan

    def ready(self) -> Plan[None]:
        """The session is there, and holds what this chat knows."""
        if not self._opened:
            yield from self._open()
        elif self._unsettled:
            yield from self._settle(*self._unsettled)
        self._opened, self._unsettled = True, None

    def settled(self) -> Plan[None]:
        """Where the service is there; else a later chat in the session finds what it finds."""
        if self._unsettled:
            self._retries.budget = 0
            with contextlib.suppress(KvasirError):
                yield from self.ready()
            self._retries.budget = self.connection.retry_for

    def other(self, session_id: str = "") -> "ChatPlans":
        return ChatPlans(self.connection, self.settings, session_id, create=False)

    def send(self, text: str, sampling: model_pb2.SamplingParameters | None) -> Plan[None]:
        yield from self.ready()
        turn = yield from self.conversation.next_turn(text)
        yield from self._cut_to(turn.keep)
        request = model_pb2.GenerateRequest(
            session_id=self.session_id,
            request_id=secrets.token_hex(16),
            expected_length=turn.keep,
            input_ids=turn.ids,
            max_new_tokens=self.settings.max_new_tokens,
            sampling=sampling or self.settings.sampling,
        )
        running = ResumableTurn(self._retries, request)
        self._unsettled = turn, running
        yield from running.run()
        self.conversation.add_turn(turn, running.ids)
        self._unsettled, self.last = None, running.complete or self.last

    def rewind(self, turns: int) -> Plan[None]:
        yield from self.ready()
        questions = self.conversation.questions()
        if not 1 <= turns <= len(questions):
            raise ValueError(f"turns: {turns} is not of the {len(questions)} that this chat knows")
        yield from self._cut_to(self.conversation.forget_from(questions[-turns]))

    def fork_into(self, fork: "ChatPlans") -> Plan[None]:
        yield from self.ready()
        new, length = fork.session_id, self.conversation.length
        # The new id is random: who took it was a try of ours whose answer was lost.
        yield from self._unless_there("ForkSession", new_session_id=new, length=length)
        fork.conversation = copy.deepcopy(self.conversation, {id(self._retries): fork._retries})
        fork._opened = True

    def delete(self) -> Plan[None]:
        try:
            yield from self._call("DeleteSession")
        except SessionNotFoundError:
            if not self._retries.repeated:  # else a try whose answer was lost has done it
                raise

    def _open(self) -> Plan[None]:
        if self.create:
            yield from self._unless_there("CreateSession")
        session = (yield from self._call("GetSession")).session
        offset = max(0, session.length - _LAST_IDS)
        ids = yield from self._call("ReadSession", offset=offset)
        self.conversation.resume(offset + len(ids), ids)

    def _call(self, method: str, **fields: Any) -> Plan[Any]:
        return self._retries.call(method, session_id=self.session_id, **fields)

    def _unless_there(self, method: str, **fields: Any) -> Plan[None]:
        try:
            yield from self._call(method, **fields)
        except SessionConflictError as failure:
            if failure.reason != "SESSION_EXISTS":
                raise

    def _settle(self, turn: Turn, running: ResumableTurn) -> Plan[None]:
        """The session keeps what was shown of the answer; where nothing was, it is as it had been."""
        for _ in range(500):  # the call that we gave up may take a moment to end
            session = (yield from self._call("GetSession")).session
            if not session.busy:
                break
            yield Sleep(0.02)
        before, start = self.conversation.length, self.conversation.length + len(turn.ids)
        ours = session.last_request_id == running.whole.request_id and session.length >= start
        if session.length == before or not ours:
            return
        after = min(start + running.shown, session.length) if running.shown else before
        yield from self._truncate(after, session.length)
        if after > before:
            self.conversation.add_turn(turn, running.ids[: after - start])

    def _cut_to(self, length: int) -> Plan[None]:
        yield from self._truncate(length, self.conversation.length)
        self.conversation.cut_to(length)

    def _truncate(self, length: int, expected_length: int) -> Plan[None]:
        if length == expected_length:
            return
        try:
            yield from self._call("TruncateSession", length=length, expected_length=expected_length)
        except SessionConflictError as failure:
            done = failure.metadata.get("session_length") == str(length)
            if not (self._retries.repeated and done):  # by a try whose answer was lost
                raise
