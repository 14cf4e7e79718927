"""docs/api.md is what scripts/api_page.py makes of the protos, and its links lead somewhere."""

import re
import sys
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import api_page  # noqa: E402


class ApiPageTest(unittest.TestCase):
    def test_is_up_to_date(self) -> None:
        made, kept = api_page.page(), (ROOT / "docs/api.md").read_text()
        self.assertTrue(made == kept, f"make it anew: {api_page.__doc__}")

    def test_has_all_that_the_protos_have(self) -> None:
        page = api_page.page()
        headings = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
        self.assertEqual(len(headings), len(set(headings)), "links go to the first of a name")
        for name in api_page.FILES:
            proto = (ROOT / f"proto/kvasir/v1/{name}.proto").read_text()
            for kind, thing in re.findall(
                r"^ *(service|rpc|message|enum) (\w+)", proto, re.MULTILINE
            ):
                self.assertIn(thing, headings, kind)
            for field in re.findall(r"\b(\w+ = \d+);", proto):
                self.assertIn("`{}` = {} |".format(*field.split(" = ")), page)

    def test_links_lead_to_headings(self) -> None:
        page = api_page.page()
        anchors = {
            re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-")
            for heading in re.findall(r"^#+ (.*)$", page, re.MULTILINE)
        }
        links = set(re.findall(r"\]\(#([^)]+)\)", page))
        self.assertGreater(len(links), 30)
        self.assertLessEqual(links, anchors)


if __name__ == "__main__":
    unittest.main()
