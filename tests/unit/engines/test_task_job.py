"""From runtime values to the exact job request."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.validate import ParamValidator

from miniwdl_cloud.engines.batch_queue import BatchQueue, snapshot_of, submit_request
from miniwdl_cloud.engines.config import EngineSettings, read_settings
from miniwdl_cloud.engines.task_job import (
    definition_of,
    item_of,
    request_of,
    resources_of,
    unique_job_name,
)
from miniwdl_cloud.errors import ConfigurationError
from miniwdl_cloud.filesystems.efs import Efs
from miniwdl_cloud.filesystems.host_mount import HostMount
from miniwdl_cloud.jobs.request import JobState, Resources

EFS = Efs("/mnt/efs", "fs-12345678", "fsap-12345678")
MODEL = botocore.session.get_session().get_service_model("batch")


class Cfg:
    """miniwdl's configuration, from a plain mapping."""

    def __init__(self, values: dict[str, str]) -> None:
        self._values = {"file_io.root": "/mnt/efs", "aws.task_queue": "tasks", **values}

    def has_option(self, section: str, key: str) -> bool:
        return f"{section}.{key}" in self._values

    def get(self, section: str, key: str) -> str:
        return self._values[f"{section}.{key}"]


def _settings(environ: dict[str, str] | None = None, **values: str) -> EngineSettings:
    return read_settings(Cfg({f"aws.{k}": v for k, v in values.items()}), environ or {})


def _request(runtime: dict[str, Any], settings: EngineSettings, filesystem: Any = EFS) -> Any:
    return request_of(
        run_id="call-hello-0",
        task_dir="/mnt/efs/run/call-hello-0",
        attempt=1,
        shell="/bin/bash",
        queue=settings.task_queue,
        runtime=runtime,
        filesystem=filesystem,
        settings=settings,
        user=None,
    )


def _check(operation: str, request: dict[str, Any]) -> None:
    report = ParamValidator().validate(request, MODEL.operation_model(operation).input_shape)
    assert not report.has_errors(), report.generate_report()


@pytest.mark.parametrize("filesystem", [EFS, HostMount("/mnt/net")], ids=["efs", "host"])
def test_requests_fit_the_api(filesystem: Any) -> None:
    """Definition and submission are valid by botocore's model of Batch."""
    runtime = {"docker": "quay.io/x:1", "cpu": 4, "memory_reservation": 8 << 30, "gpu": True}
    request = _request(runtime, _settings({"AWS_BATCH_JOB_ID": "parent"}), filesystem)
    content = json.loads(request.definition.content)
    _check("RegisterJobDefinition", {"jobDefinitionName": request.definition.name, **content})
    _check("SubmitJob", submit_request([request], "arn:1"))


def test_the_submission_carries_what_differs() -> None:
    """Resources, environment, timeout and tags are overrides; the definition holds the rest."""
    settings = _settings({"AWS_BATCH_JOB_ID": "parent"}, job_tags='{"lab": "x"}', job_timeout="600")
    request = _request({"cpu": 2, "memory_reservation": 4 << 30}, settings)
    assert submit_request([request], "arn:1") == {
        "jobName": request.name,
        "jobQueue": "tasks",
        "jobDefinition": "arn:1",
        "containerOverrides": {
            "environment": [
                {"name": "MINIWDL_CLOUD_SHELL", "value": "/bin/bash"},
                {"name": "MINIWDL_CLOUD_TASK_DIR", "value": "/mnt/efs/run/call-hello-0"},
                {"name": "MINIWDL_CLOUD_TRY", "value": ""},
            ],
            "resourceRequirements": [
                {"type": "VCPU", "value": "2"},
                {"type": "MEMORY", "value": "4063"},
            ],
        },
        "timeout": {"attemptDurationSeconds": 600},
        "tags": {
            "lab": "x",
            "miniwdl-cloud-call": "hello",
            "AWS_BATCH_PARENT_JOB_ID": "parent",
        },
    }


