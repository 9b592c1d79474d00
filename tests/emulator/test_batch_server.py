"""The embedded AWS as a server: volumes, throttling, call counts, its process and its state."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.exceptions
import pytest
from batch_helper import Batch, make_client, unique, wait_until

from miniwdl_cloud.emulator.server import LocalCloud
from miniwdl_cloud.emulator.state import FILE_NAME, ServerState, read_state
from miniwdl_cloud.errors import ConfigurationError, UsageError


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[LocalCloud]:
    """An embedded AWS of a test's own."""
    with LocalCloud(tmp_path / "state", tmp_path / "filesystem", stop_grace_s=1.0) as running:
        yield running


def local(url: str, method: str = "GET", body: bytes | None = None) -> Any:
    """The answer of one of the emulator's own endpoints."""
    request = urllib.request.Request(url, data=body, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=30) as answer:
        return json.load(answer)


def efs_job(batch: Batch, mount: Path, **efs: Any) -> dict[str, Any]:
    """The detail of a job that writes below a mounted EFS volume."""
    definition = batch.definition(
        "sh",
        "-c",
        f"echo hello > {mount}/file",
        container={
            "volumes": [{"name": "v", "efsVolumeConfiguration": efs}],
            "mountPoints": [{"sourceVolume": "v", "containerPath": str(mount)}],
        },
    )
    return batch.wait(batch.submit(definition, batch.queue()))


def test_efs(fresh: LocalCloud) -> None:
    """The first file system and its access point are the directory given for the filesystem."""
    batch, efs = Batch(fresh), make_client(fresh, "efs")
    first = efs.create_file_system(CreationToken=unique("token"))["FileSystemId"]
    point = efs.create_access_point(
        ClientToken=unique("token"), FileSystemId=first, RootDirectory={"Path": "/miniwdl"}
    )["AccessPointId"]
    detail = efs_job(
        batch,
        fresh.filesystem,
        fileSystemId=first,
        transitEncryption="ENABLED",
        authorizationConfig={"accessPointId": point},
    )
    assert detail["status"] == "SUCCEEDED"
    assert (fresh.filesystem / "file").read_text() == "hello\n"
    (fresh.filesystem / "below").mkdir()
    detail = efs_job(batch, fresh.filesystem / "below", fileSystemId=first, rootDirectory="/below")
    assert detail["status"] == "SUCCEEDED"
    other = efs.create_file_system(CreationToken=unique("token"))["FileSystemId"]
    directory = fresh.state / "efs" / other
    assert efs_job(batch, directory, fileSystemId=other)["status"] == "SUCCEEDED"
    assert (directory / "file").exists()


@pytest.mark.parametrize(
    "efs",
    [
        {"fileSystemId": "fs-00000000"},
        {
            "transitEncryption": "ENABLED",
            "authorizationConfig": {"accessPointId": "fsap-00000000"},
        },
        {"rootDirectory": "/no/such/directory"},
    ],
)
def test_efs_that_cannot_be_mounted(fresh: LocalCloud, efs: dict[str, Any]) -> None:
    """An EFS volume that does not exist fails the job as the mount helper does on AWS."""
    api = make_client(fresh, "efs")
    known = api.create_file_system(CreationToken=unique("token"))["FileSystemId"]
    detail = efs_job(Batch(fresh), fresh.filesystem, **{"fileSystemId": known, **efs})
    assert (detail["status"], detail["statusReason"]) == ("FAILED", "Task failed to start")
    assert detail["container"]["reason"].startswith(
        "ResourceInitializationError: failed to invoke EFS utils commands to set up EFS volumes"
    )


def test_mount_elsewhere(fresh: LocalCloud) -> None:
    """The process executor says what to do when a volume belongs at another path."""
    definition = Batch(fresh).definition(
        container={
            "volumes": [{"name": "v", "host": {"sourcePath": str(fresh.filesystem)}}],
            "mountPoints": [{"sourceVolume": "v", "containerPath": "/mnt/elsewhere"}],
        }
    )
    batch = Batch(fresh)
    detail = batch.wait(batch.submit(definition, batch.queue()))
    reason = detail["container"]["reason"]
    assert reason.startswith("CannotStartContainerError: the process executor cannot mount")
    assert "--filesystem /mnt/elsewhere" in reason


def test_throttling(tmp_path: Path) -> None:
    """Calls above the allowed rate get TooManyRequestsException with HTTP status 429."""
    with LocalCloud(tmp_path / "state", tmp_path / "fs", calls_per_second=5) as cloud:
        api = make_client(cloud, "batch")
        with pytest.raises(botocore.exceptions.ClientError) as caught:
            for _ in range(10_000):
                api.describe_job_queues()
        response = caught.value.response
        assert response["Error"]["Code"] == "TooManyRequestsException"
        assert response["ResponseMetadata"]["HTTPStatusCode"] == 429
        patient = make_client(cloud, "batch", retries={"total_max_attempts": 8, "mode": "standard"})
        assert patient.describe_job_queues()["jobQueues"] == []
        make_client(cloud, "s3").list_buckets()


