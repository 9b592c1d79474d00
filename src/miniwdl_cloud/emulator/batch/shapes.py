"""What botocore's model of the Batch API says about a request line."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from ..errors import client_error
from ..shapes import RequestModel

_TAGS_PREFIX = "/v1/tags/"


class BatchModel(RequestModel):
    """The request side of botocore's Batch model."""

    def __init__(self) -> None:
        super().__init__("batch", client_error)

    @cached_property
    def _by_path(self) -> dict[tuple[str, str], str]:
        operations = (self.operation(name) for name in self.service.operation_names)
        return {(op.http["method"], op.http["requestUri"]): op.name for op in operations}

    def operation_of(self, method: str, path: str) -> tuple[str, dict[str, Any]] | None:
        """The operation that a request line means, and its members found in the path."""
        members: dict[str, Any] = {}
        if path.startswith(_TAGS_PREFIX):
            members["resourceArn"] = path[len(_TAGS_PREFIX) :]
            path = _TAGS_PREFIX + "{resourceArn}"
        name = self._by_path.get((method, path))
        return (name, members) if name else None