def test_shards_make_an_array_job(tmp_path: Path) -> None:
    """Tasks of one kind are one submission; a manifest tells each child its directory."""
    settings = _settings()
    requests = []
    for i in range(3):
        (tmp_path / f"call-t-{i}").mkdir()
        requests.append(
            request_of(
                run_id=f"call-t-{i}",
                task_dir=str(tmp_path / f"call-t-{i}"),
                attempt=1 + i,
                shell="/bin/bash",
                queue="tasks",
                runtime={},
                filesystem=EFS,
                settings=settings,
                user=None,
            )
        )
    assert len({request.kind for request in requests}) == 1
    assert all(request.may_coalesce for request in requests)

    class Client:
        def submit(self, request: dict[str, Any]) -> str:
            self.request = request
            return "id"

    client = Client()
    BatchQueue(client, client).submit(requests, "arn:1")  # type: ignore[arg-type]
    _check("SubmitJob", client.request)
    assert client.request["arrayProperties"] == {"size": 3}
    assert client.request["jobName"] == requests[0].name
    variables = {e["name"]: e["value"] for e in client.request["containerOverrides"]["environment"]}
    assert set(variables) == {"MINIWDL_CLOUD_SHELL", "MINIWDL_CLOUD_MANIFEST"}
    assert Path(variables["MINIWDL_CLOUD_MANIFEST"]).read_text().splitlines() == [
        f"{tmp_path}/call-t-0\t",
        f"{tmp_path}/call-t-1\t2",
        f"{tmp_path}/call-t-2\t3",
    ]


def test_overrides_stay_small() -> None:
    """However long the command and its environment, the overrides stay far below 8,192."""
    runtime = {"env": {"BIG": "x" * 100_000}}
    request = submit_request([_request(runtime, _settings())], "arn:1")
    assert len(json.dumps(request["containerOverrides"])) < 2000


def test_equal_tasks_share_a_definition() -> None:
    """Tasks of one image share a definition whatever they reserve; another image has another."""
    settings = _settings()
    one = definition_of({"docker": "a", "cpu": 1}, EFS, settings, None)
    assert one == definition_of({"docker": "a", "cpu": 8}, EFS, settings, None)
    others = [
        definition_of({"docker": "b"}, EFS, settings, None),
        definition_of({"docker": "a", "privileged": True}, EFS, settings, None),
        definition_of({"docker": "a"}, HostMount("/mnt/efs"), settings, None),
        definition_of({"docker": "a"}, EFS, settings, "1000:1000"),
    ]
    assert len({one.name, *(d.name for d in others)}) == 5
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}", one.name)


def test_volumes() -> None:
    """EFS goes through the access point with encryption; a host mount is a host directory."""
    efs = json.loads(definition_of({}, EFS, _settings(), None).content)["containerProperties"]
    assert efs["volumes"] == [
        {
            "name": "file_io_root",
            "efsVolumeConfiguration": {
                "fileSystemId": "fs-12345678",
                "transitEncryption": "ENABLED",
                "authorizationConfig": {"accessPointId": "fsap-12345678"},
            },
        }
    ]
    assert efs["mountPoints"][0]["containerPath"] == "/mnt/efs"
    host = json.loads(definition_of({}, HostMount("/mnt/net"), _settings(), None).content)
    assert host["containerProperties"]["volumes"] == [
        {"name": "file_io_root", "host": {"sourcePath": "/mnt/net"}}
    ]


@pytest.mark.parametrize(
    ("runtime", "resources"),
    [
        ({}, Resources(1, 991, 0)),
        ({"memory_reservation": 2 << 30}, Resources(1, 2015, 0)),
        ({"memory_reservation": 1000}, Resources(1, 991, 0)),
        ({"cpu": 8, "gpu": True}, Resources(8, 991, 2)),
        ({"gpu": True, "acceleratorCount": 4}, Resources(1, 991, 4)),
        ({"gpu": False, "acceleratorCount": 4}, Resources(1, 991, 0)),
    ],
)
def test_resources(runtime: dict[str, Any], resources: Resources) -> None:
    """cpu, memory with its delta, and GPUs."""
    assert resources_of(runtime, _settings(gpu_value="2")) == resources


