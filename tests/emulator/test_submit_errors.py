"""Every bad input of `miniwdl-aws-submit`: one clear sentence, the exit code of its kind."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from submit_deployment import Deployment, queue
from submit_deployment import deployment as deployed

from miniwdl_cloud.cli import submit
from miniwdl_cloud.errors import MiniwdlCloudError

WDL = "version 1.1\nworkflow w {\n  input { File? f }\n}\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A deployment in an embedded AWS of its own."""
    with deployed(tmp_path_factory.mktemp("cloud")) as deployment:
        batch = deployment.client("batch")
        tags = {
            "DefaultTaskQueue": "task",
            "DefaultFsap": deployment.fsap,
            "WorkflowEngineRoleArn": deployment.role,
        }
        queue(batch, "untagged", "fargate")
        queue(batch, "disabled", "fargate", tags, state="DISABLED")
        queue(batch, "no-task-queue", "fargate", {"DefaultFsap": deployment.fsap})
        queue(batch, "ec2-workflow", "ec2", {"DefaultTaskQueue": "task"})
        queue(batch, "no-role", "fargate", {**tags, "WorkflowEngineRoleArn": ""})
        queue(batch, "bad-role", "fargate", {**tags, "WorkflowEngineRoleArn": "engine"})
        queue(batch, "bad-fsap", "fargate", {**tags, "DefaultFsap": "none"})
        queue(batch, "no-fsap", "fargate", {**tags, "DefaultFsap": ""})
        yield deployment


@pytest.fixture
def run(
    made: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., MiniwdlCloudError]:
    """Submits a small workflow with these options; returns the error that it met."""
    (tmp_path / "w.wdl").write_text(WDL)
    (tmp_path / "reads.bam").write_text("reads")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for name, value in made.env.items():
        monkeypatch.setenv(name, value)

    def call(*options: str, wdl: str = "w.wdl") -> MiniwdlCloudError:
        before = len(made.jobs())
        with pytest.raises(MiniwdlCloudError) as error:
            submit.main([wdl, *options])
        assert len(made.jobs()) == before
        assert "\n" not in error.value.message
        return error.value

    return call


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        (["--workflow-queue", "gone"], 69, "workflow queue (--workflow-queue) gone does not exist"),
        (["--workflow-queue", "disabled"], 78, "disabled is disabled; enable it"),
        (["--workflow-queue", "no-task-queue"], 64, "No task queue is named"),
        (["--task-queue", "gone"], 69, "task queue (--task-queue) gone does not exist"),
        (["--task-queue", "disabled"], 78, "(--task-queue) disabled is disabled"),
        (["--task-queue-fallback", "gone"], 69, "(--task-queue-fallback) gone does not exist"),
        (["--task-queue", "untagged"], 78, "untagged runs on Fargate, but task jobs need EC2"),
        (["--task-queue-fallback", "untagged"], 78, "task jobs need EC2"),
        (["--no-efs"], 78, "runs on Fargate, where no host mounts"),
        (["--workflow-queue", "no-fsap"], 64, "No shared filesystem is named"),
        (["--workflow-queue", "bad-fsap"], 64, "'none' (--fsap"),
        (["--fsap", "fsap-01234567"], 69, "access point fsap-01234567 does not exist"),
        (["--fsap", "x"], 64, "not the id of an EFS access point"),
        (["--fsid", "fs-01234567"], 69, "no EFS or FSx for Lustre file system fs-01234567"),
        (["--fsid", "x"], 64, "not the id of a file system"),
        (["--workflow-queue", "no-role"], 64, "No role for the workflow job is named"),
        (["--workflow-queue", "bad-role"], 64, "'engine' (--workflow-role"),
        (["--workflow-role", "arn:aws:iam::1:role/x"], 64, "not the ARN of an IAM role"),
        (["--workflow-role", "arn:aws:iam::123456789012:role/x"], 69, "does not exist"),
        (["--image", "No Such:Image"], 64, "not the name of a container image"),
        (["--image", "x" * 256], 64, "not the name of a container image"),
        (["--stage", "bucket/x"], 64, "'bucket/x' is not an S3 location"),
        (["--stage", "s3://no-such-bucket-here/x"], 69, "no-such-bucket-here"),
        (["--s3upload", "gs://bucket/x"], 64, "not an S3 location"),
        (["--s3upload", "s3://no-such-bucket-here/x"], 69, "of the --s3upload"),
        (["--delete-after", "always"], 64, "needs an upload location"),
        (["--dir", "/elsewhere"], 64, "--dir /elsewhere is not on the shared filesystem"),
        (["--mount", "relative"], 64, "should be an absolute path"),
        (["--mount", "/"], 64, "should be an absolute path"),
        (["--cpu", "3"], 64, "the nearest is 2"),
        (["--memory-GiB", "9"], 64, "the nearest is 8"),
        (["f=gone.bam"], 64, "Input f names the file gone.bam"),
        (["f=reads.bam"], 64, "name a staging location with --stage"),
        (["x" * 9000 + "=1"], 2, "No such input"),
        (["--env", "A=" + "x" * 9000], 123, "characters, more than"),
    ],
)
def test_bad_option(
    options: list[str], code: int, text: str, run: Callable[..., MiniwdlCloudError]
) -> None:
    """A wrong option names itself and what to do, before anything is submitted."""
    error = run(*options)
    assert text in error.message
    assert error.exit_code == code


