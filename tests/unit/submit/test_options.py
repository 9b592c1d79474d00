"""The command line of `miniwdl-aws-submit`."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

from miniwdl_cloud import settings as s
from miniwdl_cloud.cli import submit as cli
from miniwdl_cloud.errors import UsageError
from miniwdl_cloud.submit.options import Options, add_arguments, from_namespace

OPTIONS = [
    "--workflow-queue",
    "--task-queue",
    "--task-queue-fallback",
    "--fsap",
    "--fsid",
    "--no-efs",
    "--mount",
    "--workflow-role",
    "--image",
    "--cpu",
    "--memory-GiB",
    "--name",
    "--no-public-ip",
    "--dir",
    "--s3upload",
    "--delete-after",
    "--no-env",
    "--wait",
    "--follow",
    "--self-test",
    "--stage",
    "--dry-run",
    "--adopt",
]


def parse(*argv: str) -> Options:
    """Options of a command line."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_arguments(parser)
    return from_namespace(*parser.parse_known_args(argv))


@pytest.fixture(autouse=True)
def _no_cfg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MINIWDL_CFG", str(tmp_path / "none.cfg"))


def test_what_is_unknown_passes_through_in_order() -> None:
    """Arguments of `miniwdl run` come out as they went in, ours taken from among them."""
    options = parse(
        "w.wdl",
        "--workflow-queue",
        "q",
        "x=1",
        "-i",
        "in.json",
        "--verbose",
        "--wait",
        "--env",
        "A=b c",
        "y= ",
        "--no-cache",
        "-p",
        "lib",
        "--name",
        "n",
        "z=--odd",
    )
    assert options.run_arguments == (
        "w.wdl",
        "x=1",
        "-i",
        "in.json",
        "--verbose",
        "--env",
        "A=b c",
        "y= ",
        "--no-cache",
        "-p",
        "lib",
        "z=--odd",
    )
    assert (options.wait, options.follow, options.name) == (True, False, "n")


def test_no_abbreviations() -> None:
    """A beginning of one of our options is miniwdl's business (`--task`), not ours."""
    options = parse("w.wdl", "--task", "t", "--work", "x", "--self")
    assert options.run_arguments == ("w.wdl", "--task", "t", "--work", "x", "--self")
    assert not options.self_test


def test_defaults() -> None:
    """Without options: 1 vCPU, 4 GiB, public address, environment passed, nothing awaited."""
    options = parse("w.wdl")
    assert (options.vcpus, options.memory_mib) == (1.0, 4096)
    assert options.public_ip and options.pass_environment
    assert not (options.wait or options.follow or options.self_test or options.dry_run)
    assert not options.always_stage and not options.access_point_given


@pytest.mark.parametrize(
    ("argv", "setting", "value"),
    [
        (["--workflow-queue", "q"], s.WORKFLOW_QUEUE, "q"),
        (["--task-queue", "q"], s.TASK_QUEUE, "q"),
        (["--task-queue-fallback", "q"], s.TASK_QUEUE_FALLBACK, "q"),
        (["--fsap", "fsap-1"], s.FSAP, "fsap-1"),
        (["--fsid", "fs-1"], s.FS, "fs-1"),
        (["--no-efs"], s.FS, "0"),
        (["--no-EFS"], s.FS, "0"),
        (["--mount", "/m"], s.MOUNT, "/m"),
        (["--workflow-role", "r"], s.WORKFLOW_ROLE, "r"),
        (["--image", "i"], s.WORKFLOW_IMAGE, "i"),
        (["--s3upload", "s3://b/"], s.S3_UPLOAD_FOLDER, "s3://b/"),
        (["--delete-after", "always"], s.DELETE_AFTER, "always"),
        (["--stage", "s3://b/p"], s.STAGE_URI, "s3://b/p"),
    ],
)
def test_options_are_settings(
    argv: list[str], setting: s.Setting, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Options that are settings win over the environment, which counts without them."""
    monkeypatch.setenv(setting.env, "environment")
    assert parse(*argv).settings.get(setting) == value
    assert parse().settings.get(setting) == "environment"


def test_older_spelling_of_delete_after(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both environment spellings of delete-after are known."""
    monkeypatch.setenv("MINIWDL__AWS__S3_UPLOAD_DELETE_AFTER", "success")
    assert parse().settings.get(s.DELETE_AFTER) == "success"


def test_access_point_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """An access point counts as given by option or environment, unlike one by tag."""
    assert parse("--fsap", "fsap-1").access_point_given
    monkeypatch.setenv("MINIWDL__AWS__FSAP", "fsap-1")
    assert parse().access_point_given


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["--no-efs", "--fsid", "fs-1"], "exclude each other"),
        (["--cpu", "0"], "more than zero"),
        (["--memory-GiB", "-1"], "more than zero"),
        (["--cpu", "many"], "invalid float value"),
        (["--delete-after", "sometimes"], "invalid choice"),
        (["--workflow-queue"], "expected one argument"),
    ],
)
def test_wrong_options(argv: list[str], text: str) -> None:
    """A wrong option is a UsageError (64), told from miniwdl's own exit code 2."""
    with pytest.raises(UsageError, match=text) as error:
        cli.main(["w.wdl", *argv])
    assert error.value.exit_code == 64


def test_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    """--help ends with 0 and names all options."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    for option in OPTIONS:
        assert option in text


def test_help_loads_neither_boto3_nor_wdl() -> None:
    """What is slow to import is not imported for --help."""
    code = (
        "import sys\n"
        "from miniwdl_cloud.cli import main, submit\n"
        "try:\n"
        "    submit.main(['--help'])\n"
        "except SystemExit:\n"
        "    pass\n"
        "slow = {'boto3', 'botocore', 'WDL', 'rich', 'docker', 'argcomplete'} & set(sys.modules)\n"
        "assert not slow, slow\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL, timeout=60)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("--workflow-q", "--workflow-queue"),
        ("w.wdl --no-ca", "--no-cache"),
        ("w.wdl --di", "--dir"),
        ("w.wdl na", "name="),
    ],
)
def test_completion(line: str, expected: str, tmp_path: Path) -> None:
    """Our options, miniwdl's and the names of inputs are completed."""
    (tmp_path / "w.wdl").write_text("version 1.1\nworkflow w {\n  input { String name }\n}\n")
    line = f"miniwdl-aws-submit {line}"
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            # argcomplete answers on file descriptor 8
            "import os\nos.dup2(1, 8)\nfrom miniwdl_cloud.cli import submit\nsubmit.main([])",
        ],
        cwd=tmp_path,
        env={
            "_ARGCOMPLETE": "1",
            "_ARGCOMPLETE_IFS": "\n",
            "COMP_LINE": line,
            "COMP_POINT": str(len(line)),
            "COMP_TYPE": "9",
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert expected in [word.strip() for word in done.stdout.splitlines()]
