"""One turn over servers that fail and ways that break (services/cli/resumable_turn.h)."""

import logging
import random
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import grpc

from kvasir.connection import Connection
from kvasir.errors import KvasirError
from kvasir.v1 import model_pb2


class Retries:
    """An outage begins with a failed call and ends with the next that succeeds; waits in it grow."""

    def __init__(self, connection: Connection) -> None:
        self.connection, self.budget = connection, connection.retry_for
        self.repeated = False  # the last call was, so one that failed may have been carried out
        self._end: float | None = None
        self._wait = 0.0

    def progress(self) -> None:
        self._end = None

    async def again(self, failure: KvasirError) -> None:
        """Waits before the next try; where it would come too late, `failure` is raised."""
        now = time.monotonic()
        if self._end is None:
            self._end, self._wait = now + self.budget, 0.1
        left = self._end - now
        if left <= 0 or failure.retry_after > left:
            self._end, failure.given_up = None, True
            failure.add_note(f"given up after {self.budget:g} s")
            raise failure
        wait = max(failure.retry_after, self._wait * random.uniform(0.5, 1))
        await self.connection.sleep(min(left, wait))
        self._wait = min(2 * self._wait, 2.0)

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


class ResumableTurn:
    """REQUIRES: the request names session, request_id and expected_length."""

    def __init__(self, retries: Retries, **request: Any) -> None:
        self.request = model_pb2.GenerateRequest(**request)
        self.ids: list[int] = []
        self.told: list[int] = []  # of the ids, those whose text has been given out
        self.text = ""
        self.complete: model_pb2.GenerateComplete | None = None
        self._retries, self._attempt, self._broken = retries, self.request, False
        self._at = 0  # of the answer, as far as the current attempt has come

    async def run(self) -> AsyncGenerator[str, None]:
        while self.complete is None:
            try:
                if self._broken:
                    await self._take_stock()
                fields = {field.name: value for field, value in self._attempt.ListFields()}
                events = self._retries.connection.stream("Generate", **fields)
                async with aclosing(events):
                    async for event in events:
                        self._take(event)
                        if text := await self._untold():
                            yield text
                if self.complete is None:
                    raise KvasirError(grpc.StatusCode.INTERNAL, "the answer ended without its end")
            except KvasirError as failure:
                # An attempt of ours that seemed lost may still run, or have come through.
                late = self._broken and failure.reason in ("SESSION_BUSY", "LENGTH_MISMATCH")
                if not (failure.transient or late):
                    raise
                await self._retries.again(failure)
                self._broken = True
        self._retries.progress()

    def _take(self, event: model_pb2.GenerateResponse) -> None:
        if event.HasField("started"):
            self.request.sampling.seed = event.started.seed  # so it comes out the same again
        elif event.HasField("chunk"):
            self.ids[self._at : self._at + len(event.chunk.ids)] = event.chunk.ids
            self._at += len(event.chunk.ids)
        else:
            self._end(event.complete)

    def _end(self, complete: model_pb2.GenerateComplete) -> None:
        del self.ids[self._at :]
        if self.told != self.ids[: len(self.told)]:
            message = "a turn that was begun anew came out otherwise than it was shown"
            logging.getLogger("kvasir").warning("%s: have the server's numerics changed?", message)
        if self._broken:
            complete.ClearField("timing")
            complete.usage.input_tokens = len(self.request.input_ids)
            complete.usage.generated_tokens = len(self.ids)
        self.complete = complete

    async def _untold(self) -> str:
        """Text of the ids that are new; not half a character, unless the answer ends with it."""
        pending = self.ids[len(self.told) :]
        if not pending:
            return ""
        self._retries.progress()
        decode = self._retries.call("Decode", ids=pending, skip_special_tokens=True)
        text: str = (await decode).text
        if text.endswith("\N{REPLACEMENT CHARACTER}") and self.complete is None:
            return ""
        self.told += pending
        self.text += text
        return text

    async def _take_stock(self) -> None:
        """What is left to ask for: all of the turn, or what follows the answer's known start."""
        call, session_id = self._retries.connection.call, self.request.session_id
        session = (await call("GetSession", session_id=session_id)).session
        if session.busy:
            raise KvasirError(grpc.StatusCode.UNAVAILABLE, "a call, perhaps ours, still runs")
        self._attempt, self._at = model_pb2.GenerateRequest(), 0
        self._attempt.CopyFrom(self.request)
        if session.length == self.request.expected_length:
            return
        start = self.request.expected_length + len(self.request.input_ids)
        if session.last_request_id != self.request.request_id or session.length < start:
            message = f"somebody else has written session '{session_id}' meanwhile"
            raise KvasirError.of(grpc.StatusCode.ABORTED, message)
        known = await call("ReadSession", session_id=session_id, offset=start)
        # The last is made again: it comes out the same, and whether the answer ends with it is said.
        self._at = max(0, len(known) - 1)
        if known:
            length = {"length": start + self._at, "expected_length": session.length}
            await call("TruncateSession", session_id=session_id, **length)
        self.ids[: len(known)] = known
        del self._attempt.input_ids[:]
        self._attempt.expected_length = start + self._at
        if self.request.HasField("max_new_tokens"):
            self._attempt.max_new_tokens -= self._at
