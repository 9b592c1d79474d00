"""Whole runs of miniwdl on the embedded AWS: what holds for every engine, and what is Batch's."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from batch_helper import Batch, wait_until
from engine_runs import Attempt, Deployment
from fargate_runs import ENGINES, FargateDeployment

from miniwdl_cloud.emulator.server import LocalCloud


@pytest.fixture
def deployment(cloud: LocalCloud, batch: Batch, tmp_path: Path) -> Iterator[Deployment]:
    """Queues and a directory of the shared filesystem for one test."""
    made = Deployment(cloud, batch, tmp_path)
    yield made
    made.close()


@pytest.fixture(params=ENGINES)
def each(
    request: pytest.FixtureRequest, cloud: LocalCloud, batch: Batch, tmp_path: Path
) -> Iterator[Deployment]:
    """What each engine runs tasks on, one after another."""
    made = ENGINES[request.param](cloud, batch, tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
def test_wdl_versions(each: Deployment, version: str) -> None:
    """Scatter, files in and out, read functions and runtime work in each WDL version."""
    section = "requirements" if version == "1.2" else "runtime"
    image = "container" if version != "1.0" else "docker"
    run = each.run(
        f"""
        version {version}
        workflow w {{
          input {{ Array[String] names }}
          scatter (name in names) {{ call greet {{ input: name = name }} }}
          call join {{ input: files = greet.out }}
          output {{ Array[String] lines = join.lines  Array[File] files = greet.out }}
        }}
        task greet {{
          input {{ String name }}
          command <<< echo "hello ~{{name}}" > greeting.txt >>>
          output {{ File out = "greeting.txt" }}
          {section} {{ {image}: "ubuntu:20.04"  cpu: 1  memory: "1 GiB" }}
        }}
        task join {{
          input {{ Array[File] files }}
          command <<< cat ~{{sep(" ", files)}} >>>
          output {{ Array[String] lines = read_lines(stdout()) }}
          {section} {{ {image}: "ubuntu:20.04" }}
        }}
        """.replace(
            '~{sep(" ", files)}', "~{sep=' ' files}" if version == "1.0" else '~{sep(" ", files)}'
        ),
        "names=Alice",
        "names=Bob",
    )
    assert run.outputs["w.lines"] == ["hello Alice", "hello Bob"]
    assert [Path(p).read_text() for p in run.outputs["w.files"]] == ["hello Alice\n", "hello Bob\n"]


def test_odd_names_and_contents(each: Deployment) -> None:
    """File names with spaces, quotes and non-ASCII letters, empty files, environment variables."""
    name = """it's "a" $test ü 日本.txt"""
    (each.root / name).write_text("content")
    (each.root / "empty").write_text("")
    run = each.run(
        """
        version 1.2
        task t {
          input { File odd  File empty  env String message }
          command <<<
            set -e
            cp '~{sub(odd, "'", "'\\\\''")}' "out $message é.txt"
            cp "~{empty}" still_empty
            printf '%s' "$message" > message
          >>>
          output {
            File out = glob("out *")[0]
            File still_empty = "still_empty"
            String said = read_string("message")
          }
        }
        """,
        f"odd={each.root / name}",
        f"empty={each.root / 'empty'}",
        "message=a 'b' \"c\" $d `e`",
    )
    assert Path(run.outputs["t.out"]).read_text() == "content"
    assert Path(run.outputs["t.still_empty"]).read_bytes() == b""
    assert run.outputs["t.said"] == "a 'b' \"c\" $d `e`"


def test_a_directory_reaches_the_next_task_as_a_link(each: Deployment) -> None:
    """A Directory output, which miniwdl links, shows its files to the next task's find."""
    run = each.run(
        """
        version 1.2
        workflow w {
          call make
          call look { dir = make.dir }
          output { Int files = look.files  Directory dir = make.dir }
        }
        task make {
          command <<< mkdir -p d/sub; echo 1 > d/a; echo 2 > d/sub/b >>>
          output { Directory dir = "d" }
        }
        task look {
          input { Directory dir }
          command <<< find "~{dir}" -type f | wc -l >>>
          output { Int files = read_int(stdout()) }
        }
        """
    )
    assert run.outputs["w.files"] == 2