def test_further_container_properties() -> None:
    """[aws] container_properties adds members, and may not set those that the engine sets."""
    settings = _settings(container_properties='{"readonlyRootFilesystem": true}')
    content = json.loads(definition_of({}, EFS, settings, None).content)
    assert content["containerProperties"]["readonlyRootFilesystem"] is True
    with pytest.raises(ConfigurationError, match="image"):
        definition_of({}, EFS, _settings(container_properties='{"image": "x"}'), None)


def test_event_queue() -> None:
    """[aws] event_queue is the URL of a queue; 0, or nothing, means polling alone."""
    assert _settings().event_queue is None
    assert _settings(event_queue="0").event_queue is None
    assert _settings(event_queue="").event_queue is None
    assert _settings(event_queue="https://sqs/q").event_queue == "https://sqs/q"


def test_task_role() -> None:
    """[aws] task_role is the job role of task jobs; without it they have none."""
    role = "arn:aws:iam::123456789012:role/task"
    content = json.loads(definition_of({}, EFS, _settings(task_role=role), None).content)
    assert content["containerProperties"]["jobRoleArn"] == role
    plain = json.loads(definition_of({}, EFS, _settings(), None).content)
    assert "jobRoleArn" not in plain["containerProperties"]


@pytest.mark.parametrize(
    "run_id", ["call-hello", "call-align-3-sample A/é", "x" * 300, "-odd", "téléchargement"]
)
def test_job_names_are_valid_and_unique(run_id: str) -> None:
    """Whatever the call is named, its job name fits Batch's pattern and is its own."""
    names = {unique_job_name(run_id, attempt) for attempt in (1, 2, 2)}
    assert len(names) == 3
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}", name) for name in names)


def test_attempts_are_told_apart() -> None:
    """The second attempt has another job name and tells its script its number."""
    assert "-try2-" in unique_job_name("call-hello", 2)
    assert ("MINIWDL_CLOUD_TRY", "2") in item_of("/d", 2).environment
    assert item_of("/d", 2).line == "/d\t2"


@pytest.mark.parametrize(
    ("values", "words"),
    [({"file_io.root": "relative"}, "file_io"), ({"aws.task_queue": ""}, "task_queue")],
)
def test_missing_settings_are_named(values: dict[str, str], words: str) -> None:
    """Without mount point or task queue the engine says which setting is missing."""
    with pytest.raises(ConfigurationError, match=words):
        read_settings(Cfg(values), {})


def test_snapshots_of_described_jobs() -> None:
    """What DescribeJobs shows becomes a snapshot, attempts' reasons included."""
    snapshot = snapshot_of(
        {
            "jobId": "j",
            "status": "FAILED",
            "statusReason": "Host EC2 (instance i-1) terminated.",
            "container": {"exitCode": 1, "reason": "r", "logStreamName": "l"},
            "attempts": [{"statusReason": "s", "container": {"reason": "c"}}, {}],
        }
    )
    assert snapshot.state is JobState.FAILED
    assert (snapshot.exit_code, snapshot.reason, snapshot.log_stream) == (1, "r", "l")
    assert snapshot.attempt_reasons == ("s", "c")


def test_snapshots_of_array_jobs() -> None:
    """An array job's counts become states; one that nobody knows yet has not ended."""
    snapshot = snapshot_of(
        {
            "jobId": "j",
            "status": "PENDING",
            "arrayProperties": {"statusSummary": {"RUNNING": 2, "FAILED": 1, "NEW_ONE": 3}},
        }
    )
    assert snapshot.children[JobState.RUNNING] == 2
    assert snapshot.children[JobState.FAILED] == 1
    assert sum(n for state, n in snapshot.children.items() if state.ended) == 1
