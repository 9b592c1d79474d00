"""`fsx_to_s3`: thousands of files by Lustre's archiving and by upload, failures included."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from stand_ins import FakeLfs, FolderS3

from miniwdl_cloud.cli import fsx_to_s3
from miniwdl_cloud.errors import ConfigurationError, UsageError
from miniwdl_cloud.fsx import hsm, run, write_back
from miniwdl_cloud.fsx.method import Item

BUCKET = "linked-bucket"
PREFIX = "fs/"


class Scene:
    """A mounted file system, the bucket that it is linked to, and the command."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.mount, self.bucket = root / "mnt", root / "bucket"
        self.mount.mkdir()
        self.bucket.mkdir()
        (self.mount / ".s3_export_path").write_text(f"s3://{BUCKET}/{PREFIX}\n")
        self.s3 = FolderS3(BUCKET, self.bucket)
        self.lfs = FakeLfs(root / "lustre", self.mount, self.bucket, PREFIX)
        monkeypatch.setattr(run, "S3", lambda session, options: self.s3)
        monkeypatch.setattr(hsm, "LOOK_EVERY_S", 0)
        monkeypatch.setattr(write_back, "PAUSES_S", (0, 0))
        monkeypatch.setenv("XDG_CONFIG_HOME", str(root))
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
        monkeypatch.setenv("MINIWDL__FILE_IO__ROOT", str(self.mount))
        monkeypatch.setenv("MINIWDL__FSX_TO_S3__LFS", str(self.lfs.command))

    def write(self, count: int) -> list[Path]:
        """So many files in several directories, of which a few are linked to."""
        paths = []
        for number in range(count):
            path = self.mount / f"run/{number % 7}/file{number}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"content {number}\n")
            paths.append(path)
        return paths

    def fail(self, failures: dict[Path, int]) -> None:
        """Let files fail so many times, whatever the method."""
        self.lfs.configure(failures={str(path): count for path, count in failures.items()})
        self.s3.failures = {
            PREFIX + path.relative_to(self.mount).as_posix(): count
            for path, count in failures.items()
        }

    def keys(self) -> set[str]:
        """The objects' keys, without the prefix."""
        top = self.bucket / PREFIX
        return {p.relative_to(top).as_posix() for p in top.rglob("*") if p.is_file()}


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """A mounted file system, the bucket that it is linked to, and the command."""
    return Scene(tmp_path, monkeypatch)


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, list[str], str]]:
    """Runs the command: exit code, lines on standard output, standard error."""

    def call(*arguments: str | Path) -> tuple[int, list[str], str]:
        capfd.readouterr()
        code = fsx_to_s3.main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return code, out.splitlines(), err

    return call


Command = Callable[..., tuple[int, list[str], str]]


@pytest.mark.parametrize("method", ["hsm", "upload"])
def test_two_thousand_files_of_which_some_fail(method: str, scene: Scene, command: Command) -> None:
    """Of 2,000 files those that go on failing are reported; the others are there; a repetition
    does the rest, and the rest only."""
    paths = scene.write(2000)
    chosen = random.Random(5).sample(paths, 40)
    stubborn, passing = chosen[:20], chosen[20:]
    scene.fail({**dict.fromkeys(stubborn, 4), **dict.fromkeys(passing, 1)})
    code, lines, err = command("--method", method, scene.mount / "run")
    assert code == 1
    good = sorted(set(paths) - set(stubborn))
    assert lines == [
        f"{path}\ts3://{BUCKET}/{PREFIX}{path.relative_to(scene.mount)}" for path in good
    ]
    failed = {line.split(": ")[2] for line in err.splitlines() if ": failed: " in line}
    assert failed == {str(path) for path in stubborn}
    assert "1980 files sent, 0 were in S3 already, 20 failed; repeat the command" in err

    before = len(scene.s3.uploads), sum(scene.lfs.calls("hsm_archive"))
    code, lines, err = command("--method", method, scene.mount / "run")
    assert (code, len(lines)) == (0, 2000)
    assert "20 files sent, 1980 were in S3 already, 0 failed" in err
    assert scene.keys() == {path.relative_to(scene.mount).as_posix() for path in paths}
    after = len(scene.s3.uploads), sum(scene.lfs.calls("hsm_archive"))
    assert 20 <= sum(after) - sum(before) <= 40  # a second attempt of each at the most


