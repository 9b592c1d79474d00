"""Getting jobs submitted: coalescing, definitions, pacing, and submissions in doubt."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import Executor
from dataclasses import dataclass, field

from ..errors import CredentialsExpired, NoCapacity, Throttled, Unreachable
from .definitions import Definitions
from .handle import Cancelled, Refused, Submitted
from .options import DispatchOptions
from .pacing import Pacing
from .request import Definition
from .room import Room
from .service import DefinitionNotVisible, QueueService
from .state import Job, Unit

HOLD = 0.08
"""Seconds that a lone job waits for company."""
HOLD_ON = 0.25
"""Seconds that a job with company waits for more of it, from the latest that came."""
HOLD_MOST = 1.0
"""Seconds after which a group goes out although more of its kind arrive."""
HOLD_MANY = 3.0
"""So many times as long is a group of many held, which goes out by fewer calls that way."""
MANY = 50
"""Jobs for which a group is held twice as long, and so on."""
DOUBT = 15.0
"""Seconds for which a submission in doubt is looked for by its name before it is sent again: lists
of jobs may lag behind."""
DOUBT_PERIOD = 2.5
"""Seconds between two such looks."""


@dataclass
class _Group:
    """Jobs of one kind that wait for company."""

    first: float
    latest: float
    jobs: list[Job] = field(default_factory=list)

    def due(self) -> float:
        if len(self.jobs) < 2:
            return self.first + HOLD
        longer = min(HOLD_MANY, 1 + len(self.jobs) / MANY)
        return min(self.latest + HOLD_ON * longer, self.first + HOLD_MOST * longer)


class Submitter:
    """Submits jobs, in array jobs where several of one kind wait at the same moment.

    Calls go through lanes, because one after another they would be bound by the service's latency;
    their results come back as messages to the dispatcher's thread.

    Parameters
    ----------
    service, options
        The queue service, and how to behave.
    lanes
        Runs the calls.
    post
        Sends a message to the dispatcher's thread.
    clock
        Seconds, monotonic.
    submitted
        Called with a unit that has its id.
    well, trouble
        Called when the service answers, and when it does not.
    """

    def __init__(
        self,
        service: QueueService,
        options: DispatchOptions,
        lanes: Executor,
        post: Callable[[Callable[[], None]], None],
        clock: Callable[[], float],
        submitted: Callable[[Unit], None],
        well: Callable[[], None],
        trouble: Callable[[Exception], None],
    ) -> None:
        self._service = service
        self._options = options
        self._lanes = lanes
        self._post = post
        self._clock = clock
        self._on_submitted = submitted
        self._well = well
        self._trouble = trouble
        self._groups: dict[Hashable, _Group] = {}
        self._ready: deque[Unit] = deque()
        self._definitions = Definitions(
            service,
            options.definition_rate,
            lanes,
            post,
            clock,
            self._registered,
            self._registration_failed,
        )
        self._undefined: dict[str, list[Unit]] = {}
        self._room = Room()
        self._under_way = 0
        self._pacing = Pacing(options.submit_rate, clock())

    def enter(self, job: Job) -> None:
        """Take a job in."""
        now = self._clock()
        arrays = self._options.array_min > 0 and self._service.array_max > 1
        if not (arrays and job.request.may_coalesce):
            self._ready.append(Unit([job]))
            return
        group = self._groups.setdefault(job.request.kind, _Group(now, now))
        group.latest = now
        group.jobs.append(job)

    def drop(self, job: Job) -> None:
        """Drop a cancelled job if it is certain that it was never submitted. Otherwise what its
        submission brings has to be terminated."""
        unit = job.unit
        if unit is None or not (unit.under_way or unit.in_doubt):
            job.finish(Cancelled())

    def due(self, now: float) -> float:
        """Do what is due; returns when to come back."""
        wake = min(self._flush_groups(now), self._submit_ready(now))
        return min(wake, self._definitions.due(now))

    def _submit_ready(self, now: float) -> float:
        wake = float("inf")
        held: list[Unit] = []
        while self._ready:
            unit = self._ready.popleft()
            unit.jobs = (
                [job for job in unit.jobs if not job.done] if not unit.in_doubt else unit.jobs
            )
            if not unit.jobs:
                continue
            if unit.not_before > now:
                wake = min(wake, unit.not_before)
                held.append(unit)
                continue
            definition = self._definitions.handle(unit.request.definition)
            if definition is None:
                self._undefined.setdefault(unit.request.definition.name, []).append(unit)
                continue
            # One in doubt may have taken effect, and has to be looked up in any case.
            opens = now if unit.in_doubt else self._room.opens_at(unit, now)
            if opens > now:
                wake = min(wake, opens)
                held.append(unit)
                continue
            if self._under_way >= self._options.lanes:
                # The answer of one that is under way wakes us.
                self._ready.appendleft(unit)
                break
            if not self._pacing.take(now):
                self._ready.appendleft(unit)
                wake = min(wake, self._pacing.next_at(now))
                break
            self._room.trying(unit, now)
            self._under_way += 1
            unit.under_way = True
            for job in unit.jobs:
                job.unit = unit
            self._lanes.submit(self._submit_in_lane, unit, definition)
        self._ready.extend(held)
        return wake

    def _flush_groups(self, now: float) -> float:
        wake = float("inf")
        # While submissions have to wait for their turn, later jobs may as well join the group.
        turn = self._pacing.next_at(now)
        for kind, group in list(self._groups.items()):
            full = len(group.jobs) >= self._service.array_max
            due = max(group.due(), turn)
            if not full and due > now:
                wake = min(wake, due)
                continue
            del self._groups[kind]
            self._ready.extend(self._units([job for job in group.jobs if not job.done]))
        return wake

    def _units(self, jobs: list[Job]) -> list[Unit]:
        if len(jobs) < max(2, self._options.array_min):
            return [Unit([job]) for job in jobs]
        size = self._service.array_max
        return [Unit(jobs[i : i + size]) for i in range(0, len(jobs), size)]

    def retire(self, definition: Definition) -> None:
        """Let go of a definition that will not be used again."""
        self._definitions.retire(definition)
        # Its jobs are over: whatever waited for it is not wanted.
        self._undefined.pop(definition.name, None)

    def finish(self) -> None:
        """Let go of what is left to be let go of; at the end."""
        self._definitions.finish()

    def _registered(self, name: str) -> None:
        self._ready.extendleft(reversed(self._undefined.pop(name, [])))

    def _registration_failed(self, name: str, error: Exception) -> None:
        for unit in self._undefined.pop(name, []):
            if isinstance(error, Unreachable):
                self._again(unit, error)
            else:
                self._refuse(unit, error)

    def _submit_in_lane(self, unit: Unit, definition: str) -> None:
        try:
            job_id = self._service.find(unit.request) if unit.in_doubt else None
            if job_id is None and self._may_yet_appear(unit):
                self._post(lambda: self._look_again(unit))
                return
            if job_id is None and not unit.cancelling:
                requests = [job.request for job in unit.jobs]
                job_id = self._service.submit(requests, definition)
        except Exception as exn:
            error = exn
            self._post(lambda: self._failed(unit, error))
        else:
            self._post(lambda: self._succeeded(unit, job_id))

    def _succeeded(self, unit: Unit, job_id: str | None) -> None:
        self._under_way -= 1
        unit.under_way = False
        self._well()
        if job_id is None:
            for job in unit.jobs:
                job.finish(Cancelled())
            return
        self._room.granted(unit)
        unit.job_id, unit.submitted = job_id, self._clock()
        for index, job in enumerate(unit.jobs):
            job.job_id = self._service.child_id(job_id, index) if unit.is_array else job_id
            job.handle.tell(Submitted(job.job_id))
        self._on_submitted(unit)

    def _may_yet_appear(self, unit: Unit) -> bool:
        return unit.doubt_since is not None and self._clock() - unit.doubt_since < DOUBT

    def _look_again(self, unit: Unit) -> None:
        self._under_way -= 1
        unit.under_way = False
        unit.not_before = self._clock() + DOUBT_PERIOD
        self._ready.append(unit)

    def _failed(self, unit: Unit, error: Exception) -> None:
        self._under_way -= 1
        unit.under_way = False
        now = self._clock()
        if isinstance(error, DefinitionNotVisible):
            unit.invisible_since = unit.invisible_since or now
            if now - unit.invisible_since < self._options.definition_visible_within:
                unit.not_before = now + 1.0
                self._ready.append(unit)
            else:
                cause = error.__cause__
                self._refuse(unit, cause if isinstance(cause, Exception) else error)
        elif isinstance(error, NoCapacity):
            self._room.refused(unit, error, now)
            self._ready.append(unit)
        elif isinstance(error, Throttled):
            self._pacing.slow_down(now)
            self._trouble(error)
            self._ready.appendleft(unit)
        elif isinstance(error, CredentialsExpired):
            # Nothing was done: whether it is in doubt is as it was before.
            self._again(unit, error)
        elif isinstance(error, Unreachable):
            # The request may have taken effect: look the name up before sending it again.
            unit.doubt_since = now
            self._again(unit, error)
        else:
            self._refuse(unit, error)

    def _again(self, unit: Unit, error: Exception) -> None:
        """Put a unit back whose submission met trouble that will pass."""
        unit.tries += 1
        unit.not_before = self._clock() + min(30.0, 0.5 * 2 ** min(unit.tries, 8))
        self._trouble(error)
        self._ready.append(unit)

    def _refuse(self, unit: Unit, error: Exception) -> None:
        for job in unit.jobs:
            job.finish(Refused(error))
