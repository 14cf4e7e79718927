"""The gateway before live services, driven by the OpenAI client library for Python."""

import http.client
import json
import signal
import subprocess
import unittest
from concurrent import futures
from pathlib import Path
from typing import Any

import openai

from gateway import JSON, GatewayTest
from services import model_pb2, tokenizer_pb2, wait_for

HERE = Path(__file__).resolve().parent
GREETING = {"role": "user", "content": "My name is Mara."}
QUESTION = {"role": "user", "content": "What is my name?"}


def ask(client: openai.OpenAI, *messages: dict[str, str], **options: Any) -> Any:
    options = {"model": "tiny", "temperature": 0} | options
    return client.chat.completions.create(messages=list(messages), **options)


def said(answer: Any) -> dict[str, str]:
    return {"role": "assistant", "content": answer.choices[0].message.content}


class LiveTest(GatewayTest):
    def setUp(self) -> None:
        self.tokenizer = self.start("kvasir-tokenizer").serve()
        self.model = self.start("kvasir-model").serve()
        self.server = self.gateway(self.tokenizer.address, self.model.address)
        self.openai = self.client(self.server)

    def sessions(self, **labels: str) -> list[model_pb2.Session]:
        request = model_pb2.ListSessionsRequest(labels=labels)
        return list(self.model.model.ListSessions(request).sessions)

    def rendered(self, *messages: dict[str, str]) -> list[int]:
        request = tokenizer_pb2.ApplyChatTemplateRequest(messages=messages)
        return list(self.tokenizer.tokenizer.ApplyChatTemplate(request).ids)

    def sent(self) -> float:
        return self.model.metric("kvasir_input_tokens_total")

    def post(self, body: str, path: str = "/v1/chat/completions", **headers: str) -> tuple:
        connection = http.client.HTTPConnection(self.server.address, timeout=30)
        self.addCleanup(connection.close)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("POST", path, body, JSON | named)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


