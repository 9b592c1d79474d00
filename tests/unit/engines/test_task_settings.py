"""Task settings: what is checked before a run starts, and what each does to the request."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import botocore.session
import pytest
import WDL
from botocore.validate import ParamValidator

from miniwdl_cloud.emulator.ecs import limits
from miniwdl_cloud.engines import task_settings
from miniwdl_cloud.engines.batch_queue import submit_request
from miniwdl_cloud.engines.choice import Demand, choose
from miniwdl_cloud.engines.config import EngineSettings, read_settings
from miniwdl_cloud.engines.ecs_queue import run_task_request
from miniwdl_cloud.engines.fargate_config import read_fargate_settings
from miniwdl_cloud.engines.fargate_job import fargate_request, size_of
from miniwdl_cloud.engines.runtime_values import note_settings
from miniwdl_cloud.engines.task_job import request_of
from miniwdl_cloud.engines.task_source import (
    KEY,
    Policy,
    TaskSettings,
    check_source,
    facts_of,
    read,
    settings_of,
)
from miniwdl_cloud.engines.wdl_source import target_tasks
from miniwdl_cloud.errors import UsageError
from miniwdl_cloud.filesystems.efs import Efs

EFS = Efs("/mnt/efs", "fs-12345678", "fsap-12345678")
CONFIGURATION = {
    "file_io.root": "/mnt/efs",
    "aws.region": "us-east-1",
    "aws.fsap": "fsap-12345678",
    "aws.task_queue": "tasks",
    "aws.task_queue_fallback": "on-demand",
    "aws.task_queues": "big, arn:aws:batch:us-east-1:123456789012:job-queue/far",
    "aws.container_properties": json.dumps(
        {
            "linuxParameters": {"initProcessEnabled": True},
            "ulimits": [
                {"name": "core", "softLimit": 0, "hardLimit": 0},
                {"name": "nofile", "softLimit": 1, "hardLimit": 1},
            ],
        }
    ),
    "aws.job_tags": '{"lab": "x", "cost": "low"}',
    "aws_fargate.cluster": "tasks",
    "aws_fargate.subnets": "subnet-1",
    "aws_fargate.security_groups": "sg-1",
    "aws_fargate.execution_role": "arn:aws:iam::123456789012:role/execution",
    "aws_fargate.log_group": "0",
}


class Cfg:
    """miniwdl's configuration, from a plain mapping."""

    def __init__(self, **more: str) -> None:
        self._values = {**CONFIGURATION, **{k.replace("__", "."): v for k, v in more.items()}}

    def has_option(self, section: str, key: str) -> bool:
        return f"{section}.{key}" in self._values

    def get(self, section: str, key: str) -> str:
        return self._values[f"{section}.{key}"]


def _settings(**more: str) -> EngineSettings:
    return read_settings(Cfg(**more), {})


def _asked(mapping: dict[str, Any] | None = None, **values: Any) -> TaskSettings:
    """What a task asks for in ``runtime { aws: object { … } }``."""
    evaluated = {"aws": WDL.Value.from_json(WDL.Type.Any(), values)}
    return read(evaluated, mapping or {})


def _batch(**values: Any) -> dict[str, Any]:
    """Definition and SubmitJob of a task with these settings."""
    task = _asked(**values)
    runtime: dict[str, Any] = {}
    note_settings(task, runtime)
    settings = settings_of(_settings(), task)
    request = request_of(
        run_id="call-hello-0",
        task_dir="/mnt/efs/run/call-hello-0",
        attempt=1,
        shell="/bin/bash",
        queue=settings.task_queue,
        runtime=runtime,
        filesystem=EFS,
        settings=settings,
        user=None,
    )
    definition = json.loads(request.definition.content)
    submission = submit_request([request], "arn:1")
    model = botocore.session.get_session().get_service_model("batch")
    for operation, sent in (
        ("RegisterJobDefinition", {"jobDefinitionName": "x", **definition}),
        ("SubmitJob", submission),
    ):
        report = ParamValidator().validate(sent, model.operation_model(operation).input_shape)
        assert not report.has_errors(), report.generate_report()
    return {
        "definition": definition["containerProperties"],
        "submission": submission,
        "request": request,
        "fallback": settings.task_queue_fallback,
    }


