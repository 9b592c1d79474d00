"""Runs workflows three ways and measures each: by us, by the peer, and on the floor.

* ours: ``miniwdl-aws-submit --follow`` of this package, on the embedded AWS;
* the peer: the same command of the public package miniwdl-aws, in its own environment;
* the floor: plain ``miniwdl run`` with a backend that only starts a subprocess (`floor_backend`).

Wall time is that of the whole command. CPU time and peak memory are those of the `miniwdl run`
process alone, which `usage_probe` writes down as it ends. API calls are counted by the emulator.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import statistics
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
HERE = ROOT / "benchmarks"
sys.path.insert(0, str(ROOT / "tests" / "e2e"))

from local_aws import BIN, Aws, clean_environment, local_aws, run_checked  # noqa: E402

OURS = "miniwdl-cloud"
FLOOR = "floor"
PEER = "miniwdl-aws"
PEER_TUNED = "miniwdl-aws, tuned"
# What a person can set who has read its documentation.
PEER_TUNING = {"MINIWDL__AWS__SUBMIT_PERIOD": "0.001", "MINIWDL__AWS__DESCRIBE_PERIOD": "0.2"}
# Without the deployment's event queue.
POLLING = {"MINIWDL__AWS__EVENT_QUEUE": "0"}
# As many as the policy that our runner brings allows, for everybody alike.
TASK_CONCURRENCY = "2500"
RUN_LIMIT_S = 7200
ONCE_ABOVE_S = 120.0
"""What takes longer is not repeated."""
_OUR_IMAGE = "benchmark-ours"
_PEER_IMAGE = "benchmark-peer"
_APPLICATION = "benchmark-workflow-job"

Check = Callable[[Mapping[str, Any]], None]
"""Raises if a workflow's outputs are wrong: a time only counts for the right result."""


class WrongOutputs(RuntimeError):
    """A workflow gave something else than it should."""


@dataclass(frozen=True)
class Run:
    """One run of a workflow.

    Parameters
    ----------
    wall_s
        Of the whole command.
    engine_s, cpu_s, peak_bytes
        Wall time, CPU time and peak resident memory of the `miniwdl run` process.
    calls, engine_calls
        API calls by ``service.Operation``: all, and those of the workflow job alone, without those
        of the command that submits and follows it.
    directory
        The run directory.
    """

    wall_s: float
    engine_s: float = 0.0
    cpu_s: float = 0.0
    peak_bytes: int = 0
    calls: Mapping[str, int] = field(default_factory=dict)
    engine_calls: Mapping[str, int] = field(default_factory=dict)
    directory: Path = Path()


@dataclass
class Row:
    """All runs of one thing.

    Parameters
    ----------
    what, who
        What was run, and by whom.
    tasks
        How many tasks it has.
    """

    what: str
    who: str
    tasks: int = 0
    runs: list[Run] = field(default_factory=list)

    def median(self, of: Callable[[Run], float]) -> float:
        """The median of something over all runs."""
        return statistics.median(of(run) for run in self.runs)

    @property
    def wall_s(self) -> float:
        """Median wall time."""
        return self.median(lambda run: run.wall_s)

    @property
    def cpu_s(self) -> float:
        """Median CPU time of the engine process."""
        return self.median(lambda run: run.cpu_s)

    @property
    def calls_a_task(self) -> float:
        """Median number of the workflow job's API calls, per task."""
        return self.median(lambda run: sum(run.engine_calls.values())) / max(1, self.tasks)


@dataclass(frozen=True)
class Figure:
    """One figure of the table of aims.

    Parameters
    ----------
    name, aim, reached
        Texts of its line.
    good
        Whether the aim is reached; ``None`` where the sizes are not those of the aim.
    """

    name: str
    aim: str
    reached: str
    good: bool | None


@dataclass
class Result:
    """What one benchmark found.

    Parameters
    ----------
    title
        Heading of its part of the page.
    rows, figures
        What it measured.
    notes
        Sentences for the page.
    """

    title: str
    rows: list[Row] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(
        self, workflow: Workflow, who: str, times: int, action: Callable[[Workflow, str], Run]
    ) -> Row | None:
        """Run a workflow several times, as `repeat`; `None` if that failed, which is noted: other
        rows are measured all the same."""
        row = Row(workflow.what, who, workflow.tasks)
        try:
            repeat(row, workflow, times, action)
        except Exception as exn:
            self.failed(f"{who}, {workflow.what}", exn)
        if row.runs:
            self.rows.append(row)
        return row if row.runs else None

    def failed(self, what: str, error: BaseException) -> None:
        """Note that something could not be measured."""
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        self.notes.append(f"**{what} failed:** {first}")
        say(f"{what} failed: {error}")


