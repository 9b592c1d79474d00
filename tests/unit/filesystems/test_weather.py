"""File steps in bad weather, with errors injected and no time passing."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from miniwdl_cloud.engines import task_files, task_inputs
from miniwdl_cloud.errors import FilesystemFull
from miniwdl_cloud.filesystems.weather import (
    FULL,
    PASSING,
    PAUSES,
    awaited,
    retried,
    write_file_atomically,
)
from miniwdl_cloud.jobs.outcome import TaskResult


class Sleeps:
    """Counts the seconds that would have passed; may do something at each pause."""

    def __init__(self, at_pause: Callable[[int], None] | None = None) -> None:
        self.pauses: list[float] = []
        self._at_pause = at_pause

    def __call__(self, seconds: float) -> None:
        self.pauses.append(seconds)
        if self._at_pause:
            self._at_pause(len(self.pauses))


def failing(times: int, number: int) -> Callable[[], str]:
    """A step that fails some times, then succeeds."""
    left = [times]

    def step() -> str:
        if left[0] > 0:
            left[0] -= 1
            raise OSError(number, os.strerror(number))
        return "done"

    return step


@pytest.mark.parametrize("number", sorted(PASSING))
def test_what_passes_is_tried_again(tmp_path: Path, number: int) -> None:
    """A step that fails four times of something that passes is done at the fifth try."""
    sleeps = Sleeps()
    assert retried(failing(4, number), tmp_path, sleep=sleeps) == "done"
    assert tuple(sleeps.pauses) == PAUSES


def test_patience_is_short(tmp_path: Path) -> None:
    """After five tries and three seconds the error comes out."""
    sleeps = Sleeps()
    with pytest.raises(OSError, match="Stale"):
        retried(failing(5, errno.ESTALE), tmp_path, sleep=sleeps)
    assert 2 < sum(sleeps.pauses) < 5


def test_other_errors_come_out_at_once(tmp_path: Path) -> None:
    """A step that is not allowed is not tried again."""
    sleeps = Sleeps()
    with pytest.raises(PermissionError):
        retried(failing(1, errno.EACCES), tmp_path, sleep=sleeps)
    assert sleeps.pauses == []


@pytest.mark.parametrize("number", sorted(FULL))
def test_full_is_said_at_once(tmp_path: Path, number: int) -> None:
    """A full disk or quota is one sentence that names the filesystem and what to do."""
    sleeps = Sleeps()
    with pytest.raises(FilesystemFull) as caught:
        retried(failing(1, number), tmp_path / "file", sleep=sleeps)
    assert caught.value.message.startswith("The shared filesystem at /")
    assert "delete what is not needed" in caught.value.message
    assert caught.value.more_info == {"path": str(tmp_path / "file")}
    assert sleeps.pauses == []


def test_an_atomic_write_is_repeated_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rename that fails is tried again; afterwards there is the file and nothing else."""
    replace, left = Path.replace, [2]

    def flaky(self: Path, target: Path) -> Path:
        if left[0]:
            left[0] -= 1
            raise FileNotFoundError(errno.ENOENT, "gone")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", flaky)
    write_file_atomically("text", tmp_path / "file", sleep=Sleeps())
    assert (tmp_path / "file").read_text() == "text\n"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.ESTALE])
def test_an_atomic_write_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The old file stays as it was, without a temporary one beside it."""
    path = tmp_path / "file"
    path.write_text("old\n")

    def refuse(self: Path, target: Path) -> Path:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises((OSError, FilesystemFull)):
        write_file_atomically("new", path, sleep=Sleeps())
    assert path.read_text() == "old\n"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_record_that_shows_late_is_awaited(tmp_path: Path) -> None:
    """The record of a job that has ended is looked for again, while it is missing or incomplete."""
    status = task_files.status_file(tmp_path, 1)

    def appear(pause: int) -> None:
        status.write_text("start=1\n" if pause == 1 else "start=1\nend=2\nexit_code=0\n")

    sleeps = Sleeps(appear)
    assert task_files.await_result(tmp_path, 1, sleeps) == TaskResult(0, None, 1.0, 2.0)
    assert len(sleeps.pauses) == 2


def test_a_record_without_an_end_is_taken_as_it_is(tmp_path: Path) -> None:
    """A job that was killed has a beginning and no end, however long one looks."""
    task_files.status_file(tmp_path, 1).write_text("start=1\n")
    sleeps = Sleeps()
    assert task_files.await_result(tmp_path, 1, sleeps) == TaskResult(start=1.0)
    assert tuple(sleeps.pauses) == PAUSES


def test_a_look_that_fails_is_repeated(tmp_path: Path) -> None:
    """A stale handle while looking is weather; a look that is not allowed is an error."""
    assert awaited(failing(3, errno.ESTALE), tmp_path, Sleeps()) == "done"
    assert awaited(failing(9, errno.ENOENT), tmp_path, Sleeps()) is None
    with pytest.raises(PermissionError):
        awaited(failing(1, errno.EACCES), tmp_path, Sleeps())


def test_a_rename_whose_answer_was_lost_has_happened(tmp_path: Path) -> None:
    """A working directory that is aside already is not missed."""
    work, aside = tmp_path / "work", tmp_path / "work.try1"
    work.mkdir()
    task_files.put_aside(work, aside)
    task_files.put_aside(work, aside)
    assert aside.is_dir()


def test_links_to_inputs_survive_weather(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link that was made although the answer says otherwise is made once more."""
    host, inside = tmp_path / "in", tmp_path / "linked"
    host.mkdir()
    (host / "a").write_text("a")
    link, left = os.link, [1]

    def flaky(source: str, target: str) -> None:
        link(source, target)
        if left[0]:
            left[0] -= 1
            raise OSError(errno.ESTALE, "stale")

    monkeypatch.setattr(os, "link", flaky)
    monkeypatch.setattr("miniwdl_cloud.filesystems.weather.time.sleep", lambda seconds: None)
    task_inputs._link_or_copy_retried(str(host / "a"), str(inside))
    assert inside.read_text() == "a"
    assert inside.stat().st_nlink == 2
