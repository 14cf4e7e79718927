"""Conversations led once more on a server that nobody disturbs."""

import random

import grpc

from conversation import TEMPERATURE, Conversation
from ledger import Ledger
from services import Program, model_pb2

SAMPLE = 12


def replay(ledger: Ledger, conversations: list[Conversation], seed: int) -> list[str]:
    """What came out differently for some of them."""
    chosen = sorted(conversations, key=lambda each: -len(each.history))[: SAMPLE // 2]
    others = [each for each in conversations if each not in chosen]
    chosen += random.Random(seed).sample(others, min(SAMPLE - len(chosen), len(others)))
    program = Program("kvasir-model", "--threads=1", "--log-level=error").serve()
    try:
        return [wrong for each in chosen for wrong in differences(program, each)]
    except grpc.RpcError as error:
        return [f"replay: {error}"]
    finally:
        program.stop()
        program.folder.cleanup()


def differences(program: Program, conversation: Conversation) -> list[str]:
    name = conversation.id
    program.model.CreateSession(
        model_pb2.CreateSessionRequest(
            session_id=name,
            initial_ids=conversation.history[0].sent,
            sampling=model_pb2.SamplingParameters(seed=conversation.seed, temperature=TEMPERATURE),
        )
    )
    wrong = []
    for number, step in enumerate(conversation.history[1:], start=1):
        if step.cut_to is not None:
            request = model_pb2.TruncateSessionRequest(session_id=name, length=step.cut_to)
            program.model.TruncateSession(request)
            continue
        request = model_pb2.GenerateRequest(
            session_id=name,
            input_ids=step.sent,
            max_new_tokens=len(step.generated),
            ignore_eos=True,
        )
        ids = [id_ for event in program.model.Generate(request) for id_ in event.chunk.ids]
        if tuple(ids) != step.generated:
            wrong.append(f"{name}, step {number} of {len(conversation.history)}")
            break
    return wrong
