"""A report as one HTML file that needs nothing else, and opens without a network.

What a task wrote may stand in it: names, reasons, logs. Jinja2 escapes all of it in the page; the
data for the script is JSON in which no tag can end or begin; the script makes text nodes only; and
a content security policy keeps the page from loading or sending anything.
"""

from __future__ import annotations

import contextlib
import importlib.resources
import json
import time
import uuid
from pathlib import Path
from typing import Any

from ..runs.view import dollars, duration
from .model import MIB, Report, TaskRecord, TaskState

FAILURES_MAX = 100
"""Failed tasks that are shown with their logs; all are in the table."""


def html(report: Report) -> str:
    """The page."""
    import jinja2
    from markupsafe import Markup

    room = importlib.resources.files(__package__) / "template"
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        duration=duration, moment=moment, mib=mib, dollars=dollars, number=lambda n: f"{n:,}"
    )
    template = environment.from_string((room / "report.html").read_text())
    failures = report.failures
    page = template.render(
        report=report,
        states=TaskState,
        calls=report.calls,
        failures=failures[:FAILURES_MAX],
        more_failures=max(0, len(failures) - FAILURES_MAX),
        elapsed=_elapsed(report),
        style=Markup((room / "report.css").read_text()),
        script=Markup((room / "report.js").read_text()),
        data=Markup(embedded(data_of(report))),
    )
    # Names of files may hold bytes that are no UTF-8.
    return page.encode("utf-8", "replace").decode()


def save(text: str, path: Path) -> None:
    """Write a report in one step; a link in its place, which a task may have made, is replaced.

    Raises
    ------
    OSError
        It cannot be written.
    """
    temporary = path.with_name(f"{path.name}.tmp.{uuid.uuid4().hex}")
    try:
        temporary.write_bytes(text.encode())
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def embedded(data: Any) -> str:
    """JSON that may stand in a script element: neither ``</script>`` nor ``<!--`` can occur."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def data_of(report: Report) -> dict[str, Any]:
    """What the script draws, as short rows: thousands of tasks should load at once. Times are
    seconds after the run's start."""
    zero = _zero(report)
    names = [call.name for call in report.calls]
    index = {name: number for number, name in enumerate(names)}
    machines = sorted({task.machine for task in report.tasks if task.machine})
    places = {machine: number for number, machine in enumerate(machines)}
    return {
        "calls": names,
        "states": [state.value for state in TaskState],
        "machines": machines,
        "tasks": [
            _row(task, index[task.call], places.get(task.machine or ""), zero)
            for task in report.tasks
        ],
    }


def _row(task: TaskRecord, call: int, machine: int | None, zero: float) -> list[Any]:
    last = task.attempts[-1] if task.attempts else None
    return [
        call,
        task.shard,
        list(TaskState).index(task.state),
        _after(task.ready, zero),
        _after(task.ended, zero),
        last.vcpus if last else None,
        last.memory_mib if last else None,
        round(task.peak_bytes / MIB) if task.peak_bytes is not None else None,
        round(task.cost, 6) if task.cost is not None else None,
        [
            [
                attempt.number,
                _after(attempt.created, zero),
                _after(attempt.started, zero),
                _after(attempt.ended, zero),
                1 if attempt.ok else 0 if attempt.ok is False else 2,
                attempt.reason,
            ]
            for attempt in task.attempts
        ],
        task.reason,
        round(task.cpus, 2) if task.cpus is not None else None,
        machine,
    ]


def moment(seconds: float | None) -> str:
    """A time in UTC, to the second."""
    if seconds is None:
        return "-"
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))


def mib(value: float | None) -> str:
    """A size in MiB or GiB."""
    if value is None:
        return "-"
    return f"{value / 1024:.1f} GiB" if value >= 10240 else f"{value:,.0f} MiB"


def _zero(report: Report) -> float:
    times = [report.started, *(task.ready for task in report.tasks)]
    return min((moment for moment in times if moment is not None), default=report.made)


def _after(seconds: float | None, zero: float) -> float | None:
    return None if seconds is None else round(seconds - zero, 2)


def _elapsed(report: Report) -> float | None:
    if report.started is None:
        return None
    return (report.ended or report.made) - report.started
