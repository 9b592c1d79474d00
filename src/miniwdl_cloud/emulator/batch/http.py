"""Batch's HTTP API in front of `BatchService`."""

from __future__ import annotations

import json
import logging
import urllib.parse
import uuid
from collections.abc import Callable, Iterable
from typing import Any

from ..errors import ApiError, too_many_requests
from ..faults.consistency import ConsistencyFaults
from ..rates import RateLimit
from .service import BatchService

logger = logging.getLogger(__name__)

Environ = dict[str, Any]
StartResponse = Callable[..., Any]


class BatchHttp:
    """Batch's answers to HTTP requests.

    Parameters
    ----------
    service
        What answers.
    rate
        The limit on calls.
    faults
        What makes answers lack what is new.
    """

    def __init__(self, service: BatchService, rate: RateLimit, faults: ConsistencyFaults) -> None:
        self._service = service
        self._rate = rate
        self._faults = faults

    def answer(
        self, region: str, environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Answer a request for Batch in a Region."""
        headers = [
            ("Content-Type", "application/json"),
            ("x-amzn-RequestId", str(uuid.uuid4())),
        ]
        try:
            status, answer = 200, self._answer(region, environ)
        except ApiError as exn:
            status, answer = exn.status, {"message": exn.message}
            headers.append(("x-amzn-ErrorType", exn.code))
        except Exception as exn:
            logger.exception("%s %s", environ["REQUEST_METHOD"], environ["PATH_INFO"])
            status, answer = 500, {"message": f"{type(exn).__name__}: {exn}"}
            headers.append(("x-amzn-ErrorType", "ServerException"))
        body = json.dumps(answer).encode()
        headers.append(("Content-Length", str(len(body))))
        start_response(f"{status} {'OK' if status == 200 else 'Error'}", headers)
        return [body]

    def _answer(self, region: str, environ: Environ) -> dict[str, Any]:
        if region != self._service.region:
            raise ApiError(
                "ClientException",
                f"The embedded AWS has Batch in {self._service.region} only, not in {region}; set"
                f" AWS_DEFAULT_REGION={self._service.region}.",
            )
        if not self._rate.take():
            raise too_many_requests()
        found = self._service.model.operation_of(environ["REQUEST_METHOD"], environ["PATH_INFO"])
        if found is None:
            raise ApiError("UnknownOperationException", "Batch has no such operation.", 404)
        operation, params = found
        text = environ["wsgi.input"].read()
        if text:
            try:
                body = json.loads(text)
            except ValueError:
                body = None
            if not isinstance(body, dict):
                raise ApiError("SerializationException", "The request is not a JSON object.")
            params = {**body, **params}
        query = urllib.parse.parse_qs(environ.get("QUERY_STRING", ""))
        if "tagKeys" in query:
            params["tagKeys"] = query["tagKeys"]
        return self._faults.call(operation, params, self._service.call)
