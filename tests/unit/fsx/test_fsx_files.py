"""Which files leave: never one outside, whatever links and names there are; and where they go."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stand_ins import FolderS3, collector, no_sleep

from miniwdl_cloud.aws.s3 import S3Uri
from miniwdl_cloud.errors import UsageError
from miniwdl_cloud.fsx.files import Collected, collect, shown
from miniwdl_cloud.fsx.method import Patience
from miniwdl_cloud.fsx.place import (
    Link,
    Mount,
    Place,
    find_place,
    is_said_to_be_fsx,
    may_be_fsx,
    mount_of,
)
from miniwdl_cloud.fsx.upload import Upload
from miniwdl_cloud.fsx.write_back import write_back
from miniwdl_cloud.runner.outputs import read_tree
from miniwdl_cloud.settings import Settings, mapping_source

NAMES = st.sampled_from(["a", "b", "c d", "é", "t\tb", "n\nl", "..x", "-r", "~", "%2e%2e", "\\"])
TARGETS = st.sampled_from(
    ["a", "b", "..", ".", "../a", "../../a", "../../outside", "/etc/hostname", "../mnt2/x", "c d/a"]
)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["file", "directory", "link", "link out", "link in"]),
        st.lists(NAMES, min_size=1, max_size=3),
        TARGETS,
    ),
    max_size=14,
)


def plant(top: Path, outside: Path, steps: Any) -> None:
    """Files, directories and links below a directory."""
    for kind, names, target in steps:
        path = top.joinpath(*names)
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            if kind == "file":
                path.write_text("inside")
            elif kind == "directory":
                path.mkdir()
            elif kind == "link":
                path.symlink_to(target)
            elif kind == "link out":
                path.symlink_to(outside)
            else:
                path.symlink_to(top)


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory for all examples."""
    return tmp_path_factory.mktemp("ground")


def fresh(ground: Path) -> tuple[Path, Path]:
    """An empty mount point, and a directory outside with a secret."""
    shutil.rmtree(ground)
    mount, outside = ground / "mnt", ground / "outside"
    mount.mkdir(parents=True)
    outside.mkdir()
    (ground / "mnt2").mkdir()
    for directory in (outside, ground / "mnt2", ground):
        (directory / "x").write_text("secret")
    return mount, outside


def send(collected: Collected, mount: Path, ground: Path) -> set[str]:
    """The contents that arrive in the bucket."""
    bucket = ground / "bucket"
    bucket.mkdir()
    s3: Any = FolderS3("bucket", bucket)
    place = Place(mount, (Link("", S3Uri("bucket", "fs/")),))
    patience = Patience(0, no_sleep)
    _, say = collector()
    report = write_back(collected, place, [Upload(s3, patience, say)], s3, patience, say)
    assert not report.failed
    assert all(path.is_relative_to(bucket / "fs") for path in bucket.rglob("*") if path.is_file())
    return {path.read_text() for path in bucket.rglob("*") if path.is_file()}


@given(STEPS)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_no_file_outside_the_mount_is_ever_sent(ground: Path, steps: Any) -> None:
    """Either all is refused, or what arrives is from inside, under canonical paths."""
    mount, outside = fresh(ground)
    plant(mount / "run", outside, steps)
    try:
        collected = collect([mount / "run"] if (mount / "run").exists() else [mount], mount)
    except UsageError as exn:
        assert "not on the shared filesystem" in exn.message
        assert "\n" not in exn.message
        return
    for file in collected.files:
        assert os.path.realpath(file.path) == str(file.path)
        assert file.path.is_relative_to(mount)
        assert not file.path.is_symlink()
    assert send(collected, mount, ground) <= {"inside"}


@given(STEPS)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_no_file_but_outputs_is_sent_for_a_run(ground: Path, steps: Any) -> None:
    """Of a run with a Directory output only what is in that directory leaves, whatever its links
    lead to: other files of the run, of other runs, or outside."""
    mount, outside = fresh(ground)
    work = mount / "run/call-t/work"
    (work / "folder").mkdir(parents=True)
    (work / "private").write_text("private")
    plant(work / "folder", outside, [*steps, ("link", ["p"], "../private")])
    out = mount / "run/out/folder"
    out.mkdir(parents=True)
    (out / "folder").symlink_to(work / "folder")
    tree = read_tree(mount / "run", mount)
    collected = collect([tree.out / name for name in tree.files], mount)
    for file in collected.files:
        assert file.path.is_relative_to(work / "folder")
    assert send(collected, mount, ground) <= {"inside"}


@given(st.text(alphabet=st.sampled_from("ab\\\t\n\r/x0é"), max_size=12))
@settings(derandomize=True, deadline=None)
def test_printed_paths_can_be_had_back(text: str) -> None:
    """What is printed has no tab or line break, and names one path only."""
    printed = shown(text)
    assert not set(printed) & set("\t\n\r")
    escapes = {"\\\\": "\\", "\\t": "\t", "\\n": "\n", "\\r": "\r"}
    back, rest = "", printed
    while rest:
        taken = rest[:2] if rest[:1] == "\\" else rest[:1]
        back += escapes.get(taken, taken)
        rest = rest[len(taken) :]
    assert back == text


