"""What README.md shows is what the tests run."""

import re
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class ReadmeTest(unittest.TestCase):
    def test_shows_what_clients_do(self) -> None:
        shown = {
            "README.md": (
                ("python", "clients/python/chat.py"),
                ("js", "clients/node/chat.mjs"),
                ("python", "clients/openai/chat.py"),
            ),
            "docs/clients.md": (("python", "clients/python/stubs.py"),),
        }
        for page, examples in shown.items():
            page_text = (ROOT / page).read_text(encoding="utf-8")
            for language, path in examples:
                text = (ROOT / path).read_text(encoding="utf-8")
                self.assertIn(f"```{language}\n{text}```", page_text, path)

    def test_shows_commands_that_are_run(self) -> None:
        """scripts/clients.sh runs those of docs/clients.md, and README's under one heading."""
        readme = (ROOT / "README.md").read_text(encoding="utf-8")
        run = (ROOT / "docs/clients.md").read_text(encoding="utf-8")
        section = readme.partition("## From Python and Node\n")[2].partition("\n## ")[0]
        blocks = re.findall(r"```sh\n(.*?)```", section, re.S)
        self.assertEqual(len(blocks), 2)
        for line in "".join(blocks).splitlines():
            self.assertIn(f"\n{line}\n", run)


if __name__ == "__main__":
    unittest.main()
