"""What calls end with where they do not succeed."""

from typing import ClassVar

import grpc

from kvasir.v1 import error_details_pb2


class KvasirError(Exception):
    """Why a call ended: `code` is gRPC's, `reason` the API's (such as SESSION_BUSY), with its
    `metadata` (such as session_length); `retry_after` is in seconds, 0 where none was asked for.
    """

    _classes: ClassVar[dict[grpc.StatusCode, type["KvasirError"]]] = {}
    given_up = False

    def __init_subclass__(cls, codes: str) -> None:
        KvasirError._classes |= {grpc.StatusCode[code]: cls for code in codes.split()}

    def __init__(self, code: grpc.StatusCode, message: str, details: bytes = b"") -> None:
        super().__init__(f"{code.name}: {message}")
        self.code, self.message = code, message
        self.reason, self.metadata, self.retry_after = "", dict[str, str](), 0.0
        for detail in error_details_pb2.RpcStatus.FromString(details).details:
            if detail.type_url.endswith("/google.rpc.ErrorInfo"):
                info = error_details_pb2.ErrorInfo.FromString(detail.value)
                self.reason, self.metadata = info.reason, dict(info.metadata)
            elif detail.type_url.endswith("/google.rpc.RetryInfo"):
                delay = error_details_pb2.RetryInfo.FromString(detail.value).retry_delay
                self.retry_after = delay.seconds + delay.nanos * 1e-9

    @classmethod
    def of(cls, code: grpc.StatusCode, message: str, details: bytes = b"") -> "KvasirError":
        return cls._classes.get(code, KvasirError)(code, message, details)

    @property
    def transient(self) -> bool:
        """Whether the same call may succeed later, and has not been waited for already."""
        away = self.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
        lost = self.code is grpc.StatusCode.UNKNOWN and not self.reason
        return not self.given_up and (away or lost or self.reason == "LEASE_LOST")


class InvalidRequestError(KvasirError, codes="INVALID_ARGUMENT"):
    """The message names field, value and limit."""


class SessionNotFoundError(KvasirError, codes="NOT_FOUND"):
    """No session of ours has this id."""


class SessionConflictError(KvasirError, codes="ABORTED ALREADY_EXISTS"):
    """Somebody else uses the session, has written it, or has taken its id."""


class ContextExceededError(KvasirError, codes="OUT_OF_RANGE"):
    """Session and message are longer than the model's context."""


class ResourceExhaustedError(KvasirError, codes="RESOURCE_EXHAUSTED"):
    """A queue is full or a quota used up (see `retry_after`), or the KV cache too small."""


class SessionUnusableError(KvasirError, codes="FAILED_PRECONDITION DATA_LOSS"):
    """Another model wrote the session, its record is damaged, or a template fits no chat."""


class UnauthenticatedError(KvasirError, codes="UNAUTHENTICATED"):
    """The API key is missing or wrong."""


class UnavailableError(KvasirError, codes="UNAVAILABLE"):
    """The service could not be reached, or could not serve, for as long as we waited."""
