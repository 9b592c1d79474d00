"""Run the embedded AWS in the foreground: ``python -m miniwdl_cloud.emulator``."""

from __future__ import annotations

import argparse
import logging
import signal
from pathlib import Path

from ..errors import MiniwdlCloudError, UsageError
from .faults.plan import read_plan
from .server import DEFAULT_REGION, LocalCloud


def image_directory(text: str) -> tuple[str, Path]:
    """The two halves of ``NAME=DIR``.

    Raises
    ------
    UsageError
        It is not of that form, or there is no such directory.
    """
    name, separator, directory = text.rpartition("=")
    if not separator or not name or not Path(directory).is_dir():
        raise UsageError(f"--image {text} should be NAME=DIR, with a directory that exists.")
    return name, Path(directory).absolute()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of an emulator."""
    parser.add_argument("--state", type=Path, required=True, help="directory for what it keeps")
    parser.add_argument(
        "--filesystem", type=Path, required=True, help="directory of the shared filesystem"
    )
    parser.add_argument("--port", type=int, default=0, help="TCP port on loopback (default: any)")
    parser.add_argument("--region", default=DEFAULT_REGION, help="AWS Region (%(default)s)")
    parser.add_argument("--executor", choices=("process", "docker"), default="process")
    parser.add_argument(
        "--image",
        metavar="NAME=DIR",
        action="append",
        default=[],
        help="jobs with this image find their commands in DIR first",
    )
    parser.add_argument(
        "--allow-calls-per-second",
        metavar="N",
        type=float,
        help="answer Batch calls above this rate with TooManyRequestsException",
    )
    parser.add_argument(
        "--faults", metavar="FILE", type=Path, help="plan of what goes wrong (testing-failures.md)"
    )
    parser.add_argument(
        "--record", metavar="FILE", type=Path, help="write every API call into this file"
    )


def main(argv: list[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m miniwdl_cloud.emulator", description=__doc__)
    add_arguments(parser)
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("botocore").setLevel(logging.WARNING)
    try:
        cloud = LocalCloud(
            state=args.state,
            filesystem=args.filesystem,
            executor=args.executor,
            port=args.port,
            region=args.region,
            calls_per_second=args.allow_calls_per_second,
            images=dict(image_directory(text) for text in args.image),
            faults=read_plan(args.faults) if args.faults else None,
            record=args.record,
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: cloud.stop_requested.set())
        cloud.start()
    except MiniwdlCloudError as exn:
        logging.error(exn.message)
        return exn.exit_code
    try:
        logging.info("The embedded AWS answers at %s", cloud.endpoint_url)
        cloud.stop_requested.wait()
    finally:
        cloud.stop()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
