"""Kvasir's client: chats in sessions that the server keeps, each turn sending only what is new."""

from kvasir.chat import AsyncChat as AsyncChat
from kvasir.client import AsyncKvasir as AsyncKvasir
from kvasir.client import Chat as Chat
from kvasir.client import Kvasir as Kvasir
from kvasir.errors import ContextExceededError as ContextExceededError
from kvasir.errors import InvalidRequestError as InvalidRequestError
from kvasir.errors import KvasirError as KvasirError
from kvasir.errors import ResourceExhaustedError as ResourceExhaustedError
from kvasir.errors import SessionConflictError as SessionConflictError
from kvasir.errors import SessionNotFoundError as SessionNotFoundError
from kvasir.errors import SessionUnusableError as SessionUnusableError
from kvasir.errors import UnauthenticatedError as UnauthenticatedError
from kvasir.errors import UnavailableError as UnavailableError
from kvasir.v1.model_pb2 import GenerateComplete as GenerateComplete
from kvasir.v1.model_pb2 import SamplingParameters as SamplingParameters
