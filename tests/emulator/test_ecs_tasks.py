"""The life of a Fargate task on the embedded AWS, seen through boto3."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from batch_helper import make_client, shared_access_point, unique, wait_until
from botocore.exceptions import ClientError
from ecs_helper import Ecs

from miniwdl_cloud.emulator.ecs.models import STATUSES
from miniwdl_cloud.emulator.faults.plan import FaultPlan, parse_plan
from miniwdl_cloud.emulator.server import LocalCloud

TRAPPED = "trap 'echo term; exit 5' TERM; echo up; while :; do sleep 0.05; done"


@pytest.fixture(scope="module")
def ecs(cloud: LocalCloud) -> Ecs:
    """ECS of the running embedded AWS."""
    return Ecs(cloud)


@pytest.fixture
def faults(cloud: LocalCloud) -> Iterator[Any]:
    """Sets rules of a fault plan, and takes them away."""
    yield lambda *rules: cloud.faults.replace(parse_plan({"rules": list(rules)}))
    cloud.faults.replace(FaultPlan())


def container(task: dict[str, Any]) -> dict[str, Any]:
    """The one container of a task."""
    (only,) = task["containers"]
    return dict(only)


def test_success(ecs: Ecs, cloud: LocalCloud) -> None:
    """A task goes through all states in order, and DescribeTasks says all of it."""
    definition = ecs.definition("sh", "-c", "echo out; echo err >&2")
    arn = ecs.run(definition, startedBy="run-1", tags=[{"key": "Name", "value": "a"}])
    task = ecs.wait(arn)
    assert arn == f"arn:aws:ecs:us-east-1:123456789012:task/{ecs.cluster}/{arn.rpartition('/')[2]}"
    assert (task["stopCode"], task["stoppedReason"]) == (
        "EssentialContainerExited",
        "Essential container in task exited",
    )
    assert (container(task)["exitCode"], container(task)["lastStatus"]) == (0, "STOPPED")
    assert (task["desiredStatus"], task["launchType"]) == ("STOPPED", "FARGATE")
    assert (task["cpu"], task["memory"], task["startedBy"]) == ("256", "512", "run-1")
    assert task["tags"] == [{"key": "Name", "value": "a"}]
    assert task["taskDefinitionArn"] == definition
    assert "capacityProviderName" not in task
    times = ("createdAt", "pullStartedAt", "pullStoppedAt", "startedAt", "stoppingAt", "stoppedAt")
    assert [task[name] for name in times] == sorted(task[name] for name in times)
    assert cloud.ecs.tasks[arn.rpartition("/")[2]].history == list(STATUSES)
    assert ecs.log(task) == ["out", "err"]


def test_command_fails(ecs: Ecs) -> None:
    """Another exit code stops the task all the same, without a reason."""
    task = ecs.wait(ecs.run(ecs.definition("sh", "-c", "exit 42")))
    assert task["stopCode"] == "EssentialContainerExited"
    assert container(task)["exitCode"] == 42
    assert "reason" not in container(task)


def test_missing_command(ecs: Ecs) -> None:
    """A command that cannot be started is TaskFailedToStart, and has no exit code."""
    task = ecs.wait(ecs.run(ecs.definition("no-such-command")))
    assert task["stopCode"] == "TaskFailedToStart"
    assert "exitCode" not in container(task)
    assert container(task)["reason"].startswith("CannotStartContainerError: ")
    assert "startedAt" not in task


def test_entry_point(ecs: Ecs) -> None:
    """entryPoint and command make one argument vector."""
    definition = ecs.definition("echo $0 $1", "a", "b", container={"entryPoint": ["sh", "-c"]})
    assert ecs.log(ecs.wait(ecs.run(definition))) == ["a b"]


def test_overrides(ecs: Ecs) -> None:
    """RunTask overrides command, environment, size and ephemeral storage."""
    definition = ecs.definition(
        container={"environment": [{"name": "A", "value": "1"}, {"name": "B", "value": "1"}]}
    )
    overrides = {
        "cpu": "1024",
        "memory": "2 GB",
        "ephemeralStorage": {"sizeInGiB": 50},
        "containerOverrides": [
            {
                "name": "task",
                "command": ["sh", "-c", "echo $A $B $C"],
                "environment": [{"name": "B", "value": "2"}, {"name": "C", "value": "3"}],
            }
        ],
    }
    task = ecs.wait(ecs.run(definition, overrides=overrides))
    assert ecs.log(task) == ["1 2 3"]
    assert (task["cpu"], task["memory"]) == ("1024", "2048")
    assert task["ephemeralStorage"] == {"sizeInGiB": 50}
    assert task["overrides"]["containerOverrides"] == overrides["containerOverrides"]


def test_metadata_endpoint(ecs: Ecs) -> None:
    """A container learns of itself and its task over HTTP."""
    script = "\n".join(
        (
            "import os, urllib.request as r",
            "uri = os.environ['ECS_CONTAINER_METADATA_URI_V4']",
            "get = r.build_opener(r.ProxyHandler({})).open",
            "print(get(uri + '/task').read().decode())",
            "print(get(uri).read().decode())",
        )
    )
    task = ecs.wait(ecs.run(ecs.definition("python3", "-c", script)))
    shown, itself = (json.loads(line) for line in ecs.log(task))
    assert (shown["TaskARN"], shown["Cluster"]) == (task["taskArn"], task["clusterArn"])
    assert shown["Limits"] == {"CPU": 0.25, "Memory": 512}
    assert (shown["LaunchType"], shown["Revision"]) == ("FARGATE", "1")
    assert shown["PullStartedAt"].endswith("Z")
    assert shown["AvailabilityZone"] == task["availabilityZone"]
    assert [c["Name"] for c in shown["Containers"]] == [itself["Name"]] == ["task"]
    assert itself["LogOptions"]["awslogs-group"] == ecs.group


def test_efs_volume(ecs: Ecs, cloud: LocalCloud) -> None:
    """A task sees the shared filesystem by its access point; an unknown one fails to mount."""
    point = shared_access_point(cloud)
    file_system = make_client(cloud, "efs").describe_access_points(AccessPointId=point)[
        "AccessPoints"
    ][0]["FileSystemId"]
    target = str(cloud.filesystem)

    def volume(access_point: str) -> dict[str, Any]:
        efs = {
            "fileSystemId": file_system,
            "transitEncryption": "ENABLED",
            "authorizationConfig": {"accessPointId": access_point},
        }
        return {
            "volumes": [{"name": "efs", "efsVolumeConfiguration": efs}],
            "container": {"mountPoints": [{"sourceVolume": "efs", "containerPath": target}]},
        }

    name = unique("written")
    ecs.wait(ecs.run(ecs.definition("touch", f"{target}/{name}", **volume(point))))
    assert (cloud.filesystem / name).exists()
    task = ecs.wait(ecs.run(ecs.definition(**volume("fsap-00000000000000000"))))
    assert task["stopCode"] == "TaskFailedToStart"
    assert task["stoppedReason"].startswith("ResourceInitializationError: failed to invoke EFS")


def test_log_group_must_exist(ecs: Ecs) -> None:
    """A log group that is missing fails the task, unless it is to be made."""
    group = unique("/missing")
    log = ecs.log_configuration(**{"awslogs-group": group})
    task = ecs.wait(ecs.run(ecs.definition(container={"logConfiguration": log})))
    assert task["stopCode"] == "TaskFailedToStart"
    assert "The specified log group does not exist" in task["stoppedReason"]
    log = ecs.log_configuration(**{"awslogs-group": group, "awslogs-create-group": "true"})
    task = ecs.wait(ecs.run(ecs.definition("echo", "x", container={"logConfiguration": log})))
    assert ecs.log(task, group) == ["x"]


def test_stop_task(ecs: Ecs) -> None:
    """StopTask sends SIGTERM; the task shows who stopped it and why."""
    arn = ecs.run(ecs.definition("sh", "-c", TRAPPED))
    wait_until(lambda: ecs.log(ecs.wait(arn, "RUNNING")) == ["up"], "its trap is set")
    answer = ecs.api.stop_task(cluster=ecs.cluster, task=arn, reason="enough")["task"]
    assert (answer["desiredStatus"], answer["stopCode"]) == ("STOPPED", "UserInitiated")
    task = ecs.wait(arn)
    assert (task["stopCode"], task["stoppedReason"]) == ("UserInitiated", "enough")
    assert container(task)["exitCode"] == 5
    assert ecs.log(task) == ["up", "term"]
    again = ecs.api.stop_task(cluster=ecs.cluster, task=arn, reason="other")["task"]
    assert again["stoppedReason"] == "enough"


def test_kill_after_stop_timeout(ecs: Ecs) -> None:
    """A container that ignores SIGTERM is killed when its stopTimeout is over."""
    arn = ecs.run(
        ecs.definition(
            "sh",
            "-c",
            "trap '' TERM; echo up; while :; do sleep 0.05; done",
            container={"stopTimeout": 2},
        )
    )
    wait_until(lambda: ecs.log(ecs.wait(arn, "RUNNING")) == ["up"], "its trap is set")
    ecs.api.stop_task(cluster=ecs.cluster, task=arn)
    task = ecs.wait(arn)
    assert container(task)["exitCode"] == 137
    assert task["stoppedReason"] == "Task stopped by user"


def test_stop_before_start(ecs: Ecs) -> None:
    """A task that is stopped at once ends, whether its container ran or not."""
    arn = ecs.run(ecs.definition("sleep", "300"))
    ecs.api.stop_task(cluster=ecs.cluster, task=arn)
    assert ecs.wait(arn)["stopCode"] == "UserInitiated"


def test_spot_interruption(ecs: Ecs, cloud: LocalCloud) -> None:
    """A task on Fargate Spot that is interrupted gets SIGTERM, then stops as SpotInterruption."""
    arn = ecs.run(ecs.definition("sh", "-c", TRAPPED), spot=True)
    wait_until(lambda: ecs.log(ecs.wait(arn, "RUNNING")) == ["up"], "its trap is set")
    cloud.ecs.interrupt_task(arn)
    task = ecs.wait(arn)
    assert task["capacityProviderName"] == "FARGATE_SPOT"
    assert (task["stopCode"], task["stoppedReason"]) == (
        "SpotInterruption",
        "Your Spot Task was interrupted.",
    )
    assert container(task)["exitCode"] == 5


def test_spot_fault_leaves_on_demand_alone(ecs: Ecs, faults: Any) -> None:
    """Only tasks on Fargate Spot are interrupted by a fault plan."""
    faults({"fault": "spot", "stage": "running", "seconds": 0})
    task = ecs.wait(ecs.run(ecs.definition("sleep", "300"), spot=True))
    assert task["stopCode"] == "SpotInterruption"
    task = ecs.wait(ecs.run(ecs.definition("sleep", "0.2")))
    assert (task["stopCode"], container(task)["exitCode"]) == ("EssentialContainerExited", 0)


@pytest.mark.parametrize(
    ("fault", "stop_code", "stopped_reason", "reason"),
    [
        ("out_of_memory", "EssentialContainerExited", "Essential container", "OutOfMemoryError"),
        ("cannot_pull", "TaskFailedToStart", "CannotPullContainerError", None),
        ("cannot_start", "TaskFailedToStart", "CannotStart", "CannotStartContainerError"),
        ("efs_mount", "TaskFailedToStart", "ResourceInitializationError", None),
        ("cannot_inspect", "EssentialContainerExited", "Essential", "CannotInspectContainerError"),
    ],
)
def test_fault_plan(
    ecs: Ecs, faults: Any, fault: str, stop_code: str, stopped_reason: str, reason: str | None
) -> None:
    """Failures of a plan, by the tag Name, show as ECS shows them."""
    name = unique("faulty")
    faults({"fault": fault, "match": {"name": f"^{name}$", "queue": ecs.cluster}})
    command = ("true",) if fault == "cannot_inspect" else ("sleep", "300")
    task = ecs.wait(ecs.run(ecs.definition(*command), tags=[{"key": "Name", "value": name}]))
    assert task["stopCode"] == stop_code
    assert task["stoppedReason"].startswith(stopped_reason)
    assert str(container(task).get("reason")).startswith(str(reason))


def test_client_token(ecs: Ecs) -> None:
    """A repeated RunTask gives the tasks of the first one; with other parameters it is refused."""
    request = ecs.run_request(ecs.definition("true"), clientToken=unique("token"), count=2)
    first = ecs.api.run_task(**request)
    again = ecs.api.run_task(**request)
    arns = [task["taskArn"] for task in first["tasks"]]
    assert len(arns) == 2
    assert [task["taskArn"] for task in again["tasks"]] == arns
    with pytest.raises(ClientError) as refused:
        ecs.api.run_task(**{**request, "count": 1})
    assert refused.value.response["Error"]["Code"] == "ConflictException"
    assert refused.value.response["resourceIds"] == arns


def test_not_placed(ecs: Ecs, faults: Any) -> None:
    """RunTask tells what it did not place in failures; its client token is then still free."""
    faults({"fault": "not_placed", "spelling": "capacity", "count": 1})
    request = ecs.run_request(ecs.definition("true"), clientToken=unique("token"))
    answer = ecs.api.run_task(**request)
    assert answer["tasks"] == []
    assert answer["failures"][0]["reason"].startswith("Capacity is unavailable at this time")
    answer = ecs.api.run_task(**request)
    assert (len(answer["tasks"]), answer["failures"]) == (1, [])


def test_quota(ecs: Ecs, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the account's quota of vCPUs nothing is placed, on demand and on Spot apart."""
    big = {"cpu": "16384", "memory": "32768"}
    monkeypatch.setattr(cloud.ecs, "max_vcpus", cloud.ecs._cpu_in_use()["FARGATE"] / 1024 + 17)
    definition = ecs.definition("sleep", "300", **big)
    answer = ecs.api.run_task(**ecs.run_request(definition, count=2))
    assert "reached the limit" in answer["failures"][0]["reason"]
    spot = ecs.run(definition, spot=True)
    for arn in (answer["tasks"][0]["taskArn"], spot):
        ecs.api.stop_task(cluster=ecs.cluster, task=arn)
        ecs.wait(arn)


