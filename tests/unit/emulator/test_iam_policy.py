"""What IAM says of a request, as far as the shipped policies need it."""

from __future__ import annotations

from typing import Any

import pytest

from miniwdl_cloud.emulator.iam_policy import Grant, Request, all_grants, grants

BUCKET = "arn:aws:s3:::b"


def _policy(*statements: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"Version": "2012-10-17", "Statement": list(statements)}]


def _allow(action: Any, resource: Any, **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


@pytest.mark.parametrize(
    ("action", "resource", "asked", "on", "allowed"),
    [
        ("s3:GetObject", f"{BUCKET}/*", "s3:GetObject", f"{BUCKET}/x/y", True),
        ("s3:getobject", f"{BUCKET}/*", "s3:GetObject", f"{BUCKET}/x", True),
        ("s3:GetObject", f"{BUCKET}/*", "s3:PutObject", f"{BUCKET}/x", False),
        ("s3:GetObject", f"{BUCKET}/*", "s3:GetObject", BUCKET, False),
        ("s3:GetObject", f"{BUCKET}/*", "s3:GetObject", "arn:aws:s3:::B/x", False),
        ("s3:Get*", f"{BUCKET}/x?", "s3:GetObject", f"{BUCKET}/x1", True),
        ("s3:Get*", f"{BUCKET}/x?", "s3:GetObject", f"{BUCKET}/x12", False),
        ("batch:ListJobs", "*", "batch:ListJobs", "*", True),
        ("batch:ListJobs", f"{BUCKET}/*", "batch:ListJobs", "*", False),
        (["a:B", "c:D"], [BUCKET, f"{BUCKET}/*"], "c:D", f"{BUCKET}/x", True),
    ],
)
def test_actions_and_resources(
    action: Any, resource: Any, asked: str, on: str, allowed: bool
) -> None:
    """Wildcards; actions in any case of letters, resources in their own."""
    assert bool(grants(_policy(_allow(action, resource)), Request(asked, on))) == allowed


def test_a_denial_comes_first() -> None:
    """Whatever else allows it."""
    denial = {"Effect": "Deny", "Action": "s3:*", "Resource": f"{BUCKET}/secret"}
    documents = _policy(_allow("s3:GetObject", f"{BUCKET}/*"), denial)
    assert grants(documents, Request("s3:GetObject", f"{BUCKET}/x"))
    assert grants(documents, Request("s3:GetObject", f"{BUCKET}/secret")) == []


@pytest.mark.parametrize(
    ("condition", "context", "allowed"),
    [
        ({"StringEquals": {"k": "v"}}, {"K": "v"}, True),
        ({"StringEquals": {"k": ["u", "v"]}}, {"k": "v"}, True),
        ({"StringEquals": {"k": "v"}}, {"k": "V"}, False),
        ({"StringEquals": {"k": "v"}}, {}, False),
        (
            {"ArnEquals": {"k": "arn:aws:ecs:*:1:cluster/a*"}},
            {"k": "arn:aws:ecs:r:1:cluster/ab"},
            True,
        ),
        ({"ArnEquals": {"k": "arn:aws:*"}}, {"k": "arn:aws:ecs:r:1:cluster/ab"}, False),
        ({"Bool": {"k": "false"}, "StringEquals": {"j": "v"}}, {"k": "False", "j": "u"}, False),
    ],
)
def test_conditions(condition: Any, context: dict[str, str], allowed: bool) -> None:
    """All keys of all operators have to fit; one that the request does not have fits nothing."""
    documents = _policy(_allow("a:B", "*", Condition=condition))
    assert bool(grants(documents, Request("a:B", "*", context))) == allowed


def test_what_is_not_known_is_an_error() -> None:
    """Nothing is judged by half."""
    with pytest.raises(ValueError, match="NotAction"):
        grants(
            _policy({"Effect": "Allow", "NotAction": "a:B", "Resource": "*"}), Request("a:C", "*")
        )
    with pytest.raises(KeyError):
        documents = _policy(_allow("a:B", "*", Condition={"DateLessThan": {"k": "v"}}))
        grants(documents, Request("a:B", "*", {"k": "v"}))


def test_all_that_is_allowed() -> None:
    """Each action on each resource."""
    documents = _policy(_allow(["a:B", "a:C"], ["x", "y"], Sid="s"))
    assert set(all_grants(documents)) == {Grant("s", f"a:{a}", r) for a in "BC" for r in "xy"}
