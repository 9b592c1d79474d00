"""What botocore's model of the Batch API says about a request: operations, members, types."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import botocore.session
from botocore.model import ListShape, MapShape, OperationModel, Shape, StructureShape
from botocore.validate import ParamValidator

from ..errors import ApiError, client_error

_TAGS_PREFIX = "/v1/tags/"


class BatchModel:
    """The request side of botocore's Batch model."""

    def __init__(self) -> None:
        self._model = botocore.session.Session().get_service_model("batch")
        self._validator = ParamValidator()

    @cached_property
    def _by_path(self) -> dict[tuple[str, str], str]:
        operations = (self._model.operation_model(name) for name in self._model.operation_names)
        return {(op.http["method"], op.http["requestUri"]): op.name for op in operations}

    def operation_of(self, method: str, path: str) -> tuple[str, dict[str, Any]] | None:
        """The operation that a request line means, and its members found in the path."""
        members: dict[str, Any] = {}
        if path.startswith(_TAGS_PREFIX):
            members["resourceArn"] = path[len(_TAGS_PREFIX) :]
            path = _TAGS_PREFIX + "{resourceArn}"
        name = self._by_path.get((method, path))
        return (name, members) if name else None

    def operation(self, name: str) -> OperationModel:
        """botocore's model of an operation."""
        return self._model.operation_model(name)

    def check(self, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """The request without members that Batch does not know, as AWS ignores them.

        Raises
        ------
        ApiError
            A member is missing, of a wrong type, or not one of its allowed values.
        """
        shape = self._model.operation_model(operation).input_shape
        if shape is None:
            return {}
        known: dict[str, Any] = _conform(shape, params, "")
        report = self._validator.validate(known, shape)
        if report.has_errors():
            raise client_error(report.generate_report().replace("\n", " "))
        return known


def _conform(shape: Shape, value: Any, path: str) -> Any:
    """Drop unknown members and check enumerations; leave wrong types for ParamValidator."""
    if isinstance(shape, StructureShape) and isinstance(value, Mapping):
        return {
            name: _conform(shape.members[name], member, f"{path}.{name}".lstrip("."))
            for name, member in value.items()
            if name in shape.members and member is not None
        }
    if isinstance(shape, ListShape) and isinstance(value, (list, tuple)):
        return [_conform(shape.member, item, f"{path}[{i}]") for i, item in enumerate(value)]
    if isinstance(shape, MapShape) and isinstance(value, Mapping):
        return {k: _conform(shape.value, v, f"{path}.{k}") for k, v in value.items()}
    allowed = shape.metadata.get("enum")
    if allowed and isinstance(value, str) and value not in allowed:
        raise ApiError(
            "ClientException",
            f"Value '{value}' at '{path}' failed to satisfy constraint: Member must satisfy enum"
            f" value set: [{', '.join(allowed)}]",
        )
    return value
