"""Measures the trained model on facts, names, towns and phrasings that training never showed.

    python models/tiny/evaluate.py --model models/tiny

Recall: greedy answers to questions about held-out facts told two to seven turns earlier, judged
whole, word for word. Stories: sampled continuations of held-out openings, judged by the grammar's
own parser and, apart from it, for repeated sentences and a proper end.
"""

import argparse
import random
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tqdm import tqdm
from transformers import DynamicCache, Qwen3ForCausalLM

import dialogues
import small_talk
import stories

END_OF_TEXT, IM_END = "<|endoftext|>", "<|im_end|>"
TEMPERATURE, TOP_P, TOP_K = 0.7, 0.8, 20


@dataclass
class Case:
    """A conversation up to a question, and the one right answer."""

    prompt: str
    answer: str
    kind: str
    distance: int  # turns between the telling and the question


def recall_cases(seed: int, count: int) -> list[Case]:
    """Conversations whose asked facts are all held out of training."""
    rng = random.Random(f"recall {seed}")
    writer = dialogues.Writer(rng, want_held_out=True)
    cases: list[Case] = []
    while len(cases) < count:
        case = _case(rng, writer)
        if case.answer not in case.prompt:  # asked for the first time
            cases.append(case)
    return cases


def _case(rng: random.Random, writer: dialogues.Writer) -> Case:
    out = dialogues.Dialogue(system=small_talk.system_prompt(rng))
    turns, known, told_at = rng.randint(3, 8), [], []
    asked_at = turns - 1
    facts_until = rng.randint(1, min(4, asked_at - 1))
    for index in range(asked_at):
        if index < facts_until:
            before = len(known)
            writer.tell_turn(out, known)
            told_at += [index] * (len(known) - before)
        elif rng.random() < 0.6:
            writer.talk_turn(out)
        else:
            writer.ask_turn(out, known)
    far_enough = [i for i, told in enumerate(told_at) if asked_at - told >= 2]
    which = rng.choice(far_enough)
    if rng.random() < 0.1:
        writer.ask_unknown_turn(out, known)
        distance = 0
    else:
        question, form = writer.ask(known[which])
        out.turns.append(dialogues.Turn(form, question.answer, question.kind))
        distance = asked_at - told_at[which]
    last = out.turns[-1]
    messages = out.messages()[:-1]
    prompt = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in messages)
    return Case(f"{prompt}<|im_start|>assistant\n", last.assistant, last.kind, distance)


