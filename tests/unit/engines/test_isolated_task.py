"""What an isolated task sees, and how its inputs get there."""

from __future__ import annotations

import errno
import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest

from miniwdl_cloud.engines import task_files
from miniwdl_cloud.engines.attempt_files import AttemptFiles, Tampered
from miniwdl_cloud.engines.isolation import IsolatedTask, check_privileges, isolation_of
from miniwdl_cloud.engines.task_trees import LINKS_MOST, link_out_of, read_tree
from miniwdl_cloud.errors import ConfigurationError, UsageError
from miniwdl_cloud.filesystems.efs import Efs
from miniwdl_cloud.filesystems.host_mount import HostMount
from miniwdl_cloud.filesystems.isolation import VOLUMES_MOST

LOG = logging.getLogger("test")


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A task's run directory."""
    made = tmp_path / "run" / "call-t"
    (made / "work").mkdir(parents=True)
    return made


@pytest.fixture
def task(tmp_path: Path, run_dir: Path) -> IsolatedTask:
    """An isolated task on a filesystem that the host mounts."""
    made = IsolatedTask(run_dir, 1, HostMount(str(tmp_path)))
    made.make(())
    return made


def _files(directory: Path, *names: str) -> list[Path]:
    directory.mkdir(parents=True, exist_ok=True)
    for name in names:
        (directory / name).write_text(name)
    return [directory / name for name in names]


def _file_inputs(run_dir: Path, files: list[Path]) -> dict[str, str]:
    return {str(f): f"{run_dir}/work/_miniwdl_inputs/0/{f.name}" for f in files}


def _views(task: IsolatedTask) -> dict[str, tuple[str, bool]]:
    """By path in the container: source, and whether it is read-only."""
    sources = {v["name"]: v["host"]["sourcePath"] for v in task.filesystem.volumes()}
    return {
        m["containerPath"]: (sources[m["sourceVolume"]], m["readOnly"])
        for m in task.filesystem.mount_points()
    }


