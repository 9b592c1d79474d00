"""The scripts that the fleet's machines run at boot, with commands that are recorded."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
SCRATCH = DEPLOY / "ansible/roles/docker/files/miniwdl-cloud-scratch"
PROVISION = DEPLOY / "terraform/modules/fleet/provision"
INSTANCE_STORAGE = "Amazon EC2 NVMe Instance Storage"
EBS = "/dev/nvme0n1 Amazon Elastic Block Store"


def recorded(
    folder: Path, script: Path, arguments: list[str], programs: Mapping[str, str]
) -> tuple[int, list[str], str]:
    """Run a script whose commands are recorded.

    Parameters
    ----------
    folder
        For what is made.
    script
        What to run.
    arguments
        Its arguments.
    programs
        What the commands do that it calls, as shell; nothing else changes this machine.

    Returns
    -------
    tuple
        Its exit code, the commands with their arguments, and what it printed.
    """
    place = folder / "bin"
    place.mkdir()
    for name, does in programs.items():
        (place / name).write_text(
            f'#!/bin/sh\necho {name} "$@" >>{folder}/commands\n{does or "exit 0"}\n'
        )
        (place / name).chmod(0o755)
    done = subprocess.run(
        ["bash", str(script), *arguments],
        env={"PATH": f"{place}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    commands = folder / "commands"
    return (
        done.returncode,
        commands.read_text().splitlines() if commands.exists() else [],
        (done.stdout + done.stderr),
    )


def disks(folder: Path, lines: list[str], **other: str) -> tuple[int, list[str], str]:
    """Run the script for instance storage on a machine with these disks."""
    listing = "\n".join(f"echo '{line}'" for line in lines)
    changing = dict.fromkeys(["mkfs.xfs", "mount", "mkdir", "chmod"], "")
    programs = {
        "lsblk": listing,
        "mountpoint": "exit 1",
        "blkid": "exit 2",
        "mdadm": "",
        **changing,
    }
    return recorded(folder, SCRATCH, ["/mnt/scratch"], {**programs, **other})


def test_without_instance_storage_nothing_is_done(tmp_path: Path) -> None:
    """A machine with network volumes only, and one that is done already, are left as they are."""
    (tmp_path / "one").mkdir()
    code, commands, _ = disks(tmp_path / "one", [EBS])
    assert code == 0
    assert {command.split()[0] for command in commands} == {"mountpoint", "lsblk"}
    (tmp_path / "two").mkdir()
    done = disks(tmp_path / "two", [f"/dev/nvme1n1 {INSTANCE_STORAGE}"], mountpoint="exit 0")
    assert done == (0, ["mountpoint --quiet /mnt/scratch"], "")


def test_one_disk_is_formatted_and_docker_put_there(tmp_path: Path) -> None:
    """A blank disk gets a filesystem, and Docker's data a place on it."""
    code, commands, said = disks(tmp_path, [EBS, f"/dev/nvme1n1 {INSTANCE_STORAGE}"])
    assert code == 0
    assert said == "mounted /dev/nvme1n1 at /mnt/scratch\n"
    assert not any(command.startswith("mdadm") for command in commands)
    assert "mkfs.xfs -f -K /dev/nvme1n1" in commands
    mounts = [command for command in commands if command.startswith("mount ")]
    assert mounts == [
        "mount -o noatime /dev/nvme1n1 /mnt/scratch",
        "mount --bind /mnt/scratch/docker /var/lib/docker",
    ]


def test_several_disks_are_one_array(tmp_path: Path) -> None:
    """Two blank disks become a RAID 0."""
    lines = [f"/dev/nvme{n}n1 {INSTANCE_STORAGE}" for n in (1, 2)]
    code, commands, _ = disks(tmp_path, [EBS, *lines])
    assert code == 0
    made = "mdadm --create /dev/md0 --run --level=0 --raid-devices=2 /dev/nvme1n1 /dev/nvme2n1"
    assert made in commands
    assert "mkfs.xfs -f -K /dev/md0" in commands


def test_what_is_on_the_disks_after_a_reboot_is_kept(tmp_path: Path) -> None:
    """An array and its filesystem from the boot before are mounted as they are."""
    lines = [f"/dev/nvme{n}n1 {INSTANCE_STORAGE}" for n in (1, 2)]
    scan = "[ $1 = --detail ] && echo 'ARRAY /dev/md127 metadata=1.2'"
    code, commands, said = disks(tmp_path, lines, mdadm=scan, blkid="echo xfs")
    assert (code, said) == (0, "mounted /dev/md127 at /mnt/scratch\n")
    assert not any(command.startswith(("mkfs", "mdadm --create")) for command in commands)


def test_a_disk_that_cannot_be_formatted_stops_the_boot_of_docker(tmp_path: Path) -> None:
    """The unit fails, which Docker's unit requires."""
    code, commands, _ = disks(
        tmp_path, [f"/dev/nvme1n1 {INSTANCE_STORAGE}"], **{"mkfs.xfs": "exit 1"}
    )
    assert code == 1
    assert not any(command.startswith("mount ") for command in commands)


@pytest.mark.parametrize(("ends", "last"), [("true", "shutdown -h now"), ("false", "sleep 30")])
def test_a_machine_that_cannot_be_made_is_tried_three_times(
    tmp_path: Path, ends: str, last: str
) -> None:
    """After three attempts a worker ends itself, so that it does not cost, and a manager stays."""
    programs = dict.fromkeys(["sleep", "shutdown", "apt-get"], "")
    code, commands, said = recorded(
        tmp_path, PROVISION, ["worker.yml", ends], {**programs, "ansible-playbook": "exit 2"}
    )
    assert code == 1
    played = [command for command in commands if command.startswith("ansible-playbook")]
    line = "--inventory localhost, --connection local --extra-vars @machine.json worker.yml"
    assert played == [f"ansible-playbook {line}"] * 3
    assert commands[-1] == last
    assert said.splitlines() == [f"attempt {n} failed" for n in (1, 2, 3)]


def test_a_machine_that_is_made_is_left_in_peace(tmp_path: Path) -> None:
    """The first success is the end of it."""
    programs = dict.fromkeys(["sleep", "shutdown", "apt-get", "ansible-playbook"], "")
    code, commands, _ = recorded(tmp_path, PROVISION, ["worker.yml", "true"], programs)
    assert code == 0
    assert [command.split()[0] for command in commands] == ["ansible-playbook"]