@dataclass(frozen=True)
class Workflow:
    """A workflow to measure.

    Parameters
    ----------
    what
        Its name in the tables.
    wdl
        Its source code.
    inputs
        Arguments of `miniwdl run`; ``label`` is added, unlike in each run, so that nothing is found
        in a call cache.
    tasks
        How many tasks it runs.
    check
        Looks at its outputs.
    """

    what: str
    wdl: Path
    inputs: tuple[str, ...]
    tasks: int
    check: Check

    def arguments(self, label: str) -> list[str]:
        """Of any of the commands."""
        return [str(self.wdl), *self.inputs, f"label={label}"]


def run_floor(workflow: Workflow, directory: Path, label: str) -> Run:
    """Run a workflow with nothing between miniwdl and the tasks' processes."""
    usage = directory / f"{label}.usage"
    usage.mkdir(parents=True)
    env = clean_environment(
        {
            "PYTHONPATH": os.pathsep.join([str(HERE / "floor_backend"), str(HERE / "usage_probe")]),
            "BENCH_USAGE": str(usage),
            "MINIWDL__SCHEDULER__CONTAINER_BACKEND": "floor",
            "MINIWDL__SCHEDULER__TASK_CONCURRENCY": TASK_CONCURRENCY,
            "MINIWDL__PLUGINS__DISABLE_PATTERNS": '["miniwdl_cloud.*"]',
        }
    )
    run_dir = directory / label
    argv = [str(BIN / "miniwdl"), "run", *workflow.arguments(label), "--dir", str(run_dir)]
    began = time.monotonic()
    done = run_checked(argv, env, RUN_LIMIT_S)
    wall = time.monotonic() - began
    workflow.check(json.loads(done.stdout)["outputs"])
    return _measured(wall, usage, run_dir / "_LAST")


@dataclass(frozen=True)
class Bed:
    """An embedded AWS to run on.

    Parameters
    ----------
    aws
        It.
    scratch
        Directory for what only the benchmark needs.
    peer_bin
        Where the peer's commands are, if it takes part.
    """

    aws: Aws
    scratch: Path
    peer_bin: Path | None

    def ours(
        self, workflow: Workflow, label: str, extra_env: Mapping[str, str] | None = None
    ) -> Run:
        """Run a workflow with this package."""
        return self._submit(BIN, _OUR_IMAGE, workflow, label, extra_env or {})

    def peer(
        self, workflow: Workflow, label: str, extra_env: Mapping[str, str] | None = None
    ) -> Run:
        """Run a workflow with the public package, with its own settings but the concurrency."""
        if self.peer_bin is None:
            raise RuntimeError("the peer takes no part in this benchmark")
        env = {
            "MINIWDL__SCHEDULER__CONTAINER_BACKEND": "aws_batch_job",
            "MINIWDL__SCHEDULER__TASK_CONCURRENCY": TASK_CONCURRENCY,
            **(extra_env or {}),
        }
        return self._submit(self.peer_bin, _PEER_IMAGE, workflow, label, env)

    def _submit(
        self, bin_dir: Path, image: str, workflow: Workflow, label: str, extra: Mapping[str, str]
    ) -> Run:
        usage = usage_directory(self.scratch)
        shutil.rmtree(usage, ignore_errors=True)
        usage.mkdir()
        directory = self.aws.filesystem / label
        env = {**self.aws.env, "PATH": f"{bin_dir}{os.pathsep}{self.aws.env['PATH']}", **extra}
        argv = [str(bin_dir / "miniwdl-aws-submit"), *workflow.arguments(label), "--follow"]
        argv += ["--mount", str(self.aws.filesystem), "--dir", str(directory), "--image", image]
        self.forget_events()
        self.http("POST", "/_local/reset-calls")
        began = time.monotonic()
        run_checked(argv, env, RUN_LIMIT_S)
        wall = time.monotonic() - began
        calls = self._calls("")
        engine_calls = self._calls(f"?application={_APPLICATION}")
        run_dir = directory / "_LAST"
        workflow.check(json.loads((run_dir / "outputs.json").read_text()))
        return _measured(wall, usage, run_dir, calls, engine_calls)

    def forget_events(self) -> None:
        """Empty the deployment's event queue: events that a run left alone stay for two minutes,
        and would be received by the next one, unlike in a deployment that is used now and then."""
        sqs = self.aws.client("sqs")
        for url in sqs.list_queues().get("QueueUrls", ()):
            # Not PurgeQueue, which SQS allows once a minute.
            while found := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get(
                "Messages"
            ):
                entries = [
                    {"Id": str(n), "ReceiptHandle": message["ReceiptHandle"]}
                    for n, message in enumerate(found)
                ]
                sqs.delete_message_batch(QueueUrl=url, Entries=entries)

    def _calls(self, query: str) -> dict[str, int]:
        counts = json.loads(self.http("GET", f"/_local/calls{query}"))
        return {
            f"{service}.{operation}": count
            for service, operations in counts.items()
            for operation, count in operations.items()
        }

    def http(self, method: str, path: str) -> bytes:
        """Call the emulator's own interface."""
        request = urllib.request.Request(self.aws.env["AWS_ENDPOINT_URL"] + path, method=method)
        # The emulator is on loopback: never through a proxy.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=30) as answer:
            return bytes(answer.read())


