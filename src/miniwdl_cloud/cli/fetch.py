"""`miniwdl-cloud fetch`: what a download's task job runs."""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from ..errors import Unreachable, UsageError
from ..patience import patiently

_T = TypeVar("_T")


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the command to the list of commands."""
    parser = subparsers.add_parser(
        "fetch",
        help="fetch a file or folder by its s3:// or https:// URI",
        description="Fetch a file, or with --directory all S3 objects below a prefix, and print"
        " where it is.",
        allow_abbrev=False,
    )
    parser.add_argument("uri", metavar="URI", help="s3://, https:// or http://")
    parser.add_argument("dest", metavar="DIR", help="existing directory that it is put into")
    parser.add_argument("--directory", action="store_true", help="all objects below the URI")
    parser.add_argument("--region", help="AWS Region")
    parser.add_argument(
        "--requester-pays",
        action="store_true",
        help="pay for requests to buckets whose owners leave that to whoever asks",
    )


def run(args: argparse.Namespace, rest: list[str]) -> int:
    """Run the command; returns its exit code.

    Raises
    ------
    UsageError
        An unknown option, or a destination that is no directory.
    MiniwdlCloudError
        It cannot be fetched.
    """
    if rest:
        raise UsageError(f"miniwdl-cloud fetch has no option {rest[0]}; see its --help.")
    into = Path(args.dest)
    if not into.is_dir():
        raise UsageError(f"{into} is not a directory; make it first.")

    from ..aws.s3 import S3, S3Options
    from ..aws.session import AwsSession
    from ..transfer.fetch import look
    from ..transfer.http import Http
    from ..transfer.progress import shown

    options = S3Options(requester_pays=args.requester_pays)
    s3 = functools.cache(lambda: S3(AwsSession(args.region), options))
    wait = _wait if args.uri.startswith("s3://") else _do_not_wait
    found = wait(lambda: look(args.uri, args.directory, s3, Http))
    with shown(f"fetching {found.name}", 1, found.size or 0) as progress:
        path = wait(lambda: found.fetch(into, lambda count: progress(count, 0)))
    print(path)
    return 0


def _wait(step: Callable[[], _T]) -> _T:
    def say(exn: Unreachable) -> None:
        print(f"waiting for AWS to answer: {exn.message}", file=sys.stderr, flush=True)

    return patiently(step, lambda: False, say)


def _do_not_wait(step: Callable[[], _T]) -> _T:
    """Other servers are waited for by `Http` alone."""
    return step()
