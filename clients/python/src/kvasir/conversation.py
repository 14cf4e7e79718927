"""A chat in a session: what was said, the ids that the session holds of it, and the few that it lacks
for the next answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc

from kvasir.errors import KvasirError
from kvasir.turn import Retries
from kvasir.v1.tokenizer_pb2 import ChatMessage

_STAND_INS = ("yes", "no")  # two answers whose renderings share no last token


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """How much their starts have in common."""
    shorter = min(len(one), len(other))
    return next((n for n in range(shorter) if one[n] != other[n]), shorter)


@dataclass
class Said:
    message: ChatMessage
    end: int | None = None  # the session's length after it (a question: without the invitation)


@dataclass
class Turn:
    """The session is cut to `keep`, then these are sent."""

    question: Said
    keep: int
    ids: list[int]


class Conversation:
    def __init__(self, retries: Retries, system: str, template_arguments: str) -> None:
        self._retries, self._template_arguments = retries, template_arguments
        self._said = [Said(ChatMessage(role="system", content=system))] if system else []
        self.ids = list[int]()
        # So many ids, and the first of what is said, stand for a beginning that is not known.
        self._unknown, self._first_known = 0, 0

    def resume(self, ids: list[int]) -> None:
        self.ids, self._unknown = ids, len(ids)
        if ids:
            self._said.append(Said(ChatMessage(role="user", content="?")))
            self._said.append(Said(ChatMessage(role="assistant", content=_STAND_INS[0]), len(ids)))
            self._first_known = len(self._said)

    async def next_turn(self, text: str) -> Turn:
        question = ChatMessage(role="user", content=text)
        keep, ids = await self._what_lacks(question)
        invitation = (await self._apply(question, len(self._said) + 1)).ids
        invited = ids[len(ids) - len(invitation) :] == invitation
        end = keep + len(ids) - len(invitation) if invited else None
        return Turn(Said(question, end), keep, ids)

    async def _what_lacks(self, question: ChatMessage) -> tuple[int, list[int]]:
        start = len(self._said) - 1
        while True:
            # Back to a question whose end is known: after it the template begins an answer anew.
            while start > 0 and not (self._is_question(start - 1) and self._said[start - 1].end):
                start -= 1
            border = self._said[start - 1].end or 0 if start > 0 else 0
            if max(start, 0) < self._first_known:
                return len(self.ids), await self._after_any_answer(question)
            shown = await self._apply(question, max(start, 0))
            if shown.first_changed_message >= start:
                break
            start = shown.first_changed_message
        held = self.ids[border:]
        if held and start == len(self._said) - 1:
            text = (await self._retries.call("Decode", ids=held)).text
            if shown.text.startswith(text):  # as it was generated
                return len(self.ids), await self._after_any_answer(question)
        common = _common(held, shown.ids[:-1])  # the model needs a token to go on from
        return border + common, list(shown.ids[common:])

    async def _after_any_answer(self, question: ChatMessage) -> list[int]:
        """What the renderings of two answers end with, but what the session has of it."""
        yes, no = [(await self._apply(question, stand_in=text)).ids for text in _STAND_INS]
        count = _common(yes[::-1], no[::-1])
        if count in (len(yes), len(no)):
            message = "the chat template does not show the assistant's answers"
            raise KvasirError.of(grpc.StatusCode.FAILED_PRECONDITION, message)
        ids = list(yes[-count:])
        held = (n for n in range(count, -1, -1) if self.ids[-n:] == ids[:n] or n == 0)
        return ids[next(held) :]

    async def _apply(
        self, question: ChatMessage, start: int | None = None, stand_in: str = ""
    ) -> Any:
        messages = [said.message for said in self._said]
        if stand_in:
            messages[-1] = ChatMessage(role="assistant", content=stand_in)
        return await self._retries.call(
            "ApplyChatTemplate",
            messages=[*messages, question],
            template_arguments=self._template_arguments,
            from_message=start,
        )

    def add_turn(self, turn: Turn, answer: list[int], text: str) -> None:
        self.ids += turn.ids + answer
        message = ChatMessage(role="assistant", content=text)
        self._said += [turn.question, Said(message, len(self.ids))]

    def cut_to(self, length: int) -> None:
        del self.ids[length:]
        for said in self._said:
            if said.end is not None and said.end > length:
                said.end = None

    def questions(self) -> list[int]:
        known = range(self._first_known, len(self._said))
        return [index for index in known if self._is_question(index)]

    def _is_question(self, index: int) -> bool:
        return self._said[index].message.role == "user"

    def forget_from(self, index: int) -> int:
        """Forgets this message and what followed; what the session is to be cut to."""
        del self._said[index:]
        return next((said.end for said in reversed(self._said) if said.end is not None), 0)
