"""The chat page in headless Chromium; what the browser does is in page_browser.mjs."""

import os
import subprocess
import unittest
import urllib.request
from pathlib import Path

from gateway import GatewayTest
from services import ROOT, model_pb2

HERE = Path(__file__).resolve().parent
PAGE = ROOT / "services/gateway/page"
SCREENSHOTS = Path(os.environ.get("KVASIR_SCREENSHOTS", ROOT / "build/logs/screenshots"))


class PageTest(GatewayTest):
    def setUp(self) -> None:
        store = f"--session-store=sqlite:{self.folder() / 'sessions.db'}"
        self.flags = [store]
        self.model = self.start("kvasir-model", *self.flags).serve()
        tokenizer = self.start("kvasir-tokenizer").serve()
        self.server = self.gateway(tokenizer.address, self.model.address)

    def test_is_served_as_it_is_with_a_strict_policy(self) -> None:
        for file in PAGE.iterdir():
            path = "" if file.name == "index.html" else file.name
            with urllib.request.urlopen(f"http://{self.server.address}/{path}") as answer:
                self.assertEqual(answer.read(), file.read_bytes(), file.name)
                policy = answer.headers["Content-Security-Policy"]
            self.assertIn("default-src 'none'; script-src 'self'; style-src 'self'", policy)
            self.assertNotIn("unsafe", policy)

    def reply(self, wish: str) -> str:
        """Does what the browser's side of the test cannot."""
        if wish == "sessions":
            listed = self.model.model.ListSessions(model_pb2.ListSessionsRequest())
            return str(len(listed.sessions))
        if wish == "ends of answers":
            info = self.model.model.GetModelInfo(model_pb2.GetModelInfoRequest())
            return " ".join(str(token) for token in info.eos_token_ids)
        self.model.process.kill()
        self.model.process.wait()
        if wish == "start the model":
            self.model = self.start("kvasir-model", *self.flags, listen=self.model.address).serve()
        return "done"

    def test_in_a_browser(self) -> None:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        browser = subprocess.Popen(
            ["node", HERE / "page_browser.mjs", f"http://{self.server.address}", SCREENSHOTS],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(browser.communicate)
        self.addCleanup(browser.kill)
        while line := browser.stdout.readline():
            print(self.reply(line.strip()), file=browser.stdin, flush=True)
        self.assertEqual(browser.wait(60), 0, browser.stderr.read())


if __name__ == "__main__":
    unittest.main()
