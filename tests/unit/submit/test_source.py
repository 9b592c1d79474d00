"""WDL and inputs as they leave this machine."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from miniwdl_cloud.errors import UsageError
from miniwdl_cloud.miniwdl_compat import RejectedWdl, opened_archive, run_options
from miniwdl_cloud.submit import source
from miniwdl_cloud.submit.run_args import RunArguments
from miniwdl_cloud.submit.staging import LocalInputs

MOUNT = "/mnt/efs"

STRUCTS = """
version 1.2
struct Sample {
  String id
  File reads
  Array[File?]+ more
  Map[String, File] by_name
}
"""
WORKFLOW = """
version 1.2
import "lib/structs.wdl" as lib
workflow w {
  input {
    File f
    File? maybe
    String s = "plain"
    Array[File] many = []
    Array[Array[File]] nested = []
    Pair[File, Int]? pair
    Directory? dir
    Sample? sample
    Int n = 1
  }
  output { String o = s }
}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A WDL with an import, and some files; the working directory."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "structs.wdl").write_text(STRUCTS)
    (tmp_path / "w.wdl").write_text(WORKFLOW)
    for name in ("a", "b", "c", "d"):
        (tmp_path / f"{name}.txt").write_text(name)
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "x").write_text("x")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(*arguments: str) -> source.Run:
    """What these `miniwdl run` arguments say to run."""
    return source.read(RunArguments(arguments, run_options()), MOUNT)


def staged(*arguments: str) -> tuple[source.Run, list[str]]:
    """The run with every local path replaced by ``s3://b/NAME``; and the paths, in order."""
    run = read(*arguments)
    local = LocalInputs(MOUNT)
    source.note_inputs(run, local)
    paths = list(local._found)
    return source.stage_inputs(run, local, {p: f"s3://b/{Path(p).name}" for p in paths}), paths


def unzipped(data: bytes) -> dict[str, Any]:
    """The files of an archive, JSON ones parsed."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {
            name: json.loads(archive.read(name))
            if name.endswith(".json")
            else archive.read(name).decode()
            for name in archive.namelist()
        }


def names(paths: Sequence[str]) -> list[str]:
    """Last parts of paths."""
    return [Path(path).name for path in paths]


def test_paths_on_the_command_line(project: Path) -> None:
    """File and Directory inputs that are local become URIs; other inputs stay as they are."""
    run, paths = staged("w.wdl", "f=a.txt", "s=a.txt", "many=b.txt", "many=", "c.txt", "dir=dir")
    assert run.arguments.pairs == [
        "f=s3://b/a.txt",
        "s=a.txt",
        "many=s3://b/b.txt",
        "many=s3://b/c.txt",
        "dir=s3://b/dir",
    ]
    assert paths == [str(project / name) for name in ("a.txt", "b.txt", "c.txt", "dir")]


def test_compound_inputs_on_the_command_line(project: Path) -> None:
    """JSON for a Pair or struct is looked into."""
    run, _ = staged("w.wdl", "f=a.txt", 'pair={"left": "b.txt", "right": 1}')
    assert json.loads(run.arguments.pairs[1].removeprefix("pair=")) == {
        "left": "s3://b/b.txt",
        "right": 1,
    }


def test_home_directory(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tilde that the shell left is the home directory, as for miniwdl."""
    monkeypatch.setenv("HOME", str(project))
    run, paths = staged("w.wdl", "f=~/a.txt")
    assert run.arguments.pairs == ["f=s3://b/a.txt"]
    assert paths == [str(project / "a.txt")]


INPUTS = {
    "w.f": "a.txt",
    "w.maybe": None,
    "w.s": "a.txt",
    "w.nested": [["a.txt"], ["b.txt", "s3://there/x", "/mnt/efs/x", "https://h/x"]],
    "pair": {"left": "c.txt", "right": 1},
    "w.sample": {
        "id": "a.txt",
        "reads": "d.txt",
        "more": ["a.txt", None],
        "by_name": {"b.txt": "b.txt"},
    },
}
STAGED_INPUTS = {
    "w.f": "s3://b/a.txt",
    "w.maybe": None,
    "w.s": "a.txt",
    "w.nested": [["s3://b/a.txt"], ["s3://b/b.txt", "s3://there/x", "/mnt/efs/x", "https://h/x"]],
    "pair": {"left": "s3://b/c.txt", "right": 1},
    "w.sample": {
        "id": "a.txt",
        "reads": "s3://b/d.txt",
        "more": ["s3://b/a.txt", None],
        "by_name": {"b.txt": "s3://b/b.txt"},
    },
}


