"""The words of the small world, and which of its facts are held out of training.

Everything is drawn from a `random.Random` that the caller seeds, so that the same seed makes the
same world anywhere. A fact whose `held_out` key says so never occurs in training data; the
evaluation asks for such facts only.
"""

import hashlib
import random

COLOURS = (
    "red blue green yellow orange purple pink brown black white grey golden silver violet "
    "crimson turquoise"
).split()
NUMBERS = (
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty"
).split()
# Singular and plural of what somebody owns.
THINGS = {
    "kite": "kites", "ball": "balls", "book": "books", "boat": "boats", "hat": "hats",
    "apple": "apples", "stone": "stones", "flower": "flowers", "shell": "shells",
    "button": "buttons", "cup": "cups", "drum": "drums", "lamp": "lamps", "coin": "coins",
    "pencil": "pencils", "box": "boxes", "key": "keys", "bell": "bells", "scarf": "scarves",
    "candle": "candles", "basket": "baskets", "feather": "feathers", "chair": "chairs",
    "car": "cars", "bike": "bikes", "balloon": "balloons", "marble": "marbles", "pear": "pears",
    "shirt": "shirts", "bag": "bags", "umbrella": "umbrellas", "ribbon": "ribbons",
    "bottle": "bottles", "toy": "toys", "train": "trains", "egg": "eggs", "leaf": "leaves",
    "glove": "gloves", "sock": "socks", "rose": "roses", "guitar": "guitars", "clock": "clocks",
}  # fmt: skip
ANIMALS = (
    "fox cat dog rabbit bear mouse bird horse duck frog owl hen goat sheep cow pig turtle "
    "squirrel hedgehog deer wolf otter badger donkey goose lion beaver crow"
).split()
PETS = (
    "cat dog rabbit mouse bird horse duck frog owl hen goat sheep pig turtle hamster parrot fish "
    "pony kitten puppy"
).split()
RELATIVES = (
    "sister brother mother father friend aunt uncle cousin teacher neighbour grandmother "
    "grandfather son daughter wife husband"
).split()
JOBS = (
    "baker teacher doctor farmer painter writer sailor cook nurse tailor gardener pilot singer "
    "builder driver fisher miller carpenter smith engineer"
).split()
FOODS = (
    "bread soup cheese honey rice cake pizza pasta jam porridge salad fish chocolate pancakes "
    "apples pears plums cherries berries carrots beans noodles pie toast yoghurt"
).split()
GAMES = "chess football tennis tag cards dominoes hide-and-seek hopscotch golf darts".split()
SEASONS = "spring summer autumn winter".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
FAVOURITES = {
    "colour": COLOURS, "food": FOODS, "game": GAMES, "season": SEASONS,
    "animal": [*(f"the {a}" for a in ANIMALS), *"cats dogs rabbits horses owls bears".split()],
    "day": DAYS, "drink": "tea milk water juice coffee lemonade cocoa".split(),
    "fruit": [f"the {f}" for f in
              "apple pear plum cherry banana melon peach mango orange lemon grape".split()],
}  # fmt: skip
# Where something is kept, and where somebody goes.
SPOTS = (
    "under the bed", "on the table", "in the drawer", "behind the door", "in the kitchen",
    "on the shelf", "in the garden", "under the chair", "in the box", "near the window",
    "in the attic", "on the roof", "behind the tree", "in the basket", "under the bridge",
    "in the cupboard", "on the bench", "beside the lamp", "in the cellar", "under the mat",
)  # fmt: skip
OUTINGS = (
    "harbour forest market river school park lake beach library mill castle garden museum farm "
    "hill village bakery station theatre zoo meadow island"
).split()

