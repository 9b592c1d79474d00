"""`miniwdl-cloud doctor`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from .. import settings as s
from .operating import Account, add_options, no_more

if TYPE_CHECKING:
    from ..doctor.finding import Finding

PROBLEMS_EXIT_CODE = 78
"""Of a deployment that does not fit; see errors.py."""

_DESCRIPTION = """\
Look at a deployment, and at a workflow if one is given, for what would keep it from running:
queues, compute environments, roles and their permissions, filesystem, network, buckets, image,
quotas; tasks that could never start. Nothing is changed. Each finding says what is wrong, what
follows, and how to mend it. The exit code is 0 where no problem was found, else 78.
"""


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the command to the list of commands."""
    parser = subparsers.add_parser(
        "doctor",
        help="find what would keep workflows from running",
        description=_DESCRIPTION,
        allow_abbrev=False,
    )
    parser.add_argument("wdl", nargs="?", metavar="WDL", help="a workflow whose tasks are to start")
    parser.add_argument(
        "inputs", nargs="*", metavar="INPUT=VALUE", help="its inputs, where its tasks' sizes follow"
    )
    add_options(parser)
    parser.add_argument("--strict", action="store_true", help="warnings count as problems")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace, rest: list[str]) -> int:
    """Run the command; returns its exit code.

    Raises
    ------
    AccessDenied
        There are no credentials.
    ConfigurationError
        No Region is configured.
    """
    no_more(rest, "miniwdl-cloud doctor")
    from ..doctor.examine import examine, worst
    from ..doctor.facts import Facts
    from ..doctor.finding import Level

    account = Account(args)
    facts = Facts(account.session, account.settings)
    findings = list(examine(facts))
    if args.wdl:
        from ..doctor.workflow import check_workflow

        findings += check_workflow(facts, args.wdl, args.inputs)
    if args.json:
        print(json.dumps(as_json(findings), indent=2))
    else:
        _show(findings)
    bad = (Level.PROBLEM, Level.WARNING) if args.strict else (Level.PROBLEM,)
    return PROBLEMS_EXIT_CODE if worst(findings) in bad else 0


def as_json(findings: Iterable[Finding]) -> dict[str, Any]:
    """What ``--json`` prints; ``version`` changes when a member changes its meaning or goes."""
    return {
        "version": 1,
        "findings": [
            {"name": f.name, "level": f.level.value, "what": f.what, "why": f.why, "how": f.how}
            for f in findings
        ],
    }


def _show(findings: list[Finding]) -> None:
    from ..doctor.finding import Level

    marks = {
        Level.OK: ("ok", "32"),
        Level.UNKNOWN: ("?", "2"),
        Level.WARNING: ("warning", "33"),
        Level.PROBLEM: ("PROBLEM", "1;31"),
    }
    coloured = sys.stdout.isatty() and not s.environment().get("NO_COLOR")
    for finding in findings:
        mark, colour = marks[finding.level]
        shown = f"{mark:8}"
        print((f"\x1b[{colour}m{shown}\x1b[0m" if coloured else shown) + finding.what)
        name = f" [{finding.name}]" if finding.level in (Level.WARNING, Level.PROBLEM) else ""
        for text in filter(None, (finding.why, finding.how and finding.how + name)):
            print(f"{'':8}{text}")
    counts = {level: sum(f.level is level for f in findings) for level in Level}
    print(
        f"\n{_count(counts[Level.PROBLEM], 'problem')}, {_count(counts[Level.WARNING], 'warning')},"
        f" {counts[Level.OK]} in order, {counts[Level.UNKNOWN]} not looked at"
    )


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"
