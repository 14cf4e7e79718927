"""Little stories: a grammar that writes them, and the same grammar as a parser that judges them.

A plot is a list of beats; a beat is a choice of sentences with slots. A slot keeps its value for
the whole story, so the parser rejects a story that forgets its hero's name, changes a colour or
mixes up `he` and `she`, as well as any sentence that the grammar does not have.
"""

import random
import re

import world

Bindings = dict[str, str]

KINDS = [*dict.fromkeys([*world.ANIMALS, *world.PETS]), "girl", "boy"]
HERO_ADJECTIVES = (
    "a little|a young|an old|a small|a brave|a kind|a clever|a shy|a happy|a quiet|a curious|"
    "a friendly"
).split("|")
NEAR = (
    "in a small house|in the forest|near the river|by the sea|in a little village|under an old "
    "tree|on a hill|near the old mill|in a quiet valley|at the edge of the wood"
).split("|")
HABITS = (
    "singing|running in the grass|looking at the stars|reading|dancing|climbing hills|swimming in "
    "the lake|picking flowers|telling jokes|baking bread|sleeping in the sun|listening to the birds"
).split("|")
TOYS = "kite ball book boat hat drum bell scarf basket feather lamp shell button ribbon".split()
SHELTERS = "an old barn|a dry cave|a hollow tree|a little hut|an empty house|a big tent".split("|")
GOALS = "the sea|the big city|the snow|the high mountains|the desert|the end of the river".split(
    "|"
)
COUNTS = world.NUMBERS[1:12]

_DOMAINS: dict[str, list[str]] = {
    "kind": KINDS, "fkind": KINDS, "adj": HERO_ADJECTIVES, "near": NEAR, "habit": HABITS,
    "habit2": HABITS, "thing": TOYS, "colour": world.COLOURS, "n": COUNTS,
    "spot": list(world.SPOTS), "spot1": list(world.SPOTS), "spot2": list(world.SPOTS),
    "food": world.FOODS, "shelter": SHELTERS, "goal": GOALS,
    "outing": world.OUTINGS, "outing2": world.OUTINGS,
}  # fmt: skip
_DISTINCT = [("kind", "fkind"), ("habit", "habit2"), ("spot", "spot1", "spot2"),
             ("outing", "outing2"), ("hero", "friend")]  # fmt: skip
_PRONOUNS = {
    "m": {"he": "he", "He": "He", "him": "him", "his": "his", "His": "His"},
    "f": {"he": "she", "He": "She", "him": "her", "his": "her", "His": "Her"},
}

_OPENINGS = (
    "Once upon a time there was {a_kind} named {hero}.",
    "Once upon a time there was {adj} {kind} named {hero}.",
    "Once there was {adj} {kind} called {hero}.",
    "Once upon a time {adj} {kind} named {hero} lived {near}.",
    "There was once {adj} {kind} whose name was {hero}.",
    "{hero} was {adj} {kind}.",
    "{hero} was {adj} {kind} who lived {near}.",
    "In {town} there lived {adj} {kind} named {hero}.",
    "Long ago, {a_kind} named {hero} lived {near}.",
    "This is the story of {adj} {kind} named {hero}.",
    "Once upon a time, there was {a_kind} named {hero}.",
    "Once upon a time, there was {adj} {kind} called {hero}.",
    "Once upon a time, in {town}, there lived {a_kind} called {hero}.",
    "{A_kind} named {hero} lived {near}.",
    "There was {adj} {kind} named {hero} who lived {near}.",
    "One sunny morning {adj} {kind} named {hero} woke up early.",
)
# `?slot` opens a sentence that is only possible while the slot has no value.
_HOMES = (
    "",
    "?near {He} lived {near}.",
    "?near {hero} lived {near}.",
    "?town {He} came from {town}.",
)
_HABITS = (
    "", "{He} liked {habit} and {habit2}.", "{hero} loved {habit}.",
    "More than anything, {he} loved {habit}.", "Every day {hero} spent hours {habit}.",
)  # fmt: skip
_MEETINGS = (
    "On the way {he} met {a_fkind} named {friend}.",
    "Just then {a_fkind} named {friend} came by.",
    "Soon {he} met {a_fkind} whose name was {friend}.",
)
_ENDINGS = (
    "From that day on, {hero} and {friend} were the best of friends.",
    "{hero} and {friend} played together until the sun went down.",
    "{hero} thanked {friend}, and they went home together.",
    "That night {hero} went to bed tired and happy.",
    "{hero} was so happy that {he} danced all the way home.",
    "And {hero} never forgot that day.",
    "And they all lived happily ever after.",
)
_START = (_OPENINGS, _HOMES, _HABITS)