def _fargate(**values: Any) -> dict[str, Any]:
    """Definition and RunTask of a task with these settings."""
    task = _asked(**values)
    task_settings.check_engine(task.said, "aws_fargate")
    runtime: dict[str, Any] = {}
    note_settings(task, runtime)
    found = read_fargate_settings(Cfg(), {})
    request = fargate_request(
        run_id="call-hello-0",
        task_dir="/mnt/efs/run/call-hello-0",
        attempt=1,
        shell="/bin/bash",
        queue="tasks/FARGATE",
        runtime=runtime,
        filesystem=EFS,
        settings=found,
        user=None,
        resources=size_of(runtime, found).given,
    )
    definition = {"family": "x", **json.loads(request.definition.content)}
    run = run_task_request(request, "arn:aws:ecs:us-east-1:123456789012:task-definition/d:1", {})
    model = botocore.session.get_session().get_service_model("ecs")
    shape = model.operation_model("RegisterTaskDefinition").input_shape
    assert not ParamValidator().validate(definition, shape).has_errors()
    limits.check_definition(definition)
    return {"definition": definition["containerDefinitions"][0], "run": run}


def test_each_setting_changes_the_batch_request() -> None:
    """All that Batch has, in one request: queue, timeout, share, priority, disk, limits, tags."""
    plain = _batch()
    made = _batch(
        queue="far",
        fallback="big",
        timeout=600,
        share_identifier="lab*",
        scheduling_priority=7,
        shared_memory_mib=512,
        ulimits={"nofile": 65536, "nproc": [10, 20]},
        tags={"cost": "high", "who": "me"},
        array=False,
    )
    expected = {
        **plain["submission"],
        "jobName": made["submission"]["jobName"],
        "jobQueue": "arn:aws:batch:us-east-1:123456789012:job-queue/far",
        "timeout": {"attemptDurationSeconds": 600},
        "shareIdentifier": "lab*",
        "schedulingPriorityOverride": 7,
        "tags": {"lab": "x", "cost": "high", "who": "me", "miniwdl-cloud-call": "hello"},
    }
    assert made["submission"] == expected
    assert made["fallback"] == "big"
    assert made["definition"] == {
        **plain["definition"],
        "linuxParameters": {"initProcessEnabled": True, "sharedMemorySize": 512},
        "ulimits": [
            {"name": "core", "softLimit": 0, "hardLimit": 0},
            {"name": "nofile", "softLimit": 65536, "hardLimit": 65536},
            {"name": "nproc", "softLimit": 10, "hardLimit": 20},
        ],
    }
    assert plain["request"].may_coalesce
    assert not made["request"].may_coalesce


def test_no_fallback_can_be_asked_for() -> None:
    """``fallback: false`` is none, and nothing said is the configured one."""
    assert _batch(fallback=False)["fallback"] is None
    assert _batch()["fallback"] == "on-demand"


def test_jobs_that_differ_in_a_setting_share_no_array() -> None:
    """Share, priority, tags and limits are the same for all children of an array job."""
    plain = _batch()["request"].kind
    for values in (
        {"share_identifier": "a"},
        {"scheduling_priority": 1},
        {"tags": {"a": "b"}},
        {"ulimits": {"nofile": 5}},
        {"timeout": 60},
    ):
        assert _batch(**values)["request"].kind != plain


def test_each_setting_changes_the_fargate_request() -> None:
    """What Fargate has: disk, open files, tags."""
    plain = _fargate()
    made = _fargate(ephemeral_storage_gib=100, ulimits={"nofile": [10, 20]}, tags={"who": "me"})
    assert made["definition"] == {
        **plain["definition"],
        "ulimits": [{"name": "nofile", "softLimit": 10, "hardLimit": 20}],
    }
    assert made["run"]["overrides"]["ephemeralStorage"] == {"sizeInGiB": 100}
    tags = {tag["key"]: tag["value"] for tag in made["run"]["tags"]}
    assert tags.pop("Name").startswith("hello-0-")
    assert tags == {"lab": "x", "cost": "low", "who": "me", "miniwdl-cloud-call": "hello"}


