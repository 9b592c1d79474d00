"""`miniwdl-cloud clean`: run directories and caches that nobody needs any more."""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import settings as s
from ..errors import UsageError

if TYPE_CHECKING:
    from ..housekeeping.clean import Line, Places, Plan

FAILED = 1
"""Exit code where something could not be deleted."""
_DURATIONS = {"h": 3600, "d": 86400, "w": 7 * 86400}
_SIZES = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}

_DESCRIPTION = """\
Find the run directories below some directories, show what they take, and with --delete remove
those that meet all that is asked. Never removed is what is in use: what changed less than an hour
ago (a day, if it is a run without outcome), what miniwdl has locked, and runs whose jobs are still
accounted for. Nor is what somebody refers to, a call cache entry or the outputs of a run that
stays, unless --referenced says so.
"""
_EPILOG = """\
Exit code: 0, or 1 if something could not be deleted.
"""


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the command to the list of commands."""
    parser = subparsers.add_parser(
        "clean",
        help="find and delete old run directories and caches",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        allow_abbrev=False,
    )
    parser.add_argument(
        "directories",
        metavar="DIR",
        nargs="+",
        help="directory with runs, such as /mnt/efs/miniwdl_run; or a run directory",
    )
    parser.add_argument(
        "--older-than", metavar="AGE", help="not changed or used for so long: 12h, 30d, 8w"
    )
    parser.add_argument("--larger-than", metavar="SIZE", help="takes so much at least: 500M, 10G")
    parser.add_argument(
        "--state",
        choices=("success", "failed", "unfinished"),
        action="append",
        help="runs that ended so, or have no end (may be repeated)",
    )
    parser.add_argument(
        "--cache", action="store_true", help="entries of miniwdl's download cache too"
    )
    parser.add_argument(
        "--referenced",
        action="store_true",
        help="also what call cache entries or the outputs of other runs refer to; these call cache"
        " entries are deleted with it",
    )
    parser.add_argument("--delete", action="store_true", help="delete it, after a question")
    parser.add_argument("--yes", action="store_true", help="without the question")


def run(args: argparse.Namespace, rest: list[str]) -> int:
    """Run the command; returns its exit code.

    Raises
    ------
    UsageError
        An argument is wrong.
    """
    if rest:
        raise UsageError(f"miniwdl-cloud clean has no option {rest[0]}; see its --help.")
    from ..housekeeping.clean import Criteria, make_plan

    roots = tuple(_directory(name) for name in args.directories)
    criteria = Criteria(
        older_than_s=_amount(args.older_than, "--older-than", _DURATIONS, "30d"),
        larger_than=int(_amount(args.larger_than, "--larger-than", _SIZES, "10G")),
        states=frozenset(args.state or ()),
        cache=args.cache,
        referenced=args.referenced,
    )
    if args.delete and not (args.older_than or args.larger_than or args.state):
        raise UsageError("--delete needs to know what; add --older-than, --larger-than or --state.")
    if args.delete and not args.yes and not sys.stdin.isatty():
        raise UsageError("There is nobody to ask; add --yes to delete without a question.")
    now = time.time()
    plan = make_plan(_places(roots), criteria, now)
    _show(plan, now)
    if not args.delete:
        if plan.doomed:
            _say("Nothing was deleted; add --delete for that.")
        return 0
    if not plan.doomed:
        return 0
    if args.yes:
        return _delete(plan, plan.doomed)
    if not _agreed(f"Delete these {len(plan.doomed)}?"):
        _say("Nothing was deleted.")
        return 0
    # Much can have come into use while the question stood.
    shown = {line.found.path for line in plan.doomed}
    plan = make_plan(_places(roots), criteria, time.time())
    return _delete(plan, [line for line in plan.doomed if line.found.path in shown])


def _directory(name: str) -> Path:
    path = Path(name).absolute()
    if not path.is_dir():
        raise UsageError(f"{name} is not a directory; correct it.")
    return path


def _places(roots: tuple[Path, ...]) -> Places:
    """Caches and accounts: where the settings say, and beside the runs."""
    from ..housekeeping.clean import Places

    settings = s.Settings(s.env_source(), s.cfg_source())
    mount = Path(settings.get(s.FILE_IO_ROOT) or "/")
    above = dict.fromkeys(d for root in roots for d in (root.resolve(), *root.resolve().parents))

    def found(setting: s.Setting, *names: str) -> tuple[Path, ...]:
        configured = settings.get(setting)
        candidates = [mount / configured] if configured else []
        candidates += [directory.joinpath(*names) for directory in above]
        return tuple(dict.fromkeys(path.resolve() for path in candidates if path.is_dir()))

    return Places(
        roots,
        found(s.CALL_CACHE_DIR, "_CACHE", "call"),
        found(s.DOWNLOAD_CACHE_DIR, "_CACHE", "download"),
        found(s.ACCOUNTING_DIR, "_ACCOUNTS"),
    )


def _amount(text: str | None, option: str, units: dict[str, int], example: str) -> float:
    if text is None:
        return 0
    found = re.fullmatch(rf"(\d+(?:\.\d+)?)([{''.join(units)}])", text)
    if not found:
        raise UsageError(
            f"{option} {text} should be a number with one of {', '.join(units)}, such as"
            f" {example}; correct it."
        )
    return float(found[1]) * units[found[2]]


def _show(plan: Plan, now: float) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not plan.lines:
        _say("Nothing was found.")
        return
    table = Table(box=None, pad_edge=False)
    for name, justify in (("age", "right"), ("size", "right"), ("files", "right")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for name in ("what", "kept because", "path"):
        table.add_column(name)
    for line in plan.lines:
        found = line.found
        table.add_row(
            _age(now - found.used),
            _size(line.extent.size),
            f"{line.extent.inodes:,}",
            found.state or found.kind,
            line.keep,
            Text(_printable(found.path)),
        )
    Console(width=10_000).print(table, highlight=False)
    size = sum(line.extent.size for line in plan.doomed)
    files = sum(line.extent.inodes for line in plan.doomed)
    kept = len(plan.lines) - len(plan.doomed)
    _say(
        f"{len(plan.doomed)} to delete with {_size(size)} in {files:,} files and directories;"
        f" {kept} to keep."
    )


def _delete(plan: Plan, doomed: list[Line]) -> int:
    from ..housekeeping.clean import delete

    deleted = failed = 0
    for line in doomed:
        path = _printable(line.found.path)
        try:
            delete(line, plan)
            deleted += 1
        except BlockingIOError:
            _say(f"{path} came into use meanwhile; it is kept.")
        except FileNotFoundError:
            _say(f"{path} is gone already.")
        except OSError as exn:
            failed += 1
            _say(f"{path} could not be deleted: {exn.strerror or exn}.")
    _say(f"{deleted} deleted, {failed} could not be deleted.")
    return FAILED if failed else 0


def _agreed(question: str, ask: Callable[[str], str] = input) -> bool:
    try:
        return ask(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def _printable(path: Path) -> str:
    from ..fsx.files import shown

    return shown(path)


def _age(seconds: float) -> str:
    if seconds < 2 * 86400:
        return f"{max(0.0, seconds) / 3600:.0f} h"
    return f"{seconds / 86400:.0f} d"


def _size(size: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:,.1f} TiB"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
