"""Local input files on their way to the staging location."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import pytest

from miniwdl_cloud.aws.s3 import ObjectInfo, S3Uri
from miniwdl_cloud.errors import AccessDenied, UsageError
from miniwdl_cloud.submit import staging
from miniwdl_cloud.submit.staging import LocalInputs


class FakeS3:
    """Holds objects by URI."""

    def __init__(self, blind: bool = False) -> None:
        self.objects: dict[S3Uri, bytes] = {}
        self.uploads = 0
        self._blind = blind
        self._lock = threading.Lock()

    def head(self, uri: S3Uri) -> ObjectInfo | None:
        if self._blind:
            raise AccessDenied("no")
        data = self.objects.get(uri)
        return None if data is None else ObjectInfo(uri, len(data), "e")

    def upload_file(self, path: Path, uri: S3Uri, on_bytes: object = None) -> None:
        with self._lock:
            self.uploads += 1
            self.objects[uri] = path.read_bytes()


@pytest.fixture
def local(tmp_path: Path) -> LocalInputs:
    """Local inputs of a run on /mnt/efs; nothing noted yet."""
    return LocalInputs("/mnt/efs")


def test_key_of_a_file(local: LocalInputs, tmp_path: Path) -> None:
    """The key holds the hash of the content and ends in the file's own name, odd or not."""
    path = tmp_path / "odd näme's (1).txt"
    path.write_text("hello")
    local.note("w.f", str(path), False)
    uris, uploads = local.stage_to("s3://bucket/stage/")
    digest = hashlib.sha256(b"hello").hexdigest()
    uri = f"s3://bucket/stage/inputs/sha256/{digest[:2]}/{digest}/{path.name}"
    assert uris == {str(path): uri}
    assert [(str(upload.uri), upload.size) for upload in uploads] == [(uri, 5)]


def test_two_files_of_one_name(local: LocalInputs, tmp_path: Path) -> None:
    """Files of one name and other content do not meet; of the same content they are one object."""
    for directory, text in (("a", "1"), ("b", "2"), ("c", "1")):
        (tmp_path / directory).mkdir()
        (tmp_path / directory / "x").write_text(text)
        local.note("f", str(tmp_path / directory / "x"), False)
    uris, uploads = local.stage_to("s3://bucket")
    assert len(uris) == 3
    assert len(set(uris.values())) == len(uploads) == 2


def test_directory(local: LocalInputs, tmp_path: Path) -> None:
    """A directory becomes a prefix with all files below it, links followed, circles ended."""
    top = tmp_path / "top"
    (top / "sub").mkdir(parents=True)
    (top / "sub" / "x").write_text("x")
    (tmp_path / "outside").write_text("o")
    (top / "link").symlink_to(tmp_path / "outside")
    (top / "sub" / "back").symlink_to(top)
    local.note("d", str(top), True)
    uris, uploads = local.stage_to("s3://bucket/p")
    prefix = uris[str(top)]
    assert prefix.endswith("/top/")
    assert sorted(str(upload.uri).removeprefix(prefix) for upload in uploads) == ["link", "sub/x"]


def test_directory_changes_its_prefix_with_its_content(tmp_path: Path) -> None:
    """Any change in a directory gives another prefix, so that no old file is seen in it."""
    top = tmp_path / "top"
    top.mkdir()
    seen = set()
    for name, text in (("x", "1"), ("x", "2"), ("y", "2")):
        (top / name).write_text(text)
        local = LocalInputs("/mnt/efs")
        local.note("d", str(top), True)
        seen.update(local.stage_to("s3://bucket")[0].values())
    assert len(seen) == 3


def test_only_what_is_missing_is_sent(local: LocalInputs, tmp_path: Path) -> None:
    """What the staging location holds in its full size is not sent again."""
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text(name * 3)
        local.note("f", str(tmp_path / name), False)
    _, uploads = local.stage_to("s3://bucket/p")
    s3 = FakeS3()
    s3.objects[uploads[0].uri] = b"aaa"
    s3.objects[uploads[1].uri] = b"b"
    lines: list[str] = []
    staging.send(s3, uploads, lines.append)  # type: ignore[arg-type]
    assert s3.uploads == 2
    assert {uri.name: data for uri, data in s3.objects.items()} == {
        "a": b"aaa",
        "b": b"bbb",
        "c": b"ccc",
    }
    assert any("1 local input files are in the staging location already" in x for x in lines)
    staging.send(s3, uploads, lines.append)  # type: ignore[arg-type]
    assert s3.uploads == 2


def test_who_may_write_but_not_look_sends_all(local: LocalInputs, tmp_path: Path) -> None:
    """Without permission to look, everything is sent."""
    (tmp_path / "a").write_text("a")
    local.note("f", str(tmp_path / "a"), False)
    s3 = FakeS3(blind=True)
    staging.send(s3, local.stage_to("s3://bucket")[1], lambda line: None)  # type: ignore[arg-type]
    assert s3.uploads == 1


@pytest.mark.parametrize(
    "text", ["s3://b/x", "https://h/x", "gs://b/x", "/mnt/efs/x", "/mnt/efs", ""]
)
def test_what_is_no_local_path(text: str, local: LocalInputs) -> None:
    """URLs of any kind and paths on the mount are left alone."""
    local.note("f", text, False)
    assert not local
    assert local.stage_to(None) == ({}, [])


def test_beside_the_mount_is_local(local: LocalInputs) -> None:
    """A directory whose name begins with the mount point's is not on the mount."""
    with pytest.raises(UsageError, match="/mnt/efs2/x"):
        local.note("f", "/mnt/efs2/x", False)
    with pytest.raises(UsageError, match="does not exist"):
        local.note("f", "/mnt/efs/../x", False)


def test_no_staging_location(local: LocalInputs, tmp_path: Path) -> None:
    """The error names the input and the two ways out."""
    (tmp_path / "a").write_text("a")
    local.note("w.reads", str(tmp_path / "a"), False)
    with pytest.raises(UsageError) as error:
        local.stage_to(None)
    assert error.value.exit_code == 64
    for text in ("w.reads", "--stage s3://", "DefaultStageUri", "/mnt/efs", "in S3"):
        assert text in error.value.message


def test_empty_directory(local: LocalInputs, tmp_path: Path) -> None:
    """S3 holds no empty directory: the error says so before anything is sent."""
    (tmp_path / "empty").mkdir()
    local.note("d", str(tmp_path / "empty"), True)
    with pytest.raises(UsageError, match="names the empty directory"):
        local.stage_to("s3://bucket")


def test_unreadable(local: LocalInputs, tmp_path: Path) -> None:
    """A broken link in a directory is named."""
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "broken").symlink_to("gone")
    local.note("d", str(tmp_path / "d"), True)
    with pytest.raises(UsageError, match="broken, which cannot be read"):
        local.stage_to("s3://bucket")
