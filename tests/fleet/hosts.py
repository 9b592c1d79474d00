"""Hosts for tests of the fleet, on one machine: each has processes, mounts, a network address, a
root filesystem, sshd and Docker Engine of its own.

A host is a process in namespaces of its own, on an overlay of a Debian system that
`scripts/fleet-tier` makes. A further namespace holds the bridge that they are on. All of it hangs
on processes that end with the process that started them, and the kernel takes mounts, interfaces
and bridge away with the last process in their namespace; what is left then are a directory of a
test and empty cgroups.

    with Hosts(tier, folder) as hosts:
        manager = hosts.add("manager")
        manager.docker("swarm", "init", "--advertise-addr", manager.address)
        worker = hosts.add("worker1")
        worker.run("docker swarm join ...")     # by SSH, as root
        worker.kill()                           # the loss of an instance

All hosts, and none of this machine's processes, see one directory at ``/mnt/shared``; here it is
`Hosts.shared`. `Hosts.gateway` is this machine's address for hosts, to serve them something.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import select
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType

SHARED = "/mnt/shared"
METADATA = "169.254.169.254"
START_S = 120.0
"""Far more than a host needs; only a broken one takes so long."""
CGROUPS = Path("/sys/fs/cgroup")

_INIT = r"""
set -eu
root=$FOLDER/root
mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=$LOWER,upperdir=$FOLDER/upper,workdir=$FOLDER/work" "$root"
mount --rbind /dev "$root/dev"
mount --rbind /sys "$root/sys"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mkdir -p "$root/run/sshd" "$root/run/lock" "$root/mnt/shared" "$root/var/lib/docker"
# Docker's own overlays cannot be on an overlay.
mount --bind "$FOLDER/docker" "$root/var/lib/docker"
mount --bind "$SHARED_DIRECTORY" "$root/mnt/shared"
for pair in $BINDS; do
  mkdir -p "$root/${pair##*:}"
  mount --bind "${pair%%:*}" "$root/${pair##*:}"
  mount -o remount,bind,ro "$root/${pair##*:}"
done
echo "$NAME" >/proc/sys/kernel/hostname
echo "$NAME" >"$root/etc/hostname"
echo "127.0.0.1 localhost $NAME" >"$root/etc/hosts"
: >"$root/etc/resolv.conf"
# The power button: process 1 ends, and everything else with it.
printf '#!/bin/sh\nkill -TERM 1\n' >"$root/sbin/shutdown"
chmod 755 "$root/sbin/shutdown"
echo "DOCKER_OPTS='--cgroup-parent=/$CGROUP'" >"$root/etc/default/docker"
# Docker's init script mounts every controller there is, unless fstab knows of cgroups. One that is
# mounted in hosts alone keeps an engine outside from telling of memory that ran out.
echo "none /sys/fs/cgroup cgroup noauto 0 0" >>"$root/etc/fstab"
# The package list is from today, for roles that ask for a list of today.
mkdir -p "$root/var/lib/apt/periodic"
touch "$root/var/lib/apt/periodic/update-success-stamp" "$root/var/lib/apt/lists"
rm -f "$root"/etc/ssh/ssh_host_*
install -m 600 "$KEYS/ssh_host_ed25519_key" "$root/etc/ssh/"
install -d -m 700 "$root/root/.ssh"
install -m 600 "$KEYS/id.pub" "$root/root/.ssh/authorized_keys"
# Its interface comes from outside.
until ip link show eth0 >/dev/null 2>&1; do sleep 0.05; done
ip link set lo up
ip address add "$ADDRESS/24" dev eth0
ip link set eth0 up
ip route add default via "$GATEWAY"
ip route add "$METADATA" via "$SWITCH"
exec chroot "$root" env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
  HOME=/root LANG=C.UTF-8 bash -c '
  trap "exit 0" TERM
  exec 3<&0 </dev/null
  /usr/sbin/sshd 3<&-
  if command -v dockerd >/dev/null; then service docker start 3<&-; fi
  # Nothing is ever said here: the end comes when the test process is no more. Meanwhile the shell
  # reaps what is left to process 1.
  cat <&3 >/dev/null & wait $!
