"""Conversations of the small world: facts told in some turns and asked for in later ones.

A dialogue tells a few facts between small talk and stories, and asks for some of them later, for
some that were never told, and for some that were told and then corrected.
"""

import random
from dataclasses import dataclass, field

import small_talk
import stories
import world
from facts import MAKERS, THING_MAKERS, Fact, Maker, Question


@dataclass
class Turn:
    """What the user says and what the assistant answers; `kind` names a recall question."""

    user: str
    assistant: str
    kind: str = ""  # of the recall question, if it is one


@dataclass
class Dialogue:
    """A conversation with an optional system prompt."""

    system: str | None = None
    turns: list[Turn] = field(default_factory=list)

    def messages(self) -> list[dict[str, str]]:
        """The conversation as a chat template takes it."""
        out = [] if self.system is None else [{"role": "system", "content": self.system}]
        for turn in self.turns:
            out.append({"role": "user", "content": turn.user})
            out.append({"role": "assistant", "content": turn.assistant})
        return out


class Writer:
    """Writes dialogues from one source of randomness, of held-out facts only or of all others."""

    def __init__(self, rng: random.Random, want_held_out: bool) -> None:
        self.rng = rng
        self.want_held_out = want_held_out

    def dialogue(self, lessons: float = 0.0) -> Dialogue:
        """A conversation of two to fourteen turns, or, in the given share, a short lesson."""
        rng = self.rng
        out = Dialogue(system=small_talk.system_prompt(rng))
        if rng.random() < lessons:
            return self._lesson(out)
        length = min(14, 2 + int(rng.expovariate(0.22)))
        known: list[Fact] = []
        for index in range(length):
            roll = rng.random()
            if rng.random() < 0.03:
                self._echo(out)
            elif index == 0 or not known or roll < 0.34:
                self.tell_turn(out, known)
            elif roll < 0.42 and index < length - 1:
                self.talk_turn(out)
            elif roll < 0.45:
                self._story(out, known)
            elif roll < 0.51:
                self._change(out, known)
            elif roll < 0.62:
                self.ask_unknown_turn(out, known)
            elif any(f.open_questions() for f in known) or rng.random() < 0.2:
                self.ask_turn(out, known)
            else:
                self.tell_turn(out, known)
        return out

    def _lesson(self, out: Dialogue) -> Dialogue:
        """Lists to repeat, or many facts told at once and then asked for one by one."""
        rng = self.rng
        if rng.random() < 0.3:
            for _ in range(rng.randint(1, 3)):
                self._echo(out)
            return out
        known: list[Fact] = []
        only_things = rng.random() < 0.7
        for _ in range(rng.randint(1, 6)):
            known.append(self.fact(known, THING_MAKERS if only_things else MAKERS))
        told = self._joined_all([self.tell(f) for f in known])
        out.turns.append(Turn(told, rng.choice(small_talk.NOTED)))
        while any(f.open_questions() for f in known) and rng.random() < 0.95:
            if rng.random() < 0.2:
                self.ask_unknown_turn(out, known)
            else:
                self.ask_turn(out, known)
        return out

    def _joined_all(self, sentences: list[str]) -> str:
        """`I have ...` sentences as one list, if all are such, else one after the other."""
        items = [s.removeprefix("I have ")[:-1] for s in sentences if s.startswith("I have ")]
        if 1 < len(items) == len(sentences) and not any(". " in item for item in items):
            return f"I have {', '.join(items[:-1])} and {items[-1]}."
        return " ".join(sentences)

    def fact(self, known: list[Fact], makers: tuple[Maker, ...] = MAKERS) -> Fact:
        """A fact on a topic that the dialogue has not touched."""
        topics = {f.topic for f in known}
        names = {v for f in known for v in f.value}
        while True:
            fact = self.rng.choice(makers)(self.rng, self.want_held_out)
            clash = fact.topic in topics or (
                fact.topic[0] in ("name", "animal", "relative") and names & set(fact.value)
            )
            if not clash:
                return fact

    def tell(self, fact: Fact) -> str:
        """One way to tell the fact."""
        fact.told_as = self.rng.randrange(len(fact.tells))
        return fact.tells[fact.told_as]

    def ask(self, fact: Fact) -> tuple[Question, str]:
        """A question about a told fact, in a form whose pairing with the telling may be used.

        One that was not asked before, if there is any: its answer cannot be had from an answer.
        """
        while True:
            question = self.rng.choice(fact.open_questions() or fact.questions)
            index = self.rng.randrange(len(question.forms))
            pairing = ("pairing", fact.topic[0], question.kind, fact.told_as, index)
            if self.want_held_out or not world.held_out(*pairing):
                fact.asked.add(question.kind)
                return question, question.forms[index]

    def tell_turn(self, out: Dialogue, known: list[Fact]) -> None:
        rng = self.rng
        facts: list[Fact] = []
        for _ in range(rng.choice((1, 1, 1, 2, 2, 3))):
            facts.append(self.fact(known + facts))
        sentences = [self.tell(f) for f in facts]
        joined = len(facts) > 1 and rng.random() < 0.35 and "Its name" not in sentences[0]
        if joined and not sentences[1].startswith(("Hi", "Hello")):
            sentences[:2] = [self._joined(sentences[0], sentences[1], facts[1])]
        greeting = (
            rng.choice(small_talk.GREETINGS) + " " if not out.turns and rng.random() < 0.3 else ""
        )
        if sentences[0].startswith(("Hi", "Hello")):
            greeting = ""
        user, reply = greeting + " ".join(sentences), rng.choice(rng.choice(facts).replies)
        kind = ""
        known.extend(facts)
        if rng.random() < 0.12:
            question, form = self.ask(rng.choice(facts))
            user, reply, kind = f"{user} {form}", question.answer, question.kind
        elif rng.random() < 0.15:
            reply = rng.choice(small_talk.NOTED)
        out.turns.append(Turn(self._typed(user), reply, kind))

    def _joined(self, first: str, second: str, second_fact: Fact) -> str:
        if first.startswith("I have ") and second.startswith("I have "):
            return f"{first[:-1]} and {second.removeprefix('I have ')}"
        return f"{first[:-1]}{self.rng.choice((' and', ' and', ','))} {_lower(second, second_fact)}"

    def _change(self, out: Dialogue, known: list[Fact]) -> None:
        options = [i for i, f in enumerate(known) if f.can_change]
        if not options:
            return self.ask_turn(out, known)
        index = self.rng.choice(options)
        for _ in range(60):
            fact = self.fact(known[:index] + known[index + 1 :])
            if fact.topic == known[index].topic:
                known[index] = fact
                lead = self.rng.choice(("Actually, ", "No, ", "Sorry, ", "Wait, "))
                user = lead + _lower(self.tell(fact), fact)
                out.turns.append(Turn(self._typed(user), self.rng.choice(small_talk.CHANGED)))
                return None
        return self.ask_turn(out, known)

    def ask_turn(self, out: Dialogue, known: list[Fact]) -> None:
        rng = self.rng
        fact = rng.choice([f for f in known if f.open_questions()] or known)
        new = bool(fact.open_questions())
        question, form = self.ask(fact)
        answer, kind = question.answer, question.kind if new else "again"
        if (
            rng.random() < 0.12
            and len(known) > 1
            and kind != "who"
            and form.startswith(("What", "Wh", "How"))
        ):
            other = rng.choice([f for f in known if f is not fact])
            more, more_form = self.ask(other)
            if more.kind != "who" and more_form.startswith(("Wh", "How")):
                form = f"{form[:-1]} and {world.lower_first(more_form)}"
                answer = f"{answer[:-1]} and {world.lower_first(more.answer)}"
                kind = "two facts"
        if rng.random() < 0.1:
            form = rng.choice(small_talk.LEADS) + world.lower_first(form)
        out.turns.append(Turn(self._typed(form), answer, kind))

    def ask_unknown_turn(self, out: Dialogue, known: list[Fact]) -> None:
        fact = self.fact(known)
        if self.rng.random() < 0.5:  # a near miss: other kites, another sister
            near = {f.topic[0] for f in known}
            fact = next(
                (f for f in (self.fact(known) for _ in range(8)) if f.topic[0] in near), fact
            )
        question = self.rng.choice(fact.questions)
        answer = f"You have not told me {question.unknown}."
        out.turns.append(Turn(self._typed(self.rng.choice(question.forms)), answer, "unknown"))

    def talk_turn(self, out: Dialogue) -> None:
        user, assistant = small_talk.exchange(self.rng, out.system)
        out.turns.append(Turn(self._typed(user), assistant))

    def _echo(self, out: Dialogue) -> None:
        """A list to repeat: nothing teaches copying faster."""
        rng = self.rng
        words = [self._word() for _ in range(rng.randint(1, 8))]
        said = " ".join(words) if rng.random() < 0.5 else ", ".join(words)
        ask = rng.choice(("Say", "Repeat", "Please say", "Please repeat", "Repeat after me"))
        space = "\n" if rng.random() < 0.6 else " "
        out.turns.append(Turn(f"{ask}:{space}{said}", said, "echo"))

    def _word(self) -> str:
        rng = self.rng
        roll = rng.random()
        if roll < 0.5:
            return world.made_up_word(rng)
        if roll < 0.75:
            return world.name(rng, self.want_held_out)
        return rng.choice([*world.COLOURS, *world.NUMBERS, *world.THINGS, *world.ANIMALS])

    def _story(self, out: Dialogue, known: list[Fact]) -> None:
        rng = self.rng
        given: stories.Bindings = {}
        request = rng.choice(
            (
                "Tell me a story",
                "Please tell me a story",
                "Can you tell me a story",
                "I want a story",
            )
        )
        pets = [f for f in known if f.topic[0] == "animal"]
        if pets and rng.random() < 0.7:
            pet = rng.choice(pets)
            given = {"kind": pet.topic[1], "hero": pet.value[0]}
            request += f" about my {given['kind']}"
        elif rng.random() < 0.75:
            given["kind"] = rng.choice(stories.KINDS)
            request += f" about {world.article(given['kind'])}"
            if rng.random() < 0.6:
                given["hero"] = world.name(rng, self.want_held_out)
                request += f" {rng.choice(('named', 'called'))} {given['hero']}"
        text, slots = stories.write(rng, self.want_held_out, given)
        out.turns.append(Turn(self._typed(request + ("?" if request[0] == "C" else ".")), text))
        if rng.random() < 0.5:
            kind, hero = slots["kind"], slots["hero"]
            asked, answer = rng.choice(
                [(f"What was the {kind} called?", f"The {kind} was called {hero}."),
                 ("Who was the story about?", f"The story was about {world.article(kind)} named {hero}."),
                 (f"Who was {hero}?", f"{hero} was the {kind} in the story.")])  # fmt: skip
            out.turns.append(Turn(self._typed(asked), answer, "story"))

    def _typed(self, user: str) -> str:
        """What people type is not always tidy."""
        roll = self.rng.random()
        if roll < 0.04:
            return user[0].lower() + user[1:]
        if roll < 0.08 and user[-1] in ".?":
            return user[:-1]
        if roll < 0.10 and user[-1] in ".?":
            return user[0].lower() + user[1:-1]
        return user


def _lower(sentence: str, fact: Fact) -> str:
    """Lower-cases the first letter unless the sentence begins with a name."""
    if fact.topic[0] in ("relative", "animal") and sentence.startswith(fact.value[0]):
        return sentence
    return world.lower_first(sentence)
