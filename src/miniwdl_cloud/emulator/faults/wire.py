"""Error answers of any service, in the words and in the protocol of that service."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any
from xml.sax.saxutils import escape

from ..errors import ApiError

# How services ask to slow down: cromwell#4303, dagster#33439; EC2 API reference, "Error codes".
THROTTLING: Mapping[str, ApiError] = {
    "TooManyRequestsException": ApiError("TooManyRequestsException", "Too Many Requests", 429),
    "ThrottlingException": ApiError("ThrottlingException", "Rate exceeded", 400),
    "RequestLimitExceeded": ApiError("RequestLimitExceeded", "Request limit exceeded.", 503),
    "InvalidParameterException": ApiError(
        "InvalidParameterException",
        "Error while calling the service: Rate exceeded (ErrorCode: Throttling)",
        400,
    ),
}
EXPIRED = ApiError(
    "ExpiredTokenException", "The security token included in the request is expired", 403
)
EXPIRED_S3 = ApiError("ExpiredToken", "The provided token has expired.", 400)
SLOW_DOWN = ApiError("SlowDown", "Please reduce your request rate.", 503)


def server_error(service: str, status: int) -> ApiError:
    """An error of the service's own."""
    if service == "s3":
        code = "ServiceUnavailable" if status == 503 else "InternalError"
        return ApiError(code, "We encountered an internal error. Please try again.", status)
    code = {"batch": "ServerException"}.get(service, "InternalFailure")
    return ApiError(code, "The service failed; try again.", status)


def encode(
    error: ApiError, service: str, environ: Mapping[str, Any]
) -> tuple[bytes, list[tuple[str, str]]]:
    """Body and headers of an error answer, in the protocol of the request.

    AWS's services speak JSON, REST with JSON, REST with XML (S3), or the query protocol, EC2 with
    an envelope of its own (Smithy's documents on AWS protocols).
    """
    request_id = str(uuid.uuid4())
    code, text = escape(error.code), escape(error.message)
    kind = "text/xml"
    if service == "s3":
        body = f"<Error><Code>{code}</Code><Message>{text}</Message></Error>"
    elif service == "ec2":
        body = (
            f"<Response><Errors><Error><Code>{code}</Code><Message>{text}</Message></Error></Errors>"
            f"<RequestID>{request_id}</RequestID></Response>"
        )
    elif environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded"):
        body = (
            f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code>"
            f"<Message>{text}</Message></Error><RequestId>{request_id}</RequestId></ErrorResponse>"
        )
    else:
        kind = "application/json"
        body = json.dumps({"__type": error.code, "message": error.message})
    headers = [
        ("Content-Type", kind),
        ("x-amzn-RequestId", request_id),
        ("x-amzn-ErrorType", error.code),
    ]
    return body.encode(), headers
