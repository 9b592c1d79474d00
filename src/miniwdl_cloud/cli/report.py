"""`miniwdl-cloud report`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from ..errors import UsageError
from .operating import no_more, say


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the command to the list of commands."""
    parser = subparsers.add_parser(
        "report",
        help="make an HTML report of a run from its run directory",
        description="Make a report of a run: its tasks over time, what they reserved and used,"
        " what they cost, and why they failed. It is one HTML file that opens offline, made from"
        " the run directory alone.",
        allow_abbrev=False,
    )
    parser.add_argument("run_dir", metavar="RUN_DIR", help="run directory of miniwdl")
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="where to write it [RUN_DIR/report.html]"
    )
    parser.add_argument(
        "--json", action="store_true", help="print JSON instead, or write it where -o says"
    )


def run(args: argparse.Namespace, rest: list[str]) -> int:
    """Run the command; returns its exit code.

    Raises
    ------
    NotFound, UsageError
        It is not a run directory, or the report cannot be written.
    """
    no_more(rest, "miniwdl-cloud report")
    from ..report.collect import collect
    from ..report.render import html, save

    report = collect(Path(args.run_dir))
    if args.json:
        text = json.dumps(report.as_json(), indent=2)
        if args.output is None:
            print(text)
            return 0
    else:
        text = html(report)
    output = Path(args.output) if args.output else Path(args.run_dir) / "report.html"
    try:
        save(text, output)
    except OSError as exn:
        raise UsageError(
            f"The report cannot be written to {output} ({exn.strerror}); name another file with -o."
        ) from exn
    say(f"wrote {output}")
    return 0
