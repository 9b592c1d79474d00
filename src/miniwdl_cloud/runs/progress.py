"""The progress of one run while somebody waits for it: live on a terminal, else a line at times."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..errors import MiniwdlCloudError, NotFound, Unreachable
from ..jobs.request import JobState
from . import view

if TYPE_CHECKING:
    from ..aws.session import AwsSession
    from .model import Run, Task

PERIOD_S = 5.0
"""Seconds between two looks on a terminal."""
PLAIN_PERIOD_S = 10.0
"""Seconds between two looks, and so between two lines, elsewhere."""
EVENTS_SHOWN = 5

Say = Callable[[str], None]


class Progress:
    """Looks at a run from time to time, and shows what it sees.

    Parameters
    ----------
    look
        Asks AWS.
    show
        Shows a run and its latest events.
    say
        Shows a line, if looking has to be given up.
    period
        Seconds between two looks at least.
    delay
        Seconds to the first.
    at_end
        Whether to look once more when the run has ended.
    clock
        Monotonic seconds.
    """

    def __init__(
        self,
        look: Callable[[], Run],
        show: Callable[[Run, list[str]], None],
        say: Say,
        period: float,
        delay: float = 0.0,
        at_end: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.period = period
        self._look = look
        self._show = show
        self._say = say
        self._at_end = at_end
        self._clock = clock
        self._next = clock() + delay
        self._given_up = False
        self._events = Events()

    def __call__(self) -> None:
        """Look and show, if it is time to. Never raises an error of AWS."""
        if self._clock() >= self._next:
            self._once()
            self._next = self._clock() + self.period

    def finish(self) -> None:
        """The run has ended: look for the last time, where that is wanted."""
        if self._at_end:
            self._once()

    def _once(self) -> None:
        if self._given_up:
            return
        try:
            run = self._look()
        except (Unreachable, NotFound):
            # Whoever waits decides when an outage is too long, or a job unknown for too long.
            return
        except MiniwdlCloudError as error:
            self._given_up = True
            self._say(f"progress is not shown: {error}")
            return
        self._events.note(run)
        self._show(run, list(self._events.latest))


class Events:
    """The latest events of a run: what has changed from look to look."""

    def __init__(self) -> None:
        self.latest: deque[str] = deque(maxlen=EVENTS_SHOWN)
        self._known: dict[tuple[str, str], tuple[int, JobState]] = {}

    def note(self, run: Run) -> None:
        """Compare a run with how it was before."""
        found: list[tuple[float, str]] = []
        for task in run.tasks:
            key, now = (task.call, task.shard), (len(task.attempts), task.last.state)
            before = self._known.get(key, (1, JobState.SUBMITTED))
            self._known[key] = now
            if now != before and (text := _event(task, now[0] > before[0])):
                last = task.last
                found.append((last.stopped or last.started or last.created or run.created, text))
        for when, text in sorted(found):
            self.latest.append(f"{time.strftime('%H:%M:%S', time.localtime(when))} {text}")


def _event(task: Task, again: bool) -> str | None:
    name = f"{task.call}{task.label}" if task.shard else task.call
    last = task.last
    if last.state is JobState.SUCCEEDED:
        return f"{name} is done"
    if last.state is JobState.FAILED:
        return f"{name} failed" + (f": {last.reason}" if last.reason else "")
    if again:
        reason = task.attempts[-2].reason
        return f"{name}: attempt {last.number}" + (f", after: {reason}" if reason else "")
    return f"{name} runs" if last.state is JobState.RUNNING else None


@contextmanager
def shown(
    look: Callable[[], Run], with_log: bool, say: Say
) -> Iterator[tuple[Progress | None, Say]]:
    """Show progress on standard error.

    On a terminal: the tree of `status --watch` and the latest events; with a log, one line below
    it. Elsewhere: a line when the counts have changed; with a log, nothing.

    Parameters
    ----------
    look
        Asks AWS.
    with_log
        Whether the run's log is shown too.
    say
        Shows a line on standard error.

    Yields
    ------
    tuple
        What to call again and again, ``None`` if nothing is to be shown; and what to show lines
        with meanwhile, in place of `say`.
    """
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(stderr=True, highlight=False)
    if not sys.stderr.isatty() or console.is_dumb_terminal:
        plain = Progress(look, _Changes(say), say, PLAIN_PERIOD_S, PLAIN_PERIOD_S)
        yield (None if with_log else plain), say
        return

    with Live(
        console=console,
        auto_refresh=False,
        transient=with_log,
        vertical_overflow="ellipsis",
        redirect_stdout=False,
        redirect_stderr=False,
    ) as live:

        def above(text: str) -> None:
            console.print(Text.from_ansi(text), soft_wrap=True)

        def tree(run: Run, events: list[str]) -> None:
            most = view.tasks_that_fit(run, console.height - EVENTS_SHOWN)
            live.update(view.run_progress(run, time.time(), events, most), refresh=True)

        def line(run: Run, events: list[str]) -> None:
            live.update(view.run_line(run, time.time()), refresh=True)

        show = line if with_log else tree
        yield Progress(look, show, above, PERIOD_S, at_end=not with_log), above


class _Changes:
    """Shows a line when the counts have changed."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._shown = ""

    def __call__(self, run: Run, events: list[str]) -> None:
        line = view.summary(run)
        if run.counts and line != self._shown:
            self._shown = line
            self._say(line)


def looking(session: AwsSession, job_id: str) -> Callable[[], Run]:
    """A way to look at one run.

    Parameters
    ----------
    session
        Of the account and Region.
    job_id
        The workflow job's.
    """
    from ..aws.batch_listing import BatchListing
    from ..aws.ecs import EcsClient
    from .collect import Collector
    from .find import WorkflowQueues
    from .listing import Listing

    listing = Listing(BatchListing(session), EcsClient(session))
    queues, collector = WorkflowQueues(listing), Collector(listing)

    def look() -> Run:
        job = queues.find(job_id)
        return collector.run(job, queues.tags_of(job))

    return look