def test_call_counts(fresh: LocalCloud) -> None:
    """API calls are counted by service and operation, in Python and over HTTP."""
    batch, s3 = make_client(fresh, "batch"), make_client(fresh, "s3")
    bucket = unique("bucket")
    batch.describe_job_queues()
    batch.describe_job_queues()
    with pytest.raises(botocore.exceptions.ClientError):
        batch.list_tags_for_resource(resourceArn="arn:aws:batch:us-east-1:123456789012:job/none")
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="a b/é", Body=b"x")
    s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "a b/é"})
    s3.get_object(Bucket=bucket, Key="copy")
    s3.list_objects_v2(Bucket=bucket)
    upload = s3.create_multipart_upload(Bucket=bucket, Key="parts")["UploadId"]
    s3.upload_part(Bucket=bucket, Key="parts", UploadId=upload, PartNumber=1, Body=b"x")
    make_client(fresh, "efs").describe_file_systems()
    make_client(fresh, "iam").list_roles()
    make_client(fresh, "logs").describe_log_groups()
    counts = local(f"{fresh.endpoint_url}/_local/calls")
    assert counts == fresh.calls.as_dict()
    assert counts == {
        "batch": {"DescribeJobQueues": 2, "ListTagsForResource": 1},
        "elasticfilesystem": {"DescribeFileSystems": 1},
        "iam": {"ListRoles": 1},
        "logs": {"DescribeLogGroups": 1},
        "s3": {
            "CopyObject": 1,
            "CreateBucket": 1,
            "CreateMultipartUpload": 1,
            "GetObject": 1,
            "ListObjectsV2": 1,
            "PutObject": 1,
            "UploadPart": 1,
        },
    }
    local(f"{fresh.endpoint_url}/_local/reset-calls", "POST")
    assert fresh.calls.as_dict() == {}


