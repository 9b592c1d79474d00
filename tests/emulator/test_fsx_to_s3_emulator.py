"""`fsx_to_s3` and its plugin on the embedded AWS: export tasks, uploads, whole runs."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from batch_helper import Batch, make_client, unique
from engine_runs import Deployment

from miniwdl_cloud.cli import fsx_to_s3
from miniwdl_cloud.emulator.server import LocalCloud
from miniwdl_cloud.fsx import export_task, write_back


@dataclass
class Linked:
    """A file system that is linked to S3."""

    cloud: LocalCloud
    id: str
    mount: Path
    bucket: str

    def objects(self) -> set[str]:
        """The objects' keys."""
        pages = make_client(self.cloud, "s3").get_paginator("list_objects_v2")
        return {
            item["Key"]
            for page in pages.paginate(Bucket=self.bucket)
            for item in page.get("Contents", ())
        }

    def read(self, uri: str) -> bytes:
        """The content of an object."""
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        body = make_client(self.cloud, "s3").get_object(Bucket=bucket, Key=key)["Body"].read()
        return bytes(body)


@pytest.fixture
def linked(cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Linked]:
    """The deployment's shared filesystem as FSx for Lustre, with all of it linked to a bucket."""
    bucket = unique("linked-bucket")
    make_client(cloud, "s3").create_bucket(Bucket=bucket)
    ec2, fsx = make_client(cloud, "ec2"), make_client(cloud, "fsx")
    vpc = ec2.create_vpc(CidrBlock="10.8.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.8.0.0/24")["Subnet"]["SubnetId"]
    while True:  # the first one has the shared directory
        made = fsx.create_file_system(
            FileSystemType="LUSTRE",
            FileSystemTypeVersion="2.15",
            StorageCapacity=1200,
            SubnetIds=[subnet],
            LustreConfiguration={"DeploymentType": "SCRATCH_2"},
        )["FileSystem"]["FileSystemId"]
        mount = cloud.state / "fsx" / made
        if mount.is_dir():
            break
    fsx.create_data_repository_association(
        FileSystemId=made, FileSystemPath="/", DataRepositoryPath=f"s3://{bucket}/fs"
    )
    monkeypatch.setattr(export_task, "LOOK_EVERY_S", (0.02, 0.1))
    monkeypatch.setattr(write_back, "PAUSES_S", (0, 0))
    for name, value in {
        "AWS_ENDPOINT_URL": cloud.endpoint_url,
        "AWS_DEFAULT_REGION": cloud.region,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "MINIWDL__FILE_IO__ROOT": str(mount),
        "MINIWDL__FSX_TO_S3__FILE_SYSTEM": made,
        "XDG_CONFIG_HOME": str(tmp_path),
    }.items():
        monkeypatch.setenv(name, value)
    yield Linked(cloud, made, mount, bucket)
    cloud.fsx.file_fault = lambda path: None


def command(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[str], str]:
    """Runs the command: exit code, lines on standard output, standard error."""
    capfd.readouterr()
    code = fsx_to_s3.main(list(arguments))
    out, err = capfd.readouterr()
    return code, out.splitlines(), err


def failing(times: dict[str, int]) -> Callable[[str], str | None]:
    """Lets files of the file system fail so many times."""

    def fault(path: str) -> str | None:
        if times.get(path, 0) > 0:
            times[path] -= 1
            return "S3Error"
        return None

    return fault


def test_two_thousand_files_by_export_tasks(
    linked: Linked, capfd: pytest.CaptureFixture[str]
) -> None:
    """Of 2,000 files in tasks of a hundred those that go on failing are reported, with FSx's own
    reason; a repetition does the rest, and the rest only."""
    paths = []
    for number in range(2000):
        path = linked.mount / f"run/{number % 7}/file{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"content {number}\n")
        paths.append(path.relative_to(linked.mount).as_posix())
    chosen = random.Random(7).sample(paths, 40)
    stubborn = set(chosen[:20])
    times = {**dict.fromkeys(stubborn, 4), **dict.fromkeys(chosen[20:], 1)}
    linked.cloud.fsx.file_fault = failing(times)
    top = str(linked.mount / "run")
    code, lines, err = command(capfd, "--method", "task", top)
    assert code == 1
    assert lines == [
        f"{linked.mount / path}\ts3://{linked.bucket}/fs/{path}"
        for path in sorted(set(paths) - stubborn, key=lambda path: linked.mount / path)
    ]
    failed = [line.split(": ") for line in err.splitlines() if ": failed: " in line]
    assert {parts[2] for parts in failed} == {str(linked.mount / path) for path in stubborn}
    assert {parts[4] for parts in failed} == {"S3Error"}

    tasks = len(
        make_client(linked.cloud, "fsx").describe_data_repository_tasks()["DataRepositoryTasks"]
    )
    assert tasks >= 20
    code, lines, err = command(capfd, "--method", "task", top)
    assert (code, len(lines)) == (0, 2000)
    assert "20 files sent, 1980 were in S3 already, 0 failed" in err
    assert {key for key in linked.objects() if "/run/" in key} == {f"fs/{path}" for path in paths}