PLOTS: dict[str, tuple[tuple[str, ...], ...]] = {
    "lost": (
        *_START,
        ("{He} had {a_colour} {thing} and took it everywhere.",
         "{hero} had {a_colour} {thing} that {he} loved very much."),
        ("One morning the {thing} was gone.", "But one windy day {he} lost the {thing}.",
         "One day {he} could not find the {thing}."),
        ("{He} looked {spot1}, but it was not there.",
         "{hero} looked {spot1} and {spot2}, but there was no {thing}."),
        _MEETINGS,
        ('"Have you seen my {colour} {thing}?" asked {hero}.', '"Have you seen {a_colour} {thing}?" asked {hero}.'),
        ('"Yes, I have," said {friend}. "It is {spot}."',
         '"I saw {a_colour} {thing} {spot}," said {friend}.'),
        ("{hero} ran there and found the {thing}.",
         "And there it was, {spot}, just as {friend} had said."),
        _ENDINGS,
    ),
    "share": (
        *_START,
        ("{He} had {n} {colour} {things}.", "{hero} kept {n} {colour} {things} in a box."),
        ("One day {he} met {a_fkind} named {friend}, who had no {things} at all.",
         "One afternoon {a_fkind} named {friend} came to visit, who had never had {a_thing}."),
        ("{friend} looked at the {colour} {things} and sighed.", '"What pretty {things}!" said {friend}.'),
        ("{hero} thought about it for a while.", ""),
        ('"You may have one of my {things}," said {hero}.', "Then {hero} gave {friend} one of the {things}."),
        ('"Thank you, {hero}!" said {friend}.', "{friend} was very happy."),
        _ENDINGS,
    ),
    "rain": (
        *_START,
        ("One day it began to rain very hard.", "One evening a great storm came."),
        ("{hero} ran to {shelter}.", "{He} got wet and ran to {shelter}."),
        ("Inside sat {a_fkind} named {friend}.", "There {he} found {a_fkind} named {friend}."),
        ('"May I stay here?" asked {hero}.', '"Is there room for me?" asked {hero}.'),
        ('"Of course," said {friend}. "Come in and get dry."',
         '"Yes," said {friend}. "There is room for two."'),
        ("They ate some {food} and told each other stories.", "They shared the {food} that {friend} had."),
        ("When the rain stopped, they saw a rainbow in the sky.", "Soon the sun came out again."),
        _ENDINGS,
    ),
    "journey": (
        *_START,
        ("One day {hero} wanted to see {goal}.", "{hero} had always wanted to see {goal}."),
        ("So {he} packed some {food} and {a_colour} {thing}.",
         "{He} took {his} {colour} {thing} and set out early in the morning."),
        ("The way was long, but {he} was not afraid.", "{He} walked past the {outing} and the {outing2}.", ""),
        _MEETINGS,
        ('"Where are you going?" asked {friend}.',),
        ('"I am going to see {goal}," said {hero}.', '"I want to see {goal}," said {hero}.'),
        ('"May I come with you?" asked {friend}.', '"Then I will come with you," said {friend}.'),
        ("They walked together for {n} days.", "So they went on together."),
        ("At last they saw {goal}.", "At last they stood and looked at {goal}."),
        _ENDINGS,
    ),
    "birthday": (
        *_START,
        ("{His} best friend was {a_fkind} named {friend}.", "{He} had a friend, {a_fkind} named {friend}."),
        ("Soon it was {friend}'s birthday.", "One day it was {friend}'s birthday."),
        ("{hero} wanted to give {friend} something nice.", "{hero} thought of a gift for a long time."),
        ("So {he} made {a_colour} {thing}.", "So {he} went to the market and bought {a_colour} {thing}."),
        ('"Happy birthday, {friend}!" said {hero}.',),
        ("{friend} opened the box and smiled.", "{friend} opened the box and laughed with joy."),
        ('"This is the best {thing} in the world," said {friend}.', '"I love this {thing}!" said {friend}.'),
        ("They ate {food} and sang songs.", "They ate {food} and danced."),
        _ENDINGS,
    ),
    "garden": (
        *_START,
        ("In spring {hero} planted {n} seeds in the garden.", "One day {hero} planted {n} seeds."),
        ("Every day {he} gave them water.", "{He} gave them water every morning."),
        ("For many days nothing happened.", "{He} waited and waited."),
        ("Then, one morning, there were {n} {colour} flowers.",
         "At last {n} {colour} flowers opened in the sun."),
        ("{A_fkind} named {friend} stopped to look.", "A neighbour named {friend} came to look."),
        ('"How pretty they are!" said {friend}.', '"I have never seen such {colour} flowers," said {friend}.'),
        ("{hero} gave {friend} one of the flowers.", "So {hero} gave {friend} the best flower of all."),
        _ENDINGS,
    ),
    "night": (
        *_START,
        ("But {hero} was afraid of the dark.", "There was one thing that {he} did not like: the dark."),
        ("One night {he} heard a strange sound.", "One night there was a sound {spot}."),
        ("{He} took a lamp and went to look.", "{hero} was afraid, but {he} went to look."),
        ("{He} saw {a_fkind} that was crying.", "There sat a very sad {fkind}."),
        ('"My name is {friend}," said the {fkind}. "I am lost."',),
        ('"Do not cry, {friend}," said {hero}. "I will take you home."',
         '"I will help you," said {hero}.'),
        ("They walked through the dark hand in hand.", "So {hero} took {friend} home through the dark."),
        ("After that night {hero} was not afraid of the dark any more.",
         "Now {hero} knew that the dark was nothing to be afraid of."),
        ("", *_ENDINGS),
    ),
    "boat": (
        *_START,
        ("One summer {hero} built {a_colour} boat.", "One day {hero} found {a_colour} boat."),
        ("{He} sailed down the river, past the {outing} and the {outing2}.",
         "{He} sailed past the {outing} and sang a song."),
        ("Suddenly the boat hit a stone.", "Then the wind grew strong and the boat turned over."),
        ('"Help! Help!" cried {hero}.',),
        ("{A_fkind} named {friend} heard {him} and came to help.",
         "Luckily, {a_fkind} named {friend} was near and pulled {him} out of the water."),
        ("Together they mended the {colour} boat.", "{friend} helped {him} to mend the boat."),
        ('"Thank you, {friend}," said {hero}.', '"You are very kind, {friend}," said {hero}.'),
        _ENDINGS,
    ),
}  # fmt: skip