def test_call_counts_of_an_application(fresh: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """The calls of an application that names itself can be counted apart."""
    make_client(fresh, "batch").describe_job_queues()
    monkeypatch.setenv("AWS_SDK_UA_APP_ID", "engine")
    make_client(fresh, "batch").describe_job_queues()
    counts = local(f"{fresh.endpoint_url}/_local/calls?application=engine")
    assert counts == {"batch": {"DescribeJobQueues": 1}}
    assert local(f"{fresh.endpoint_url}/_local/calls?application=other") == {}
    assert fresh.calls.as_dict() == {"batch": {"DescribeJobQueues": 2}}


def test_a_start_that_fails_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes wrong while it starts is raised, and nothing is left running."""

    def fail(*_: object) -> None:
        raise RuntimeError("on purpose")

    monkeypatch.setattr(LocalCloud, "_make_executor", fail)
    before = set(threading.enumerate())
    with pytest.raises(RuntimeError, match="on purpose"):
        LocalCloud(tmp_path / "state", tmp_path / "filesystem").start()
    new = set(threading.enumerate()) - before
    assert not [thread for thread in new if thread.name == "emulator-server"]


def test_managed_policies(fresh: LocalCloud) -> None:
    """AWS's managed policies exist, as templates attach them."""
    iam = make_client(fresh, "iam")
    arn = "arn:aws:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy"
    assert iam.get_policy(PolicyArn=arn)["Policy"]["Arn"] == arn


def test_managed_policies_where_moto_was_used_before() -> None:
    """They exist also where something else in the process has used moto without them."""
    program = """
from moto.iam.models import iam_backends
iam = iam_backends["123456789012"]["aws"]
assert not iam.managed_policies
from miniwdl_cloud.emulator import cloudformation_moto
cloudformation_moto.amend_models()
print(sorted(iam.managed_policies)[0])
"""
    printed = subprocess.run(
        [sys.executable, "-c", program], check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    assert printed.startswith("arn:aws:iam::aws:policy/")


def test_large_objects_go_both_ways(fresh: LocalCloud) -> None:
    """A body of many megabytes reaches S3 and comes back, on connections that are kept."""
    s3 = make_client(fresh, "s3")
    bucket = unique("bucket")
    s3.create_bucket(Bucket=bucket)
    body = os.urandom(1 << 20) * 20
    s3.put_object(Bucket=bucket, Key="big", Body=body)
    assert s3.get_object(Bucket=bucket, Key="big")["Body"].read() == body
    assert s3.head_object(Bucket=bucket, Key="big")["ContentLength"] == len(body)
    with pytest.raises(botocore.exceptions.ClientError):
        s3.head_object(Bucket=bucket, Key="none")
    assert len(s3.list_objects_v2(Bucket=bucket)["Contents"]) == 1


def test_connections_are_kept(fresh: LocalCloud) -> None:
    """One connection serves request after request."""
    host, port = fresh.endpoint_url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        stream = connection.makefile("rb")
        for _ in range(3):
            connection.sendall(b"GET /_local/health HTTP/1.1\r\nHost: x\r\n\r\n")
            assert stream.readline().startswith(b"HTTP/1.1 200")
            length = 0
            while (line := stream.readline().strip()) != b"":
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            assert json.loads(stream.read(length))["pid"] == os.getpid()


def test_many_clients_at_once(fresh: LocalCloud) -> None:
    """Many threads with connections of their own are all answered."""
    answers: list[int] = []

    def ask() -> None:
        for _ in range(5):
            answers.append(len(make_client(fresh, "batch").describe_job_queues()["jobQueues"]))

    # Clients are made one after the other by boto3's own lock; their calls are not.
    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert answers == [0] * 80


def test_other_region(fresh: LocalCloud) -> None:
    """A client of another Region is told which Region there is."""
    api = make_client(fresh, "batch", region="eu-west-1")
    with pytest.raises(botocore.exceptions.ClientError, match="AWS_DEFAULT_REGION=us-east-1"):
        api.describe_job_queues()


def test_operation_that_the_emulator_lacks(fresh: LocalCloud) -> None:
    """An operation of Batch that there is no emulation of is refused plainly."""
    with pytest.raises(botocore.exceptions.ClientError, match="does not have ListServiceJobs"):
        make_client(fresh, "batch").list_service_jobs(jobQueue="x")


def test_interrupt_endpoint(fresh: LocalCloud) -> None:
    """A job's spot instance can be lost by request."""
    batch = Batch(fresh)
    job_id = batch.submit(batch.definition("sleep", "300"), batch.queue())
    batch.wait(job_id, "RUNNING")
    url = f"{fresh.endpoint_url}/_local/interrupt"
    local(url, "POST", json.dumps({"jobId": job_id}).encode())
    assert batch.wait(job_id)["statusReason"].startswith("Host EC2 (instance i-")
    for body, status in ((b"{}", 400), (b"[]", 400), (b'{"jobId": "none"}', 404)):
        with pytest.raises(urllib.error.HTTPError) as caught:
            local(url, "POST", body)
        assert caught.value.code == status
    with pytest.raises(urllib.error.HTTPError):
        local(f"{fresh.endpoint_url}/_local/nothing")


def test_images(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Jobs with an image that has a directory find their commands there first."""
    commands = tmp_path / "bin"
    commands.mkdir()
    (commands / "miniwdl").write_text("#!/bin/sh\necho mine\n")
    (commands / "miniwdl").chmod(0o755)
    images = {"peer:1": commands}
    with LocalCloud(tmp_path / "state", tmp_path / "fs", images=images) as cloud:
        batch = Batch(cloud)
        queue = batch.queue()
        mine = batch.definition("miniwdl", container={"image": "peer:1"})
        assert batch.log(batch.wait(batch.submit(mine, queue))) == ["mine"]
        which = batch.definition("sh", "-c", "command -v python3 && echo $PATH")
        python, path = batch.log(batch.wait(batch.submit(which, queue)))
        assert Path(python).parent == Path(sys.executable).parent
        assert str(commands) not in path
    said = [r for r in caplog.records if "ignores container images" in r.message]
    assert len(said) == 1


def test_state_directory_is_held(fresh: LocalCloud) -> None:
    """A second emulator over the same state directory is refused, and says what to do."""
    state = read_state(fresh.state)
    assert state == ServerState(
        os.getpid(), fresh.endpoint_url, "us-east-1", str(fresh.filesystem), "process"
    )
    with pytest.raises(ConfigurationError, match="local down --state") as caught:
        LocalCloud(fresh.state, fresh.filesystem).start()
    assert caught.value.exit_code == 78
    assert read_state(fresh.state) == state


def test_leftovers_do_not_block(tmp_path: Path) -> None:
    """What a killed emulator left over is no obstacle to the next, nor taken for alive."""
    state = tmp_path / "state"
    (state / "jobs" / "job-x").mkdir(parents=True)
    (state / "server.lock").write_text("")
    dead = ServerState(2**22 + 1, "http://127.0.0.1:9", "us-east-1", "/fs", "process")
    for text in (json.dumps(vars(dead)), json.dumps({**vars(dead), "pid": os.getpid()}), "{", "{}"):
        (state / FILE_NAME).write_text(text)
        assert read_state(state) is None
    with LocalCloud(state, tmp_path / "fs"):
        assert read_state(state) is not None
        assert not (state / "jobs" / "job-x").exists()
    assert read_state(state) is None


def test_port_taken(tmp_path: Path) -> None:
    """A port in use is one sentence, and leaves nothing behind."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        cloud = LocalCloud(tmp_path / "state", tmp_path / "fs", port=port)
        with pytest.raises(ConfigurationError, match=f"Port {port} cannot be used"):
            cloud.start()
    cloud.start()
    assert cloud.endpoint_url.endswith(f":{port}")
    cloud.stop()
    cloud.stop()


def test_unknown_executor(tmp_path: Path) -> None:
    """An executor that does not exist is a usage error."""
    with pytest.raises(UsageError, match="use process or docker") as caught:
        LocalCloud(tmp_path, tmp_path, executor="podman")
    assert caught.value.exit_code == 64


def start_process(tmp_path: Path, *options: str) -> subprocess.Popen[bytes]:
    """A running emulator process over ``tmp_path/state``."""
    arguments = ["--state", str(tmp_path / "state"), "--filesystem", str(tmp_path / "fs")]
    process = subprocess.Popen(
        [sys.executable, "-m", "miniwdl_cloud.emulator", *arguments, *options],
        stderr=subprocess.PIPE,
    )
    wait_until(lambda: process.poll() is not None or read_state(tmp_path / "state"), "the emulator")
    return process


def test_process_ends_its_jobs(tmp_path: Path) -> None:
    """SIGTERM ends the emulator with code 0 and all its jobs with it; a second start works."""
    for how in ("signal", "request"):
        process = start_process(tmp_path)
        state = read_state(tmp_path / "state")
        assert state is not None and state.pid == process.pid
        pids = tmp_path / f"pids-{how}"
        run_sleeper(state.endpoint_url, pids)
        pid = int(wait_until(lambda file=pids: file.exists() and file.read_text().strip(), "job"))
        if how == "signal":
            process.send_signal(signal.SIGTERM)
        else:
            local(f"{state.endpoint_url}/_local/stop", "POST")
        assert process.wait(timeout=60) == 0
        assert process.stderr is not None
        process.stderr.close()
        assert read_state(tmp_path / "state") is None
        wait_until(lambda number=pid: not is_alive(number), "the job to be gone")


def run_sleeper(endpoint_url: str, pids: Path) -> None:
    """A job that writes its process id to a file and sleeps."""

    class Remote:
        """What `Batch` needs of an emulator in another process."""

        def __init__(self) -> None:
            self.endpoint_url = endpoint_url

    batch = Batch(Remote())  # type: ignore[arg-type]
    script = f"echo $$ > {pids}.new; mv {pids}.new {pids}; exec sleep 300"
    batch.submit(batch.definition("sh", "-c", script), batch.queue())


def is_alive(pid: int) -> bool:
    """Whether a process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_process_says_what_is_wrong(tmp_path: Path) -> None:
    """The process ends with the error's sentence and exit code."""
    process = start_process(tmp_path, "--image", "no-directory")
    _, text = process.communicate(timeout=60)
    assert process.returncode == 64
    assert b"--image no-directory should be NAME=DIR" in text and b"Traceback" not in text


def test_cloudformation_makes_our_queues(fresh: LocalCloud) -> None:
    """A stack's Batch resources are those of the embedded Batch, with nothing done by hand."""
    name = unique("stack-queue")
    resources = {
        "Environment": {
            "Type": "AWS::Batch::ComputeEnvironment",
            "Properties": {
                "Type": "MANAGED",
                "ComputeResources": {
                    "Type": "FARGATE",
                    "MaxvCpus": 4,
                    "Subnets": ["subnet-1"],
                    "SecurityGroupIds": ["sg-1"],
                },
            },
        },
        "Queue": {
            "Type": "AWS::Batch::JobQueue",
            "Properties": {
                "JobQueueName": name,
                "Priority": 1,
                "ComputeEnvironmentOrder": [
                    {"Order": 1, "ComputeEnvironment": {"Ref": "Environment"}}
                ],
                "Tags": {"DefaultTaskQueue": "tasks"},
            },
        },
    }
    make_client(fresh, "cloudformation").create_stack(
        StackName=unique("stack"), TemplateBody=json.dumps({"Resources": resources})
    )
    (queue,) = make_client(fresh, "batch").describe_job_queues(jobQueues=[name])["jobQueues"]
    assert queue["tags"]["DefaultTaskQueue"] == "tasks"