def test_hundreds_of_outputs(each: Deployment) -> None:
    """A task may have hundreds of output files."""
    run = each.run(
        """
        version 1.1
        task t {
          command <<< for i in $(seq 300); do echo $i > f$i.txt; done >>>
          output { Array[File] out = glob("f*.txt") }
        }
        """
    )
    assert len(run.outputs["t.out"]) == 300


def test_call_cache_across_runs(each: Deployment) -> None:
    """A second run of the same task and inputs takes the outputs of the first; no job is made."""
    source = """
        version 1.1
        workflow w { input { String x } call cached_task { input: x = x }
          output { File f = cached_task.f } }
        task cached_task {
          input { String x }
          command <<< echo ~{x} > f >>>
          output { File f = "f" }
        }
        """
    env = {
        "MINIWDL__CALL_CACHE__PUT": "true",
        "MINIWDL__CALL_CACHE__GET": "true",
        "MINIWDL__CALL_CACHE__DIR": str(each.root / "cache"),
    }
    first = each.run(source, "x=1", env=env)
    second = each.run(source, "x=1", env=env)
    third = each.run(source, "x=2", env=env)
    assert Path(second.outputs["w.f"]).read_text() == Path(first.outputs["w.f"]).read_text()
    assert Path(third.outputs["w.f"]).read_text() == "2\n"
    assert len(each.attempts("cached_task")) == 2


def test_retries_keep_their_streams_apart(each: Deployment) -> None:
    """Each attempt has its own job, standard output and standard error, and finds its inputs."""
    (each.root / "in.txt").write_text("in")
    run = each.run(
        """
        version 1.2
        task flaky {
          input { File f }
          command <<<
            echo "out of attempt ~{task.attempt}"
            echo "err of attempt ~{task.attempt}" >&2
            cat "~{f}" > copy
            [ ~{task.attempt} -ge 2 ]
          >>>
          output { String said = read_string(stdout())  File copy = "copy" }
          requirements { max_retries: 3 }
        }
        """,
        f"f={each.root / 'in.txt'}",
    )
    assert run.outputs["flaky.said"] == "out of attempt 2"
    assert Path(run.outputs["flaky.copy"]).read_text() == "in"
    streams = {p.name: p.read_text() for p in run.directory.glob("std*.txt")}
    for number, suffix in enumerate(["", "2", "3"]):
        assert streams[f"stdout{suffix}.txt"] == f"out of attempt {number}\n"
        assert streams[f"stderr{suffix}.txt"] == f"err of attempt {number}\n"
    attempts = each.attempts("flaky")
    assert len({attempt.name for attempt in attempts}) == 3
    # On Fargate, tasks are isolated if nothing else is said.
    definitions = 3 if isinstance(each, FargateDeployment) else 1
    assert len({attempt.definition for attempt in attempts}) == definitions


def test_a_failed_command_is_reported(each: Deployment) -> None:
    """Exit code, streams, job id and log stream of a failed task are in error.json."""
    run = each.run(
        """
        version 1.1
        workflow w { call bad }
        task bad { command <<< echo on stderr >&2; exit 42 >>> output {} }
        """,
        fails=True,
    )
    assert run.exit_code == 42
    cause = run.error["cause"]
    assert cause["error"] == "CommandFailed"
    assert cause["exit_status"] == 42
    assert Path(cause["stderr_file"]).read_text() == "on stderr\n"
    (attempt,) = each.attempts("bad")
    assert cause["jobId"] == attempt.job_id
    assert re.search("/default/|miniwdl/task/", cause["logStreamName"])
    assert "on stderr" in run.stderr


def test_failure_terminates_siblings(each: Deployment) -> None:
    """When one call fails, the jobs of its running siblings are terminated."""
    started = time.monotonic()
    each.run(
        """
        version 1.1
        workflow w {
          scatter (i in range(5)) { call sleeper }
          call failing
        }
        task sleeper { command <<< sleep 600 >>> output {} }
        task failing { command <<< sleep 2; exit 1 >>> output {} }
        """,
        fails=True,
    )
    assert time.monotonic() - started < 120
    attempts = wait_until(
        lambda: _all_ended(each, "sleeper"), "the siblings' jobs to be terminated"
    )
    assert {attempt.status for attempt in attempts} <= {"FAILED", "STOPPED"}


