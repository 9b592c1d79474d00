"""How inputs reach a task, over links of every kind."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import WDL
from WDL.runtime.task_container import TaskContainer

from miniwdl_cloud.engines import task_inputs
from miniwdl_cloud.miniwdl_compat import SharedPathsMixin


class Container(SharedPathsMixin, TaskContainer):  # type: ignore[misc]
    """A container that never runs."""

    def __init__(self, host_dir: Path) -> None:
        super().__init__(None, "run", str(host_dir))
        self.container_dir = self.host_dir

    def _run(self, logger: Any, terminating: Any, command: str) -> int:
        return 0


@pytest.fixture
def container(tmp_path: Path) -> Container:
    """A container whose run directory is beside the inputs."""
    return Container(tmp_path / "run")


def _provide(container: Container) -> None:
    task_inputs.provide(
        container.input_path_map, container.host_work_dir(), logging.getLogger("test")
    )


def _find(directory: str) -> set[str]:
    found = subprocess.run(
        ["find", directory.rstrip("/"), "-type", "f", "-printf", "%P\n"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(found.stdout.splitlines())


def test_a_file_is_linked_into_the_task(tmp_path: Path, container: Container) -> None:
    """What a command writes beside an input lands in its own directory, not beside the original."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a b.bam").write_text("x")
    container.add_paths([str(tmp_path / "in" / "a b.bam")])
    _provide(container)
    inside = Path(container.input_path_map[str(tmp_path / "in" / "a b.bam")])
    assert inside.read_text() == "x"
    inside.with_suffix(".bai").write_text("index")
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["a b.bam"]


def test_colliding_names_are_kept_apart(tmp_path: Path, container: Container) -> None:
    """Two inputs of one name do not hide each other."""
    paths = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_text(name)
        paths.append(str(tmp_path / name / "x"))
    container.add_paths(paths)
    _provide(container)
    assert {Path(container.input_path_map[p]).read_text() for p in paths} == {"one", "two"}


def test_a_directory_that_is_a_link_shows_its_files(tmp_path: Path, container: Container) -> None:
    """`find DIR -type f` sees the files of a Directory that reaches the task as a link."""
    (tmp_path / "work" / "ref").mkdir(parents=True)
    (tmp_path / "work" / "ref" / "a").write_text("a")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "ref").symlink_to("../work/ref")
    container.add_paths([f"{tmp_path}/out/ref/"])
    _provide(container)
    inside = container.input_path_map[f"{tmp_path}/out/ref/"]
    assert _find(inside) == {"a"}


def test_a_renamed_directory_keeps_the_name_it_was_given(
    tmp_path: Path, container: Container
) -> None:
    """A Directory linked under another name has that name in the task, and shows its files."""
    (tmp_path / "v2" / "sub").mkdir(parents=True)
    (tmp_path / "v2" / "a").write_text("a")
    (tmp_path / "v2" / "sub" / "b").write_text("b")
    (tmp_path / "current").symlink_to("v2")
    container.add_paths([f"{tmp_path}/current/"])
    _provide(container)
    inside = container.input_path_map[f"{tmp_path}/current/"]
    assert Path(inside).name == "current"
    assert _find(inside) == {"a", "sub/b"}


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EMLINK, errno.EPERM])
def test_files_are_copied_where_they_cannot_be_linked(
    tmp_path: Path, container: Container, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Another filesystem, or EFS's limit of 177 links, makes a copy."""

    def refuse(*_: Any) -> None:
        raise OSError(code, "no")

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "v2").mkdir()
    (tmp_path / "v2" / "a").write_text("a")
    (tmp_path / "current").symlink_to("v2")
    container.add_paths([f"{tmp_path}/current/"])
    _provide(container)
    assert _find(container.input_path_map[f"{tmp_path}/current/"]) == {"a"}


def test_a_second_attempt_finds_its_inputs_again(tmp_path: Path, container: Container) -> None:
    """After a retry the links are there again, though the first attempt's directory is kept."""
    (tmp_path / "x").write_text("x")
    container.add_paths([str(tmp_path / "x")])
    _provide(container)
    Path(container.host_work_dir()).rename(tmp_path / "run" / "work.try1")
    Path(container.host_work_dir()).mkdir()
    _provide(container)
    assert Path(container.input_path_map[str(tmp_path / "x")]).read_text() == "x"


def test_files_of_an_input_directory_can_be_outputs(tmp_path: Path, container: Container) -> None:
    """A path below an input Directory maps back to the original, at any depth of the mount."""
    (tmp_path / "ref" / "sub").mkdir(parents=True)
    (tmp_path / "ref" / "sub" / "a").write_text("a")
    container.add_paths([f"{tmp_path}/ref/"])
    inside = container.input_path_map[f"{tmp_path}/ref/"]
    assert container.host_path(f"{inside}sub/a") == f"{tmp_path}/ref/sub/a"
    assert container.host_path(f"{inside}sub/") == f"{tmp_path}/ref/sub/"
    assert container.host_path(f"{inside}nope") is None


def test_links_do_not_lead_out_of_an_input_directory(tmp_path: Path, container: Container) -> None:
    """A link in an input Directory cannot make another file of the filesystem an output."""
    (tmp_path / "secret").write_text("s")
    (tmp_path / "ref").mkdir()
    (tmp_path / "ref" / "leak").symlink_to("../secret")
    container.add_paths([f"{tmp_path}/ref/"])
    inside = container.input_path_map[f"{tmp_path}/ref/"]
    with pytest.raises(WDL.Error.InputError):
        container.host_path(f"{inside}leak")


def test_outputs_outside_the_working_directory_are_refused(
    tmp_path: Path, container: Container
) -> None:
    """A path of the shared filesystem that is neither input nor work is no output."""
    (tmp_path / "other").write_text("o")
    with pytest.raises(WDL.runtime.error.OutputError):
        container.host_path(str(tmp_path / "other"))
