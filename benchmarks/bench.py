"""Measure what miniwdl-cloud adds to a workflow, on the embedded AWS and this machine.

    make bench
    python -m benchmarks.bench --name quick --only scatter --sizes 100 --runs 1 --no-peer

The page is written to ``results/<date>-<name>.md`` after each part, so that an end in between keeps
what was measured, and printed at the end.
"""

from __future__ import annotations

import argparse
import datetime
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from . import chain, fargate, report, scatter, sleeps, transfers
from .harness import HERE, ROOT, Bed, Result, embedded_aws, say

ON_ONE_AWS: dict[str, Callable[[Bed, Result, argparse.Namespace], None]] = {
    "scatter": lambda bed, result, args: scatter.measure(
        bed, result, args.sizes, args.runs, args.peer_sizes, args.tuned_sizes
    ),
    "latency": lambda bed, result, args: sleeps.measure_latency(bed, result, args.latency_jobs),
    "chain": lambda bed, result, args: chain.measure(bed, result, args.chain, args.runs),
    "sleeps": lambda bed, result, args: sleeps.measure(bed, result, args.sleepers, args.sleep_s),
    "fargate": lambda bed, result, args: fargate.measure(
        bed, result, args.fargate, args.isolated, args.latency_jobs, args.runs
    ),
    "transfers": lambda bed, result, args: transfers.measure(
        bed, result, args.files, args.large_mb, args.runs
    ),
}
NAMES = (*ON_ONE_AWS, "throttled")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description="Measure miniwdl-cloud on the embedded AWS.")
    parser.add_argument("--name", default="all", help="ends the name of the results file")
    parser.add_argument(
        "--only", nargs="+", choices=NAMES, default=NAMES, metavar="WHAT", help=", ".join(NAMES)
    )
    parser.add_argument("--runs", type=int, default=3, help="runs of each that takes under 2 min")
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[100, 1000, 5000], help="scatter: shards"
    )
    parser.add_argument("--no-peer", dest="peer", action="store_false", help="without miniwdl-aws")
    parser.add_argument(
        "--peer-sizes",
        type=int,
        nargs="+",
        default=[100],
        help="scatter: shards that miniwdl-aws runs as it is, more than a second for each",
    )
    parser.add_argument(
        "--tuned-sizes",
        type=int,
        nargs="+",
        default=[100, 1000],
        help="scatter: shards that miniwdl-aws runs tuned",
    )
    parser.add_argument(
        "--peer-full",
        action="store_true",
        help="miniwdl-aws runs 1,000 shards as it is too: 20 minutes more",
    )
    parser.add_argument("--latency-jobs", type=int, default=100, help="latency: jobs")
    parser.add_argument("--chain", type=int, default=200, help="chain: tasks")
    parser.add_argument("--sleepers", type=int, default=2000, help="sleeps: tasks at a time")
    parser.add_argument("--sleep-s", type=float, default=60.0, help="sleeps: seconds of each")
    parser.add_argument("--fargate", type=int, default=500, help="fargate: shards")
    parser.add_argument("--isolated", type=int, default=60, help="fargate: isolated shards")
    parser.add_argument("--files", type=int, default=2000, help="transfers: small files")
    parser.add_argument("--large-mb", type=int, default=2000, help="transfers: MB of the large one")
    parser.add_argument("--throttled", type=int, default=5000, help="throttled: shards")
    return parser


def measure(
    args: argparse.Namespace, scratch: Path, results: list[Result], keep: Callable[[], None]
) -> None:
    """Run what was asked for; what fails does not keep the rest from running.

    Parameters
    ----------
    results
        Gets each part's as it begins.
    keep
        Called after each part.
    """

    def part(name: str, action: Callable[[Result], None]) -> None:
        say(f"--- {name}, load average {os.getloadavg()[0]:.1f}")
        result = Result(name)
        results.append(result)
        try:
            action(result)
        except Exception as exn:
            result.failed(name, exn)
        keep()

    chosen = [name for name in ON_ONE_AWS if name in args.only]
    if chosen:
        with embedded_aws(scratch / "plain", args.peer) as bed:
            for name in chosen:
                part(name, lambda result, name=name: ON_ONE_AWS[name](bed, result, args))  # type: ignore[misc]
    if "throttled" in args.only:
        part(
            "throttled",
            lambda result: scatter.measure_throttled(scratch / "throttled", result, args.throttled),
        )


def main() -> None:
    """Run the command."""
    args = parser().parse_args()
    if args.peer_full:
        args.peer_sizes = [*args.peer_sizes, scatter.AIM_SHARDS]
    load = os.getloadavg()[0]
    today = datetime.datetime.now(datetime.timezone.utc).date()
    target = HERE / "results" / f"{today}-{args.name}.md"
    target.parent.mkdir(exist_ok=True)
    results: list[Result] = []

    def keep() -> None:
        target.write_text(report.page(results, sys.argv[1:], load))
        say(f"written to {target.relative_to(ROOT)}")

    try:
        with tempfile.TemporaryDirectory(prefix="miniwdl-cloud-bench.") as scratch:
            measure(args, Path(scratch), results, keep)
    except KeyboardInterrupt as exn:
        if results:
            results[-1].failed(results[-1].title, exn)
            keep()
        raise
    print(target.read_text())


if __name__ == "__main__":
    main()
