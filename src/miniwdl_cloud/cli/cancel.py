"""`miniwdl-cloud cancel`."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from ..accounting.tagged import PARENT_TAG
from ..errors import ConfigurationError, UsageError
from .operating import RUN_HELP, Account, add_options, no_more, say


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the command to the list of commands."""
    parser = subparsers.add_parser(
        "cancel",
        help="end a run and all of its jobs",
        description="End a run: its workflow job, which ends its own task jobs, and then whatever"
        " is left of them. Returns when all are gone; exit code 0 says that they are.",
        allow_abbrev=False,
    )
    parser.add_argument("run", metavar="RUN", help=RUN_HELP)
    add_options(parser)
    parser.add_argument("--yes", "-y", action="store_true", help="do not ask")
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=float,
        default=300.0,
        help="give up after this time [300]",
    )


def run(args: argparse.Namespace, rest: list[str]) -> int:
    """Run the command; returns its exit code.

    Raises
    ------
    UsageError
        Nobody has said yes.
    ServiceError
        Jobs are left.
    ConfigurationError
        Nothing says where the tasks are.
    """
    no_more(rest, "miniwdl-cloud cancel")
    from ..aws.batch import BatchClient
    from ..aws.ecs import EcsClient
    from ..engines.ecs_queue import EcsQueue
    from ..runs.cancel import Terminator, cancel
    from ..runs.collect import clusters_of, task_queues
    from ..runs.model import state_of

    account = Account(args)
    job = account.queues.find(args.run)
    name, state = job["jobName"], job["status"]
    if not args.yes:
        if not sys.stdin.isatty():
            raise UsageError(f"To cancel {name} without a terminal to ask on, add --yes.")
        answer = input(f"Cancel {name} ({job['jobId']}, {state}) and all of its tasks? [y/N] ")
        if answer.strip().lower() not in ("y", "yes"):
            say("nothing is cancelled")
            return 1
    if state_of(state).ended:
        say(f"{name} has ended already ({state}); looking for jobs that it left")
    tags = account.queues.tags_of(job)
    queues, clusters = task_queues(job, tags), clusters_of(job, tags)
    # It starts no task, and so needs no network to start one in.
    tasks = EcsQueue(EcsClient(account.session), {})
    left = cancel(
        account.collector,
        Terminator(BatchClient(account.session), tasks),
        job["jobId"],
        queues,
        clusters,
        say,
        limit_s=args.timeout,
    )
    if not queues and not clusters:
        raise ConfigurationError(
            f"The workflow job of {name} has ended, but its tasks were not looked for: neither its"
            " task queues nor its ECS cluster are known; if it did not end them itself, they have"
            f" the tag {PARENT_TAG}={job['jobId']}."
        )
    others = f"; {left:,} task jobs were left and are terminated" if left else ""
    if left == 1:
        others = "; 1 task job was left and is terminated"
    say(f"{name} and all of its jobs are gone{others}")
    return 0
