"""The engine `aws_fargate`: whole runs of miniwdl on the embedded AWS."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from batch_helper import Batch, wait_until
from fargate_runs import FargateDeployment

from miniwdl_cloud.emulator.ecs.quotas import CallQuotas
from miniwdl_cloud.emulator.faults.plan import FaultPlan, parse_plan
from miniwdl_cloud.emulator.server import LocalCloud


@pytest.fixture
def deployment(cloud: LocalCloud, batch: Batch, tmp_path: Path) -> Iterator[FargateDeployment]:
    """A cluster and a directory of the shared filesystem for one test."""
    made = FargateDeployment(cloud, batch, tmp_path)
    yield made
    made.close()


class CountedQuotas(CallQuotas):
    """AWS's quotas, and what they refused."""

    def __init__(self) -> None:
        super().__init__()
        self.refused: list[str] = []

    def take(self, operation: str) -> bool:
        """As of the base."""
        taken = super().take(operation)
        if not taken:
            self.refused.append(operation)
        return taken


@pytest.fixture
def faults(cloud: LocalCloud) -> Iterator[Any]:
    """Sets rules of a fault plan, and takes them away."""
    yield lambda *rules: cloud.faults.replace(parse_plan({"rules": list(rules)}))
    cloud.faults.replace(FaultPlan())


def test_a_scatter_of_fifty(deployment: FargateDeployment) -> None:
    """Fifty shards run as a task each, with one definition, and their outputs are gathered."""
    run = deployment.run(
        """
        version 1.1
        workflow w {
          input { Int n }
          scatter (i in range(n)) { call shard { input: i = i } }
          call gather { input: files = shard.out }
          output { Int sum = gather.sum  Array[File] files = shard.out }
        }
        task shard {
          input { Int i }
          command <<< echo ~{i} > out.txt; echo "shard ~{i}" >&2 >>>
          output { File out = "out.txt" }
          runtime { docker: "ubuntu:22.04"  cpu: 1  memory: "1 GiB" }
        }
        task gather {
          input { Array[File] files }
          command <<< awk '{ s += $1 } END { print s }' ~{sep(" ", files)} >>>
          output { Int sum = read_int(stdout()) }
        }
        """,
        "n=50",
        env={"MINIWDL__AWS__ISOLATION": "shared"},
    )
    assert run.outputs["w.sum"] == sum(range(50))
    assert [Path(p).read_text() for p in run.outputs["w.files"]] == [f"{i}\n" for i in range(50)]
    tasks = deployment.tasks("shard")
    assert len(tasks) == 50
    assert len({task["taskDefinitionArn"] for task in tasks}) == 1
    assert len({task["startedBy"] for task in tasks}) == 50
    assert {task["stopCode"] for task in tasks} == {"EssentialContainerExited"}
    assert {(task["cpu"], task["memory"]) for task in tasks} == {("1024", "2048")}
    assert {task["launchType"] for task in tasks} == {"FARGATE"}
    log = deployment.ecs.logs.get_log_events(
        logGroupName=deployment.ecs.group,
        logStreamName=f"miniwdl/task/{tasks[0]['taskArn'].rpartition('/')[2]}",
    )
    assert [event["message"].startswith("shard ") for event in log["events"]] == [True]


def test_size_disks_and_log(deployment: FargateDeployment) -> None:
    """cpu and memory are rounded up to a size, disks become ephemeral storage, and the log tells
    both."""
    run = deployment.run(
        """
        version 1.1
        task t {
          command <<< : >>>
          output {}
          runtime { cpu: 3  memory: "9 GiB"  disks: "local-disk 150 SSD"  preemptible: 0 }
        }
        """
    )
    (task,) = deployment.tasks()
    assert (task["cpu"], task["memory"]) == ("4096", "9216")
    assert task["ephemeralStorage"] == {"sizeInGiB": 150}
    assert 'requested: "3 vCPU, 9216 MiB, 150 GiB disk"' in run.stderr
    assert 'given: "4 vCPU, 9216 MiB, 150 GiB disk"' in run.stderr


