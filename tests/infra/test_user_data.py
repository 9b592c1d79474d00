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


class Machine:
    """A directory that stands for an instance, and commands that say that they were called.

    Parameters
    ----------
    root
        The directory.
    disks
        Paths of its NVMe instance store disks, beside one of another kind.
    """

    def __init__(self, root: Path, disks: list[str]) -> None:
        self.root = root
        self.log = root / "called"
        self.log.touch()
        self._commands = root / "bin"
        self._commands.mkdir()
        (root / "var/lib").mkdir(parents=True)
        lines = [f"/dev/nvme0n1 {'Amazon Elastic Block Store'}"]
        lines += [f"{disk} Amazon EC2 NVMe Instance Storage" for disk in disks]
        (root / "disks").write_text("\n".join(lines) + "\n")
        self.command(
            "lsblk", f'[ "$*" = "--nodeps --noheadings --output PATH,MODEL" ] && cat {root}/disks'
        )
        for name in ("awk", "bash", "cat", "mkdir", "touch"):
            self.real(name)

    def command(self, name: str, body: str = "", said: bool = False) -> None:
        """Make a command."""
        say = f'echo "${{0##*/}} $*" >> {self.log}\n' if said else ""
        (self._commands / name).write_text(f"#!/bin/bash\n{say}{body}\n")
        (self._commands / name).chmod(0o755)

    def real(self, name: str) -> None:
        """Let it have one of this machine's."""
        found = shutil.which(name)
        assert found is not None, name
        (self._commands / name).symlink_to(found)

    def boot(self, then: str = "", *before: str) -> str:
        """Do what instances do at boot, here; what is printed.

        Parameters
        ----------
        then
            Shell text that comes afterwards.
        before
            Command to run the shell with.
        """
        script = _scripts("efs")[0]
        for path in ("/var/lib/", "/etc/ecs"):
            script = script.replace(path, f"{self.root}{path}")
        bash = shutil.which("bash")
        assert bash is not None
        done = subprocess.run(
            [*before, bash, "-c", f"( {script.rstrip()}\n)\n{then}"],
            env={"PATH": str(self._commands)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def called(self) -> list[str]:
        """The commands that were called so far."""
        return self.log.read_text().replace(str(self.root), "").splitlines()


JOIN = "mdadm --create /dev/md0 --run --level=0"


@pytest.mark.parametrize(
    ("disks", "raid", "called"),
    [
        ([], True, []),
        (
            ["/dev/nvme1n1"],
            True,
            ["mkfs.xfs -f -K /dev/nvme1n1", "mount -o noatime /dev/nvme1n1 /var/lib/docker"],
        ),
        (
            ["/dev/nvme1n1", "/dev/nvme2n1"],
            True,
            [
                f"{JOIN} --raid-devices=2 /dev/nvme1n1 /dev/nvme2n1",
                "mkfs.xfs -f -K /dev/md0",
                "mount -o noatime /dev/md0 /var/lib/docker",
            ],
        ),
        (
            ["/dev/nvme1n1", "/dev/nvme2n1"],
            False,
            [
                f"{JOIN} --raid-devices=2 /dev/nvme1n1 /dev/nvme2n1",
                "mkfs.xfs -f -K /dev/nvme1n1",
                "mount -o noatime /dev/nvme1n1 /var/lib/docker",
            ],
        ),
    ],
    ids=["none", "one", "two", "two that cannot be joined"],
)
def test_docker_moves_to_the_local_disks(
    tmp_path: Path, disks: list[str], raid: bool, called: list[str]
) -> None:
    """All of them as one, or else the first; the ECS agent drains before a spot instance goes. The
    next boot does nothing."""
    machine = Machine(tmp_path, disks)
    machine.command("mdadm", f"exit {0 if raid else 1}", said=True)
    for name in ("mkfs.xfs", "mount"):
        machine.command(name, said=True)
    for _ in range(2):
        machine.boot()
        assert machine.called() == called
        config = (tmp_path / "etc/ecs/ecs.config").read_text()
        assert config == "ECS_ENABLE_SPOT_INSTANCE_DRAINING=true\n"


def test_docker_is_on_a_real_disk(tmp_path: Path) -> None:
    """With a loop device for the disk: it is formatted, mounted, and takes what is written."""
    for name in ("losetup", "unshare", "mount", "mkfs.ext4"):
        if shutil.which(name) is None:
            pytest.skip(f"tier hosts: there is no {name}")
    image = tmp_path / "disk"
    with image.open("wb") as file:
        file.truncate(400 * 2**20)
    made = subprocess.run(
        ["losetup", "--find", "--show", str(image)], capture_output=True, text=True, check=False
    )
    if made.returncode:
        pytest.skip(f"tier hosts: loop devices cannot be had: {made.stderr.strip()}")
    device = made.stdout.strip()
    try:
        machine = Machine(tmp_path, [device])
        machine.real("mount")
        if shutil.which("mkfs.xfs"):
            machine.real("mkfs.xfs")
        else:
            machine.command("mkfs.xfs", f'exec {shutil.which("mkfs.ext4")} -q -F "${{@: -1}}"')
        unshare = shutil.which("unshare")
        assert unshare is not None
        tried = subprocess.run([unshare, "--mount", "true"], capture_output=True, check=False)
        if tried.returncode:
            pytest.skip("tier hosts: there are no mount namespaces")
        docker = tmp_path / "var/lib/docker"
        shown = machine.boot(f"cat /proc/self/mountinfo; echo x > {docker}/x", unshare, "--mount")
        (line,) = [line for line in shown.splitlines() if f" {docker} " in line]
        assert device in line.split() and "noatime" in line
        assert not (docker / "x").exists()  # it is on the disk, which is not mounted out here
    finally:
        subprocess.run(["losetup", "--detach", device], check=True, timeout=60)


def test_local_disks_become_one_array(tmp_path: Path) -> None:
    """With two loop devices and the kernel's RAID: one array, as large as both."""
    if shutil.which("mdadm") is None or not Path("/proc/mdstat").exists():
        pytest.skip("tier hosts: there is no mdadm, or no RAID in this kernel")
    devices: list[str] = []
    array = f"/dev/md/miniwdl-cloud-test-{os.getpid()}"
    try:
        for number in range(2):
            image = tmp_path / f"disk{number}"
            with image.open("wb") as file:
                file.truncate(400 * 2**20)
            made = subprocess.run(
                ["losetup", "--find", "--show", str(image)],
                capture_output=True,
                text=True,
                check=False,
            )
            if made.returncode:
                pytest.skip(f"tier hosts: loop devices cannot be had: {made.stderr.strip()}")
            devices.append(made.stdout.strip())
        machine = Machine(tmp_path, devices)
        machine.command("mdadm", f'exec {shutil.which("mdadm")} "${{@/\\/dev\\/md0/{array}}}"')
        machine.command("mkfs.xfs", said=True)
        machine.command("mount", said=True)
        machine.boot()
        sizes = subprocess.run(
            ["lsblk", "--bytes", "--noheadings", "--nodeps", "--output", "SIZE", array],
            capture_output=True,
            text=True,
            check=True,
        )
        assert int(sizes.stdout) > 700 * 2**20
    finally:
        subprocess.run(["mdadm", "--stop", array], capture_output=True, check=False)
        for device in devices:
            subprocess.run(["losetup", "--detach", device], check=True, timeout=60)