class AnswersTest(LiveTest):
    def test_models(self) -> None:
        models = self.openai.models.list()
        self.assert_shape(models.data[0])
        self.assertEqual([model.id for model in models], ["tiny"])
        self.assert_shape(self.openai.models.retrieve("tiny"))
        with self.assertRaises(openai.NotFoundError):
            self.openai.models.retrieve("large")

    def test_a_stream_says_what_an_answer_says(self) -> None:
        answer = ask(self.openai, GREETING, logprobs=True, top_logprobs=2)
        self.assert_shape(answer)
        choice = answer.choices[0]
        self.assertIn("Mara", choice.message.content)
        self.assertEqual(choice.finish_reason, "stop")
        spelled = bytes(byte for token in choice.logprobs.content for byte in token.bytes)
        self.assertEqual(spelled.decode(), choice.message.content)
        self.assertTrue(all(len(token.top_logprobs) == 2 for token in choice.logprobs.content))
        self.assertEqual(answer.usage.prompt_tokens, len(self.rendered(GREETING)))

        options = {"stream_options": {"include_usage": True}, "logprobs": True, "top_logprobs": 2}
        chunks = list(ask(self.openai, GREETING, stream=True, **options))
        for chunk in chunks:
            self.assert_shape(chunk)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1])
        self.assertEqual(text, choice.message.content)
        scores = [token for chunk in chunks[:-1] for token in chunk.choices[0].logprobs.content]
        self.assertEqual(scores, choice.logprobs.content)
        self.assertEqual(chunks[-2].choices[0].finish_reason, "stop")
        self.assertEqual(chunks[-1].choices, [])
        self.assertEqual(chunks[-1].usage.total_tokens, answer.usage.total_tokens)

    def test_completions(self) -> None:
        options = {"model": "tiny", "max_tokens": 8, "temperature": 0}
        answer = self.openai.completions.create(prompt="Once upon a time", logprobs=2, **options)
        self.assert_shape(answer)
        choice = answer.choices[0]
        self.assertEqual(choice.finish_reason, "length")
        self.assertEqual("".join(choice.logprobs.tokens), choice.text)
        offsets = [0]
        for token in choice.logprobs.tokens[:-1]:
            offsets.append(offsets[-1] + len(token.encode()))
        self.assertEqual(choice.logprobs.text_offset, offsets)
        request = tokenizer_pb2.EncodeRequest(text="Once upon a time")
        ids = list(self.tokenizer.tokenizer.Encode(request).ids)
        both = self.openai.completions.create(prompt=[ids, ids], n=2, **options)
        self.assert_shape(both)
        self.assertEqual([one.index for one in both.choices], [0, 1, 2, 3])
        self.assertEqual({one.text for one in both.choices}, {choice.text})
        stream = self.openai.completions.create(prompt=ids, stream=True, **options)
        self.assertEqual("".join(chunk.choices[0].text for chunk in stream), choice.text)
        self.assertEqual(self.sessions(), [], "nothing is kept of completions")

    def test_choices_are_forks_with_the_next_seeds(self) -> None:
        options = {"temperature": 2, "max_tokens": 16}
        answer = ask(self.openai, GREETING, n=3, seed=5, **options)
        self.assert_shape(answer)
        alone = [ask(self.openai, GREETING, seed=5 + i, **options) for i in range(3)]
        texts = [choice.message.content for choice in answer.choices]
        self.assertEqual(texts, [said(one)["content"] for one in alone])
        self.assertEqual(len(set(texts)), 3)
        self.assertEqual(answer.usage.prompt_tokens, alone[0].usage.prompt_tokens)
        streamed = [""] * 3
        for chunk in ask(self.openai, GREETING, n=3, seed=5, stream=True, **options):
            streamed[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
        self.assertEqual(streamed, texts)

    def test_stop_strings_across_token_borders(self) -> None:
        text = said(ask(self.openai, GREETING))["content"]
        stop = text[4:12]  # "o, Mara." of "Hello, Mara. How"
        self.assertEqual(len(stop), 8)
        for stream in (False, True):
            answer = ask(self.openai, GREETING, stop=["never", stop], stream=stream)
            if stream:
                chunks = list(answer)
                got = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
                reason = chunks[-1].choices[0].finish_reason
            else:
                got, reason = said(answer)["content"], answer.choices[0].finish_reason
            self.assertEqual((got, reason), (text[: text.index(stop)], "stop"))

    def test_bias_and_penalties_reach_the_model(self) -> None:
        plain = ask(self.openai, GREETING, logprobs=True)
        first = self.tokenizer.tokenizer.Encode(
            tokenizer_pb2.EncodeRequest(text=plain.choices[0].logprobs.content[0].token)
        ).ids[0]
        biased = ask(self.openai, GREETING, logit_bias={str(first): -100})
        self.assertNotEqual(said(plain)["content"][:3], said(biased)["content"][:3])
        penalised = ask(self.openai, GREETING, presence_penalty=2, frequency_penalty=2)
        self.assertNotEqual(said(plain), said(penalised))

    def test_errors_are_those_of_the_library(self) -> None:
        cases = [
            ("temperature", {"temperature": 3}),
            ("top_p", {"top_p": 0}),
            ("logit_bias", {"logit_bias": {"99999": 1}}),
            ("tool_choice", {"tool_choice": "required"}),
            ("response_format", {"response_format": {"type": "json_object"}}),
            ("n", {"n": 0}),
            ("audio", {"extra_body": {"audio": {}}}),
            ("session_id", {"extra_body": {"session_id": "no/such id"}}),
            ("chat_template_kwargs", {"extra_body": {"chat_template_kwargs": {"messages": []}}}),
        ]
        for param, options in cases:
            with self.subTest(param), self.assertRaises(openai.BadRequestError) as raised:
                ask(self.openai, GREETING, **options)
            self.assertEqual(raised.exception.param.split(".")[0], param)
            self.assertEqual(raised.exception.type, "invalid_request_error")
            self.assertIn(param, raised.exception.message)
        with self.assertRaises(openai.NotFoundError) as raised:
            ask(self.openai, GREETING, model="large")
        self.assertEqual(raised.exception.code, "model_not_found")
        picture = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}
        with self.assertRaises(openai.BadRequestError) as raised:
            ask(self.openai, picture)
        self.assertEqual(raised.exception.param, "messages[0].content[0].type")

    def test_requests_that_are_none(self) -> None:
        self.assertEqual(self.post("{")[0], 400)
        self.assertEqual(self.post("[]")[0], 400)
        self.assertEqual(self.post("{}", Content_Type="text/plain")[0], 415)
        for name in ("kvasir.example:80", "127.kvasir.example", "127.0.0.1.kvasir.example:80"):
            self.assertEqual(self.post("{}", Host=name)[0], 403, name)
        for name in ("localhost:80", "[::1]:80", "127.0.0.2", "127.0.0.1:80"):
            self.assertEqual(self.post("{", Host=name)[0], 400, name)
        self.assertEqual(self.post("{}", "/v1/models")[0], 405)
        self.assertEqual(self.post("{}", "/v1/nothing")[0], 405)
        small = self.gateway(self.tokenizer.address, self.model.address, "--max-body=1000")
        with self.assertRaises(openai.APIStatusError) as raised:
            ask(self.client(small), {"role": "user", "content": "a" * 1000})
        self.assertEqual(raised.exception.status_code, 413)

    def test_the_client_library_of_node(self) -> None:
        base = f"http://{self.server.address}/v1"
        ran = subprocess.run(
            ["node", HERE / "node_client.mjs", base], capture_output=True, text=True, timeout=60
        )
        self.assertEqual(ran.returncode, 0, ran.stderr)
        told = json.loads(ran.stdout)
        self.assertEqual(told["streamed"], told["whole"])
        self.assertEqual(told["refused"], {"status": 400, "param": "temperature"})
        self.assertIn("Mara", told["second"])
        self.assertGreater(told["cached"], 0)


