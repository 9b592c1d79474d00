"""Error answers of the emulated APIs, as they go over the wire."""

from __future__ import annotations

import uuid
from collections.abc import Sequence


class ApiError(Exception):
    """An error answer.

    Parameters
    ----------
    code
        The error code that a client sees, for example ``ClientException``.
    message
        Its text.
    status
        HTTP status.
    resource_ids
        ARNs that the error tells of, where its shape has them.
    """

    def __init__(
        self,
        code: str,
        message: str,
        status: int = 400,
        resource_ids: Sequence[str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.resource_ids = resource_ids


def client_error(text: str) -> ApiError:
    """Batch's answer to a request that it refuses.

    Batch wraps its reason in a sentence of its own, as seen for example in the issue
    ASFHyP3/hyp3#3041.
    """
    return ApiError(
        "ClientException", f"Error executing request, Exception : {text}, RequestId: {uuid.uuid4()}"
    )


def too_many_requests() -> ApiError:
    """The answer to a call above the allowed rate."""
    return ApiError("TooManyRequestsException", "Too Many Requests", 429)
