"""What README.md shows is what the tests run."""

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


if __name__ == "__main__":
    unittest.main()
