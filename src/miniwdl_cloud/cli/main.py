# PYTHON_ARGCOMPLETE_OK
"""The entry points: they parse, delegate, and alone turn errors into messages and exit codes.

A command is a module of this package with ``add_parser(subparsers)`` and either
``run(args, rest)`` or, where unknown arguments pass through to `miniwdl run`, ``main(argv)``.
Heavy imports stay inside functions: ``--help`` and completion load neither boto3 nor WDL.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable
from types import ModuleType
from typing import NoReturn

from .. import __version__
from ..errors import MiniwdlCloudError
from ..settings import environment

COMMANDS = (
    "submit",
    "run",
    "local",
    "deploy",
    "fetch",
    "fsx-to-s3",
    "clean",
    "status",
    "logs",
    "cancel",
    "retry",
    "reap",
    "report",
    "doctor",
    "fleet",
)
# These take miniwdl's own arguments among theirs, so they parse what follows by themselves.
PASS_THROUGH = ("submit", "run")


def main() -> NoReturn:
    """Console script ``miniwdl-cloud``."""
    _exit_with(lambda: _dispatch(sys.argv[1:]), "miniwdl-cloud")


def submit_main() -> NoReturn:
    """Console script ``miniwdl-aws-submit``."""
    _exit_with(lambda: _command("submit").main(sys.argv[1:]), "miniwdl-aws-submit")


def run_main() -> NoReturn:
    """Console script ``miniwdl-run-s3upload``."""
    _exit_with(lambda: _command("run").main(sys.argv[1:]), "miniwdl-run-s3upload")


def fsx_to_s3_main() -> NoReturn:
    """Console script ``fsx_to_s3``."""
    _exit_with(lambda: _command("fsx-to-s3").main(sys.argv[1:]), "fsx_to_s3")


def fleet_unit_main() -> NoReturn:
    """Console script ``miniwdl-cloud-fleet``."""
    _exit_with(lambda: _command("fleet-unit").main(sys.argv[1:]), "miniwdl-cloud-fleet")


def status_main() -> NoReturn:
    """Console script ``miniwdl-aws-status``."""
    _exit_with(lambda: _command("status").main(sys.argv[1:]), "miniwdl-aws-status")


def _command(name: str) -> ModuleType:
    return importlib.import_module(f".{name.replace('-', '_')}", __package__)


def _dispatch(argv: list[str]) -> int:
    if argv and argv[0] in PASS_THROUGH:
        return int(_command(argv[0]).main(argv[1:]))
    parser = argparse.ArgumentParser(
        prog="miniwdl-cloud",
        description="Run WDL workflows on AWS with miniwdl.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"miniwdl-cloud {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    # For help and completion all of them; a task job that fetches a file needs only its own.
    for name in argv[:1] if argv[:1] and argv[0] in COMMANDS else COMMANDS:
        _command(name).add_parser(subparsers)
    _complete(parser)
    args, rest = parser.parse_known_args(argv)
    return int(_command(args.command).run(args, rest))


def _complete(parser: argparse.ArgumentParser) -> None:
    if "_ARGCOMPLETE" in environment():
        import argcomplete

        argcomplete.autocomplete(parser)


def _exit_with(work: Callable[[], int], prog: str) -> NoReturn:
    try:
        code = work()
    except MiniwdlCloudError as exn:
        print(f"{prog}: {exn.message}", file=sys.stderr)
        code = exn.exit_code
    except KeyboardInterrupt:
        print(f"{prog}: interrupted", file=sys.stderr)
        code = 130
    except BrokenPipeError:
        # Whoever read our standard output has gone; there is nobody left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    sys.exit(code)
