"""A fleet's auto scaling groups, on the embedded AWS, and the commands that need one."""

from __future__ import annotations

import configparser
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any

import pytest

from miniwdl_cloud.aws.autoscaling import AutoScaling
from miniwdl_cloud.aws.local import LocalSession
from miniwdl_cloud.cli import main
from miniwdl_cloud.emulator.server import LocalCloud
from miniwdl_cloud.errors import MiniwdlCloudError, NotFound, UsageError

GROUP = "fleet-burst"


@pytest.fixture
def session(cloud: LocalCloud) -> Iterator[LocalSession]:
    """A session with a group of at most three instances, and none now."""
    made = LocalSession(cloud.endpoint_url, "us-east-1")
    image = made.client("ec2").describe_images()["Images"][0]["ImageId"]
    made.client("ec2").create_launch_template(
        LaunchTemplateName=GROUP,
        LaunchTemplateData={"ImageId": image, "InstanceType": "m5.large"},
    )
    made.client("autoscaling").create_auto_scaling_group(
        AutoScalingGroupName=GROUP,
        MinSize=0,
        MaxSize=3,
        DesiredCapacity=0,
        AvailabilityZones=["us-east-1a"],
        LaunchTemplate={"LaunchTemplateName": GROUP, "Version": "$Latest"},
        NewInstancesProtectedFromScaleIn=True,
    )
    yield made
    made.client("autoscaling").delete_auto_scaling_group(
        AutoScalingGroupName=GROUP, ForceDelete=True
    )
    made.client("ec2").delete_launch_template(LaunchTemplateName=GROUP)


def test_a_group_grows_and_an_instance_takes_its_place_with_it(session: LocalSession) -> None:
    """Instances that leave by themselves are not replaced, even where they are protected."""
    groups = AutoScaling(session)
    assert groups.group(GROUP).desired == 0
    groups.set_desired(GROUP, 2)
    grown = groups.group(GROUP)
    assert (grown.desired, grown.maximum, len(grown.instances)) == (2, 3, 2)
    groups.end_instance(grown.instances[0])
    left = groups.group(GROUP)
    assert (left.desired, left.instances) == (1, grown.instances[1:])


def test_what_cannot_be_is_told(session: LocalSession) -> None:
    """A group that does not exist."""
    with pytest.raises(NotFound, match="There is no auto scaling group 'other'; correct its name"):
        AutoScaling(session).group("other")


