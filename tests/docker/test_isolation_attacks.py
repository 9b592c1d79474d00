"""A hostile task in a container: what it tries comes to nothing.

The attacks are those of docs/security.md, by the same names.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import docker
import pytest
from docker_tier import BASE_IMAGE, ROOT, Done, Runs, local_aws

SECRET = "what nobody else may read"
VICTIM_SLEEPS = "86399"

HANDLES = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
handle = ctypes.create_string_buffer((128).to_bytes(4, "little") + bytes(132))
if libc.name_to_handle_at(-100, b".", handle, ctypes.byref(ctypes.c_int()), 0) == 0:
    sys.exit(libc.open_by_handle_at(os.open(".", os.O_RDONLY), handle, os.O_RDONLY) < 0)
sys.exit(1)
"""
DISK = """
import os
os.mknod("disk", 0o60600, os.stat(os.environ["RUN"]).st_dev)
open("disk", "rb").read(1)
"""

WITHIN = {
    "absolute path": 'grep "$secret" "$victim/secret"',
    "dot-dot": 'grep "$secret" "../../../$(basename "$victim")/secret"',
    "symbolic link": 'ln -s "$victim" link && grep "$secret" link/secret',
    "hard link": 'ln "$victim/secret" hard && grep "$secret" hard',
    "listing": '[ "$(ls "$mount" | wc -l)" -gt 1 ]',
    "other processes' roots": 'cat /proc/[0-9]*/root"$victim"/secret | grep "$secret"',
    "writing": 'echo x >> "$victim/notes"',
    "writing to an input": 'echo x >> "$input"',
    "permissions of an input": 'chmod 777 "$real" && echo x >> "$real"',
    "hard link to an input": 'ln "$real" mine && echo x >> mine',
    "writing into a Directory input": 'echo x > "$genome/new" || echo x >> "$genome/file"',
    "replacing an input": 'mv "$real" "$real.old" || rm "$real"',
    "renaming the inputs": 'mv "$RUN/inputs" "$RUN/i"',
    "moving the working directory": 'mv "$RUN/work" "$RUN/w" && mv "$RUN/w" "$RUN/work"',
    "unmounting": 'umount "$RUN/inputs" || umount -l "$RUN"',
    "mounting again": 'mount -o remount,bind,rw "$RUN/inputs"',
    "mounting the host": "mkdir m; mount --bind / m || mount -t tmpfs none m || unshare -m true",
    "the host's disk": f"python3 -c {shlex.quote(DISK)}",
    "file handles": f"python3 -c {shlex.quote(HANDLES)}",
    "other processes' variables": 'cat /proc/[0-9]*/environ | grep "$secret"',
    "signals": "for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline |"
    f" grep 'sleep {VICTIM_SLEEPS[:-1]}[{VICTIM_SLEEPS[-1]}]' && kill ${{p#/proc/}} && exit; done;"
    " exit 1",
}
"""Attacks from within the container: commands that succeed if the attack does."""

POSSIBLE_IN_SHARED = {
    *("absolute path", "dot-dot", "symbolic link", "hard link", "listing", "writing"),
    *("other processes' roots", "writing to an input", "permissions of an input"),
    *("hard link to an input", "writing into a Directory input", "replacing an input"),
    "moving the working directory",
}
"""Those that a task which is not isolated carries out: else they would prove nothing."""

BATTERY = """
version 1.2
task battery {
  input { File precious  Directory genome  String victim  String mount  String secret }
  command <<<
    export RUN=$MINIWDL_CLOUD_TASK_DIR
    input="~{precious}" genome="~{genome}" victim="~{victim}" mount="~{mount}"
    secret="~{secret}" real=$(readlink -f "$input")
    attack() {
      if (eval "$2") > /dev/null 2>&1; then echo "$1: done"; else echo "$1: foiled"; fi
    }
ATTACKS
  >>>
  output { Array[String] outcomes = read_lines(stdout()) }
}
""".replace(
    "ATTACKS",
    "\n".join(f"    attack {shlex.quote(k)} {shlex.quote(v)}" for k, v in WITHIN.items()),
)

AFTERWARDS = {
    "standard output that is a link": (
        "ln -sf ~{target}/secret ../stdout.txt",
        "String x = read_string(stdout())",
        "The task has put something else in the place of its stdout.txt",
    ),
    "standard error that is a link": (
        "sleep 1; ln -sf ~{target}/secret ../stderr.txt; sleep 1",
        "File x = stderr()",
        "The task has put something else in the place of its stderr.txt",
    ),
    "standard output that is a named pipe": (
        "rm ../stdout.txt; mkfifo ../stdout.txt",
        "File x = stdout()",
        "The task has put something else in the place of its stdout.txt",
    ),
    "an output that is a link": (
        "ln -s ~{target}/secret x",
        'File x = "x"',
        "outside its working directory",
    ),
    "outputs by pattern that are links": (
        "ln -s ~{target}/secret x.txt",
        'Array[File] x = glob("*.txt")',
        "outside its working directory",
    ),
    "a Directory with a link to a directory": (
        "mkdir x; ln -s ~{target} x/inside",
        'Directory x = "x"',
        "has a link, inside, that leads out of it",
    ),
    "an output that is a named pipe": ("mkfifo x", 'File x = "x"', "not found in task output"),
    "an output that is a device": ("mknod x c 1 5", 'File x = "x"', "not found in task output"),
    "a working directory that is a link": (
        "cd ..; rm -rf work; ln -s ~{target} work",
        'File x = "secret"',
        "",
    ),
}
"""Attacks on the engine, which reads what a task has left: command, output, and what is said."""