def test_eventual_consistency(ecs: Ecs, faults: Any) -> None:
    """A new task may be missing from DescribeTasks and ListTasks for a while."""
    faults(
        {"fault": "omitted", "seconds": 600, "count": 1},
        {"fault": "unlisted", "seconds": 600, "count": 1},
    )
    arn = ecs.run(ecs.definition("true"), startedBy=unique("omitted"))
    answer = ecs.api.describe_tasks(cluster=ecs.cluster, tasks=[arn])
    assert answer["tasks"] == []
    assert answer["failures"] == [{"arn": arn, "reason": "MISSING"}]


def test_list_and_describe(ecs: Ecs) -> None:
    """ListTasks finds by startedBy or by family and desired status, in pages."""
    definition = ecs.definition("sleep", "300")
    family = definition.rpartition("/")[2].partition(":")[0]
    started_by = unique("lease")
    answer = ecs.api.run_task(
        **ecs.run_request(definition, count=3, startedBy=started_by, spot=True)
    )
    arns = {task["taskArn"] for task in answer["tasks"]}

    def listed(**narrowed: Any) -> set[str]:
        return set(ecs.api.list_tasks(cluster=ecs.cluster, **narrowed)["taskArns"])

    assert listed(startedBy=started_by) == listed(family=family) == arns
    first = ecs.api.list_tasks(cluster=ecs.cluster, family=family, maxResults=2)
    assert len(first["taskArns"]) == 2
    rest = listed(family=family, nextToken=first["nextToken"])
    assert set(first["taskArns"]) | rest == arns
    for arn in arns:
        ecs.api.stop_task(cluster=ecs.cluster, task=arn)
    for arn in arns:
        ecs.wait(arn)
    assert listed(startedBy=started_by) == set()
    assert listed(family=family, desiredStatus="STOPPED") == arns
    found = ecs.api.describe_tasks(cluster=ecs.cluster, tasks=[a.rpartition("/")[2] for a in arns])
    assert {task["taskArn"] for task in found["tasks"]} == arns
    assert all(task["tags"] == [] for task in found["tasks"])


