"""`miniwdl-run-s3upload` with miniwdl and our engine, on the embedded AWS."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from batch_helper import Batch, make_client, unique, wait_until
from engine_runs import Attempt, Deployment
from fargate_runs import ENGINES

from miniwdl_cloud.emulator.faults.plan import FaultPlan, parse_plan
from miniwdl_cloud.emulator.server import LocalCloud
from miniwdl_cloud.runner.signals import END_OF_LOG

WORKFLOW = """
version 1.2
struct Pack {
  File file
  Int n
}
workflow w {
  input {
    File f
  }
  scatter (n in range(3)) { call t { input: f = f, n = n } }
  output {
    Array[File] copies = t.copy
    Map[String, File] by_name = {"a": t.copy[0], "b": t.copy[1]}
    Pair[File, Int] pair = (t.copy[2], 2)
    Pack pack = Pack { file: t.copy[0], n: 0 }
    Directory tree = t.tree[0]
    File? nothing = None
    File input_again = f
    String text = "/etc/hosts"
  }
}
task t {
  input {
    File f
    Int n
  }
  command <<<
    cat "~{f}" > "copy ~{n}.txt"
    mkdir -p tree/sub
    echo in > tree/sub/file
    ln -s /etc tree/outside
  >>>
  output {
    File copy = "copy ~{n}.txt"
    Directory tree = "tree"
  }
}
"""


@dataclass
class Result:
    """How the command ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def documents(self) -> list[Any]:
        """The JSON documents on standard output."""
        decoder, found, text = json.JSONDecoder(), [], self.stdout.strip()
        while text:
            document, end = decoder.raw_decode(text)
            found.append(document)
            text = text[end:].strip()
        return found


