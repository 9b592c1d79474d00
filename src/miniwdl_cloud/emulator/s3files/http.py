"""S3 Files' HTTP API in front of `S3FilesService`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

from ..errors import ApiError
from ..rest_api import answered, parameters
from .service import S3FilesService

logger = logging.getLogger(__name__)


class S3FilesHttp:
    """S3 Files' answers to HTTP requests.

    Parameters
    ----------
    service
        What answers.
    """

    def __init__(self, service: S3FilesService) -> None:
        self._service = service

    def answer(
        self,
        region: str,
        operation: str,
        environ: dict[str, Any],
        start_response: Callable[..., Any],
    ) -> Iterable[bytes]:
        """Answer a request for S3 Files in a Region."""
        try:
            if region != self._service.region:
                raise ApiError(
                    "ValidationException",
                    f"The embedded AWS has S3 Files in {self._service.region} only, not in"
                    f" {region}; set AWS_DEFAULT_REGION={self._service.region}.",
                )
            params = parameters(self._service.model, operation, environ)
            status, answer = self._service.call(operation, params)
        except ApiError as exn:
            detail = {"errorCode": exn.code, "message": exn.message}
            return answered(exn.status, detail, start_response, exn.code)
        except Exception as exn:
            logger.exception("S3 Files %s", operation)
            code = "InternalServerException"
            detail = {"errorCode": code, "message": f"{type(exn).__name__}: {exn}"}
            return answered(500, detail, start_response, code)
        return answered(status, answer, start_response)
