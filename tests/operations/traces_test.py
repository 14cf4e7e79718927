"""Spans of requests: what a collector gets, by OTLP's own schema, and what it cannot do to requests."""

import socket
import subprocess
import threading
import time
import unittest
from typing import Any

import grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from collector import Collector, attributes
from services import BIN, Program, ServiceTest, generate, model_pb2, tokenizer_pb2, wait_for

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-00"


def from_caller(traceparent: str) -> tuple[tuple[str, str], ...]:
    return (("traceparent", traceparent),)


class TracedTest(ServiceTest):
    def collector(self, *arguments: Any) -> Collector:
        collector = Collector(*arguments)
        self.addCleanup(collector.close)
        return collector

    def traced(self, name: str, collector: Collector, *flags: str, **environment: str) -> Program:
        flags = (f"--otlp-endpoint={collector.endpoint}", *flags)
        return self.start(name, *flags, **environment).serve()

    def spans(self, collector: Collector, count: int) -> list[Span]:
        wait_for(lambda: len(collector.spans()) >= count or collector.errors, f"{count} spans")
        self.assertEqual(collector.errors, [])
        self.assertEqual(len(collector.spans()), count)
        return collector.spans()


class TracesTest(TracedTest):
    def test_a_generate_call_and_its_phases(self) -> None:
        collector = self.collector()
        store = self.folder() / "store"
        model = self.traced("kvasir-model", collector, f"--session-store=sqlite:{store}")
        request = model_pb2.GenerateRequest(
            session_id="s", input_ids=[1, 2, 3], max_new_tokens=5, ignore_eos=True,
            create_if_missing=True, request_id="r-1",
        )  # fmt: skip
        before = time.time_ns()
        call = model.model.Generate(request, metadata=from_caller(SAMPLED))
        list(call)
        after = time.time_ns()
        returned = dict(call.trailing_metadata())["traceparent"].split("-")
        self.assertEqual([returned[0], returned[1], returned[3]], ["00", TRACE, "01"])

        spans = {span.name: span for span in self.spans(collector, 5)}
        phases = ["queue", "prefill", "decode", "journal"]
        whole = spans.pop("kvasir.v1.ModelService/Generate")
        self.assertEqual(list(spans), phases)
        self.assertEqual(whole.trace_id.hex(), TRACE)
        self.assertEqual(whole.parent_span_id.hex(), PARENT)
        self.assertEqual(whole.span_id.hex(), returned[2])
        self.assertEqual(whole.kind, Span.SPAN_KIND_SERVER)
        self.assertEqual(whole.status.code, Status.STATUS_CODE_UNSET)
        self.assertLessEqual(before, whole.start_time_unix_nano)
        # A server is done with a call a moment after its client.
        self.assertLess(whole.end_time_unix_nano, after + 10**9)
        at = whole.start_time_unix_nano
        for phase in phases:
            span = spans[phase]
            self.assertEqual(span.trace_id.hex(), TRACE)
            self.assertEqual(span.parent_span_id, whole.span_id)
            self.assertEqual(span.kind, Span.SPAN_KIND_INTERNAL)
            self.assertLessEqual(at, span.start_time_unix_nano)
            self.assertLessEqual(span.start_time_unix_nano, span.end_time_unix_nano)
            at = span.end_time_unix_nano
        self.assertLessEqual(at, whole.end_time_unix_nano)
        self.assertEqual(len({span.span_id for span in [whole, *spans.values()]}), 5)

        found = attributes(whole)
        self.assertRegex(found.pop("kvasir.peer"), "^ipv[46]:")
        expected = {
            "rpc.system": "grpc",
            "rpc.service": "kvasir.v1.ModelService",
            "rpc.method": "Generate",
            "rpc.grpc.status_code": 0,
            "gen_ai.operation.name": "text_completion",
            "gen_ai.provider.name": "kvasir",
            "gen_ai.request.model": "tiny",
            "gen_ai.conversation.id": "s",
            "gen_ai.usage.input_tokens": 3,
            "gen_ai.usage.output_tokens": 5,
            "gen_ai.response.finish_reasons": ["max_new_tokens"],
            "kvasir.tenant": "default",
            "kvasir.request_id": "r-1",
            "kvasir.cached_tokens": 0,
            "kvasir.computed_tokens": 7,
        }
        self.assertEqual(found, expected)
        resource = attributes(collector.requests[0].resource_spans[0].resource)
        self.assertEqual(resource["service.name"], "kvasir-model")
        wait_for(lambda: model.metric("kvasir_spans_exported_total") == 5, "exported spans")

    def test_whose_trace_it_is(self) -> None:
        collector = self.collector()
        model = self.traced("kvasir-model", collector, OTEL_SERVICE_NAME="named-by-us")
        ask = model.model.GetModelInfo.with_call
        nothing = model_pb2.GetModelInfoRequest()
        returned = []
        # No caller's, an ill-formed one, one that is not recorded.
        for metadata in ((), from_caller("00-nonsense"), from_caller(UNSAMPLED)):
            _, call = ask(nothing, metadata=metadata)
            returned.append(dict(call.trailing_metadata())["traceparent"].split("-"))
        self.assertEqual([flags for *_, flags in returned], ["01", "01", "00"])
        self.assertEqual(returned[2][1], TRACE)
        self.assertEqual(len({trace for _, trace, *_ in returned}), 3)
        with self.assert_code(grpc.StatusCode.NOT_FOUND):
            generate(model, from_caller(SAMPLED), session_id="none", input_ids=[1])

        spans = self.spans(collector, 3)
        by_trace = {span.trace_id.hex(): span for span in spans}
        self.assertEqual(set(by_trace), {trace for _, trace, *_ in returned})
        self.assertEqual(by_trace[returned[0][1]].parent_span_id, b"")
        failed = attributes(by_trace[TRACE])
        self.assertEqual(failed["rpc.grpc.status_code"], grpc.StatusCode.NOT_FOUND.value[0])
        self.assertEqual(failed["kvasir.error.reason"], "SESSION_NOT_FOUND")
        resource = attributes(collector.requests[0].resource_spans[0].resource)
        self.assertEqual(resource["service.name"], "named-by-us")

    def test_without_a_collector_traces_are_passed_on(self) -> None:
        model = self.start("kvasir-model").serve()
        for caller, flags in ((from_caller(SAMPLED), "01"), ((), "00")):
            _, call = model.model.GetModelInfo.with_call(
                model_pb2.GetModelInfoRequest(), metadata=caller
            )
            returned = dict(call.trailing_metadata())["traceparent"]
            self.assertTrue(returned.endswith(flags))
            self.assertEqual(TRACE in returned, bool(caller))

    def test_the_client_takes_part_in_the_trace_of_its_environment(self) -> None:
        collector = self.collector()
        # The standard variable in the place of the flag.
        variable = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint}
        model = self.start("kvasir-model", **variable).serve()
        tokenizer = self.start("kvasir-tokenizer", **variable).serve()
        servers = [f"--model-server={model.address}", f"--tokenizer-server={tokenizer.address}"]
        command = [BIN / "kvasir", "generate", *servers, "--max-new-tokens=4", "Anna has"]
        subprocess.run(
            command, env={"TRACEPARENT": SAMPLED}, check=True, capture_output=True, timeout=30
        )
        wait_for(lambda: len(collector.spans()) >= 6, "spans of both services")
        self.assertEqual(collector.errors, [])
        spans = collector.spans()
        self.assertEqual({span.trace_id.hex() for span in spans}, {TRACE})
        servers = [span for span in spans if span.kind == Span.SPAN_KIND_SERVER]
        self.assertEqual({span.parent_span_id.hex() for span in servers}, {PARENT})
        methods = {span.name.rsplit("/")[1] for span in servers}
        self.assertLessEqual({"Encode", "Generate", "DecodeStream"}, methods)

    def test_odd_strings_stay_strings(self) -> None:
        collector = self.collector()
        model = self.traced("kvasir-model", collector)
        odd = ['"},{"', "line\nbreak\x00", "größe ☃ 𝄞"]
        for value in odd:
            with self.assert_code(grpc.StatusCode.INVALID_ARGUMENT):
                generate(model, session_id=value, request_id=value, input_ids=[1])
        spans = self.spans(collector, len(odd))
        self.assertEqual({attributes(span)["gen_ai.conversation.id"] for span in spans}, set(odd))


