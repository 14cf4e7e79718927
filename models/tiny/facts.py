"""What a user tells about the world, every way to say it, and every question about it."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import world


@dataclass(frozen=True)
class Question:
    """One thing that can be asked about a fact."""

    kind: str  # what the evaluation counts it under
    forms: tuple[str, ...]
    answer: str
    unknown: str  # completes "You have not told me ..."


@dataclass
class Fact:
    """Something that the user tells. Two facts of one dialogue never share a `topic`."""

    topic: tuple[str, ...]
    tells: tuple[str, ...]
    replies: tuple[str, ...]
    questions: tuple[Question, ...]
    value: tuple[str, ...]  # what hold-out looks at
    can_change: bool = False
    told_as: int = -1
    asked: set[str] = field(default_factory=set)  # kinds of the questions asked already

    def open_questions(self) -> tuple[Question, ...]:
        """The questions that the dialogue has not asked."""
        return tuple(q for q in self.questions if q.kind not in self.asked)


def _name(rng: random.Random, held: bool) -> Fact:
    name = world.name(rng, held)
    return Fact(
        ("name",),
        (f"My name is {name}.", f"I am {name}.", f"I'm {name}.", f"You can call me {name}.",
         f"Hi, I am {name}.", f"Hello, my name is {name}.", f"People call me {name}.",
         f"Hi there, I'm {name}.", f"My friends call me {name}."),
        (f"Nice to meet you, {name}!", f"Hello, {name}!", "It is nice to meet you.",
         f"Hello, {name}. How can I help you?", f"What a nice name, {name}!", "Nice to meet you!"),
        (Question("name",
                  ("What is my name?", "What's my name?", "Do you know my name?", "Who am I?",
                   "Do you remember my name?", "Can you tell me my name?", "What am I called?",
                   "Please tell me my name.", "Did I tell you my name?"),
                  f"Your name is {name}.", "your name"),),
        (name,),
    )  # fmt: skip


def _home(rng: random.Random, held: bool) -> Fact:
    town = world.town(rng, held)
    return Fact(
        ("home",),
        (f"I live in {town}.", f"My home is in {town}.", f"I come from {town}.",
         f"We live in a town called {town}.", f"My house is in {town}.", f"I am from {town}.",
         f"I live in a small town called {town}.", f"I moved to {town} last year."),
        (f"{town} sounds like a nice place.", "That sounds like a good place to live.",
         f"I would like to see {town}.", "How nice!"),
        (Question("home",
                  ("Where do I live?", "Where is my home?", "Which town do I live in?",
                   "Do you remember where I live?", "What is the name of my town?",
                   "Do you know where I live?", "In which town do I live?", "Where am I from?"),
                  f"You live in {town}.", "where you live"),),
        (town,), can_change=True,
    )  # fmt: skip


def _count(rng: random.Random) -> str:
    if rng.random() < 0.15:
        return str(rng.randint(2, 9))
    return rng.choice(world.NUMBERS[1:])


def _things(rng: random.Random, held: bool, owner: str = "I") -> Fact:
    while True:
        count, colour = _count(rng), rng.choice(world.COLOURS)
        thing = rng.choice(list(world.THINGS))
        if world.held_out("things", count, colour, thing) == held:
            break
    many = world.THINGS[thing]
    what = f"{count} {colour} {many}"
    tells: tuple[str, ...]
    count_forms: tuple[str, ...]
    if owner == "I":
        tells = (f"I have {what}.", f"I own {what}.", f"There are {what} in my room.",
                 f"I bought {what} today.", f"I collect {many}: I have {count} {colour} ones.",
                 f"My {many} are {colour}, and there are {count} of them.",
                 f"As for {many}, I have {count}, all {colour}.",
                 f"I love {many}. I have {count} {colour} ones.")  # fmt: skip
        count_forms = (f"How many {many} do I have?", f"How many {many} have I got?",
                       f"Can you tell me how many {many} I have?",
                       f"Do you remember how many {many} I have?",
                       f"What is the number of my {many}?")  # fmt: skip
        subject, verb, whose, asked = "You", "have", "Your", f"how many {many} you have"
    else:
        tells = (f"My {owner} has {what}.", f"My {owner} bought {what}.",
                 f"My {owner} collects {many}: {count} {colour} ones.",
                 f"My {owner}'s {many} are {colour}, and there are {count} of them.")  # fmt: skip
        count_forms = (f"How many {many} does my {owner} have?",
                       f"How many {many} has my {owner} got?",
                       f"Do you remember how many {many} my {owner} has?")  # fmt: skip
        subject, verb, whose = f"Your {owner}", "has", f"Your {owner}'s"
        asked = f"how many {many} your {owner} has"
    my = whose.replace("Your", "my")
    return Fact(
        ("things", owner, thing),
        tells,
        (f"{count.capitalize()} {colour} {many}! That is nice.", "That sounds like fun.",
         f"I like {colour} {many}.", "How pretty they must be!", f"Oh, {many}! How nice."),
        (Question("count", count_forms, f"{subject} {verb} {what}.", asked),
         Question("colour",
                  (f"What colour are {my} {many}?", f"Which colour are {my} {many}?",
                   f"What color are {my} {many}?", f"Do you know what colour {my} {many} are?"),
                  f"{whose} {many} are {colour}.", f"what colour {whose.lower()} {many} are")),
        (count, colour, thing),
    )  # fmt: skip


def _one_thing(rng: random.Random, held: bool) -> Fact:
    while True:
        colour = rng.choice(world.COLOURS)
        thing = rng.choice([*world.THINGS, "house", "room", "coat", "garden", "door"])
        if world.held_out("one", colour, thing) == held:
            break
    return Fact(
        ("things", "I", thing),
        (f"I have {world.article(colour)} {thing}.", f"My {thing} is {colour}.",
         f"The colour of my {thing} is {colour}.", f"I painted my {thing} {colour}."),
        (f"{world.article(colour).capitalize()} {thing}! How nice.", f"I like {colour} things.",
         "That must look nice.", "How lovely!"),
        (Question("colour",
                  (f"What colour is my {thing}?", f"Which colour is my {thing}?",
                   f"What color is my {thing}?", f"Do you remember what colour my {thing} is?"),
                  f"Your {thing} is {colour}.", f"what colour your {thing} is"),),
        (colour, thing), can_change=True,
    )  # fmt: skip


def _pet(rng: random.Random, held: bool) -> Fact:
    pet, kind, colour = world.name(rng, held), rng.choice(world.PETS), rng.choice(world.COLOURS)
    name_forms = (f"What is my {kind} called?", f"What is the name of my {kind}?",
                  f"What's my {kind}'s name?", f"What is my {kind}'s name?",
                  f"Do you remember my {kind}'s name?", f"Can you tell me my {kind}'s name?")  # fmt: skip
    questions = [
        Question("pet name", name_forms, f"Your {kind} is called {pet}.", f"what your {kind} is called"),
        Question("who", (f"Who is {pet}?", f"What kind of animal is {pet}?", f"Do you know who {pet} is?"),
                 f"{pet} is your {kind}.", f"who {pet} is"),
    ]  # fmt: skip
    tells: tuple[str, ...]
    if rng.random() < 0.4:
        tells = (f"I have {world.article(colour)} {kind} named {pet}.",
                 f"I have {world.article(colour)} {kind} called {pet}.",
                 f"My {kind} {pet} is {colour}.", f"I have {world.article(colour)} {kind}. Its name is {pet}.")  # fmt: skip
        questions.append(
            Question("colour", (f"What colour is my {kind}?", f"What colour is {pet}?", f"What color is my {kind}?"),
                     f"Your {kind} is {colour}.", f"what colour your {kind} is"))  # fmt: skip
    else:
        tells = (f"I have {world.article(kind)} named {pet}.", f"My {kind} is called {pet}.",
                 f"My {kind}'s name is {pet}.", f"I have {world.article(kind)}. Its name is {pet}.",
                 f"{pet} is my {kind}.", f"The name of my {kind} is {pet}.")  # fmt: skip
    return Fact(
        ("animal", kind), tells,
        (f"{pet} is a good name for {world.article(kind)}.", f"I like {kind}s." if kind not in ("mouse", "fish", "sheep", "pony", "puppy") else "I like animals.",
         f"Please say hello to {pet}.", "How sweet!", f"{pet} must be a lovely {kind}."),
        tuple(questions), (pet,),
    )  # fmt: skip


def _favourite(rng: random.Random, held: bool) -> Fact:
    while True:
        what = rng.choice(list(world.FAVOURITES))
        made_up = rng.random() < 0.2 and what not in ("season", "day")
        value = world.made_up_word(rng) if made_up else rng.choice(world.FAVOURITES[what])
        if world.held_out("favourite", what, value) == held:
            break
    return Fact(
        ("favourite", what),
        (f"My favourite {what} is {value}.", f"The {what} I like best is {value}.",
         f"My favorite {what} is {value}.", f"{value[0].upper() + value[1:]} is my favourite {what}."),
        (f"I like {value} too.", "Good choice!", "That is a good choice.", "I see. Why do you like it?"),
        (Question("favourite",
                  (f"What is my favourite {what}?", f"Which {what} do I like best?",
                   f"What's my favourite {what}?", f"What is my favorite {what}?",
                   f"Do you remember my favourite {what}?"),
                  f"Your favourite {what} is {value}.", f"your favourite {what}"),),
        (what, value), can_change=True,
    )  # fmt: skip


def _relative(rng: random.Random, held: bool) -> Fact:
    who, name = rng.choice(world.RELATIVES), world.name(rng, held)
    return Fact(
        ("relative", who),
        (f"My {who} is called {name}.", f"My {who}'s name is {name}.",
         f"{name}, my {who}, is very kind.", f"{name} is my {who}."),
        (f"{name} is a nice name.", "That is a nice name.", f"Please say hello to {name}.", "I see."),
        (Question("relative",
                  (f"What is my {who} called?", f"What is my {who}'s name?", f"What's my {who}'s name?",
                   f"What is the name of my {who}?", f"Do you remember my {who}'s name?"),
                  f"Your {who} is called {name}.", f"what your {who} is called"),
         Question("who", (f"Who is {name}?", f"Do you know who {name} is?"),
                  f"{name} is your {who}.", f"who {name} is")),
        (name,),
    )  # fmt: skip


def _relative_home(rng: random.Random, held: bool) -> Fact:
    who, town = rng.choice(world.RELATIVES), world.town(rng, held)
    return Fact(
        ("relative home", who),
        (f"My {who} lives in {town}.", f"My {who}'s house is in {town}.", f"My {who} comes from {town}."),
        (f"Is {town} far away?", "Do you visit often?", f"I would like to see {town}.", "How nice!"),
        (Question("home",
                  (f"Where does my {who} live?", f"Which town does my {who} live in?",
                   f"Do you know where my {who} lives?", f"Where is my {who}'s house?"),
                  f"Your {who} lives in {town}.", f"where your {who} lives"),),
        (town,), can_change=True,
    )  # fmt: skip


def _relative_things(rng: random.Random, held: bool) -> Fact:
    return _things(rng, held, owner=rng.choice(world.RELATIVES))


def _age(rng: random.Random, held: bool) -> Fact:
    while True:
        age = str(rng.randint(4, 99)) if rng.random() < 0.5 else rng.choice(world.NUMBERS[3:])
        if world.held_out("age", age) == held:
            break
    return Fact(
        ("age",), (f"I am {age} years old.", f"I'm {age} years old.", f"My age is {age}."),
        ("That is a good age.", f"{age.capitalize()} is a good age.", "I see."),
        (Question("age", ("How old am I?", "What is my age?", "Do you know how old I am?", "Do you remember my age?"),
                  f"You are {age} years old.", "how old you are"),),
        (age,), can_change=True,
    )  # fmt: skip


def _job(rng: random.Random, held: bool) -> Fact:
    while True:
        job = rng.choice(world.JOBS) if rng.random() < 0.8 else world.made_up_word(rng)
        if world.held_out("job", job) == held:
            break
    a_job = world.article(job)
    return Fact(
        ("job",), (f"I am {a_job}.", f"I work as {a_job}.", f"My job is to be {a_job}.", f"I'm {a_job}."),
        ("That is a fine job.", f"It must be nice to be {a_job}.", "That sounds like hard work."),
        (Question("job", ("What is my job?", "What do I work as?", "What's my job?", "Do you remember my job?"),
                  f"You are {a_job}.", "what your job is"),),
        (job,), can_change=True,
    )  # fmt: skip


def _kept(rng: random.Random, held: bool) -> Fact:
    while True:
        thing, spot = rng.choice(list(world.THINGS)), rng.choice(world.SPOTS)
        if world.held_out("kept", thing, spot) == held:
            break
    return Fact(
        ("kept", thing), (f"My {thing} is {spot}.", f"I put my {thing} {spot}.", f"I left my {thing} {spot}."),
        ("I will remember that.", f"{spot[0].upper() + spot[1:]}. I see.", "All right.", "That is a good place for it."),
        (Question("place", (f"Where is my {thing}?", f"Where did I put my {thing}?",
                            f"Where did I leave my {thing}?", f"Do you know where my {thing} is?"),
                  f"Your {thing} is {spot}.", f"where your {thing} is"),),
        (thing, spot), can_change=True,
    )  # fmt: skip


def _trip(rng: random.Random, held: bool) -> Fact:
    while True:
        when = rng.choice(["yesterday", "today", *(f"on {d}" for d in world.DAYS)])
        where = rng.choice(world.OUTINGS)
        if world.held_out("trip", when, where) == held:
            break
    first = when[0].upper() + when[1:]
    return Fact(
        ("trip", when), (f"{first} I went to the {where}.", f"I went to the {where} {when}.", f"{first} we visited the {where}."),
        (f"Did you like the {where}?", "That sounds like a nice day.", "How nice! Was it fun?"),
        (Question("trip", (f"Where did I go {when}?", f"Where was I {when}?", f"Do you remember where I went {when}?"),
                  f"You went to the {where} {when}.", f"where you went {when}"),),
        (when, where),
    )  # fmt: skip


Maker = Callable[[random.Random, bool], Fact]
MAKERS: tuple[Maker, ...] = (
    _name, _name, _home, _things, _things, _things, _one_thing, _pet, _pet, _favourite, _favourite,
    _relative, _relative_home, _relative_things, _age, _job, _kept, _trip,
)  # fmt: skip
# Where the value stands before what it is asked by, which is the hardest to learn.
THING_MAKERS: tuple[Maker, ...] = (
    _things, _things, _things, _one_thing, _pet, _relative, _relative_things,
)  # fmt: skip
