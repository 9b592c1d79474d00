"""What the commands that look at runs share: options, and where they lead."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .. import settings as s
from ..errors import UsageError

if TYPE_CHECKING:
    from ..aws.session import AwsSession
    from ..runs.collect import Collector
    from ..runs.find import WorkflowQueues
    from ..runs.listing import Listing

RUN_HELP = "workflow job's id or name, or the beginning of either"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where the runs are."""
    parser.add_argument(
        "--workflow-queue",
        metavar="QUEUE",
        help="Batch job queue of the workflow jobs [env MINIWDL__AWS__WORKFLOW_QUEUE; all queues"
        " that have the tag DefaultTaskQueue]",
    )
    parser.add_argument(
        "--cluster",
        metavar="CLUSTER",
        help="ECS cluster of workflow jobs on Fargate [env MINIWDL__AWS_FARGATE__CLUSTER; those"
        " that the tags of the queues name]",
    )
    parser.add_argument("--region", help="AWS Region [env AWS_REGION, AWS_DEFAULT_REGION]")


def no_more(rest: Sequence[str], command: str) -> None:
    """Refuse arguments that the parser does not know.

    Raises
    ------
    UsageError
        There are some.
    """
    if rest:
        raise UsageError(f"{command} does not know {rest[0]}; see its --help.")


class Account:
    """The account and Region that a command looks at.

    Parameters
    ----------
    args
        From a parser that `add_options` was called on.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        from ..aws.batch_listing import BatchListing
        from ..aws.ecs import EcsClient
        from ..aws.session import AwsSession
        from ..runs.collect import Collector
        from ..runs.find import WorkflowQueues
        from ..runs.listing import Listing

        environ = s.environment()
        given = {
            (s.WORKFLOW_QUEUE.section, s.WORKFLOW_QUEUE.key): args.workflow_queue,
            (s.FARGATE_CLUSTER.section, s.FARGATE_CLUSTER.key): getattr(args, "cluster", None),
            (s.REGION.section, s.REGION.key): args.region,
        }
        found = s.Settings(s.mapping_source(given), s.env_source(), s.cfg_source())
        self.settings: s.Settings = found
        # boto3 itself reads only the second of these variables.
        region = found.get(s.REGION) or environ.get("AWS_REGION")
        self.session: AwsSession = AwsSession(
            region or environ.get("AWS_DEFAULT_REGION"), found.get(s.BOTO3_RETRIES)
        )
        self.listing: Listing = Listing(BatchListing(self.session), EcsClient(self.session))
        self.queues: WorkflowQueues = WorkflowQueues(
            self.listing, found.get(s.WORKFLOW_QUEUE), found.get(s.FARGATE_CLUSTER)
        )
        self.collector: Collector = Collector(self.listing)


def say(text: str) -> None:
    """A line for the person, on standard error."""
    print(text, file=sys.stderr, flush=True)
