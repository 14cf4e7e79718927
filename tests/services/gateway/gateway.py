"""The gateway as a whole program, before services that are real or scripted."""

import threading
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import grpc
import openai
import pydantic

from services import Program, ServiceTest, error_details_pb2, model_pb2, model_pb2_grpc

JSON = {"Content-Type": "application/json"}
# What answers have beyond the fields that the client library knows.
EXTENSIONS = {"max_model_len", "reasoning_content", "session_id"}


class GatewayTest(ServiceTest):
    def gateway(self, tokenizer: str, model: str, *flags: str, **options: Any) -> Program:
        servers = [f"--tokenizer-server={tokenizer}", f"--model-server={model}"]
        program = self.start("kvasir-gateway", *servers, *flags, measured=False, **options)
        program.address = program.line("listening on ")
        return program

    def client(self, gateway: Program, key: str = "unused", **options: Any) -> openai.OpenAI:
        options = {"max_retries": 0, "timeout": 30} | options
        client = openai.OpenAI(base_url=f"http://{gateway.address}/v1", api_key=key, **options)
        self.addCleanup(client.close)
        return client

    def assert_shape(self, answer: pydantic.BaseModel) -> None:
        """Is of the types of the client library, to the letter, and has nothing else."""
        type(answer).model_validate_json(answer.model_dump_json(), strict=True)
        waiting: list[Any] = [answer]
        while waiting:
            value = waiting.pop()
            if isinstance(value, pydantic.BaseModel):
                self.assertLessEqual(set(value.model_extra or {}), EXTENSIONS, repr(value))
                waiting += [getattr(value, name) for name in type(value).model_fields]
            elif isinstance(value, list):
                waiting += value


def refuse(context: grpc.ServicerContext, code: grpc.StatusCode, reason: str) -> None:
    """Ends a call as the services do: with the reason in the trailers."""
    info = error_details_pb2.ErrorInfo(domain="kvasir", reason=reason)
    status = error_details_pb2.RpcStatus(code=code.value[0], message=reason)
    detail = status.details.add(type_url="type.googleapis.com/google.rpc.ErrorInfo")
    detail.value = info.SerializeToString()
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    context.abort(code, reason)


class ScriptedModel(model_pb2_grpc.ModelServiceServicer):
    """A model service that says what it is told to, and remembers what it was asked."""

    def __init__(self) -> None:
        self.answers: list[list[int] | tuple[grpc.StatusCode, str]] = []
        self.requests: list[model_pb2.GenerateRequest] = []
        self.metadata: list[dict[str, str]] = []
        self.calls: list[tuple[str, str]] = []  # method, session
        self.sessions: dict[str, list[int]] = {}
        self.lost_forks = 0  # how many forks find that their session has expired
        self.lock = threading.Lock()
        self.server = grpc.server(futures.ThreadPoolExecutor(8))
        model_pb2_grpc.add_ModelServiceServicer_to_server(self, self.server)
        self.address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        self.server.start()

    def GetModelInfo(self, request: Any, context: Any) -> model_pb2.GetModelInfoResponse:  # noqa: N802
        return model_pb2.GetModelInfoResponse(model_name="tiny", max_context=1000)

    def CreateSession(self, request: Any, context: Any) -> model_pb2.CreateSessionResponse:  # noqa: N802
        self.calls.append(("CreateSession", request.session_id))
        self.sessions[request.session_id] = []
        return model_pb2.CreateSessionResponse()

    def ForkSession(self, request: Any, context: Any) -> model_pb2.ForkSessionResponse:  # noqa: N802
        self.calls.append(("ForkSession", request.session_id))
        if self.lost_forks > 0:
            self.lost_forks -= 1
            del self.sessions[request.session_id]
            refuse(context, grpc.StatusCode.NOT_FOUND, "SESSION_NOT_FOUND")
        self.sessions[request.new_session_id] = self.sessions[request.session_id][: request.length]
        return model_pb2.ForkSessionResponse()

    def DeleteSession(self, request: Any, context: Any) -> model_pb2.DeleteSessionResponse:  # noqa: N802
        self.calls.append(("DeleteSession", request.session_id))
        if self.sessions.pop(request.session_id, None) is None:
            refuse(context, grpc.StatusCode.NOT_FOUND, "SESSION_NOT_FOUND")
        return model_pb2.DeleteSessionResponse()

    def GetSession(self, request: Any, context: Any) -> model_pb2.GetSessionResponse:  # noqa: N802
        session = model_pb2.Session(length=len(self.sessions[request.session_id]))
        return model_pb2.GetSessionResponse(session=session)

    def ReadSession(self, request: Any, context: Any) -> Iterator[model_pb2.ReadSessionResponse]:  # noqa: N802
        yield model_pb2.ReadSessionResponse(ids=self.sessions[request.session_id])

    def Generate(self, request: Any, context: Any) -> Iterator[model_pb2.GenerateResponse]:  # noqa: N802
        with self.lock:
            self.requests.append(request)
            self.metadata.append({pair.key: pair.value for pair in context.invocation_metadata()})
            answer = self.answers.pop(0)
        if isinstance(answer, tuple):
            context.abort(*answer)
        started = model_pb2.GenerateStarted(session_id=request.session_id)
        yield model_pb2.GenerateResponse(started=started)
        session = self.sessions.setdefault(request.session_id, [])
        session.extend(request.input_ids)
        for token in answer:
            if token < 0:  # by script
                context.abort(grpc.StatusCode.UNAVAILABLE, "the scripted end")
            session.append(token)
            yield model_pb2.GenerateResponse(chunk=model_pb2.TokenChunk(ids=[token]))
        reason = model_pb2.FINISH_REASON_STOP_TOKEN
        complete = model_pb2.GenerateComplete(finish_reason=reason, session_length=len(session))
        yield model_pb2.GenerateResponse(complete=complete)