MOUNTINFO = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
36 22 0:50 / {mount} rw,noatime shared:9 - lustre 10.0.1.2@tcp:/abcdefgh rw,flock
37 36 0:51 / {mount}/with\\040blank rw - tmpfs tmpfs rw
38 22 0:50 /sub {mount}2 rw - lustre 10.0.1.2@tcp:/abcdefgh/set rw
"""


class FakeFsx:
    """Answers of the FSx API."""

    def __init__(self) -> None:
        from miniwdl_cloud.aws.fsx import Association, FsxFileSystem

        self.found = FsxFileSystem("fs-1", "LUSTRE", "AVAILABLE", "vpc", "abcdefgh", None)
        self.linked = [
            Association("ns1", S3Uri("one", "a/")),
            Association("ns2/deep", S3Uri("two", "")),
        ]

    def by_mount_name(self, name: str) -> Any:
        return self.found if name == "abcdefgh" else None

    def file_system(self, name: str) -> Any:
        return self.found if name == "fs-1" else None

    def associations(self, name: str) -> Any:
        return self.linked


def test_a_mounted_file_system_is_found_by_its_mount_name(tmp_path: Path) -> None:
    """Without a word the API is asked for the file system that is mounted; each directory has its
    own link."""
    mount = tmp_path / "mnt"
    (mount / "with blank").mkdir(parents=True)
    Path(f"{mount}2").mkdir()
    table = tmp_path / "mountinfo"
    table.write_text(MOUNTINFO.format(mount=mount))
    fsx: Any = FakeFsx()
    place = find_place(mount, Settings(), lambda: fsx, table)
    assert (place.file_system, place.is_lustre) == ("fs-1", True)
    assert str(place.uri("ns1/x/y")) == "s3://one/a/x/y"
    assert str(place.uri("ns2/deep/z")) == "s3://two/z"
    assert place.uri("ns12/x") is None
    assert place.uri("other") is None
    assert may_be_fsx(mount, table)
    assert not is_said_to_be_fsx(mount, Settings())
    # A directory of it that is mounted by itself is known by where it is in the file system.
    fsx.linked = [type(fsx.linked[0])("", S3Uri("all", ""))]
    place = find_place(Path(f"{mount}2"), Settings(), lambda: fsx, table)
    assert str(place.uri("x")) == "s3://all/set/sub/x"
    found = mount_of(mount / "with blank", table)
    assert found is not None and found.kind == "tmpfs"
    assert not may_be_fsx(mount / "with blank", table)


def test_an_import_path_links_all(tmp_path: Path) -> None:
    """An older file system has one link, its export path."""
    import dataclasses

    fsx: Any = FakeFsx()
    fsx.found = dataclasses.replace(fsx.found, export_path="s3://bucket/export")
    given = Settings(mapping_source({("fsx_to_s3", "file_system"): "fs-1"}))
    place = find_place(tmp_path, given, lambda: fsx, tmp_path / "none")
    assert str(place.uri("a/b")) == "s3://bucket/export/a/b"


def test_the_file_stands_in_for_the_api(tmp_path: Path) -> None:
    """Who may not ask the API is told by the file at the mount point."""
    from miniwdl_cloud.errors import AccessDenied

    class Denied(FakeFsx):
        def file_system(self, name: str) -> Any:
            raise AccessDenied("no", {"httpStatus": 400})

    (tmp_path / ".s3_export_path").write_text("s3://bucket/folder\n")
    fsx: Any = Denied()
    given = Settings(mapping_source({("fsx_to_s3", "file_system"): "fs-1"}))
    place = find_place(tmp_path, given, lambda: fsx, tmp_path / "none")
    assert str(place.uri("a")) == "s3://bucket/folder/a"


def test_lustre_that_is_not_on_aws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run on somebody's own Lustre is left alone, with or without AWS credentials."""
    import logging
    from types import SimpleNamespace

    from miniwdl_cloud.fsx import place
    from miniwdl_cloud.fsx.plugin import workflow

    monkeypatch.setattr(
        place, "mount_of", lambda *args: Mount("lustre", "10.0.0.1@o2ib:/scratch", "/")
    )
    cfg: Any = SimpleNamespace(
        has_option=lambda section, key: (section, key) == ("file_io", "root"),
        get=lambda section, key: str(tmp_path),
    )
    outputs = object()
    plugin = workflow(
        cfg,
        logging.getLogger("test"),
        ["w"],
        str(tmp_path),
        SimpleNamespace(name="w"),
        inputs=None,
    )
    next(plugin)
    assert plugin.send({"outputs": outputs}) == {"outputs": outputs}
