"""A chat in a session: what was said, the ids that the session holds of it, and the few that it lacks
for the next answer.
"""

from collections.abc import Sequence
from typing import Any

import grpc

from kvasir.connection import Retries
from kvasir.errors import KvasirError
from kvasir.v1.tokenizer_pb2 import ChatMessage

_STAND_INS = ("yes", "no")  # two answers whose renderings share no last token


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """How much their starts have in common."""
    shorter = min(len(one), len(other))
    return next((n for n in range(shorter) if one[n] != other[n]), shorter)


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

    async def next_turn(self, text: str) -> tuple[int, list[int]]:
        """The session is to be cut to this length, then lacks these. Templates may rewrite history:
        it is cut to where they begin to; of a past that we do not know, nothing is rewritten.
        """
        question = ChatMessage(role="user", content=text)
        if not self._resumed:
            shown = await self._render([*self._said, question])
            held = self.ids and (await self._retries.call("Decode", ids=self.ids)).text
            if not held or not shown.text.startswith(held):
                keep = _common(self.ids, shown.ids[:-1])  # the model needs a token to go on from
                return keep, list(shown.ids[keep:])
        return len(self.ids), await self._after_any_answer(question)

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

    def add_turn(self, question: str, sent: list[int], answer: list[int], text: str) -> None:
        self.turns.append(len(self.ids))
        self.ids += sent + answer
        self._said.append(ChatMessage(role="user", content=question))
        self._said.append(ChatMessage(role="assistant", content=text))

    def cut_to(self, length: int) -> None:
        del self.ids[length:]
        self.turns = [min(begin, length) for begin in self.turns]

    def forget(self, turns: int) -> int:
        """The last so many; what the session is to be cut to."""
        length = self.turns[-turns]
        del self.turns[-turns:], self._said[-2 * turns :]
        return length
