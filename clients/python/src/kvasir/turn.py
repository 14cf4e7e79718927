"""One turn over servers that fail and ways that break (services/cli/resumable_turn.h)."""

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from grpc import StatusCode

from kvasir.connection import Retries
from kvasir.errors import KvasirError
from kvasir.v1.model_pb2 import GenerateComplete, GenerateResponse, SamplingParameters


class ResumableTurn:
    """REQUIRES: the fields are GenerateRequest's, with session_id, request_id, expected_length."""

    def __init__(
        self, retries: Retries, sampling: SamplingParameters | None, **fields: Any
    ) -> None:
        self._retries, self._sampling = retries, SamplingParameters()
        self._sampling.MergeFrom(sampling or SamplingParameters())
        self.request = fields | {"sampling": self._sampling}
        self.ids: list[int] = []
        self.told: list[int] = []  # of the ids, those whose text has been given out
        self.text = ""
        self.complete: GenerateComplete | None = None
        self.pieces = self._run()
        self._broken = False
        self._at = 0  # of the answer, as far as the current attempt has come

    async def _run(self) -> AsyncGenerator[str, None]:
        while self.complete is None:
            try:
                attempt = await self._rest() if self._broken else self.request
                async with aclosing(
                    self._retries.connection.stream("Generate", **attempt)
                ) as events:
                    async for event in events:
                        self._take(event)
                        if text := await self._untold():
                            yield text
                if self.complete is None:
                    raise KvasirError(StatusCode.INTERNAL, "the answer ended without its end")
            except KvasirError as failure:
                # An attempt of ours that seemed lost may still run, or have come through.
                late = self._broken and failure.reason in ("SESSION_BUSY", "LENGTH_MISMATCH")
                if not (failure.transient or late):
                    raise
                await self._retries.again(failure)
                self._broken = True
        self._retries.progress()

    def _take(self, event: GenerateResponse) -> None:
        if event.HasField("started"):
            self._sampling.seed = event.started.seed  # by it an attempt comes out the same again
        elif event.HasField("chunk"):
            self.ids[self._at : self._at + len(event.chunk.ids)] = event.chunk.ids
            self._at += len(event.chunk.ids)
        else:
            self._end(event.complete)

    def _end(self, complete: GenerateComplete) -> None:
        del self.ids[self._at :]
        if self.told != self.ids[: len(self.told)]:
            message = "a turn that was begun anew came out otherwise than it was shown"
            logging.getLogger("kvasir").warning("%s: have the server's numerics changed?", message)
        if self._broken:
            complete.ClearField("timing")
            complete.usage.input_tokens = len(self.request["input_ids"])
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

    async def _rest(self) -> dict[str, Any]:
        """What is left to ask for: all of the turn, or what follows the answer's known start."""
        call, base = self._retries.connection.call, self.request["expected_length"]
        name, start = self.request["session_id"], base + len(self.request["input_ids"])
        session = (await call("GetSession", session_id=name)).session
        self._at = 0
        if session.busy:
            raise KvasirError(StatusCode.UNAVAILABLE, "a call, perhaps ours, still runs")
        if session.length == base:
            return self.request
        if session.last_request_id != self.request["request_id"] or session.length < start:
            message = f"somebody else has written session '{name}' meanwhile"
            raise KvasirError.of(StatusCode.ABORTED, message)
        known = await call("ReadSession", session_id=name, offset=start)
        # The last is made again: it comes out the same, and whether the answer ends with it is said.
        self._at = max(0, len(known) - 1)
        rest = {"session_id": name, "expected_length": session.length}
        await call("TruncateSession", length=start + self._at, **rest)
        self.ids[: len(known)] = known
        limit = self.request["max_new_tokens"]
        rest = {"input_ids": [], "expected_length": start + self._at}
        return self.request | rest | {"max_new_tokens": limit and limit - self._at}
