"""Which API call a request is: its service, Region and operation."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

import botocore.exceptions
import botocore.session
from botocore.model import OperationModel

_SCOPE = re.compile(r"Credential=[^/,]+/\d{8}/([^/]+)/([^/]+)/aws4_request")
_HOST = re.compile(r"^([a-z0-9-]+)\.([a-z0-9-]+)\.amazonaws\.com")
_MEMBER = re.compile(r"\{(\w+)(\+?)\}")
# How botocore names the application that is set with AWS_SDK_UA_APP_ID.
_APPLICATION = re.compile(r"(?:^| )app/(\S+)")
# Signing names that are not botocore's service names.
_MODELS = {"elasticfilesystem": "efs"}


def caller(environ: dict[str, Any]) -> tuple[str, str] | None:
    """The service and Region that a request is for, as its signature or else its host name says."""
    scope = _SCOPE.search(environ.get("HTTP_AUTHORIZATION", ""))
    if scope:
        return scope.group(2).lower(), scope.group(1)
    host = _HOST.match(environ.get("HTTP_HOST", ""))
    return (host.group(1), host.group(2)) if host else None


def application(environ: dict[str, Any]) -> str:
    """The application that a request is of, as its user agent says; empty if it does not."""
    found = _APPLICATION.search(environ.get("HTTP_USER_AGENT", ""))
    return found.group(1) if found else ""


@dataclass(frozen=True)
class _Route:
    """How a request of one operation of a REST service looks."""

    name: str
    method: str
    path: re.Pattern[str]
    query: frozenset[tuple[str, str | None]]
    headers: frozenset[str]

    def matches(self, environ: dict[str, Any], path: str, query: dict[str, list[str]]) -> bool:
        # The path last: of S3's, nearly all match, and the query tells the operations apart.
        return (
            self.method == environ["REQUEST_METHOD"]
            and all(name in query and value in (None, query[name][0]) for name, value in self.query)
            and all(header in environ for header in self.headers)
            and self.path.fullmatch(path) is not None
        )

    @property
    def strictness(self) -> int:
        return len(self.query) + len(self.headers)


class OperationNames:
    """Names the operation of a request, by botocore's models."""

    def __init__(self) -> None:
        self._session = botocore.session.Session()
        self._routes: dict[str, list[_Route]] = {}
        self._lock = threading.Lock()

    def name(self, service: str, environ: dict[str, Any]) -> str:
        """The operation's name, or the request's method and path where it is not known.

        Parameters
        ----------
        service
            The service's signing name.
        environ
            The request; its body can be read again.
        """
        target: str = environ.get("HTTP_X_AMZ_TARGET", "")
        if target:
            return target.rpartition(".")[2]
        if environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded"):
            body = environ["wsgi.input"].read()
            environ["wsgi.input"].seek(0)
            action = parse_qs(body.decode(errors="replace")).get("Action")
            if action:
                return str(action[0])
        # As it was sent: a slash inside a member is quoted there.
        path = environ["RAW_URI"].partition("?")[0].rstrip("/") or "/"
        query = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
        found = [r for r in self._of_service(service) if r.matches(environ, path, query)]
        if not found:
            return f"{environ['REQUEST_METHOD']} {path}"
        return max(found, key=lambda route: route.strictness).name

    def _of_service(self, service: str) -> list[_Route]:
        with self._lock:
            if service not in self._routes:
                self._routes[service] = self._load(_MODELS.get(service, service))
            return self._routes[service]

    def _load(self, service: str) -> list[_Route]:
        try:
            model = self._session.get_service_model(service)
        except botocore.exceptions.UnknownServiceError:
            return []
        return [_route(model.operation_model(name)) for name in model.operation_names]


def _route(operation: OperationModel) -> _Route:
    path, _, query = operation.http["requestUri"].partition("?")
    pattern, last = "", 0
    for member in _MEMBER.finditer(path):
        pattern += re.escape(path[last : member.start()]) + (".+" if member.group(2) else "[^/]+")
        last = member.end()
    pattern += re.escape(path[last:])
    parts = parse_qs(query, keep_blank_values=True)
    # S3's x-id only repeats the operation's name.
    wanted: set[tuple[str, str | None]] = {
        (name, values[0] or None) for name, values in parts.items() if name != "x-id"
    }
    headers = set()
    shape = operation.input_shape
    for name in shape.required_members if shape else ():
        place = shape.members[name].serialization if shape else {}
        label = place.get("name", name)
        if place.get("location") == "querystring":
            wanted.add((label, None))
        elif place.get("location") == "header":
            headers.add("HTTP_" + label.upper().replace("-", "_"))
    return _Route(
        operation.name,
        operation.http["method"],
        re.compile(pattern.rstrip("/") or "/", re.DOTALL),
        frozenset(wanted),
        frozenset(headers),
    )