@pytest.mark.parametrize("form", ["file", "inline", "stdin"])
def test_inputs_file(form: str, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An inputs file travels in the archive, with URIs in nested values of the right types."""
    text = json.dumps(INPUTS)
    (project / "in.json").write_text(text)
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    value = {"file": "in.json", "inline": text, "stdin": "-"}[form]
    run, paths = staged("w.wdl", "-i", value)
    assert run.inputs == STAGED_INPUTS
    assert run.inputs_given
    assert names(paths) == ["a.txt", "b.txt", "c.txt", "d.txt"]
    files = unzipped(source.archive(run, read("w.wdl", "-i", text)))
    assert set(files) == {"w.wdl", "lib/structs.wdl", "MANIFEST.json", "default_input.json"}
    assert files["MANIFEST.json"]["mainWorkflowURL"] == "w.wdl"
    shipped = files["default_input.json"]
    assert shipped["w.sample"]["reads"] == "s3://b/d.txt"


def test_yaml_inputs(project: Path) -> None:
    """miniwdl takes YAML for inputs, and so do we."""
    (project / "in.yaml").write_text("w.f: a.txt\nw.n: 3\n")
    run, _ = staged("w.wdl", "--input", "in.yaml")
    assert run.inputs == {"w.f": "s3://b/a.txt", "w.n": 3}


@pytest.mark.parametrize(
    "value", ["https://host/in.json", "s3://bucket/in.json", "/mnt/efs/in.json"]
)
def test_inputs_file_out_of_sight_passes_on(value: str, project: Path) -> None:
    """An inputs file that the workflow job reads itself is left alone, unchecked."""
    run, paths = staged("w.wdl", "-i", value)
    assert run.arguments.value("-i") == value
    assert (run.inputs, run.inputs_given, paths) == (None, False, [])


def test_archive_without_inputs(project: Path) -> None:
    """Without an inputs file the archive has none."""
    run, _ = staged("w.wdl", "f=s3://b/x")
    assert "default_input.json" not in unzipped(source.archive(run, run))


def test_archive_is_the_same_each_time(project: Path) -> None:
    """Equal sources make equal archives, so that a staged one is found again."""
    first, _ = staged("w.wdl", "f=s3://b/x")
    second, _ = staged("w.wdl", "f=s3://b/y")
    assert source.archive(first, first) == source.archive(second, second)


def test_import_from_outside(project: Path) -> None:
    """Imports from outside the WDL's directory, and by --path, come along."""
    (project / "sub").mkdir()
    (project / "sub" / "main.wdl").write_text(
        'version 1.1\nimport "../w.wdl" as up\nimport "structs.wdl" as s\n'
        "workflow m {\n  call up.w { input: f = 'x' }\n}\n"
    )
    run, _ = staged("sub/main.wdl", "-p", "lib")
    files = unzipped(source.archive(run, run))
    assert len([name for name in files if name.endswith(".wdl")]) == 3


def test_files_beside_the_source_code_come_along(project: Path) -> None:
    """A default that names a file relative to the WDL (WDL 1.2) finds it in the archive."""
    (project / "beside.wdl").write_text(
        "version 1.2\nworkflow w {\n  input {\n    File f = 'a.txt'\n"
        "    Array[File] g = ['b.txt']\n    File gone = 'gone.txt'\n"
        "    File out = '/etc/hostname'\n    String s = 'c.txt'\n  }\n}\n"
    )
    run, paths = staged("beside.wdl")
    files = unzipped(source.archive(run, run))
    assert set(files) == {"beside.wdl", "a.txt", "b.txt", "MANIFEST.json"}
    assert paths == []


def make_zip(project: Path, inputs: dict[str, Any] | None) -> Path:
    """An archive as `miniwdl zip` makes it."""
    text = ["-i", json.dumps(inputs)] if inputs else ["f=a.txt"]
    run = read("w.wdl", *text)
    path = project / "made.zip"
    path.write_bytes(source.archive(run, run))
    return path


def test_zip_is_shipped_as_it_is(project: Path) -> None:
    """An archive is not touched where nothing in it has to change."""
    path = make_zip(project, {"w.f": "s3://b/x"})
    run, _ = staged("made.zip")
    assert source.archive(run, run) == path.read_bytes()


def test_local_files_in_the_inputs_of_a_zip(project: Path) -> None:
    """The default inputs of an archive are looked into as well."""
    make_zip(project, {"w.f": "a.txt"})
    original = read("made.zip")
    run, paths = staged("made.zip")
    files = unzipped(source.archive(run, original))
    assert files["default_input.json"] == {"w.f": "s3://b/a.txt"}
    assert files["MANIFEST.json"]["inputFileURLs"] == ["default_input.json"]
    assert names(paths) == ["a.txt"]


def test_inputs_given_with_a_zip(project: Path) -> None:
    """Inputs by option replace those of the archive, in the archive."""
    make_zip(project, {"w.f": "gone.txt"})
    run, _ = staged("made.zip", "-i", '{"w.f": "b.txt"}')
    data = source.archive(run, run)
    (project / "again.zip").write_bytes(data)
    with opened_archive(project / "again.zip") as (_, inputs):
        assert inputs is not None
        assert json.loads(Path(inputs).read_text()) == {"w.f": "s3://b/b.txt"}


@pytest.mark.parametrize("wdl", ["https://host/w.wdl", "s3://bucket/w.zip", "/mnt/efs/w.wdl"])
def test_wdl_out_of_sight_passes_on(wdl: str, project: Path) -> None:
    """WDL by URL or on the mount is not loaded; what looks like a path and exists is a file."""
    run, paths = staged(wdl, "f=a.txt", "d=./dir", "s=plain", "g=gone.txt", "u=s3://b/a.txt")
    assert run.wdl_path is None
    assert run.arguments.wdl == wdl
    assert run.arguments.pairs == [
        "f=s3://b/a.txt",
        "d=s3://b/dir",
        "s=plain",
        "g=gone.txt",
        "u=s3://b/a.txt",
    ]
    assert names(paths) == ["a.txt", "dir"]


def test_untyped_inputs_file(project: Path) -> None:
    """Nested texts of an inputs file are looked at where types are unknown."""
    run, _ = staged("s3://bucket/w.zip", "-i", '{"x": [{"y": "a.txt", "z": 1}], "long": "%s"}')
    assert run.inputs is not None
    assert run.inputs["x"] == [{"y": "s3://b/a.txt", "z": 1}]


def test_relative_path_on_the_mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where this machine has the mount too, relative paths below it become absolute."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "w.wdl").write_text("version 1.1\nworkflow w {\n input { File f }\n}\n")
    arguments = RunArguments(["w.wdl", "f=a.txt"], run_options())
    run = source.read(arguments, str(tmp_path))
    local = LocalInputs(str(tmp_path))
    source.note_inputs(run, local)
    assert not local
    run = source.stage_inputs(run, local, {})
    assert run.arguments.wdl == str(tmp_path / "w.wdl")
    assert run.arguments.pairs == [f"f={tmp_path / 'a.txt'}"]


def test_runtime_defaults_file(project: Path) -> None:
    """A local file of runtime defaults is replaced by its content."""
    (project / "defaults.json").write_text('{"maxRetries": 2}')
    run = read("w.wdl", "f=a.txt", "--runtime-defaults", "defaults.json")
    assert run.arguments.value("--runtime-defaults") == '{"maxRetries": 2}'


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["-v"], "No WDL file is named"),
        (["gone.wdl"], "gone.wdl does not exist"),
        (["dir"], "dir is a directory; name a WDL file"),
        (["w.wdl", "-i", "gone.json"], "gone.json cannot be read"),
        (["w.wdl", "-i", "a.txt"], "should be a JSON object"),
        (["w.wdl", "f=gone.txt"], "Input f names the file gone.txt, which does not exist"),
        (["w.wdl", "f=dir"], "Input f names the file dir, which does not exist"),
        (["w.wdl", "f=a.txt", "dir=a.txt"], "Input dir names the directory a.txt"),
        (["w.wdl", "-i", '{"w.f": "/gone"}'], "Input w.f names the file /gone"),
        (["w.wdl", "f=a.txt", "--cfg", "a.txt"], "--cfg names a.txt on this machine"),
        (["w.wdl", "f=a.txt", "--runtime-defaults", "a.txt"], "a.txt is not JSON"),
    ],
)
def test_usage_errors(arguments: list[str], text: str, project: Path) -> None:
    """What is missing is named in one sentence."""
    with pytest.raises(UsageError, match=text) as error:
        staged(*arguments)
    assert error.value.exit_code == 64
    assert "\n" not in error.value.message


