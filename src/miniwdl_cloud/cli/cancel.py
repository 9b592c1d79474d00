"""`miniwdl-cloud cancel`."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from ..accounting.tagged import PARENT_TAG
from ..errors import ConfigurationError, UsageError
from ..settings import CONTAINER_BACKEND
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
    from ..runs.cancel import cancel
    from ..runs.collect import task_queues, variables_of
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
    queues = task_queues(job, account.queues.tags_of(job))
    left = cancel(
        account.collector,
        BatchClient(account.session),
        job["jobId"],
        queues,
        say,
        limit_s=args.timeout,
    )
    on_ecs = variables_of(job).get(CONTAINER_BACKEND.env) == "aws_fargate"
    if on_ecs or not queues:
        raise ConfigurationError(
            f"The workflow job of {name} has ended, but its tasks were not looked for: "
            + ("they are ECS tasks" if on_ecs else "its task queues are not known")
            + f"; if it did not end them itself, they have the tag {PARENT_TAG}={job['jobId']}."
        )
    others = f"; {left:,} task jobs were left and are terminated" if left else ""
    if left == 1:
        others = "; 1 task job was left and is terminated"
    say(f"{name} and all of its jobs are gone{others}")
    return 0
