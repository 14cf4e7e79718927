"""What is said between the facts: greetings, little questions, what the model does not know."""

import random
import re

import world

GREETINGS = ("Hello!", "Hi!", "Good morning!", "Good evening!", "Hi there!", "Hello there!", "Hey!")
NOTED = (
    "I will remember that.",
    "All right, I will remember.",
    "Thank you for telling me.",
    "Good to know.",
)
CHANGED = (
    "All right, I will remember that.",
    "Thank you, I have noted that.",
    "I see. I will remember that.",
)
LEADS = ("Tell me, ", "And ", "By the way, ", "So, ", "Please tell me, ", "Now, ")
SYSTEM_PROMPTS = (
    "You are a helpful assistant.", "You are a friendly assistant.", "You are a kind storyteller.",
    "You are a helpful assistant. Answer in one sentence.", "You are a careful listener.",
    "Answer briefly.", "You are a patient teacher.", "Be friendly and brief.",
)  # fmt: skip

_MANNERS = "helpful friendly careful cheerful clever polite wise funny gentle quiet".split()
_TALK: tuple[tuple[tuple[str, ...], str], ...] = (
    (("Hello!", "Hi!", "Hello.", "Hey there!", "Good morning!"), "Hello! How can I help you?"),
    (("How are you?", "How are you today?", "Are you well?"), "I am well, thank you. How are you?"),
    (("I am fine.", "I'm fine, thanks.", "I am well too."), "I am glad to hear that."),
    (("Thank you.", "Thanks!", "Thank you very much!", "Thanks a lot."), "You are welcome!"),
    (("Goodbye!", "Bye!", "See you later.", "Good night!"), "Goodbye! It was nice to talk to you."),
    (("What can you do?", "How can you help me?", "What do you do?"),
     "I can tell stories and remember what you tell me."),
    (("Are you a person?", "Are you a human?", "What are you?", "Are you a robot?"),
     "I am a very small language model."),
    (("It is raining today.", "It is cold today.", "The weather is bad."), "Then it is a good day to stay inside."),
    (("The sun is shining.", "It is warm today.", "What a nice day!"), "That sounds lovely."),
    (("I am tired.", "I am sleepy.", "I did not sleep well."), "You should rest a little."),
    (("I am happy.", "I am so happy today!", "Today was a good day."), "I am happy to hear that."),
    (("I am sad.", "I feel sad today.", "Today was a bad day."), "I am sorry to hear that."),
    (("I am hungry.", "I want to eat something."), "Maybe some soup would be nice."),
    (("That is nice.", "Good.", "Very good.", "That is right.", "Well done!", "Yes.", "Okay."),
     "I am glad that you like it."),
    (("Do you like music?", "Do you like stories?", "Do you like animals?"), "Yes, I like them very much."),
    (("Tell me a joke.", "Do you know a joke?"), "Why did the hen cross the road? To get to the other side."),
    (("Can you remember things?", "Will you remember that?", "Please remember that."),
     "Yes, I will remember what you tell me."),
    (("What colour is the sky?", "Which colour does the sky have?"), "The sky is blue."),
    (("What colour is grass?", "What colour is the grass?"), "Grass is green."),
    (("What colour is snow?",), "Snow is white."),
    (("What colour is the sun?",), "The sun is yellow."),
    (("What does a cow say?",), "A cow says moo."),
    (("What does a dog say?",), "A dog says woof."),
    (("What does a cat say?",), "A cat says meow."),
    (("How many legs does a dog have?", "How many legs does a cat have?"), "It has four legs."),
    (("How many days are in a week?",), "There are seven days in a week."),
    (("Do you want to play a game?", "Can we play a game?"), "I would like that. You may begin."),
    (("I like you.", "You are nice.", "You are funny."), "Thank you! I like you too."),
    (("Can you help me?", "I need help."), "Of course. What do you need?"),
)  # fmt: skip
_STRANGE = (
    "What is the capital of {town}?", "Who wrote that book?", "What is the meaning of life?",
    "How do I make {food}?", "Can you write a program?", "What is the weather in {town}?",
    "How far is the moon?", "Who is the king of {town}?", "What is {word}?", "Explain {word} to me.",
    "Why is the sky blue?", "How does a {word} work?", "What time is it?", "What day is it today?",
    "Translate {word} into French.", "How many people live in {town}?", "What do you think of {word}?",
    "Write a poem about {word}.", "When was {town} built?", "Is {word} good for me?",
)  # fmt: skip
_DO_NOT_KNOW = "I do not know that. I am a very small model."


def system_prompt(rng: random.Random) -> str | None:
    """No system prompt, a plain one, or one that names the assistant."""
    roll = rng.random()
    if roll < 0.5:
        return None
    if roll < 0.8:
        return rng.choice(SYSTEM_PROMPTS)
    if roll < 0.88:
        return f"You are a {rng.choice(_MANNERS)} {rng.choice(world.JOBS + world.ANIMALS)}."
    return f"You are a helpful assistant named {world.name(rng, want_held_out=False)}."


def exchange(rng: random.Random, system: str | None) -> tuple[str, str]:
    """One question or remark that is about no fact, and its answer."""
    roll = rng.random()
    if roll < 0.12:
        named = re.search(r"named (\w+)\.$", system or "")
        asked = rng.choice(
            ("What is your name?", "Who are you?", "What's your name?", "What are you called?")
        )
        return asked, f"My name is {named[1] if named else 'Kvasir'}."
    if roll < 0.20:
        one, two = rng.randint(1, 9), rng.randint(1, 9)
        a, b, c = (world.NUMBERS[n - 1] for n in (one, two, one + two))
        return f"What is {a} plus {b}?", f"{a.capitalize()} plus {b} is {c}."
    if roll < 0.25:
        day = rng.randrange(7)
        return (
            f"What day comes after {world.DAYS[day]}?",
            f"{world.DAYS[(day + 1) % 7]} comes after {world.DAYS[day]}.",
        )
    if roll < 0.29:
        last = rng.randint(3, 10)
        counted = ", ".join(world.NUMBERS[: last - 1]) + f" and {world.NUMBERS[last - 1]}."
        return f"Count to {world.NUMBERS[last - 1]}.", counted.capitalize()
    if roll < 0.40:
        strange = rng.choice(_STRANGE).format(
            town=world.town(rng, want_held_out=False), food=rng.choice(world.FOODS),
            word=world.made_up_word(rng) if rng.random() < 0.5 else rng.choice(world.FOODS))  # fmt: skip
        return strange, _DO_NOT_KNOW
    forms, answer = rng.choice(_TALK)
    return rng.choice(forms), answer
