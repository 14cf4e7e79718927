"""`kvasir chat` in a real terminal: tmux types, and reads the screen."""

import os
import re
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path
from typing import ClassVar

BIN = Path(sys.argv.pop(1))
PATIENCE = 30.0
FLAGS = {
    "kvasir-tokenizer": [],
    "kvasir-model": ["--kv-memory=64MiB"],
}


class Service:
    """One of the two, on a free port."""

    def __init__(self, name: str) -> None:
        self.process = subprocess.Popen(
            [BIN / name, "--listen=127.0.0.1:0", "--metrics=", "--log-level=error", *FLAGS[name]],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().removeprefix("listening on ").strip()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


class Terminal:
    """A screen of 80 by 40 on which one command runs."""

    opened = 0

    def __init__(self, folder: Path, command: list[str], environment: dict[str, str]) -> None:
        self._closed = False
        Terminal.opened += 1
        self._name = f"kvasir{Terminal.opened}"
        self._environment = {**os.environ, **environment, "TMUX_TMPDIR": str(folder)}
        self._environment.pop("TMUX", None)
        if "NO_COLOR" not in environment:
            self._environment.pop("NO_COLOR", None)
        self._exit_code = folder / f"exit_code{Terminal.opened}"
        # A shell tells the exit code: tmux forgets it at times. Ctrl-C is not for it.
        script = 'trap "" INT; "$@"; echo $? >"$0"'
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "40",
                  "sh", "-c", script, str(self._exit_code), *command,
                  ";", "set", "-g", "remain-on-exit", "on")  # fmt: skip

    def tmux(self, *arguments: str, text: str = "") -> str:
        return subprocess.run(
            ["tmux", "-L", self._name, *arguments],
            env=self._environment,
            input=text,
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    def keys(self, *keys: str) -> None:
        self.tmux("send-keys", *keys)

    def say(self, message: str) -> None:
        self.tmux("send-keys", "-l", message)
        self.keys("Enter")

    def paste(self, text: str) -> None:
        self.tmux("load-buffer", "-", text=text)
        self.tmux("paste-buffer", "-p")

    def screen(self, colours: bool = False) -> str:
        shown = self.tmux("capture-pane", "-p", *(["-e"] if colours else []))
        return "\n".join(line.rstrip() for line in shown.rstrip().split("\n"))

    def wait(self, pattern: str, count: int = 1) -> str:
        """Waits until the pattern stands so often on the screen; returns the screen."""
        until = time.monotonic() + PATIENCE
        while len(re.findall(pattern, screen := self.screen(), re.MULTILINE)) < count:
            if time.monotonic() > until:
                raise AssertionError(f"no {pattern!r}, {count} times, on:\n{screen}")
            time.sleep(0.02)
        return screen

    def wait_for_end(self) -> int:
        """The command's exit code."""
        until = time.monotonic() + PATIENCE
        while not (self._exit_code.exists() and self._exit_code.read_text().endswith("\n")):
            if time.monotonic() > until:
                raise AssertionError(f"it goes on:\n{self.screen()}")
            time.sleep(0.02)
        return int(self._exit_code.read_text())

    def close(self) -> None:
        if not self._closed:
            self.tmux("kill-server")
        self._closed = True


class TerminalTest(unittest.TestCase):
    services: ClassVar[list[Service]] = []

    @classmethod
    def setUpClass(cls) -> None:
        cls.services = [Service(name) for name in FLAGS]

    @classmethod
    def tearDownClass(cls) -> None:
        for service in cls.services:
            service.stop()

    def setUp(self) -> None:
        # What tmux has ended may still be writing its history.
        folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def open(self, *flags: str, environment: dict[str, str] | None = None) -> Terminal:
        command = [str(BIN / "kvasir"), "chat", f"--history={self.folder}/state/history", *flags]
        addresses = {
            "KVASIR_TOKENIZER_SERVER": self.services[0].address,
            "KVASIR_MODEL_SERVER": self.services[1].address,
        }
        base = {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}
        terminal = Terminal(self.folder, command, {**base, **addresses, **(environment or {})})
        self.addCleanup(terminal.close)
        terminal.wait(r"^>")
        return terminal

    def test_a_conversation(self) -> None:
        terminal = self.open("--temperature=0")
        terminal.say("My name is Olga.")
        terminal.wait(r"^\d+ tokens, [\d.]+/s; 0 of \d+ reused$")
        terminal.say("What is my name?")
        screen = terminal.wait(r"tokens, .* reused$", 2)
        self.assertIn("Olga", screen.split("What is my name?")[1])
        self.assertNotRegex(screen.split("What is my name?")[1], r"; 0 of")
        terminal.say("/help")
        terminal.wait(r"^/retry ")
        terminal.keys("C-d")
        terminal.wait(r"^Kept: kvasir chat --session=\w+$")
        self.assertEqual(terminal.wait_for_end(), 0)

    def test_messages_of_several_lines(self) -> None:
        terminal = self.open("--temperature=0", "-n", "4")
        terminal.keys("-l", "one")
        terminal.keys("M-Enter")
        terminal.say("two")
        terminal.wait(r"^> one⏎two$")
        terminal.wait(r"reused$", 1)
        terminal.paste("three\n\tfour\n")
        terminal.wait(r"^> three⏎⇥four$")
        terminal.keys("Enter")
        terminal.wait(r"reused$", 2)
        for line in ('"""', "five", "six", '"""'):
            terminal.say(line)
        terminal.wait(r"reused$", 3)
        terminal.say("/save " + str(self.folder / "chat"))
        terminal.wait(r"^Written to")
        saved = (self.folder / "chat").read_text(encoding="utf-8")
        for text in ("one\\ntwo", "three\\n\\tfour", "five\\nsix"):
            self.assertIn(f'"{text}"', saved)

    def test_ctrl_c_stops_the_answer_and_keeps_the_session(self) -> None:
        terminal = self.open("--ignore-eos", "-n", "30000", "--seed=3")
        terminal.say("Tell me a story.")
        terminal.wait(r"(?m)^> Tell.*\n\S+")  # the answer's first words
        terminal.keys("C-c")
        terminal.wait(r"^Stopped; what was shown is kept\.$")
        terminal.say("/session")
        screen = terminal.wait(r"^\w+: \d+ tokens")
        self.assertNotRegex(screen, r"^\w+: 0 tokens")
        # At the prompt it takes the line back, and ends the chat where there is none.
        terminal.keys("-l", "not this")
        terminal.wait(r"^> not this$")
        terminal.keys("C-c")
        terminal.wait(r"^>$")
        terminal.say("/sing")
        terminal.wait(r"there is no /sing")
        terminal.keys("C-c")
        self.assertEqual(terminal.wait_for_end(), 130)

    def test_a_question_is_edited_and_history_is_kept(self) -> None:
        terminal = self.open("--temperature=0")
        terminal.say("My name is Olga.")
        terminal.wait(r"reused$", 1)
        terminal.say("/edit 1")
        terminal.wait(r"^> My name is Olga\.$", 2)
        for _ in range(len("Olga.")):
            terminal.keys("BSpace")
        terminal.say("Anna.")
        terminal.wait(r"reused$", 2)
        terminal.say("What is my name?")
        screen = terminal.wait(r"reused$", 3)
        self.assertIn("Anna", screen.split("What is my name?")[1])
        terminal.keys("C-d")
        terminal.wait(r"^Kept:")
        terminal.close()
        terminal = self.open()
        terminal.keys("Up")
        terminal.wait(r"^> What is my name\?$")

    def test_colours_unless_they_are_not_wanted(self) -> None:
        for environment, coloured in (({"NO_COLOR": "1"}, False), ({}, True)):
            with self.subTest(coloured=coloured):
                terminal = self.open(environment=environment)
                self.assertEqual("\x1b[2m" in terminal.screen(colours=True), coloured)
                terminal.close()


if __name__ == "__main__":
    unittest.main()
