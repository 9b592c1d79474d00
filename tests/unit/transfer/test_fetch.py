"""What S3 URIs name, and where their objects land; with a stand-in for S3."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

from miniwdl_cloud.aws.s3 import S3, ObjectInfo, S3Uri
from miniwdl_cloud.cli import fetch as cli
from miniwdl_cloud.errors import ConfigurationError, MiniwdlCloudError, NotFound, UsageError
from miniwdl_cloud.transfer.fetch import Found, look
from miniwdl_cloud.transfer.http import Http


class FakeS3:
    """A bucket in memory."""

    def __init__(self, **objects: bytes) -> None:
        self.objects = objects

    def head(self, uri: S3Uri) -> ObjectInfo | None:
        content = self.objects.get(uri.key)
        return None if content is None else ObjectInfo(uri, len(content), "e")

    def list_objects(self, prefix: S3Uri) -> Iterator[ObjectInfo]:
        for key in sorted(self.objects):
            if key.startswith(prefix.key):
                yield ObjectInfo(S3Uri(prefix.bucket, key), len(self.objects[key]), "e")

    def download_file(
        self, uri: S3Uri, path: Path, on_bytes: Callable[[int], None] | None = None
    ) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.objects[uri.key])
        if on_bytes:
            on_bytes(len(self.objects[uri.key]))


def found(uri: str, directory: bool = False, **objects: bytes) -> Found:
    return look(uri, directory, lambda: cast(S3, FakeS3(**objects)), Http)


def test_file(tmp_path: Path) -> None:
    """An object becomes a file of its name."""
    source = found("s3://bkt/a/x y%20.txt", **{"a/x y%20.txt": b"abc"})
    assert (source.name, source.size) == ("x y%20.txt", 3)
    path = source.fetch(tmp_path, lambda count: None)
    assert path == tmp_path / "x y%20.txt"
    assert path.read_bytes() == b"abc"


@pytest.mark.parametrize("uri", ["s3://bkt/d", "s3://bkt/d/"])
def test_directory(tmp_path: Path, uri: str) -> None:
    """The objects below a prefix become a tree, folder markers included, neighbours left out."""
    objects = {"d/": b"", "d/a": b"1", "d/e/f": b"22", "d/empty/": b"", "d//g": b"", "dd": b"x"}
    source = found(uri, True, **objects)
    assert (source.name, source.size) == ("d", 3)
    counts: list[int] = []
    base = source.fetch(tmp_path, counts.append)
    assert base == tmp_path / "d"
    assert sorted(str(path.relative_to(base)) for path in base.rglob("*")) == [
        "a",
        "e",
        "e/f",
        "empty",
        "g",
    ]
    assert (base / "e/f").read_bytes() == b"22"
    assert sum(counts) == 3


def test_whole_bucket(tmp_path: Path) -> None:
    """The directory of a whole bucket has the bucket's name."""
    assert found("s3://buck", True, a=b"").fetch(tmp_path, lambda n: None) == tmp_path / "buck"


@pytest.mark.parametrize(
    ("uri", "directory", "objects", "kind", "message"),
    [
        ("s3://bkt/x", False, ["y"], NotFound, "There is no object s3://bkt/x; correct its name."),
        (
            "s3://bkt/x/",
            False,
            ["x/"],
            NotFound,
            "There is no object s3://bkt/x/; correct its name.",
        ),
        ("s3://bkt", False, ["y"], NotFound, "There is no object s3://bkt; correct its name."),
        ("s3://bkt/x", True, ["xy"], NotFound, "There are no objects below s3://bkt/x/;"),
        ("s3://bkt/d", True, ["d/../a"], ConfigurationError, "whose name contains '..'"),
        ("s3://bkt/d", True, ["d/./a"], ConfigurationError, "whose name contains '.'"),
        ("s3://bkt/..", False, [".."], ConfigurationError, "whose name contains '..'"),
        ("s3://bkt/a/..", True, ["a/../x"], ConfigurationError, "whose name contains '..'"),
        (
            "s3://bkt/d",
            True,
            ["d/a//b", "d/a/b"],
            ConfigurationError,
            "both be the local file 'a/b'",
        ),
        ("s3://bkt/d", True, ["d/a", "d/a/b"], ConfigurationError, "'a' is an object as well as"),
        ("https://h/d/", True, [], UsageError, "https://h/d/ cannot be fetched as a directory;"),
        ("gs://h/d", False, [], UsageError, "gs://h/d cannot be fetched as a file;"),
    ],
)
def test_refused(
    uri: str, directory: bool, objects: list[str], kind: type[MiniwdlCloudError], message: str
) -> None:
    """What names nothing, or would not fit on a filesystem, is refused with its name."""
    with pytest.raises(kind) as caught:
        found(uri, directory, **dict.fromkeys(objects, b""))
    assert message in caught.value.message


def parsed(*argv: str) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser()
    cli.add_parser(parser.add_subparsers())
    return parser.parse_known_args(["fetch", *argv])


def test_command_line_mistakes(tmp_path: Path) -> None:
    """The command refuses a missing directory and unknown options."""
    with pytest.raises(UsageError, match="is not a directory; make it first"):
        cli.run(*parsed("s3://bkt/x", str(tmp_path / "none")))
    with pytest.raises(UsageError, match="has no option --fast"):
        cli.run(*parsed("s3://bkt/x", str(tmp_path), "--fast"))
