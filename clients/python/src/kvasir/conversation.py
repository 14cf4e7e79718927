"""A chat in a session (services/cli/conversation.h): what was said, the ids that the session holds
of it, and the few that it lacks for the next answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import grpc

from kvasir.connection import Plan
from kvasir.errors import KvasirError
from kvasir.turn import Retries
from kvasir.v1.tokenizer_pb2 import ApplyChatTemplateResponse, ChatMessage

_STAND_INS = ("yes", "no")  # two answers whose renderings share no last token


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """Of their starts."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))


@dataclass
class Said:
    message: ChatMessage
    end: int | None = None  # the session's length after it (a question: without the invitation)

    def is_ended_question(self) -> bool:
        return self.message.role == "user" and self.end is not None


@dataclass
class Turn:
    """The session is cut to `keep`, then these are sent."""

    question: Said
    keep: int
    ids: list[int]


class Conversation:
    def __init__(self, retries: Retries, system: str, template_arguments: str) -> None:
        self._retries, self._template_arguments = retries, template_arguments
        self.said = [Said(ChatMessage(role="system", content=system))] if system else []
        self.first_known = 0  # what is said before it only stands for a beginning that is not known
        self.unknown, self.ids = 0, list[int]()  # so many tokens of the session are before the ids
        self._answer_begin: int | None = None  # until its text is asked for
        self._invitation: list[int] | None = None
        self._closing: list[int] = []

    @property
    def length(self) -> int:
        return self.unknown + len(self.ids)

    def resume(self, length: int, last_ids: list[int]) -> None:
        self.unknown, self.ids = length - len(last_ids), last_ids
        if length > 0:
            self.said += [Said(ChatMessage(role="user", content="?"))]
            self.said += [Said(ChatMessage(role="assistant", content=_STAND_INS[0]), length)]
            self.first_known = len(self.said)

    def questions(self) -> list[int]:
        known = range(self.first_known, len(self.said))
        return [index for index in known if self.said[index].message.role == "user"]

    def next_turn(self, text: str) -> Plan[Turn]:
        yield from self._learn_template()
        yield from self._complete()
        question = ChatMessage(role="user", content=text)
        turn = Turn(Said(question), self.length, [])
        if self.first_known and len(self.said) == self.first_known:
            turn.ids = yield from self._after_unknown(question)
        else:
            turn.ids = yield from self._append(question)
        if not turn.ids:
            yield from self._rewrite(turn)
        invitation = self._invitation or []
        if turn.ids[len(turn.ids) - len(invitation) :] == invitation:
            turn.question.end = turn.keep + len(turn.ids) - len(invitation)
        return turn

    def add_turn(self, turn: Turn, answer: Sequence[int]) -> None:
        self.ids += turn.ids
        self._answer_begin = self.length
        self.ids += answer
        self.said += [turn.question, Said(ChatMessage(role="assistant"), self.length)]

    def cut_to(self, length: int) -> None:
        del self.ids[max(0, length - self.unknown) :]
        self.unknown = min(self.unknown, length)
        for said in self.said:
            if said.end is not None and said.end > length:
                said.end = None

    def forget_from(self, index: int) -> int:
        """Forgets this message and what followed; what the session is to be cut to."""
        del self.said[index:]
        self._answer_begin = None
        return next((said.end for said in reversed(self.said) if said.end is not None), 0)

    def _apply(
        self, question: ChatMessage, start: int | None = None, stand_in: str | None = None
    ) -> Plan[ApplyChatTemplateResponse]:
        messages = [said.message for said in self.said]
        if stand_in:
            messages[-1] = ChatMessage(role="assistant", content=stand_in)
        response: ApplyChatTemplateResponse = yield from self._retries.call(
            "ApplyChatTemplate",
            messages=[*messages, question],
            template_arguments=self._template_arguments,
            from_message=start,
        )
        return response

    def _decode(self, ids: Sequence[int], skip_special: bool = False) -> Plan[str]:
        decode = self._retries.call("Decode", ids=ids, skip_special_tokens=skip_special)
        text: str = (yield from decode).text
        return text

    def _learn_template(self) -> Plan[None]:
        """What invites an answer, and what closes it."""
        if self._invitation is None:
            said, self.said = self.said, []  # of no chat in particular
            try:
                response = yield from self._apply(ChatMessage(role="user", content="?"), start=1)
            finally:
                self.said = said
            self._invitation = list(response.ids) if response.first_changed_message == 1 else []
            self._closing = list(response.closing_ids)

    def _complete(self) -> Plan[None]:
        """The last answer's text, as the template is to show it."""
        if self._answer_begin is not None:
            end = max(self._answer_begin, self.length - self._held(self._closing))
            ids = self.ids[self._answer_begin - self.unknown : end - self.unknown]
            text = yield from self._decode(ids, skip_special=True)
            shown = yield from self._decode(ids)
            # Special tokens behind an answer end it; those within are a part of what was said.
            self.said[-1].message.content = text if shown.startswith(text) else shown
            self._answer_begin = None

    def _held(self, ids: list[int]) -> int:
        """How much of the start of `ids` the session ends with."""
        longest = min(len(ids), len(self.ids))
        return next(n for n in range(longest, -1, -1) if self.ids[len(self.ids) - n :] == ids[:n])

    def _append(self, question: ChatMessage) -> Plan[list[int]]:
        """What to send where the rendering only grows and shows the answer as it was generated."""
        count = len(self.said)
        begin = self.said[-2].end if count > 1 else None
        if begin is None or begin < self.unknown or self.said[-1].end != self.length:
            return []
        held = yield from self._decode(self.ids[begin - self.unknown :])
        shown = yield from self._apply(question, count - 1)
        rest = yield from self._apply(question, count)
        closing = self._closing[self._held(self._closing) :]
        closing_text = yield from self._decode(closing)
        grows = (shown.first_changed_message, rest.first_changed_message) == (count - 1, count)
        same = grows and held + closing_text + rest.text == shown.text
        return [*closing, *rest.ids] if same else []

    def _after_unknown(self, question: ChatMessage) -> Plan[list[int]]:
        """Whatever the answer was: what the renderings of two answers end with."""
        yes = yield from self._apply(question, stand_in=_STAND_INS[0])
        no = yield from self._apply(question, stand_in=_STAND_INS[1])
        common = _common(yes.ids[::-1], no.ids[::-1])
        if common in (len(yes.ids), len(no.ids)):
            message = "the chat template does not show the assistant's answers"
            raise KvasirError.of(grpc.StatusCode.FAILED_PRECONDITION, message)
        ids = list(yes.ids[len(yes.ids) - common :])
        return ids[self._held(ids) :]

    def _rewrite(self, turn: Turn) -> Plan[None]:
        """From where the session and the rendering begin to differ."""
        start = len(self.said)
        while True:
            # Back to a question whose end is known: after it the template begins an answer anew.
            while start and not self.said[start - 1].is_ended_question():
                start -= 1
            border = (self.said[start - 1].end or 0) if start else 0
            if border < self.unknown or start < self.first_known:
                turn.ids = yield from self._after_unknown(turn.question.message)
                return
            response = yield from self._apply(turn.question.message, start)
            if response.first_changed_message >= start:
                break
            start = response.first_changed_message
        ids, held = list(response.ids), self.ids[border - self.unknown :]
        common = min(_common(ids, held), len(ids) - 1)  # the model needs a token to go on from
        turn.keep, turn.ids = border + common, ids[common:]
