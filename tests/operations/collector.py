"""An OpenTelemetry collector that keeps what it gets, or fails in some way."""

import base64
import http.server
import json
import threading
from collections.abc import Callable
from typing import Any

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

# Answers one message: returns a status and a body, hangs or raises.
Behaviour = Callable[["Collector"], tuple[int, dict[str, Any]]]


def _base64_of_hex(value: Any, key: str = "") -> Any:
    """OTLP's JSON has ids in hexadecimal where Protobuf's has base64."""
    if isinstance(value, dict):
        return {name: _base64_of_hex(each, name) for name, each in value.items()}
    if isinstance(value, list):
        return [_base64_of_hex(each) for each in value]
    if key in ("traceId", "spanId", "parentSpanId"):
        return base64.b64encode(bytes.fromhex(value)).decode()
    if key in ("kind", "code") and not isinstance(value, int):
        raise ValueError(f"{key}: {value!r}: OTLP's JSON has enumerations as numbers")
    return value


def parse(body: bytes) -> ExportTraceServiceRequest:
    """By the schema: what it does not know is an error."""
    request = ExportTraceServiceRequest()
    return json_format.ParseDict(_base64_of_hex(json.loads(body)), request)


class Collector:
    """Listens on loopback; `requests` holds what it has taken."""

    def __init__(self, behaviour: Behaviour | None = None, port: int = 0) -> None:
        self.behaviour = behaviour
        self.requests: list[ExportTraceServiceRequest] = []
        self.errors: list[str] = []
        self.received = 0
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.received += 1
                status, answer = 200, {}
                if collector.behaviour is not None:
                    status, answer = collector.behaviour(collector)
                if status == 200:
                    collector.keep(self.path, self.headers["Content-Type"], body)
                text = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: Any) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                pass  # a client that has gone, or a behaviour that raises

        self.server = Server(("127.0.0.1", port), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def keep(self, path: str, content_type: str, body: bytes) -> None:
        try:
            if (path, content_type) != ("/v1/traces", "application/json"):
                raise ValueError(f"{path}, {content_type}")
            self.requests.append(parse(body))
        except Exception as error:
            self.errors.append(repr(error))

    def spans(self) -> list[Span]:
        return [
            span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def attributes(span: Span) -> dict[str, Any]:
    def value(of: Any) -> Any:
        kind = of.WhichOneof("value")
        if kind == "array_value":
            return [value(each) for each in of.array_value.values]
        return getattr(of, kind)

    return {attribute.key: value(attribute.value) for attribute in span.attributes}
