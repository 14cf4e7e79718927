"""Which flags and variables the programs know, and which of them deploy/ gives them."""

import re
import subprocess

from services import BIN

PROGRAMS = ("kvasir", "kvasir-gateway", "kvasir-model", "kvasir-tokenizer")


def known_flags(*command: str) -> tuple[set[str], set[str]]:
    """Flags of a command, and the variables that stand for them."""
    text = subprocess.run(
        [BIN / command[0], *command[1:], "--help"], capture_output=True, text=True, check=True
    ).stdout
    return set(re.findall(r"^ +(--[a-z-]+)", text, re.M)), set(re.findall(r"\(Env:(\w+)\)", text))


def unknown_flags(command: list[str], variables: set[str]) -> list[str]:
    """Of a command line and a container's environment, what the program would not know."""
    name = command[: 2 if command[0] == "kvasir" else 1]
    flags, environment = known_flags(*name)
    given = {word.split("=")[0] for word in command[1:] if word.startswith("--")}
    # Other programs' settings are not ours to judge, such as HF_HUB_CACHE.
    ours = {variable for variable in variables if variable.startswith("KVASIR_")}
    return sorted((given - flags) | (ours - environment))
