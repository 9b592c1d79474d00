"""What IAM says about a request: the parts of its language that the shipped policies use.

IAM user guide, "Policy evaluation logic", "IAM JSON policy elements". Whatever a policy has beyond
that is an error, so that nothing is judged by half.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

ELEMENTS = {"Sid", "Effect", "Action", "Resource", "Condition"}


@dataclass(frozen=True)
class Request:
    """One action on one resource.

    Parameters
    ----------
    action
        ``service:Name``
    resource
        ARN, or ``*`` for actions that know none.
    context
        Condition keys with their values.
    """

    action: str
    resource: str
    context: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Grant:
    """What allowed a request: an action and a resource, as a statement writes them."""

    sid: str
    action: str
    resource: str


def listed(value: Any) -> list[str]:
    """A member that may be one text or many."""
    return list(value) if isinstance(value, list) else [value]


def grants(documents: Iterable[Mapping[str, Any]], request: Request) -> list[Grant]:
    """All that allows a request; nothing, if it is not allowed or is denied.

    Parameters
    ----------
    documents
        The policies of a role.

    Raises
    ------
    ValueError
        A policy has elements that are not known here.
    """
    found = []
    for statement in (s for document in documents for s in document["Statement"]):
        if not set(statement) <= ELEMENTS:
            raise ValueError(f"A policy has {', '.join(sorted(set(statement) - ELEMENTS))}.")
        if not _fulfilled(statement.get("Condition", {}), request.context):
            continue
        matching = [
            Grant(statement.get("Sid", ""), action, resource)
            for action in listed(statement["Action"])
            for resource in listed(statement["Resource"])
            if _action_matches(action, request.action)
            and _resource_matches(resource, request.resource)
        ]
        if matching and statement["Effect"] == "Deny":
            return []
        found += matching
    return found


def all_grants(documents: Iterable[Mapping[str, Any]]) -> Iterator[Grant]:
    """Everything that policies allow."""
    for statement in (s for document in documents for s in document["Statement"]):
        for action in listed(statement["Action"]):
            for resource in listed(statement["Resource"]):
                yield Grant(statement.get("Sid", ""), action, resource)


def _glob(pattern: str, text: str, flags: int = 0) -> bool:
    parts = {"*": ".*", "?": "."}
    regex = "".join(parts.get(letter) or re.escape(letter) for letter in pattern)
    return re.fullmatch(regex, text, re.DOTALL | flags) is not None


def _action_matches(pattern: str, action: str) -> bool:
    return _glob(pattern, action, re.IGNORECASE)


def _resource_matches(pattern: str, arn: str) -> bool:
    return _glob(pattern, arn)


def _arn_matches(pattern: str, arn: str) -> bool:
    """ArnEquals and ArnLike are the same: each of the six parts may have wildcards."""
    wanted, found = pattern.split(":", 5), arn.split(":", 5)
    return len(wanted) == len(found) == 6 and all(map(_glob, wanted, found))


_OPERATORS: Mapping[str, Callable[[str, str], bool]] = {
    "StringEquals": lambda wanted, found: wanted == found,
    "ArnEquals": _arn_matches,
    "ArnLike": _arn_matches,
    "Bool": lambda wanted, found: wanted.lower() == found.lower(),
}


def _fulfilled(condition: Mapping[str, Mapping[str, Any]], context: Mapping[str, str]) -> bool:
    """All keys of all operators; a key that the request does not have fits nothing."""
    known = {name.lower(): value for name, value in context.items()}
    return all(
        key.lower() in known
        and any(_OPERATORS[operator](wanted, known[key.lower()]) for wanted in listed(values))
        for operator, keys in condition.items()
        for key, values in keys.items()
    )