def test_tasks_wait_for_each_other(linked: Linked, capfd: pytest.CaptureFixture[str]) -> None:
    """While somebody else's task runs on the file system, ours waits for it."""
    import threading

    (linked.mount / "mine").write_text("x")
    (linked.mount / "theirs").write_text("x")
    proceed = threading.Event()
    linked.cloud.fsx.file_fault = lambda path: None if proceed.wait(60) else "InternalError"
    make_client(linked.cloud, "fsx").create_data_repository_task(
        Type="EXPORT_TO_REPOSITORY",
        FileSystemId=linked.id,
        Paths=["theirs"],
        Report={"Enabled": False},
    )
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:

        def say(text: str) -> None:
            said.append(text)
            if "waiting for another" in text:
                proceed.set()

        patch.setattr(fsx_to_s3, "_say", say)
        code, lines, _ = command(capfd, "--method", "task", str(linked.mount / "mine"))
    assert (code, len(lines)) == (0, 1)
    assert any("waiting for another data repository task" in line for line in said)


def test_without_lustre_here_fsx_exports(linked: Linked, capfd: pytest.CaptureFixture[str]) -> None:
    """By default a file system that is not mounted as Lustre here is exported by FSx."""
    (linked.mount / "a").write_text("x")
    assert command(capfd, str(linked.mount / "a"))[0] == 0
    found = make_client(linked.cloud, "s3").head_object(Bucket=linked.bucket, Key="fs/a")
    assert "file-mtime" in found["Metadata"]  # as FSx writes


