"""What README.md shows is what the tests run."""

import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class ReadmeTest(unittest.TestCase):
    def test_shows_what_clients_do(self) -> None:
        readme = (ROOT / "README.md").read_text(encoding="utf-8")
        for path in ("clients/python/quickstart.py", "clients/openai/chat.py"):
            text = (ROOT / path).read_text(encoding="utf-8")
            self.assertIn(f"```python\n{text}```", readme)


if __name__ == "__main__":
    unittest.main()
