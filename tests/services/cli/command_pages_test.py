"""The manual page and the completions that `kvasir` makes of its flags, as groff and the shells take them."""

import re
import subprocess
import sys
import unittest
from pathlib import Path

KVASIR = Path(sys.argv.pop(1)) / "kvasir"
COMMANDS = (
    "generate",
    "chat",
    "sessions list",
    "sessions show",
    "sessions delete",
    "sessions export",
    "sessions import",
    "bench",
    "pull",
    "completion",
)


def run(*command: str | Path, text: str = "") -> str:
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and not done.stderr, (command, done.stderr)
    return done.stdout


def flags(command: str) -> set[str]:
    """As --help lists them."""
    lines = run(KVASIR, *command.split(), "--help").splitlines()
    names = [re.match(r"  (-[\w,-]+)", line) for line in lines]
    return {name for found in names if found for name in found[1].split(",")}


class CommandPagesTest(unittest.TestCase):
    def test_manual_page_has_every_flag(self) -> None:
        page = run(KVASIR, "man")
        # No warnings, and no escapes for colours.
        shown = run("groff", "-man", "-Tascii", "-ww", "-P-cbou", "-rLL=200n", text=page)
        for command in COMMANDS:
            section = re.search(rf"^   kvasir {command}\n(.*?)^(   kvasir|\S)", shown, re.M | re.S)
            self.assertIsNotNone(section, command)
            for flag in flags(command) - {"-h", "--help"}:
                self.assertRegex(section[1], rf"(?m)^       .*{flag}(=|,|$|\s)", command)
            self.assertIn("Examples:", section[1])
        self.assertRegex(shown, r"EXIT STATUS\n +0 +done\n +1 .*\n +130 ")
        # Lines that begin with what roff could take for a request are there as well.
        self.assertIn("'{\"enable_thinking\": false}'", shown)

    def complete(self, shell: str, *words: str) -> set[str]:
        script = run(KVASIR, "completion", shell)
        if shell == "bash":
            array = " ".join(f"'{word}'" for word in words)
            script += f"COMP_WORDS=({array}); COMP_CWORD={len(words) - 1}; _kvasir\n"
            script += "printf '%s\\n' \"${COMPREPLY[@]}\"\n"
            return set(run("bash", "-euc", script).split())
        # What zsh's own completion system would be asked for.
        script = "compdef() { }; _describe() { print -rl -- ${(P)2} }\n" + script
        script += f"words=({' '.join(words[:-1])} ''); CURRENT={len(words)}; _kvasir\n"
        shown = run("zsh", "-fc", script).splitlines()
        return {line.split(":")[0] for line in shown if line.startswith(words[-1])}

    def test_shells_complete_commands_and_flags(self) -> None:
        for shell in ("bash", "zsh"):
            with self.subTest(shell):
                self.assertEqual(self.complete(shell, "kvasir", "se"), {"sessions"})
                self.assertEqual(self.complete(shell, "kvasir", "sessions", "l"), {"list"})
                for command in COMMANDS:
                    words = ("kvasir", *command.split(), "-")
                    self.assertEqual(self.complete(shell, *words), flags(command), command)


if __name__ == "__main__":
    unittest.main()
