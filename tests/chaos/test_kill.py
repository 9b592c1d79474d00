"""kill -9 of a run at ten moments: what it began is taken over, and nothing runs twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from miniwdl_cloud.emulator.server import LocalCloud

TASKS = 50
KILLS = 10
SEED = int(os.environ.get("KILL_SEED", "20"))
"""Draws the moments; another one draws others."""
WORKFLOW = """
    version 1.1
    workflow kill {
      input { Int n  String notes }
      scatter (i in range(n)) {
        call square { input: i, notes }
        call check { input: square = square.out, notes }
      }
      output { Array[File] squares = square.out  Array[String] lines = check.line }
    }
    task square {
      input { Int i  String notes }
      command <<<
        echo "start square ~{i}" >> "~{notes}"
        sleep 0.2
        echo $((~{i} * ~{i})) > out
        pwd > where
        echo "end square ~{i}" >> "~{notes}"
      >>>
      # By the absolute path that the job knew.
      output { File out = read_string("where") + "/out" }
      runtime { preemptible: 0 }
    }
    task check {
      input { File square  String notes }
      command <<<
        echo "start check $(cat ~{square})" >> "~{notes}"
        sed 's/^/square /' "~{square}"
        echo "end check $(cat ~{square})" >> "~{notes}"
      >>>
      output { String line = read_string(stdout()) }
      runtime { preemptible: 0 }
    }
    """
ADOPTING = {
    "MINIWDL__CALL_CACHE__PUT": "true",
    "MINIWDL__CALL_CACHE__GET": "true",
    "MINIWDL__AWS__ADOPT": "true",
    # Isolated tasks, as on Fargate by default, are not taken over.
    "MINIWDL__AWS__ISOLATION": "shared",
}


class Ground:
    """One workflow, run again and again."""

    def __init__(self, engine: str, cloud: LocalCloud, root: Path) -> None:
        # Found once conftest.py has put the emulator's helpers on the path.
        from batch_helper import Batch
        from fargate_runs import ENGINES

        self.deployment = ENGINES[engine](cloud, Batch(cloud), root)
        self.notes = self.deployment.root / "notes"
        self.notes.touch()
        self.accounts = self.deployment.root / "accounts"
        self.log = root / "log"
        self.wdl = self.deployment.write(WORKFLOW)
        self.arguments = (f"n={TASKS // 2}", f"notes={self.notes}")
        self.env = {
            **ADOPTING,
            "MINIWDL__CALL_CACHE__DIR": str(self.deployment.root / "cache"),
            "MINIWDL__AWS__ACCOUNTING_DIR": str(self.accounts),
        }

    def kill(self, dones: int, others: int) -> None:
        """Run the workflow until so many tasks are done and so many more log lines written."""
        with self.log.open("a") as log:
            process = subprocess.Popen(
                [
                    *(sys.executable, str(Path(__file__).with_name("killed_run.py"))),
                    *(str(dones), str(others), "run", str(self.wdl), *self.arguments),
                    *("--dir", str(self.deployment.root / "runs")),
                ],
                env=self.deployment.environ(**self.env),
                stdout=log,
                stderr=log,
            )
            try:
                assert process.wait(timeout=120) == -signal.SIGKILL, self.log.read_text()[-5000:]
            finally:
                process.kill()

    def open_jobs(self) -> list[Any]:
        """Jobs that have not ended."""
        return [attempt for attempt in self.deployment.attempts("") if not attempt.ended]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("engine", ["batch", "fargate"])
def test_kill_at_ten_moments(cloud: LocalCloud, tmp_path: Path, engine: str) -> None:
    """A run of 50 tasks, killed ten times and run again with --adopt: every output is there, every
    command ran once, no job and no lease is left."""
    ground = Ground(engine, cloud, tmp_path)
    # Moments are told by what the run has got done and by lines of its log, so that they are the
    # same however slow the machine is. In all they let fewer tasks be done than there are, so that
    # no run comes to its end.
    chance = random.Random(SEED)
    moments = [(chance.randint(0, 5), chance.randint(0, 60)) for _ in range(KILLS)]
    assert sum(dones + 1 for dones, _ in moments) < TASKS
    for dones, others in moments:
        ground.kill(dones, others)
    run = ground.deployment.run(WORKFLOW, *ground.arguments, env=ground.env)

    squares = [i * i for i in range(TASKS // 2)]
    assert [int(Path(p).read_text()) for p in run.outputs["kill.squares"]] == squares
    assert run.outputs["kill.lines"] == [f"square {square}" for square in squares]
    notes = Counter(ground.notes.read_text().splitlines())
    assert [note for note, times in notes.items() if times > 1] == []
    assert sum(note.startswith("end") for note in notes) == TASKS
    assert ground.open_jobs() == []
    # A process killed while it tells the time leaves a file whose name begins with a dot.
    assert [p for p in ground.accounts.iterdir() if not p.name.startswith(".")] == []
