"""The process executor by itself."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from miniwdl_cloud.emulator.executors import process as module
from miniwdl_cloud.emulator.executors.base import ContainerExit, ContainerSpec, Mount
from miniwdl_cloud.emulator.executors.lines import LINE_LIMIT
from miniwdl_cloud.emulator.executors.process import ProcessExecutor

PATIENCE_S = 60.0


class Watched:
    """A container and what was heard of it."""

    def __init__(self, executor: ProcessExecutor, spec: ContainerSpec) -> None:
        self.started = threading.Event()
        self.ended = threading.Event()
        self.lines: list[str] = []
        self.exits: list[ContainerExit] = []
        self.handle = executor.start(spec, self.started.set, self.lines.append, self._on_exit)

    def _on_exit(self, result: ContainerExit) -> None:
        self.exits.append(result)
        self.ended.set()

    def wait(self) -> ContainerExit:
        """How it ended."""
        assert self.ended.wait(PATIENCE_S), "it does not end"
        (result,) = self.exits
        return result

    def wait_line(self) -> str:
        """Its first line."""
        wait_until(lambda: bool(self.lines))
        return self.lines[0]


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, not forever."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def spec(*command: str, environment: dict[str, str] | None = None) -> ContainerSpec:
    """A container that runs a command."""
    return ContainerSpec("name", "image", command, environment or {})


def is_alive(pid: int) -> bool:
    """Whether a process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture(params=["pidfd", "poll"])
def executor(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ProcessExecutor]:
    """An executor, also as on a kernel without pidfd_open."""
    if request.param == "poll":
        monkeypatch.delattr(os, "pidfd_open")
    running = ProcessExecutor(tmp_path / "scratch")
    yield running
    running.close()


def test_output_and_exit(executor: ProcessExecutor) -> None:
    """Lines of both streams arrive in order, also an empty and an unfinished one."""
    run = Watched(executor, spec("sh", "-c", "echo a; echo >&2; printf 'b\\r\\nc'; exit 3"))
    assert run.wait() == ContainerExit(3)
    assert run.started.is_set()
    assert run.lines == ["a", "", "b", "c"]


def test_bytes_that_are_not_utf8(executor: ProcessExecutor) -> None:
    """Odd bytes do not stop the log."""
    run = Watched(executor, spec("printf", "\\377x\\n"))
    run.wait()
    assert run.lines == ["\ufffdx"]


def test_long_lines_are_split(executor: ProcessExecutor) -> None:
    """A line over the limit comes in parts, and nothing is lost."""
    size = 3 * LINE_LIMIT + 5
    run = Watched(executor, spec("sh", "-c", f"head -c {size} /dev/zero | tr '\\0' x; echo"))
    run.wait()
    assert all(len(line) <= LINE_LIMIT for line in run.lines)
    assert "".join(run.lines) == "x" * size


def test_much_output(executor: ProcessExecutor) -> None:
    """Two hundred thousand lines all arrive."""
    run = Watched(executor, spec("seq", "200000"))
    run.wait()
    assert run.lines == [str(number) for number in range(1, 200_001)]


def test_exit_by_signal(executor: ProcessExecutor) -> None:
    """A signal is 128 and its number, as Docker reports it."""
    run = Watched(executor, spec("sh", "-c", "kill -TERM $$"))
    assert run.wait().exit_code == 143


def test_stop_is_polite_first(executor: ProcessExecutor) -> None:
    """SIGTERM comes first and can be handled."""
    script = "trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done"
    run = Watched(executor, spec("sh", "-c", script))
    run.wait_line()
    run.handle.stop(PATIENCE_S)
    assert run.wait().exit_code == 9


def test_stop_kills_the_group(executor: ProcessExecutor) -> None:
    """SIGKILL follows after the grace time, for children too."""
    script = "trap '' TERM; sleep 300 & echo $!; wait; sleep 300"
    run = Watched(executor, spec("bash", "-c", script))
    child = int(run.wait_line())
    run.handle.stop(0.1)
    assert run.wait().exit_code == 137
    wait_until(lambda: not is_alive(child))
    run.handle.stop(0.1)


