"""The task script, run by the bash of this machine."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from miniwdl_cloud.engines import task_files


@pytest.fixture
def task(tmp_path: Path) -> Path:
    """A task's run directory."""
    (tmp_path / "work").mkdir()
    return tmp_path


def _start(task: Path, command: str, attempt: int = 1, **env: str) -> subprocess.Popen[str]:
    (task / "command").write_text(command)
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
    """Where the shared filesystem is not there, the log says so and the exit code is 125."""
    (task / "work").rmdir()
    code, _, err = _run(task, "true")
    assert code == 125
    assert "shared filesystem" in err


def test_sync_is_harmless(task: Path) -> None:
    """With container_sync the task's files are flushed, odd names included."""
    code, _, _ = _run(task, "echo x > 'a b'; mkdir d; echo y > d/c", MINIWDL_CLOUD_SYNC="1")
    assert code == 0


def test_the_script_is_short() -> None:
    """It travels in every DescribeJobs answer, a hundred times a call."""
    assert len(task_files.task_script()) < 2000
    assert "#" not in task_files.task_script().splitlines()[0]


def test_no_result_before_the_start(task: Path) -> None:
    """A task that never began has no result; one that was cut short has no exit code."""
    assert task_files.read_result(task, 1) is None
    task_files.status_file(task, 1).write_text("start=12.5\n")
    result = task_files.read_result(task, 1)
    assert result is not None
    assert (result.start, result.exit_code) == (12.5, None)