@pytest.mark.parametrize(
    ("wdl", "text"),
    [
        ("version 1.1\nworkflow {", "Ln 2 Col 10"),
        ('version 1.1\nimport "gone.wdl" as g\nworkflow w {}', "gone.wdl"),
        ("version 1.1\nworkflow w { Int x = true }", "Expected Int instead of Boolean"),
    ],
)
def test_invalid_wdl(wdl: str, text: str, project: Path) -> None:
    """Syntax, import and type errors are shown as `miniwdl check` does; exit code 2 as well."""
    (project / "bad.wdl").write_text(wdl)
    with pytest.raises(RejectedWdl, match=text) as error:
        read("bad.wdl")
    assert error.value.exit_code == 2
    assert "Traceback" not in error.value.message


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["f=a.txt", "g=1"], "No such input to w: g"),
        ([], "missing required inputs for w: f"),
        (["f=a.txt", "n=x"], "invalid literal"),
        (["-i", '{"w.g": 1}'], "g"),
        (["f=a.txt", "--none", "n"], "Cannot set non-optional input"),
        (["f=a.txt", "--task", "t"], "no such task t"),
    ],
)
def test_inputs_that_do_not_fit(arguments: list[str], text: str, project: Path) -> None:
    """Inputs are checked before anything is sent; exit code 2 as miniwdl's."""
    with pytest.raises(RejectedWdl, match=text) as error:
        read("w.wdl", *arguments)
    assert error.value.exit_code == 2


def test_inputs_that_cannot_be_parsed(project: Path) -> None:
    """Inputs that are neither JSON nor YAML are refused with the place."""
    with pytest.raises(RejectedWdl, match="neither JSON nor YAML"):
        read("w.wdl", "-i", '{"w.f": [}')


def test_not_an_archive(project: Path) -> None:
    """A .zip of something else is refused."""
    (project / "x.zip").write_text("text")
    with pytest.raises(RejectedWdl, match="not an archive of `miniwdl zip`"):
        read("x.zip")
