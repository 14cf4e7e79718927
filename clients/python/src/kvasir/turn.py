"""One turn over servers that fail and ways that break (services/cli/resumable_turn.h has the rules)."""

import logging
import random
import time
from collections.abc import Sequence
from typing import Any

import grpc

from kvasir.connection import Call, Connection, Next, Plan, Sleep
from kvasir.errors import KvasirError
from kvasir.v1 import model_pb2


class Retries:
    """An outage begins with a failed call and ends with the next that succeeds; waits in it grow."""

    def __init__(self, connection: Connection) -> None:
        self.budget = connection.retry_for
        self.repeated = False  # the last call was, so one that failed may have been carried out
        self._begin: float | None = None
        self._wait = 0.0

    def progress(self) -> None:
        self._begin = None

    def again(self, failure: KvasirError) -> Plan[None]:
        """Waits before the next try; where it would come too late, `failure` is raised."""
        now = time.monotonic()
        if self._begin is None:
            self._begin, self._wait = now, 0.1
        left = self._begin + self.budget - now
        if left <= 0 or failure.retry_after > left:
            self._begin, failure.given_up = None, True
            failure.add_note(f"given up after {self.budget:g} s")
            raise failure
        yield Sleep(min(left, max(failure.retry_after, self._wait * random.uniform(0.5, 1))))
        self._wait = min(2 * self._wait, 2.0)

    def call(self, method: str, **fields: Any) -> Plan[Any]:
        """Repeats the call while the service cannot be reached; a stream is read to its end."""
        self.repeated = False
        while True:
            try:
                response = yield from self.once(method, **fields)
            except KvasirError as failure:
                if not failure.transient:
                    raise
                yield from self.again(failure)
                self.repeated = True
            else:
                self.progress()
                return response

    def once(self, method: str, **fields: Any) -> Plan[Any]:
        response = yield Call.of(method, fields)
        if method != "ReadSession":
            return response
        ids: list[int] = []
        while part := (yield Next(response)):
            ids.extend(part.ids)
        return ids


class ResumableTurn:
    """REQUIRES: the request names session, request_id and expected_length."""

    def __init__(self, retries: Retries, request: model_pb2.GenerateRequest) -> None:
        self.retries, self.whole, self.attempt = retries, request, request
        self.ids: list[int] = []
        self.shown = 0  # of the ids: their text has been given out
        self.complete: model_pb2.GenerateComplete | None = None
        self._at = 0  # of the answer, as far as the current attempt has come
        self._seed: int | None = None
        self._broken = self._warned = False
        self._start = request.expected_length + len(request.input_ids)

    def run(self) -> Plan[None]:
        step = self._attempt()
        while self.complete is None:
            try:
                yield from step
                step = self._attempt()
            except KvasirError as failure:
                # An attempt of ours that seemed lost may still run, or have come through.
                late = self._broken and failure.reason in ("SESSION_BUSY", "LENGTH_MISMATCH")
                if not (failure.transient or late):
                    raise
                yield from self.retries.again(failure)
                self._broken = True
                step = self._take_stock()
        self.retries.progress()

    def _attempt(self) -> Plan[None]:
        stream = yield Call("Generate", self.attempt)
        try:
            while event := (yield Next(stream)):
                if event.HasField("started") and self._seed is None:
                    self._seed = event.started.seed
                elif event.HasField("chunk"):
                    yield from self._deliver(event.chunk.ids)
                elif event.HasField("complete"):
                    return (yield from self._end(event.complete))
        finally:  # also where nobody wants to hear the rest
            stream.cancel()
        raise KvasirError(grpc.StatusCode.INTERNAL, "the answer ended without its end")

    def _take_stock(self) -> Plan[None]:
        name, base = self.whole.session_id, self.whole.expected_length
        session = (yield from self.retries.once("GetSession", session_id=name)).session
        length = session.length
        if session.busy:
            raise KvasirError(grpc.StatusCode.UNAVAILABLE, "a call, perhaps ours, still runs")
        if length == base:
            return self._ask(rest=None)
        last = session.last_base_length
        at = length >= self._start and (last == base or self._start <= last <= length)
        if session.last_request_id != self.whole.request_id or not at:
            message = f"somebody else has written session '{name}' meanwhile"
            raise KvasirError.of(grpc.StatusCode.ABORTED, message)
        ids = yield from self.retries.once("ReadSession", session_id=name, offset=self._start)
        if self._start + len(ids) != length:
            raise KvasirError(grpc.StatusCode.UNAVAILABLE, "the session changes while it is read")
        self._at = 0
        yield from self._deliver(ids)
        reason = yield from self._how_ended(session)
        if not reason:
            return self._ask(rest=len(ids))
        complete = model_pb2.GenerateComplete(finish_reason=reason, session_length=length)
        return (yield from self._end(complete))

    def _how_ended(self, session: model_pb2.Session) -> Plan[model_pb2.FinishReason | None]:
        if session.last_finish_reason not in (0, model_pb2.FINISH_REASON_INTERRUPTED):
            return session.last_finish_reason
        # A server that crashed may have kept the last token, and not yet that it was the last.
        info = yield from self.retries.once("GetModelInfo")
        if self.ids[self._at - 1 : self._at] and self.ids[self._at - 1] in info.eos_token_ids:
            return model_pb2.FINISH_REASON_STOP_TOKEN
        if self.whole.HasField("max_new_tokens") and self._at >= self.whole.max_new_tokens:
            return model_pb2.FINISH_REASON_MAX_NEW_TOKENS
        full = session.length >= min(info.max_context, info.kv_tokens + 1)
        return model_pb2.FINISH_REASON_MAX_CONTEXT if full and self._at else None

    def _ask(self, rest: int | None) -> None:
        """The next attempt is the whole turn, or what follows so many tokens of the answer."""
        self._at, self.attempt = rest or 0, model_pb2.GenerateRequest()
        self.attempt.CopyFrom(self.whole)
        if self._seed is not None:
            self.attempt.sampling.seed = self._seed
        if rest is not None:
            del self.attempt.input_ids[:]
            self.attempt.expected_length = self._start + rest
            if self.whole.HasField("max_new_tokens"):
                self.attempt.max_new_tokens -= rest

    def _deliver(self, ids: Sequence[int]) -> Plan[None]:
        known = self.ids[self._at : self._at + len(ids)]
        if known != ids[: len(known)]:
            self._warn("came out otherwise than it was shown (have the server's numerics changed?)")
        self.ids[self._at : self._at + len(ids)] = ids
        self._at += len(ids)
        if len(known) < len(ids):
            self.retries.progress()
            yield from self._show(last=False)

    def _show(self, last: bool) -> Plan[None]:
        pending = self.ids[self.shown :]
        if not pending:
            return
        decode = self.retries.call("Decode", ids=pending, skip_special_tokens=True)
        text = (yield from decode).text
        if last or not text.endswith("\N{REPLACEMENT CHARACTER}"):  # else half a character
            self.shown = len(self.ids)
            if text:
                yield text

    def _end(self, complete: model_pb2.GenerateComplete) -> Plan[None]:
        if self._at < len(self.ids):
            self._warn(f"is shorter than it was shown: {self._at} tokens")
            del self.ids[self._at :]
        yield from self._show(last=True)
        if self._broken:
            complete.ClearField("timing")
            complete.usage.input_tokens = len(self.whole.input_ids)
            complete.usage.generated_tokens = len(self.ids)
        self.complete = complete

    def _warn(self, what: str) -> None:
        if not self._warned:
            logging.getLogger("kvasir").warning("a turn that was begun anew %s", what)
        self._warned = True
