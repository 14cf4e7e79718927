"""What the compiler made of the kernels: registers, spills, and the instructions that matter.

Reads the GPU's library with NVIDIA's cuobjdump and nvdisasm.
"""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Kernel:
    """One kernel as it was compiled for one architecture."""

    name: str  # demangled, without namespaces and parameters: MatmulKernel<1, 1>
    arch: str  # sm_90
    registers: int = 0
    stack: int = 0  # bytes a thread, spills among them
    shared: int = 0  # bytes a block, static
    instructions: list[str] = field(default_factory=list)  # opcodes with their modifiers

    def count(self, pattern: str) -> int:
        return sum(re.match(pattern, i) is not None for i in self.instructions)


def _run(tools: Path, *arguments: str) -> str:
    command = [str(tools / "cuobjdump"), *arguments]
    environment = {"PATH": f"{tools}:/usr/bin:/bin"}
    return subprocess.run(
        command, env=environment, check=True, text=True, capture_output=True
    ).stdout


def _short_names(mangled: list[str]) -> dict[str, str]:
    """Mangled -> name with template arguments alone."""
    text = subprocess.run(
        ["c++filt"], input="\n".join(mangled), check=True, text=True, capture_output=True
    ).stdout
    names = {}
    for symbol, full in zip(mangled, text.splitlines(), strict=True):
        plain = full.replace("(anonymous namespace)::", "").removeprefix("void ")
        plain = re.sub(r"\(bool\)|\(int\)", "", plain.split("(kvasir")[0])
        head = plain.split("(")[0] if "<" not in plain else plain
        match = re.search(r"(\w+Kernel)(<[^>]*>)?", head)
        names[symbol] = (match.group(1) + (match.group(2) or "")) if match else plain
    return names


def _resources(text: str) -> Iterator[tuple[str, str, dict[str, int]]]:
    arch, symbol = "", ""
    for line in text.splitlines():
        if match := re.match(r"arch = (\S+)", line):
            arch = match.group(1)
        elif match := re.match(r"\s*Function (\S+):", line):
            symbol = match.group(1)
        elif "REG:" in line:
            yield arch, symbol, {k: int(v) for k, v in re.findall(r"(\w+):(\d+)", line)}


def _instructions(text: str) -> Iterator[tuple[str, str, str]]:
    arch, symbol = "", ""
    for line in text.splitlines():
        if match := re.match(r"arch = (\S+)", line):
            arch = match.group(1)
        elif match := re.match(r"\s*Function : (\S+)", line):
            symbol = match.group(1)
        elif match := re.match(r"\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?\w+\s+)?([A-Z][\w.]*)", line):
            yield arch, symbol, match.group(1)


def kernels(library: Path, tools: Path) -> list[Kernel]:
    """All of our kernels in the library, for each architecture."""
    found: dict[tuple[str, str], Kernel] = {}
    resources = list(_resources(_run(tools, "-res-usage", str(library))))
    names = _short_names(sorted({symbol for _, symbol, _ in resources}))
    for arch, symbol, usage in resources:
        if "Kernel" in symbol:
            found[arch, symbol] = Kernel(
                names[symbol], arch, usage["REG"], usage["STACK"], usage["SHARED"]
            )
    for arch, symbol, instruction in _instructions(_run(tools, "-sass", str(library))):
        if (arch, symbol) in found:
            found[arch, symbol].instructions.append(instruction)
    return list(found.values())