class BadCollectorTest(TracedTest):
    """A request is answered as fast, whatever becomes of its spans; losses are counted."""

    def lost(self, program: Program, reason: str) -> float:
        return program.metric(f'kvasir_spans_dropped_total{{reason="{reason}"}}')

    def ask(self, program: Program, count: int) -> None:
        nothing = tokenizer_pb2.GetTokenizerInfoRequest()
        calls = [program.tokenizer.GetTokenizerInfo.future(nothing) for _ in range(count)]
        for call in calls:
            call.result(timeout=30)

    def assert_stops_in_time(self, program: Program) -> None:
        begun = time.monotonic()
        self.assertEqual(program.stop(), 0)
        self.assertLess(time.monotonic() - begun, 10)

    def test_hangs(self) -> None:
        release = threading.Event()
        self.addCleanup(release.set)
        collector = self.collector(lambda _: (release.wait(60), (200, {}))[1])
        program = self.traced("kvasir-tokenizer", collector)
        self.ask(program, 3000)  # more than are queued, with those on their way
        wait_for(lambda: self.lost(program, "overflow") > 0, "spans that are too many")
        self.assert_stops_in_time(program)

    def test_is_not_there(self) -> None:
        # Bound, so that no other test's program gets the port, and not listening.
        nobody = socket.socket()
        self.addCleanup(nobody.close)
        nobody.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        program = self.start("kvasir-tokenizer", f"--otlp-endpoint={endpoint}").serve()
        self.ask(program, 10)
        # It is tried again after half a second, one second, two ...
        wait_for(lambda: self.lost(program, "undelivered") == 10, "spans that were given up")
        self.assertEqual(program.log().count("the collector does not take spans"), 1)
        self.assert_stops_in_time(program)

    def test_dies_and_comes_back(self) -> None:
        def die(collector: Collector) -> tuple[int, dict]:
            if collector.received == 1:
                raise ConnectionResetError
            return (503, {}) if collector.received == 2 else (200, {})

        collector = self.collector(die)
        program = self.traced("kvasir-tokenizer", collector)
        self.ask(program, 10)
        self.spans(collector, 10)
        wait_for(lambda: program.metric("kvasir_spans_exported_total") == 10, "exported spans")
        self.assertEqual(self.lost(program, "undelivered"), 0)

    def test_refuses(self) -> None:
        collector = self.collector(lambda _: (400, {}))
        program = self.traced("kvasir-tokenizer", collector)
        self.ask(program, 10)
        wait_for(lambda: self.lost(program, "rejected") == 10, "refused spans")
        self.assertEqual(collector.received, 1)  # what it refuses is not sent again
        collector.behaviour = lambda _: (200, {"partialSuccess": {"rejectedSpans": "4"}})
        self.ask(program, 10)
        wait_for(lambda: self.lost(program, "rejected") == 14, "spans refused in part")
        self.assertEqual(program.metric("kvasir_spans_exported_total"), 6)

    def test_is_no_url(self) -> None:
        for endpoint in ("127.0.0.1:4318", "ftp://host", "http://", "http://host:port"):
            result = subprocess.run(
                [BIN / "kvasir-tokenizer", "--metrics=", f"--otlp-endpoint={endpoint}"],
                capture_output=True, text=True, timeout=30, check=False,
            )  # fmt: skip
            self.assertEqual(result.returncode, 1)
            self.assertIn("--otlp-endpoint", result.stderr)


if __name__ == "__main__":
    unittest.main()