@pytest.mark.parametrize(
    ("engine", "name", "value", "why"),
    [
        ("aws_fargate", "queue", "big", "ECS has no job queues"),
        ("aws_fargate", "fallback", False, "ECS has no job queues"),
        ("aws_fargate", "share_identifier", "a", "fair-share"),
        ("aws_fargate", "scheduling_priority", 1, "scheduling priorities"),
        ("aws_fargate", "shared_memory_mib", 64, "/dev/shm"),
        ("aws_fargate", "array", True, "array jobs"),
        ("aws_fargate", "ulimits", {"nproc": 5}, "nofile only"),
        ("aws_batch_job", "ephemeral_storage_gib", 50, "launch template"),
        ("aws_batch_job", "timeout", 59, "60 at least"),
    ],
)
def test_what_an_engine_has_not_is_refused(engine: str, name: str, value: Any, why: str) -> None:
    """A setting that could not take effect is refused with the reason, not passed over."""
    task = _asked(**{name: value})
    with pytest.raises(UsageError, match=why):
        task_settings.check_engine(task.said, engine)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("engine", "docker_swarm"),
        ("queue", ""),
        ("fallback", True),
        ("timeout", 0),
        ("timeout", "1h"),
        ("timeout", True),
        ("share_identifier", "a-b"),
        ("scheduling_priority", 10000),
        ("ephemeral_storage_gib", 20),
        ("shared_memory_mib", 0),
        ("ulimits", {"files": 1}),
        ("ulimits", {"nofile": [2, 1]}),
        ("tags", {"aws:x": "y"}),
        ("tags", {"x": 1}),
        ("isolation", "none"),
        ("array", "no"),
        ("instance_types", ["m5.large"]),
        ("qeueu", "big"),
    ],
)
def test_wrong_values_are_refused(name: str, value: Any) -> None:
    """By name, in one sentence."""
    with pytest.raises(UsageError, match=rf"runtime\.aws\.{name}"):
        _asked(**{name: value})


def test_a_queue_has_to_be_configured() -> None:
    """`status` and `cancel` look only at queues that the configuration names."""
    with pytest.raises(UsageError, match=r"add it to \[aws\] task_queues"):
        settings_of(_settings(), _asked(queue="other"))


WDL_12 = """version 1.2
task t {
  input { String q }
  command <<< >>>
  requirements {
    container: "ubuntu"
    aws: object { queue: q, timeout: 100, array: false }
    aws_scheduling_priority: 3
  }
  hints {
    aws: object { timeout: 200, tags: object { a: "b" } }
    other: "x"
  }
}
"""


def _task(source: str, tmp_path: Path) -> Any:
    path = tmp_path / "source.wdl"
    path.write_text(source)
    (task,) = target_tasks(WDL.load(str(path)), None)
    return task


def _evaluated(task: Any, **values: Any) -> dict[str, WDL.Value.Base]:
    """A runtime section as miniwdl has evaluated it, and what our plugin adds."""
    facts = facts_of(task, ["w", "call-t"], "/mnt/efs/20260101_000000_w/call-t")
    told = WDL.Value.String(json.dumps(facts.__dict__))
    return {
        KEY: told,
        **{k: WDL.Value.from_json(WDL.Type.Any(), v) for k, v in values.items()},
    }


def test_hints_come_before_runtime_and_the_configuration_before_both(tmp_path: Path) -> None:
    """The later of: key, object, hints, [aws] task_settings; each setting by itself."""
    asked = _evaluated(
        _task(WDL_12, tmp_path),
        aws={"queue": "big", "timeout": 100, "array": False},
        aws_scheduling_priority=3,
        aws_timeout=50,
        cpu=2,
    )
    found = read(asked, {"t*": {"queue": "far"}, "t": {"tags": {"c": "d"}}, "u": {"array": True}})
    assert found.values == {
        "queue": "far",
        "timeout": 200,
        "array": False,
        "scheduling_priority": 3,
        "tags": {"c": "d"},
    }
    assert found.facts.task == "t"
    assert found.facts.run == "20260101_000000_w"
    # The rest is miniwdl's.
    assert list(asked) == ["cpu"]


@pytest.mark.parametrize(
    ("run_id", "run_dir"),
    [
        (["t"], "/efs/R"),
        (["w", "call-t"], "/efs/R/call-t"),
        (["w", "call-sub-1", "call-t-0"], "/efs/R/call-sub-1/call-t-0"),
        (["w", "download-x"], "/efs/R/download/0"),
        (["w", "call-t", "download-x"], "/efs/R/call-t/download/3"),
    ],
)
def test_the_run_is_named_by_its_directory(tmp_path: Path, run_id: list[str], run_dir: str) -> None:
    """However deep the call, and for downloads too."""
    assert facts_of(_task(WDL_12, tmp_path), run_id, run_dir).run == "R"


def test_an_evaluated_value_is_refused_with_its_position(tmp_path: Path) -> None:
    """Its position is known although miniwdl does not tell it."""
    task = _task(WDL_12, tmp_path)
    with pytest.raises(UsageError, match=r"source\.wdl:7:26: requirements\.aws\.queue should be"):
        read(_evaluated(task, aws={"queue": ""}), {})
    with pytest.raises(
        UsageError, match=r"source\.wdl:8:30: requirements\.aws_scheduling_priority should be"
    ):
        read(_evaluated(task, aws_scheduling_priority=-1), {})


