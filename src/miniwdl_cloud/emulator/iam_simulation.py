"""SimulatePrincipalPolicy, which moto's IAM lacks: what roles may do, by their policies alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from moto.iam.models import iam_backends

from .batch.models import ACCOUNT_ID
from .iam_policy import Request, grants

_NAMESPACE = "https://iam.amazonaws.com/doc/2010-05-08/"


def answer(environ: Mapping[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer a SimulatePrincipalPolicy request for a role (IAM API reference)."""
    form = parse_qs(environ["wsgi.input"].read().decode())
    arn = form.get("PolicySourceArn", [""])[0]
    role = next((r for r in iam_backends[ACCOUNT_ID]["aws"].roles.values() if r.arn == arn), None)
    if role is None:
        body = _error("NoSuchEntity", f"The role with ARN {arn} cannot be found.")
        start_response("404 Error", _headers(body))
        return [body]
    documents = [_json(policy.document) for policy in role.managed_policies.values()]
    documents += [_json(document) for document in role.policies.values()]
    try:
        results = [
            _result(documents, action, resource)
            for action in _members(form, "ActionNames")
            for resource in _members(form, "ResourceArns") or ["*"]
        ]
    except ValueError as exn:
        body = _error("PolicyEvaluation", f"The embedded AWS cannot evaluate it: {exn}")
        start_response("500 Error", _headers(body))
        return [body]
    body = (
        f'<SimulatePrincipalPolicyResponse xmlns="{_NAMESPACE}"><SimulatePrincipalPolicyResult>'
        f"<IsTruncated>false</IsTruncated><EvaluationResults>{''.join(results)}"
        "</EvaluationResults></SimulatePrincipalPolicyResult></SimulatePrincipalPolicyResponse>"
    ).encode()
    start_response("200 OK", _headers(body))
    return [body]


def _result(documents: list[Mapping[str, Any]], action: str, resource: str) -> str:
    plain = [{**document, "Statement": _statements(document)} for document in documents]
    decision = "allowed" if grants(plain, Request(action, resource)) else "implicitDeny"
    return (
        f"<member><EvalActionName>{escape(action)}</EvalActionName>"
        f"<EvalResourceName>{escape(resource)}</EvalResourceName>"
        f"<EvalDecision>{decision}</EvalDecision><MatchedStatements/>"
        "<MissingContextValues/></member>"
    )


def _statements(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    statements = document["Statement"]
    return [statements] if isinstance(statements, dict) else list(statements)


def _members(form: Mapping[str, list[str]], name: str) -> list[str]:
    found = {
        int(key.rpartition(".")[2]): values[0]
        for key, values in form.items()
        if key.startswith(f"{name}.member.")
    }
    return [found[number] for number in sorted(found)]


def _json(document: Any) -> Mapping[str, Any]:
    parsed: Mapping[str, Any] = json.loads(document) if isinstance(document, str) else document
    return parsed


def _error(code: str, message: str) -> bytes:
    return (
        f'<ErrorResponse xmlns="{_NAMESPACE}"><Error><Type>Sender</Type><Code>{code}</Code>'
        f"<Message>{escape(message)}</Message></Error></ErrorResponse>"
    ).encode()


def _headers(body: bytes) -> list[tuple[str, str]]:
    return [("Content-Type", "text/xml"), ("Content-Length", str(len(body)))]