ALLOWED_IN_SHARED = {"a Directory with a link to a directory"}
"""What miniwdl itself allows; the upload of outputs leaves such links out."""

TASK = """
version 1.2
task t {{
  input {{ String target }}
  command <<<
    {command}
  >>>
  output {{ {output} }}
}}
"""

RETRIED = """
version 1.2
task t {
  input { String target }
  command <<<
    [ ~{task.attempt} -eq 0 ] || { echo well; exit 0; }
    rm -f ../command; ln -s ~{target}/secret ../command
    ln -s ~{target}/secret ../stdout2.txt
    ln -s ~{target}/secret ../env.sh
    mkfifo ../stderr2.txt
    exit 1
  >>>
  output { String x = read_string(stdout()) }
  requirements { max_retries: 1 }
}
"""


@pytest.fixture(scope="module")
def runs(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """miniwdl on an embedded AWS with the Docker executor."""
    state = tmp_path_factory.mktemp("isolation") / "state"
    with local_aws(state, os.environ["DOCKER_HOST"]) as aws:
        yield Runs(aws)


@pytest.fixture
def directory(runs: Runs, tmp_path: Path) -> Path:
    """A directory of the shared filesystem for one test."""
    made = runs.aws.filesystem / re.sub(r"\W+", "_", tmp_path.name)
    made.mkdir()
    return made


@pytest.fixture
def victim_container(engine: docker.DockerClient) -> Iterator[Any]:
    """A container of somebody else, which sleeps for a time that nobody else sleeps for."""
    container = engine.containers.run(BASE_IMAGE, ["sleep", VICTIM_SLEEPS], detach=True)
    yield container
    container.remove(force=True)


@pytest.mark.parametrize("isolation", ["strict", "shared"])
def test_from_within(runs: Runs, directory: Path, victim_container: Any, isolation: str) -> None:
    """An isolated task neither reads nor changes anything that is not its own."""
    victim = directory / "victim"
    (directory / "genome").mkdir()
    victim.mkdir()
    (victim / "secret").write_text(SECRET)
    (victim / "notes").touch()
    (directory / "genome" / "file").write_text("file")
    (directory / "precious").write_text("precious")
    done = runs.run(
        directory,
        BATTERY,
        *(f"precious={directory}/precious", f"genome={directory}/genome", f"victim={victim}"),
        *(f"mount={runs.aws.filesystem}", f"secret={SECRET}"),
        isolation=isolation,
        ENGINE_SECRET=SECRET,
    )
    assert done.code == 0, done.log[-5000:]
    outcomes = dict(line.split(": ") for line in done.answer["outputs"]["battery.outcomes"])
    carried_out = {name for name, outcome in outcomes.items() if outcome == "done"}
    assert outcomes.keys() == WITHIN.keys()
    assert carried_out == (POSSIBLE_IN_SHARED if isolation == "shared" else set())
    victim_container.reload()
    assert victim_container.status == "running"
    if isolation == "strict":
        assert (victim / "notes").read_text() == ""
        assert (directory / "precious").read_text() == "precious"
        assert [p.read_text() for p in (directory / "genome").iterdir()] == ["file"]


@pytest.mark.parametrize("isolation", ["strict", "shared"])
def test_afterwards(runs: Runs, directory: Path, tmp_path: Path, isolation: str) -> None:
    """What a task leaves does not lead its engine to files that the task itself cannot see."""
    target = tmp_path / "engine"
    target.mkdir()
    (target / "secret").write_text(SECRET)

    def attack(name: str) -> Done:
        command, output, _said = AFTERWARDS[name]
        place = directory / re.sub(r"\W+", "_", name)
        place.mkdir()
        source = TASK.format(command=command, output=output)
        return runs.run(
            place, source, f"target={target}", isolation=isolation, ENGINE_SECRET=SECRET
        )

    names = [n for n in AFTERWARDS if isolation == "strict" or n not in ALLOWED_IN_SHARED]
    with ThreadPoolExecutor(3) as pool:
        for name, done in zip(names, pool.map(attack, names), strict=True):
            said = AFTERWARDS[name][2]
            assert done.code != 0, name
            assert said in done.log, (name, done.log[-3000:])
            assert SECRET not in done.log, name
    written = [path for path in directory.rglob("*") if path.is_file() and not path.is_symlink()]
    assert not [path for path in written if SECRET in path.read_text(errors="replace")]
    assert (target / "secret").read_text() == SECRET


@pytest.mark.parametrize("isolation", ["strict", "shared"])
def test_the_next_attempt(runs: Runs, directory: Path, tmp_path: Path, isolation: str) -> None:
    """Links that an attempt puts where the engine will write for the next one lead nowhere."""
    (tmp_path / "secret").write_text(SECRET)
    done = runs.run(directory, RETRIED, f"target={tmp_path}", isolation=isolation)
    assert done.code == 0, done.log[-5000:]
    assert done.answer["outputs"]["t.x"] == "well"
    assert (tmp_path / "secret").read_text() == SECRET


def test_every_attack_is_documented() -> None:
    """docs/security.md says of every attack what stops it, and of none that is not tried."""
    page = (ROOT / "docs" / "security.md").read_text()
    named = set(re.findall(r"^\| \*(.+?)\* \|", page, re.MULTILINE))
    assert named == {*WITHIN, *AFTERWARDS, "the next attempt"}
