"""Runs on the screen: tables and a tree for a terminal, plain lines for anything else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ..jobs.request import JobState
from .model import RUNNING, Attempt, Counts, Run, Task, short_id

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

TASKS_SHOWN = 20
"""Tasks of a call that the tree shows one by one, unless it is to show all."""

ALL_HINT = " (--all shows each)"

# Failed tasks first: they are what somebody looks for.
_ORDER = (
    JobState.FAILED,
    JobState.RUNNING,
    JobState.STARTING,
    JobState.RUNNABLE,
    JobState.PENDING,
    JobState.SUBMITTED,
    JobState.SUCCEEDED,
)


def duration(seconds: float | None) -> str:
    """A time span in its two largest units: ``45s``, ``3m 05s``, ``2h 10m``, ``4d 03h``."""
    if seconds is None:
        return "-"
    whole = max(0, int(seconds))
    for unit, name, smaller, smaller_name in ((86400, "d", 3600, "h"), (3600, "h", 60, "m")):
        if whole >= unit:
            return f"{whole // unit}{name} {whole % unit // smaller:02}{smaller_name}"
    return f"{whole // 60}m {whole % 60:02}s" if whole >= 60 else f"{whole}s"


def dollars(value: float | None) -> str:
    """An amount, to the cent."""
    if value is None:
        return "-"
    return "<$0.01" if 0 < value < 0.01 else f"${value:,.2f}"


def elapsed(item: Run | Attempt, now: float) -> float | None:
    """Seconds from start to end, or to now; ``None`` for what has not begun."""
    if item.started is None:
        return None
    return (item.stopped or now) - item.started


def progress(counts: Counts) -> str:
    """Counts in words, without those that are none."""
    parts = [
        f"{number:,} {name}"
        for name, number in (
            ("done", counts.done),
            ("running", counts.running),
            ("waiting", counts.waiting),
            ("failed", counts.failed),
        )
        if number
    ]
    return ", ".join(parts) or "no tasks yet"


def runs_lines(runs: Sequence[Run], now: float) -> Iterator[str]:
    """A line a run: id, state, age, elapsed, progress, name."""
    for run in runs:
        yield (
            f"{run.job_id}  {run.state.value:<9}  age {duration(now - run.created)}"
            f"  elapsed {duration(elapsed(run, now))}  {dollars(run.cost)}"
            f"  {progress(run.total)}  {run.name}"
        )


def run_lines(run: Run, now: float, everything: bool = False) -> Iterator[str]:
    """A run, its calls and its tasks, indented; attempts and reasons below their tasks."""
    yield _headline(run, now)
    if run.reason:
        yield f"  {run.reason}"
    for call, counts in run.counts.items():
        yield f"  {call}: {progress(counts)}"
        shown, hidden = _shown(run, call, everything)
        for task in shown:
            for line in _task_lines(task, now):
                yield f"    {line}"
        if hidden:
            yield f"    {_hidden(hidden)}"


def runs_table(runs: Sequence[Run], now: float) -> RenderableType:
    """The runs as a table for a terminal."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("run", "state", "age", "elapsed", "cost"):
        table.add_column(name, no_wrap=True)
    table.add_column("tasks")
    table.add_column("name", overflow="fold")
    for run in runs:
        table.add_row(
            short_id(run.job_id),
            _state(run.state),
            duration(now - run.created),
            duration(elapsed(run, now)),
            dollars(run.cost),
            Text(progress(run.total)),
            Text(run.name),
        )
    return table


def run_tree(
    run: Run,
    now: float,
    everything: bool = False,
    most: int = TASKS_SHOWN,
    hint: str = ALL_HINT,
) -> RenderableType:
    """A run as a tree for a terminal: calls with a bar, at most ``most`` tasks below each, and
    ``hint`` where there are more."""
    from rich.console import Group
    from rich.text import Text
    from rich.tree import Tree

    tree = Tree(Text.assemble(_state(run.state), "  ", Text(_headline(run, now, state=False))))
    if run.reason:
        tree.add(Text(run.reason, style="red" if run.state is JobState.FAILED else "yellow"))
    width = max((len(call) for call in run.counts), default=0)
    for call, counts in run.counts.items():
        branch = tree.add(
            Text.assemble((f"{call:<{width}}  ", "bold"), _bar(counts), f"  {progress(counts)}")
        )
        shown, hidden = _shown(run, call, everything, most)
        for task in shown:
            first, *more = _task_lines(task, now, state=False)
            twig = branch.add(Text.assemble(_state(task.last.state), "  ", first))
            for line in more:
                twig.add(Text(line, style="dim"))
        if hidden:
            branch.add(Text(_hidden(hidden, hint), style="dim"))
    return Group(tree, Text(summary(run), style="dim"))


