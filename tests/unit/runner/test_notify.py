"""Who is told that a run has ended, and what."""

from __future__ import annotations

import http.server
import json
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import boto3
import pytest

from .conftest import Runner

ONE_OUTPUT = 'succeed(text=out("text", made("a.txt")))\n'
FAILS = 'fail(7, error="RunFailed", cause={"error": "CommandFailed", "message": "it broke"})\n'


@dataclass
class Webhook:
    """A server that keeps what it gets, and answers with the statuses given, the last for ever."""

    url: str
    statuses: list[int] = field(default_factory=lambda: [200])
    got: list[dict[str, Any]] = field(default_factory=list)


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    made = Webhook("")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            made.got.append(json.loads(body))
            status = made.statuses.pop(0) if len(made.statuses) > 1 else made.statuses[0]
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        made.url = f"http://127.0.0.1:{server.server_address[1]}/hook/secret-token"
        yield made
        server.shutdown()
        thread.join()


def test_success_is_told_to_a_webhook(runner: Runner, webhook: Webhook) -> None:
    """State, outputs and where the report is; the log does not have the webhook's address."""
    result = runner.run(
        ONE_OUTPUT,
        *("--s3upload", f"s3://{runner.bucket}/r"),
        environ={"MINIWDL__AWS__NOTIFY": webhook.url, "AWS_BATCH_JOB_ID": "job-1"},
    )
    assert result.code == 0, result.stderr
    (told,) = webhook.got
    folder = f"s3://{runner.bucket}/r/20260101_000000_wf/"
    assert told["run"]["state"] == "succeeded"
    assert told["run"]["uploaded"] == folder
    assert told["run"]["report"] == folder + "report.html"
    assert told["run"]["jobId"] == "job-1"
    assert told["totals"]["tasks"] == 0
    assert told["text"].splitlines()[0].startswith("miniwdl: 20260101_000000_wf succeeded after")
    assert "notified the webhook at 127.0.0.1" in result.stderr
    assert "secret-token" not in result.stderr


def test_failure_is_told_with_its_reason(runner: Runner, webhook: Webhook) -> None:
    """The innermost message; without an upload the report is where the run is."""
    result = runner.run(FAILS, environ={"MINIWDL__AWS__NOTIFY": webhook.url})
    assert result.code == 7
    (told,) = webhook.got
    assert (told["run"]["state"], told["run"]["exitCode"]) == ("failed", 7)
    assert told["run"]["error"] == "it broke"
    assert told["run"]["report"] == str(runner.run_dir / "report.html")


def test_a_failed_upload_is_a_failure(runner: Runner, webhook: Webhook) -> None:
    """A run whose outputs cannot be uploaded has not succeeded."""
    removed = 'succeed(text=out("text", made("a.txt")))\nimport shutil; shutil.rmtree(run_dir)\n'
    result = runner.run(
        removed,
        *("--s3upload", f"s3://{runner.bucket}/r"),
        environ={"MINIWDL__AWS__NOTIFY": webhook.url},
    )
    assert result.code == 78
    (told,) = webhook.got
    assert (told["run"]["state"], told["run"]["exitCode"]) == ("failed", 78)
    assert "Nothing was uploaded" in told["run"]["error"]


def test_a_terminated_run(runner: Runner, webhook: Webhook) -> None:
    """SIGTERM to the workflow job is told as such."""
    waits = """
        (run_dir / "ready").touch()
        signal.signal(signal.SIGTERM, lambda *_: fail(130, error="Terminated"))
        while True: time.sleep(0.05)
    """
    process = runner.start(waits, environ={"MINIWDL__AWS__NOTIFY": webhook.url})
    try:
        assert process.stderr is not None
        while not (runner.run_dir / "ready").exists():
            assert process.poll() is None, process.stderr.read()
        os.kill(process.pid, signal.SIGTERM)
        process.communicate(timeout=60)
    finally:
        process.kill()
    assert [told["run"]["state"] for told in webhook.got] == ["terminated"]


@pytest.mark.parametrize(
    ("when", "body", "told"),
    [
        ("failure", ONE_OUTPUT, 0),
        ("failure", FAILS, 1),
        ("success", ONE_OUTPUT, 1),
        ("success", FAILS, 0),
    ],
)
def test_only_where_wanted(
    runner: Runner, webhook: Webhook, when: str, body: str, told: int
) -> None:
    """`notify_when` chooses."""
    env = {"MINIWDL__AWS__NOTIFY": webhook.url, "MINIWDL__AWS__NOTIFY_WHEN": when}
    runner.run(body, environ=env)
    assert len(webhook.got) == told


def test_a_topic(runner: Runner) -> None:
    """An SNS topic gets a subject and a text."""
    clients = [
        boto3.client(
            service,
            region_name="us-east-1",
            endpoint_url=runner.endpoint,
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
        for service in ("sns", "sqs")
    ]
    sns, sqs = clients[0], clients[1]
    topic = sns.create_topic(Name=runner.bucket)["TopicArn"]
    queue = sqs.create_queue(QueueName=runner.bucket)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn["QueueArn"])
    result = runner.run(FAILS, environ={"MINIWDL__AWS__NOTIFY": topic})
    assert f"notified {topic}" in result.stderr
    (message,) = sqs.receive_message(QueueUrl=queue)["Messages"]
    told = json.loads(message["Body"])
    assert told["Subject"].startswith("miniwdl: 20260101_000000_wf failed after")
    assert "Error: it broke" in told["Message"]


def test_what_goes_wrong_does_not_fail_the_run(runner: Runner, webhook: Webhook) -> None:
    """A server that is busy is asked again; one that refuses, and a topic that is not there, are
    in the log."""
    webhook.statuses = [503, 200]
    missing = "arn:aws:sns:us-east-1:123456789012:missing"
    result = runner.run(ONE_OUTPUT, environ={"MINIWDL__AWS__NOTIFY": f"{missing} {webhook.url}"})
    assert result.code == 0, result.stderr
    assert f"warning: {missing} was not notified" in result.stderr
    assert len(webhook.got) == 2


def test_a_webhook_that_refuses(runner: Runner, webhook: Webhook) -> None:
    """It is not asked twice."""
    webhook.statuses = [404]
    result = runner.run(ONE_OUTPUT, environ={"MINIWDL__AWS__NOTIFY": webhook.url})
    assert result.code == 0
    assert "the webhook at 127.0.0.1 (target 1) was not notified" in result.stderr
    assert len(webhook.got) == 1


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({"MINIWDL__AWS__NOTIFY": "me@example.org"}, "Target 1 of MINIWDL__AWS__NOTIFY is neither"),
        ({"MINIWDL__AWS__NOTIFY": "http://example.org/x"}, "nor an https:// URL"),
        ({"MINIWDL__AWS__NOTIFY_WHEN": "never"}, "should be always, failure or success"),
    ],
    ids=["mail", "plain http", "when"],
)
def test_settings_that_are_wrong(runner: Runner, env: dict[str, str], message: str) -> None:
    """They are refused before the run begins."""
    result = runner.run(ONE_OUTPUT, environ=env)
    assert (result.code, result.stdout) == (64, "")
    assert message in result.stderr
    assert not runner.run_dir.exists()