class SessionsTest(LiveTest):
    def test_a_second_turn_sends_only_what_is_new(self) -> None:
        first = ask(self.openai, GREETING)
        held = len(self.rendered(GREETING)) + first.usage.completion_tokens
        before = self.sent()
        second = ask(self.openai, GREETING, said(first), QUESTION)
        whole = self.rendered(GREETING, said(first), QUESTION)
        self.assertIn("Mara", said(second)["content"])
        self.assertEqual(self.sent() - before, len(whole) - held)
        self.assertEqual(second.usage.prompt_tokens, len(whole))
        self.assertEqual(second.usage.prompt_tokens_details.cached_tokens, held - 1)
        (session,) = self.sessions()
        self.assertEqual(session.length, len(whole) + second.usage.completion_tokens)
        self.assertEqual(dict(session.labels), {"made-by": "kvasir-gateway"})

    def test_another_question_forks(self) -> None:
        system = {"role": "system", "content": "You are a friend who remembers what is said."}
        first = ask(self.openai, system, GREETING)
        ask(self.openai, system, GREETING, said(first), QUESTION)
        before = self.sent()
        other = {"role": "user", "content": "How are you?"}
        third = ask(self.openai, system, GREETING, said(first), other)
        self.assertLess(self.sent() - before, 20)
        both = sorted(self.sessions(), key=lambda session: session.create_time.ToNanoseconds())
        self.assertEqual(both[1].parent_session_id, both[0].session_id)
        alone = self.gateway(self.tokenizer.address, self.model.address)
        again = ask(self.client(alone), system, GREETING, said(first), other)
        self.assertEqual(said(again), said(third), "what is shared changes no answer")

    def test_named_sessions_outlive_the_gateway(self) -> None:
        named = {"extra_body": {"session_id": "monday"}}
        first = ask(self.openai, GREETING, **named)
        self.assertEqual(first.session_id, "monday")
        self.server.stop()
        other = self.client(self.gateway(self.tokenizer.address, self.model.address))
        before = self.sent()
        second = ask(other, GREETING, said(first), QUESTION, **named)
        self.assertIn("Mara", said(second)["content"])
        self.assertLess(self.sent() - before, 20)
        # The end of the conversation is said in another way: it is cut back.
        ask(other, GREETING, said(first), {"role": "user", "content": "Hello!"}, **named)
        self.assertEqual([session.session_id for session in self.sessions()], ["monday"])

    def test_many_at_once_on_one_conversation(self) -> None:
        first = ask(self.openai, GREETING)
        expected = said(ask(self.openai, GREETING, said(first), QUESTION))
        with futures.ThreadPoolExecutor(8) as pool:
            messages = (GREETING, said(first), QUESTION)
            answers = list(pool.map(lambda _: said(ask(self.openai, *messages)), range(24)))
        self.assertEqual(answers, [expected] * 24)

    def test_what_falls_out_is_deleted(self) -> None:
        small = self.gateway(self.tokenizer.address, self.model.address, "--max-sessions=2")
        client = self.client(small)
        for name in ("Mara", "Tom", "Ada", "Ben"):
            ask(client, {"role": "user", "content": f"{name} is my name."})
        self.assertEqual(len(self.sessions()), 2)

    def test_a_session_that_was_deleted_is_made_anew(self) -> None:
        first = ask(self.openai, GREETING)
        (session,) = self.sessions()
        self.model.model.DeleteSession(
            model_pb2.DeleteSessionRequest(session_id=session.session_id)
        )
        second = ask(self.openai, GREETING, said(first), QUESTION)
        self.assertIn("Mara", said(second)["content"])


