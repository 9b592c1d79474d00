"""`miniwdl-run-s3upload`, also `miniwdl-cloud run`."""

from __future__ import annotations

import argparse
import sys
from typing import Any, NoReturn

from ..errors import MiniwdlCloudError, UsageError
from ..runner.signals import END_OF_LOG
from ..settings import environment

_PROG = "miniwdl-run-s3upload"


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the command to the list of commands."""
    subparsers.add_parser(
        "run", help="run a workflow here, upload its outputs to S3", add_help=False
    )


def main(argv: list[str]) -> int:
    """Run the command; returns its exit code.

    Parameters
    ----------
    argv
        Arguments without the program's name; those that are not ours pass through to
        `miniwdl run`, in order.
    """
    parser = _parser()
    if {"-h", "--help"} & set(argv):
        parser.print_help()
        return 0
    try:
        args, rest = parser.parse_known_args(argv)
        from ..runner.run import Options, run

        options = Options(rest, args.s3upload, args.delete_after, args.task_queue, args.adopt)
        return run(options, environment())
    except MiniwdlCloudError as exn:
        # Not left to cli/main.py: whoever follows the log stops reading at its last line.
        print(f"{_PROG}: {exn.message}", file=sys.stderr)
        return exn.exit_code
    finally:
        print(END_OF_LOG, file=sys.stderr, flush=True)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see {_PROG} --help.")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=_PROG,
        usage=f"{_PROG} [--s3upload S3-URI] [--delete-after WHEN] [--task-queue QUEUE]"
        " [--adopt]"
        " WDL [miniwdl run arguments ...]",
        description="Run a WDL workflow with `miniwdl run` where the shared filesystem is mounted,"
        " then upload its log and outputs to S3.",
        allow_abbrev=False,
        add_help=False,
    )
    parser.add_argument(
        "--s3upload",
        metavar="S3-URI",
        help="upload log and outputs into this folder if it ends in /, else into one of the run's"
        " name below it [env MINIWDL__AWS__S3_UPLOAD_FOLDER]",
    )
    parser.add_argument(
        "--delete-after",
        metavar="WHEN",
        help="delete the run directory after upload of a run that ended so: success, failure or"
        " always [env MINIWDL__AWS__DELETE_AFTER_S3_UPLOAD]",
    )
    parser.add_argument(
        "--task-queue",
        metavar="QUEUE",
        help="Batch job queue for task jobs [env MINIWDL__AWS__TASK_QUEUE]",
    )
    parser.add_argument(
        "--adopt",
        action="store_true",
        help="take over the task jobs of runs that ended without notice, with the call cache"
        " [env MINIWDL__AWS__ADOPT]",
    )
    return parser
