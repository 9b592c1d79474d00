"""`miniwdl-cloud status`, also `miniwdl-aws-status`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from ..errors import Unreachable, UsageError
from . import logs
from .operating import RUN_HELP, Account, add_options, no_more, say

if TYPE_CHECKING:
    from ..runs.model import Run

RECENT_S = 86400.0
"""Seconds for which a run that has ended is listed without --all."""
PERIOD_MIN_S = 1.0
OUTAGE_MAX_S = 900.0
"""Seconds without an answer after which watching is given up."""

_DESCRIPTION = """\
Show the runs of a deployment with their state and progress, or one run with its calls, tasks,
attempts and why they failed or wait. It asks AWS Batch and ECS only: neither the shared filesystem
nor any log is needed.
"""


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the command to the list of commands."""
    parser = subparsers.add_parser(
        "status",
        help="show runs, or one run's calls and tasks",
        description=_DESCRIPTION,
        allow_abbrev=False,
    )
    parser.add_argument("run", nargs="?", metavar="RUN", help=RUN_HELP)
    add_options(parser)
    _add_own_options(parser)


def _add_own_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--all",
        action="store_true",
        help="all runs that AWS remembers, not just those that run or ended within a day; of one"
        " run, each task",
    )
    parser.add_argument("--watch", action="store_true", help="look again and again until it ends")
    parser.add_argument(
        "--period", metavar="SECONDS", type=float, default=5.0, help="between two looks [5]"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace, rest: list[str]) -> int:
    """Run the command; returns its exit code.

    Raises
    ------
    UsageError, NotFound
        The run or its queue cannot be told.
    """
    no_more(rest, "miniwdl-cloud status")
    if args.watch and args.json:
        raise UsageError("--watch and --json exclude each other; leave one out.")
    account = Account(args)
    if args.run is None:
        return _show(args, lambda: _runs(account, args.all))
    job_id = account.queues.find(args.run)["jobId"]

    def look() -> list[Run]:
        job = account.queues.find(job_id)
        return [account.collector.run(job, account.queues.tags_of(job))]

    return _show(args, look)


def main(argv: list[str]) -> int:
    """Run `miniwdl-aws-status`; returns its exit code.

    Parameters
    ----------
    argv
        Arguments, without the program's name.
    """
    parser = _Parser(prog="miniwdl-aws-status", description=_DESCRIPTION, allow_abbrev=False)
    subparsers = parser.add_subparsers(dest="what", metavar="all|job|log", required=True)
    every = subparsers.add_parser("all", help="the runs of a workflow queue", allow_abbrev=False)
    job = subparsers.add_parser("job", help="one run's calls and tasks", allow_abbrev=False)
    log = subparsers.add_parser("log", help="a run's log", allow_abbrev=False)
    for sub in (every, job, log):
        add_options(sub)
    for sub in (job, log):
        sub.add_argument("--job-id", dest="run", metavar="RUN", required=True, help=RUN_HELP)
    _add_own_options(every)
    _add_own_options(job)
    logs.add_own_options(log)
    args = parser.parse_args(argv)
    if args.what == "log":
        return logs.run(args, [])
    if args.what == "all":
        args.run = None
    return run(args, [])


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message[:1].upper()}{message[1:]}; see --help.")


def _runs(account: Account, everything: bool) -> list[Run]:
    from ..runs.model import state_of

    since = (time.time() - RECENT_S) * 1000
    jobs = [
        job
        for job in account.queues.jobs()
        if everything or not state_of(job["status"]).ended or job.get("stoppedAt", 0) >= since
    ]
    return account.collector.runs(jobs, account.queues.tags())


def _show(args: argparse.Namespace, look: Callable[[], list[Run]]) -> int:
    if args.watch:
        return _watch(args, look)
    runs = look()
    if args.json:
        print(json.dumps(as_json(args, runs), indent=2))
    elif not runs:
        say("no runs" + ("" if args.all else " now or within a day; --all shows older ones"))
    elif sys.stdout.isatty():
        from rich.console import Console

        Console(highlight=False).print(_renderable(args, runs))
    else:
        for line in _lines(args, runs):
            print(line)
    return 0


def as_json(args: argparse.Namespace, runs: list[Run]) -> dict[str, Any]:
    """What ``--json`` prints; ``version`` changes when a member changes its meaning or goes."""
    if args.run is None:
        return {"version": 1, "runs": [run.as_json(with_tasks=False) for run in runs]}
    return {"version": 1, "run": runs[0].as_json(with_tasks=True)}


def _renderable(args: argparse.Namespace, runs: list[Run], lines: int | None = None) -> Any:
    from ..runs import view

    if args.run is None:
        return view.runs_table(runs, time.time())
    most = view.TASKS_SHOWN if lines is None else view.tasks_that_fit(runs[0], lines)
    return view.run_tree(runs[0], time.time(), args.all, most)


def _lines(args: argparse.Namespace, runs: list[Run]) -> list[str]:
    from ..runs import view

    if args.run is None:
        return list(view.runs_lines(runs, time.time()))
    return list(view.run_lines(runs[0], time.time(), args.all))


def _watch(args: argparse.Namespace, look: Callable[[], list[Run]]) -> int:
    if not args.period >= PERIOD_MIN_S:
        raise UsageError(f"--period should be {PERIOD_MIN_S:g} seconds at least; correct it.")
    try:
        if sys.stdout.isatty():
            from rich.console import Console
            from rich.live import Live

            console = Console(highlight=False)
            with Live(console=console, auto_refresh=False, vertical_overflow="ellipsis") as live:

                def show(runs: list[Run]) -> None:
                    live.update(_renderable(args, runs, console.height), refresh=True)

                _again(args, look, show)
        else:
            _again(args, look, _Changes())
    except KeyboardInterrupt:
        pass
    return 0


def _again(
    args: argparse.Namespace, look: Callable[[], list[Run]], show: Callable[[list[Run]], None]
) -> None:
    """Look and show until the run that is watched has ended; all runs, for ever."""
    last_answer = time.monotonic()
    while True:
        try:
            runs = look()
        except Unreachable:
            if time.monotonic() - last_answer > OUTAGE_MAX_S:
                raise
        else:
            last_answer = time.monotonic()
            show(runs)
            if args.run is not None and runs[0].state.ended:
                return
        time.sleep(args.period)


class _Changes:
    """Shows a line for each run whose state or progress has changed."""

    def __init__(self) -> None:
        self._shown: dict[str, str] = {}

    def __call__(self, runs: list[Run]) -> None:
        from ..runs.view import progress

        for run in runs:
            line = f"{run.name} {run.job_id}: {run.state.value}, {progress(run.total)}"
            if self._shown.get(run.job_id) != line:
                self._shown[run.job_id] = line
                print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)