class EndsTest(LiveTest):
    def setUp(self) -> None:
        super().setUp()
        eos = self.model.model.GetModelInfo(model_pb2.GetModelInfoRequest()).eos_token_ids
        # More than can be generated before the test has gone.
        self.long = {
            "model": "tiny",
            "max_tokens": 200_000,
            "logit_bias": {str(token): -100 for token in eos},
        }

    def cancelled(self) -> bool:
        return self.model.metric('kvasir_requests_total{code="CANCELLED",method="Generate"}') == 1

    def test_a_reader_that_goes_cancels(self) -> None:
        stream = self.openai.chat.completions.create(messages=[GREETING], stream=True, **self.long)
        next(iter(stream))
        stream.close()
        wait_for(self.cancelled, "the call to be cancelled")
        # What was generated belongs to the conversation.
        wait_for(lambda: not self.sessions()[0].busy, "the session")

    def test_one_that_waits_for_all_cancels_too(self) -> None:
        connection = http.client.HTTPConnection(self.server.address)
        body = json.dumps(self.long | {"messages": [GREETING]})
        connection.request("POST", "/v1/chat/completions", body, JSON)
        wait_for(lambda: self.sessions() and self.sessions()[0].busy, "the call to run")
        connection.close()
        wait_for(self.cancelled, "the call to be cancelled")

    def test_a_slow_reader_holds_up_nobody(self) -> None:
        body = json.dumps(self.long | {"messages": [GREETING], "stream": True})
        slow = http.client.HTTPConnection(self.server.address)
        self.addCleanup(slow.close)
        slow.request("POST", "/v1/chat/completions", body, JSON)
        self.assertEqual(slow.getresponse().status, 200)
        for _ in range(3):
            self.assertIn("Mara", said(ask(self.openai, GREETING))["content"])

    def test_drain(self) -> None:
        options = {"stream": True, "max_tokens": 400}
        stream = self.openai.chat.completions.create(messages=[GREETING], **self.long | options)
        chunks = iter(stream)
        next(chunks)
        self.server.process.send_signal(signal.SIGTERM)
        rest = list(chunks)
        self.assertEqual(rest[-1].choices[0].finish_reason, "length")
        self.assertEqual(self.server.process.wait(30), 0)

    def test_a_second_signal_cuts_off(self) -> None:
        stream = self.openai.chat.completions.create(messages=[GREETING], stream=True, **self.long)
        chunks = iter(stream)
        next(chunks)
        self.server.process.send_signal(signal.SIGTERM)
        wait_for(lambda: "stopping: running" in self.server.log(), "the first to be heard")
        self.server.process.send_signal(signal.SIGTERM)
        with self.assertRaises(openai.APIError):
            list(chunks)
        self.assertEqual(self.server.process.wait(30), 0)

    def test_a_model_that_comes_again(self) -> None:
        first = ask(self.openai, GREETING)
        self.model.process.kill()
        self.model.process.wait()
        with self.assertRaises(openai.InternalServerError) as raised:
            ask(self.openai, GREETING, said(first), QUESTION)
        self.assertEqual(raised.exception.status_code, 503)
        self.assertEqual(raised.exception.response.headers["Retry-After"], "1")
        connection = http.client.HTTPConnection(self.server.address)
        self.addCleanup(connection.close)
        connection.request("GET", "/healthz")
        self.assertEqual(connection.getresponse().status, 503)
        self.start("kvasir-model", listen=self.model.address).serve()
        second = ask(self.client(self.server, max_retries=5), GREETING, said(first), QUESTION)
        self.assertIn("Mara", said(second)["content"])


class KeysTest(GatewayTest):
    def test_tenants_share_nothing(self) -> None:
        keys = self.folder() / "keys"
        keys.write_text("anna anna-key-0123456789\nbert bert-key-0123456789\n")
        tokenizer = self.start("kvasir-tokenizer", f"--api-keys={keys}").serve()
        model = self.start("kvasir-model", f"--api-keys={keys}").serve()
        server = self.gateway(tokenizer.address, model.address)
        with self.assertRaises(openai.AuthenticationError):
            ask(self.client(server, "wrong-key-0123456789"), GREETING)
        for name in ("anna", "bert"):
            key = f"{name}-key-0123456789"
            client = self.client(server, key)
            first = ask(client, GREETING)
            self.assertEqual(first.usage.prompt_tokens_details.cached_tokens, 0, name)
            ask(client, GREETING, said(first), QUESTION)
            credentials = (("authorization", f"Bearer {key}"),)
            listed = model.model.ListSessions(model_pb2.ListSessionsRequest(), metadata=credentials)
            self.assertEqual(len(listed.sessions), 1, name)
        # Also now that the gateway knows the model.
        with self.assertRaises(openai.AuthenticationError):
            self.client(server, "wrong-key-0123456789").models.list()


if __name__ == "__main__":
    unittest.main()
