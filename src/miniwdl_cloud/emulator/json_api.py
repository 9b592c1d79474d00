"""Answers of services that speak JSON 1.1 (botocore's `json` protocol)."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any


def operation_of(environ: Mapping[str, Any]) -> str:
    """The operation that a request names."""
    return str(environ.get("HTTP_X_AMZ_TARGET", "")).rpartition(".")[2]


def answered(
    status: int, answer: Mapping[str, Any], start_response: Callable[..., Any]
) -> Iterable[bytes]:
    """An answer as WSGI wants it."""
    body = json.dumps(answer).encode()
    headers = [
        ("Content-Type", "application/x-amz-json-1.1"),
        ("x-amzn-RequestId", str(uuid.uuid4())),
        ("Content-Length", str(len(body))),
    ]
    start_response(f"{status} {'OK' if status == 200 else 'Error'}", headers)
    return [body]
