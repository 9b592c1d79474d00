"""Reports from run directories."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
from made_runs import HOSTILE, START, RunDirectory, genomes, hostile

from miniwdl_cloud.errors import NotFound, UsageError
from miniwdl_cloud.report.collect import collect
from miniwdl_cloud.report.model import Attempt, Report, TaskRecord, TaskState
from miniwdl_cloud.report.render import data_of, embedded, html, save


def one(report: Report, label: str) -> TaskRecord:
    """The task of this label."""
    (task,) = [task for task in report.tasks if task.label == label]
    return task


def test_states_attempts_and_usage(tmp_path: Path) -> None:
    """A run's tasks have their states, attempts in order, and what they reserved and used."""
    report = collect(genomes(tmp_path / "20260921_141320_cohort"), START + 4_000)
    assert report.name == "cohort" and report.state == "failed"
    assert (report.started, report.made) == (START, START + 4_000)
    assert report.count(TaskState.CACHED) == 1 and report.count(TaskState.FAILED) == 1
    assert report.count(TaskState.SUCCEEDED) == 57 and report.retries == 5
    lost = one(report, "align[04-sampleE]")
    assert [attempt.ok for attempt in lost.attempts] == [False, True]
    assert lost.attempts[0].reason == "the instance was taken away (spot) or lost"
    assert (lost.attempts[1].vcpus, lost.attempts[1].memory_mib) == (8, 16384)
    assert one(report, "reference").attempts == ()
    failed = one(report, "annotate")
    assert failed.reason == "the command ended with exit code 1"
    assert failed.log_tail is not None and failed.log_tail.endswith("KeyError: 'GRCh38'")
    assert report.cost is not None and report.wasted is not None
    assert 0 < (report.interrupted or 0) < report.wasted < report.cost
    # Half of an m5.4xlarge by CPUs, at the price that was noted.
    attempt = lost.attempts[1]
    assert attempt.cost == pytest.approx((attempt.seconds or 0) / 3600 * 0.11)
    assert lost.machine == "m5.4xlarge Spot"
    sources = dict(report.basis.sources)
    assert sources["Spot price history"] > sources["an estimate by bundled prices"] > 0


def test_calls_are_summed_up_with_advice(tmp_path: Path) -> None:
    """A call's advice compares the highest peak with what the task asked for at first."""
    calls = {call.name: call for call in collect(genomes(tmp_path / "run")).calls}
    assert calls["prepare.sort"].memory_mib == 4063
    assert calls["prepare.sort"].advice == "close to its limit: ask for 6,656 MiB"
    assert calls["genotype"].advice == "could ask for 1,280 MiB"
    assert calls["align"].advice == "could ask for 5 CPUs" and calls["align"].retries == 3
    assert calls["align"].cpus == pytest.approx(3.39, abs=0.1)
    assert calls["genotype"].cpus is None and calls["genotype"].wasted is None
    assert 0 < (calls["align"].wasted or 0) < (calls["align"].cost or 0)
    assert calls["reference"].advice is None


def test_a_call_in_a_scattered_subworkflow_is_one_call(tmp_path: Path) -> None:
    """Its tasks are told apart by the shards of both."""
    run = RunDirectory(tmp_path / "run")
    attempt = {"waited": 1, "ran": 2, "vcpus": 1, "mib": 1024}
    for sample in ("0-a", "1-b"):
        run.task("sort-7", 0, [attempt], within=f"call-prepare-{sample}")
        run.task("index", 9, [attempt], within=f"call-prepare-{sample}")
    report = collect(run.end(60))
    assert [(call.name, call.tasks) for call in report.calls] == [
        ("prepare.sort", 2),
        ("prepare.index", 2),
    ]
    assert {task.label for task in report.tasks} == {
        "prepare.sort[0-a, 7]",
        "prepare.sort[1-b, 7]",
        "prepare.index[0-a]",
        "prepare.index[1-b]",
    }


def test_json_has_stable_members(tmp_path: Path) -> None:
    """What scripts read keeps its names."""
    made = collect(genomes(tmp_path / "run")).as_json()
    assert json.loads(json.dumps(made)) == made
    assert set(made) == {"version", "run", "made", "totals", "cost", "missing", "calls", "tasks"}
    assert set(made["tasks"][-1]) == {
        *("call", "shard", "directory", "state", "ready", "ended", "runningSeconds", "costUSD"),
        *("peakMemoryBytes", "cpus", "reason", "logTail", "attempts"),
    }
    assert set(made["tasks"][-1]["attempts"][0]) == {
        *("attempt", "jobId", "created", "started", "ended", "ok", "exitCode", "reason"),
        *("logStream", "vcpus", "memoryMiB", "gpus", "peakMemoryBytes", "platform", "costUSD"),
        *("interrupted", "usage", "price"),
    }
    assert made["cost"]["estimate"] is True and made["cost"]["dated"]


