"""Options and exports of an embedded AWS, without starting one."""

from __future__ import annotations

import shlex
import subprocess
from dataclasses import asdict
from pathlib import Path

import pytest

from miniwdl_cloud.emulator.state import ServerState
from miniwdl_cloud.infra import local_cloud
from miniwdl_cloud.infra.local_cloud import LocalOptions, RunningLocalCloud

OUTPUTS = {"WorkflowQueue": "miniwdl-workflow", "BucketName": "bucket"}


def _running(filesystem: str = "/somewhere") -> RunningLocalCloud:
    server = ServerState(1, "http://127.0.0.1:4", "us-east-1", filesystem, "process")
    return RunningLocalCloud(server, OUTPUTS)


def test_differences_name_the_options() -> None:
    """Options that differ from a running emulator's are named; any port is as good as port 0."""
    running = asdict(LocalOptions("/a", port=1234, images=("x=/bin",)))
    assert LocalOptions("/a", images=("x=/bin",)).differences(running) == []
    assert LocalOptions("/b", "docker").differences(running) == [
        "filesystem",
        "executor",
        "images",
    ]
    assert "port" in LocalOptions("/a", port=99).differences(running)


def test_the_shell_takes_the_exports_as_they_are(tmp_path: Path) -> None:
    """A directory with blanks and quotes survives `eval`, and a profile of the user is unset."""
    awkward = "/some where/it's $HOME"
    script = 'eval "$1"; echo "$MINIWDL_CLOUD_FILESYSTEM"; echo "${AWS_PROFILE-unset}"'
    result = subprocess.run(
        ["sh", "-c", script, "sh", _running(awkward).shell()],
        env={"PATH": "/usr/bin:/bin", "AWS_PROFILE": "mine"},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert result.stdout.splitlines() == [awkward, "unset"]
    for line in _running().shell().splitlines():
        assert shlex.split(line)[0] in ("unset", "export")


def test_a_proxy_is_not_asked_for_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a proxy is configured, loopback is added to what is reached without it."""
    for name in ("no_proxy", "NO_PROXY", "https_proxy", *local_cloud._PROXIES):
        monkeypatch.delenv(name, raising=False)
    assert "NO_PROXY" not in _running().exports()
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", "here.example")
    assert _running().exports()["no_proxy"] == "here.example,127.0.0.1,localhost"


def test_state_is_kept_where_xdg_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """XDG_STATE_HOME moves the default state directory."""
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert local_cloud.default_state() == Path("/state/miniwdl-cloud/local")
