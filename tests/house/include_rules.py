"""Who may include whom, and other shapes of the house that a compiler does not hold.

Reports every violation as `path:line: what`; none: nothing.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

SOURCE_SUFFIXES = {".cc", ".h", ".cu", ".cuh"}
LENGTH_SUFFIXES = SOURCE_SUFFIXES | {".py", ".sh"}
MAX_LINES = 500
SKIPPED_FOLDERS = {"build", ".git", "node_modules", "__pycache__", ".venv", ".cache"}

# The plain words that all of the engine's parts share.
ENGINE_VOCABULARY = (
    "engine/tensor.h",
    "engine/batch.h",
    "engine/check.h",
    "engine/error.h",
    "engine/lease_clock.h",
    "engine/sampling.h",
    "engine/sampler.h",
    "engine/backend/backend.h",
)

# What all backends share.
BACKEND_VOCABULARY = (
    "engine/backend/host_element.h",
    "engine/backend/plugin.h",
    "engine/backend/rope_table.h",
)

# Folder -> the project's headers that its files may include; the longest folder that fits counts.
# Anything that is not listed is forbidden, so a new folder needs a line here.
ALLOWED: dict[str, tuple[str, ...]] = {
    "engine": ("engine/",),
    "engine/model": (*ENGINE_VOCABULARY, "engine/model/"),
    "engine/cache": (*ENGINE_VOCABULARY, "engine/cache/"),
    "engine/journal": (*ENGINE_VOCABULARY, "engine/cache/session.h", "engine/journal/"),
    "engine/schedule": (*ENGINE_VOCABULARY, "engine/cache/", "engine/schedule/"),
    "engine/backend": (*ENGINE_VOCABULARY, *BACKEND_VOCABULARY),
    "engine/backend/cpu": (*ENGINE_VOCABULARY, *BACKEND_VOCABULARY, "engine/backend/cpu/"),
    "engine/backend/cuda": (*ENGINE_VOCABULARY, *BACKEND_VOCABULARY, "engine/backend/cuda/"),
    "tokenizer": ("tokenizer/",),
    "services": ("services/", "engine/", "tokenizer/", "kvasir/v1/"),
    "services/auth": ("services/auth/", "engine/check.h", "engine/error.h"),
    "services/hub": ("services/hub/", "engine/"),
    "services/gateway": ("services/", "engine/", "tokenizer/", "kvasir/v1/"),
    "services/demo": ("services/demo/", "kvasir/v1/"),
    "clients/cpp": ("kvasir/v1/",),
    "tests/engine": ("tests/engine/", "engine/"),
    "tests/tokenizer": ("tests/tokenizer/", "tokenizer/"),
    "tests/services/auth": ("tests/", "services/auth/", "engine/"),
    "tests/services/hub": ("tests/", "services/hub/", "engine/"),
    "tests/services": ("tests/", "services/", "engine/", "tokenizer/", "kvasir/v1/"),
    "tests/fuzz": (
        "tests/",
        "engine/",
        "tokenizer/",
        "services/auth/",
        "services/gateway/",
        "services/hub/",
        "services/trace_context.h",
    ),
    "tests/bench": ("tests/", "engine/", "tokenizer/"),
    "tests/real": ("tests/", "engine/", "tokenizer/"),
    "tests/engine/backend/cuda": ("tests/engine/", "tests/simt/", "engine/"),
    "tests/gpu": ("tests/gpu/", "tests/engine/", "engine/"),
    "tests/simt": (
        "tests/simt/",
        "tests/engine/backend/cuda/device_testing.h",
        "engine/backend/cuda/gpu.cuh",
        "engine/tensor.h",
    ),
}

# Single files of a folder that have rules of their own.
ALLOWED_FOR_FILE: dict[str, tuple[str, ...]] = {
    name: ENGINE_VOCABULARY for name in ENGINE_VOCABULARY if name != "engine/sampler.h"
}

PROJECT_TOPS = ("engine/", "tokenizer/", "services/", "tests/", "kvasir/v1/")

# The GPU's backend, its tests, and what stands in for a GPU.
CUDA_FOLDERS = (
    "engine/backend/cuda/",
    "tests/engine/backend/cuda/",
    "tests/gpu/",
    "tests/simt/",
)

# Headers of others -> the folders that may see them.
RESTRICTED: tuple[tuple[str, re.Pattern[str], tuple[str, ...]], ...] = (
    (
        "gRPC and Protobuf belong to services",
        re.compile(r"grpc|google/(protobuf|rpc)/"),
        ("services/", "clients/", "tests/services/"),
    ),
    (
        "CUDA belongs to engine/backend/cuda",
        re.compile(r"(cuda|cublas|cutlass|cute/|nccl|nvrtc|nvtx|mma\.h)", re.IGNORECASE),
        CUDA_FOLDERS,
    ),
)

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
CUDA_CONDITION = re.compile(r"^\s*#\s*(if|ifdef|ifndef|elif)\b.*(CUDA|NVCC)")
GENERATED = re.compile(r"do not edit", re.IGNORECASE)


def source_files(root: Path) -> Iterator[Path]:
    """All files of the project, without what is built or fetched."""
    for path in sorted(root.iterdir()):
        if path.is_dir():
            if path.name not in SKIPPED_FOLDERS:
                yield from source_files(path)
        else:
            yield path


def longest_fit(name: str) -> tuple[str, ...] | None:
    """What the file `name` may include of the project; None: no rule fits."""
    if name in ALLOWED_FOR_FILE:
        return ALLOWED_FOR_FILE[name]
    folder = Path(name).parent
    while folder.parts:
        if folder.as_posix() in ALLOWED:
            return ALLOWED[folder.as_posix()]
        folder = folder.parent
    return None


def include_violations(name: str, lines: list[str]) -> Iterator[str]:
    allowed = longest_fit(name)
    if allowed is None:
        yield f"{name}:1: no include rule for this folder; add one to include_rules.py"
        return
    for number, line in enumerate(lines, start=1):
        include = INCLUDE.match(line)
        if include is None:
            continue
        quote, header = include.groups()
        if header.startswith(PROJECT_TOPS):
            if not header.startswith(allowed):
                yield f"{name}:{number}: {header} may not be included here"
            continue
        for reason, pattern, folders in RESTRICTED:
            if pattern.search(header) and not name.startswith(folders):
                yield f"{name}:{number}: {header}: {reason}"
        if quote == '"' and "/" not in header:
            yield f"{name}:{number}: {header}: include paths start at the top of the project"


def cuda_violations(name: str, lines: list[str]) -> Iterator[str]:
    if name.startswith(CUDA_FOLDERS):
        return
    if name.endswith((".cu", ".cuh")):
        yield f"{name}:1: CUDA sources belong to engine/backend/cuda"
    for number, line in enumerate(lines, start=1):
        if CUDA_CONDITION.match(line):
            yield f"{name}:{number}: no CUDA conditions outside engine/backend/cuda"


def guard_violations(name: str, lines: list[str]) -> Iterator[str]:
    guard = "KVASIR_" + re.sub(r"[^A-Z0-9]", "_", name.upper()) + "_"
    if f"#ifndef {guard}" not in lines or f"#define {guard}" not in lines:
        yield f"{name}:1: the header guard should be {guard}"


def length_violations(name: str, lines: list[str]) -> Iterator[str]:
    if any(GENERATED.search(line) for line in lines[:10]):
        return
    if len(lines) > MAX_LINES:
        yield f"{name}:{len(lines)}: longer than {MAX_LINES} lines: look for the missing concept"


def violations(root: Path) -> list[str]:
    """Every violation in the project at `root`."""
    found: list[str] = []
    for path in source_files(root):
        if path.suffix not in LENGTH_SUFFIXES:
            continue
        name = path.relative_to(root).as_posix()
        lines = path.read_text(encoding="utf-8").splitlines()
        found += length_violations(name, lines)
        if path.suffix in SOURCE_SUFFIXES:
            found += include_violations(name, lines)
            found += cuda_violations(name, lines)
        if path.suffix == ".h":
            found += guard_violations(name, lines)
    return found


if __name__ == "__main__":
    problems = violations(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
    print("\n".join(problems))
    sys.exit(1 if problems else 0)
