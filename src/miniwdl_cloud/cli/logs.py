"""`miniwdl-cloud logs`."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

from .operating import RUN_HELP, Account, add_options, no_more

if TYPE_CHECKING:
    from ..aws.logs import LogStream


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the command to the list of commands."""
    parser = subparsers.add_parser(
        "logs",
        help="show the log of a run or of one of its tasks",
        description="Show the log of a run's workflow job, or of an attempt at one of its tasks,"
        " from CloudWatch.",
        allow_abbrev=False,
    )
    parser.add_argument("run", metavar="RUN", help=RUN_HELP)
    parser.add_argument(
        "call", nargs="?", metavar="CALL[SHARD]", help="a task, such as align or 'align[3]'"
    )
    add_options(parser)
    add_own_options(parser)


def add_own_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what to show of it."""
    parser.add_argument("--attempt", metavar="N", type=int, help="of the task, from 1 [the latest]")
    parser.add_argument(
        "--follow", "-f", action="store_true", help="wait for more until the job has ended"
    )
    parser.add_argument("--since", metavar="SPAN", help="only what is younger, such as 10m or 2h")


def run(args: argparse.Namespace, rest: list[str]) -> int:
    """Run the command; returns its exit code.

    Raises
    ------
    UsageError, NotFound
        The run, the task or its log cannot be told.
    """
    no_more(rest, "miniwdl-cloud logs")
    from ..aws.logs import LogStream
    from ..errors import UsageError
    from ..runner.signals import END_OF_LOG
    from ..runs.logs import parse_span, pick, show

    since_ms = round((time.time() - parse_span(args.since)) * 1000) if args.since else None
    call = getattr(args, "call", None)
    if args.attempt is not None and call is None:
        raise UsageError("--attempt is of a task; name its call too.")
    account = Account(args)
    job = account.queues.find(args.run)
    job_id = job["jobId"]
    marker: str | None = END_OF_LOG
    if call is not None:
        found = account.collector.run(job, account.queues.tags_of(job))
        job_id, marker = pick(found, call, args.attempt).job_id, None

    def open_stream(group: str, name: str) -> LogStream:
        return LogStream(account.session, group, name, since_ms)

    try:
        show(
            account.listing,
            job_id,
            open_stream,
            lambda line: print(line, flush=args.follow),
            args.follow,
            marker,
        )
    except KeyboardInterrupt:
        if not args.follow:
            raise
    return 0
