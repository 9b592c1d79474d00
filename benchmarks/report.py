"""The page that a benchmark leaves: what was measured, on what, by which command."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from .harness import ONCE_ABOVE_S, ROOT, Result, Row

_VERDICTS = {True: "yes", False: "**no**", None: "(other size)"}


def page(results: Sequence[Result], arguments: Sequence[str], load: float) -> str:
    """The whole page.

    Parameters
    ----------
    arguments
        Of the command line.
    load
        Load average when it began.
    """
    lines = [*_about(arguments, load), "", "| figure | to reach | reached | |", "|---|---|---|---|"]
    for result in results:
        for figure in result.figures:
            verdict = _VERDICTS[figure.good]
            lines.append(f"| {figure.name} | {figure.aim} | {figure.reached} | {verdict} |")
    for result in results:
        rows = [row for row in result.rows if row.runs]
        lines += ["", f"## {result.title}", "", *_measurements(rows), *_calls(rows)]
        lines += [text for note in result.notes for text in ("", note)]
    return "\n".join([*lines, ""])


def _measurements(rows: Sequence[Row]) -> list[str]:
    lines = [
        "| what | who | median s | runs s | engine's process s | its CPU s | its peak MiB"
        " | its API calls a task |",
        "|---|---|---:|---|---:|---:|---:|---:|",
    ]
    for row in rows:
        runs = ", ".join(f"{run.wall_s:.2f}" for run in row.runs)
        cells = [row.what, row.who, f"{row.wall_s:.2f}", runs]
        if row.cpu_s:
            peak = row.median(lambda run: run.peak_bytes) / 2**20
            engine = row.median(lambda run: run.engine_s)
            cells += [f"{engine:.2f}", f"{row.cpu_s:.2f}", f"{peak:.0f}"]
        else:
            cells += ["", "", ""]
        cells.append(f"{row.calls_a_task:.3f}" if row.runs[-1].calls else "")
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _calls(rows: Sequence[Row]) -> list[str]:
    counted = [row for row in rows if row.runs[-1].calls]
    if not counted:
        return []
    heads = [f"{row.who}: {row.what}" for row in counted]
    lines = [
        "",
        "AWS API calls of the last run of each: all, and in brackets those of the workflow job:",
        "",
    ]
    lines += [f"| call | {' | '.join(heads)} |", "|---|" + "---:|" * len(heads)]
    for name in sorted({name for row in counted for name in row.runs[-1].calls}):
        cells = [
            f"{row.runs[-1].calls.get(name, 0)} ({row.runs[-1].engine_calls.get(name, 0)})"
            for row in counted
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _about(arguments: Sequence[str], load: float) -> list[str]:
    names = ("miniwdl-cloud", "miniwdl", "boto3", "moto")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return [
        f"# Benchmark of {datetime.datetime.now(datetime.timezone.utc).date()}",
        "",
        f"- Machine: {processor()}, {os.cpu_count()} CPUs, {memory_gib:.0f} GiB,"
        f" {platform.system()} {platform.release()}; load average {load:.1f} at the start,"
        f" {os.getloadavg()[2]:.1f} over the last 15 minutes",
        f"- Versions: Python {platform.python_version()}, {versions}, miniwdl-aws 0.12.2; commit"
        f" {commit()}",
        f"- Command: `{shlex.join(['python', '-m', 'benchmarks.bench', *arguments])}`",
        "- miniwdl-cloud, miniwdl-aws: the whole of `miniwdl-aws-submit --follow`, on the embedded"
        " AWS on the same machine. Floor: plain `miniwdl run` with a backend that only"
        " starts a subprocess for each task. The engine's process is `miniwdl run` alone, without"
        " its children.",
        f"- Medians of the runs shown; what takes longer than {ONCE_ABOVE_S:.0f} s, the peer and"
        " the latencies ran once.",
    ]


def processor() -> str:
    """The processor's name as Linux gives it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def commit() -> str:
    """The commit that is measured, marked where files differ from it."""
    argv = ["git", "describe", "--always", "--dirty", "--exclude", "*"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"
