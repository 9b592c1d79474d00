"""Measure what miniwdl-cloud adds to a workflow, on the embedded AWS and this machine.

    make bench
    python -m benchmarks.bench --name quick --only scatter --sizes 100 --runs 1 --no-peer

The page is printed, and written to ``results/<date>-<name>.md``.
"""

from __future__ import annotations

import argparse
import datetime
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from . import chain, report, scatter, sleeps, transfers
from .harness import HERE, ROOT, Bed, Result, embedded_aws, say

ON_ONE_AWS: dict[str, Callable[[Bed, argparse.Namespace], Result]] = {
    "scatter": lambda bed, args: scatter.measure(
        bed,
        {size: 1 if size > args.repeat_most else args.runs for size in args.sizes},
        args.peer_large,
    ),
    "latency": lambda bed, args: sleeps.measure_latency(bed, args.latency_jobs),
    "chain": lambda bed, args: chain.measure(bed, args.chain, args.runs),
    "sleeps": lambda bed, args: sleeps.measure(bed, args.sleepers, args.sleep_s),
    "transfers": lambda bed, args: transfers.measure(bed, args.files, args.large_mb, args.runs),
}
NAMES = (*ON_ONE_AWS, "throttled")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description="Measure miniwdl-cloud on the embedded AWS.")
    parser.add_argument("--name", default="all", help="ends the name of the results file")
    parser.add_argument(
        "--only", nargs="+", choices=NAMES, default=NAMES, metavar="WHAT", help=", ".join(NAMES)
    )
    parser.add_argument("--runs", type=int, default=3, help="runs of each, except the longest")
    parser.add_argument(
        "--repeat-most", type=int, default=1000, metavar="N", help="larger scatters run once"
    )
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[100, 1000, 5000], help="scatter: shards"
    )
    parser.add_argument("--no-peer", dest="peer", action="store_false", help="without miniwdl-aws")
    parser.add_argument(
        "--peer-large", action="store_true", help="miniwdl-aws too runs scatters that take it hours"
    )
    parser.add_argument("--latency-jobs", type=int, default=100, help="latency: jobs")
    parser.add_argument("--chain", type=int, default=200, help="chain: tasks")
    parser.add_argument("--sleepers", type=int, default=2000, help="sleeps: tasks at a time")
    parser.add_argument("--sleep-s", type=float, default=60.0, help="sleeps: seconds of each")
    parser.add_argument("--files", type=int, default=2000, help="transfers: small files")
    parser.add_argument("--large-mb", type=int, default=2000, help="transfers: MB of the large one")
    parser.add_argument("--throttled", type=int, default=5000, help="throttled: shards")
    return parser


def measure(args: argparse.Namespace, scratch: Path) -> list[Result]:
    """Run what was asked for."""
    results = []
    chosen = [name for name in ON_ONE_AWS if name in args.only]
    if chosen:
        with embedded_aws(scratch / "plain", args.peer) as bed:
            for name in chosen:
                say(f"--- {name}, load average {os.getloadavg()[0]:.1f}")
                results.append(ON_ONE_AWS[name](bed, args))
    if "throttled" in args.only:
        say("--- throttled")
        results.append(scatter.measure_throttled(scratch / "throttled", args.throttled))
    return results


def main() -> None:
    """Run the command."""
    args = parser().parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="miniwdl-cloud-bench.") as scratch:
        text = report.page(measure(args, Path(scratch)), sys.argv[1:], load)
    today = datetime.datetime.now(datetime.timezone.utc).date()
    target = HERE / "results" / f"{today}-{args.name}.md"
    target.parent.mkdir(exist_ok=True)
    target.write_text(text)
    print(text)
    say(f"written to {target.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
