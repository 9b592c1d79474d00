"""`miniwdl-cloud local`, as a person runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest

COMMAND = [
    sys.executable,
    "-c",
    "from miniwdl_cloud.cli.main import main; main()",
    "local",
]
WDL = """version 1.0
task say {
  input { File whom }
  command <<< echo "Hello, $(cat ~{whom})" > 'the greeting.txt' >>>
  output { File greeting = "the greeting.txt" }
  runtime { docker: "any" }
}
workflow hello {
  input { File whom }
  call say { input: whom = whom }
  output { File greeting = say.greeting }
}
"""


class Local:
    """Runs the command over one state directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.state = root / "state"

    def __call__(
        self, *args: str, code: int = 0, state: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run it, and check its exit code."""
        action, *rest = args
        chosen = ["--state", str(self.state)] if state else []
        result = subprocess.run(
            [*COMMAND, action, *chosen, *rest],
            cwd=self.root,
            capture_output=True,
            text=True,
            timeout=250,
            check=False,
        )
        assert result.returncode == code, result.stderr
        return result

    def exports(self, *args: str) -> dict[str, str]:
        """What a shell that evaluates `up` has in its environment."""
        script = f'eval "$1"; exec {sys.executable} -c "$2"'
        show = "import json, os; print(json.dumps(dict(os.environ)))"
        printed = self("up", *args).stdout
        shell = subprocess.run(
            ["sh", "-c", script, "sh", printed, show],
            env={"PATH": os.defpath},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return dict(json.loads(shell.stdout))


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Local]:
    """The command, over a state directory of its own; what runs is stopped afterwards."""
    command = Local(tmp_path)
    yield command
    command("down")


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _is_gone(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"


def test_up_serves_any_client_until_down(local: Local) -> None:
    """The exports suffice for boto3 to find the deployment; a second `up` prints the same; other
    options are one clear error; `down` ends it, and again does nothing."""
    exports = local.exports("--filesystem", str(local.root / "shared dir"))
    assert exports["MINIWDL_CLOUD_FILESYSTEM"] == str(local.root / "shared dir")
    assert exports["MINIWDL__AWS__WORKFLOW_IMAGE"].startswith("miniwdl-cloud:")
    client = boto3.client(
        "batch",
        endpoint_url=exports["AWS_ENDPOINT_URL"],
        region_name=exports["AWS_REGION"],
        aws_access_key_id=exports["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=exports["AWS_SECRET_ACCESS_KEY"],
    )
    queues = client.describe_job_queues(jobQueues=[exports["MINIWDL__AWS__WORKFLOW_QUEUE"]])
    tags = queues["jobQueues"][0]["tags"]
    assert tags["DefaultMount"] == str(local.root / "shared dir")
    assert tags["DefaultStageUri"] == f"s3://{exports['MINIWDL_CLOUD_BUCKET']}/stage"

    again = local.exports("--filesystem", str(local.root / "shared dir"))
    assert again["AWS_ENDPOINT_URL"] == exports["AWS_ENDPOINT_URL"]

    refused = local("up", "--filesystem", str(local.root / "other"), code=78)
    assert refused.stdout == ""
    assert refused.stderr.startswith("miniwdl-cloud: An embedded AWS already runs over")
    assert "another --filesystem" in refused.stderr

    status = json.loads(local("status", "--json").stdout)
    assert status["running"] is True
    assert status["queues"]["miniwdl-task"] == {}
    assert exports["MINIWDL_CLOUD_BUCKET"] in local("status").stdout

    assert "Stopped" in local("down").stderr
    _wait_until(lambda: _is_gone(status["pid"]))
    assert "None was running" in local("down").stderr
    assert json.loads(local("status", "--json").stdout)["running"] is False


def test_a_leftover_never_breaks_the_next(local: Local) -> None:
    """After its process was killed, leaving all its files, `up` starts a new one."""
    local("up")
    first = json.loads(local("status", "--json").stdout)
    os.kill(first["pid"], signal.SIGKILL)
    _wait_until(lambda: _is_gone(first["pid"]))
    assert json.loads(local("status", "--json").stdout)["running"] is False
    local("up")
    second = json.loads(local("status", "--json").stdout)
    assert second["running"] is True and second["pid"] != first["pid"]


def test_what_was_not_deployed_is_deployed(local: Local) -> None:
    """A server whose deployment was never finished gets it by the next `up`."""
    local("up")
    before = json.loads(local("status", "--json").stdout)
    kept = local.state / "local.json"
    text = json.loads(kept.read_text())
    kept.write_text(json.dumps({"pid": text["pid"], "options": text["options"]}))
    local("up")
    after = json.loads(local("status", "--json").stdout)
    assert (after["pid"], after["bucket"]) == (before["pid"], before["bucket"])


def test_a_server_that_does_not_start_says_why(local: Local) -> None:
    """A port that is taken ends in one sentence with the reason and the log's place."""
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        failed = local("up", "--port", port, code=78)
    assert f"Port {port} cannot be used" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert str(local.state / "emulator.log") in failed.stderr


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("up", "--image", "x"), "--image x should be NAME=DIR"),
        (("up", "--port", "70000"), "--port 70000 is no TCP port"),
        (("up", "--allow-calls-per-second", "0"), "should be above 0"),
        (("up", "--nonsense"), "takes no --nonsense"),
        (("run",), "Name the WDL file"),
        (("run", "x.wdl", "--s3upload", "s3://b/"), "leave --s3upload out"),
    ],
)
def test_wrong_arguments_are_usage_errors(
    tmp_path: Path, args: tuple[str, ...], message: str
) -> None:
    """A wrong argument is one sentence and exit code 64, before anything is started."""
    local = Local(tmp_path)
    assert message in local(*args, code=64).stderr
    assert not local.state.exists()