def test_the_console_script(linked: Linked) -> None:
    """The installed command: table on standard output, summary on standard error, exit codes."""
    (linked.mount / "d").mkdir()
    (linked.mount / "d/a").write_text("x")
    script = str(Path(sys.executable).with_name("fsx_to_s3"))
    options = ["--method", "upload"]
    done = subprocess.run(
        [script, *options, str(linked.mount / "d")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{linked.mount}/d/a\ts3://{linked.bucket}/fs/d/a\n"
    assert done.stderr == "fsx_to_s3: 1 files sent, 0 were in S3 already, 0 failed\n"
    again = subprocess.run(
        [script, *options, str(linked.mount / "d")], capture_output=True, text=True, check=False
    )
    assert "0 files sent, 1 were in S3 already" in again.stderr
    outside = subprocess.run(
        [script, *options, "/etc/hostname"], capture_output=True, text=True, check=False
    )
    assert outside.returncode == 64
    assert "/etc/hostname is not on the shared filesystem" in outside.stderr


WORKFLOW = """
version 1.2
workflow w {
  call t
  output {
    File one = t.one
    Array[File] many = t.many
    Directory folder = t.folder
    String plain = "plain"
  }
}
task t {
  command <<<
    echo one > one.txt
    echo secret > not_an_output
    mkdir folder; echo in > folder/inside
    for i in 1 2; do echo $i > $i.txt; done
  >>>
  output {
    File one = "one.txt"
    Array[File] many = ["1.txt", "2.txt"]
    Directory folder = "folder"
  }
  runtime { docker: "image" }
}
"""


@pytest.fixture
def runs(cloud: LocalCloud, batch: Batch, linked: Linked, tmp_path: Path) -> Iterator[Deployment]:
    """Runs of miniwdl on the linked file system."""
    made = Deployment(cloud, batch, tmp_path)
    made.root = linked.mount / "runs"
    made.root.mkdir()
    yield made
    made.close()


def environment(linked: Linked, **more: str) -> dict[str, str]:
    """The settings of a workflow job on FSx."""
    return {
        "MINIWDL__SCHEDULER__CONTAINER_BACKEND": "aws_batch_job_no_efs",
        "MINIWDL__FILE_IO__ROOT": str(linked.mount),
        "MINIWDL__FSX_TO_S3__FILE_SYSTEM": linked.id,
        "MINIWDL__FSX_TO_S3__METHOD": "upload",
        **more,
    }


def test_a_run_writes_its_outputs_back(linked: Linked, runs: Deployment) -> None:
    """Outputs and log are in S3 at their place, outputs.s3.json says where, and its URI is an
    output; nothing else of the run has left."""
    run = runs.run(WORKFLOW, env=environment(linked))
    uri = run.outputs["_outputs_s3_json"]
    directory = run.directory.resolve().relative_to(linked.mount).as_posix()
    assert uri == f"s3://{linked.bucket}/fs/{directory}/outputs.s3.json"
    kept = json.loads((run.directory / "outputs.s3.json").read_text())
    assert json.loads(linked.read(uri)) == kept
    work = f"s3://{linked.bucket}/fs/{directory}/call-t/work"
    assert kept == {
        "w.one": f"{work}/one.txt",
        "w.many": [f"{work}/1.txt", f"{work}/2.txt"],
        "w.folder": f"{work}/folder",
        "w.plain": "plain",
    }
    assert linked.read(kept["w.one"]) == b"one\n"
    sent = {key.removeprefix(f"fs/{directory}/") for key in linked.objects()}
    assert sent == {
        "workflow.log",
        "outputs.s3.json",
        "call-t/work/one.txt",
        "call-t/work/1.txt",
        "call-t/work/2.txt",
        "call-t/work/folder/inside",
    }


def test_a_task_run_writes_its_outputs_back(linked: Linked, runs: Deployment) -> None:
    """So does a single task; with FSx's own export here."""
    run = runs.run(
        WORKFLOW,
        "--task",
        "t",
        env=environment(linked, MINIWDL__FSX_TO_S3__METHOD="auto"),
    )
    assert run.outputs["_outputs_s3_json"].endswith("/outputs.s3.json")
    kept = json.loads((run.directory / "outputs.s3.json").read_text())
    assert linked.read(kept["t.one"]) == b"one\n"
    assert any(key.endswith("task.log") for key in linked.objects())


@pytest.mark.parametrize(
    "changes",
    [{"MINIWDL__FSX_TO_S3__AUTO": "false"}, {"MINIWDL__FSX_TO_S3__FILE_SYSTEM": ""}],
    ids=["turned off", "not on FSx"],
)
def test_runs_that_write_nothing_back(
    changes: dict[str, str], linked: Linked, runs: Deployment
) -> None:
    """Turned off, or where the filesystem is not FSx, the plugin does nothing, silently."""
    run = runs.run(WORKFLOW, env=environment(linked, **changes))
    assert "_outputs_s3_json" not in run.outputs
    assert not (run.directory / "outputs.s3.json").exists()
    assert linked.objects() == set()
    assert "fsx" not in (run.directory / "workflow.log").read_text().lower().replace(
        str(linked.mount).lower(), ""
    )


def test_outputs_that_cannot_be_written_back(linked: Linked, runs: Deployment) -> None:
    """The run fails with a sentence that says why, and where the outputs are."""
    fsx = make_client(linked.cloud, "fsx")
    (link,) = fsx.describe_data_repository_associations(
        Filters=[{"Name": "file-system-id", "Values": [linked.id]}]
    )["Associations"]
    fsx.delete_data_repository_association(AssociationId=link["AssociationId"])
    fsx.create_data_repository_association(
        FileSystemId=linked.id,
        FileSystemPath="/elsewhere",
        DataRepositoryPath=f"s3://{linked.bucket}/fs",
    )
    run = runs.run(WORKFLOW, env=environment(linked), fails=True)
    message = run.error["cause"]["message"]
    assert "4 of 4 output files could not be written back to S3" in message
    assert "no S3 location is linked to its directory" in message
    assert len(run.error["cause"]["failed"]) == 4
    assert (run.directory / "out/one/one.txt").is_file()


def test_a_file_that_is_removed_meanwhile(
    linked: Linked, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that goes before its task begins does not take the others of the task with it."""
    for name in "abc":
        (linked.mount / name).write_text(name)
    original = write_back.existing

    def remove(s3: Any, uris: Any) -> Any:
        (linked.mount / "b").unlink(missing_ok=True)
        return original(s3, uris)

    monkeypatch.setattr(write_back, "existing", remove)
    paths = [str(linked.mount / name) for name in "abc"]
    code, lines, err = command(capfd, "--method", "task", *paths)
    assert (code, len(lines)) == (1, 2)
    assert f"failed: {linked.mount}/b: it is gone" in err


def test_where_fsx_exports_nothing_files_are_uploaded(
    linked: Linked, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where FSx does not take a task, `auto` uploads, and says so; the method `task` does not."""
    from miniwdl_cloud.aws.fsx import Fsx
    from miniwdl_cloud.errors import AccessDenied, ConfigurationError

    def refuse(*args: object) -> None:
        raise AccessDenied("These credentials may not call CreateDataRepositoryTask", {})

    monkeypatch.setattr(Fsx, "start_export", refuse)
    (linked.mount / "a").write_text("x")
    with pytest.raises(ConfigurationError, match=r"task: .* may not call .*; choose another way"):
        command(capfd, "--method", "task", str(linked.mount / "a"))
    code, lines, err = command(capfd, str(linked.mount / "a"))
    assert (code, len(lines)) == (0, 1)
    assert "task cannot be used here" in err