def test_a_run_without_our_files(tmp_path: Path) -> None:
    """A run of another engine is told by miniwdl's own files, and what is missing is said."""
    run = RunDirectory(tmp_path / "run")
    directory = run.task("a", 5, [], cached=True)
    (directory / "command").touch()
    (directory / "stdout2.txt").touch()
    os.utime(directory / "outputs.json", (START + 65, START + 65))
    broken = run.task("b", 5, [], cached=True)
    (broken / "outputs.json").unlink()
    (broken / "stderr.txt").write_text("no such thing\n")
    (broken / "error.json").write_text(
        json.dumps({"error": "RunFailed", "cause": {"error": "CommandFailed", "exit_status": 9}})
    )
    report = collect(run.path)
    task = one(report, "a")
    assert task.state is TaskState.SUCCEEDED and task.running_s == 60
    assert task.attempts[0].number == 2 and task.cost is None
    failed = one(report, "b")
    assert failed.reason == "CommandFailed: the command ended with exit status 9"
    assert failed.log_tail == "no such thing"
    assert (
        report.state == "unfinished"
        and "not run by an engine of miniwdl-cloud" in report.missing[0]
    )
    assert "no run" not in html(report)


def test_a_task_on_fargate_and_one_in_isolation(tmp_path: Path) -> None:
    """ECS's details are read as Batch's are, and records where an isolated task has them."""
    run = RunDirectory(tmp_path / "run")
    directory = run.task("a", 1, [{"waited": 1, "ran": 60, "peak": 700}])
    (own := directory / "job").mkdir()
    for name in ("claim", "task_status.txt"):
        (directory / name).rename(own / name)
    (attempt,) = one(collect(run.path), "a").attempts
    assert attempt.peak_bytes == 700 * 2**20 and attempt.exit_code == 0
    for path in directory.glob("awsBatchJobDetail.*"):
        path.unlink()
    task = {
        "taskArn": "arn:aws:ecs:us-east-1:1:task/cluster/0123",
        "lastStatus": "STOPPED",
        "stopCode": "EssentialContainerExited",
        "createdAt": "2026-09-21 14:13:21+00:00",
        "startedAt": "2026-09-21 14:13:31.500000+00:00",
        "stoppedAt": "2026-09-21 14:14:31.500000+00:00",
        "cpu": "2048",
        "memory": "4096",
        "containers": [{"name": "task", "exitCode": 0}],
    }
    (directory / "ecsTask.0123.json").write_text(json.dumps(task))
    (attempt,) = one(collect(run.path), "a").attempts
    assert (attempt.job_id, attempt.ok, attempt.platform) == ("0123", True, "FARGATE")
    assert (attempt.vcpus, attempt.memory_mib, attempt.seconds) == (2, 4096, 60)
    assert attempt.created == START + 1 and attempt.cost is not None


def test_a_single_task_and_an_unfinished_one(tmp_path: Path) -> None:
    """The run directory of a task run by itself is a report of one task."""
    run = RunDirectory(tmp_path / "20260921_141320_solo")
    (run.path / "workflow.log").rename(run.path / "task.log")
    report = collect(run.path)
    (task,) = report.tasks
    assert task.label == "solo" and task.state is TaskState.UNFINISHED
    assert "none began" in report.missing[0]


def test_tasks_that_were_stopped_are_no_failures(tmp_path: Path) -> None:
    """What ended because the run did is told from what failed."""
    run = RunDirectory(tmp_path / "run")
    directory = run.task("a", 1, [{"waited": 1, "ran": 1, "exit": 143}])
    (directory / "error.json").write_text(
        json.dumps({"error": "RunFailed", "cause": {"error": "Terminated"}})
    )
    assert one(collect(run.path), "a").state is TaskState.STOPPED


