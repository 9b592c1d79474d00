"""Fault plans on the embedded AWS: what boto3 sees of calls that fail, and the plan's control."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.exceptions
import pytest
from batch_helper import Batch, make_client, unique, wait_until

from miniwdl_cloud.aws.error_mapping import map_errors
from miniwdl_cloud.emulator.server import LocalCloud
from miniwdl_cloud.errors import CredentialsExpired, MiniwdlCloudError, Throttled, Unreachable


class Control:
    """The fault plan of a running emulator, over HTTP."""

    def __init__(self, url: str) -> None:
        self.url = url + "/_local/faults"

    def call(self, method: str, plan: Any = None) -> dict[str, Any]:
        """One request; its answer."""
        data = None if plan is None else json.dumps(plan).encode()
        request = urllib.request.Request(self.url, data=data, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return dict(json.load(answer))

    def follow(self, *rules: dict[str, Any]) -> None:
        """Replace the plan."""
        self.call("POST", {"seed": 1, "rules": list(rules)})


@pytest.fixture
def control(cloud: LocalCloud) -> Iterator[Control]:
    """The fault plan, cleared when the test ends."""
    made = Control(cloud.endpoint_url)
    yield made
    made.call("DELETE")


def failing(action: Any) -> MiniwdlCloudError:
    """Our error for what botocore raises."""
    with pytest.raises(MiniwdlCloudError) as caught, map_errors("testing"):
        action()
    return caught.value


def test_plan_over_http(control: Control, batch: Batch) -> None:
    """A plan is set, shown with what it did, refused if it is none, and cleared."""
    control.follow({"fault": "throttle", "match": {"service": "batch"}, "count": 1})
    assert isinstance(failing(batch.api.describe_job_queues), Throttled)
    batch.api.describe_job_queues()
    shown = control.call("GET")
    assert (shown["seed"], shown["rules"][0]["matched"], shown["rules"][0]["fired"]) == (1, 2, 1)
    with pytest.raises(urllib.error.HTTPError) as caught:
        control.call("POST", {"rules": [{"fault": "gremlins"}]})
    assert caught.value.code == 400
    assert "Rule 0" in json.load(caught.value)["message"]
    assert control.call("DELETE")["rules"] == []


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"fault": "throttle", "spelling": "InvalidParameterException"}, Throttled),
        ({"fault": "throttle", "spelling": "RequestLimitExceeded"}, Throttled),
        ({"fault": "server_error", "status": 502}, Unreachable),
        ({"fault": "reset_before"}, Unreachable),
        ({"fault": "reset_after"}, Unreachable),
        ({"fault": "expired_token"}, CredentialsExpired),
    ],
)
@pytest.mark.parametrize("service", ["batch", "s3", "ec2", "iam", "logs"])
def test_calls_of_each_protocol(
    cloud: LocalCloud,
    control: Control,
    service: str,
    rule: dict[str, Any],
    expected: type[MiniwdlCloudError],
) -> None:
    """A client of each protocol sees the error that was meant, once."""
    client = make_client(cloud, service)
    call = {
        "batch": "describe_job_queues",
        "s3": "list_buckets",
        "ec2": "describe_vpcs",
        "iam": "list_roles",
        "logs": "describe_log_groups",
    }[service]
    control.follow({**rule, "match": {"service": service}, "count": 1})
    assert isinstance(failing(getattr(client, call)), expected)
    getattr(client, call)()


@pytest.mark.parametrize("rule", [{"fault": "slow_down"}, {"fault": "server_error"}])
def test_s3_is_retried(cloud: LocalCloud, control: Control, rule: dict[str, Any]) -> None:
    """boto3 retries what S3 asks it to retry."""
    bucket = unique("bucket")
    make_client(cloud, "s3").create_bucket(Bucket=bucket)
    control.follow({**rule, "match": {"service": "s3", "operation": "PutObject"}, "count": 2})
    client = make_client(cloud, "s3", retries={"total_max_attempts": 5, "mode": "standard"})
    client.put_object(Bucket=bucket, Key="k", Body=b"x" * 100_000)
    assert client.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x" * 100_000
    assert control.call("GET")["rules"][0]["fired"] == 2


def test_slow_answers(cloud: LocalCloud, control: Control) -> None:
    """A client with less patience gives up on a slow answer."""
    control.follow({"fault": "slow", "seconds": 3, "count": 1})
    impatient = make_client(cloud, "batch", read_timeout=0.3)
    with pytest.raises(botocore.exceptions.ReadTimeoutError):
        impatient.describe_job_queues()


def test_a_submission_whose_answer_is_lost(batch: Batch, queue: str, control: Control) -> None:
    """The job is there, though its submitter saw the connection reset; before, it is not."""
    definition = batch.definition("true")
    for fault, jobs in (("reset_before", 0), ("reset_after", 1)):
        name = unique("lost")
        control.follow({"fault": fault, "match": {"operation": "SubmitJob"}, "count": 1})
        with pytest.raises(botocore.exceptions.ConnectionClosedError):
            batch.submit(definition, queue, jobName=name)
        listed = batch.api.list_jobs(
            jobQueue=queue, filters=[{"name": "JOB_NAME", "values": [name]}]
        )
        assert len(listed["jobSummaryList"]) == jobs


def test_omitted_and_unknown(batch: Batch, queue: str, control: Control) -> None:
    """A job just submitted is not described, and a new definition not known, for a while."""
    control.follow(
        {"fault": "omitted", "seconds": 3600, "count": 1},
        {"fault": "unknown_definition", "seconds": 3600, "skip": 1, "count": 1},
    )
    definition = batch.definition("true")
    job = batch.submit(definition, queue)
    assert batch.api.describe_jobs(jobs=[job])["jobs"] == []
    with pytest.raises(batch.api.exceptions.ClientException) as caught:
        batch.submit(batch.definition("true"), queue)
    answer = caught.value.response
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 404
    assert "JobDefinition" in answer["Error"]["Message"]
    batch.run(queue, "true")


def test_stale_answers(batch: Batch, queue: str, control: Control) -> None:
    """A job that has ended is described as it was first seen."""
    control.follow({"fault": "stale", "seconds": 3600, "match": {"name": "^old$"}, "skip": 2})
    job = batch.submit(batch.definition("sleep", "0.1"), queue, jobName="old")
    first = batch.describe(job)["status"]
    wait_until(
        lambda: batch.api.list_jobs(jobQueue=queue, jobStatus="SUCCEEDED")["jobSummaryList"],
        "the job's end",
    )
    batch.describe(job)
    assert batch.describe(job)["status"] == first != "SUCCEEDED"


def test_plan_from_a_file(tmp_path: Path) -> None:
    """``--faults FILE`` is followed from the start; a bad file ends with one sentence."""
    path = tmp_path / "plan.json"
    path.write_text(json.dumps({"rules": [{"fault": "throttle", "count": 1}]}))
    command = [
        *(sys.executable, "-m", "miniwdl_cloud.emulator"),
        *("--state", str(tmp_path / "state"), "--filesystem", str(tmp_path / "fs")),
        *("--faults", str(path)),
    ]
    server = tmp_path / "state" / "server.json"
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        wait_until(server.exists, "the server to start")
        control = Control(json.loads(server.read_text())["endpoint_url"])
        assert control.call("GET")["rules"][0]["fault"] == "throttle"
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    path.write_text("{}]")
    failed = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert failed.returncode == 64
    assert f"The fault plan {path} is not JSON." in failed.stderr
    assert "Traceback" not in failed.stderr
