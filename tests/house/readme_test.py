"""What README.md shows is what the tests run."""

import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class ReadmeTest(unittest.TestCase):
    def test_shows_the_python_quickstart(self) -> None:
        readme = (ROOT / "README.md").read_text(encoding="utf-8")
        quickstart = (ROOT / "clients/python/quickstart.py").read_text(encoding="utf-8")
        self.assertIn(f"```python\n{quickstart}```", readme)


if __name__ == "__main__":
    unittest.main()
