"""What botocore's model of an API says about a request: members, types, allowed values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import botocore.session
from botocore.model import ListShape, MapShape, OperationModel, Shape, StructureShape
from botocore.validate import ParamValidator

from .errors import ApiError


class RequestModel:
    """The request side of botocore's model of a service.

    Parameters
    ----------
    service
        botocore's name of it.
    refuse
        The service's answer to a request that breaks the model, by its text.
    """

    def __init__(self, service: str, refuse: Callable[[str], ApiError]) -> None:
        self.service = botocore.session.Session().get_service_model(service)
        self._validator = ParamValidator()
        self._refuse = refuse

    def operation(self, name: str) -> OperationModel:
        """botocore's model of an operation."""
        return self.service.operation_model(name)

    def check(self, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """The request without members that the service does not know, as AWS ignores them.

        Raises
        ------
        ApiError
            A member is missing, of a wrong type, or not one of its allowed values.
        """
        shape = self.operation(operation).input_shape
        if shape is None:
            return {}
        known: dict[str, Any] = _conform(shape, params, "")
        report = self._validator.validate(known, shape)
        if report.has_errors():
            raise self._refuse(report.generate_report().replace("\n", " "))
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
