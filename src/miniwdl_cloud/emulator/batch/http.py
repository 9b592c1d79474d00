"""Batch's HTTP API in front of `BatchService`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

from ..errors import ApiError, too_many_requests
from ..faults.consistency import ConsistencyFaults
from ..rates import RateLimit
from ..rest_api import answered, parameters
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
        self, region: str, operation: str, environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Answer a request for Batch in a Region."""
        try:
            return answered(200, self._answer(region, operation, environ), start_response)
        except ApiError as exn:
            return answered(exn.status, {"message": exn.message}, start_response, exn.code)
        except Exception as exn:
            logger.exception("Batch %s", operation)
            text = f"{type(exn).__name__}: {exn}"
            return answered(500, {"message": text}, start_response, "ServerException")

    def _answer(self, region: str, operation: str, environ: Environ) -> dict[str, Any]:
        if region != self._service.region:
            raise ApiError(
                "ClientException",
                f"The embedded AWS has Batch in {self._service.region} only, not in {region}; set"
                f" AWS_DEFAULT_REGION={self._service.region}.",
            )
        if not self._rate.take():
            raise too_many_requests()
        params = parameters(self._service.model, operation, environ)
        return self._faults.call(operation, params, self._service.call)
