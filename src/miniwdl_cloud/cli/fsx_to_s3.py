"""`fsx_to_s3`, also `miniwdl-cloud fsx-to-s3`: files of FSx for Lustre back to S3."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from .. import settings as s
from ..errors import UsageError

if TYPE_CHECKING:
    from ..fsx.write_back import Report

_PROG = "fsx_to_s3"
FAILED = 1
"""Exit code where some files could not be sent."""

_DESCRIPTION = """\
Send files of an FSx for Lustre file system to the S3 location that it is linked to, wait until they
are there, and print the path and the s3:// URI of each, with a tab between. Directories are sent
with all that is in them; links are followed, and each file is sent under its canonical path. What
is in S3 already, as it is, is not sent again.
"""
_EPILOG = """\
Exit code: 0 if all files are in S3, 1 if some are not (they are named on standard error), 64 if a
path does not exist or is not on the file system (nothing is sent then), 78 if no S3 location is
linked to it. In what is printed, backslash, tab and line breaks in names are written as in C.
"""


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the command to the list of commands."""
    _add_arguments(
        subparsers.add_parser(
            "fsx-to-s3",
            help="send files of FSx for Lustre back to S3",
            description=_DESCRIPTION,
            epilog=_EPILOG,
            allow_abbrev=False,
        )
    )


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see {_PROG} --help.")


def main(argv: list[str]) -> int:
    """Run the console script; returns its exit code."""
    parser = _Parser(prog=_PROG, description=_DESCRIPTION, epilog=_EPILOG, allow_abbrev=False)
    _add_arguments(parser)
    return run(parser.parse_args(argv), [])


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", metavar="PATH", nargs="+", help="file or directory")
    parser.add_argument(
        "--mount",
        metavar="DIR",
        help="where the file system is mounted [env MINIWDL__FILE_IO__ROOT; the mount point that"
        " the first PATH is below]",
    )
    parser.add_argument(
        "--method",
        metavar="HOW",
        help="auto, hsm (lfs hsm_archive), task (FSx export tasks) or upload [env"
        " MINIWDL__FSX_TO_S3__METHOD; auto]",
    )
    parser.add_argument(
        "--file-system",
        metavar="FS-ID",
        help="FSx for Lustre file system [env MINIWDL__FSX_TO_S3__FILE_SYSTEM; found by its mount]",
    )


def run(args: argparse.Namespace, rest: list[str]) -> int:
    """Run the command; returns its exit code.

    Raises
    ------
    MiniwdlCloudError
        Nothing could be sent.
    """
    if rest:
        raise UsageError(f"{_PROG} has no option {rest[0]}; see its --help.")
    given = {
        (s.FSX_METHOD.section, s.FSX_METHOD.key): args.method,
        (s.FSX_FILE_SYSTEM.section, s.FSX_FILE_SYSTEM.key): args.file_system,
        (s.FILE_IO_ROOT.section, s.FILE_IO_ROOT.key): args.mount,
    }
    settings = s.Settings(s.mapping_source(given), s.env_source(), s.cfg_source())

    from ..fsx.place import mount_point_of
    from ..fsx.run import send

    paths = [Path(path) for path in args.paths]
    root = settings.get(s.FILE_IO_ROOT)
    mount = Path(root) if root else mount_point_of(paths[0])
    report = send(paths, mount, settings, _say)
    _print(report)
    return FAILED if report.failed else 0


def _print(report: Report) -> None:
    from ..fsx.files import shown

    for file, uri in sorted(report.done.items(), key=lambda pair: pair[0].path):
        print(f"{shown(file.path)}\t{shown(str(uri))}")
    sys.stdout.flush()
    for file, why in sorted(report.failed.items(), key=lambda pair: pair[0].path):
        _say(f"failed: {shown(file.path)}: {shown(why)}")
    before = len(report.done) - report.sent
    _say(
        f"{report.sent} files sent, {before} were in S3 already, {len(report.failed)} failed"
        + ("; repeat the command to try these again" if report.failed else "")
    )


def _say(text: str) -> None:
    print(f"{_PROG}: {text}", file=sys.stderr, flush=True)