def test_run_does_it_all(local: Local) -> None:
    """`run` starts, stages a local input, runs, fetches the outputs, and leaves nothing running."""
    (local.root / "hello.wdl").write_text(WDL)
    (local.root / "whom.txt").write_text("world")
    result = local("run", "hello.wdl", "whom=whom.txt", "--executor", "process", state=False)
    (directory,) = (local.root / "miniwdl_local_run").iterdir()
    outputs = json.loads((directory / "outputs.local.json").read_text())
    greeting = Path(outputs["hello.greeting"])
    assert greeting.read_text() == "Hello, world\n"
    assert greeting.is_relative_to(directory)
    assert str(greeting) in result.stdout
    assert (directory / "workflow.log").is_file()
    assert str(directory) in result.stderr


def test_run_ends_with_the_workflow_exit_code(local: Local) -> None:
    """A failed run gives miniwdl's exit code, the failed command's, and its error.json is there."""
    (local.root / "fail.wdl").write_text(
        "version 1.0\ntask fail {\n command { exit 3 }\n runtime { docker: 'any' }\n}\n"
    )
    result = local("run", "fail.wdl", code=3)
    assert "Logs and outputs are in" in result.stderr
    (directory,) = (local.root / "miniwdl_local_run").iterdir()
    assert (directory / "error.json").is_file()
    assert json.loads(local("status", "--json").stdout)["running"] is False


def test_fault_plans(local: Local, tmp_path: Path) -> None:
    """`--faults` is checked before anything starts, and followed from then on, also by one that
    runs already."""
    plan = tmp_path / "plan.json"
    plan.write_text('{"rules": [{"fault": "gremlins"}]}')
    for action in (("up",), ("run", "any.wdl")):
        refused = local(action[0], "--faults", str(plan), *action[1:], code=64)
        assert "Rule 0 of the fault plan needs a fault" in refused.stderr
        assert "Traceback" not in refused.stderr
    assert "cannot be read" in local("up", "--faults", str(tmp_path / "none"), code=64).stderr
    assert not local.state.exists()

    endpoint = local.exports()["AWS_ENDPOINT_URL"]
    for fault in ("slow", "spot"):
        plan.write_text(json.dumps({"seed": 5, "rules": [{"fault": fault}]}))
        local("up", "--faults", str(plan))
        with urllib.request.urlopen(f"{endpoint}/_local/faults", timeout=60) as answer:
            told = json.loads(answer.read())
        assert told["seed"] == 5
        assert [rule["fault"] for rule in told["rules"]] == [fault]
