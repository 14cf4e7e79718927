"""Kvasir's client: chats in sessions that the server keeps, each turn sending only what is new."""

from kvasir.chat import AsyncChat
from kvasir.client import AsyncKvasir, Chat, Kvasir
from kvasir.errors import (
    ContextExceededError,
    InvalidRequestError,
    KvasirError,
    ResourceExhaustedError,
    SessionConflictError,
    SessionNotFoundError,
    SessionUnusableError,
    UnauthenticatedError,
    UnavailableError,
)
from kvasir.v1.model_pb2 import GenerateComplete, SamplingParameters

__all__ = [
    "AsyncChat",
    "AsyncKvasir",
    "Chat",
    "ContextExceededError",
    "GenerateComplete",
    "InvalidRequestError",
    "Kvasir",
    "KvasirError",
    "ResourceExhaustedError",
    "SamplingParameters",
    "SessionConflictError",
    "SessionNotFoundError",
    "SessionUnusableError",
    "UnauthenticatedError",
    "UnavailableError",
]