def _all_ended(deployment: Deployment, name: str) -> list[Attempt] | None:
    attempts = deployment.attempts(name)
    return attempts if all(attempt.ended for attempt in attempts) else None


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_terminate_all_jobs(each: Deployment, sig: signal.Signals) -> None:
    """A signal to miniwdl leaves no job running."""
    process = each.start(
        """
        version 1.1
        workflow w { scatter (i in range(8)) { call sleeper } }
        task sleeper { command <<< sleep 600 >>> output {} }
        """
    )
    wait_until(
        lambda: sum(attempt.runs for attempt in each.attempts("sleeper")) == 8,
        "eight jobs to run",
    )
    os.kill(process.pid, sig)
    run = each.finish(process, fails=True)
    assert "aborting" in run.stderr
    attempts = wait_until(lambda: _all_ended(each, "sleeper"), "all jobs to be terminated")
    assert len(attempts) == 8


def test_a_command_killed_from_outside_is_not_a_success(each: Deployment) -> None:
    """A job that somebody terminates fails its task, with the reason given."""
    process = each.start(
        """
        version 1.1
        task sleeper { command <<< sleep 600 >>> output {} }
        """
    )
    (attempt,) = wait_until(lambda: [a for a in each.attempts("sleeper") if a.runs], "the job")
    each.end(attempt.job_id, "enough of this")
    run = each.finish(process, fails=True)
    assert "enough of this" in run.stderr


def test_resources_reach_the_job(deployment: Deployment) -> None:
    """cpu, memory, GPUs, timeout, tags and privilege are in the submitted job."""
    deployment.run(
        """
        version 1.1
        task big {
          command <<< true >>>
          output {}
          runtime { docker: "quay.io/lab/tool:1.0" cpu: 3 memory: "4 GiB" privileged: true }
        }
        """,
        env={
            "MINIWDL__AWS__JOB_TAGS": '{"lab": "mine"}',
            "MINIWDL__AWS__JOB_TIMEOUT": "777",
            "MINIWDL__TASK_RUNTIME__ALLOW_PRIVILEGED": "true",
            "AWS_BATCH_JOB_ID": "the-workflow-job",
        },
    )
    (job,) = deployment.jobs("big")
    assert job["timeout"] == {"attemptDurationSeconds": 777}
    assert job["tags"]["lab"] == "mine"
    assert job["tags"]["AWS_BATCH_PARENT_JOB_ID"] == "the-workflow-job"
    assert job["container"]["image"] == "quay.io/lab/tool:1.0"
    assert job["container"]["privileged"] is True
    assert job["container"]["resourceRequirements"] == [
        {"type": "VCPU", "value": "3"},
        {"type": "MEMORY", "value": str(4096 - 33)},
    ]


def test_accelerators(deployment: Deployment) -> None:
    """acceleratorType and acceleratorCount ask for GPUs."""
    deployment.run(
        """
        version 1.1
        task gpu_task {
          command <<< true >>>
          output {}
          runtime { acceleratorType: "nvidia-tesla-t4" acceleratorCount: 1 }
        }
        """
    )
    (job,) = deployment.jobs("gpu_task")
    assert {"type": "GPU", "value": "1"} in job["container"]["resourceRequirements"]


def test_too_much_is_rounded_down(deployment: Deployment) -> None:
    """A request above the queue's largest instance is rounded down, with a warning."""
    run = deployment.run(
        """
        version 1.1
        task huge {
          command <<< true >>>
          output {}
          runtime { cpu: 5000 memory: "90 TiB" }
        }
        """
    )
    assert "adjusted to host limit" in run.stderr
    (job,) = deployment.jobs("huge")
    values = {r["type"]: int(r["value"]) for r in job["container"]["resourceRequirements"]}
    # The test queue has 64 vCPUs of m5 and g4dn instances (conftest.py).
    assert values["VCPU"] == 64
    assert 200 * 1024 < values["MEMORY"] < 256 * 1024


def test_copied_inputs_can_be_changed(each: Deployment) -> None:
    """With --copy-input-files a task may change its inputs; the originals stay as they are."""
    (each.root / "x.txt").write_text("before")
    run = each.run(
        """
        version 1.1
        task change {
          input { File f }
          command <<< echo after > "~{f}"; cat "~{f}" >>>
          output { String now = read_string(stdout()) }
        }
        """,
        f"f={each.root / 'x.txt'}",
        "--copy-input-files",
    )
    assert run.outputs["change.now"] == "after"
    assert (each.root / "x.txt").read_text() == "before"