def run_progress(run: Run, now: float, events: Sequence[str], most: int) -> RenderableType:
    """What somebody who waits for a run sees: its tree, and its latest events below."""
    from rich.console import Group
    from rich.text import Text

    lines = [Text(event, style="dim", no_wrap=True, overflow="ellipsis") for event in events]
    return Group(run_tree(run, now, most=most, hint=""), *lines)


def run_line(run: Run, now: float) -> RenderableType:
    """A run in one line for a terminal, with a bar."""
    from rich.text import Text

    line = Text(no_wrap=True, overflow="ellipsis")
    line.append_text(_state(run.state)).append(f"  {duration(now - run.created)}  ")
    return line.append_text(_bar(run.total)).append(f"  {summary(run)}")


def summary(run: Run) -> str:
    """All calls together in words, with retries."""
    calls, retries = len(run.counts), run.retries
    return f"{calls} call{'' if calls == 1 else 's'}, {progress(run.total)}" + (
        f", {retries} {'retry' if retries == 1 else 'retries'}" if retries else ""
    )


def _headline(run: Run, now: float, state: bool = True) -> str:
    prefix = f"{run.state.value}  " if state else ""
    return (
        f"{prefix}{run.name}  {run.job_id}  age {duration(now - run.created)}"
        f"  elapsed {duration(elapsed(run, now))}"
        + ("" if run.cost is None else f"  cost so far about {dollars(run.cost)}")
    )


def tasks_that_fit(run: Run, lines: int) -> int:
    """How many tasks of each call `run_tree` may show on a screen of so many lines, where a task
    takes two lines as often as not."""
    calls = max(1, len(run.counts))
    return max(1, min(TASKS_SHOWN, (lines - 4 - 2 * calls) // (2 * calls)))


def _shown(
    run: Run, call: str, everything: bool, most: int = TASKS_SHOWN
) -> tuple[list[Task], list[Task]]:
    """The tasks of a call that are shown, and those that are not: those that ended well at the
    first attempt, and what is more than anybody reads."""
    tasks = [task for task in run.tasks if task.call == call]
    tasks.sort(key=lambda task: (_ORDER.index(task.last.state), task.shard))
    if everything or len(tasks) == 1:
        return tasks, []
    telling = [
        task
        for task in tasks
        if task.last.state is not JobState.SUCCEEDED or len(task.attempts) > 1
    ]
    shown = telling[:most]
    chosen = {id(task) for task in shown}
    return shown, [task for task in tasks if id(task) not in chosen]


def _hidden(tasks: Sequence[Task], hint: str = ALL_HINT) -> str:
    counts = Counts()
    for task in tasks:
        counts.add(task.last.state)
    return f"and {progress(counts)}{hint}"


def _task_lines(task: Task, now: float, state: bool = True) -> list[str]:
    last = task.last
    begun = elapsed(last, now)
    if begun is not None:
        when = duration(begun)
    else:
        when = f"waiting {duration(now - last.created)}" if last.created else "waiting"
    lines = [
        (f"{last.state.value:<9} " if state else "")
        + f"{task.label}  {when}"
        + (f"  attempt {last.number}" if last.number > 1 else "")
        + f"  {last.job_id}"
    ]
    lines += [
        f"attempt {attempt.number}: {attempt.reason}" for attempt in task.attempts if attempt.reason
    ]
    return lines


def _state(state: JobState) -> Text:
    from rich.text import Text

    if state is JobState.SUCCEEDED:
        style = "green"
    elif state is JobState.FAILED:
        style = "bold red"
    else:
        style = "cyan" if state in RUNNING else "yellow"
    return Text(state.value, style=style)


def _bar(counts: Counts, width: int = 24) -> Text:
    """Shares of done, failed, running and waiting tasks; each that is there has a cell at least."""
    from rich.text import Text

    parts = (
        (counts.done, "━", "green"),
        (counts.failed, "━", "red"),
        (counts.running, "━", "cyan"),
        (counts.waiting, "╌", "yellow"),
    )
    ans, left = Text(), width
    total = max(1, counts.total)
    for number, sign, style in parts:
        cells = min(left, max(1 if number else 0, round(width * number / total)))
        ans.append(sign * cells, style=style)
        left -= cells
    return ans.append(" " * left)
