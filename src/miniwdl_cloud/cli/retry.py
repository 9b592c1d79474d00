"""`miniwdl-cloud retry`."""

from __future__ import annotations

import argparse
import base64
import secrets
from typing import Any

from .operating import RUN_HELP, Account, add_options, no_more, say


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the command to the list of commands."""
    parser = subparsers.add_parser(
        "retry",
        help="submit a run that has ended once more",
        description="Submit a run that has ended once more, with the same WDL, inputs, options and"
        " size, under a new name; with the call cache, it does not repeat what went well. Prints"
        " the new job's id.",
        allow_abbrev=False,
    )
    parser.add_argument("run", metavar="RUN", help=RUN_HELP)
    add_options(parser)


def run(args: argparse.Namespace, rest: list[str]) -> int:
    """Run the command; returns its exit code.

    Raises
    ------
    UsageError, NotFound
        The run cannot be told, or has not ended.
    """
    no_more(rest, "miniwdl-cloud retry")
    from ..aws.batch import BatchClient
    from ..aws.ecs import EcsClient
    from ..runs.retry import request_again
    from ..submit.launch import BatchLauncher, EcsLauncher, Launcher

    account = Account(args)
    job = account.queues.find(args.run)
    request = request_again(job, base64.b32encode(secrets.token_bytes(5)).decode().lower())
    launcher: Launcher
    if "ecsTask" in job:
        launcher = EcsLauncher(EcsClient(account.session), say)
    else:
        # SubmitJob has no client token: what may have taken effect is looked up, not sent again.
        launcher = BatchLauncher(BatchClient(account.session, retrying=False))
    job_id = launcher.start(request, patient=False)
    name = request.get("jobName") or request["startedBy"]
    say(f"submitted {name}, the same as {job['jobName']}")
    print(job_id, flush=True)
    return 0
