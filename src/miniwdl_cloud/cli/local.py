"""`miniwdl-cloud local`: an embedded AWS on this machine, to try and to test on."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError

if TYPE_CHECKING:
    from ..infra.local_cloud import LocalOptions, RunningLocalCloud

_UP = """\
Start an embedded AWS in the background, with queues, filesystem and bucket deployed, and print the
environment that makes any AWS client use it: eval "$(miniwdl-cloud local up)"
"""
_RUN = """\
Run a workflow on an embedded AWS: start it, submit, follow, fetch logs and outputs into
./miniwdl_local_run, stop it. Arguments are those of `miniwdl run`.
"""


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the command to the list of commands."""
    parser = subparsers.add_parser(
        "local",
        help="embedded AWS on this machine",
        description="An embedded AWS on this machine, reachable from it only.",
        allow_abbrev=False,
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    start = actions.add_parser("up", help="start it", description=_UP, allow_abbrev=False)
    _add_state(start, None)
    _add_options(start, None)
    stop = actions.add_parser(
        "down", help="stop it", description="Stop it, and all its jobs.", allow_abbrev=False
    )
    _add_state(stop, None)
    status = actions.add_parser(
        "status", help="what runs", description="Show what runs.", allow_abbrev=False
    )
    _add_state(status, None)
    status.add_argument("--json", action="store_true", help="print JSON")
    run_parser = actions.add_parser(
        "run",
        help="run a workflow on it",
        description=_RUN,
        usage="%(prog)s [option ...] WDL [miniwdl run argument ...]",
        allow_abbrev=False,
    )
    _add_state(run_parser, None)
    _add_options(run_parser, None)
    run_parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)


def _add_state(parser: argparse.ArgumentParser, default: str | None) -> None:
    parser.add_argument(
        "--state",
        metavar="DIR",
        default=default,
        help="directory for what it keeps [below ~/.local/state; for `run` a temporary one]",
    )


def _add_options(parser: argparse.ArgumentParser, default: str | None) -> None:
    """The options of an emulator; all absent unless given, as both halves of `run` are parsed."""
    parser.add_argument(
        "--executor",
        choices=("process", "docker"),
        default=default,
        help="jobs are processes of this machine, or Docker containers [process]",
    )
    parser.add_argument(
        "--filesystem",
        metavar="DIR",
        default=default,
        help="directory of the shared filesystem; with the process executor, jobs see it at its"
        " own path [below the state directory]",
    )
    parser.add_argument(
        "--port", type=int, default=default, help="TCP port on loopback [any that is free]"
    )
    parser.add_argument(
        "--allow-calls-per-second",
        metavar="N",
        type=float,
        default=default,
        help="answer Batch calls above this rate as AWS does: slow down",
    )
    parser.add_argument(
        "--faults",
        metavar="FILE",
        default=default,
        help="plan of what goes wrong, as docs/testing-failures.md describes it; it takes the place"
        " of the one before",
    )
    parser.add_argument(
        "--image",
        metavar="NAME=DIR",
        action="append",
        default=default,
        help="process executor: jobs with this image find their commands in DIR first",
    )


def run(args: argparse.Namespace, rest: list[str]) -> int:
    """Run the command; returns its exit code.

    Raises
    ------
    MiniwdlCloudError
        The embedded AWS cannot be started or stopped, or an argument is wrong.
    """
    if args.action == "run":
        return _run_workflow(args, rest)
    if rest:
        raise UsageError(f"miniwdl-cloud local {args.action} takes no {rest[0]}; see its --help.")
    from ..infra import local_cloud

    state = Path(args.state).absolute() if args.state else local_cloud.default_state()
    if args.action == "up":
        faults = _faults(args.faults)
        running = local_cloud.up(state, _options(args, state))
        if faults is not None:
            running.go_wrong(faults)
        print(running.shell(), flush=True)
        _say(f"The embedded AWS answers at {running.server.endpoint_url}; its state is in {state}.")
        if sys.stdout.isatty():
            _say('To use it in this shell: eval "$(miniwdl-cloud local up)"')
        return 0
    if args.action == "down":
        _say("Stopped." if local_cloud.down(state) else "None was running.")
        return 0
    return _status(local_cloud.find(state), state, args.json)


def _faults(file: str | None) -> dict[str, Any] | None:
    """A fault plan, read and checked before anything is started."""
    if file is None:
        return None
    from ..emulator.faults.plan import read_plan

    read_plan(Path(file))
    return dict(json.loads(Path(file).read_text()))


def _options(args: argparse.Namespace, state: Path) -> LocalOptions:
    from ..infra.local_cloud import LocalOptions

    images = []
    for text in args.image or []:
        name, separator, directory = text.rpartition("=")
        if not separator or not name or not Path(directory).is_dir():
            raise UsageError(f"--image {text} should be NAME=DIR, with a directory that exists.")
        images.append(f"{name}={Path(directory).absolute()}")
    if args.port is not None and not 0 <= args.port < 65536:
        raise UsageError(f"--port {args.port} is no TCP port; give 0 for any that is free.")
    rate = args.allow_calls_per_second
    if rate is not None and rate <= 0:
        raise UsageError("--allow-calls-per-second should be above 0; leave it out for no limit.")
    filesystem = Path(args.filesystem) if args.filesystem else state / "filesystem"
    return LocalOptions(
        filesystem=str(filesystem.absolute()),
        executor=args.executor or "process",
        port=args.port or 0,
        calls_per_second=rate,
        images=tuple(images),
    )


def _status(running: RunningLocalCloud | None, state: Path, as_json: bool) -> int:
    if running is None:
        print(json.dumps({"running": False, "state": str(state)})) if as_json else _say(
            f"None runs over {state}; start one with `miniwdl-cloud local up`."
        )
        return 0
    from ..aws.local import job_counts

    session = running.session()
    names = [running.outputs[k] for k in ("WorkflowQueue", "TaskQueue", "TaskQueueFallback")]
    queues = {name: job_counts(session, name) for name in names}
    server = running.server
    facts = {
        "endpoint": server.endpoint_url,
        "pid": server.pid,
        "region": server.region,
        "executor": server.executor,
        "filesystem": server.filesystem,
        "bucket": running.outputs["BucketName"],
        "state": str(state),
    }
    if as_json:
        print(json.dumps({"running": True, **facts, "queues": queues}, indent=2))
        return 0
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False, box=None)
    for key, value in facts.items():
        table.add_row(key, str(value))
    for name, counts in queues.items():
        jobs = ", ".join(f"{count} {status}" for status, count in counts.items())
        table.add_row(f"queue {name}", jobs or "no jobs")
    Console(width=10_000).print(table, highlight=False)
    return 0


def _run_workflow(args: argparse.Namespace, rest: list[str]) -> int:
    """`run`: our options may stand among those of `miniwdl run`."""
    later = argparse.ArgumentParser(
        prog="miniwdl-cloud local run", add_help=False, allow_abbrev=False
    )
    _add_state(later, argparse.SUPPRESS)
    _add_options(later, argparse.SUPPRESS)
    given, remainder = later.parse_known_args(args.arguments)
    vars(args).update(vars(given))
    arguments = [*rest, *remainder]
    if not arguments:
        raise UsageError("Name the WDL file to run; see miniwdl-cloud local run --help.")
    if "--s3upload" in arguments:
        raise UsageError(
            "`local run` uploads to its own bucket, then into ./miniwdl_local_run; leave --s3upload"
            " out."
        )
    from ..infra import local_run

    state = Path(args.state).absolute() if args.state else None
    faults = _faults(args.faults)
    return local_run.run(state, lambda where: _options(args, where), arguments, faults)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
