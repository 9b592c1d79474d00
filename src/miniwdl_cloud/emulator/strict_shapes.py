"""What botocore's model of an API says about a request, for services whose answers name each member
that is wrong: types, lengths, patterns."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from botocore.model import ListShape, Shape, StructureShape

from .errors import ApiError
from .shapes import RequestModel

_TYPES: Mapping[str, tuple[type, ...]] = {
    "structure": (dict,),
    "list": (list,),
    "map": (dict,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "long": (int,),
}


class StrictModel(RequestModel):
    """The request side of botocore's model of a service, with every constraint in it.

    Parameters
    ----------
    service
        botocore's name of it.
    """

    def __init__(self, service: str) -> None:
        super().__init__(service, lambda text: ApiError("ValidationException", text))

    def has(self, operation: str) -> bool:
        """Whether the service has an operation of this name."""
        return operation in self.service.operation_names

    def check(self, operation: str, params: Any) -> dict[str, Any]:
        """The request without members that the service does not know, as AWS ignores them.

        Raises
        ------
        ApiError
            A member is missing, of a wrong type, or outside its constraints.
        """
        shape = self.operation(operation).input_shape
        if shape is None:
            return {}
        if not isinstance(params, dict):
            raise ApiError("SerializationException", "The request is not a JSON object.")
        known: dict[str, Any] = _known(shape, params)
        problems = list(_problems(shape, known, ""))
        if problems:
            count = f"{len(problems)} validation error{'s' if len(problems) > 1 else ''} detected: "
            raise ApiError("ValidationException", count + "; ".join(problems))
        return known


def _known(shape: Shape, value: Any) -> Any:
    if isinstance(shape, StructureShape) and isinstance(value, dict):
        return {
            name: _known(shape.members[name], member)
            for name, member in value.items()
            if name in shape.members and member is not None
        }
    if isinstance(shape, ListShape) and isinstance(value, list):
        return [_known(shape.member, item) for item in value]
    allowed = _TYPES.get(shape.type_name)
    wrong = allowed is not None and not isinstance(value, allowed)
    # Python's bool is an int too.
    if wrong or (isinstance(value, bool) and shape.type_name != "boolean"):
        raise ApiError("SerializationException", f"A member should be a {shape.type_name}.")
    return value


def _problems(shape: Shape, value: Any, path: str) -> Iterator[str]:
    """Violations of a shape's constraints, in the words of AWS's validation."""
    limits = shape.metadata
    size = value if isinstance(value, int) else len(value)
    what = "value" if isinstance(value, int) else "length"
    broken = ""
    if "min" in limits and size < limits["min"]:
        broken = f"Member must have {what} greater than or equal to {limits['min']}"
    elif "max" in limits and size > limits["max"]:
        broken = f"Member must have {what} less than or equal to {limits['max']}"
    elif "enum" in limits and value not in limits["enum"]:
        broken = f"Member must satisfy enum value set: [{', '.join(limits['enum'])}]"
    elif isinstance(value, str) and not _matches(limits.get("pattern"), value):
        broken = f"Member must satisfy regular expression pattern: {limits['pattern']}"
    if broken:
        yield f"Value at '{path}' failed to satisfy constraint: {broken}"
    if isinstance(shape, StructureShape):
        for name in shape.required_members:
            if name not in value:
                yield (
                    f"Value at '{_below(path, name)}' failed to satisfy constraint: Member must not"
                    " be null"
                )
        for name, member in value.items():
            yield from _problems(shape.members[name], member, _below(path, name))
    elif isinstance(shape, ListShape):
        for number, item in enumerate(value, 1):
            yield from _problems(shape.member, item, f"{path}.{number}.member")


def _matches(pattern: str | None, value: str) -> bool:
    # Python's `re` has no Unicode property classes; only tags use them.
    return pattern is None or r"\p{" in pattern or re.fullmatch(pattern, value) is not None


def _below(path: str, name: str) -> str:
    member = name[0].lower() + name[1:]
    return f"{path}.{member}" if path else member