def test_lustre_is_asked_for_many_files_at_a_time(scene: Scene, command: Command) -> None:
    """Calls of `lfs` do not grow with each file."""
    scene.write(120)
    assert command("--method", "hsm", scene.mount / "run")[0] == 0
    assert scene.lfs.calls("hsm_archive") == [50, 50, 20]


@pytest.mark.parametrize("method", ["hsm", "upload"])
def test_a_changed_file_is_sent_again_with_a_warning(
    method: str, scene: Scene, command: Command
) -> None:
    """A file that changed since replaces its object, which is said before."""
    (path,) = scene.write(1)
    assert command("--method", method, path)[0] == 0
    path.write_text("something else\n")
    code, lines, err = command("--method", method, path)
    assert (code, len(lines)) == (0, 1)
    assert f"warning: s3://{BUCKET}/{PREFIX}run/0/file0.txt holds something else" in err
    assert (scene.bucket / PREFIX / "run/0/file0.txt").read_text() == "something else\n"
    code, _, err = command("--method", method, path)
    assert code == 0
    assert "warning" not in err


@pytest.mark.parametrize("method", ["hsm", "upload"])
def test_links_are_followed_to_canonical_paths(method: str, scene: Scene, command: Command) -> None:
    """Each file goes once, under the path that it really has."""
    (path,) = scene.write(1)
    links = scene.mount / "links"
    links.mkdir()
    (links / "file").symlink_to("../run/0/file0.txt")
    (links / "directory").symlink_to(scene.mount / "run")
    (links / "loop").symlink_to(links)
    (links / "dangling").symlink_to("nothing")
    os.mkfifo(links / "pipe")
    code, lines, err = command("--method", method, links, links / "file")
    assert (code, lines) == (0, [f"{path}\ts3://{BUCKET}/{PREFIX}run/0/file0.txt"])
    assert "dangling leads nowhere; it is left out" in err
    assert "pipe is no regular file; it is left out" in err
    assert scene.keys() == {"run/0/file0.txt"}


@pytest.mark.parametrize("how", ["directly", "by a link", "in a directory", "by dots"])
def test_paths_outside_are_refused(
    how: str, scene: Scene, command: Command, tmp_path: Path
) -> None:
    """A path that leads out of the file system is refused, and nothing at all is sent."""
    (inside,) = scene.write(1)
    secret = tmp_path / "secret"
    secret.write_text("secret")
    path = secret
    if how == "by a link":
        path = scene.mount / "link"
        path.symlink_to(secret)
    elif how == "in a directory":
        path = scene.mount / "run"
        (path / "link").symlink_to(tmp_path)
    elif how == "by dots":
        path = scene.mount / "run/../../secret"
    with pytest.raises(UsageError, match=r"is not on the shared filesystem .*; leave it out\.$"):
        command("--method", "upload", inside, path)
    assert scene.keys() == set()


def test_a_link_put_in_place_of_a_file_meanwhile(
    scene: Scene, command: Command, tmp_path: Path
) -> None:
    """What a task replaces by a link between the look and the upload is not sent."""
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "file0.txt").write_text("secret")
    (path,) = scene.write(1)
    original = write_back.existing

    def swap(s3: object, uris: object) -> object:
        if not (scene.mount / "run/0").is_symlink():
            (scene.mount / "run/0").rename(scene.mount / "run/moved")
            (scene.mount / "run/0").symlink_to(secret)
        return original(s3, uris)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write_back, "existing", swap)
        code, lines, err = command("--method", "upload", path)
    assert (code, lines) == (1, [])
    assert "replaced by a link" in err
    assert scene.keys() == set()


@pytest.mark.parametrize("method", ["hsm", "upload"])
def test_odd_names(method: str, scene: Scene, command: Command) -> None:
    """Names with blanks, tabs, line breaks, colons and backslashes arrive, and are printed in one
    line each."""
    names = [
        "a b",
        "a: (0x00000009) exists archived",
        "t\tab",
        "line\nbreak",
        "end\n",
        "back\\t",
        "é",
    ]
    for name in names:
        (scene.mount / name).write_text(name)
    code, lines, _ = command("--method", method, *(scene.mount / name for name in names))
    assert code == 0
    assert all(line.count("\t") == 1 for line in lines)
    printed = {line.split("\t")[0][len(str(scene.mount)) + 1 :] for line in lines}
    assert "t\\tab" in printed
    assert "line\\nbreak" in printed
    assert "back\\\\t" in printed
    assert scene.keys() == set(names)