def test_what_fargate_does_not_have(deployment: FargateDeployment) -> None:
    """A task that asks for a GPU fails with a sentence, and no task is started."""
    run = deployment.run(
        """
        version 1.1
        task t { command <<< : >>> output {} runtime { gpu: true  maxRetries: 3 } }
        """,
        fails=True,
    )
    assert "Fargate has no GPUs; run the task with the engine aws_batch_job" in run.stderr
    assert deployment.tasks() == []


def test_spot_then_on_demand(deployment: FargateDeployment, faults: Any) -> None:
    """A preemptible task runs on Fargate Spot; once interrupted too often, on demand."""
    faults({"fault": "spot", "match": {"name": "reclaimed"}, "stage": "running", "seconds": 0})
    run = deployment.run(
        """
        version 1.2
        task reclaimed {
          command <<< if [ ~{task.attempt} -lt 2 ]; then sleep 300; fi; echo done > out >>>
          output { File out = "out" }
          runtime { preemptible: 2 }
        }
        """
    )
    assert Path(run.outputs["reclaimed.out"]).read_text() == "done\n"
    tasks = deployment.tasks("reclaimed")
    assert [task["stopCode"] for task in tasks] == [
        "SpotInterruption",
        "SpotInterruption",
        "EssentialContainerExited",
    ]
    assert [task.get("capacityProviderName") for task in tasks] == [
        "FARGATE_SPOT",
        "FARGATE_SPOT",
        None,
    ]
    assert "interrupted too often on Fargate Spot" in run.stderr


def test_out_of_memory_gets_more(deployment: FargateDeployment, faults: Any) -> None:
    """A task that ran out of memory gets a larger size the next time."""
    faults({"fault": "out_of_memory", "match": {"name": "greedy"}, "count": 1, "seconds": 0})
    run = deployment.run(
        """
        version 1.2
        task greedy {
          command <<< if [ ~{task.attempt} -eq 0 ]; then sleep 300; fi; echo ok >>>
          output { String out = read_string(stdout()) }
          requirements { max_retries: 1  memory: "3 GiB" }
        }
        """
    )
    assert run.outputs["greedy.out"] == "ok"
    sizes = [(task["cpu"], task["memory"]) for task in deployment.tasks("greedy")]
    assert sizes == [("1024", "3072"), ("1024", "6144")]
    assert "out of memory; the next attempt gets more" in run.stderr