def test_dir_beside_the_mount(run: Callable[..., MiniwdlCloudError], made: Deployment) -> None:
    """A directory whose name begins with the mount point's is not under it."""
    assert run("--dir", f"{made.mount}2/x").exit_code == 64
    assert run("--dir", f"{made.mount}/../x").exit_code == 64


def test_no_workflow_queue(
    run: Callable[..., MiniwdlCloudError], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a workflow queue the error names option and variable."""
    monkeypatch.delenv("MINIWDL__AWS__WORKFLOW_QUEUE")
    error = run()
    assert error.exit_code == 64
    assert "--workflow-queue or MINIWDL__AWS__WORKFLOW_QUEUE" in error.message


@pytest.mark.parametrize(
    "name", ["MINIWDL__AWS__DELETE_AFTER_S3_UPLOAD", "MINIWDL__AWS__S3_UPLOAD_DELETE_AFTER"]
)
def test_delete_after_by_environment(
    name: str, run: Callable[..., MiniwdlCloudError], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Delete-after by environment needs an upload location too, and a valid value."""
    monkeypatch.setenv(name, "success")
    assert "needs an upload location" in run().message
    monkeypatch.setenv(name, "sometimes")
    assert run().exit_code == 64


@pytest.mark.parametrize("by", ["option", "environment"])
def test_delete_after_with_upload_folder_wherever_set(
    by: str,
    run: Callable[..., MiniwdlCloudError],
    made: Deployment,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Delete-after is content with an upload location by option or by environment."""
    folder = f"s3://{made.bucket}/out"
    options = ["w.wdl", "--dry-run", "--delete-after", "success"]
    if by == "option":
        options += ["--s3upload", folder]
    else:
        monkeypatch.setenv("MINIWDL__AWS__S3_UPLOAD_FOLDER", folder)
    assert submit.main(options) == 0
    assert folder in capsys.readouterr().out


def test_setting_of_the_wrong_type(
    run: Callable[..., MiniwdlCloudError], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A setting that is no JSON is named by its variable."""
    monkeypatch.setenv("MINIWDL__AWS__JOB_TAGS", "x")
    error = run()
    assert "MINIWDL__AWS__JOB_TAGS" in error.message
    assert error.exit_code == 64


def test_invalid_queue(
    run: Callable[..., MiniwdlCloudError], made: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A queue that Batch calls invalid is reported with Batch's reason."""
    from miniwdl_cloud.aws.batch import BatchClient

    original = BatchClient.describe_queues

    def invalid(self: BatchClient, names: list[str]) -> list[dict[str, object]]:
        return [
            {**item, "status": "INVALID", "statusReason": "CE is invalid"}
            for item in original(self, names)
        ]

    monkeypatch.setattr(BatchClient, "describe_queues", invalid)
    error = run()
    assert error.exit_code == 78
    assert "is INVALID (CE is invalid)" in error.message


def test_access_point_not_available(
    run: Callable[..., MiniwdlCloudError], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An access point that is being made or deleted is reported with its state."""
    from miniwdl_cloud.aws.efs import AccessPoint, Efs

    monkeypatch.setattr(
        Efs, "access_point", lambda self, name: AccessPoint(name, "fs-01234567", "deleting")
    )
    error = run()
    assert error.exit_code == 78
    assert "is deleting, not available" in error.message


def test_access_point_of_another_file_system(
    run: Callable[..., MiniwdlCloudError], made: Deployment
) -> None:
    """--fsid and --fsap have to belong together."""
    error = run("--fsid", "fs-01234567", "--fsap", made.fsap)
    assert error.exit_code == 78
    assert "not to fs-01234567" in error.message


def test_no_permission_to_look_at_the_access_point(
    run: Callable[..., MiniwdlCloudError],
    made: Deployment,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Who may not look at EFS names file system and access point, which are taken on trust."""
    from miniwdl_cloud.aws.efs import Efs
    from miniwdl_cloud.errors import AccessDenied

    def denied(self: Efs, name: str) -> None:
        raise AccessDenied("no permission", {"httpStatus": 403})

    monkeypatch.setattr(Efs, "access_point", denied)
    assert run().exit_code == 77
    options = ["--fsid", made.file_system, "--fsap", made.fsap]
    assert submit.main(["w.wdl", "--dry-run", *options]) == 0
    assert made.file_system in capsys.readouterr().out


def test_efs_file_system_without_access_point(
    run: Callable[..., MiniwdlCloudError], made: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    """--fsid with an EFS file system mounts its root: the access point by tag is not this one's."""
    assert submit.main(["w.wdl", "--dry-run", "--fsid", made.file_system]) == 0
    out = capsys.readouterr().out
    assert made.file_system in out
    assert made.fsap not in out


def test_no_credentials(
    run: Callable[..., MiniwdlCloudError], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without credentials the error says where to put them."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    error = run()
    assert error.exit_code == 77
    assert "AWS_ACCESS_KEY_ID" in error.message


def test_no_region(run: Callable[..., MiniwdlCloudError], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a Region the error says how to choose one."""
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    error = run()
    assert error.exit_code == 78
    assert "AWS_DEFAULT_REGION" in error.message


@pytest.mark.parametrize("name", ["AWS_REGION", "MINIWDL__AWS__REGION"])
def test_other_places_of_the_region(
    name: str,
    run: Callable[..., MiniwdlCloudError],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The Region may come by the setting or by AWS_REGION."""
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.setenv(name, "us-east-1")
    assert submit.main(["w.wdl", "--dry-run"]) == 0


def test_endpoint_does_not_answer(
    run: Callable[..., MiniwdlCloudError], made: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An endpoint where nobody listens is an error that trying again may mend."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{unused.getsockname()[1]}")
        monkeypatch.setenv("MINIWDL__AWS__BOTO3_RETRIES", '{"max_attempts": 1}')
        with pytest.raises(MiniwdlCloudError, match="did not answer") as error:
            submit.main(["w.wdl"])
    assert error.value.exit_code == 75


def test_no_permission_to_look_at_role_or_bucket(
    run: Callable[..., MiniwdlCloudError],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Who may submit jobs but look at neither roles nor buckets can submit."""
    from miniwdl_cloud.aws.iam import Iam

    monkeypatch.setattr(Iam, "role_exists", lambda self, arn: None)
    role = "arn:aws:iam::123456789012:role/path/unseen"
    assert submit.main(["w.wdl", "--dry-run", "--workflow-role", role]) == 0
    assert role in capsys.readouterr().out


def test_the_command_shows_one_line(made: Deployment, tmp_path: Path) -> None:
    """The console script prints the message, no traceback, and nothing on standard output."""
    (tmp_path / "w.wdl").write_text(WDL)
    done = subprocess.run(
        [str(Path(sys.executable).parent / "miniwdl-aws-submit"), "w.wdl", "--fsap", "x"],
        cwd=tmp_path,
        env={**made.env, "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 64
    assert done.stdout == ""
    assert done.stderr.startswith("miniwdl-aws-submit: 'x' (--fsap")
    assert len(done.stderr.strip().splitlines()) == 1


def test_invalid_wdl_by_the_command(made: Deployment, tmp_path: Path) -> None:
    """WDL that miniwdl rejects ends with its exit code, and its account of the place."""
    (tmp_path / "bad.wdl").write_text("version 1.1\nworkflow w { Int x = true }\n")
    done = subprocess.run(
        [str(Path(sys.executable).parent / "miniwdl-aws-submit"), "bad.wdl"],
        cwd=tmp_path,
        env={**made.env, "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert "Ln 2 Col" in done.stderr
    assert "Traceback" not in done.stderr