@pytest.mark.parametrize("text", ["[1,2", "[]", "{}", '{"jobId": 3}', '{"jobId":"x","status":7}'])
def test_files_that_are_not_what_they_should_be(tmp_path: Path, text: str) -> None:
    """A task can write anything where our files are; the report is made all the same."""
    run = RunDirectory(tmp_path / "run")
    directory = run.task("a", 1, [{"waited": 1, "ran": 1, "exit": 1}])
    for path in directory.iterdir():
        if path.suffix == ".json":
            path.write_text(text)
    assert html(collect(run.path))


def test_logs_outside_of_the_run_are_not_read(tmp_path: Path) -> None:
    """A link in the place of a log, which a task may make, is not followed."""
    (tmp_path / "secret").write_text("secret")
    run = RunDirectory(tmp_path / "run")
    directory = run.task("a", 1, [{"waited": 1, "ran": 1, "exit": 1}])
    (directory / "stderr.txt").unlink()
    (directory / "stderr.txt").symlink_to(tmp_path / "secret")
    assert "secret" not in html(collect(run.path))


def test_pipes_and_names_that_are_no_text(tmp_path: Path) -> None:
    """A pipe that nobody writes to does not hold the report up, nor do strange bytes in a name."""
    run = RunDirectory(tmp_path / "run")
    directory = run.task("a-0-\udcff", 1, [{"waited": 1, "ran": 1, "exit": 1}])
    for name in ("stderr.txt", "task_status.txt", "error.json"):
        (directory / name).unlink()
        os.mkfifo(directory / name)
    page = html(collect(run.path))
    (run.path / "report.html").symlink_to(tmp_path / "elsewhere")
    save(page, run.path / "report.html")
    assert not (tmp_path / "elsewhere").exists()
    assert (run.path / "report.html").read_text() == page


def test_long_logs_are_cut(tmp_path: Path) -> None:
    """Only the end of a log is in the report."""
    run = RunDirectory(tmp_path / "run")
    run.task("a", 1, [{"waited": 1, "ran": 1, "exit": 1}], stderr="line\n" * 50_000 + "last\n")
    tail = one(collect(run.path), "a").log_tail
    assert tail is not None and len(tail) < 1_000
    assert tail.startswith("…\nline") and tail.endswith("last")


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    """Names, reasons and logs end no element and begin none, in the page and in its data."""
    report = collect(hostile(tmp_path / "run"))
    page = html(report)
    assert (
        "<img" not in page
        and "<b>" not in page
        and "<!--" not in page
        and page.count("</script>") == 2
    )
    assert "{{ 7*7 }}" in page
    data = embedded(data_of(report))
    assert not set("<>&") & set(data)
    assert HOSTILE in json.loads(data)["tasks"][0][9][0][5]
    assert "bad[0-&lt;b&gt;x]" in page


def test_the_page_loads_nothing(tmp_path: Path) -> None:
    """There is no address in the page that a browser would fetch."""
    page = html(collect(genomes(tmp_path / "run", samples=3)))
    assert re.findall(r"""(?:src|href)=["']?([^"' >]+)""", page) == ["#tasks"]
    assert not re.search(r"url\(|@import|https?:", page)
    assert "default-src 'none'" in page


@pytest.mark.parametrize(
    ("given", "cost"),
    [
        ((3600, 2, 8192, 0, "EC2"), 0.096),  # an m5.large
        ((3600, 1, 16384, 0, "EC2"), 0.192),  # as much memory as four vCPUs come with
        ((3600, 1, 2048, 0, "FARGATE"), 0.04937),
        ((1, 1, 2048, 0, "FARGATE"), 0.04937 / 60),  # a minute at least
        ((3600, 1, 2048, 1, "EC2"), None),  # GPUs
        ((None, 1, 2048, 0, "EC2"), None),
    ],
)
def test_costs(given: tuple[float | None, float, int, int, str], cost: float | None) -> None:
    """A job costs its share of an instance, or what Fargate asks for its size."""
    seconds, vcpus, memory_mib, gpus, platform = given
    ended = None if seconds is None else START + seconds
    attempt = Attempt(1, started=START, ended=ended, platform=platform)
    attempt = replace(attempt, vcpus=vcpus, memory_mib=memory_mib, gpus=gpus)
    assert attempt.cost == (None if cost is None else pytest.approx(cost))


def test_what_is_no_run_directory(tmp_path: Path) -> None:
    """A wrong directory is an error that says what to give."""
    with pytest.raises(NotFound, match="There is no directory"):
        collect(tmp_path / "none")
    with pytest.raises(UsageError, match="not a run directory"):
        collect(tmp_path)