def test_names_that_s3_cannot_have(scene: Scene, command: Command) -> None:
    """Names that are not UTF-8, or too long for a key, are reported; the others go."""
    scene.write(1)
    odd = os.fsencode(scene.mount / "run") + b"/\xff"
    Path(os.fsdecode(odd)).write_text("x")
    deep = scene.mount / "run"
    for _ in range(5):
        deep /= "d" * 220
    deep.mkdir(parents=True)
    (deep / "file").write_text("x")
    code, lines, err = command("--method", "upload", scene.mount / "run")
    assert (code, len(lines)) == (1, 1)
    assert "run/\\xff: its name is not UTF-8" in err
    assert "longer than 1,024 bytes" in err
    assert "1 files sent, 0 were in S3 already, 2 failed" in err


def test_archiving_that_is_not_allowed(scene: Scene, command: Command) -> None:
    """Without the right to archive the method is refused in one sentence that names another."""
    scene.write(1)
    scene.lfs.configure(denied=True)
    with pytest.raises(ConfigurationError, match=r"hsm: .*not permitted.*; choose another way"):
        command("--method", "hsm", scene.mount / "run")


def test_a_file_that_lustre_refuses(scene: Scene, command: Command) -> None:
    """One file that cannot be archived does not take the others of its call with it."""
    paths = scene.write(10)
    scene.lfs.configure(refused=[str(paths[3])])
    code, lines, err = command("--method", "hsm", scene.mount / "run")
    assert (code, len(lines)) == (1, 9)
    assert f"failed: {paths[3]}: Cannot use HSM" in err


def test_an_archived_file_whose_object_is_gone(scene: Scene, command: Command) -> None:
    """That Lustre believes a file to be archived is not enough."""
    (path,) = scene.write(1)
    assert command("--method", "hsm", path)[0] == 0
    (scene.bucket / PREFIX / "run/0/file0.txt").unlink()
    code, _, err = command("--method", "hsm", path)
    assert code == 0
    assert "1 files sent" in err


def test_a_file_that_goes_while_it_is_archived(
    scene: Scene, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is removed meanwhile is reported at once, and nobody waits for it."""
    paths = scene.write(3)
    original = hsm.Hsm._wait

    def wait(self: hsm.Hsm, items: list[Item]) -> dict[Item, str]:
        paths[1].unlink(missing_ok=True)
        return original(self, items)

    monkeypatch.setattr(hsm.Hsm, "_wait", wait)
    code, lines, err = command("--method", "hsm", scene.mount / "run")
    assert (code, len(lines)) == (1, 2)
    assert f"failed: {paths[1]}" in err
    assert "No such file" in err


def test_archiving_that_does_not_end(
    scene: Scene, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Archiving without progress is given up, and the files are reported."""
    scene.write(2)
    scene.lfs.configure(looks=10**9)
    monkeypatch.setenv("MINIWDL__FSX_TO_S3__WAIT", "0")
    code, lines, err = command("--method", "hsm", scene.mount / "run")
    assert (code, lines) == (1, [])
    assert "archiving did not end within 0 s" in err


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        (["--method", "fast"], UsageError, "should be one of auto, hsm, task, upload"),
        (["--method", "task"], ConfigurationError, "Export tasks need the id"),
        (["--mount", "/"], ConfigurationError, "name its mount point with --mount"),
        (["gone"], UsageError, "gone cannot be read"),
        (["--method", "hsm", "QUOTE"], UsageError, "a quote without an end"),
        (["--nonsense"], UsageError, "unrecognized arguments: --nonsense"),
    ],
)
def test_wrong_usage(
    options: list[str],
    error: type[Exception],
    text: str,
    scene: Scene,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is wrong is said in one sentence."""
    (path,) = scene.write(1)
    if "QUOTE" in options:
        monkeypatch.setenv("MINIWDL__FSX_TO_S3__LFS", "sudo 'lfs")
    with pytest.raises(error, match=text):
        command(*(option for option in options if option != "QUOTE"), path)


def test_a_file_system_without_link(scene: Scene, command: Command) -> None:
    """Without a link it is said how to name one."""
    (path,) = scene.write(1)
    export_path = scene.mount / ".s3_export_path"
    export_path.write_text("elsewhere")
    with pytest.raises(ConfigurationError, match="does not hold an S3 location"):
        command(path)
    export_path.unlink()
    with pytest.raises(ConfigurationError, match="set MINIWDL__FSX_TO_S3__FILE_SYSTEM"):
        command(path)
