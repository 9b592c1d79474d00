"""What instances do at boot, run here with commands that only say that they were called."""

from __future__ import annotations

import email
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from miniwdl_cloud.infra.specification.hosts import user_data


def _scripts(filesystem: str) -> list[str]:
    """The boothooks, as CloudFormation leaves them."""
    text = user_data(filesystem)
    if filesystem == "fsx":
        text = text.to_dict()["Fn::Sub"]
        for name, value in (("DNSName", "fs-1.fsx.example"), ("LustreMountName", "abcdefgh")):
            text = text.replace(f"${{FileSystem.{name}}}", value)
        text = text.replace("${!", "${")
    message = email.message_from_string(text)
    assert message.get_content_type() == "multipart/mixed"
    parts = message.get_payload()
    assert all(part.get_content_type() == "text/cloud-boothook" for part in parts)  # type: ignore[union-attr]
    return [str(part.get_payload()).lstrip() for part in parts]  # type: ignore[union-attr]


@pytest.mark.parametrize(("filesystem", "number"), [("efs", 1), ("fsx", 2)])
def test_shellcheck_finds_nothing(filesystem: str, number: int, tmp_path: Path) -> None:
    """Every script is good bash."""
    paths = []
    for i, script in enumerate(_scripts(filesystem)):
        paths.append(tmp_path / f"{i}.sh")
        paths[-1].write_text(script)
    assert len(paths) == number
    check = Path(sys.executable).parent / "shellcheck"
    done = subprocess.run(
        [str(check), *map(str, paths)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout + done.stderr == ""


MOUNT = "mount -t lustre -o noatime,flock fs-1.fsx.example@tcp:/abcdefgh {root}/mnt/fsx"


@pytest.mark.parametrize(
    ("mounted", "failures", "called"),
    [
        (True, 0, []),
        (False, 0, ["dnf install -y lustre-client", MOUNT]),
        (False, 2, ["dnf install -y lustre-client", MOUNT, MOUNT, MOUNT]),
        (False, 9, ["dnf install -y lustre-client", *[MOUNT] * 5, "shutdown -h now"]),
    ],
    ids=["is mounted", "mounts", "mounts later", "cannot mount"],
)
def test_lustre_is_mounted_or_the_instance_ends(
    tmp_path: Path, mounted: bool, failures: int, called: list[str]
) -> None:
    """The client is installed, the file system mounted, with patience; without it no jobs come."""
    commands, log = tmp_path / "bin", tmp_path / "called"
    commands.mkdir()
    count = tmp_path / "failures"
    count.write_text(str(failures))
    log.touch()
    say = f'echo "${{0##*/}} $*" >> {log}\n'
    for name, body in {
        "mountpoint": f"exit {0 if mounted else 1}\n",
        "dnf": f"{say}: > {commands}/mount.lustre; chmod +x {commands}/mount.lustre\n",
        "mount": f'{say}n=$(<{count}); echo "$((n - 1))" > {count}; [ "$n" -le 0 ]\n',
        "sleep": "exit 0\n",
        "shutdown": say,
    }.items():
        (commands / name).write_text(f"#!/bin/bash\n{body}")
        (commands / name).chmod(0o755)
    for name in ("mkdir", "chmod"):
        found = shutil.which(name)
        assert found is not None
        (commands / name).symlink_to(found)
    script = _scripts("fsx")[1].replace("/mnt/fsx", f"{tmp_path}/mnt/fsx")
    bash = shutil.which("bash")
    assert bash is not None
    subprocess.run(
        [bash, "-c", script.replace("/dev/console", os.devnull)],
        env={"PATH": str(commands)},
        timeout=60,
        check=False,
    )
    assert log.read_text().splitlines() == [line.format(root=tmp_path) for line in called]
