"""`miniwdl-cloud deploy mirror-image`: with ECR of the embedded AWS, and a docker command that says
how it was called."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from miniwdl_cloud.aws.local import LocalSession
from miniwdl_cloud.cli import main as cli
from miniwdl_cloud.emulator.server import LocalCloud
from miniwdl_cloud.submit.options import DEFAULT_IMAGE

DOCKER = """\
#!/bin/sh
echo "$*" >> {log}
for word; do
  [ "$word" = login ] && echo "password: $(cat)" >> {log}
  [ "$word" = {fails} ] && {{ echo "Error response from daemon: denied." >&2; exit 1; }}
done
exit 0
"""


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    """A running embedded AWS."""
    root = tmp_path_factory.mktemp("mirror")
    with LocalCloud(root / "state", root / "filesystem") as running:
        yield running


class Command:
    """The command, and what docker was told."""

    def __init__(
        self,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
        directory: Path,
    ) -> None:
        self._capsys = capsys
        self._monkeypatch = monkeypatch
        self._docker = directory / "docker"
        self._log = directory / "log"

    def __call__(self, *arguments: str, fails: str = "nothing", code: int = 0) -> tuple[str, str]:
        """Run it; what it printed on both streams."""
        self._log.write_text("")
        self._docker.write_text(DOCKER.format(log=self._log, fails=fails))
        self._docker.chmod(0o755)
        command = ["miniwdl-cloud", "deploy", "mirror-image", *arguments]
        self._monkeypatch.setattr("sys.argv", command)
        with pytest.raises(SystemExit) as caught:
            cli.main()
        found = self._capsys.readouterr()
        assert caught.value.code == code, found.err
        return found.out, found.err

    def called(self) -> list[str]:
        """What docker was told, without the directory of its configuration."""
        text = re.sub(r"--config \S+", "--config DIR", self._log.read_text())
        return text.splitlines()


@pytest.fixture
def mirror(
    cloud: LocalCloud,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Command:
    """The command in an environment that leads to the embedded AWS and to our docker."""
    for name, value in {
        "AWS_ENDPOINT_URL": cloud.endpoint_url,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_DEFAULT_REGION": cloud.region,
        "NO_PROXY": "127.0.0.1",
        "XDG_CONFIG_HOME": str(tmp_path),
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return Command(capsys, monkeypatch, tmp_path)


def test_the_image_is_copied(mirror: Command, cloud: LocalCloud) -> None:
    """Pulled, tagged with the repository's name and its own tag, pushed with ECR's password; the
    repository is made once. The name of the copy is all of standard output."""
    registry = f"123456789012.dkr.ecr.{cloud.region}.amazonaws.com"
    tag = DEFAULT_IMAGE.rpartition(":")[2]
    for _ in range(2):
        out, err = mirror()
        assert out == f"{registry}/miniwdl-cloud:{tag}\n"
        assert f"pulling {DEFAULT_IMAGE} for linux/amd64" in err
        called = mirror.called()
        assert called[:3] == [
            "version",
            f"pull --quiet --platform linux/amd64 {DEFAULT_IMAGE}",
            f"tag {DEFAULT_IMAGE} {out.strip()}",
        ]
        assert re.fullmatch(r"--config DIR login --username AWS --password-stdin \S+", called[3])
        assert re.fullmatch(r"password: \S+", called[4])
        assert called[5:] == [f"--config DIR push --quiet {out.strip()}"]
        assert called[4].partition(": ")[2] not in err
    ecr = LocalSession(cloud.endpoint_url, cloud.region).client("ecr")
    (made,) = ecr.describe_repositories()["repositories"]
    assert made["imageScanningConfiguration"] == {"scanOnPush": True}


def test_what_can_go_wrong_is_one_sentence(
    mirror: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An image without a tag, a registry that refuses, no docker."""
    _, err = mirror("--image", "ubuntu", code=64)
    assert "--image ubuntu should be an image with a tag" in err
    _, err = mirror("--image", "a.example:5000/b", code=64)
    assert mirror.called() == []
    _, err = mirror("--image", "ubuntu:22.04", fails="push", code=78)
    assert err.splitlines()[-1] == (
        "miniwdl-cloud: docker push failed: Error response from daemon: denied; try again."
    )
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    _, err = mirror("--image", "ubuntu:22.04", code=78)
    assert "There is no docker command" in err