@contextmanager
def embedded_aws(scratch: Path, with_peer: bool, *options: str) -> Iterator[Bed]:
    """An embedded AWS on the process executor.

    Parameters
    ----------
    scratch
        Directory for it and for the benchmark.
    with_peer
        Whether the peer takes part; its environment is made if it is not there.
    options
        Further options of ``miniwdl-cloud local up``.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    images = [f"{_OUR_IMAGE}={_image(scratch, _OUR_IMAGE, BIN)}"]
    peer_bin = None
    if with_peer:
        peer_bin = cached_venv("peer-venv")
        images.append(f"{_PEER_IMAGE}={_image(scratch, _PEER_IMAGE, peer_bin)}")
    given = [text for image in images for text in ("--image", image)]
    with local_aws(scratch / "aws", *given, *options) as aws:
        yield Bed(aws, scratch, peer_bin)


def cached_venv(script: str) -> Path:
    """The bin directory of an environment that a script below scripts/ makes once."""
    made = run_checked([str(ROOT / "scripts" / script), sys.executable], os.environ, 600)
    return Path(made.stdout.strip())


def usage_directory(scratch: Path) -> Path:
    """Where `usage_probe` writes."""
    return scratch / "usage"


def _image(scratch: Path, name: str, bin_dir: Path) -> Path:
    """A directory that stands for a container image: the runner of an environment, probed."""
    directory = scratch / name
    directory.mkdir()
    runner = directory / "miniwdl-run-s3upload"
    lines = [
        "#!/bin/bash",
        f"export PATH={shlex.quote(str(bin_dir))}:$PATH",
        f"export PYTHONPATH={shlex.quote(str(HERE / 'usage_probe'))}",
        # With which botocore marks each of its calls.
        f"export AWS_SDK_UA_APP_ID={_APPLICATION}",
        f"export BENCH_USAGE={shlex.quote(str(usage_directory(scratch)))}",
        f'exec {shlex.quote(str(bin_dir / runner.name))} "$@"',
    ]
    runner.write_text("\n".join(lines) + "\n")
    runner.chmod(0o755)
    return directory


def _measured(
    wall_s: float,
    usage: Path,
    run_dir: Path,
    calls: Mapping[str, int] | None = None,
    engine_calls: Mapping[str, int] | None = None,
) -> Run:
    found = [json.loads(path.read_text()) for path in usage.iterdir()]
    if len(found) != 1:
        raise RuntimeError(f"{len(found)} engine processes left their usage in {usage}, not one")
    used = found[0]
    return Run(
        wall_s=wall_s,
        engine_s=used["ended"] - used["began"],
        cpu_s=used["cpu_s"],
        peak_bytes=used["peak_bytes"],
        calls=calls or {},
        engine_calls=engine_calls or {},
        directory=run_dir.resolve(),
    )


def repeat(
    row: Row, workflow: Workflow, times: int, action: Callable[[Workflow, str], Run]
) -> None:
    """Run a workflow several times, or once if that takes longer than `ONCE_ABOVE_S`.

    Parameters
    ----------
    row
        Gets the runs.
    times
        How often.
    action
        Runs it, given a label that no other run has.
    """
    for number in range(1, times + 1):
        parts = [*row.who.replace(",", "").split(), *workflow.what.split(), str(number)]
        say(f"{row.who}, {workflow.what}, run {number} ...")
        run = action(workflow, "-".join(parts).replace(",", ""))
        row.runs.append(run)
        say(
            f"  {run.wall_s:.2f} s, engine's CPU {run.cpu_s:.2f} s,"
            f" {run.peak_bytes / 2**20:.0f} MiB, {sum(run.calls.values())} API calls,"
            f" {sum(run.engine_calls.values())} of its own"
        )
        if run.wall_s > ONCE_ABOVE_S:
            break


def percentile(values: Iterable[float], share: float) -> float:
    """The smallest value that so great a share of all does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-int(share * 100) * len(ordered) // 100) - 1)]


def say(text: str) -> None:
    """Tell how it goes."""
    print(text, file=sys.stderr, flush=True)
