"""One session, and what its client knows of it."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from client import DEADLINE, Client, Outcome, Reader, RefusedError, read_all, some_ids
from ledger import Window
from services import model_pb2

TEMPERATURE = 0.8


@dataclass(frozen=True)
class Step:
    """Of a session's history: tokens that were appended, or what it was cut to."""

    sent: tuple[int, ...] = ()
    generated: tuple[int, ...] = ()
    cut_to: int | None = None


class LostError(Exception):
    """The session is not what it must be."""


class Conversation:
    """Every call of it is repeated, as clients may, until it has come through; whatever else is found is
    LostError. `faults` tells when a turn's tokens may be lost: a process or the store was away.
    """

    def __init__(
        self, client: Client, id_: str, random_: random.Random, faults: Callable[[], list[Window]]
    ) -> None:
        self.client, self.id, self.random, self.faults = client, id_, random_, faults
        self.seed = random_.getrandbits(63)
        self.ids: list[int] = []
        self.history: list[Step] = []
        self.repeated = 0

    def create(self) -> None:
        initial = some_ids(self.random, self.random.randrange(1, 40))
        request = model_pb2.CreateSessionRequest(
            session_id=self.id,
            initial_ids=initial,
            labels={"soak": self.client.tenant},
            sampling=model_pb2.SamplingParameters(seed=self.seed, temperature=TEMPERATURE),
        )
        self._repeat("CreateSession", request, "ALREADY_EXISTS")
        self._append(initial, [])

    def fork(self, id_: str) -> "Conversation":
        child = Conversation(self.client, id_, self.random, self.faults)
        length = self.random.randrange(1, len(self.ids) + 1)
        request = model_pb2.ForkSessionRequest(
            session_id=self.id, new_session_id=id_, length=length
        )
        self._repeat("ForkSession", request, "ALREADY_EXISTS")
        child.seed, child.ids = self.seed, self.ids[:length]
        child.history = [*self.history, Step(cut_to=length)]
        return child

    def truncate(self) -> None:
        length = self.random.randrange(1, len(self.ids) + 1)
        request = model_pb2.TruncateSessionRequest(session_id=self.id, length=length)
        # What a call that was cut off has done is done again.
        self._repeat("TruncateSession", request)
        del self.ids[length:]
        self.history.append(Step(cut_to=length))

    def delete(self) -> None:
        request = model_pb2.DeleteSessionRequest(session_id=self.id)
        self._repeat("DeleteSession", request, "NOT_FOUND")

    def check(self) -> None:
        held = self._read(0)
        if held != self.ids:
            raise LostError(
                f"{self.id} holds {len(held)} tokens, not the {len(self.ids)} it was told"
            )

    def turn(
        self, new_tokens: int, read: Reader = read_all, *, die_after: int = 0, **fields: Any
    ) -> None:
        """Takes a turn; one that is left before its end stays as far as it came."""
        sent = some_ids(self.random, self.random.randrange(0, 30))
        request = model_pb2.GenerateRequest(
            session_id=self.id,
            input_ids=sent,
            max_new_tokens=new_tokens,
            expected_length=len(self.ids),
            ignore_eos=self.random.random() < 0.8,
            **fields,
        )
        give_up = time.monotonic() + DEADLINE
        while True:
            if die_after:
                outcome = self.client.generate_and_die(request, die_after)
            else:
                outcome = self.client.generate(request, read)
            if outcome.complete is not None and outcome.refused is None:
                self._append(sent, outcome.ids)
                if outcome.complete.session_length != len(self.ids):
                    raise LostError(
                        f"{self.id}: {outcome.complete.session_length}, not {len(self.ids)}"
                    )
                return
            if self._settle(outcome, sent, new_tokens) or outcome.left:
                return
            self._wait(outcome.refused, give_up)

    def _append(self, sent: list[int], generated: list[int]) -> None:
        self.ids += [*sent, *generated]
        self.history.append(Step(tuple(sent), tuple(generated)))

    def _settle(self, outcome: Outcome, sent: list[int], new_tokens: int) -> bool:
        """Looks what has become of a turn that was cut off; whether any of it has stayed."""
        refused = outcome.refused
        if refused is not None and not refused.passes() and refused.reason != "LENGTH_MISMATCH":
            raise LostError(f"{self.id}: {refused}")
        tail = self._read(len(self.ids))
        generated = tail[len(sent) :]
        if tail:
            whole = tail[: len(sent)] == sent and len(generated) <= new_tokens
            if not whole or generated[: len(outcome.ids)] != outcome.ids:
                raise LostError(f"{self.id} has {tail} behind {sent}, {outcome.ids} was received")
            attempt = outcome.attempt
            attempt.least_tokens = attempt.most_tokens = len(generated)
            self._append(sent, generated)
            return True
        if outcome.ids and not outcome.attempt.within(self.faults()):
            raise LostError(
                f"{self.id} has lost {len(outcome.ids)} tokens of a turn, and nothing failed"
            )
        return False

    def _read(self, offset: int) -> list[int]:
        """The session's tokens once no call is on it."""
        give_up = time.monotonic() + DEADLINE
        while True:
            try:
                get = model_pb2.GetSessionRequest(session_id=self.id)
                if not self.client.call("GetSession", get, self.id).session.busy:
                    request = model_pb2.ReadSessionRequest(session_id=self.id, offset=offset)
                    parts = self.client.call("ReadSession", request, self.id)
                    return [id_ for part in parts for id_ in part.ids]
                refused = None
            except RefusedError as error:
                refused = error
            self._wait(refused, give_up)

    def _repeat(self, method: str, request: Any, done: str = "") -> None:
        """`done`: the code that says that a call before has come through, though it seemed not to."""
        give_up = time.monotonic() + DEADLINE
        unclear = False
        while True:
            try:
                self.client.call(method, request, self.id)
                return
            except RefusedError as refused:
                if unclear and refused.code == done:
                    return
                unclear = unclear or not refused.told() or refused.reason == "STORE"
                self._wait(refused, give_up)

    def _wait(self, refused: RefusedError | None, give_up: float) -> None:
        if refused is not None and not (refused.passes() or refused.reason == "LENGTH_MISMATCH"):
            raise LostError(f"{self.id}: {refused}")
        if time.monotonic() > give_up:
            raise LostError(f"{self.id}: not within {DEADLINE} s, last: {refused}")
        if refused is not None:
            self.repeated += 1
        time.sleep(self.random.uniform(0.05, 0.2))