class Engine:
    """A Docker Engine on a socket: a manager with a worker, and a task that runs there."""

    def __init__(self, path: Path) -> None:
        self.manager = True
        self.availability = "active"
        self.tasks = [
            {
                "ID": "t",
                "NodeID": "w",
                "DesiredState": "running",
                "Spec": {"Resources": {"Reservations": {"NanoCPUs": 2_000_000_000}}},
                "Status": {"State": "running"},
            },
            {
                "ID": "u",
                "DesiredState": "running",
                "Spec": {"Resources": {"Reservations": {"NanoCPUs": 3_000_000_000}}},
                "Status": {"State": "pending"},
            },
        ]
        engine = self

        class Handler(BaseHTTPRequestHandler):
            def address_string(self) -> str:
                return "socket"

            def do_GET(self) -> None:
                self._answer(engine.get(re.sub(r"^/(v[\d.]+/)?|\?.*$", "", self.path)))

            def do_POST(self) -> None:
                assert self.path.split("?")[0].endswith("/nodes/w/update")
                sent = self.rfile.read(int(self.headers["Content-Length"]))
                engine.availability = json.loads(sent)["Availability"]
                self._answer({})

            def _answer(self, value: object) -> None:
                text = json.dumps(value).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingMixIn, UnixStreamServer):
            daemon_threads = True

        self.server = Server(str(path), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def get(self, path: str) -> Any:
        """The answer of the Engine API."""
        node = {
            "ID": "w",
            "Version": {"Index": 1},
            "Spec": {"Role": "worker", "Availability": self.availability},
            "Description": {
                "Hostname": "worker1",
                "Resources": {"NanoCPUs": 4_000_000_000, "MemoryBytes": 2**34},
            },
            "Status": {"State": "ready", "Addr": "10.0.0.2"},
        }
        if path == "nodes/w":
            return node
        answers: dict[str, Any] = {
            "info": {"Swarm": {"LocalNodeState": "active", "ControlAvailable": self.manager}},
            "nodes": [node],
            "tasks": self.tasks,
        }
        return answers.get(path, {"ApiVersion": "1.41"})


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """A Docker Engine and a fleet's directory, which the settings name."""
    (tmp_path / "swarm").mkdir()
    monkeypatch.setenv("MINIWDL__FLEET__DIR", str(tmp_path / "swarm"))
    # A socket's path may have 107 characters.
    with tempfile.TemporaryDirectory() as short:
        made = Engine(Path(short, "docker.sock"))
        monkeypatch.setenv("DOCKER_HOST", f"unix://{short}/docker.sock")
        yield made
        made.server.shutdown()
        made.server.server_close()


@pytest.fixture
def groups(
    session: LocalSession, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> AutoScaling:
    """The group, which the settings name."""
    monkeypatch.setenv("MINIWDL__FLEET__BURST_GROUP", GROUP)
    monkeypatch.setenv("AWS_ENDPOINT_URL", cloud.endpoint_url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "local")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "local")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    return AutoScaling(session)


def fleet(*argv: str) -> int:
    """Run `miniwdl-cloud fleet`."""
    return main._dispatch(["fleet", *argv])


def test_status_is_for_people_and_for_programs(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    """A table, or JSON."""
    assert fleet("status") == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[1].split()[:6] == ["worker1", "ready", "-", "1", "2/4", "0.0/16.0"]
    assert shown[2] == "1 tasks wait for a worker: 3 CPUs, 0.0 GiB"
    assert fleet("status", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["version"], found["waiting"], found["workers"][0]["tasks"]) == (1, 1, 1)


@pytest.mark.parametrize(
    ("options", "availability", "words"),
    [
        ([], "drain", "no tasks; those that run move on"),
        (["--finish"], "pause", "no further tasks; those that run go on"),
        (["--undo"], "active", "it takes tasks again"),
    ],
)
def test_drain(
    engine: Engine,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    availability: str,
    words: str,
) -> None:
    """Docker's availability is set, and the person told what that means."""
    engine.availability = "pause"
    assert fleet("drain", "work", *options) == 0
    assert engine.availability == availability
    assert capsys.readouterr().err == f"worker1: {words}\n"


def test_drain_waits_for_the_last_task(engine: Engine) -> None:
    """It gives up after its time, and returns at once where there are none."""
    with pytest.raises(MiniwdlCloudError, match="After 0 s there are tasks on worker1 still"):
        fleet("drain", "worker1", "--finish", "--wait", "--timeout", "0")
    engine.tasks = []
    assert fleet("drain", "worker1", "--wait") == 0


@pytest.mark.parametrize(
    ("prepare", "argv", "code", "words"),
    [
        ("worker", ["status"], 78, "not the manager of a swarm; do this on the fleet's manager"),
        ("no engine", ["status"], 75, "did not answer .* start it, or set DOCKER_HOST"),
        ("no directory", ["status"], 78, "is not there; mount the shared filesystem"),
        ("", ["drain", "other"], 69, "no worker 'other' in the swarm; there are: worker1"),
        ("", ["ssh", "other"], 69, "no worker 'other'"),
        ("", ["scale"], 64, "There is no burst group; set MINIWDL__FLEET__BURST_GROUP"),
        ("", ["status", "--all"], 64, "does not know --all"),
    ],
)
def test_what_a_person_can_get_wrong(
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    prepare: str,
    argv: list[str],
    code: int,
    words: str,
) -> None:
    """One sentence each, and the exit code of its kind."""
    engine.manager = prepare != "worker"
    if prepare == "no engine":
        monkeypatch.setenv("DOCKER_HOST", "unix:///missing.sock")
    if prepare == "no directory":
        monkeypatch.setenv("MINIWDL__FLEET__DIR", "/nonexistent/swarm")
    with pytest.raises(MiniwdlCloudError, match=words) as raised:
        fleet(*argv)
    assert raised.value.exit_code == code


def test_ssh_goes_to_the_worker_with_the_fleets_key(engine: Engine, tmp_path: Path) -> None:
    """What is to run there arrives as it was written."""
    stand_in = tmp_path / "ssh"
    stand_in.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    stand_in.chmod(0o755)
    more = {"SSH_USER": "wdler", "SSH_KEY": "/key"}
    done = subprocess.run(
        [Path(sys.executable).with_name("miniwdl-cloud"), "fleet", "ssh", "worker1"]
        + ["df", "-h", "a b"],
        env={
            **os.environ,
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            **{f"MINIWDL__FLEET__{key}": value for key, value in more.items()},
        },
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    *options, target, dashes, command = done.stdout.splitlines()
    assert options[-2:] == ["-i", "/key"]
    assert (target, dashes, command) == ("wdler@10.0.0.2", "--", "df -h 'a b'")


def test_scale_tells_what_waits_would_take_and_sets_what_is_asked(
    engine: Engine, groups: AutoScaling, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a number nothing is changed, nor in a dry run."""
    assert fleet("scale") == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{GROUP}: 0 burst workers, 3 at most",
        "1 waiting tasks would take 1 more workers: 0 -> 1 (bound 3)",
    ]
    assert fleet("scale", "2", "--dry-run") == 0
    assert groups.group(GROUP).desired == 0
    assert fleet("scale", "2") == 0
    assert groups.group(GROUP).desired == 2
    with pytest.raises(UsageError, match="may have 0 to 3 burst workers"):
        fleet("scale", "4")
    with pytest.raises(UsageError, match="has 2 burst workers; they leave by themselves"):
        fleet("scale", "1")


def test_the_fleets_configuration_is_one_that_miniwdl_reads() -> None:
    """Its engine is registered, and its lists and objects are JSON."""
    done = subprocess.run(
        [Path(sys.executable).with_name("miniwdl-cloud-fleet"), "config"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(done.stdout)
    assert parser["scheduler"]["container_backend"] == "docker_swarm_fleet"
    assert json.loads(parser["task_runtime"]["defaults"])["preemptible"] == 2
    assert json.loads(parser["task_runtime"]["download_defaults"])
