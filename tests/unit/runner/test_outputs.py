"""Which files of a run are its outputs, and where each File and Directory ends up."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from miniwdl_cloud.aws.s3 import S3Uri
from miniwdl_cloud.errors import ConfigurationError
from miniwdl_cloud.runner.outputs import OutputTree, read_tree, rewrite

from .conftest import Runner

FOLDER = S3Uri("b", "r/")
ODD_NAMES = [
    "with space.txt",
    'it\'s "quoted".txt',
    "späße-日本-🧬.txt",
    "percent%20+plus&#?.txt",
    "-dash.txt",
    ".hidden",
]


@pytest.fixture
def mount(tmp_path: Path) -> Path:
    mount = tmp_path / "mount"
    (mount / "run" / "out").mkdir(parents=True)
    return mount


def work(mount: Path, name: str, content: str = "x") -> Path:
    path = mount / "run" / "call-t" / "work" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def link(mount: Path, name: str, target: Path) -> Path:
    path = mount / "run" / "out" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)
    return path


def read(mount: Path) -> OutputTree:
    return read_tree(mount / "run", mount)


def test_no_outputs(tmp_path: Path) -> None:
    """A run without out/ has no files."""
    assert read_tree(tmp_path, tmp_path).files == []


def test_files_and_directories(mount: Path) -> None:
    """Links to files and directories are followed, nested ones and relative ones too."""
    link(mount, "one/a.txt", work(mount, "a.txt"))
    link(mount, "many/0/b.txt", work(mount, "b.txt"))
    relative = mount / "run" / "out" / "many" / "1" / "c.txt"
    relative.parent.mkdir()
    relative.symlink_to(os.path.relpath(work(mount, "c.txt"), relative.parent))
    inside = work(mount, "dir/sub/d.txt")
    (inside.parent / "link.txt").symlink_to("d.txt")
    (inside.parents[1] / "again").symlink_to("sub")
    link(mount, "tree/dir", inside.parents[1])
    (mount / "run" / "out" / "tree" / ".WDL_Directory").touch()
    tree = read(mount)
    assert tree.files == [
        "many/0/b.txt",
        "many/1/c.txt",
        "one/a.txt",
        "tree/.WDL_Directory",
        "tree/dir/again/d.txt",
        "tree/dir/again/link.txt",
        "tree/dir/sub/d.txt",
        "tree/dir/sub/link.txt",
    ]
    assert tree.skipped == []
    out = mount / "run" / "out"
    outputs = {
        "wf.one": str(out / "one/a.txt"),
        "wf.many": [str(out / "many/0/b.txt"), None, {"left": str(out / "many/1/c.txt")}],
        "wf.tree": str(out / "tree/dir"),
        "wf.by_file": {str(out / "one/a.txt"): 1},
        "wf.text": "/etc/passwd",
        "wf.text_like_an_output": "/elsewhere/one/a.txt",
        "wf.number": 1.5,
    }
    assert rewrite(outputs, tree, FOLDER) == {
        "wf.one": "s3://b/r/one/a.txt",
        "wf.many": ["s3://b/r/many/0/b.txt", None, {"left": "s3://b/r/many/1/c.txt"}],
        "wf.tree": "s3://b/r/tree/dir",
        "wf.by_file": {"s3://b/r/one/a.txt": 1},
        "wf.text": "/etc/passwd",
        "wf.text_like_an_output": "/elsewhere/one/a.txt",
        "wf.number": 1.5,
    }


def test_hard_links(mount: Path) -> None:
    """With [file_io] output_hardlinks the same files are found."""
    out = mount / "run" / "out"
    (out / "one").mkdir()
    os.link(work(mount, "a.txt"), out / "one" / "a.txt")
    (out / "tree" / "dir").mkdir(parents=True)
    (out / "tree" / ".WDL_Directory").touch()
    os.link(work(mount, "dir/d.txt"), out / "tree" / "dir" / "d.txt")
    (out / "tree" / "dir" / "leak").symlink_to(work(mount, "other.txt"))
    tree = read(mount)
    assert tree.files == ["one/a.txt", "tree/.WDL_Directory", "tree/dir/d.txt"]
    assert tree.skipped == ["'tree/dir/leak' leads out of its Directory and is not uploaded"]
    outputs = {"wf.one": str(out / "one/a.txt"), "wf.tree": str(out / "tree/dir")}
    assert rewrite(outputs, tree, FOLDER) == {
        "wf.one": "s3://b/r/one/a.txt",
        "wf.tree": "s3://b/r/tree/dir",
    }


def test_from_the_call_cache(mount: Path) -> None:
    """Paths in another run's directory are found by this run's links, each output by its own."""
    old = mount / "old" / "out"
    target = mount / "old" / "work" / "same.txt"
    target.parent.mkdir(parents=True)
    target.write_text("x")
    (mount / "old" / "work" / "dir").mkdir()
    for name in ("first", "second"):
        (old / name).mkdir(parents=True)
        (old / name / "same.txt").symlink_to(target)
        link(mount, f"{name}/same.txt", target)
    (old / "tree").mkdir()
    (old / "tree" / "dir").symlink_to(target.parent / "dir")
    link(mount, "tree/dir", target.parent / "dir")
    outputs = {
        "t.first": str(old / "first/same.txt"),
        "t.second": str(old / "second/same.txt"),
        "t.tree": str(old / "tree/dir") + "/",
        "t.unrelated": str(mount / "old"),
    }
    assert rewrite(outputs, read(mount), FOLDER) == {
        "t.first": "s3://b/r/first/same.txt",
        "t.second": "s3://b/r/second/same.txt",
        "t.tree": "s3://b/r/tree/dir",
        "t.unrelated": str(mount / "old"),
    }


def test_nothing_but_outputs(mount: Path, tmp_path: Path) -> None:
    """Links that lead out of the shared filesystem or out of their Directory are not followed."""
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("mine")
    inside = work(mount, "dir/d.txt").parent
    (inside / "absolute").symlink_to(secret / "key")
    (inside / "folder").symlink_to(secret)
    (inside / "sibling").symlink_to(work(mount, "sibling.txt"))
    (inside / "nowhere").symlink_to("nothing")
    (inside / "round").symlink_to(".")
    os.mkfifo(inside / "pipe")
    link(mount, "tree/dir", inside)
    link(mount, "file/key", secret / "key")
    link(mount, "directory/secret", secret)
    tree = read(mount)
    assert tree.files == ["tree/dir/d.txt"]
    assert tree.skipped == [
        f"'directory/secret' leads out of {mount} and is not uploaded",
        f"'file/key' leads out of {mount} and is not uploaded",
        "'tree/dir/absolute' leads out of its Directory and is not uploaded",
        "'tree/dir/folder' leads out of its Directory and is not uploaded",
        "'tree/dir/nowhere' leads nowhere and is not uploaded",
        "'tree/dir/pipe' is no regular file and is not uploaded",
        "'tree/dir/round' leads back to where it is and is not uploaded",
        "'tree/dir/sibling' leads out of its Directory and is not uploaded",
    ]
    path = str(mount / "run" / "out" / "file" / "key")
    assert rewrite({"wf.file": path}, tree, FOLDER) == {"wf.file": path}


def test_missing_output(mount: Path) -> None:
    """An output that has vanished is an error that names it."""
    link(mount, "one/a.txt", mount / "nowhere")
    with pytest.raises(ConfigurationError, match=r"The output 'one/a\.txt' is missing"):
        read(mount)


def test_names_of_our_own(mount: Path) -> None:
    """An output file that would be overwritten by outputs.json is an error."""
    link(mount, "outputs.json", work(mount, "outputs.json"))
    with pytest.raises(ConfigurationError, match=r"'outputs\.json' has the name of one of"):
        read(mount)


def test_name_that_is_not_utf8(mount: Path) -> None:
    """A name that no S3 key can have is an error that names it."""
    link(mount, "one/" + os.fsdecode(b"\xff.txt"), work(mount, "a.txt"))
    with pytest.raises(ConfigurationError, match="not UTF-8"):
        read(mount)


def test_odd_and_many_files(runner: Runner) -> None:
    """Odd names, empty files, 300 outputs and a 300 MB file arrive as they are."""
    body = f"""
    odd = [out(f"odd/{{n}}", made(f"{{n}}/" + name, name.encode()))
           for n, name in enumerate({ODD_NAMES!r})]
    many = [out(f"many/{{n:03}}", made(f"many/{{n}}.txt", b"")) for n in range(300)]
    big = made("big.bin")
    with open(big, "wb") as f:
        f.truncate(300_000_000)
    succeed(odd=odd, many=many, big=out("big", big))
    """
    result = runner.run(body, "--s3upload", f"s3://{runner.bucket}/r/")
    assert result.code == 0, result.stderr
    place = f"s3://{runner.bucket}/r/"
    outputs = json.loads(
        runner.s3.get_object(Bucket=runner.bucket, Key="r/outputs.json")["Body"].read()
    )
    assert outputs["wf.odd"] == [f"{place}odd/{n}/{name}" for n, name in enumerate(ODD_NAMES)]
    assert outputs["wf.many"] == [f"{place}many/{n:03}/{n}.txt" for n in range(300)]
    for n, name in enumerate(ODD_NAMES):
        found = runner.s3.get_object(Bucket=runner.bucket, Key=f"r/odd/{n}/{name}")
        assert found["Body"].read() == name.encode()
    sizes = {
        item["Key"]: item["Size"]
        for item in runner.s3.list_objects_v2(Bucket=runner.bucket, Prefix="r/many/")["Contents"]
    }
    assert len(sizes) == 300 and set(sizes.values()) == {0}
    big = runner.s3.head_object(Bucket=runner.bucket, Key="r/big/big.bin")
    assert big["ContentLength"] == 300_000_000
