"""Strict isolation: the same outputs as ever, from tasks that see their own files alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from batch_helper import Batch
from engine_runs import Deployment

import isolation_workflow
from miniwdl_cloud.emulator.executors import namespaces
from miniwdl_cloud.emulator.executors.base import Mount
from miniwdl_cloud.emulator.server import LocalCloud

STRICT = {"MINIWDL__AWS__ISOLATION": "strict"}
HOST = {"MINIWDL__SCHEDULER__CONTAINER_BACKEND": "aws_batch_job_no_efs"}


@pytest.fixture
def deployment(cloud: LocalCloud, batch: Batch, tmp_path: Path) -> Iterator[Deployment]:
    """Queues and a directory of the shared filesystem for one test."""
    made = Deployment(cloud, batch, tmp_path)
    yield made
    made.close()


@pytest.fixture
def strict(deployment: Deployment) -> Deployment:
    """The same, where the process executor can show a task parts of the filesystem."""
    _need_namespaces(deployment.cloud)
    return deployment


def _need_namespaces(cloud: LocalCloud) -> None:
    reason = namespaces.why_not([Mount(cloud.filesystem, str(cloud.filesystem / "x"))])
    if reason:
        pytest.skip(reason)


@pytest.mark.parametrize("copied", [False, True], ids=["linked", "copied"])
@pytest.mark.parametrize("isolation", ["shared", "strict"])
@pytest.mark.parametrize("engine", [{}, HOST], ids=["efs", "host"])
def test_outputs_are_the_same(
    deployment: Deployment, engine: dict[str, str], isolation: str, copied: bool
) -> None:
    """Files and directories in and out, on EFS and on a filesystem that the host mounts, shared and
    isolated, with inputs linked and copied."""
    if isolation == "strict":
        _need_namespaces(deployment.cloud)
    run = deployment.run(
        isolation_workflow.SOURCE,
        *isolation_workflow.make_inputs(deployment.root),
        *(["--copy-input-files"] if copied else []),
        env={**engine, "MINIWDL__AWS__ISOLATION": isolation},
    )
    isolation_workflow.check(run.outputs, deployment.root, copied)


def test_a_task_sees_nothing_else(strict: Deployment) -> None:
    """Beside its own files and inputs, an isolated task finds nothing on the shared filesystem; a
    task of the same run that is not isolated finds all of it."""
    (strict.root / "in.txt").write_text("in")
    (strict.root / "other.txt").write_text("other")
    run = strict.run(
        """
        version 1.1
        workflow w {
          input { File f  String root }
          call look as strict { input: f = f, root = root, isolation = "strict" }
          call look as shared { input: f = f, root = root, isolation = "shared" }
          call hinted { input: root = root }
          output {
            Array[String] strict_sees = strict.found
            Array[String] shared_sees = shared.found
            Array[String] hinted_sees = hinted.found
          }
        }
        task look {
          input { File f  String root  String isolation }
          command <<< cat "~{f}" > /dev/null; ls "~{root}" >>>
          output { Array[String] found = read_lines(stdout()) }
          runtime { isolation: isolation }
        }
        task hinted {
          input { String root }
          command <<< ls "~{root}" >>>
          output { Array[String] found = read_lines(stdout()) }
          runtime { aws: object { isolation: "strict" } }
        }
        """,
        f"f={strict.root}/in.txt",
        f"root={strict.root}",
    )
    assert run.outputs["w.strict_sees"] == ["runs"]
    assert run.outputs["w.hinted_sees"] == ["runs"]
    assert {"in.txt", "other.txt", "runs"} <= set(run.outputs["w.shared_sees"])


def test_each_attempt_has_files_of_its_own(strict: Deployment) -> None:
    """A retry of an isolated task finds its inputs, and nothing that the attempt before left; each
    attempt's streams are in the run directory, and its job definition is gone with it."""
    (strict.root / "in.txt").write_text("in")
    run = strict.run(
        """
        version 1.2
        task flaky {
          input { File f }
          command <<<
            echo "attempt ~{task.attempt}"
            echo "error ~{task.attempt}" >&2
            ls -A ..  >> seen
            cat "~{f}" >> seen
            echo evil > ../command.new
            [ ~{task.attempt} -ge 1 ]
          >>>
          output { String said = read_string(stdout())  File seen = "seen" }
          requirements { max_retries: 1 }
        }
        """,
        f"f={strict.root}/in.txt",
        env=STRICT,
    )
    assert run.outputs["flaky.said"] == "attempt 1"
    seen = Path(run.outputs["flaky.seen"]).read_text()
    ours = ["claim2", "command", "env.sh", "inputs", "stderr2.txt", "stdout2.txt"]
    assert seen.split() == [*ours, "task_status2.txt", "work", "in"]
    for number, suffix in enumerate(["", "2"]):
        assert (run.directory / f"stdout{suffix}.txt").read_text() == f"attempt {number}\n"
        assert (run.directory / f"stderr{suffix}.txt").read_text() == f"error {number}\n"
    names = {job["jobDefinition"].split("/")[-1].split(":")[0] for job in strict.jobs("flaky")}
    assert len(names) == 2
    for name in names:
        (definition,) = strict.batch.api.describe_job_definitions(jobDefinitionName=name)[
            "jobDefinitions"
        ]
        assert definition["status"] == "INACTIVE"


def test_a_task_cannot_loosen_its_isolation(strict: Deployment) -> None:
    """Where the deployment is strict, a task that asks to be shared is isolated all the same."""
    run = strict.run(
        """
        version 1.1
        task t {
          input { String root }
          command <<< ls "~{root}" >>>
          output { Array[String] found = read_lines(stdout()) }
          runtime { isolation: "shared" }
        }
        """,
        f"root={strict.root}",
        env=STRICT,
    )
    assert run.outputs["t.found"] == ["runs"]


def test_a_privileged_task_is_refused(deployment: Deployment) -> None:
    """It could undo its mounts; nothing is submitted for it."""
    run = deployment.run(
        """
        version 1.1
        task privileged_task {
          command <<< true >>>
          runtime { privileged: true }
        }
        """,
        env={**STRICT, "MINIWDL__TASK_RUNTIME__ALLOW_PRIVILEGED": "true"},
        fails=True,
    )
    assert "A privileged task could undo its isolation; take `privileged` out" in json.dumps(
        run.error
    )
    assert deployment.jobs("privileged_task") == []
