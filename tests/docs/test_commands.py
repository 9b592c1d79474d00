"""The documentation's commands do what they say, on an embedded AWS."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pages import GENERATED, PAGES, ROOT, Block, blocks

BIN = Path(sys.executable).parent
LIMIT_S = 300
WDL = """
version 1.1
workflow hello {
  input { Array[String] names = ["ann", "bob"]  File? reads }
  scatter (name in names) { call greet { input: name = name } }
  output { Array[File] greetings = greet.greeting }
}
task greet {
  input { String name }
  command <<< echo "hello ~{name}" > greeting.txt >>>
  output { File greeting = "greeting.txt" }
  runtime { docker: "ubuntu:22.04"  cpu: 1  memory: "1 GiB" }
}
"""


def scripts(page: Path) -> list[Block]:
    """The blocks of a page that are to be run."""
    return [block for block in blocks(page) if block.is_script and block.not_run is None]


def _pages() -> list[Path]:
    return [page for page in PAGES if page.name not in GENERATED and scripts(page)]


@pytest.fixture(scope="module")
def environ(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What the exports of `miniwdl-cloud local up` make of a clean environment."""
    state = tmp_path_factory.mktemp("docs") / "state"
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "MINIWDL", "PYTEST"))}
    clean["PATH"] = f"{BIN}:{clean['PATH']}"
    up = subprocess.run(
        ["bash", "-ec", 'exports=$(miniwdl-cloud local up --state "$1")\neval "$exports"; env -0',
         "-", str(state)],
        env=clean, capture_output=True, text=True, timeout=LIMIT_S,
    )  # fmt: skip
    assert up.returncode == 0, up.stderr
    made = dict(entry.split("=", 1) for entry in up.stdout.split("\0") if "=" in entry)
    # Readers of most pages have run something before.
    wdl = tmp_path_factory.mktemp("first") / "first.wdl"
    wdl.write_text(WDL)
    submit = ["miniwdl-aws-submit", str(wdl), "--wait"]
    first = subprocess.run(submit, env=made, capture_output=True, text=True, timeout=LIMIT_S)
    assert first.returncode == 0, first.stderr
    yield made
    subprocess.run(
        ["miniwdl-cloud", "local", "down", "--state", str(state)],
        env=clean,
        check=True,
        timeout=LIMIT_S,
    )


def _own(environ: dict[str, str]) -> dict[str, str]:
    """What stands for the reader's own on the pages."""
    return {
        "/mnt/efs": environ["MINIWDL_CLOUD_FILESYSTEM"],
        "my-bucket": environ["MINIWDL_CLOUD_BUCKET"],
        "my-workflow": environ["MINIWDL__AWS__WORKFLOW_QUEUE"],
    }


@pytest.mark.parametrize("page", _pages(), ids=lambda page: page.name)
def test_a_pages_commands(page: Path, environ: dict[str, str], tmp_path: Path) -> None:
    """All of a page's commands, in order, in one shell: what a reader has who follows it from the
    top, with a WDL, some reads and a bucket of their own."""
    (tmp_path / "my.wdl").write_text(WDL)
    (tmp_path / "workflow.wdl").write_text(WDL)
    (tmp_path / "sample.bam").write_bytes(b"reads")
    for name in ("examples", "deploy"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns(".terraform"))
    script = "".join(f": line {block.line}\n{block.script}" for block in scripts(page))
    for name, value in _own(environ).items():
        script = script.replace(name, value)
    # A page may start an embedded AWS of its own, which ends with the shell.
    script = f"trap 'miniwdl-cloud local down > {tmp_path}/down 2>&1' EXIT\n{script}"
    done = subprocess.run(
        ["bash", "-euxo", "pipefail", "-c", script],
        cwd=tmp_path,
        # A reader has time to wait before a task is tried again.
        env={**environ, "HOME": str(tmp_path), "MINIWDL__AWS__RETRY_WAIT": "0"},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert done.returncode == 0, f"{page.name}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
