"""The emulator's own endpoints under ``/_local/``, and its count of API calls."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import parse_qs

from ..errors import UsageError
from .errors import ApiError
from .faults.injector import FaultInjector
from .faults.plan import FaultPlan, parse_plan

Environ = dict[str, Any]
StartResponse = Callable[..., Any]

PREFIX = "/_local/"


class CallCounts:
    """How often each operation of each service was called."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str, str]] = Counter()
        self._lock = threading.Lock()

    def add(self, service: str, operation: str, application: str = "") -> None:
        """Count a call, and which application it is of."""
        with self._lock:
            self._counts[service, operation, application] += 1

    def reset(self) -> None:
        """Forget all calls."""
        with self._lock:
            self._counts.clear()

    def as_dict(self, application: str | None = None) -> dict[str, dict[str, int]]:
        """Counts by service and operation; only those of one application, if it is given."""
        with self._lock:
            counted = sorted(self._counts.items())
        answer: dict[str, dict[str, int]] = {}
        for (service, operation, caller), count in counted:
            if application in (None, caller):
                counts = answer.setdefault(service, {})
                counts[operation] = counts.get(operation, 0) + count
        return answer


class Control:
    """The WSGI application of the ``/_local/`` endpoints.

    Parameters
    ----------
    counts
        Answers ``GET /_local/calls``, with ``?application=NAME`` only those of an application
        (botocore's setting AWS_SDK_UA_APP_ID); ``POST /_local/reset-calls`` empties it.
    health
        What ``GET /_local/health`` answers.
    on_stop
        Called by ``POST /_local/stop``; must return at once.
    interrupt
        Called by ``POST /_local/interrupt`` with the ``jobId`` of the request: a Batch job's, or an
        ECS task's ARN.
    faults
        ``POST /_local/faults`` gives it another plan, ``DELETE`` none; ``GET`` shows it.
    """

    def __init__(
        self,
        counts: CallCounts,
        health: Callable[[], Mapping[str, Any]],
        on_stop: Callable[[], None],
        interrupt: Callable[[str], None],
        faults: FaultInjector,
    ) -> None:
        self._counts = counts
        self._health = health
        self._on_stop = on_stop
        self._interrupt = interrupt
        self._faults = faults

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        status, answer = self._answer(environ)
        body = json.dumps(answer).encode()
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        start_response(status, headers)
        return [body]

    def _answer(self, environ: Environ) -> tuple[str, Mapping[str, Any]]:
        what = (environ["REQUEST_METHOD"], environ["PATH_INFO"][len(PREFIX) :])
        if what == ("GET", "health"):
            return "200 OK", self._health()
        if what == ("GET", "calls"):
            query = parse_qs(environ.get("QUERY_STRING", ""))
            return "200 OK", self._counts.as_dict(query.get("application", [None])[0])
        if what == ("POST", "reset-calls"):
            self._counts.reset()
            return "200 OK", {}
        if what == ("POST", "stop"):
            self._on_stop()
            return "200 OK", {}
        if what == ("POST", "interrupt"):
            return self._interrupt_job(environ)
        if what[1] == "faults":
            return self._fault_plan(environ)
        return "404 Not Found", {"message": "There is no such endpoint."}

    def _fault_plan(self, environ: Environ) -> tuple[str, Mapping[str, Any]]:
        method = environ["REQUEST_METHOD"]
        try:
            if method == "POST":
                self._faults.replace(parse_plan(json.loads(environ["wsgi.input"].read())))
            elif method == "DELETE":
                self._faults.replace(FaultPlan())
            elif method != "GET":
                return "405 Method Not Allowed", {"message": "Send GET, POST or DELETE."}
        except ValueError:
            return "400 Bad Request", {"message": "The fault plan is not JSON."}
        except UsageError as exn:
            return "400 Bad Request", {"message": exn.message}
        return "200 OK", self._faults.as_dict()

    def _interrupt_job(self, environ: Environ) -> tuple[str, Mapping[str, Any]]:
        try:
            self._interrupt(str(json.loads(environ["wsgi.input"].read())["jobId"]))
        except (ValueError, KeyError, TypeError):
            return "400 Bad Request", {"message": 'Send {"jobId": "…"}.'}
        except ApiError as exn:
            return "404 Not Found", {"message": exn.message}
        return "200 OK", {}