def test_isolated_tasks_wait_for_their_definitions(
    deployment: FargateDeployment, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By default a task is isolated and has a definition of its own. With AWS's quota, 20 at once
    and one a second, the engine paces them so that ECS throttles none, and retires what it can."""
    monkeypatch.setattr(cloud.ecs, "quotas", quotas := CountedQuotas())
    run = deployment.run(
        """
        version 1.1
        workflow w {
          scatter (i in range(24)) { call alone { input: i = i } }
          output { Array[Int] out = alone.out }
        }
        task alone {
          input { Int i }
          command <<< echo ~{i} >>>
          output { Int out = read_int(stdout()) }
        }
        """,
        env={"MINIWDL__AWS_FARGATE__DEFINITION_PERIOD": "1.2"},
    )
    assert run.outputs["w.out"] == list(range(24))
    families = {task["taskDefinitionArn"] for task in deployment.tasks()}
    assert len(families) == 24
    assert quotas.refused == []
    active = deployment.ecs.api.list_task_definitions(status="ACTIVE")["taskDefinitionArns"]
    left = families & set(active)
    assert f"{len(left)} definitions of isolated tasks stay" in run.stderr


def test_refused_spot_moves_on_demand(deployment: FargateDeployment, faults: Any) -> None:
    """A task that Fargate Spot has no capacity for runs on demand after a while; meanwhile tasks on
    demand start as ever, the log tells once, and no account is left of what was never started."""
    faults(
        {
            "fault": "not_placed",
            "spelling": "capacity",
            "match": {"queue": deployment.ecs.cluster, "provider": "FARGATE_SPOT"},
        }
    )
    accounts = deployment.root / "accounts"
    run = deployment.run(
        """
        version 1.2
        workflow w {
          scatter (i in range(3)) { call cheap }
          scatter (i in range(3)) { call steady }
          output { Array[String] said = cheap.said }
        }
        task cheap {
          command <<< echo well >>>
          output { String said = read_string(stdout()) }
          runtime { preemptible: 1 }
        }
        task steady { command <<< : >>> output {} }
        """,
        env={
            "MINIWDL__AWS_FARGATE__SPOT_WAIT": "4",
            "MINIWDL__AWS__ISOLATION": "shared",
            "MINIWDL__AWS__ACCOUNTING_DIR": str(accounts),
        },
    )
    assert [p for p in accounts.iterdir() if not p.name.startswith(".")] == []
    assert run.outputs["w.said"] == ["well"] * 3
    cheap, steady = deployment.tasks("cheap"), deployment.tasks("steady")
    assert [task["launchType"] for task in cheap + steady] == ["FARGATE"] * 6
    assert max(task["createdAt"] for task in steady) < min(task["createdAt"] for task in cheap)
    assert run.stderr.count("no room in") == 1
    assert run.stderr.count("Fargate Spot had no capacity for the task; running on demand") == 3


def test_refused_placements_are_waited_out(deployment: FargateDeployment, faults: Any) -> None:
    """RunTask's failures for want of capacity cost time and one notice, no attempt."""
    faults(
        {
            "fault": "not_placed",
            "spelling": "capacity",
            "count": 2,
            "match": {"queue": deployment.ecs.cluster},
        }
    )
    run = deployment.run(
        """
        version 1.1
        workflow w { scatter (i in range(3)) { call t } }
        task t { command <<< : >>> output {} }
        """
    )
    assert len(deployment.tasks()) == 3
    assert run.stderr.count("Capacity is unavailable at this time") == 1


def test_a_missing_image_is_fatal(deployment: FargateDeployment, faults: Any) -> None:
    """What cannot be helped is not tried again."""
    faults({"fault": "cannot_pull", "spelling": "not found"})
    run = deployment.run(
        """
        version 1.1
        task t { command <<< : >>> output {} runtime { docker: "no/such:1"  maxRetries: 3 } }
        """,
        fails=True,
    )
    assert len(deployment.tasks()) == 1
    assert "CannotPullContainerError" in run.stderr


def test_a_lost_answer_makes_no_second_task(deployment: FargateDeployment, faults: Any) -> None:
    """A RunTask whose answer is lost is repeated with its client token: there is one task."""
    faults(
        {
            "fault": "reset_after",
            "match": {"service": "ecs", "operation": "RunTask"},
            "count": 1,
        }
    )
    run = deployment.run(
        """
        version 1.1
        task t { command <<< echo once >> ~{log} >>> output {} input { String log } }
        """,
        f"log={deployment.root / 'log'}",
        # It writes where an isolated task cannot.
        env={"MINIWDL__AWS__ISOLATION": "shared"},
    )
    assert run.exit_code == 0
    assert len(deployment.tasks()) == 1
    assert (deployment.root / "log").read_text() == "once\n"


def test_throttling_reaches_no_task(deployment: FargateDeployment, faults: Any) -> None:
    """Calls that ECS throttles are made again, slower."""
    faults(
        {
            "fault": "throttle",
            "spelling": "ThrottlingException",
            "match": {"service": "ecs"},
            "probability": 0.2,
        }
    )
    run = deployment.run(
        """
        version 1.1
        workflow w {
          scatter (i in range(10)) { call t { input: i = i } }
          output { Array[Int] out = t.out }
        }
        task t {
          input { Int i }
          command <<< echo ~{i} >>>
          output { Int out = read_int(stdout()) }
        }
        """
    )
    assert run.outputs["w.out"] == list(range(10))
    assert len(deployment.tasks()) == 10


def test_a_task_that_takes_too_long_is_stopped(deployment: FargateDeployment) -> None:
    """ECS knows no timeout; the engine stops the task and says why."""
    run = deployment.run(
        """
        version 1.1
        task t { command <<< sleep 600 >>> output {} }
        """,
        env={"MINIWDL__AWS__JOB_TIMEOUT": "1"},
        fails=True,
    )
    assert "was stopped after" in run.stderr
    (task,) = deployment.tasks()
    assert task["stopCode"] == "UserInitiated"


def test_tasks_of_a_killed_run_are_reaped(deployment: FargateDeployment) -> None:
    """What a run that was killed leaves running, `miniwdl-cloud reap` stops."""
    process = deployment.start(
        """
        version 1.1
        workflow w { scatter (i in range(3)) { call sleeper } }
        task sleeper { command <<< sleep 600 >>> output {} }
        """
    )
    wait_until(
        lambda: sum(task["lastStatus"] == "RUNNING" for task in deployment.tasks()) == 3,
        "three tasks to run",
    )
    process.kill()
    process.communicate()
    reap = subprocess.run(
        [
            str(Path(sys.executable).with_name("miniwdl-cloud")),
            *("reap", "--mount", str(deployment.cloud.filesystem), "--json"),
        ],
        env=deployment.environ(),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert reap.returncode == 0, reap.stderr
    tasks = deployment.tasks()
    assert [task["stopCode"] for task in tasks] == ["UserInitiated"] * 3
    assert all(task["taskArn"] in reap.stdout for task in tasks)


def test_tasks_of_a_killed_run_are_taken_over(deployment: FargateDeployment) -> None:
    """A rerun with `[aws] adopt` watches the tasks of a run that was killed, and starts none."""
    source = """
        version 1.1
        workflow w {
          input { String gate }
          scatter (i in range(3)) { call waiter { input: i = i, gate = gate } }
          output { Array[Int] out = waiter.out }
        }
        task waiter {
          input { Int i  String gate }
          command <<< until [ -e ~{gate} ]; do sleep 0.1; done; echo ~{i} >>>
          output { Int out = read_int(stdout()) }
        }
        """
    env = {
        "MINIWDL__CALL_CACHE__PUT": "true",
        "MINIWDL__CALL_CACHE__GET": "true",
        "MINIWDL__CALL_CACHE__DIR": str(deployment.root / "cache"),
        "MINIWDL__AWS__ADOPT": "true",
        # Isolated tasks are not taken over.
        "MINIWDL__AWS__ISOLATION": "shared",
    }
    gate = deployment.root / "gate"
    process = deployment.start(source, f"gate={gate}", env=env)
    wait_until(
        lambda: sum(task["lastStatus"] == "RUNNING" for task in deployment.tasks()) == 3,
        "three tasks to run",
    )
    process.kill()
    process.communicate()
    again = deployment.start(source, f"gate={gate}", env=env)
    gate.touch()
    run = deployment.finish(again)
    assert run.outputs["w.out"] == [0, 1, 2]
    assert len(deployment.tasks()) == 3
    assert {task["stopCode"] for task in deployment.tasks()} == {"EssentialContainerExited"}


def test_found_by_the_workflow_queue(deployment: FargateDeployment, cloud: LocalCloud) -> None:
    """Cluster, roles, log group, network and access point are found by the workflow job queue: its
    tags and its compute environment."""
    batch, ecs = deployment.batch, deployment.ecs
    environment = batch.environment(type="FARGATE", subnets=[ecs.subnet], securityGroupIds=[])
    queue = batch.queue(
        environment,
        tags={
            "DefaultEcsCluster": ecs.cluster,
            "DefaultEcsExecutionRoleArn": "arn:aws:iam::123456789012:role/execution",
            "DefaultEcsLogGroup": ecs.group,
            "DefaultFsap": deployment.fsap,
        },
    )
    unset = ("CLUSTER", "SUBNETS", "EXECUTION_ROLE", "LOG_GROUP")
    env = {f"MINIWDL__AWS_FARGATE__{name}": "" for name in unset}
    run = deployment.run(
        """
        version 1.1
        task t { command <<< echo found >>> output { String out = read_string(stdout()) } }
        """,
        env={**env, "MINIWDL__AWS__FSAP": "", "MINIWDL__AWS__WORKFLOW_QUEUE": queue},
    )
    assert run.outputs["t.out"] == "found"
    assert len(deployment.tasks()) == 1


@pytest.mark.parametrize(
    ("setting", "value", "says"),
    [
        ("CLUSTER", "none", "The ECS cluster none does not exist"),
        ("SUBNETS", "subnet-0", "The subnet ID 'subnet-0' does not exist"),
    ],
)
def test_wrong_settings(deployment: FargateDeployment, setting: str, value: str, says: str) -> None:
    """What is wrong with the deployment is said in one sentence."""
    run = deployment.run(
        """
        version 1.1
        task t { command <<< : >>> output {} }
        """,
        env={f"MINIWDL__AWS_FARGATE__{setting}": value},
        fails=True,
    )
    assert says in run.stderr
