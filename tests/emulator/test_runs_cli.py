"""`miniwdl-cloud status`, `logs`, `cancel` and `retry` on the embedded AWS."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from submit_deployment import Deployment
from submit_deployment import deployment as deployed

BIN = Path(sys.executable).parent
LIMIT_S = 200
PARENT_TAG = "AWS_BATCH_PARENT_JOB_ID"

# The first attempt of each flaky task fails; two shards are too few for an array job.
WDL = """
version 1.1
workflow demo {
  scatter (name in ["ann", "bob"]) { call flaky { input: name = name } }
  scatter (i in range(10)) { call quick { input: i = i } }
  call broken { input: after = quick.out, too = flaky.out }
}
task flaky {
  input { String name }
  command {
    if [ "$MINIWDL_CLOUD_TRY" != 2 ]; then
      echo "first of ~{name}" >&2; exit 7
    fi
    echo "second of ~{name}" >&2
  }
  output { Int out = 1 }
  runtime { maxRetries: 1 cpu: 2 }
}
task quick {
  input { Int i }
  command { echo "quick ~{i}" >&2 }
  output { Int out = i }
}
task broken {
  input { Array[Int] after Array[Int] too }
  command { echo "never </script> done" >&2; exit 3 }
  output { Int out = 1 }
}
"""


class Person:
    """Somebody at a shell, with a deployment and a run that has ended."""

    def __init__(self, deployment: Deployment, directory: Path) -> None:
        self.deployment = deployment
        self.batch = deployment.client("batch")
        self.directory = directory
        self.env = {
            **deployment.env,
            "PATH": f"{BIN}{os.pathsep}{os.defpath}",
            "HOME": str(directory),
            "MINIWDL__CALL_CACHE__GET": "false",
            "MINIWDL__AWS__RETRY_WAIT": "0",
        }
        self.run_id = ""

    def call(self, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run one of our commands."""
        return subprocess.run(
            [str(BIN / command[0]), *command[1:]],
            cwd=self.directory,
            env={**self.env, **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )

    def output(self, *command: str) -> str:
        """What a command that ends well prints."""
        done = self.call(*command)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def asleep(self, name: str) -> str:
        """A workflow job that sleeps for long."""
        (job,) = self.batch.describe_jobs(jobs=[self.run_id])["jobs"]
        answer = self.batch.submit_job(
            jobName=name,
            jobQueue=self.deployment.workflow_queue,
            jobDefinition=job["jobDefinition"],
            containerOverrides={"command": ["sleep", "900"]},
        )
        return str(answer["jobId"])

    def definition(self, name: str) -> str:
        """A definition of task jobs that sleep for long."""
        answer = self.batch.register_job_definition(
            jobDefinitionName=name,
            type="container",
            containerProperties={
                "image": "busybox",
                "command": ["sleep", "900"],
                "resourceRequirements": [
                    {"type": "VCPU", "value": "1"},
                    {"type": "MEMORY", "value": "64"},
                ],
            },
        )
        return str(answer["jobDefinitionArn"])


@pytest.fixture(scope="module")
def person(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    """A deployment, in which a run with retries has failed."""
    root = tmp_path_factory.mktemp("runs")
    with deployed(root) as made:
        person = Person(made, root)
        (root / "demo.wdl").write_text(WDL)
        done = person.call("miniwdl-aws-submit", "demo.wdl", "--wait")
        person.run_id = done.stdout.strip()
        assert done.returncode == 3, done.stderr
        yield person


def one(person: Person, *more: str) -> dict[str, Any]:
    """The run as JSON."""
    text = person.output("miniwdl-cloud", "status", person.run_id, "--json", *more)
    return dict(json.loads(text)["run"])


def test_tree_shows_calls_shards_attempts_and_reasons(person: Person) -> None:
    """A run is told with each task, its attempts, and why they failed, from the API alone."""
    run = one(person)
    assert run["state"] == "FAILED" and run["exitCode"] == 3
    calls = {call["name"]: call for call in run["calls"]}
    assert calls["flaky"] == {"name": "flaky", "done": 2, "running": 0, "waiting": 0, "failed": 0}
    assert calls["quick"]["done"] == 10 and calls["broken"]["failed"] == 1
    assert run["tasks"] == {"done": 12, "running": 0, "waiting": 0, "failed": 1}
    shards = {(task["call"], task["shard"]): task for task in run["shards"]}
    ann = shards["flaky", "0-ann"]
    assert [a["state"] for a in ann["attempts"]] == ["FAILED", "SUCCEEDED"]
    assert "exit code 7" in ann["attempts"][0]["reason"] and ann["attempts"][0]["exitCode"] == 7
    assert len([key for key in shards if key[0] == "quick"]) == 10

    text = person.output("miniwdl-cloud", "status", person.run_id[:13])
    assert "quick: 10 done" in text and "[0-ann]" in text and "attempt 2" in text
    assert "attempt 1: the container ended with exit code 7" in text
    assert "(--all shows each)" in text
    everything = person.output("miniwdl-aws-status", "job", "--job-id", person.run_id, "--all")
    assert "(--all shows each)" not in everything and "[9]" in everything


def test_children_of_arrays_are_named_without_the_filesystem(person: Person) -> None:
    """Where the array's manifest is out of reach, children are told by array and index."""
    from miniwdl_cloud.aws.batch_listing import BatchListing
    from miniwdl_cloud.aws.session import AwsSession
    from miniwdl_cloud.runs.collect import Collector
    from miniwdl_cloud.runs.find import WorkflowQueues

    with pytest.MonkeyPatch.context() as patch:
        for name, value in person.deployment.env.items():
            patch.setenv(name, value)
        listing = BatchListing(AwsSession())
        queues = WorkflowQueues(listing)
        job = queues.find(person.run_id)
        collector = Collector(listing, manifest=lambda path: None)
        run = collector.run(job, queues.tags_of(job))
        quick = [task for task in run.tasks if task.call == "quick"]
        assert len(quick) == 10 and len({task.shard for task in quick}) == 10
        assert run.counts["quick"].done == 10
        # Looking again needs no call a task.
        before = listing.calls
        collector.run(job, queues.tags_of(job))
        assert listing.calls - before <= 7 + 1


def test_runs_are_listed(person: Person) -> None:
    """All runs of the deployment are listed with state and progress, also without a named queue."""
    runs = json.loads(person.output("miniwdl-cloud", "status", "--json"))
    assert runs["version"] == 1
    (mine,) = [run for run in runs["runs"] if run["jobId"] == person.run_id]
    assert mine["state"] == "FAILED" and mine["tasks"]["done"] == 12
    assert "shards" not in mine
    unnamed = person.call("miniwdl-aws-status", "all", MINIWDL__AWS__WORKFLOW_QUEUE="")
    assert person.run_id in unnamed.stdout and "12 done, 1 failed" in unnamed.stdout


def test_watch_ends_with_the_run(person: Person) -> None:
    """Watching a run says what has changed, and ends when the run has."""
    text = person.output("miniwdl-cloud", "status", person.run_id, "--watch", "--period", "1")
    assert len(text.splitlines()) == 1 and "FAILED, 12 done, 1 failed" in text


def on_terminal(person: Person, *command: str, answer: str = "") -> tuple[int, str]:
    """Exit code and screen of a command that has a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [str(BIN / command[0]), *command[1:]],
        env={**person.env, "TERM": "xterm", "COLUMNS": "150", "LINES": "60"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    if answer:
        os.write(ours, answer.encode())
    screen = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        screen += part
    os.close(ours)
    return process.wait(LIMIT_S), screen.decode()


def test_watch_on_a_terminal(person: Person) -> None:
    """On a terminal the tree is drawn with its colours, and stays there at the end."""
    code, screen = on_terminal(person, "miniwdl-cloud", "status", person.run_id, "--watch")
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen)
    assert code == 0 and "\x1b[" in screen
    assert "10 done" in plain and "1 failed" in plain and "[0-ann]" in plain


@pytest.mark.parametrize("option", ["--wait", "--follow"])
def test_waiting_on_a_terminal(person: Person, option: str) -> None:
    """Who waits for a run on a terminal sees its calls and what has happened last, or its log with
    its progress in a line below."""
    code, screen = on_terminal(
        person, "miniwdl-aws-submit", str(person.directory / "demo.wdl"), option
    )
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen)
    assert code == 3 and "submitted miniwdl_run_demo" in plain
    if option == "--wait":
        # The last look is made when the run has ended.
        assert "3 calls, 12 done, 1 failed, 2 retries" in plain
        assert re.search(r"\d\d:\d\d:\d\d broken failed: ", plain)
    else:
        assert "log stream: " in plain
        assert re.search(r"\d calls?, (no tasks yet|\d+ (done|running|waiting|failed))", plain)


def test_waiting_elsewhere(person: Person) -> None:
    """Standard output is the job's id alone; nothing is drawn."""
    done = person.call("miniwdl-aws-submit", "demo.wdl", "--wait", "--quiet")
    assert done.returncode == 3 and re.fullmatch(r"[0-9a-f-]{36}\n", done.stdout)
    assert "\x1b[" not in done.stderr and " done" not in done.stderr


def test_cancel_asks_on_a_terminal(person: Person) -> None:
    """Who does not say yes cancels nothing."""
    code, screen = on_terminal(person, "miniwdl-cloud", "cancel", person.run_id, answer="n\n")
    assert (
        code == 1 and "and all of its tasks? [y/N]" in screen and "nothing is cancelled" in screen
    )


@pytest.mark.parametrize(
    ("arguments", "there", "absent"),
    [
        (["flaky[0]", "--attempt", "2"], "second of ann", "first of"),
        (["flaky[0-ann]", "--attempt", "1"], "first of ann", "second of"),
        (["flaky[1]"], "second of bob", "ann"),
        (["broken", "--follow"], "never </script> done", "quick"),
    ],
)
def test_logs_of_an_attempt(person: Person, arguments: list[str], there: str, absent: str) -> None:
    """The log of each attempt is its own; the latest is shown unless told otherwise."""
    text = person.output("miniwdl-cloud", "logs", person.run_id, *arguments)
    assert there in text and absent not in text


def test_log_of_the_workflow(person: Person) -> None:
    """Without a call, the workflow's own log is shown, whole or since a time."""
    text = person.output("miniwdl-cloud", "logs", person.run_id)
    assert "workflow start" in text and "END OF LOG" not in text
    same = person.output("miniwdl-aws-status", "log", "--job-id", person.run_id, "--since", "1d")
    assert same == text


def test_cancel_ends_two_hundred_children(person: Person) -> None:
    """After `cancel`, neither the workflow job nor any of its two hundred tasks is left."""
    definition = person.definition("sleeper")
    run_id = person.asleep("doomed")
    common = {
        "jobQueue": person.deployment.task_queue,
        "jobDefinition": definition,
        "tags": {PARENT_TAG: run_id},
    }
    array = person.batch.submit_job(
        jobName="many-0-abcdefgh", arrayProperties={"size": 100}, **common
    )["jobId"]
    singles = [
        person.batch.submit_job(jobName=f"lone-{i}-abcdefgh", **common)["jobId"] for i in range(100)
    ]
    spared_id = person.asleep("spared")
    other = person.batch.submit_job(
        jobName="other-abcdefgh", **{**common, "tags": {PARENT_TAG: spared_id}}
    )["jobId"]

    refused = person.call("miniwdl-cloud", "cancel", run_id)
    assert refused.returncode == 64 and "--yes" in refused.stderr
    done = person.call("miniwdl-cloud", "cancel", run_id[:8], "--yes")
    assert done.returncode == 0, done.stderr
    assert "all of its jobs are gone" in done.stderr

    ids = [run_id, *singles, *(f"{array}:{i}" for i in range(100))]
    described = [
        job
        for start in range(0, len(ids), 100)
        for job in person.batch.describe_jobs(jobs=ids[start : start + 100])["jobs"]
    ]
    assert len(described) == 201
    assert {job["status"] for job in described} == {"FAILED"}
    (spared,) = person.batch.describe_jobs(jobs=[other])["jobs"]
    assert spared["status"] != "FAILED"
    # What a run has left behind can be cancelled after its end.
    person.batch.terminate_job(jobId=spared_id, reason="test")
    deadline = time.monotonic() + LIMIT_S
    while person.batch.describe_jobs(jobs=[spared_id])["jobs"][0]["status"] != "FAILED":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    again = person.call("miniwdl-cloud", "cancel", spared_id, "--yes")
    assert again.returncode == 0, again.stderr
    assert "has ended already (FAILED)" in again.stderr
    assert "1 task job was left and is terminated" in again.stderr
    (gone,) = person.batch.describe_jobs(jobs=[other])["jobs"]
    assert gone["status"] == "FAILED"


def test_retry_submits_the_same_again(person: Person) -> None:
    """A run that has ended is submitted again with the WDL that travelled with it."""
    done = person.call("miniwdl-cloud", "retry", person.run_id)
    assert done.returncode == 0, done.stderr
    job_id = done.stdout.strip()
    unfinished = person.call("miniwdl-cloud", "retry", job_id)
    deadline = time.monotonic() + LIMIT_S
    while True:
        (job,) = person.batch.describe_jobs(jobs=[job_id])["jobs"]
        if job["status"] in ("SUCCEEDED", "FAILED"):
            break
        assert time.monotonic() < deadline
        time.sleep(0.2)
    # The same failure of the same workflow.
    assert job["container"]["exitCode"] == 3
    assert job["jobName"].startswith("miniwdl_run_demo-") and job_id != person.run_id
    text = person.output("miniwdl-cloud", "status", job_id, "--json")
    assert json.loads(text)["run"]["tasks"] == {
        "done": 12,
        "running": 0,
        "waiting": 0,
        "failed": 1,
    }
    if unfinished.returncode == 64:  # it may have been very quick
        assert "has not ended" in unfinished.stderr


def test_report_of_a_run_with_retries_and_failures(person: Person) -> None:
    """The run directory alone makes a report with each attempt, and why tasks failed."""
    root = person.deployment.mount / "miniwdl_run"
    directory = sorted(root.glob("2*_demo"))[0]
    made = json.loads(person.output("miniwdl-cloud", "report", str(directory), "--json"))
    totals = made["totals"]
    assert made["version"] == 1 and made["run"]["state"] == "failed"
    assert (totals["tasks"], totals["succeeded"], totals["failed"]) == (13, 12, 1)
    assert totals["retries"] == 2 and totals["costUSD"] > totals["wastedUSD"] > 0
    tasks = {(task["call"], task["shard"]): task for task in made["tasks"]}
    attempts = tasks["flaky", "0-ann"]["attempts"]
    assert [(a["attempt"], a["ok"], a["exitCode"]) for a in attempts] == [
        (1, False, 7),
        (2, True, 0),
    ]
    assert attempts[0]["vcpus"] == 2
    # Children of an array job have their attempts too.
    assert tasks["quick", "4"]["attempts"][0]["jobId"].partition(":")[2]
    assert tasks["broken", None]["logTail"] == "never </script> done"
    page = person.directory / "report.html"
    person.output("miniwdl-cloud", "report", str(directory), "-o", str(page))
    text = page.read_text()
    assert "never &lt;/script&gt; done" in text and text.count("</script>") == 2


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        (["status", "nonesuch"], 69, "knows no run nonesuch"),
        (["logs", "0" * 8 + "-0000-0000-0000-" + "0" * 12], 69, "knows no run"),
        (["status", "m", "--workflow-queue", "nowhere"], 69, "nowhere (--workflow-queue)"),
        (["status", "--watch", "--json"], 64, "exclude each other"),
        (["status", "--wat"], 64, "does not know --wat"),
        (["logs", "RUN", "nothing"], 69, "no task job of a call nothing"),
        (["logs", "RUN", "quick"], 64, "tasks that quick may mean"),
        (["logs", "RUN", "flaky[7]"], 69, "no shard 7"),
        (["logs", "RUN", "flaky[0]", "--attempt", "9"], 69, "no attempt 9; it has 1, 2"),
        (["logs", "RUN", "--since", "soon"], 64, "not a time span"),
        (["logs", "RUN", "--attempt", "2"], 64, "name its call too"),
        (["report", "/nowhere"], 69, "There is no directory /nowhere"),
        (["report", "/"], 64, "not a run directory of miniwdl"),
    ],
)
def test_errors_say_what_to_do(person: Person, command: list[str], code: int, message: str) -> None:
    """What a person gets wrong is told in a sentence, with its exit code."""
    filled = [person.run_id if word == "RUN" else word for word in command]
    done = person.call("miniwdl-cloud", *filled)
    assert done.returncode == code, done.stderr
    assert message in done.stderr and "Traceback" not in done.stderr


def test_ambiguous_and_missing_queue(person: Person) -> None:
    """Several runs of a name are listed; a deployment without tags asks for the queue."""
    ids = [person.asleep(f"twin-{end}") for end in ("one", "two")]
    try:
        done = person.call("miniwdl-cloud", "status", "twin-")
        assert done.returncode == 64 and "2 runs are called twin-…" in done.stderr
        waiting = person.call("miniwdl-cloud", "status", "twin-one")
        assert waiting.returncode == 0 and "no tasks" not in waiting.stderr
        (queue,) = person.batch.describe_job_queues(jobQueues=["workflow"])["jobQueues"]
        person.batch.untag_resource(resourceArn=queue["jobQueueArn"], tagKeys=["DefaultTaskQueue"])
        try:
            unnamed = person.call("miniwdl-cloud", "status", MINIWDL__AWS__WORKFLOW_QUEUE="")
        finally:
            person.batch.tag_resource(resourceArn=queue["jobQueueArn"], tags=queue["tags"])
        assert unnamed.returncode == 64
        assert "no job queue of this Region has the tag DefaultTaskQueue" in unnamed.stderr
    finally:
        for job_id in ids:
            person.batch.terminate_job(jobId=job_id, reason="test is over")