def test_as_me(each: Deployment) -> None:
    """--as-me runs the task's container as the user of miniwdl."""
    each.run(
        "version 1.1\ntask me_task { command <<< id >>> output {} }",
        "--as-me",
    )
    (attempt,) = each.attempts("me_task")
    assert attempt.user == f"{os.geteuid()}:{os.getegid()}"


def test_environment_and_shell(each: Deployment) -> None:
    """--env and command_shell work; values are not shown in the log."""
    run = each.run(
        """
        version 1.1
        task e {
          command <<< echo "$SECRET"; echo $- >>>
          output { Array[String] o = read_lines(stdout()) }
        }
        """,
        "--env",
        "SECRET=hidden treasure",
        env={"MINIWDL__TASK_RUNTIME__COMMAND_SHELL": "/bin/bash -x"},
    )
    said, flags = run.outputs["e.o"]
    assert said == "hidden treasure"
    assert "x" in flags


def test_spot_loss_is_an_interruption(deployment: Deployment) -> None:
    """After `preemptible` interruptions the fallback queue takes the task."""
    process = deployment.start(
        """
        version 1.1
        task spotty {
          command <<< [ -e "$FLAG" ] || { touch "$FLAG.waits"; sleep 600; } >>>
          output {}
          runtime { preemptible: 1 }
        }
        """,
        "--env",
        f"FLAG={deployment.root / 'flag'}",
        env={"MINIWDL__AWS__TASK_QUEUE_FALLBACK": deployment.fallback},
    )
    wait_until((deployment.root / "flag.waits").exists, "the command to begin")
    (job,) = deployment.jobs("spotty")
    (deployment.root / "flag").touch()
    # What Batch says when a spot instance is taken away (AWS_FACTS, section 3).
    deployment.batch.api.terminate_job(
        jobId=job["jobId"], reason="Host EC2 (instance i-0123456789abcdef0) terminated."
    )
    deployment.finish(process)
    first, second = sorted(deployment.jobs("spotty"), key=lambda j: j["createdAt"])
    assert first["jobQueue"].endswith(deployment.queue)
    assert second["jobQueue"].endswith(deployment.fallback)


def test_host_mounted_filesystem(deployment: Deployment) -> None:
    """`aws_batch_job_no_efs` mounts the host's directory instead of EFS."""
    run = deployment.run(
        """
        version 1.1
        task host_task { command <<< echo hi > x >>> output { File x = "x" } }
        """,
        env={"MINIWDL__SCHEDULER__CONTAINER_BACKEND": "aws_batch_job_no_efs"},
    )
    assert Path(run.outputs["host_task.x"]).read_text() == "hi\n"
    (job,) = deployment.jobs("host_task")
    (volume,) = job["container"]["volumes"]
    assert volume["host"] == {"sourcePath": str(deployment.cloud.filesystem)}


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"MINIWDL__AWS__TASK_QUEUE": ""}, "task_queue"),
        ({"MINIWDL__AWS__FSAP": ""}, "fsap"),
        ({"MINIWDL__AWS__FSAP": "fsap-00000000000000000"}, "does not exist"),
        ({"MINIWDL__AWS__TASK_QUEUE": "no-such-queue"}, "no-such-queue"),
        ({"MINIWDL__AWS__JOB_TIMEOUT": "soon"}, "MINIWDL__AWS__JOB_TIMEOUT"),
    ],
)
def test_wrong_settings_are_named(deployment: Deployment, env: dict[str, str], words: str) -> None:
    """A missing or wrong setting fails the run with a message that names it."""
    run = deployment.run(
        "version 1.1\ntask t { command <<< true >>> output {} }", env=env, fails=True
    )
    assert words in json.dumps(run.error)
    assert "Traceback" not in run.stderr


def test_job_details_are_kept(each: Deployment) -> None:
    """What Batch or ECS said of a job at its end lies in the task's run directory."""
    run = each.run("version 1.1\ntask kept { command <<< true >>> output {} }")
    (attempt,) = each.attempts("kept")
    assert each.kept_details(run) == {attempt.job_id}
