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
"""Answers kept of each job."""


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
        self._injector = injector
        self._clock = clock
        self._lock = threading.Lock()
        self._unknown: dict[str, float] = {}
        self._omitted: dict[str, float] = {}
        self._unlisted: dict[str, float] = {}
        self._seen: dict[str, deque[tuple[float, Params]]] = {}

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
            listed = [
                j for j in answer["jobSummaryList"] if not self._hides("listed", self._unlisted, j)
            ]
            return {**answer, "jobSummaryList": listed}
        elif operation == "DescribeJobDefinitions":
            known = [
                d
                for d in answer["jobDefinitions"]
                if not self._is_hidden("registered", self._unknown, d["jobDefinitionArn"])
            ]
            return {**answer, "jobDefinitions": known}
        return answer

    def _check_definition(self, definition: str) -> None:
        with self._lock:
            unknown = list(self._unknown)
        for arn in unknown:
            named = definition in (arn, arn.rpartition("/")[2])
            if named and self._is_hidden("registered", self._unknown, arn):
                error = client_error(f"JobDefinition {definition} not found.")
                raise ApiError(error.code, error.message, 404)

    def _registered(self, answer: Params) -> None:
        name = answer["jobDefinitionName"]
        self._hide(self._unknown, "registered", answer["jobDefinitionArn"], {"name": name})

    def _submitted(self, answer: Params, queue: str) -> None:
        facts = {"name": answer["jobName"], "queue": queue.rpartition("/")[2]}
        self._hide(self._omitted, "submitted", answer["jobId"], facts)
        self._hide(self._unlisted, "listed", answer["jobId"], facts)

    def _described(self, jobs: Iterable[Params]) -> Iterable[Params]:
        for job in jobs:
            facts = {"name": job["jobName"], "queue": job["jobQueue"].rpartition("/")[2]}
            fault = self._injector.choose("described", facts)
            seconds = fault.rule.seconds if fault is not None else 0.0
            shown = self._as_of(job, DEFAULT_S if seconds is None else seconds)
            if not self._hides("submitted", self._omitted, job):
                yield shown

    def _as_of(self, job: Params, age_s: float) -> Params:
        """The job as it was described some seconds ago, or when it was first described."""
        if not self._injector.may("described"):
            return job
        now = self._clock()
        with self._lock:
            seen = self._seen.setdefault(job["jobId"], deque(maxlen=REMEMBERED))
            seen.append((now, job))
            old = [shown for at, shown in seen if at <= now - age_s]
            return old[-1] if old else seen[0][1]

    def _hide(
        self, hidden: dict[str, float], moment: str, name: str, facts: dict[str, str]
    ) -> None:
        fault = self._injector.choose(moment, facts)
        if fault is not None:
            seconds = fault.rule.seconds
            with self._lock:
                hidden[name] = self._clock() + (DEFAULT_S if seconds is None else seconds)

    def _hides(self, moment: str, hidden: dict[str, float], job: Params) -> bool:
        return self._is_hidden(moment, hidden, re.sub(r":\d+$", "", str(job["jobId"])))

    def _is_hidden(self, moment: str, hidden: dict[str, float], name: str) -> bool:
        # Once another plan is followed, all is as it should be.
        if not self._injector.may(moment):
            return False
        with self._lock:
            return hidden.get(name, 0.0) > self._clock()