def test_tags(ecs: Ecs) -> None:
    """A task has RunTask's tags, the definition's if asked, and ECS's own if asked."""
    definition = ecs.definition("true", tags=[{"key": "from", "value": "definition"}])
    arn = ecs.run(
        definition,
        tags=[{"key": "a", "value": "b c"}],
        propagateTags="TASK_DEFINITION",
        enableECSManagedTags=True,
    )
    ecs.api.tag_resource(resourceArn=arn, tags=[{"key": "later", "value": "1"}])
    tags = {t["key"]: t["value"] for t in ecs.api.list_tags_for_resource(resourceArn=arn)["tags"]}
    assert tags == {
        "from": "definition",
        "a": "b c",
        "aws:ecs:clusterName": ecs.cluster,
        "later": "1",
    }
    ecs.api.untag_resource(resourceArn=arn, tagKeys=["later"])
    assert {t["key"] for t in ecs.describe(arn)["tags"]} == {"from", "a", "aws:ecs:clusterName"}


def test_many_tasks(ecs: Ecs) -> None:
    """Forty tasks of one second run at the same time."""
    definition = ecs.definition("sleep", "1")
    arns: list[str] = []
    for _ in range(4):
        answer = ecs.api.run_task(**ecs.run_request(definition, count=10))
        arns += [task["taskArn"] for task in answer["tasks"]]
    for arn in arns:
        assert container(ecs.wait(arn))["exitCode"] == 0


def test_stops_with_the_cloud(tmp_path: Path) -> None:
    """Nothing is left running when the embedded AWS stops."""
    mark = tmp_path / "mark"
    with LocalCloud(tmp_path / "state", tmp_path / "fs", stop_grace_s=1.0) as cloud:
        fresh = Ecs(cloud)
        arn = fresh.run(fresh.definition("sh", "-c", f"echo $$ > {mark}; exec sleep 300"))
        fresh.wait(arn, "RUNNING")
        wait_until(lambda: mark.exists() and mark.read_text().strip(), "it has begun")
    pid = int(mark.read_text())
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), "it has gone")