_SLOT = re.compile(r"{(\w+)}")
_NAME = r"[A-Z][a-z]+"


def _derived(slot: str, bindings: Bindings) -> str | None:
    """The value of a slot that follows from others, if they are known."""
    if slot in bindings:
        return bindings[slot]
    if slot == "things":
        thing = bindings.get("thing")
        return world.THINGS[thing] if thing else None
    if slot[:2] in ("a_", "A_"):
        base = bindings.get(slot[2:])
        if base is None:
            return None
        phrase = world.article(base)
        return phrase if slot[0] == "a" else phrase[0].upper() + phrase[1:]
    return None


def _allowed(template: str, bindings: Bindings) -> str | None:
    """The template without its `?slot` condition; None if the condition fails."""
    if not template.startswith("?"):
        return template
    slot, rest = template[1:].split(" ", 1)
    return None if slot in bindings else rest


def _gender_of(bindings: Bindings) -> str | None:
    """What the hero must be; nothing where it may be either: nobody knows a name never seen."""
    kind, hero = bindings.get("kind"), bindings.get("hero")
    known = not world.held_out("name", hero)
    if kind == "girl" or (kind != "boy" and known and hero in world.GIRLS):
        return "f"
    if kind == "boy" or (known and hero in world.BOYS):
        return "m"
    return None


