"""Faults of API calls: throttling, errors, lost connections, slow answers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

from ..errors import ApiError
from ..wsgi import ConnectionDropped
from . import wire
from .injector import Fault, FaultInjector

StartResponse = Callable[..., Any]
Serve = Callable[[StartResponse], Iterable[bytes]]

DEFAULT_SLOW_S = 5.0


class CallFaults:
    """Stands before every service.

    Parameters
    ----------
    injector
        Says what goes wrong.
    closing
        Ends the waiting of slow answers.
    """

    def __init__(self, injector: FaultInjector, closing: threading.Event) -> None:
        self._injector = injector
        self._closing = closing

    def answer(
        self,
        service: str,
        operation: str,
        environ: dict[str, Any],
        start_response: StartResponse,
        serve: Serve,
    ) -> Iterable[bytes]:
        """Answer a call, by the service or by a fault.

        Parameters
        ----------
        serve
            The service's own answer.

        Raises
        ------
        ConnectionDropped
            The client shall see no answer.
        """
        fault = self._injector.choose("called", {"service": service, "operation": operation})
        if fault is None:
            return serve(start_response)
        name = fault.rule.fault
        if name == "slow":
            seconds = fault.rule.seconds
            self._closing.wait(DEFAULT_SLOW_S if seconds is None else seconds)
            return serve(start_response)
        if name == "reset_after":
            _finish(serve(lambda *_: None))
        if name in ("reset_before", "reset_after"):
            raise ConnectionDropped(f"{service} {operation}: {name}")
        error = _error(service, fault)
        body, headers = wire.encode(error, service, environ)
        start_response(f"{error.status} Error", headers)
        return [body]


def _error(service: str, fault: Fault) -> ApiError:
    name = fault.rule.fault
    if name == "throttle":
        return wire.THROTTLING[fault.rule.spelling]
    if name == "slow_down":
        return wire.SLOW_DOWN
    if name == "expired_token":
        return wire.EXPIRED_S3 if service == "s3" else wire.EXPIRED
    return wire.server_error(service, fault.rule.status or 500)


def _finish(answer: Iterable[bytes]) -> None:
    for _ in answer:
        pass
    close = getattr(answer, "close", None)
    if close is not None:
        close()
