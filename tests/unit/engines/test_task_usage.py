"""The task script's samples of what a container uses."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from miniwdl_cloud.engines import task_files


@pytest.fixture
def task(tmp_path: Path) -> Path:
    """A task's run directory."""
    directory = tmp_path / "task"
    (directory / "work").mkdir(parents=True)
    return directory


@pytest.fixture(params=[1, 2], ids=["v1", "v2"])
def cgroup(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A directory with the files of a container's cgroup, version 1 or 2."""
    root = tmp_path / "cgroup"
    (root / "memory").mkdir(parents=True)
    (root / "cpuacct").mkdir()
    _use(root, request.param, cpu_s=1.0, memory=300 * 2**20)
    return root


def _use(root: Path, version: int, cpu_s: float, memory: int, cache: int = 2**20) -> None:
    if version == 2:
        (root / "cpu.stat").write_text(f"usage_usec {round(cpu_s * 1e6)}\nuser_usec 1\n")
        (root / "memory.current").write_text(f"{memory}\n")
        (root / "memory.stat").write_text(f"anon 5\nfile 7\ninactive_file {cache}\nactive_file 1\n")
    else:
        (root / "cpuacct" / "cpuacct.usage").write_text(f"{round(cpu_s * 1e9)}\n")
        (root / "memory" / "memory.usage_in_bytes").write_text(f"{memory}\n")
        (root / "memory" / "memory.stat").write_text(
            f"cache 1\ninactive_file 7\ntotal_cache 9\ntotal_inactive_file {cache}\n"
        )


def _run(task: Path, command: str, attempt: int = 1, **env: str) -> subprocess.Popen[str]:
    (task / "command").write_text(command)
    return subprocess.Popen(
        ["/bin/bash", "-c", task_files.task_script()],
        env={
            "PATH": os.environ["PATH"],
            "MINIWDL_CLOUD_TASK_DIR": str(task),
            "MINIWDL_CLOUD_TRY": task_files.attempt_suffix(attempt),
            "MINIWDL_CLOUD_SHELL": "/bin/bash",
            "AWS_BATCH_JOB_ID": "one",
            **env,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_samples(task: Path, cgroup: Path, request: pytest.FixtureRequest) -> None:
    """CPU time and memory are those of the cgroup, without what the page cache can give back; the
    last sample is of the command's end."""
    version = 2 if (cgroup / "cpu.stat").exists() else 1
    go, samples = task / "go", task / "usage2.txt"
    command = f"until [ -e {go} ]; do sleep 0.1; done"
    process = _run(task, command, 2, MINIWDL_CLOUD_CGROUP=str(cgroup), MINIWDL_CLOUD_USAGE="1")
    _until(lambda: samples.exists() and len(samples.read_text().splitlines()) >= 2)
    _use(cgroup, version, cpu_s=4.5, memory=101 * 2**20)
    go.touch()
    assert process.communicate(timeout=60) == ("", "")
    usage = task_files.read_usage(task, 2)
    assert usage is not None
    assert usage.samples >= 3
    assert usage.cpu_seconds == pytest.approx(3.5)
    assert usage.peak_memory_bytes == 299 * 2**20
    assert 100 * 2**20 < usage.mean_memory_bytes < 299 * 2**20
    assert usage.seconds >= 1
    assert task_files.read_usage(task, 1) is None
    result = task_files.read_result(task, 2)
    assert result is not None and result.exit_code == 0


def test_the_file_stays_small(task: Path, cgroup: Path) -> None:
    """When there are many samples, every second one goes, and they are taken half as often."""
    script = task_files.task_script().replace('-t "$u" _', "-t 0.001 _").replace("240", "10")
    assert script.count("0.001") == 1
    go = task / "go"
    (task / "command").write_text(f"until [ -e {go} ]; do sleep 0.1; done")
    environ = {
        "PATH": os.environ["PATH"],
        "MINIWDL_CLOUD_TASK_DIR": str(task),
        "MINIWDL_CLOUD_SHELL": "/bin/bash",
        "MINIWDL_CLOUD_CGROUP": str(cgroup),
        "AWS_BATCH_JOB_ID": "one",
    }
    with subprocess.Popen(["/bin/bash", "-c", script], env=environ) as process:
        first = []

        def lines() -> list[str]:
            path = task / "usage.txt"
            return path.read_text().splitlines() if path.exists() else []

        _until(lambda: len(lines()) >= 2)
        first = lines()[:1]
        begun = time.time()
        _until(lambda: bool(lines()) and float(lines()[-1].split()[0]) > begun + 1)
        go.touch()
        assert process.wait(60) == 0
    assert lines()[:1] == first
    assert 2 <= len(lines()) <= 11
    stamps = [float(line.split()[0]) for line in lines()]
    assert stamps == sorted(stamps)


@pytest.mark.parametrize(
    "variables",
    [
        {"MINIWDL_CLOUD_USAGE": "0"},
        {"MINIWDL_CLOUD_CGROUP": "/nonexistent"},
        {"MINIWDL_CLOUD_CGROUP": ""},
    ],
)
def test_without_samples(task: Path, cgroup: Path, variables: dict[str, str]) -> None:
    """Switched off, or without cgroup, the task runs as ever, and says nothing of it."""
    process = _run(task, "echo done", **{"MINIWDL_CLOUD_CGROUP": str(cgroup), **variables})
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 0
    assert task_files.read_usage(task, 1) is None


def test_nothing_is_left_behind(task: Path, cgroup: Path) -> None:
    """The sampler ends with the task, also when the script itself is killed; a command that closes
    its standard error is not disturbed."""
    settings = {"MINIWDL_CLOUD_CGROUP": str(cgroup), "MINIWDL_CLOUD_USAGE": "3600"}
    process = _run(task, "exec 2>&-; echo fine", **settings)
    assert process.communicate(timeout=60) == ("", "")
    assert (task / "stdout.txt").read_text() == "fine\n"
    assert not _alive(process.pid)
    process = _run(task, "sleep 0.5", 2, **settings)
    _until(lambda: (task / "usage2.txt").exists())
    process.kill()
    process.communicate(timeout=60)
    _until(lambda: not _alive(process.pid))


def _alive(session: int) -> bool:
    found = subprocess.run(
        ["ps", "-o", "stat=", "-s", str(session)], capture_output=True, text=True
    )
    return any(line and not line.startswith("Z") for line in found.stdout.split("\n"))


@pytest.mark.parametrize("text", ["", "1 2 3\n", "nan 1 2 3\n", "x y z u\n"])
def test_what_is_no_sample_counts_for_nothing(task: Path, text: str) -> None:
    """A task may write anything there."""
    (task / "usage.txt").write_text(text)
    assert task_files.read_usage(task, 1) is None


def _until(condition: object) -> None:
    assert callable(condition)
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
