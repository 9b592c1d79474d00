"""Roles on hosts, by Ansible over SSH, as a person applies them."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hosts import Host, Hosts, Tier

ROOT = Path(__file__).resolve().parents[2]
ANSIBLE = ROOT / "deploy" / "ansible"
WHEELS = "/srv/wheels"
PLAYBOOK_S = 500.0
UNITS = "/etc/systemd/system"


def run_ansible(
    tier: Tier, folder: Path, *command: str, timeout: float = PLAYBOOK_S
) -> subprocess.CompletedProcess[str]:
    """One of Ansible's programs in the directory of the playbooks, with nobody's own settings.

    Parameters
    ----------
    tier
        What has the programs.
    folder
        Directory for what they keep.
    command
        Program and arguments.
    timeout
        Seconds until it is given up.
    """
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE")
    }
    environment |= {
        "PATH": f"{tier.ansible}:{os.environ['PATH']}",
        "ANSIBLE_HOME": str(folder / "ansible"),
        # A directory that others may write is not trusted to have settings; this one is.
        "ANSIBLE_CONFIG": str(ANSIBLE / "ansible.cfg"),
        "ANSIBLE_ROLES_PATH": str(ANSIBLE / "roles"),
        "ANSIBLE_NOCOLOR": "1",
        "NO_COLOR": "1",
        "LC_ALL": "C.UTF-8",
    }
    return subprocess.run(
        command,
        cwd=ANSIBLE,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def play(
    tier: Tier, network: Hosts, playbook: str, targets: Sequence[Host], variables: Mapping[str, Any]
) -> dict[str, dict[str, int]]:
    """Apply a playbook to hosts over SSH.

    Returns
    -------
    dict
        Of each host's name, how many tasks were ok, changed, failed and so on.
    """
    inventory = network.folder / f"inventory-{Path(playbook).name}"
    inventory.write_text(
        "".join(f"{h.name} ansible_host={h.address} ansible_user=root\n" for h in targets)
    )
    options = " ".join([*network.ssh_options, "-o ControlMaster=auto -o ControlPersist=30"])
    done = run_ansible(
        tier,
        network.folder,
        *("ansible-playbook", "--inventory", str(inventory), playbook),
        *("--extra-vars", json.dumps(dict(variables)), f"--ssh-common-args={options}"),
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    recap = done.stdout.partition("PLAY RECAP")[2]
    counts = {
        line.split()[0]: {name: int(n) for name, n in re.findall(r"(\w+)=(\d+)", line)}
        for line in recap.splitlines()
        if "ok=" in line
    }
    assert set(counts) == {host.name for host in targets}
    for name, body in re.findall(
        r"^TASK \[(.*?)\].*?\n(.*?)(?=^TASK|\Z)", done.stdout, re.M | re.S
    ):
        for line in body.splitlines():
            if line.startswith("changed:"):
                print(f"{name}: {line}")
    return counts


def wheels_for(tier: Tier, folder: Path) -> Path:
    """A directory with the wheels that the role miniwdl installs, the one of this checkout too.

    Parameters
    ----------
    tier
        What has the other wheels.
    folder
        Directory of the test, in which hosts are made too.
    """
    wheels = folder / "wheels"
    wheels.mkdir()
    for wheel in (tier.hosts / "wheels").glob("*.whl"):
        (wheels / wheel.name).hardlink_to(wheel)
    # Setuptools writes beside the sources.
    source = folder / "source"
    copy = ("cp", "-a", "pyproject.toml", "README.md", "LICENSE", "src", str(source))
    source.mkdir()
    subprocess.run(copy, cwd=ROOT, check=True)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"),
            *("--no-deps", "--wheel-dir", str(wheels), str(source)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return wheels


def start_unit(host: Host, unit: str) -> None:
    """Run a unit's command with its environment file, as systemd does where it is.

    Parameters
    ----------
    host
        Where the unit is installed.
    unit
        Its name.
    """
    text = host.run(f"cat {UNITS}/{unit}").stdout
    found = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    script = (
        f"set -a; . {found['EnvironmentFile']}; set +a;"
        f" exec setsid {found['ExecStart']} </dev/null >/var/log/{shlex.quote(unit)}.log 2>&1"
    )
    host.run(f"({script}) & disown")