class Command:
    """`miniwdl-run-s3upload` on a deployment, with a bucket of its own."""

    def __init__(self, deployment: Deployment, home: Path) -> None:
        self.deployment = deployment
        self.s3 = make_client(deployment.cloud, "s3")
        self.bucket = unique("results").lower().replace("_", "-")
        self.s3.create_bucket(Bucket=self.bucket)
        # Neither a .cfg file of this machine's user nor this test run's settings: the shipped
        # policy counts.
        self.environ = {
            name: value
            for name, value in deployment.environ(HOME=str(home)).items()
            if not name.startswith(("MINIWDL__SCHEDULER", "XDG_"))
        }
        # Of the shipped policy, only the engine may be another.
        backend = "MINIWDL__SCHEDULER__CONTAINER_BACKEND"
        if isinstance(deployment, ENGINES["fargate"]):
            self.environ[backend] = deployment.environ()[backend]
            # A directory of the outputs has a link that leads out of it.
            self.environ["MINIWDL__AWS__ISOLATION"] = "shared"

    def start(
        self, source: str, *arguments: str, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """Start a run that is uploaded into the bucket's folder ``r``."""
        wdl = self.deployment.root / "source.wdl"
        wdl.write_text(textwrap.dedent(source))
        return subprocess.Popen(
            [
                str(Path(sys.executable).with_name("miniwdl-run-s3upload")),
                str(wdl),
                *arguments,
                *("--dir", str(self.deployment.root / "runs")),
                *("--s3upload", f"s3://{self.bucket}/r/"),
            ],
            env={**self.environ, **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, source: str, *arguments: str, env: Mapping[str, str] | None = None) -> Result:
        """The same, to its end."""
        process = self.start(source, *arguments, env=env)
        stdout, stderr = process.communicate(timeout=240)
        assert stderr.rstrip().endswith(END_OF_LOG)
        return Result(process.returncode, stdout, stderr)

    def content(self, uri: str) -> str:
        """What an object holds."""
        prefix = f"s3://{self.bucket}/"
        assert uri.startswith(prefix)
        body = self.s3.get_object(Bucket=self.bucket, Key=uri[len(prefix) :])["Body"]
        return str(body.read().decode())

    def uploaded(self) -> set[str]:
        """Names of all objects in the folder."""
        listing = self.s3.list_objects_v2(Bucket=self.bucket, Prefix="r/")
        return {item["Key"][2:] for item in listing.get("Contents", ())}


@pytest.fixture
def command(cloud: LocalCloud, batch: Batch, tmp_path: Path) -> Command:
    """The command for one test."""
    return Command(Deployment(cloud, batch, tmp_path), tmp_path)


@pytest.fixture(params=ENGINES)
def each(
    request: pytest.FixtureRequest, cloud: LocalCloud, batch: Batch, tmp_path: Path
) -> Command:
    """The command for one test, with each engine."""
    return Command(ENGINES[request.param](cloud, batch, tmp_path), tmp_path)


def check_outputs(command: Command, outputs: dict[str, Any]) -> None:
    assert [command.content(uri) for uri in outputs["w.copies"]] == ["hello"] * 3
    assert [uri.rpartition("/")[2] for uri in outputs["w.copies"]] == [
        f"copy {n}.txt" for n in range(3)
    ]
    for uri in (
        outputs["w.by_name"]["a"],
        outputs["w.by_name"]["b"],
        outputs["w.pair"]["left"],
        outputs["w.pack"]["file"],
        outputs["w.input_again"],
    ):
        assert command.content(uri) == "hello"
    assert command.content(outputs["w.tree"] + "/sub/file") == "in\n"
    assert outputs["w.nothing"] is None
    assert outputs["w.text"] == "/etc/hosts"
    assert json.loads(command.content(f"s3://{command.bucket}/r/outputs.json")) == outputs


def test_outputs_and_call_cache(each: Command) -> None:
    """All kinds of outputs are uploaded, by a second run that finds its tasks in the cache too."""
    source = each.deployment.root / "f.txt"
    source.write_text("hello")
    first = each.run(WORKFLOW, f"f={source}")
    assert first.code == 0, first.stderr[-5000:]
    check_outputs(each, first.documents[1]["outputs"])
    assert not any("outside" in key for key in each.uploaded())
    assert "'tree/tree/outside' leads out of its Directory and is not uploaded" in first.stderr
    jobs = len(each.deployment.attempts(""))
    assert jobs == 3
    second = each.run(WORKFLOW, f"f={source}", "--delete-after", "success")
    assert second.code == 0, second.stderr[-5000:]
    assert len(each.deployment.attempts("")) == jobs
    check_outputs(each, second.documents[1]["outputs"])
    assert second.documents[0]["dir"] != first.documents[0]["dir"]
    assert not Path(second.documents[0]["dir"]).exists()
    assert Path(first.documents[0]["dir"]).exists()


def test_cached_task(command: Command) -> None:
    """A single task found in the call cache: its outputs are named by another run's paths."""
    task = """
    version 1.1
    task t {
      command { echo hello > x.txt }
      output { File x = "x.txt" }
    }
    """
    for run in range(2):
        result = command.run(task)
        assert result.code == 0, result.stderr[-5000:]
        assert result.documents[1]["outputs"] == {"t.x": f"s3://{command.bucket}/r/x/x.txt"}, run
        assert command.content(f"s3://{command.bucket}/r/x/x.txt") == "hello\n"
    assert "task.log" in command.uploaded()
    assert len(command.deployment.jobs("")) == 1


def test_an_outage_of_s3_is_waited_for(cloud: LocalCloud, command: Command) -> None:
    """When S3 does not answer at the start nor during the upload, log and outputs arrive later."""
    task = """
    version 1.1
    task t {
      command { echo hello > x.txt }
      output { File x = "x.txt" }
    }
    """
    puts = {"service": "s3", "operation": "PutObject"}
    rules = [
        {"fault": "server_error", "status": 503, "match": puts, "count": 3},
        {"fault": "expired_token", "match": puts, "skip": 1, "count": 3},
    ]
    cloud.faults.replace(parse_plan({"rules": rules}))
    try:
        retries = json.dumps({"total_max_attempts": 1, "mode": "standard"})
        result = command.run(task, env={"MINIWDL__AWS__BOTO3_RETRIES": retries})
        fired = [rule["fired"] for rule in cloud.faults.as_dict()["rules"]]
    finally:
        cloud.faults.replace(FaultPlan())
    assert result.code == 0, result.stderr[-5000:]
    assert fired == [3, 3]
    assert "waiting for AWS to answer" in result.stderr
    assert command.content(f"s3://{command.bucket}/r/x/x.txt") == "hello\n"
    assert {"task.log", "outputs.json"} <= command.uploaded()


def test_failed_command(each: Command) -> None:
    """The exit code is the command's; its error output is in the bucket, named in error.json."""
    task = """
    version 1.1
    workflow w { call t }
    task t {
      command { echo "what went wrong" >&2; exit 42 }
    }
    """
    result = each.run(task, "--delete-after", "failure")
    assert result.code == 42
    error = json.loads(each.content(f"s3://{each.bucket}/r/error.json"))
    assert error["cause"]["error"] == "CommandFailed"
    assert "what went wrong" in each.content(error["cause"]["stderr_s3file"])
    assert each.content(error["cause"]["stdout_s3file"]) == ""
    assert "workflow.log" in each.uploaded()
    assert "outputs.json" not in each.uploaded()
    assert list((each.deployment.root / "runs").glob("2*")) == []


def test_terminated(each: Command) -> None:
    """On SIGTERM the jobs are terminated, and log and error.json are uploaded."""
    task = """
    version 1.1
    workflow w { scatter (n in range(3)) { call t } }
    task t { command { echo started >&2; sleep 300 } }
    """
    process = each.start(task, "--verbose")
    assert process.stderr
    started = 0
    seen = []
    for line in process.stderr:
        seen.append(line)
        started += "VERBOSE started" in line
        if started == 3:
            break
    assert started == 3, seen
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=100)
    assert process.returncode == 2, stderr
    assert stderr.rstrip().endswith(END_OF_LOG)
    assert {"workflow.log", "error.json"} <= each.uploaded()
    error = json.loads(each.content(f"s3://{each.bucket}/r/error.json"))
    assert error["cause"]["error"] == "Terminated"
    attempts = wait_until(
        lambda: _ended(each.deployment.attempts("")), "the terminated jobs' containers to end"
    )
    assert {attempt.status for attempt in attempts} <= {"FAILED", "STOPPED"}
    assert len(attempts) == 3


def _ended(attempts: list[Attempt]) -> list[Attempt] | None:
    return attempts if all(attempt.ended for attempt in attempts) else None