def test_good_source_passes(tmp_path: Path) -> None:
    """What is evaluated later is not judged before."""
    check_source(_task(WDL_12, tmp_path), Policy("aws_batch_job", queues=("tasks",)))


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (
            "timeout: 100",
            "timeuot: 100",
            r":7:38: requirements\.aws\.timeuot is not a task setting",
        ),
        ("timeout: 100", 'timeout: "1 h"', r":7:38: requirements\.aws\.timeout should be a number"),
        ("queue: q", 'queue: "x"', r":7:26: requirements\.aws\.queue names the job queue x, which"),
        ("timeout: 200", "timeout: 100 + 1", r":11:28: hints\.aws\.timeout should be a literal"),
        ("timeout: 200", "engine: 1", r":11:27: hints\.aws\.engine should be one of"),
        ('object { timeout: 200, tags: object { a: "b" } }', '"x"', r"hints\.aws should be an obj"),
        ("_priority: 3", "_priority: -1", r":8:\d+: requirements\.aws_scheduling_priority should"),
        ("array: false", "shared_memory_mib: 9", None),
        ("timeout: 200", 'engine: "aws_fargate"', r"has no effect with the engine aws_fargate"),
        ("timeout: 200", "instance_types: 3", r"is not to be had: AWS Batch chooses instances"),
    ],
)
def test_wrong_source_is_refused_before_it_runs(
    tmp_path: Path, before: str, after: str, message: str | None
) -> None:
    """Literals are checked at once, with file, line and column."""
    assert before in WDL_12
    source = WDL_12.replace(before, after)
    if message is not None and ":7:" in message and "queue" not in message:
        # Only the beginning of the line counts.
        source = source.replace("queue: q, ", "array: false, ").replace(", array: false }", " }")
        message = message.replace(":7:38:", r":7:\d+:")
    task = _task(source, tmp_path)
    policy = Policy("aws_batch_job", queues=("tasks",))
    if message is None:
        check_source(task, policy)
        return
    with pytest.raises(UsageError, match=message) as caught:
        check_source(task, policy)
    assert caught.value.message.count("\n") == 0


def test_the_configuration_is_checked_when_it_is_read() -> None:
    """A wrong mapping is named by its setting, whatever tasks there are."""
    with pytest.raises(UsageError, match=r"MINIWDL__AWS__TASK_SETTINGS\): a\*\.queu"):
        _settings(aws__task_settings='{"a*": {"queu": "x"}}')
    with pytest.raises(UsageError, match="should be an object of task settings"):
        _settings(aws__task_settings='{"a*": 3}')


@pytest.mark.parametrize(
    ("default", "settings", "small", "demand", "engine"),
    [
        ("aws_batch_job", {}, 0, Demand(1, 0, False), "aws_batch_job"),
        ("aws_fargate", {}, 0, Demand(64, 0, True), "aws_fargate"),
        ("aws_batch_job", {"engine": "aws_fargate"}, 0, Demand(64, 0, True), "aws_fargate"),
        ("aws_batch_job", {}, 2, Demand(1, 4096, False), "aws_fargate"),
        ("aws_batch_job", {}, 2, Demand(2, 16384, False), "aws_fargate"),
        ("aws_batch_job", {}, 2, Demand(2, 16385, False), "aws_batch_job"),
        ("aws_batch_job_no_efs", {}, 2, Demand(3, 0, False), "aws_batch_job_no_efs"),
        ("aws_fargate", {}, 2, Demand(3, 0, False), "aws_batch_job"),
        ("aws_fargate", {}, 16, Demand(17, 0, False), "aws_batch_job"),
        ("aws_fargate", {}, 16, Demand(1, 121 * 1024, False), "aws_batch_job"),
        ("aws_fargate", {}, 16, Demand(1, 0, True), "aws_batch_job"),
        ("aws_fargate", {"queue": "big"}, 16, Demand(1, 0, False), "aws_batch_job"),
        ("aws_batch_job", {"ephemeral_storage_gib": 50}, 2, Demand(9, 0, False), "aws_fargate"),
        ("aws_batch_job", {"engine": "aws_batch_job"}, 2, Demand(1, 0, False), "aws_batch_job"),
    ],
)
def test_the_engine_of_a_task(
    default: str, settings: dict[str, Any], small: float, demand: Demand, engine: str
) -> None:
    """What the task says, then what one engine alone has, then its size, if that is wanted."""
    assert choose(default, settings, small, demand) == engine


def test_the_table_in_the_docs_is_this_one() -> None:
    """docs/task-settings.md has the settings as they are."""
    page = Path(__file__).parents[3] / "docs" / "task-settings.md"
    assert task_settings.table() in page.read_text()