class Speaker:
    """Generates text with the model, with batches of one."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        # The bfloat16 weights, computed in float32.
        self.model = Qwen3ForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self.stops = {self.tokenizer.token_to_id(t) for t in (END_OF_TEXT, IM_END)}

    @torch.inference_mode()
    def continue_text(
        self, prompt: str, longest: int, generator: torch.Generator | None
    ) -> tuple[str, bool]:
        """The continuation, greedy without a generator, and whether it ended by itself."""
        ids = self.tokenizer.encode(prompt).ids
        cache, given, new = DynamicCache(), torch.tensor([ids]), []
        while len(new) < longest:
            logits = self.model(input_ids=given, past_key_values=cache, logits_to_keep=1).logits[
                0, -1
            ]
            token = int(logits.argmax()) if generator is None else _sample(logits, generator)
            if token in self.stops:
                return self.tokenizer.decode(new), True
            new.append(token)
            given = torch.tensor([[token]])
        return self.tokenizer.decode(new), False

    @torch.inference_mode()
    def would_say(self, prompt: str, answer: str) -> bool:
        """Whether greedy decoding gives exactly the answer and stops: one pass instead of many.

        Greedy decoding follows the answer as long as each of its tokens is the likeliest after
        those before it, so it is enough to look at the rows of the answer itself.
        """
        start = len(self.tokenizer.encode(prompt).ids)
        ids = torch.tensor([self.tokenizer.encode(prompt + answer + IM_END).ids])
        logits = self.model(input_ids=ids, use_cache=False).logits[0, start - 1 : -1]
        return bool((logits.argmax(-1) == ids[0, start:]).all())


def _sample(logits: torch.Tensor, generator: torch.Generator) -> int:
    values, ids = (logits / TEMPERATURE).topk(TOP_K)
    probabilities = values.softmax(-1)
    above = probabilities.cumsum(-1) - probabilities
    probabilities[above >= TOP_P] = 0
    return int(ids[torch.multinomial(probabilities, 1, generator=generator)])


def measure_recall(
    speaker: Speaker, cases: list[Case], generator: torch.Generator | None, verbose: bool
) -> dict[str, list[bool]]:
    """Whether each answer was right, by kind of question; greedy without a generator."""
    results: dict[str, list[bool]] = defaultdict(list)
    for case in tqdm(cases, desc="recall, sampled" if generator else "recall"):
        if generator is None:
            right = speaker.would_say(case.prompt, case.answer) or (
                speaker.continue_text(case.prompt, 48, None) == (case.answer, True)
            )  # the same words from other tokens
        else:
            right = speaker.continue_text(case.prompt, 48, generator) == (case.answer, True)
        results[case.kind].append(right)
        if case.distance:
            results[f"{case.distance} turns later"].append(right)
        if verbose and not right:
            said = speaker.continue_text(case.prompt, 48, None)[0]
            tqdm.write(f"[{case.kind}] want {case.answer!r}, said {said!r}")
    return results


def print_recall(title: str, results: dict[str, list[bool]]) -> None:
    """One table: by kind of question, by distance, and all."""
    print(f"\n| {title} | Right | Asked | % |\n|---|---:|---:|---:|")
    kinds = {k: r for k, r in results.items() if not k.endswith("later")}
    rows = [*sorted(kinds.items()), *sorted((k, r) for k, r in results.items() if k not in kinds)]
    rows.append(("**all**", [right for rights in kinds.values() for right in rights]))
    for kind, rights in rows:
        share = 100 * sum(rights) / len(rights)
        print(f"| {kind} | {sum(rights)} | {len(rights)} | {share:.1f} |")


def story_openings(seed: int, count: int) -> list[str]:
    """First sentences with held-out names."""
    rng = random.Random(f"stories {seed}")
    openings = []
    while len(openings) < count:
        text = stories.write(rng, want_held_out=True)[0]
        openings.append(text[: text.index(".") + 1])
    return openings


def measure_stories(
    speaker: Speaker, openings: list[str], seed: int, verbose: bool
) -> Counter[str]:
    """Counts of stories that end, that repeat no sentence, and that the grammar accepts."""
    generator = torch.Generator().manual_seed(seed)
    counts: Counter[str] = Counter()
    for opening in tqdm(openings, desc="stories"):
        said, ended = speaker.continue_text(opening, 400, generator)
        text = opening + said
        sentences = [s for s in text.replace("!", ".").replace("?", ".").split(". ") if s]
        checks = {
            "ended": ended,
            "no repeated sentence": len(set(sentences)) == len(sentences),
            "accepted by the grammar": stories.parse(text) is not None,
        }
        counts.update(name for name, passed in checks.items() if passed)
        if verbose and not all(checks.values()):
            tqdm.write(f"{[n for n, p in checks.items() if not p]} {text}")
    return counts


def main() -> None:
    """Prints the table of the model card."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--stories", type=int, default=200)
    parser.add_argument("--verbose", action="store_true", help="print every failure")
    arguments = parser.parse_args()
    speaker = Speaker(arguments.model)
    cases = recall_cases(arguments.seed, arguments.cases)
    results = measure_recall(speaker, cases, None, arguments.verbose)
    print_recall("Recall, greedy", results)
    generator = torch.Generator().manual_seed(arguments.seed)
    results = measure_recall(speaker, cases[: len(cases) // 4], generator, arguments.verbose)
    print_recall("Recall, sampled", results)
    openings = story_openings(arguments.seed, arguments.stories)
    counts = measure_stories(speaker, openings, arguments.seed, arguments.verbose)
    print("\n| Stories, sampled | Passed | Of |\n|---|---:|---:|")
    for check, passed in counts.items():
        print(f"| {check} | {passed} | {arguments.stories} |")


if __name__ == "__main__":
    main()