def _no_links(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", refuse)


def test_a_file_is_a_hard_link_behind_a_read_only_mount(
    tmp_path: Path, run_dir: Path, task: IsolatedTask
) -> None:
    """The working directory has a link to it, beside which the command can write."""
    (file,) = _files(tmp_path / "data", "a b.bam")
    inputs = _file_inputs(run_dir, [file])
    task.provide(inputs, LOG)
    link = Path(inputs[str(file)])
    assert str(link.readlink()) == f"{run_dir}/inputs/0/a b.bam"
    assert link.samefile(file)
    assert _views(task) == {
        str(run_dir): (f"{run_dir}/job", False),
        f"{run_dir}/work": (f"{run_dir}/work", False),
        f"{run_dir}/inputs": (f"{run_dir}/inputs", True),
    }
    # Docker makes no mount point in what is mounted before it.
    assert (run_dir / "job" / "work").is_dir()
    assert (run_dir / "job" / "inputs").is_dir()
    task.remove_inputs()
    assert file.stat().st_nlink == 1


@pytest.mark.parametrize("code", [errno.EMLINK, errno.EXDEV, errno.EPERM])
def test_files_that_cannot_be_linked(
    tmp_path: Path,
    run_dir: Path,
    task: IsolatedTask,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Their directory is mounted if the task has all of it as input; else they are copied."""
    alone = _files(tmp_path / "alone", "ref.fa", "ref.fa.fai")
    (among,) = _files(tmp_path / "among", "mine", "not_mine")[:1]
    _no_links(monkeypatch, code)
    inputs = _file_inputs(run_dir, [*alone, among])
    with caplog.at_level(logging.INFO):
        task.provide(inputs, LOG)
    assert _views(task)[f"{tmp_path}/alone"] == (f"{tmp_path}/alone", True)
    assert f"{tmp_path}/among" not in _views(task)
    for file in alone:
        assert str(Path(inputs[str(file)]).readlink()) == str(file)
    copy = Path(inputs[str(among)])
    assert copy.read_text() == "mine"
    assert not copy.samefile(among)
    assert "input by a read-only volume" in caplog.text
    assert "input has to be copied" in caplog.text


def test_directories_are_trees_of_links(tmp_path: Path, run_dir: Path, task: IsolatedTask) -> None:
    """Any number of them takes one volume, at the directory that contains them all."""
    inputs = {}
    for i in range(50):
        _files(tmp_path / "calls" / str(i) / "d", "file")
        (tmp_path / "calls" / str(i) / "d" / "link").symlink_to("file")
        inputs[f"{tmp_path}/calls/{i}/d/"] = f"{tmp_path}/calls/{i}/d/"
    task.provide(inputs, LOG)
    source, read_only = _views(task)[f"{tmp_path}/calls"]
    assert read_only
    assert len(_views(task)) == 3
    assert Path(source, "7/d/file").samefile(tmp_path / "calls/7/d/file")
    assert str(Path(source, "7/d/link").readlink()) == "file"


def test_the_run_directory_is_within_what_contains_the_directories(
    tmp_path: Path, run_dir: Path, task: IsolatedTask
) -> None:
    """Then the mount point of the run directory is in their tree."""
    _files(tmp_path / "a", "f")
    _files(tmp_path / "run" / "b", "f")
    task.provide({f"{tmp_path}/{d}/": f"{tmp_path}/{d}/" for d in ("a", "run/b")}, LOG)
    source, _read_only = _views(task)[str(tmp_path)]
    assert Path(source, "run/call-t").is_dir()
    order = [m["containerPath"] for m in task.filesystem.mount_points()]
    assert order.index(str(tmp_path)) < order.index(str(run_dir))


def test_a_large_directory_is_mounted_itself(
    tmp_path: Path, run_dir: Path, task: IsolatedTask
) -> None:
    """Above some number of files; a directory in there needs nothing more."""
    _files(tmp_path / "big", *map(str, range(LINKS_MOST + 1)))
    _files(tmp_path / "big" / "sub", "f")
    task.provide({f"{tmp_path}/{d}/": f"{tmp_path}/{d}/" for d in ("big", "big/sub")}, LOG)
    assert _views(task)[f"{tmp_path}/big"] == (f"{tmp_path}/big", True)
    assert len(_views(task)) == 3


def test_a_directory_by_another_name(tmp_path: Path, run_dir: Path, task: IsolatedTask) -> None:
    """It is mounted at that name in the working directory; if that cannot be, it is copied."""
    _files(tmp_path / "d", "f")
    inside = f"{run_dir}/work/_miniwdl_inputs"
    for name in ("x", "y"):
        (tmp_path / name).symlink_to("d")
    task.provide({f"{tmp_path}/x/": f"{inside}/0/x/", f"{tmp_path}/y/": f"{inside}/0/a b/"}, LOG)
    source, read_only = _views(task)[f"{inside}/0/x"]
    assert read_only
    assert Path(source, "f").samefile(tmp_path / "d" / "f")
    assert Path(inside, "0/a b/f").read_text() == "f"
    assert not Path(inside, "0/a b/f").samefile(tmp_path / "d" / "f")


def test_volumes_stay_few_enough(
    tmp_path: Path, run_dir: Path, task: IsolatedTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What finds no room among the volumes of a job definition is copied."""
    files = [f for i in range(200) for f in _files(tmp_path / f"d{i}", f"f{i}")]
    _no_links(monkeypatch, errno.EMLINK)
    inputs = _file_inputs(run_dir, files)
    task.provide(inputs, LOG)
    filesystem = task.filesystem
    size = len(json.dumps([filesystem.volumes(), filesystem.mount_points()]))
    assert VOLUMES_MOST / 2 < size <= VOLUMES_MOST
    assert all(Path(inputs[str(file)]).read_text() == file.name for file in files)


def test_links_that_lead_out_of_a_directory_are_refused(tmp_path: Path) -> None:
    """To files or to directories, whichever way they are written; others are kept."""
    _files(tmp_path / "d" / "sub", "f")
    (tmp_path / "d" / "in").symlink_to(tmp_path / "d" / "sub")
    assert read_tree(f"{tmp_path}/d/").links == {Path("in"): "sub"}
    assert link_out_of(f"{tmp_path}/d/") is None
    (tmp_path / "d" / "sub" / "out").symlink_to("../../elsewhere")
    assert link_out_of(f"{tmp_path}/d/") == "sub/out"
    with pytest.raises(UsageError, match="has a link, sub/out, that leads out of it"):
        read_tree(f"{tmp_path}/d/")


@pytest.mark.parametrize("name", ["a b", "a:b", "a,b"])
def test_a_run_directory_that_cannot_be_a_mount_point(tmp_path: Path, name: str) -> None:
    """ECS separates source and target by a colon."""
    directory = tmp_path / name
    directory.mkdir()
    with pytest.raises(ConfigurationError, match="choose a run directory"):
        IsolatedTask(directory, 1, HostMount(str(tmp_path))).make(())


def test_efs_volumes_have_a_root_directory_and_no_access_point() -> None:
    """With an access point, ECS takes no root directory: its own root is put before the path, and
    its user runs the job."""
    efs = Efs("/mnt/efs", "fs-1", "fsap-1", root="/miniwdl", owner="1000:1000", iam=True)
    assert efs.directory("v", "/mnt/efs/run/job") == {
        "name": "v",
        "efsVolumeConfiguration": {
            "fileSystemId": "fs-1",
            "rootDirectory": "/miniwdl/run/job",
            "transitEncryption": "ENABLED",
            "authorizationConfig": {"iam": "ENABLED"},
        },
    }
    assert efs.volumes()[0]["efsVolumeConfiguration"]["authorizationConfig"] == {
        "accessPointId": "fsap-1",
        "iam": "ENABLED",
    }
    with pytest.raises(ConfigurationError, match="allow elasticfilesystem:DescribeAccessPoints"):
        Efs("/mnt/efs", "fs-1", "fsap-1", root=None).directory("v", "/mnt/efs/run")


@pytest.mark.parametrize(
    ("runtime", "setting", "isolation"),
    [
        ({}, "shared", "shared"),
        ({}, "strict", "strict"),
        ({"isolation": "strict"}, "shared", "strict"),
        ({"isolation": "shared"}, "strict", "strict"),
        ({"aws": {"isolation": "strict"}}, "shared", "strict"),
        ({"aws": {"isolation": "strict"}, "isolation": "shared"}, "shared", "strict"),
    ],
)
def test_the_stricter_counts(runtime: dict[str, Any], setting: str, isolation: str) -> None:
    """A task may ask for more isolation than the deployment has, never for less."""
    assert isolation_of(runtime, setting) == isolation


@pytest.mark.parametrize(
    "runtime",
    [
        {"isolation": "string"},
        {"isolation": 1},
        {"aws": "strict"},
        {"aws": {"isolation": "x"}},
    ],
)
def test_other_words_are_refused(runtime: dict[str, Any]) -> None:
    """A misspelt isolation does not pass for none."""
    with pytest.raises(UsageError, match="only"):
        isolation_of(runtime, "shared")


def test_privileges_are_refused() -> None:
    """Privileged containers and devices could undo mounts."""
    check_privileges({}, {"linuxParameters": {"initProcessEnabled": True}})
    with pytest.raises(ConfigurationError, match="privileged"):
        check_privileges({"privileged": True}, {})
    with pytest.raises(ConfigurationError, match="devices"):
        check_privileges({}, {"linuxParameters": {"devices": [{"hostPath": "/dev/sda"}]}})


def test_streams_have_one_name_each_in_the_end(tmp_path: Path, run_dir: Path) -> None:
    """While the job runs they are the same files in its directory, so that they can be followed;
    what it has put in their place is taken away."""
    streams = (run_dir / "stdout.txt", run_dir / "stderr.txt")
    files = AttemptFiles(run_dir, 1, streams, HostMount(str(tmp_path)), True, LOG)
    with files:
        files.write("true", {}, {})
        with (files.directory / "stdout.txt").open("a") as stdout:
            stdout.write("said")
        assert streams[0].read_text() == "said"
    assert streams[0].stat().st_nlink == 1
    assert not (files.directory / "stdout.txt").exists()


@pytest.mark.parametrize("isolated", [True, False])
def test_what_a_task_replaces_is_put_right(tmp_path: Path, run_dir: Path, isolated: bool) -> None:
    """Links, named pipes and missing files become empty files, and the task fails."""
    streams = (run_dir / "stdout.txt", run_dir / "stderr.txt")
    files = AttemptFiles(run_dir, 1, streams, HostMount(str(tmp_path)), isolated, LOG)
    with pytest.raises(Tampered, match=r"in the place of its stdout\.txt and stderr\.txt"), files:
        files.write("true", {}, {})
        (files.directory / "stdout.txt").unlink()
        (files.directory / "stdout.txt").symlink_to("/etc/passwd")
        (files.directory / "stderr.txt").unlink()
        os.mkfifo(files.directory / "stderr.txt")
    assert [stream.read_bytes() for stream in streams] == [b"", b""]
    with pytest.raises(KeyError), files:
        (files.directory / "stdout.txt").unlink(missing_ok=True)
        (files.directory / "stdout.txt").symlink_to("/etc/passwd")
        raise KeyError  # what went wrong first is told


@pytest.mark.parametrize("kind", ["link", "pipe", "directory", "long"])
def test_a_record_that_is_none(tmp_path: Path, kind: str) -> None:
    """A record is read neither through a link nor from a named pipe, and not without end."""
    path = task_files.status_file(tmp_path, 1)
    if kind == "link":
        (tmp_path / "x").write_text("exit_code=0\n")
        path.symlink_to("x")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    else:
        path.write_text("x" * 100_000 + "\nexit_code=0\n")
    found = task_files.read_result(tmp_path, 1)
    assert found is None or found.exit_code is None
