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
class Turn:
    """The session is cut to `keep`, then these are sent."""

    question: ChatMessage
    keep: int
    ids: list[int]


class Conversation:
    def __init__(self, retries: Retries, system: str, template_arguments: str) -> None:
        self._retries, self._template_arguments = retries, template_arguments
        self._said = [ChatMessage(role="system", content=system)] if system else []
        self.ids = list[int]()
        self.turns = list[int]()  # where in the session they begin, or before it
        self._resumed = False

    def resume(self, ids: list[int]) -> None:
        self.ids, self._resumed = ids, bool(ids)
        if ids:  # for a past that we do not know
            self._said.append(ChatMessage(role="user", content="?"))
            self._said.append(ChatMessage(role="assistant", content=_STAND_INS[0]))

    async def next_turn(self, text: str) -> Turn:
        """What the session lacks of the rendering. Templates may rewrite history; then it is cut to
        where they begin to differ, unless it was resumed: of an unknown past nothing is rewritten.
        """
        question = ChatMessage(role="user", content=text)
        if not self._resumed:
            shown = await self._render([*self._said, question])
            if not await self._starts(shown.text):
                keep = _common(self.ids, shown.ids[:-1])  # the model needs a token to go on from
                return Turn(question, keep, list(shown.ids[keep:]))
        return Turn(question, len(self.ids), await self._after_any_answer(question))

    async def _starts(self, rendering: str) -> bool:
        """Whether the session is its start, in whatever tokens the answers were generated."""
        if not self.ids:
            return False
        text: str = (await self._retries.call("Decode", ids=self.ids)).text
        return rendering.startswith(text)

    async def _after_any_answer(self, question: ChatMessage) -> list[int]:
        """What the renderings of two answers end with, but what the session has of it."""
        others = [ChatMessage(role="assistant", content=text) for text in _STAND_INS]
        yes, no = [(await self._render([*self._said[:-1], m, question])).ids for m in others]
        count = _common(yes[::-1], no[::-1])
        if count in (len(yes), len(no)):
            message = "the chat template does not show the assistant's answers"
            raise KvasirError.of(grpc.StatusCode.FAILED_PRECONDITION, message)
        ids = list(yes[-count:])
        held = (n for n in range(count, 0, -1) if self.ids[-n:] == ids[:n])
        return ids[next(held, 0) :]

    async def _render(self, messages: list[ChatMessage]) -> Any:
        fields = {"messages": messages, "template_arguments": self._template_arguments}
        return await self._retries.call("ApplyChatTemplate", **fields)

    def add_turn(self, turn: Turn, answer: list[int], text: str) -> None:
        self.turns.append(turn.keep)
        self.ids += turn.ids + answer
        self._said += [turn.question, ChatMessage(role="assistant", content=text)]

    def cut_to(self, length: int) -> None:
        del self.ids[length:]
        self.turns = [min(begin, length) for begin in self.turns]

    def forget(self, turns: int) -> int:
        """The last so many; what the session is to be cut to."""
        length = self.turns[-turns]
        del self.turns[-turns:], self._said[-2 * turns :]
        return length
