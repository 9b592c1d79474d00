"""`miniwdl-cloud fetch`: what a download's task job runs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..errors import UsageError


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

    from ..aws.s3 import S3
    from ..aws.session import AwsSession
    from ..transfer.fetch import look
    from ..transfer.http import Http
    from ..transfer.progress import shown

    found = look(args.uri, args.directory, lambda: S3(AwsSession(args.region)), Http)
    with shown(f"fetching {found.name}", 1, found.size or 0) as progress:
        path = found.fetch(into, lambda count: progress(count, 0))
    print(path)
    return 0