def test_leftover_children_are_killed(executor: ProcessExecutor) -> None:
    """What a command leaves running in the background ends with it."""
    run = Watched(executor, spec("sh", "-c", "sleep 300 & echo $!"))
    assert run.wait().exit_code == 0
    wait_until(lambda: not is_alive(int(run.lines[0])))


def test_late_output_of_children(executor: ProcessExecutor) -> None:
    """A pipe that is still being emptied when the command ends gets its last words in."""
    run = Watched(executor, spec("bash", "-c", "echo words > >(cat)"))
    run.wait()
    assert run.lines == ["words"]


def test_directories(executor: ProcessExecutor, tmp_path: Path) -> None:
    """Working directory and TMPDIR are private, and removed at the end."""
    run = Watched(executor, spec("sh", "-c", "touch f $TMPDIR/g; pwd; echo $TMPDIR"))
    run.wait()
    working, temporary = map(Path, run.lines)
    assert working.is_relative_to(tmp_path) and temporary.is_relative_to(tmp_path)
    wait_until(lambda: not working.exists() and not temporary.exists())


def test_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command sees its container's variables, and of ours only what a machine has."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "ours")
    monkeypatch.setenv("LANG", "C.UTF-8")
    executor = ProcessExecutor(tmp_path)
    run = Watched(executor, spec("env", environment={"A": "b"}))
    run.wait()
    executor.close()
    assert "A=b" in run.lines and "LANG=C.UTF-8" in run.lines
    assert not [line for line in run.lines if line.startswith("AWS_SECRET")]


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "executable file not found in $PATH"), ("#!/bin/sh\n", "permission denied")],
)
def test_cannot_start(
    executor: ProcessExecutor, tmp_path: Path, content: str | None, reason: str
) -> None:
    """A command that cannot be started has no exit code and Docker's reason."""
    command = tmp_path / "command"
    if content:
        command.write_text(content)
    run = Watched(executor, spec(str(command)))
    result = run.wait()
    assert not run.started.is_set()
    assert result.exit_code is None
    assert result.reason == f'CannotStartContainerError: exec: "{command}": {reason}: unknown'
    run.handle.stop(1)


def test_no_command(executor: ProcessExecutor) -> None:
    """Without an image there is no default command."""
    assert "needs a command" in str(Watched(executor, spec()).wait().reason)


def test_mounts(executor: ProcessExecutor, tmp_path: Path) -> None:
    """A mount onto itself is there already, also by way of a link; another is refused."""
    directory, link = tmp_path / "directory", tmp_path / "link"
    directory.mkdir()
    link.symlink_to(directory)
    for target, works in ((directory, True), (link, True), (tmp_path / "other", False)):
        mounts = (Mount(directory, str(target)),)
        run = Watched(executor, ContainerSpec("n", "i", ("true",), {}, mounts))
        result = run.wait()
        assert (result.exit_code == 0) is works
        assert works or f"--filesystem {target}" in str(result.reason)


def test_many_at_once(executor: ProcessExecutor) -> None:
    """Hundreds of processes run at the same time."""
    command = spec("sh", "-c", "echo up; exec sleep 300")
    runs = [Watched(executor, command) for _ in range(300)]
    for run in runs:
        run.wait_line()
    assert not any(run.ended.is_set() for run in runs)
    for run in runs:
        run.handle.stop(PATIENCE_S)
    assert {run.wait().exit_code for run in runs} == {143}


def test_close(tmp_path: Path) -> None:
    """Closing kills what runs, tells of it, removes its files, and may be repeated."""
    executor = ProcessExecutor(tmp_path / "scratch")
    runs = [Watched(executor, spec("sh", "-c", "echo $$; sleep 300")) for _ in range(3)]
    pids = [int(run.wait_line()) for run in runs]
    executor.close()
    assert [run.wait().exit_code for run in runs] == [137] * 3
    assert not any(is_alive(pid) for pid in pids)
    assert list((tmp_path / "scratch").iterdir()) == []
    executor.close()


def test_inherits_no_credentials() -> None:
    """The list of inherited variables names no settings and no credentials."""
    assert not [
        name
        for name in module.INHERITED
        if name.startswith(("AWS_", "MINIWDL")) and name != "AWS_CA_BUNDLE"
    ]
