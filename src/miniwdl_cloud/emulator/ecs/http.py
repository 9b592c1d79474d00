"""ECS's HTTP API (JSON 1.1) in front of `EcsService`."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable
from typing import Any

from ..errors import ApiError
from ..json_api import answered, operation_of
from ..rates import RateLimit
from .base import throttled
from .consistency import EcsConsistency
from .service import EcsService

logger = logging.getLogger(__name__)


class EcsHttp:
    """ECS's answers to HTTP requests.

    Parameters
    ----------
    service
        What answers.
    rate
        The limit on calls, beside those that ECS always has.
    faults
        What makes answers lack what is new.
    """

    def __init__(self, service: EcsService, rate: RateLimit, faults: EcsConsistency) -> None:
        self._service = service
        self._rate = rate
        self._faults = faults

    def answer(
        self, region: str, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Answer a request for ECS in a Region."""
        operation = operation_of(environ)
        answer: dict[str, Any]
        try:
            status, answer = 200, self._answer(region, operation, environ)
        except ApiError as exn:
            status, answer = exn.status, {"__type": exn.code, "message": exn.message}
            if exn.resource_ids is not None:
                answer["resourceIds"] = list(exn.resource_ids)
        except Exception as exn:
            logger.exception("ECS %s", operation)
            status = 500
            answer = {"__type": "ServerException", "message": f"{type(exn).__name__}: {exn}"}
        return answered(status, answer, start_response)

    def _answer(self, region: str, operation: str, environ: dict[str, Any]) -> dict[str, Any]:
        if region != self._service.region:
            raise ApiError(
                "ClientException",
                f"The embedded AWS has ECS in {self._service.region} only, not in {region}; set"
                f" AWS_DEFAULT_REGION={self._service.region}.",
            )
        if not self._rate.take() or not self._service.quotas.take(operation):
            raise throttled()
        try:
            params = json.loads(environ["wsgi.input"].read() or b"{}")
        except ValueError:
            params = None
        if not isinstance(params, dict):
            raise ApiError("SerializationException", "The request is not a JSON object.")
        return self._faults.call(operation, params, self._service.call)