GIRLS = (
    "Mira Ana Lina Eva Rosa Nora Ella Ivy Ruth Clara Maya Lucy Alice Emma Anna Sara Julia Maria "
    "Sofia Zoe Lily Grace Hannah Olga Vera Ida Freya Astrid Ingrid Tara Nina Mona Dora Pia Wilma "
    "Leila Amina Yuki Mei Priya Chloe Jane Kate Molly Daisy Rose Stella Paula Greta Heidi"
).split()
BOYS = (
    "Tom Ben Sam Max Leo Jack Paul Finn Otto Hugo Emil Karl Ivan Oscar Felix Peter Adam David "
    "Simon Martin Lukas Noah Liam Omar Ali Ravi Kenji Pablo Diego Marco Bruno Jonas Erik Nils "
    "Lars Bob Tim Jim Fred Harry George Arthur Henry Toby Theo Victor Walter Robin Alan Mark"
).split()
CITIES = (
    "London Paris Berlin Rome Madrid Oslo Vienna Lisbon Dublin Prague Athens Warsaw Zurich Bern "
    "Hamburg Munich Geneva Boston Chicago Seattle Tokyo Delhi Cairo Lagos Lima Sydney Toronto "
    "Bristol Leeds York Oxford Bergen Aarhus Turin Milan Porto Lyon Nice Ghent Riga"
).split()
TOWN_HEADS = (
    "Oak River Stone Ash Wood Green White Black Mill North South West East Red Bright Clear Deer "
    "Fox Elm Hazel Long Moss New Rock Salt Sand Silver Spring Summer Thorn Winter Wolf Glen"
).split()
TOWN_TAILS = "vale ford ton ham wick mere field bridge port dale brook haven wood hill".split()

_KNOWN_WORDS = [
    word.lower()
    for word in [*THINGS, *ANIMALS, *PETS, *RELATIVES, *JOBS, *FOODS, *OUTINGS, *GIRLS, *BOYS,
                 *CITIES, *DAYS, *COLOURS, *NUMBERS]
    if word.isalpha() and len(word) > 2
]  # fmt: skip
_ONSETS = "b c d f g h j k l m n p r s t v w z".split()
_CLUSTERS = "br dr fl gr kr pl sh st th tr bl ch sk sw qu gl".split()
_VOWELS = "a e i o u a e i o u a e i o u ai ee ie oo ou y".split()
_CODAS = "l m n r s t k d x nd rn sk lt ck p b ss th ng".split()


def made_up_word(rng: random.Random) -> str:
    """A word that nobody has seen: it can be repeated only by copying it.

    Half of them are syllables, half the front of one known word and the back of another, so that
    any piece of the vocabulary may follow any other.
    """
    if rng.random() < 0.5:
        front, back = rng.choice(_KNOWN_WORDS), rng.choice(_KNOWN_WORDS)
        return front[: rng.randint(1, 4)] + back[-rng.randint(2, 4) :]
    syllables = rng.choice((2, 2, 2, 2, 3, 1))
    word = ""
    for index in range(syllables):
        cluster = rng.random() < (0.25 if index == 0 else 0.1)
        word += rng.choice(_CLUSTERS if cluster else _ONSETS) + rng.choice(_VOWELS)
        if index + 1 < syllables and rng.random() < 0.2:
            word += rng.choice(_CODAS)
    if syllables == 1 or rng.random() < 0.4:
        word += rng.choice(_CODAS)
    return word[1:] if rng.random() < 0.12 and len(word) > 4 else word


def held_out(*key: object) -> bool:
    """One key in eight, by a hash that no seed changes, is kept out of training."""
    digest = hashlib.blake2b("\0".join(map(str, key)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") % 8 == 0


def name(rng: random.Random, want_held_out: bool) -> str:
    """A first name: half of them well known, half made up."""
    while True:
        known = rng.random() < 0.5
        word = rng.choice(GIRLS + BOYS) if known else made_up_word(rng).capitalize()
        if held_out("name", word) == want_held_out:
            return word


def town(rng: random.Random, want_held_out: bool) -> str:
    """A town: a city, a compound such as Oakvale, or a made-up word."""
    while True:
        kind = rng.random()
        if kind < 0.3:
            word = rng.choice(CITIES)
        elif kind < 0.7:
            word = rng.choice(TOWN_HEADS) + rng.choice(TOWN_TAILS)
        else:
            word = made_up_word(rng).capitalize()
        if held_out("town", word) == want_held_out:
            return word


def article(phrase: str) -> str:
    """`a` or `an`, as the phrase's first letter wants it."""
    return f"an {phrase}" if phrase[0] in "aeiou" else f"a {phrase}"


def lower_first(sentence: str) -> str:
    """The sentence as it stands after `and` or a comma."""
    if sentence.startswith(("I ", "I'", *DAYS)):
        return sentence
    return sentence[0].lower() + sentence[1:]
