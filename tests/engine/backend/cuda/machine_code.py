"""What the compiler made of the kernels: registers, spills, loops, and the instructions in them.

Reads the GPU's library with NVIDIA's cuobjdump and nvdisasm.
"""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path


@dataclass
class Instruction:
    """One line of SASS."""

    address: int
    opcode: str  # with its modifiers: LDG.E.128.CONSTANT
    predicated: bool = False
    operands: str = ""

    @property
    def target(self) -> int | None:
        """Where it may go on instead of the next one."""
        if not re.match(r"BRA\b|CALL\.REL", self.opcode):
            return None
        addresses = re.findall(r"0x([0-9a-f]+)", self.operands)
        return int(addresses[-1], 16) if addresses else None

    @property
    def falls_through(self) -> bool:
        """Whether the next one may follow it: not so after a branch that all take."""
        if self.opcode == "BRA":
            return self.predicated or re.match(r"\s*!?U?P\d", self.operands) is not None
        return self.predicated or not re.match(r"(EXIT|RET)\b", self.opcode)


@dataclass
class Kernel:
    """One kernel as it was compiled for one architecture."""

    name: str  # demangled, without namespaces and parameters: MatmulKernel<1, 1>
    arch: int  # 90
    registers: int = 0
    stack: int = 0  # bytes a thread, spills among them
    shared: int = 0  # bytes a block, static
    instructions: list[Instruction] = field(default_factory=list)

    def count(self, pattern: str) -> int:
        """Instructions whose opcodes begin so."""
        return sum(re.match(pattern, i.opcode) is not None for i in self.instructions)

    @cached_property
    def inner_loops(self) -> list[list[str]]:
        """The opcodes of each loop that has none within it."""
        return _inner_loops(self.instructions)


class _Flow:
    """Basic blocks by number, in the order of their addresses, and who follows whom."""

    def __init__(self, instructions: list[Instruction]) -> None:
        index = {i.address: n for n, i in enumerate(instructions)}
        targets = [index.get(i.target) if i.target is not None else None for i in instructions]
        starts = {0} | {t for t in targets if t is not None}
        for n, i in enumerate(instructions):
            if targets[n] is not None or not i.falls_through:
                starts.add(n + 1)
        starts.discard(len(instructions))
        self.starts = sorted(starts)
        self.ends = [*self.starts[1:], len(instructions)]
        number = {start: block for block, start in enumerate(self.starts)}
        self.next: list[list[int]] = []
        for end in self.ends:
            last = end - 1
            after = [number[t]] if (t := targets[last]) is not None else []
            if instructions[last].falls_through and end in number:
                after.append(number[end])
            self.next.append(after)

    def before(self, blocks: set[int]) -> dict[int, set[int]]:
        """Of each of the blocks: those of them that it follows."""
        found: dict[int, set[int]] = {block: set() for block in blocks}
        for block in blocks:
            for after in self.next[block]:
                found[after].add(block)
        return found

    def reached(self) -> set[int]:
        """From the first one."""
        seen, waiting = {0}, [0]
        while waiting:
            for block in self.next[waiting.pop()]:
                if block not in seen:
                    seen.add(block)
                    waiting.append(block)
        return seen


def _dominators(before: dict[int, set[int]]) -> dict[int, set[int]]:
    """Of each block: those that every way to it goes through, itself included."""
    every = set(before)
    dominators = {block: {0} if block == 0 else every for block in before}
    changed = True
    while changed:
        changed = False
        for block in sorted(every - {0}):
            new = set.intersection(*(dominators[b] for b in before[block])) | {block}
            if new != dominators[block]:
                dominators[block] = new
                changed = True
    return dominators


def _inner_loops(instructions: list[Instruction]) -> list[list[str]]:
    """A loop is a branch back to a block that every way to the branch goes through, and all that
    lies between: a block that is kept out of line and jumps back in is none."""
    if not instructions:
        return []
    flow = _Flow(instructions)
    before = flow.before(flow.reached())
    dominators = _dominators(before)
    loops: dict[int, set[int]] = {}  # by their first block
    for block in before:
        for head in flow.next[block]:
            if head not in dominators[block]:
                continue
            body = loops.setdefault(head, {head})
            waiting = [block]
            while waiting:
                if (at := waiting.pop()) not in body:
                    body.add(at)
                    waiting.extend(before[at])
    return [
        [
            i.opcode
            for block in sorted(body)
            for i in instructions[flow.starts[block] : flow.ends[block]]
        ]
        for head, body in sorted(loops.items())
        if not any(other != head and other in body for other in loops)
    ]


def short_name(full: str) -> str:
    """A demangled name without namespaces and parameters."""
    plain = full.replace("(anonymous namespace)::", "").removeprefix("void ")
    plain = re.sub(r"\(bool\)|\(int\)", "", plain.split("(kvasir")[0])
    head = plain.split("(")[0] if "<" not in plain else plain
    match = re.search(r"(\w+Kernel)(<[^>]*>)?", head)
    return (match.group(1) + (match.group(2) or "")) if match else plain


def _resources(text: str) -> Iterator[tuple[int, str, dict[str, int]]]:
    arch, symbol = 0, ""
    for line in text.splitlines():
        if match := re.match(r"arch = sm_(\d+)", line):
            arch = int(match.group(1))
        elif match := re.match(r"\s*Function (\S+):", line):
            symbol = match.group(1)
        elif "REG:" in line:
            yield arch, symbol, {k: int(v) for k, v in re.findall(r"(\w+):(\d+)", line)}


def _instructions(text: str) -> Iterator[tuple[int, str, Instruction]]:
    arch, symbol = 0, ""
    pattern = re.compile(r"\s+/\*([0-9a-f]{4,})\*/\s+(@!?\w+\s+)?([A-Z][\w.]*)([^;]*);")
    for line in text.splitlines():
        if match := re.match(r"arch = sm_(\d+)", line):
            arch = int(match.group(1))
        elif match := re.match(r"\s*Function : (\S+)", line):
            symbol = match.group(1)
        elif match := pattern.match(line):
            address, predicate, opcode, operands = match.groups()
            yield (
                arch,
                symbol,
                Instruction(int(address, 16), opcode, predicate is not None, operands),
            )


def parse(resources: str, sass: str) -> list[Kernel]:
    """From what cuobjdump prints with -res-usage and with -sass."""
    found: dict[tuple[int, str], Kernel] = {}
    usages = list(_resources(resources))
    symbols = sorted({symbol for _, symbol, _ in usages})
    demangled = _run(["c++filt"], "\n".join(symbols)).splitlines()
    names = {s: short_name(full) for s, full in zip(symbols, demangled, strict=True)}
    for arch, symbol, usage in usages:
        if "Kernel" in symbol:
            found[arch, symbol] = Kernel(
                names[symbol], arch, usage["REG"], usage["STACK"], usage["SHARED"]
            )
    for arch, symbol, instruction in _instructions(sass):
        if (arch, symbol) in found:
            found[arch, symbol].instructions.append(instruction)
    return list(found.values())


def _run(command: list[str], text: str = "", path: str = "/usr/bin:/bin") -> str:
    return subprocess.run(
        command, env={"PATH": path}, input=text, check=True, text=True, capture_output=True
    ).stdout


def kernels(library: Path, tools: Path) -> list[Kernel]:
    """All of our kernels in the library, for each architecture."""
    path = f"{tools}:/usr/bin:/bin"
    dump = str(tools / "cuobjdump")
    return parse(
        _run([dump, "-res-usage", str(library)], path=path),
        _run([dump, "-sass", str(library)], path=path),
    )
