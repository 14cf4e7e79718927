"""What the services log: a line for each request, in two forms; no secrets, no prompts unasked."""

import json
import subprocess
import time
import unittest
from datetime import datetime
from typing import Any

import grpc

from services import Program, ServiceTest, generate, model_pb2, tokenizer_pb2, wait_for

TEXT = "Anna has a blue kite."


class LogsTest(ServiceTest):
    def lines(self, program: Program) -> list[dict[str, Any]]:
        """All of its log, which must be JSON, an object a line."""
        lines = []
        for line in program.log().splitlines():
            parsed = json.loads(line)
            self.assertIsInstance(parsed, dict)
            datetime.fromisoformat(parsed["time"])
            self.assertIn(parsed["level"], ("debug", "info", "warning", "error"))
            self.assertIsInstance(parsed["message"], str)
            lines.append(parsed)
        return lines

    def requests(self, program: Program, count: int) -> list[dict[str, Any]]:
        """The lines of requests, once there are so many: one is logged when its client knows."""

        def found() -> list[dict[str, Any]]:
            requests = [line for line in self.lines(program) if line["message"] == "request"]
            return requests if len(requests) >= count else []

        requests = wait_for(found, f"{count} requests in the log")
        self.assertEqual(len(requests), count)
        return requests

    def test_a_line_for_each_request(self) -> None:
        store = self.folder() / "store"
        program = self.start(
            "kvasir-model", "--log-format=json", f"--session-store=sqlite:{store}"
        ).serve()
        generate(
            program, session_id="s", input_ids=[7, 8, 9], create_if_missing=True, request_id="r-1"
        )
        generate(program, session_id="s", input_ids=[10])
        with self.assert_code(grpc.StatusCode.NOT_FOUND):
            generate(program, session_id="none", input_ids=[1])
        program.model.ListSessions(model_pb2.ListSessionsRequest())
        # A line may come after that of a later call.
        requests = self.requests(program, 4)
        first = next(each for each in requests if each.get("request_id") == "r-1")
        third = next(each for each in requests if each["code"] == "NOT_FOUND")
        last = next(each for each in requests if each["method"] == "ListSessions")
        second = next(each for each in requests if each not in (first, third, last))
        self.assertEqual(first["method"], "Generate")
        self.assertEqual(first["code"], "OK")
        self.assertEqual(first["tenant"], "default")
        self.assertEqual(first["session_id"], "s")
        self.assertEqual(first["request_id"], "r-1")
        self.assertEqual(first["input_tokens"], 3)
        self.assertEqual(first["cached_tokens"], 0)
        self.assertEqual(first["computed_tokens"], 7)
        self.assertEqual(first["generated_tokens"], 5)
        self.assertEqual(first["finish_reason"], "max_new_tokens")
        self.assertRegex(first["peer"], r"^ipv[46]:")
        self.assertRegex(first["trace_id"], "^[0-9a-f]{32}$")
        phases = ("queue", "prefill", "decode", "journal")
        parts = [first[f"{phase}_seconds"] for phase in phases]
        self.assertTrue(all(part >= 0 for part in parts))
        self.assertLessEqual(sum(parts), first["total_seconds"])
        self.assertEqual(second["cached_tokens"], 7)
        self.assertEqual((third["code"], third["reason"]), ("NOT_FOUND", "SESSION_NOT_FOUND"))
        self.assertNotIn("generated_tokens", third)
        self.assertEqual(last["method"], "ListSessions")
        self.assertNotIn("session_id", last)

    def test_odd_strings_are_values_and_no_more(self) -> None:
        program = self.start("kvasir-model", "--log-format=json").serve()
        text = self.start("kvasir-model").serve()
        odd = ['"},{"', "line\nbreak", "\x00\x1b[2J", "größe ☃ 𝄞", "\\", "x" * 1000, "☃" * 100]
        for value in odd:
            for each in (program, text):
                with self.assert_code(grpc.StatusCode.INVALID_ARGUMENT):
                    generate(each, session_id=value, request_id=value, input_ids=[1])
        shown = {request["session_id"] for request in self.requests(program, len(odd))}
        short = {value for value in odd if len(value.encode()) <= 128}
        self.assertLess(short, shown)
        self.assertEqual(shown - short, {"x" * 128 + "...", "☃" * 42 + "..."})

        def count() -> bool:
            return text.log().count(" info request method=Generate code=INVALID") == len(odd)

        wait_for(count, "a line of text for each")
        self.assertNotIn("\x1b", text.log())
        for line in text.log().splitlines():
            self.assertRegex(line, r"^\d{4}-\d\d-\d\dT[\d:.]+[+-]\d\d:\d\d (info|warning) ")

    def test_prompts_only_where_they_are_asked_for(self) -> None:
        ids = [1234, 567, 890]
        for flags in ((), ("--log-prompts",)):
            model = self.start("kvasir-model", "--log-format=json", *flags).serve()
            tokenizer = self.start("kvasir-tokenizer", "--log-format=json", *flags).serve()
            generate(model, input_ids=ids)
            model.model.CreateSession(model_pb2.CreateSessionRequest(initial_ids=ids))
            tokenizer.tokenizer.Encode(tokenizer_pb2.EncodeRequest(text=TEXT))
            tokenizer.tokenizer.Decode(tokenizer_pb2.DecodeRequest(ids=ids))
            # A line may come after that of a later call.
            logged = {
                line["method"]: line
                for line in self.requests(model, 2) + self.requests(tokenizer, 2)
            }
            prompts = {method: line.get("prompt") for method, line in logged.items()}
            if flags:
                shown = "1234 567 890"
                self.assertEqual(prompts.pop("Encode"), TEXT)
                expected = dict.fromkeys(("Generate", "CreateSession", "Decode"), shown)
                self.assertEqual(prompts, expected)
            else:
                self.assertEqual(set(prompts.values()), {None})
                self.assertNotIn("kite", tokenizer.log())
            self.assertEqual(logged["Encode"]["bytes"], len(TEXT))
            self.assertGreater(logged["Encode"]["tokens"], 0)

    def test_levels(self) -> None:
        program = self.start("kvasir-model", "--log-format=json", "--log-level=warning").serve()
        generate(program, input_ids=[1])
        self.assertEqual(program.stop(), 0)
        self.assertNotIn("request", [line["message"] for line in self.lines(program)])

    def test_a_reader_that_hangs_holds_up_nobody(self) -> None:
        program = self.start("kvasir-model", stderr=subprocess.PIPE).serve()
        self.addCleanup(program.process.stderr.close)
        begun = time.monotonic()
        for _ in range(600):  # of 200 bytes and more: a pipe holds 65,536
            program.model.GetModelInfo(model_pb2.GetModelInfoRequest())
        wait_for(lambda: program.metric("kvasir_log_lines_dropped_total") > 100, "lost lines")
        self.assertEqual(program.stop(), 0)
        self.assertLess(time.monotonic() - begun, 20)


if __name__ == "__main__":
    unittest.main()
