"""FSx's HTTP API (JSON 1.1) in front of `FsxService`."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable
from typing import Any

from ..errors import ApiError
from ..json_api import answered, operation_of
from .service import FsxService

logger = logging.getLogger(__name__)


class FsxHttp:
    """FSx's answers to HTTP requests."""

    def __init__(self, service: FsxService) -> None:
        self._service = service

    def answer(
        self, region: str, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Answer a request for FSx in a Region."""
        operation = operation_of(environ)
        status: int
        answer: dict[str, Any]
        try:
            status, answer = 200, self._answer(region, operation, environ)
        except ApiError as exn:
            status, answer = exn.status, {"__type": exn.code, "Message": exn.message}
        except Exception as exn:
            logger.exception("FSx %s", operation)
            status = 500
            answer = {"__type": "InternalServerError", "Message": f"{type(exn).__name__}: {exn}"}
        return answered(status, answer, start_response)

    def _answer(self, region: str, operation: str, environ: dict[str, Any]) -> dict[str, Any]:
        if region != self._service.region:
            raise ApiError(
                "BadRequest",
                f"The embedded AWS has FSx in {self._service.region} only, not in {region}; set"
                f" AWS_DEFAULT_REGION={self._service.region}.",
            )
        try:
            params = json.loads(environ["wsgi.input"].read() or b"{}")
        except ValueError:
            raise ApiError("SerializationException", "The request is not JSON.") from None
        return self._service.call(operation, params)
