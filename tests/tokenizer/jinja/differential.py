#!/usr/bin/env python3
"""Renders templates with Kvasir and with jinja2, set up as transformers does, and compares.

    tests/tokenizer/jinja/differential.py --render build/release/tests/render_stream \
        --templates build/testdata/chat_templates

Real chat templates over random conversations, and random small templates. Both must give the same
text, or both refuse. Needs the PyPI package `jinja2` (3.1.6). Prints each difference, and exits
with 1 if there is one.
"""

import argparse
import json
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import conversations
import small_templates
from reference import NOW, Reference


def ours(render: Path, requests: list[dict[str, Any]]) -> list[dict[str, str]]:
    lines = "".join(json.dumps(request) + "\n" for request in requests)
    done = subprocess.run([render, str(NOW)], input=lines.encode(), capture_output=True)
    if done.returncode != 0:
        sys.exit(f"{render} ended with {done.returncode}: {done.stderr.decode()}")
    return [json.loads(line) for line in done.stdout.splitlines()]


class Comparison:
    def __init__(self, render: Path) -> None:
        self._render = render
        self._reference = Reference()
        self.differences = 0

    def run(self, kind: str, requests: list[dict[str, Any]], names: list[str]) -> Counter[str]:
        """Counts per outcome."""
        outcomes: Counter[str] = Counter()
        for name, request, answer in zip(
            names, requests, ours(self._render, requests), strict=True
        ):
            want = self._reference.render(request["template"], request["variables"])
            got = answer.get("rendered")
            outcomes["rendered" if want is not None else "refused"] += 1
            if got == want:
                continue
            self.differences += 1
            if self.differences <= 20:
                self.report(f"{kind} {name}", request, want, answer)
        return outcomes

    def report(
        self, name: str, request: dict[str, Any], want: str | None, answer: dict[str, str]
    ) -> None:
        print(f"{name}: {json.dumps(request['template'])[:300]}")
        if len(request["variables"]) < 12:
            print(f"  {json.dumps(request['variables'])[:600]}")
        got = answer.get("rendered")
        start = 0
        if want is not None and got is not None:
            differs = (i for i, (a, b) in enumerate(zip(want, got, strict=False)) if a != b)
            start = max(0, next(differs, min(len(want), len(got))) - 30)
        print(f"  want {self._reference.error if want is None else ascii(want[start:][:200])}")
        print(f"  got  {answer['error'] if got is None else ascii(got[start:][:200])}")


def real(folder: Path, count: int, rng: random.Random) -> tuple[list[dict[str, Any]], list[str]]:
    requests, names = [], []
    for path in sorted(folder.glob("*.jinja")):
        template = path.read_text(encoding="utf-8")
        for _ in range(count):
            requests.append({"template": template, "variables": conversations.variables(rng)})
            names.append(path.stem)
    return requests, names


def small(count: int, rng: random.Random) -> tuple[list[dict[str, Any]], list[str]]:
    requests = [
        {
            "template": small_templates.Generator(rng).template(),
            "variables": small_templates.VARIABLES,
        }
        for _ in range(count)
    ]
    return requests, [str(i) for i in range(count)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--render", type=Path, required=True)
    parser.add_argument("--templates", type=Path, required=True)
    parser.add_argument("--conversations", type=int, default=40, help="for each template")
    parser.add_argument("--small", type=int, default=5000, help="small templates")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    comparison = Comparison(args.render)
    for kind, (requests, names), least in (
        ("real", real(args.templates, args.conversations, random.Random(args.seed)), 500),
        ("small", small(args.small, random.Random(args.seed)), 2000),
    ):
        outcomes = comparison.run(kind, requests, names)
        print(f"{kind}: {len(requests)} templates and variables, {dict(outcomes)}")
        if outcomes["rendered"] < least:
            print(f"too few were rendered: at least {least} must be")
            return 1
    print(f"{comparison.differences} differences")
    return 1 if comparison.differences else 0


if __name__ == "__main__":
    sys.exit(main())
