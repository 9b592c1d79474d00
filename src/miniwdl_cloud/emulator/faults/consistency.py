"""Batch's eventual consistency: answers that lack what is new, or are older than they should be."""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from ..errors import ApiError, client_error
from .injector import FaultInjector

Params = dict[str, Any]
Serve = Callable[[str, Params], Params]

DEFAULT_S = 5.0
REMEMBERED = 64
"""Answers kept of each job or task."""


class Lag:
    """What a service has not heard of yet, and what its answers said some time ago.

    Parameters
    ----------
    injector
        Says what goes wrong.
    clock
        Seconds, monotonic.
    """

    def __init__(
        self, injector: FaultInjector, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._injector = injector
        self._clock = clock
        self._lock = threading.Lock()
        self._hidden: dict[tuple[str, str], float] = {}
        self._seen: dict[str, deque[tuple[float, Params]]] = {}

    def hide(self, moment: str, key: str, facts: Params) -> None:
        """Hide something new for a while, if the plan says so.

        Parameters
        ----------
        moment
            What has happened to it, as in `FaultInjector.choose`.
        key
            Tells it from all others.
        facts
            What rules match.
        """
        fault = self._injector.choose(moment, facts)
        if fault is not None:
            with self._lock:
                self._hidden[moment, key] = self._clock() + _seconds(fault.rule.seconds)

    def hides(self, moment: str, key: str) -> bool:
        """Whether it is hidden still."""
        # Once another plan is followed, all is as it should be.
        if not self._injector.may(moment):
            return False
        with self._lock:
            return self._hidden.get((moment, key), 0.0) > self._clock()

    def hidden(self, moment: str) -> list[str]:
        """The keys of all that was hidden at such a moment."""
        with self._lock:
            return [key for known, key in self._hidden if known == moment]

    def described(self, key: str, shown: Params, facts: Params) -> Params:
        """What an answer says of something: as it is, or, if the plan says so, as it was described
        some seconds ago or when it was first described."""
        fault = self._injector.choose("described", facts)
        age_s = _seconds(fault.rule.seconds) if fault is not None else 0.0
        if not self._injector.may("described"):
            return shown
        now = self._clock()
        with self._lock:
            seen = self._seen.setdefault(key, deque(maxlen=REMEMBERED))
            seen.append((now, shown))
            old = [former for at, former in seen if at <= now - age_s]
            return old[-1] if old else seen[0][1]


def _seconds(given: float | None) -> float:
    return DEFAULT_S if given is None else given


class ConsistencyFaults:
    """Stands before the Batch service.

    Parameters
    ----------
    injector
        Says what goes wrong.
    clock
        Seconds, monotonic.
    """

    def __init__(
        self, injector: FaultInjector, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._lag = Lag(injector, clock)

    def call(self, operation: str, params: Params, serve: Serve) -> Params:
        """Answer a call.

        Raises
        ------
        ApiError
            The service refuses it, or is made not to know a definition yet.
        """
        if operation == "SubmitJob":
            self._check_definition(str(params.get("jobDefinition")))
        answer = serve(operation, params)
        if operation == "RegisterJobDefinition":
            self._registered(answer)
        elif operation == "SubmitJob":
            self._submitted(answer, str(params.get("jobQueue")))
        elif operation == "DescribeJobs":
            return {**answer, "jobs": list(self._described(answer["jobs"]))}
        elif operation == "ListJobs":
            listed = [j for j in answer["jobSummaryList"] if not self._hides("listed", j)]
            return {**answer, "jobSummaryList": listed}
        elif operation == "DescribeJobDefinitions":
            known = [
                d
                for d in answer["jobDefinitions"]
                if not self._lag.hides("registered", d["jobDefinitionArn"])
            ]
            return {**answer, "jobDefinitions": known}
        return answer

    def _check_definition(self, definition: str) -> None:
        for arn in self._lag.hidden("registered"):
            named = definition in (arn, arn.rpartition("/")[2])
            if named and self._lag.hides("registered", arn):
                error = client_error(f"JobDefinition {definition} not found.")
                raise ApiError(error.code, error.message, 404)

    def _registered(self, answer: Params) -> None:
        name = answer["jobDefinitionName"]
        self._lag.hide("registered", answer["jobDefinitionArn"], {"name": name})

    def _submitted(self, answer: Params, queue: str) -> None:
        facts = {"name": answer["jobName"], "queue": queue.rpartition("/")[2]}
        for moment in ("submitted", "listed"):
            self._lag.hide(moment, answer["jobId"], facts)

    def _described(self, jobs: Iterable[Params]) -> Iterable[Params]:
        for job in jobs:
            facts = {"name": job["jobName"], "queue": job["jobQueue"].rpartition("/")[2]}
            shown = self._lag.described(job["jobId"], job, facts)
            if not self._hides("submitted", job):
                yield shown

    def _hides(self, moment: str, job: Params) -> bool:
        return self._lag.hides(moment, re.sub(r":\d+$", "", str(job["jobId"])))
