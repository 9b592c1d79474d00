"""The task script, run by the bash of this machine."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from miniwdl_cloud.engines import task_files
from miniwdl_cloud.errors import FilesystemFull
from miniwdl_cloud.jobs.outcome import FILESYSTEM_FAILS, FILESYSTEM_FULL, STOOD_DOWN


@pytest.fixture
def task(tmp_path: Path) -> Path:
    """A task's run directory."""
    (tmp_path / "work").mkdir()
    return tmp_path


def _start(task: Path, command: str, attempt: int = 1, **env: str) -> subprocess.Popen[str]:
    path = task / "command"
    if not path.exists() or path.read_text() != command:
        # A job that was started before may be reading it.
        path.write_text(command)
    return subprocess.Popen(
        ["/bin/bash", "-c", task_files.task_script()],
        env={
            "PATH": os.environ["PATH"],
            "MINIWDL_CLOUD_TASK_DIR": str(task),
            "MINIWDL_CLOUD_TRY": task_files.attempt_suffix(attempt),
            "MINIWDL_CLOUD_SHELL": "/bin/bash",
            **env,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _run(task: Path, command: str, attempt: int = 1, **env: str) -> tuple[int, str, str]:
    process = _start(task, command, attempt, **env)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def test_streams_and_exit_code(task: Path) -> None:
    """Standard output goes to its file, standard error to its file and to the job's log."""
    code, out, err = _run(task, "echo one; echo two >&2; pwd; exit 7")
    assert code == 7
    assert (task / "stdout.txt").read_text() == f"one\n{task}/work\n"
    assert (task / "stderr.txt").read_text() == "two\n"
    assert (out, err) == ("", "two\n")
    result = task_files.read_result(task, 1)
    assert result is not None
    assert result.exit_code == 7
    assert result.start is not None
    assert result.end is not None
    assert result.start <= result.end


def test_a_long_standard_error_is_complete(task: Path) -> None:
    """Every line of a megabyte of standard error arrives before the job ends."""
    _, _, err = _run(task, "for i in {1..20000}; do echo line $i of many more to come >&2; done")
    assert (task / "stderr.txt").read_text() == err
    assert err.splitlines()[-1] == "line 20000 of many more to come"


def test_standard_error_is_complete_when_the_job_ends(task: Path) -> None:
    """The job waits for a slow write of standard error: its container's end would cut it off."""
    slow = task / "bin"
    slow.mkdir()
    (slow / "tee").write_text(f'#!/bin/bash\nsleep 1\nexec {shutil.which("tee")} "$@"\n')
    (slow / "tee").chmod(0o755)
    process = _start(task, "echo last words >&2", PATH=f"{slow}:{os.environ['PATH']}")
    process.wait(timeout=60)
    assert (task / "stderr.txt").read_text() == "last words\n"


def test_a_background_process_does_not_hold_the_job(task: Path) -> None:
    """What a command leaves running with standard error open does not keep the job waiting long."""
    started = time.monotonic()
    process = _start(task, "sleep 300 & echo done")
    try:
        assert process.wait(timeout=60) == 0
    finally:
        os.killpg(process.pid, signal.SIGKILL)
    assert time.monotonic() - started < 60


def test_environment_is_exported(task: Path) -> None:
    """Variables with quotes, newlines and dollar signs reach the command unchanged."""
    values = {"A": "it's", "B": 'say "hi"\n$HOME `x`', "C": "", "D": "日本"}
    task_files.write_environment(task, values)
    code, _, _ = _run(task, 'printf "%s|" "$A" "$B" "$C" "$D"')
    assert code == 0
    assert (task / "stdout.txt").read_text() == "|".join([*values.values(), ""])


@pytest.mark.parametrize(
    ("environment", "said"), [({}, "/tmp"), ({"TMPDIR": "/scratch"}, "/scratch")]
)
def test_tmpdir_is_local_scratch(task: Path, environment: dict[str, str], said: str) -> None:
    """$TMPDIR is the container's /tmp, never the shared filesystem, unless the task sets it."""
    task_files.write_environment(task, environment)
    _run(task, 'echo "$TMPDIR"')
    assert (task / "stdout.txt").read_text() == f"{said}\n"


def test_an_empty_environment_leaves_no_file(task: Path) -> None:
    """A retry without environment removes what an earlier attempt had."""
    task_files.write_environment(task, {"A": "1"})
    task_files.write_environment(task, {})
    assert not (task / "env.sh").exists()


def test_attempts_have_their_own_streams(task: Path) -> None:
    """The second attempt writes beside the first one's files, not into them."""
    _run(task, "echo first; exit 1")
    _run(task, "echo second", attempt=2)
    assert (task / "stdout.txt").read_text() == "first\n"
    assert (task / "stdout2.txt").read_text() == "second\n"
    first, second = (task_files.read_result(task, n) for n in (1, 2))
    assert first is not None
    assert second is not None
    assert (first.exit_code, second.exit_code) == (1, 0)


def test_sigterm_reaches_the_command(task: Path) -> None:
    """The command gets SIGTERM, may clean up, and its exit code is recorded."""
    process = _start(task, 'trap "echo bye; exit 9" TERM; echo ready; while :; do sleep 0.1; done')
    deadline = time.monotonic() + 60
    while "ready" not in _read(task / "stdout.txt"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.terminate()
    assert process.wait(timeout=60) == 9
    assert "bye" in (task / "stdout.txt").read_text()
    result = task_files.read_result(task, 1)
    assert result is not None
    assert result.exit_code == 9


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def test_a_child_of_an_array_finds_its_task(task: Path) -> None:
    """In an array job the manifest's line of the child's index names directory and attempt."""
    manifest = task / "manifest"
    manifest.write_text(f"/elsewhere\t\n{task}\t2\n/nowhere\t3\n")
    code, _, _ = _run(
        task,
        'echo "$MINIWDL_CLOUD_TASK_DIR|$MINIWDL_CLOUD_TRY"',
        MINIWDL_CLOUD_MANIFEST=str(manifest),
        MINIWDL_CLOUD_TASK_DIR="",
        AWS_BATCH_JOB_ARRAY_INDEX="1",
    )
    assert code == 0
    assert (task / "stdout2.txt").read_text() == f"{task}|2\n"


def test_a_killed_command_is_reported_as_bash_does(task: Path) -> None:
    """A command that dies of a signal ends in 128 and the signal's number."""
    assert _run(task, "kill -9 $$")[0] == 137


def test_a_missing_filesystem_is_said(task: Path) -> None:
    """Where the shared filesystem is not there, the log and the exit code say so."""
    (task / "work").rmdir()
    code, _, err = _run(task, "true")
    assert code == FILESYSTEM_FAILS
    assert "shared filesystem" in err


def test_sync_is_harmless(task: Path) -> None:
    """With container_sync the task's files are flushed, odd names included."""
    code, _, _ = _run(task, "echo x > 'a b'; mkdir d; echo y > d/c", MINIWDL_CLOUD_SYNC="1")
    assert code == 0


def test_the_script_is_short() -> None:
    """It travels in every DescribeJobs answer, a hundred times a call."""
    assert len(task_files.task_script()) < 3200
    assert "#" not in task_files.task_script().splitlines()[0]


def test_no_result_before_the_start(task: Path) -> None:
    """A task that never began has no result; one that was cut short has no exit code."""
    assert task_files.read_result(task, 1) is None
    task_files.status_file(task, 1).write_text("start=12.5\n")
    result = task_files.read_result(task, 1)
    assert result is not None
    assert (result.start, result.exit_code) == (12.5, None)


def test_a_second_job_of_the_same_task_stands_down(task: Path) -> None:
    """Of two jobs the first runs the task; the other touches nothing and says why it ends."""
    assert _run(task, "echo once", AWS_BATCH_JOB_ID="one")[0] == 0
    before = {path: path.read_bytes() for path in task.iterdir() if path.is_file()}
    code, _, err = _run(task, "echo once", AWS_BATCH_JOB_ID="two")
    assert code == STOOD_DOWN
    assert "another job has this task: " in err
    assert "held by one" in err
    assert {path: path.read_bytes() for path in task.iterdir() if path.is_file()} == before
    assert task_files.holds("one", task_files.close_attempt(task, 1))


def test_a_job_that_is_started_again_keeps_its_claim(task: Path) -> None:
    """ECS may start a job's container a second time, elsewhere: the same job may go on."""
    for _ in range(2):
        assert _run(task, "true", AWS_BATCH_JOB_ID="one:7")[0] == 0


def test_of_many_jobs_at_once_one_runs(task: Path) -> None:
    """Eight jobs that begin together make one run of the command."""
    processes = [_start(task, "echo ran", AWS_BATCH_JOB_ID=f"job-{i}") for i in range(8)]
    for process in processes:
        process.communicate(timeout=60)
    codes = sorted(process.returncode for process in processes)
    assert codes == [0] + [STOOD_DOWN] * 7
    assert (task / "stdout.txt").read_text() == "ran\n"
    winner = next(i for i, process in enumerate(processes) if process.returncode == 0)
    assert task_files.close_attempt(task, 1) == f"job-{winner}"


def test_a_closed_attempt_is_begun_by_no_job(task: Path) -> None:
    """Once the engine has given an attempt up, a job that comes late does nothing."""
    assert task_files.close_attempt(task, 1) == task_files.CLOSED
    assert task_files.close_attempt(task, 1) == task_files.CLOSED
    assert _run(task, "echo late", AWS_BATCH_JOB_ID="late")[0] == STOOD_DOWN
    assert not (task / "stdout.txt").exists()
    assert _run(task, "echo next", attempt=2, AWS_BATCH_JOB_ID="next")[0] == 0


def test_what_no_job_id_is_known_for_is_anyones(task: Path) -> None:
    """Where a container knows no job id, as on ECS, its claim is taken for the job's own."""
    assert _run(task, "true", ECS_CONTAINER_METADATA_URI_V4="http://169.254.170.2/v4/abc-1")[0] == 0
    claim = task_files.close_attempt(task, 1)
    assert claim == "@abc-1"
    assert task_files.holds("arn:aws:ecs:us-east-1:123456789012:task/tasks/abc", claim)
    assert not task_files.holds("one", "two")
    assert not task_files.holds("one", task_files.CLOSED)


def test_a_filesystem_that_comes_late_is_waited_for(task: Path) -> None:
    """The working directory and the manifest may appear a moment after the job has started."""
    (task / "work").rmdir()
    manifest = task / "manifest"
    process = _start(
        task,
        "echo there",
        MINIWDL_CLOUD_MANIFEST=str(manifest),
        MINIWDL_CLOUD_TASK_DIR="",
        AWS_BATCH_JOB_ARRAY_INDEX="0",
    )
    (task / "work").mkdir()
    manifest.with_name("new").write_text(f"{task}\t\n")
    manifest.with_name("new").rename(manifest)
    assert process.communicate(timeout=60)[1] == ""
    assert (task / "stdout.txt").read_text() == "there\n"


@pytest.fixture
def small_filesystem(tmp_path: Path) -> Iterator[Path]:
    """A filesystem of 64 KiB, mounted for one test."""
    place = tmp_path / "small"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)], capture_output=True
    )
    if made.returncode != 0:
        pytest.skip("tier mount: a small filesystem can be mounted only where this user may mount")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_full_filesystem_is_said(small_filesystem: Path, when: str) -> None:
    """Without room for its record, the job's exit code and log say that the filesystem is full."""
    task = small_filesystem / "task"
    (task / "work").mkdir(parents=True)
    filling = f"cat /dev/zero > {small_filesystem}/filler 2>/dev/null"
    command = "true" if when == "before" else f"{filling}; true"
    (task / "command").write_text(command)
    if when == "before":
        subprocess.run(["/bin/bash", "-c", filling], check=False)
    process = subprocess.run(
        ["/bin/bash", "-c", task_files.task_script()],
        env={
            "PATH": os.environ["PATH"],
            "MINIWDL_CLOUD_TASK_DIR": str(task),
            "MINIWDL_CLOUD_SHELL": "/bin/bash",
            "AWS_BATCH_JOB_ID": "one",
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert process.returncode == FILESYSTEM_FULL
    assert "the shared filesystem is full" in process.stderr
    with pytest.raises(FilesystemFull, match=f"at {small_filesystem} is full"):
        task_files.write_environment(task, {"BIG": "x" * 100_000})