'
"""


class HostError(AssertionError):
    """A command on a host failed, or a host did not come up; the message has its output."""


@dataclass(frozen=True)
class Tier:
    """What `scripts/fleet-tier` provides.

    Parameters
    ----------
    hosts
        Directory with ``base``, ``engine``, ``data`` and ``wheels``.
    ansible
        Directory with Ansible's programs.
    """

    hosts: Path
    ansible: Path


class Host:
    """A host that runs; `Hosts.add` makes it.

    Parameters
    ----------
    hosts
        Where it is.
    name
        Its host name.
    number
        Last part of its address.
    """

    def __init__(self, hosts: Hosts, name: str, number: int) -> None:
        self.name = name
        self.address = hosts.address(number)
        self.folder = hosts.folder / f"{number}-{name}"
        """Where this machine keeps what the host writes, until the host is gone."""
        self._hosts = hosts
        self._number = number
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, layers: Sequence[Path], binds: Mapping[Path, str]) -> None:
        """Start it and wait until it answers; `Hosts.add` does.

        Parameters
        ----------
        layers
            What its root filesystem is made of, the uppermost first.
        binds
            Directories of this machine that it sees read-only, and where.

        Raises
        ------
        HostError
            It does not come up.
        """
        environment = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "NAME": self.name,
            "FOLDER": str(self.folder),
            "KEYS": str(self._hosts.folder),
            "LOWER": ":".join(str(layer) for layer in layers),
            "SHARED_DIRECTORY": str(self._hosts.shared),
            "BINDS": " ".join(f"{path}:{target}" for path, target in binds.items()),
            "CGROUP": self._cgroup,
            "ADDRESS": self.address,
            "GATEWAY": self._hosts.gateway,
            "SWITCH": self._hosts.address(2),
            "METADATA": METADATA,
        }
        with (self.folder / "console").open("wb") as console:
            self._process = subprocess.Popen(
                [
                    *("unshare", "--mount", "--uts", "--ipc", "--net", "--pid"),
                    *("--fork", "--kill-child=KILL", "bash", "-c", _INIT),
                ],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=console,
                stderr=console,
            )
        process = self._process
        _until(lambda: process.poll() is not None or _has_own_network(process.pid), self.log)
        peer = ("peer", "name", "eth0", "netns", str(process.pid))
        self._hosts.in_switch("ip", "link", "add", self._interface, "type", "veth", *peer)
        self._hosts.in_switch("ip", "link", "set", self._interface, "master", "bridge", "up")
        _until(lambda: not self.alive or self.run("true", check=False).returncode == 0, self.log)
        if any((layer / "usr/sbin/dockerd").exists() for layer in layers):
            shown = ("version", "--format", "{{.Server.Version}}")
            _until(lambda: not self.alive or self.docker(*shown, check=False), self.log)
        if not self.alive:
            raise HostError(f"{self.name} ended: {self.log()}")

    @property
    def _interface(self) -> str:
        return f"host{self._number}"

    @property
    def _cgroup(self) -> str:
        return f"{self._hosts.cgroup}/{self._number}"

    @property
    def pid(self) -> int:
        """The host's process 1, as this machine numbers it.

        Raises
        ------
        HostError
            The host is gone.
        """
        if self._process is None or not self.alive:
            raise HostError(f"{self.name} does not run: {self.log()}")
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        try:
            return int(children.read_text().split()[0])
        except (OSError, IndexError) as error:
            raise HostError(f"{self.name} does not run: {self.log()}") from error

    @property
    def alive(self) -> bool:
        """Whether the host runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def docker_host(self) -> str:
        """``DOCKER_HOST`` for programs of this machine."""
        return f"unix:///proc/{self.pid}/root/run/docker.sock"

    @property
    def ssh_command(self) -> list[str]:
        """Command that runs, as root on the host, what follows it."""
        return ["ssh", *self._hosts.ssh_options, f"root@{self.address}"]

    def log(self) -> str:
        """What the host said while it started, and its Docker Engine since."""
        texts = []
        for path in (self.folder / "console", self.folder / "upper/var/log/docker.log"):
            if path.exists():
                texts.append(path.read_text(errors="replace")[-3000:])
        return "\n".join(texts)

    def run(
        self, script: str, *, check: bool = True, timeout: float = START_S, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell script as root on the host, over SSH.

        Parameters
        ----------
        script
            For the root user's shell.
        check
            Whether it has to succeed.
        timeout
            Seconds until it is given up.
        stdin
            Its standard input.

        Raises
        ------
        HostError
            It failed, with `check`.
        subprocess.TimeoutExpired
            It did not end.
        """
        done = subprocess.run(
            [*self.ssh_command, script],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return _checked(done, self.name, script) if check else done

    def docker(self, *arguments: str, check: bool = True, timeout: float = START_S) -> str:
        """Run this machine's `docker` on the host's engine, also where no network leads there.

        Returns
        -------
        str
            What it printed, without white space around.

        Raises
        ------
        HostError
            It failed, with `check`.
        subprocess.TimeoutExpired
            It did not end.
        """
        done = subprocess.run(
            ["docker", *arguments],
            env={**os.environ, "DOCKER_HOST": self.docker_host},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check:
            _checked(done, self.name, shlex.join(["docker", *arguments]))
        return done.stdout.strip()

    def enter(self, *arguments: str, root: bool = True) -> list[str]:
        """Command that runs another in the host's namespaces, not by SSH.

        Parameters
        ----------
        arguments
            The command.
        root
            Whether it sees the host's files and processes; else this machine's files, from the
            host's network.
        """
        options = ["--mount", "--uts", "--ipc", "--pid", "--root", "--wd=/"] if root else []
        return ["nsenter", f"--target={self.pid}", "--net", *options, *arguments]

    def partition(self) -> None:
        """Cut the host off the network; it goes on."""
        self._hosts.in_switch("ip", "link", "set", self._interface, "down")

    def heal(self) -> None:
        """Undo `partition`."""
        self._hosts.in_switch("ip", "link", "set", self._interface, "up")

    def kill(self) -> None:
        """End the host at once, as the loss of an instance does; it is gone when this returns."""
        if self._process is not None:
            with _Ended(self._process):
                self._process.kill()
        self._forget()

    def wait(self, timeout: float = START_S) -> None:
        """Wait for the host to end by itself (`shutdown`), and take away what is left.

        Raises
        ------
        subprocess.TimeoutExpired
            It is still there.
        """
        assert self._process is not None
        self._process.wait(timeout)
        self._forget()

    def _forget(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
        self._hosts.forget(self)
        _remove_cgroups(self._cgroup)
        shutil.rmtree(self.folder)


class Hosts:
    """Hosts on a bridge, which are gone when the block ends. Threads may share it.

    Parameters
    ----------
    tier
        What they are made of.
    folder
        A directory of this test that is not there yet, on a filesystem that overlays can be on.
    binds
        Directories of this machine that each host sees read-only, and where it sees them.
    """

    def __init__(self, tier: Tier, folder: Path, binds: Mapping[Path, str] | None = None) -> None:
        self.folder = folder
        self.shared = folder / "shared"
        self.key = folder / "id"
        self._tier = tier
        self._binds = dict(binds or {})
        self._hosts: dict[str, Host] = {}
        self._numbers = itertools.count(3)
        self._switch: subprocess.Popen[bytes] | None = None
        self._subnet = 0

    def __enter__(self) -> Hosts:
        self.shared.mkdir(parents=True)
        self.shared.chmod(0o777)
        for name in ("id", "ssh_host_ed25519_key"):
            _must(
                "ssh-keygen",
                "-q",
                "-t",
                "ed25519",
                "-N",
                "",
                "-C",
                "test",
                "-f",
                self.folder / name,
            )
        try:
            self._raise_switch()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def gateway(self) -> str:
        """This machine's address on the bridge."""
        return self.address(1)

    @property
    def network(self) -> str:
        """The hosts' network."""
        return self.address(0) + "/24"

    @property
    def cgroup(self) -> str:
        """What the cgroups of all containers are below."""
        return f"fleet-test-{self._subnet}"

    @property
    def all(self) -> list[Host]:
        """The hosts that were added and are not known to be gone, in order."""
        return list(self._hosts.values())

    @property
    def ssh_options(self) -> list[str]:
        """Options for `ssh` to any of the hosts."""
        options = {
            "IdentitiesOnly": "yes",
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": "/dev/null",
            "GlobalKnownHostsFile": "/dev/null",
            "LogLevel": "ERROR",
            "BatchMode": "yes",
            "ConnectTimeout": "10",
        }
        given = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
        return ["-F", "none", "-i", str(self.key), *given]

    def address(self, number: int) -> str:
        """The hosts' network's address with this last part."""
        return f"10.213.{self._subnet}.{number}"

    def add(self, name: str, *, docker: bool = True) -> Host:
        """Start a host and wait until it answers.

        Parameters
        ----------
        name
            Its host name, which a host that is gone may have had.
        docker
            Whether it has Docker Engine; a host without is for the roles.

        Raises
        ------
        HostError
            It does not come up.
        """
        host = Host(self, name, next(self._numbers))
        for part in ("upper", "work", "root"):
            (host.folder / part).mkdir(parents=True)
        _copy_data_root(self._tier.hosts / "data", host.folder / "docker")
        layers = [self._tier.hosts / part for part in ("engine", "base")]
        self._hosts[name] = host
        try:
            host.start(layers if docker else layers[1:], self._binds)
        except BaseException:
            host.kill()
            raise
        return host

    def switch_command(self, *arguments: str) -> list[str]:
        """Command that runs another where the bridge is: there, a server has the address
        `METADATA` for all hosts."""
        assert self._switch is not None
        return ["nsenter", f"--target={self._switch.pid}", "--net", *arguments]

    def in_switch(self, *arguments: str) -> None:
        """Run a command where the bridge is.

        Raises
        ------
        HostError
            It failed.
        """
        _must(*self.switch_command(*arguments))

    def forget(self, host: Host) -> None:
        """Count a host out that is gone."""
        if self._hosts.get(host.name) is host:
            del self._hosts[host.name]

    def close(self) -> None:
        """End all hosts and the network, and take away all that was made."""
        for host in self.all:
            host.kill()
        if self._switch is not None:
            assert self._switch.stdin is not None
            self._switch.kill()
            self._switch.wait(START_S)
            self._switch.stdin.close()
            self._switch = None
            # The kernel takes its interfaces away in a while; this one is wanted gone now.
            subprocess.run(
                ["ip", "link", "delete", self._uplink], check=False, stderr=subprocess.DEVNULL
            )
            _remove_cgroups(self.cgroup)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _uplink(self) -> str:
        return f"fleet{self._subnet}"

    def _raise_switch(self) -> None:
        # It ends when this process does, whatever becomes of it: its standard input ends then.
        switch = subprocess.Popen(
            ["unshare", "--net", "cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        self._switch = switch
        _until(lambda: _has_own_network(switch.pid), lambda: "no network namespace")
        # Tests at the same time have networks of their own: only one can make an interface.
        for number in range(256):
            self._subnet = number
            peer = ("peer", "name", "uplink", "netns", str(switch.pid))
            made = ("ip", "link", "add", self._uplink, "type", "veth", *peer)
            if subprocess.run(made, check=False, capture_output=True).returncode == 0:
                break
        else:
            raise HostError("no network is left for hosts; see: ip link")
        _must("ip", "address", "add", f"{self.gateway}/24", "dev", self._uplink)
        _must("ip", "link", "set", self._uplink, "up")
        for command in (
            "link set lo up",
            "link add bridge type bridge",
            "link set uplink master bridge up",
            f"address add {self.address(2)}/24 dev bridge",
            f"address add {METADATA}/32 dev bridge",
            "link set bridge up",
        ):
            self.in_switch("ip", *command.split())


class _Ended:
    """Waits, at the end of the block, until a host's processes are all gone; they are children of
    a process that does not wait for them."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._fd: int | None = None

    def __enter__(self) -> None:
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        with contextlib.suppress(OSError, IndexError):
            self._fd = os.pidfd_open(int(children.read_text().split()[0]))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.wait(START_S)
        if self._fd is not None:
            # Process 1 of a namespace ends last.
            select.select([self._fd], [], [], START_S)
            os.close(self._fd)


def _copy_data_root(source: Path, target: Path) -> None:
    """Docker's data root, anew; the files of image layers, which never change, are linked."""
    target.mkdir(mode=0o711)
    for entry in source.iterdir():
        if entry.name == "overlay2":
            linked = ["cp", "-a", "--link", str(entry), str(target)]
            # On another filesystem they have to be copied.
            if subprocess.run(linked, check=False, stderr=subprocess.DEVNULL).returncode == 0:
                continue
        _must("cp", "-a", entry, target)


def _remove_cgroups(name: str) -> None:
    # Version 1 has a tree for each controller, and version 2 a single one.
    for tree in (CGROUPS, *(path for path in CGROUPS.iterdir() if path.is_dir())):
        for folder, _, _ in os.walk(tree / name, topdown=False):
            _until(partial(_removed, Path(folder)), f"{folder} is in use".format)


def _removed(cgroup: Path) -> bool:
    try:
        cgroup.rmdir()
    except FileNotFoundError:
        return True
    except OSError as error:
        # Its processes are killed, and on their way out.
        if error.errno in (errno.EBUSY, errno.ENOTEMPTY):
            return False
        raise
    return True


def _has_own_network(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/ns/net").readlink() != Path("/proc/self/ns/net").readlink()
    except FileNotFoundError:
        return False


def _until(condition: Callable[[], object], why: Callable[[], str]) -> None:
    deadline = time.monotonic() + START_S
    while not condition():
        if time.monotonic() > deadline:
            raise HostError(f"not so after {START_S:.0f} s: {why()}")
        time.sleep(0.05)


def _must(*arguments: str | Path) -> None:
    done = subprocess.run(
        [str(argument) for argument in arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    _checked(done, "this machine", shlex.join(str(argument) for argument in arguments))


def _checked(
    done: subprocess.CompletedProcess[str], where: str, command: str
) -> subprocess.CompletedProcess[str]:
    if done.returncode:
        said = (done.stdout + done.stderr)[-3000:]
        raise HostError(f"on {where}, exit code {done.returncode}: {command}\n{said}")
    return done