def write(
    rng: random.Random, want_held_out: bool = False, given: Bindings | None = None
) -> tuple[str, Bindings]:
    """Writes a story; `given` fixes some slots. Returns it with the values of all slots."""
    bindings: Bindings = dict(given or {})
    bindings.setdefault("kind", rng.choice(KINDS))
    bindings.setdefault("hero", world.name(rng, want_held_out))
    gender = _gender_of(bindings) or rng.choice("mf")
    bindings.update(_PRONOUNS[gender])
    plot = rng.choice(list(PLOTS))
    sentences = []
    for beat in PLOTS[plot]:
        options = [t for t in (_allowed(t, bindings) for t in beat) if t is not None]
        template = rng.choice(options)
        if template:
            sentences.append(
                _SLOT.sub(lambda m: _fill(m[1], bindings, rng, want_held_out), template)
            )
    return " ".join(sentences), bindings


def _fill(slot: str, bindings: Bindings, rng: random.Random, want_held_out: bool) -> str:
    base = "thing" if slot == "things" else slot.removeprefix("a_").removeprefix("A_")
    if base not in bindings:
        taken = {bindings.get(s) for group in _DISTINCT if base in group for s in group}
        while True:
            if base == "friend":
                value = world.name(rng, want_held_out)
            elif base == "town":
                value = world.town(rng, want_held_out)
            else:
                value = rng.choice(_DOMAINS[base])
            if value not in taken:
                break
        bindings[base] = value
    value_now = _derived(slot, bindings)
    assert value_now is not None
    return value_now


def parse(text: str) -> Bindings | None:
    """The slots of the story, or None if the grammar does not accept the whole text."""
    for beats in PLOTS.values():
        for gender, pronouns in _PRONOUNS.items():
            found = _match(text, beats, dict(pronouns))
            if found and _gender_of(found) in (None, gender):
                return found
    return None


def _match(text: str, beats: tuple[tuple[str, ...], ...], bindings: Bindings) -> Bindings | None:
    if not beats:
        return bindings if not text else None
    for template in beats[0]:
        sentence = _allowed(template, bindings)
        if sentence is None:
            continue
        if not sentence:
            found = _match(text, beats[1:], bindings)
        else:
            found = _match_sentence(text, sentence, beats[1:], bindings)
        if found:
            return found
    return None


def _match_sentence(
    text: str, sentence: str, rest: tuple[tuple[str, ...], ...], bindings: Bindings
) -> Bindings | None:
    seen: set[str] = set()
    pattern = ""
    for index, part in enumerate(_SLOT.split(sentence)):
        if index % 2 == 0:
            pattern += re.escape(part)
            continue
        value = _derived(part, bindings)
        if value is not None:
            pattern += re.escape(value)
        elif part in seen:
            pattern += f"(?P={part})"
        else:
            seen.add(part)
            pattern += f"(?P<{part}>{_domain_pattern(part)})"
    found = re.match(pattern + r"(?: |$)", text)
    if not found:
        return None
    bound = dict(bindings)
    for slot, value in found.groupdict().items():
        if slot == "things":
            bound["thing"] = next(one for one, many in world.THINGS.items() if many == value)
        elif slot[:2] in ("a_", "A_"):
            bound[slot[2:]] = value.split(" ", 1)[1]
        else:
            bound[slot] = value
    for group in _DISTINCT:
        values = [bound[s] for s in group if s in bound]
        if len(set(values)) < len(values):
            return None
    return _match(text[found.end() :], rest, bound)


def _domain_pattern(slot: str) -> str:
    if slot in ("hero", "friend", "town"):
        return _NAME
    if slot == "things":
        return "|".join(world.THINGS[t] for t in TOYS)
    if slot[:2] in ("a_", "A_"):
        phrases = [world.article(v) for v in _DOMAINS[slot[2:]]]
        if slot[0] == "A":
            phrases = [p[0].upper() + p[1:] for p in phrases]
        return "|".join(phrases)
    return "|".join(map(re.escape, _DOMAINS[slot]))
