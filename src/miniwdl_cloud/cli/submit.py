"""`miniwdl-aws-submit`, also `miniwdl-cloud submit`."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from ..errors import UsageError
from ..settings import environment
from ..submit.options import add_arguments, from_namespace

_DESCRIPTION = """\
Submit a job to AWS Batch that runs `miniwdl run` with the given arguments; its tasks become Batch
jobs of their own, on a shared filesystem. Local WDL source code and local input files go along;
other arguments pass through to `miniwdl run` as they are. Prints the job's id.
"""


def add_parser(subparsers: Any) -> None:
    """Add the command to `miniwdl-cloud`, for its list of commands and its completion."""
    parser = subparsers.add_parser(
        "submit",
        help="submit a workflow to AWS Batch",
        description=_DESCRIPTION,
        allow_abbrev=False,
    )
    add_arguments(parser)


def main(argv: list[str]) -> int:
    """Run the command.

    Parameters
    ----------
    argv
        Arguments, without the program's name.

    Returns
    -------
    int
        Exit code.
    """
    parser = _Parser(
        prog="miniwdl-aws-submit",
        usage="%(prog)s WDL [miniwdl run argument ...] --workflow-queue QUEUE [option ...]",
        description=_DESCRIPTION,
        allow_abbrev=False,
    )
    add_arguments(parser)
    if "_ARGCOMPLETE" in environment():
        _complete()
    options = from_namespace(*parser.parse_known_args(argv))
    from ..submit.command import submit

    return submit(options)


def _complete() -> None:
    import argcomplete

    from ..miniwdl_compat import run_parser

    # What passes through is completed as `miniwdl run` does; --dir is ours, though.
    parser = run_parser()
    parser.conflict_handler = "resolve"
    add_arguments(parser)
    argcomplete.autocomplete(parser)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message[:1].upper()}{message[1:]}; see --help.")
