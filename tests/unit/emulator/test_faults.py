"""Fault plans, and what acts by them, without a server."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import botocore.parsers
import botocore.session
import pytest

from miniwdl_cloud.aws.error_mapping import from_client_error
from miniwdl_cloud.emulator.errors import ApiError
from miniwdl_cloud.emulator.faults import wire
from miniwdl_cloud.emulator.faults.calls import CallFaults
from miniwdl_cloud.emulator.faults.consistency import ConsistencyFaults
from miniwdl_cloud.emulator.faults.endings import ENDINGS
from miniwdl_cloud.emulator.faults.injector import FaultInjector
from miniwdl_cloud.emulator.faults.jobs import JobFaults
from miniwdl_cloud.emulator.faults.plan import parse_plan, read_plan
from miniwdl_cloud.emulator.wsgi import ConnectionDropped
from miniwdl_cloud.errors import CredentialsExpired, Throttled, Unreachable, UsageError


def injector(*rules: dict[str, Any], seed: int = 0) -> FaultInjector:
    """An injector with these rules."""
    return FaultInjector(parse_plan({"seed": seed, "rules": list(rules)}))


CALL = {"service": "batch", "operation": "SubmitJob"}


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        ([], "JSON object"),
        ({"rule": []}, "JSON object"),
        ({"seed": "x"}, "seed is an integer"),
        ({"rules": [{"fault": "gremlins"}]}, "Rule 0 of the fault plan needs a fault"),
        ({"rules": [{"fault": "slow"}, {}]}, "Rule 1 of the fault plan needs a fault"),
        ({"rules": [{"fault": "slow", "stage": "running"}]}, "['stage']"),
        ({"rules": [{"fault": "slow", "seconds": "long"}]}, "a number for seconds"),
        ({"rules": [{"fault": "slow", "count": True}]}, "a number for count"),
        ({"rules": [{"fault": "slow", "match": {"name": "x"}}]}, "operation, service only"),
        ({"rules": [{"fault": "spot", "match": {"name": "("}}]}, "no regular expression"),
        ({"rules": [{"fault": "throttle", "spelling": "Basta"}]}, "needs a spelling"),
        ({"rules": [{"fault": "spot", "stage": "later"}]}, "needs a stage"),
    ],
)
def test_bad_plans(plan: object, words: str) -> None:
    """What is no plan is refused in one sentence that says where and why."""
    with pytest.raises(UsageError) as caught:
        parse_plan(plan)
    assert words in caught.value.message


def test_plan_files(tmp_path: Path) -> None:
    """A plan is read from a file; a missing and a broken one are said so."""
    path = tmp_path / "plan.json"
    path.write_text(json.dumps({"seed": 3, "rules": [{"fault": "spot"}]}))
    assert read_plan(path).rules[0].fault == "spot"
    path.write_text("{")
    with pytest.raises(UsageError, match="is not JSON"):
        read_plan(path)
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read_plan(tmp_path / "none")


def test_the_seed_decides() -> None:
    """The same seed and order of calls give the same faults; another seed gives others."""

    def fired(seed: int) -> list[bool]:
        some = injector({"fault": "throttle", "probability": 0.5}, seed=seed)
        return [some.choose("called", CALL) is not None for _ in range(64)]

    assert fired(1) == fired(1)
    assert fired(1) != fired(2)
    assert 10 < sum(fired(1)) < 54


def test_what_others_match_does_not_matter() -> None:
    """A rule draws for what it matches alone, whatever happens between."""
    rule = {"fault": "throttle", "probability": 0.5, "match": {"operation": "SubmitJob"}}
    alone, among = injector(rule), injector(rule)
    expected = [alone.choose("called", CALL) is not None for _ in range(32)]
    got = []
    for _ in range(32):
        among.choose("called", {"service": "batch", "operation": "DescribeJobs"})
        got.append(among.choose("called", CALL) is not None)
    assert got == expected


def test_skip_and_count() -> None:
    """A rule lets the first pass, acts so often and no more, and tells what it did."""
    some = injector({"fault": "slow", "skip": 2, "count": 1})
    assert [some.choose("called", CALL) is not None for _ in range(5)] == [
        False,
        False,
        True,
        False,
        False,
    ]
    (rule,) = some.as_dict()["rules"]
    assert (rule["matched"], rule["fired"]) == (5, 1)


def test_matching() -> None:
    """Operations match with an asterisk, names by regular expression, the rest by equality."""
    some = injector(
        {"fault": "slow", "match": {"service": "batch", "operation": "Describe*"}},
        {"fault": "spot", "match": {"name": "^align.*-try2", "queue": "q", "attempt": 1}},
    )
    assert some.choose("called", {"service": "batch", "operation": "DescribeJobs"})
    assert not some.choose("called", {"service": "ecs", "operation": "DescribeTasks"})
    job = {"name": "align-1-try2-x", "queue": "q", "attempt": 1}
    assert some.choose("launched", job)
    for other in ({"name": "align-1-x"}, {"queue": "p"}, {"attempt": 2}):
        assert not some.choose("launched", {**job, **other})


SERVICES = {
    "batch": "",
    "s3": "",
    "ec2": "",
    "iam": "application/x-www-form-urlencoded",
    "logs": "",
}


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("spelling", wire.THROTTLING)
def test_throttling_is_understood(service: str, spelling: str) -> None:
    """botocore reads each spelling in each protocol, and we map it to Throttled."""
    assert isinstance(_mapped(wire.THROTTLING[spelling], service), Throttled)


@pytest.mark.parametrize("service", SERVICES)
def test_other_errors_are_understood(service: str) -> None:
    """Expired credentials and failures of the service are told apart from throttling."""
    expired = wire.EXPIRED_S3 if service == "s3" else wire.EXPIRED
    assert isinstance(_mapped(expired, service), CredentialsExpired)
    error = _mapped(wire.server_error(service, 503), service)
    assert isinstance(error, Unreachable)
    assert not isinstance(error, Throttled)
    assert isinstance(_mapped(wire.SLOW_DOWN, service), Throttled)


def _mapped(error: ApiError, service: str) -> Exception:
    """Our error for an error answer, read by botocore."""
    model = botocore.session.Session().get_service_model(service)
    body, headers = wire.encode(error, service, {"CONTENT_TYPE": SERVICES[service]})
    parser = botocore.parsers.create_parser(model.protocol)
    answer = {"body": body, "headers": dict(headers), "status_code": error.status}
    shape = model.operation_model(model.operation_names[0]).output_shape
    parsed = parser.parse({**answer, "context": {}}, shape)
    exception = botocore.exceptions.ClientError(parsed, "Operation")
    return from_client_error(exception, "testing")


class _Service:
    """A WSGI application that counts."""

    def __init__(self) -> None:
        self.calls = 0
        self.status = ""

    def serve(self, start_response: Any) -> list[bytes]:
        self.calls += 1
        start_response("200 OK", [])
        return [b"answer"]

    def start(self, status: str, headers: list[tuple[str, str]]) -> None:
        self.status = status


def test_lost_answers() -> None:
    """A connection is reset before the request took effect, or after."""
    service = _Service()
    some = injector({"fault": "reset_before", "count": 1}, {"fault": "reset_after", "count": 1})
    faults = CallFaults(some, threading.Event())
    for done in (0, 1):
        with pytest.raises(ConnectionDropped):
            faults.answer("batch", "SubmitJob", {}, service.start, service.serve)
        assert (service.calls, service.status) == (done, "")
    assert faults.answer("batch", "SubmitJob", {}, service.start, service.serve) == [b"answer"]


def test_slow_answers_end_with_the_server() -> None:
    """A slow answer comes in the end, at the latest when the server stops."""
    service, closing = _Service(), threading.Event()
    closing.set()
    faults = CallFaults(injector({"fault": "slow", "seconds": 3600}), closing)
    assert faults.answer("batch", "SubmitJob", {}, service.start, service.serve) == [b"answer"]


class _World:
    """A Batch with one job and one definition, and a clock."""

    def __init__(self, *rules: dict[str, Any]) -> None:
        self.now = 100.0
        self.status = "SUBMITTED"
        self.faults = ConsistencyFaults(injector(*rules), lambda: self.now)

    def serve(self, operation: str, params: dict[str, Any]) -> dict[str, Any]:
        job = {"jobId": "j", "jobName": "align-1", "jobQueue": "a/q", "status": self.status}
        definition = {"jobDefinitionArn": "arn:job-definition/d:1", "jobDefinitionName": "d"}
        return {
            "SubmitJob": job,
            "DescribeJobs": {"jobs": [{**job, "jobId": i} for i in params.get("jobs", [])]},
            "ListJobs": {"jobSummaryList": [job]},
            "RegisterJobDefinition": definition,
            "DescribeJobDefinitions": {"jobDefinitions": [definition]},
        }[operation]

    def call(self, operation: str, **params: Any) -> dict[str, Any]:
        return self.faults.call(operation, params, self.serve)

    def described(self, job_id: str = "j") -> list[str]:
        return [job["status"] for job in self.call("DescribeJobs", jobs=[job_id])["jobs"]]


def test_omitted_jobs() -> None:
    """DescribeJobs leaves a job and its children out for a while; ListJobs shows it."""
    world = _World({"fault": "omitted", "seconds": 10, "match": {"name": "align", "queue": "q"}})
    world.call("SubmitJob", jobDefinition="d", jobQueue="q")
    assert world.described() == world.described("j:7") == []
    assert world.call("ListJobs")["jobSummaryList"]
    world.now += 10
    assert world.described() == ["SUBMITTED"]


def test_unlisted_jobs() -> None:
    """ListJobs leaves a job out for a while; DescribeJobs shows it."""
    world = _World({"fault": "unlisted", "seconds": 10})
    world.call("SubmitJob", jobDefinition="d", jobQueue="q")
    assert world.call("ListJobs")["jobSummaryList"] == []
    assert world.described() == ["SUBMITTED"]
    world.now += 10
    assert world.call("ListJobs")["jobSummaryList"]


def test_stale_answers() -> None:
    """A stale answer is what was answered some seconds ago, so states come in the wrong order."""
    world = _World({"fault": "stale", "seconds": 5, "skip": 2, "count": 1})
    assert world.described() == ["SUBMITTED"]
    world.now, world.status = 106.0, "RUNNING"
    assert world.described() == ["RUNNING"]
    world.now, world.status = 108.0, "SUCCEEDED"
    assert world.described() == ["SUBMITTED"]
    assert world.described() == ["SUCCEEDED"]


def test_unknown_definitions() -> None:
    """A definition just registered is unknown for a while, by ARN and by name."""
    world = _World({"fault": "unknown_definition", "seconds": 10, "count": 1})
    arn = world.call("RegisterJobDefinition")["jobDefinitionArn"]
    for name in (arn, "d:1"):
        with pytest.raises(ApiError) as caught:
            world.call("SubmitJob", jobDefinition=name, jobQueue="q")
        assert (caught.value.code, caught.value.status) == ("ClientException", 404)
    assert world.call("DescribeJobDefinitions")["jobDefinitions"] == []
    world.now += 10
    assert world.call("SubmitJob", jobDefinition=arn, jobQueue="q")


@pytest.mark.parametrize("name", ENDINGS)
def test_each_ending_can_be_had(name: str) -> None:
    """Each fault of a job plans an ending, in its own words or in those of the rule."""
    planned = JobFaults(injector({"fault": name})).ending("job", "q", 1)
    assert planned is not None
    assert planned.ending.is_spot == (name == "spot")
    if ENDINGS[name].reasons:
        assert planned.ending.reason in ENDINGS[name].reasons.values()
    rule = {"fault": name, "stage": "after_command", "exit_code": 2, "reason": "r"}
    planned = JobFaults(injector(rule)).ending("job", "q", 1)
    assert planned is not None
    ending = planned.ending
    assert (ending.stage, ending.exit_code, ending.reason) == ("after_command", 2, "r")


def test_any_spelling() -> None:
    """With spelling any, each time one is drawn."""
    faults = JobFaults(injector({"fault": "cannot_pull", "spelling": "any"}))
    drawn = [faults.ending("job", "q", 1) for _ in range(100)]
    assert len({d.ending.reason for d in drawn if d}) == len(ENDINGS["cannot_pull"].reasons)


def test_an_ending_that_came_too_late_does_not_count() -> None:
    """A fault that its job escaped is left for another."""
    some = injector({"fault": "spot", "count": 1})
    planned = JobFaults(some).ending("job", "q", 1)
    assert planned is not None
    planned.missed()
    assert some.as_dict()["rules"][0]["fired"] == 0
    assert JobFaults(some).ending("job", "q", 1) is not None


def test_held_jobs() -> None:
    """Blocked jobs show why; canceled ones say it when they end."""
    hold = JobFaults(injector({"fault": "blocked", "spelling": "max resource"})).hold("j", "q", 1)
    assert hold is not None
    assert hold.status_reason.startswith("MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE - ")
    assert (hold.seconds, hold.canceled) == (None, None)
    hold = JobFaults(injector({"fault": "canceled"})).hold("j", "q", 1)
    assert hold is not None
    assert hold.canceled == (
        "Canceled by JobStateTimeLimit action due to reason:"
        " CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY"
    )
