"""The gateway before a model that says what the test wants: thought, tool calls, errors."""

import json
import unittest
from typing import Any

import grpc
import openai

from gateway import GatewayTest, ScriptedModel
from services import ROOT, tokenizer_pb2

TEMPLATE = ROOT / "build/testdata/chat_templates/qwen3.jinja"
QUESTION = {"role": "user", "content": "How warm is it in Oslo?"}
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"town": {"type": "string"}}},
    },
}
# With the spacing of its own that a model may have.
CALL = '<tool_call>\n{"name": "weather", "arguments": {"town":  "Oslo"}}\n</tool_call>'


class ScriptedTest(GatewayTest):
    def setUp(self) -> None:
        self.model = ScriptedModel()
        self.addCleanup(lambda: self.model.server.stop(0).wait())
        self.tokenizer = self.start("kvasir-tokenizer", f"--chat-template={TEMPLATE}").serve()
        self.server = self.gateway(self.tokenizer.address, self.model.address)
        self.openai = self.client(self.server)

    def ids(self, text: str) -> list[int]:
        request = tokenizer_pb2.EncodeRequest(text=text)
        return list(self.tokenizer.tokenizer.Encode(request).ids)

    def says(self, text: str) -> None:
        """The next answer, a token for each character."""
        ids = [token for character in text for token in self.ids(character)]
        self.model.answers.append(ids + self.ids("<|im_end|>"))

    def ask(self, *messages: Any, **options: Any) -> Any:
        return self.openai.chat.completions.create(model="tiny", messages=list(messages), **options)

    def streamed(self, *messages: Any, **options: Any) -> dict[str, Any]:
        """A stream, put together as clients do."""
        whole: dict[str, Any] = {"content": "", "reasoning": "", "calls": {}}
        for chunk in self.ask(*messages, stream=True, **options):
            self.assert_shape(chunk)
            (choice,) = chunk.choices
            whole["content"] += choice.delta.content or ""
            whole["reasoning"] += getattr(choice.delta, "reasoning_content", None) or ""
            whole["finish"] = choice.finish_reason
            for call in choice.delta.tool_calls or []:
                made = whole["calls"].setdefault(call.index, {"name": "", "arguments": ""})
                made["name"] += call.function.name or ""
                made["arguments"] += call.function.arguments or ""
        return whole

    def test_generated_ids_are_never_tokenised_again(self) -> None:
        self.says("Hello there!")
        first = self.ask(QUESTION)
        held = self.model.sessions[self.model.requests[0].session_id]
        length = len(held)
        self.assertNotEqual(held, self.ids("".join(first.choices[0].message.content)))
        self.says("Yes.")
        self.ask(QUESTION, first.choices[0].message, {"role": "user", "content": "Really?"})
        second = self.model.requests[1]
        self.assertEqual(second.session_id, self.model.requests[0].session_id)
        self.assertEqual(second.expected_length, length)
        rest = "\n<|im_start|>user\nReally?<|im_end|>\n<|im_start|>assistant\n"
        self.assertEqual(list(second.input_ids), self.ids(rest))

    def test_tool_calls(self) -> None:
        text = f"<think>\nLet me look.\n</think>\n\nOne moment.\n{CALL}\n{CALL.replace('Oslo', 'Rome')}"
        arguments = ['{"town":  "Oslo"}', '{"town":  "Rome"}']
        self.says(text)
        answer = self.ask(QUESTION, tools=[WEATHER])
        self.assert_shape(answer)
        choice = answer.choices[0]
        self.assertEqual(choice.finish_reason, "tool_calls")
        self.assertEqual(choice.message.content, "One moment.")
        self.assertEqual(choice.message.reasoning_content, "Let me look.")
        calls = choice.message.tool_calls
        self.assertEqual([call.function.name for call in calls], ["weather"] * 2)
        self.assertEqual([call.function.arguments for call in calls], arguments)
        self.assertEqual(len({call.id for call in calls}), 2)
        self.assertGreater(answer.usage.completion_tokens_details.reasoning_tokens, 5)

        self.says(text)
        stream = self.streamed(QUESTION, tools=[WEATHER])
        self.assertEqual((stream["content"], stream["finish"]), ("One moment.", "tool_calls"))
        self.assertEqual(stream["reasoning"], "Let me look.")
        self.assertEqual([stream["calls"][i]["arguments"] for i in (0, 1)], arguments)
        self.assertEqual(stream["calls"][0]["name"], "weather")

        # What the tools said goes on in the same session: calls and thought are said as before.
        results = [
            {"role": "tool", "tool_call_id": call.id, "content": "21 degrees"} for call in calls
        ]
        self.says("Warm.")
        self.ask(QUESTION, choice.message, *results, tools=[WEATHER])
        third = self.model.requests[2]
        self.assertGreater(third.expected_length, len(text))
        self.assertNotIn(self.ids("weather")[0], list(third.input_ids))

    def test_without_tools_a_call_is_text(self) -> None:
        self.says(CALL)
        answer = self.ask(QUESTION)
        self.assertEqual(answer.choices[0].message.content, CALL)
        self.assertEqual(answer.choices[0].finish_reason, "stop")
        self.says(CALL)
        none = self.ask(QUESTION, tools=[WEATHER], tool_choice="none")
        self.assertEqual(none.choices[0].message.content, CALL)

    def test_a_call_that_is_none_stays_text(self) -> None:
        broken = '<tool_call>\n{"name": "weather", "arguments": \n</tool_call>'
        self.says(broken)
        self.assertEqual(self.streamed(QUESTION, tools=[WEATHER])["content"], broken)

    def test_callers_are_told_to_the_services(self) -> None:
        trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        self.says("Yes.")
        self.ask(QUESTION, extra_headers={"traceparent": trace})
        metadata = self.model.metadata[0]
        self.assertEqual(metadata["authorization"], "Bearer unused")
        self.assertEqual(metadata["traceparent"], trace)
        self.assertEqual(metadata["kvasir-session"], self.model.requests[0].session_id)

    def test_statuses(self) -> None:
        cases = [
            (grpc.StatusCode.RESOURCE_EXHAUSTED, openai.RateLimitError, 429),
            (grpc.StatusCode.UNAVAILABLE, openai.InternalServerError, 503),
            (grpc.StatusCode.OUT_OF_RANGE, openai.BadRequestError, 400),
            (grpc.StatusCode.PERMISSION_DENIED, openai.PermissionDeniedError, 403),
            (grpc.StatusCode.DATA_LOSS, openai.InternalServerError, 500),
        ]
        for code, kind, status in cases:
            for options in ({}, {"stream": True}):
                self.model.answers.append((code, "by script"))
                with self.subTest(code), self.assertRaises(kind) as raised:
                    self.ask(QUESTION, **options)
                self.assertEqual(raised.exception.status_code, status)
                self.assertIn("by script", raised.exception.message)
        made = [session for method, session in self.model.calls if method == "CreateSession"]
        gone = [session for method, session in self.model.calls if method == "DeleteSession"]
        self.assertEqual(made, gone, "sessions that nobody can use")

    def test_choices_whose_session_expires_before_they_fork(self) -> None:
        for prompts in (1, 2):
            self.model.lost_forks = 1
            self.model.answers.append([])  # reads the prompt, in vain
            for _ in range(prompts):
                self.model.answers.append([])
                self.says("Yes.")
                self.says("No.")
            prompt = ["Is it?"] * prompts
            answer = self.openai.completions.create(model="tiny", prompt=prompt, n=2)
            self.assertEqual(len(answer.choices), 2 * prompts)
            texts = {choice.text for choice in answer.choices}
            self.assertEqual(texts, {"Yes.", "No."})
        self.model.lost_forks = 100
        self.model.answers += [[]] * 3
        with self.assertRaises(openai.NotFoundError):
            self.ask(QUESTION, n=2)
        self.assertEqual(self.model.sessions, {}, "none is left over")

    def test_an_answer_that_breaks_off(self) -> None:
        ids = self.ids("Hello")
        self.model.answers.append([*ids, -1])
        with self.assertRaises(openai.InternalServerError) as raised:
            self.ask(QUESTION)
        self.assertEqual(raised.exception.status_code, 503)
        self.model.answers.append([*ids, -1])
        told = ""
        with self.assertRaises(openai.APIError) as raised:
            for chunk in self.ask(QUESTION, stream=True):
                told += chunk.choices[0].delta.content or ""
        self.assertEqual(told, "Hello")
        self.assertIn("the scripted end", str(raised.exception))

    def test_half_characters_wait(self) -> None:
        text = "søt 🎻!"
        ids = self.ids(text)
        self.assertGreater(len(ids), len(text), "tokens are parts of characters")
        self.model.answers.append(ids)
        self.assertEqual(self.streamed(QUESTION)["content"], text)
        self.model.answers.append(ids[:-2])
        whole = self.ask(QUESTION).choices[0].message.content
        self.assertEqual(whole, "søt \ufffd", json.dumps(whole))


if __name__ == "__main__":
    unittest.main()
