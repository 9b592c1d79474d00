"""Requests and answers of services that speak REST with JSON bodies (botocore's `rest-json`)."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import parse_qs, unquote

from botocore.model import ListShape, Shape

from .errors import ApiError
from .shapes import RequestModel


def parameters(model: RequestModel, operation: str, environ: Mapping[str, Any]) -> dict[str, Any]:
    """The members of a request, from its path, its query and its body.

    Parameters
    ----------
    model
        The service's model.
    operation
        The operation's name, as `OperationNames` finds it.
    environ
        The request.

    Raises
    ------
    ApiError
        The service has no such operation, or the body is no JSON object.
    """
    if operation not in model.service.operation_names:
        name = model.service.metadata["serviceId"]
        raise ApiError("UnknownOperationException", f"{name} has no such operation.", 404)
    found = _body(environ)
    template = model.operation(operation).http["requestUri"].partition("?")[0].split("/")
    # As it was sent: a slash inside a member is quoted there.
    parts = environ["RAW_URI"].partition("?")[0].split("/")
    for wanted, part in zip(template, parts, strict=False):
        if wanted.startswith("{"):
            found[wanted.strip("{}+")] = unquote(part)
    shape = model.operation(operation).input_shape
    query = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
    for name, member in shape.members.items() if shape else ():
        place = member.serialization
        label = place.get("name", name)
        if place.get("location") == "querystring" and label in query:
            found[name] = _typed(member, query[label])
    return found


def answered(
    status: int, answer: Mapping[str, Any], start_response: Callable[..., Any], error: str = ""
) -> Iterable[bytes]:
    """An answer as WSGI wants it.

    Parameters
    ----------
    error
        The error's code, if it is one.
    """
    body = b"" if status == 204 else json.dumps(answer).encode()
    headers = [
        ("Content-Type", "application/json"),
        ("x-amzn-RequestId", str(uuid.uuid4())),
        ("Content-Length", str(len(body))),
    ]
    if error:
        headers.append(("x-amzn-ErrorType", error))
    start_response(f"{status} {'Error' if error else 'OK'}", headers)
    return [body]


def _body(environ: Mapping[str, Any]) -> dict[str, Any]:
    text = environ["wsgi.input"].read()
    try:
        body = json.loads(text) if text else {}
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise ApiError("SerializationException", "The request is not a JSON object.")
    return body


def _typed(shape: Shape, values: list[str]) -> Any:
    if isinstance(shape, ListShape):
        return values
    numeric = shape.type_name in ("integer", "long") and values[0].lstrip("-").isdigit()
    return int(values[0]) if numeric else values[0]
