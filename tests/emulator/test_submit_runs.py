"""`miniwdl-aws-submit` with the real runner and engine, on the embedded AWS."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from batch_helper import wait_until
from submit_deployment import Deployment, queue
from submit_deployment import deployment as deployed

BIN = Path(sys.executable).parent
LIMIT_S = 200

ECHO = """
version 1.1
import "lib/tasks.wdl" as tasks
workflow echo {
  input {
    File f
    String s = "default"
  }
  call tasks.show { input: f = f, s = s }
  output { String shown = show.shown }
}
"""
TASKS = """
version 1.1
task show {
  input {
    File f
    String s
  }
  command { cat "~{f}"; echo " ~{s}" }
  output { String shown = read_string(stdout()) }
}
"""


class Cloud:
    """A deployment, and a person's command on it."""

    def __init__(self, deployment: Deployment, directory: Path) -> None:
        self.deployment = deployment
        self.directory = directory
        self.env = {
            **deployment.env,
            "PATH": f"{BIN}{os.pathsep}{os.defpath}",
            "HOME": str(directory),
            "MINIWDL__CALL_CACHE__GET": "false",
        }

    def start(self, *arguments: str, **env: str) -> subprocess.Popen[str]:
        """Start the command in the directory with the WDL."""
        return subprocess.Popen(
            [str(BIN / "miniwdl-aws-submit"), *arguments],
            cwd=self.directory,
            env={**self.env, **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # Tests that a shell runs in the background inherit that Ctrl-C is ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def submit(self, *arguments: str, **env: str) -> tuple[int, str, str]:
        """Run the command; its exit code, standard output and standard error."""
        process = self.start(*arguments, **env)
        try:
            out, err = process.communicate(timeout=LIMIT_S)
        finally:
            process.kill()
        return process.returncode, out, err

    def job(self, job_id: str) -> dict[str, Any]:
        """A job as Batch describes it."""
        jobs = self.deployment.client("batch").describe_jobs(jobs=[job_id])["jobs"]
        return dict(jobs[0])

    def outputs(self, name: str = "echo") -> dict[str, Any]:
        """The outputs of the last run of a workflow."""
        link = self.deployment.mount / "miniwdl_run" / "_LAST"
        assert name in link.resolve().name
        return dict(json.loads((link / "outputs.json").read_text()))

    def objects(self) -> dict[str, float]:
        """Keys of the staging bucket, and when each was written."""
        found = self.deployment.client("s3").list_objects_v2(Bucket=self.deployment.bucket)
        return {o["Key"]: o["LastModified"].timestamp() for o in found.get("Contents", [])}


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A deployment in an embedded AWS of its own."""
    with deployed(tmp_path_factory.mktemp("cloud")) as made:
        yield made


@pytest.fixture
def cloud(deployment: Deployment, tmp_path: Path) -> Cloud:
    """A directory with a workflow that imports another file, and an input."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "tasks.wdl").write_text(TASKS)
    (tmp_path / "echo.wdl").write_text(ECHO)
    (tmp_path / "in put.txt").write_text("content")
    return Cloud(deployment, tmp_path)


def on_mount(cloud: Cloud) -> Path:
    """An input file on the shared filesystem."""
    path = cloud.deployment.mount / "input.txt"
    path.write_text("on the mount")
    return path


def test_local_wdl_with_imports(cloud: Cloud) -> None:
    """A local WDL runs with what it imports; the job's id is alone on standard output; what was
    registered for it serves the next as well."""
    code, out, err = cloud.submit("echo.wdl", f"f={on_mount(cloud)}", "--follow")
    assert code == 0, err
    assert re.fullmatch(r"[0-9a-f-]{36}\n", out)
    assert cloud.outputs() == {"echo.shown": "on the mount default"}
    assert "workflow job" in err and "SUCCEEDED" in err
    assert "END OF LOG" not in err
    job = cloud.job(out.strip())
    assert job["jobName"].startswith("miniwdl_run_echo-")
    variables = {item["name"] for item in job["container"]["environment"]}
    assert "MINIWDL_CLOUD_WDL" in variables
    assert "MINIWDL_CLOUD_WDL_URI" not in variables
    assert re.search(r"/miniwdl-cloud-workflow-[0-9a-f]{24}:1$", job["jobDefinition"])
    code, out, err = cloud.submit("echo.wdl", "f=s3://b/x", "--name", "other", "--dry-run")
    assert [call["operation"] for call in json.loads(out)["requests"]] == ["SubmitJob"]


@pytest.mark.parametrize("how", ["argument", "inputs file"])
def test_local_input_file_is_staged(how: str, cloud: Cloud) -> None:
    """A local file goes to the staging location by its content, once, and the task reads it."""
    stage = f"s3://{cloud.deployment.bucket}/{how.replace(' ', '-')}"
    if how == "argument":
        arguments = ["f=in put.txt", "s=from argument"]
    else:
        (cloud.directory / "in.json").write_text('{"echo.f": "in put.txt", "echo.s": "from file"}')
        arguments = ["-i", "in.json"]
    code, _, err = cloud.submit("echo.wdl", *arguments, "--stage", stage, "--follow")
    assert code == 0, err
    expected = "from argument" if how == "argument" else "from file"
    assert cloud.outputs() == {"echo.shown": f"content {expected}"}
    before = cloud.objects()
    staged = [key for key in before if key.startswith(how[:6]) and key.endswith("/in put.txt")]
    assert len(staged) == 1
    if how == "argument":
        code, _, err = cloud.submit("echo.wdl", *arguments, "--stage", stage, "--wait")
        assert code == 0, err
        assert cloud.objects() == before


def test_local_directory_is_staged(cloud: Cloud) -> None:
    """A local directory reaches the task with all that is below it."""
    directory = cloud.directory / "reference data"
    (directory / "sub").mkdir(parents=True)
    (directory / "a.txt").write_text("a")
    (directory / "sub" / "b c.txt").write_text("b")
    (cloud.directory / "list.wdl").write_text(
        "version 1.2\ntask list {\n  input { Directory d }\n"
        "  command { cd '~{d}' && find . -type f | sort }\n"
        "  output { Array[String] found = read_lines(stdout()) }\n}\n"
    )
    stage = f"s3://{cloud.deployment.bucket}/directory"
    code, _, err = cloud.submit("list.wdl", "d=reference data", "--stage", stage, "--follow")
    assert code == 0, err
    assert cloud.outputs("list") == {"list.found": ["./a.txt", "./sub/b c.txt"]}


def long_wdl(size: int) -> str:
    """A workflow with a comment that hardly compresses."""
    noise = random.Random(size).randbytes(size // 2).hex()
    lines = "\n".join(f"# {noise[i : i + 90]}" for i in range(0, len(noise), 90))
    return f"version 1.1\n{lines}\nworkflow echo {{ output {{ String shown = 'long' }} }}\n"


def test_long_wdl_travels_in_tags(cloud: Cloud) -> None:
    """WDL that the environment does not hold goes into tags of the job and of its definition."""
    (cloud.directory / "echo.wdl").write_text(long_wdl(50000))
    code, out, err = cloud.submit("echo.wdl", "--follow")
    assert code == 0, err
    assert cloud.outputs() == {"echo.shown": "long"}
    job = cloud.job(out.strip())
    definition = cloud.deployment.client("batch").describe_job_definitions(
        jobDefinitions=[job["jobDefinition"]]
    )["jobDefinitions"][0]
    assert job["tags"]
    assert definition["tags"]


def test_longest_wdl_travels_by_staging(cloud: Cloud) -> None:
    """WDL that fits nowhere is an error (123) without a staging location, and runs with one."""
    (cloud.directory / "echo.wdl").write_text(long_wdl(120000))
    code, out, err = cloud.submit("echo.wdl", "--wait")
    assert (code, out) == (123, "")
    assert "--stage s3://" in err and "Traceback" not in err
    stage = f"s3://{cloud.deployment.bucket}/long"
    code, out, err = cloud.submit("echo.wdl", "--follow", MINIWDL__AWS__STAGE_URI=stage)
    assert code == 0, err
    assert cloud.outputs() == {"echo.shown": "long"}


def test_filesystem_of_the_hosts(cloud: Cloud) -> None:
    """Without EFS, workflow and tasks use what the hosts mount, on EC2."""
    made = cloud.deployment
    queue(made.client("batch"), "on-ec2", "ec2", {"DefaultTaskQueue": made.task_queue})
    options = ["--no-efs", "--mount", str(made.mount), "--workflow-queue", "on-ec2"]
    code, out, err = cloud.submit("echo.wdl", f"f={on_mount(cloud)}", *options, "--follow")
    assert code == 0, err
    assert cloud.outputs() == {"echo.shown": "on the mount default"}
    assert "host" in cloud.job(out.strip())["container"]["volumes"][0]


def test_zip(cloud: Cloud) -> None:
    """An archive of `miniwdl zip` runs, with its own inputs."""
    (cloud.directory / "in.json").write_text(f'{{"echo.f": "{on_mount(cloud)}"}}')
    subprocess.run(
        [str(BIN / "miniwdl"), "zip", "-o", "made.zip", "-i", "in.json", "echo.wdl"],
        cwd=cloud.directory,
        env=cloud.env,
        check=True,
        timeout=LIMIT_S,
    )
    code, _, err = cloud.submit("made.zip", "s=zipped", "--follow")
    assert code == 0, err
    assert cloud.outputs() == {"echo.shown": "on the mount zipped"}


def test_wdl_on_the_mount_with_a_long_inputs_file(cloud: Cloud) -> None:
    """WDL on the mount is passed on; a long local inputs file reaches it by staging."""
    for name in ("echo.wdl", "lib/tasks.wdl"):
        path = cloud.deployment.mount / "wdl" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text((cloud.directory / name).read_text())
    (cloud.directory / "in.json").write_text(
        json.dumps({"echo.f": str(on_mount(cloud)), "echo.s": "x" * 20000})
    )
    wdl = str(cloud.deployment.mount / "wdl" / "echo.wdl")
    code, _, err = cloud.submit(wdl, "-i", "in.json")
    assert code == 123
    assert "inputs file is too large" in err
    stage = f"s3://{cloud.deployment.bucket}/inputs"
    code, _, err = cloud.submit(wdl, "-i", "in.json", "--stage", stage, "--wait")
    assert code == 0, err
    assert cloud.outputs()["echo.shown"].endswith("x" * 20000)


def test_exit_code_of_a_failed_run(cloud: Cloud) -> None:
    """The exit code is miniwdl's, and the log shows the error."""
    (cloud.directory / "bad.wdl").write_text(
        "version 1.1\ntask bad {\n  command { echo sorry >&2; exit 7 }\n}\n"
    )
    code, out, err = cloud.submit("bad.wdl", "--follow")
    job = cloud.job(out.strip())
    assert code == job["container"]["exitCode"] != 0
    assert "exit status" in err or "CommandFailed" in err


def test_directory_environment_and_tags(cloud: Cloud) -> None:
    """--dir is used; MINIWDL__ variables pass unless --no-env; job tags are on the workflow job."""
    directory = cloud.deployment.mount / "elsewhere"
    variables = {"MINIWDL__TASK_RUNTIME__CPU_MAX": "2", "MINIWDL__AWS__JOB_TAGS": '{"Owner": "me"}'}
    arguments = ["echo.wdl", f"f={on_mount(cloud)}", "--dir", str(directory), "--wait"]
    code, out, err = cloud.submit(*arguments, **variables)
    assert code == 0, err
    assert [path.name for path in directory.iterdir() if path.name.endswith("_echo")]
    job = cloud.job(out.strip())
    names = {item["name"] for item in job["container"]["environment"]}
    assert "MINIWDL__TASK_RUNTIME__CPU_MAX" in names
    assert "MINIWDL__AWS__WORKFLOW_QUEUE" not in names
    assert job["tags"]["Owner"] == "me"
    code, out, err = cloud.submit(*arguments, "--no-env", "--dry-run", **variables)
    assert code == 0, err
    assert "MINIWDL__TASK_RUNTIME__CPU_MAX" not in out


def test_without_waiting(cloud: Cloud) -> None:
    """Without --wait the command ends once the job is submitted."""
    (cloud.directory / "slow.wdl").write_text(
        "version 1.1\ntask slow {\n  command { sleep 300 }\n}\n"
    )
    code, out, _ = cloud.submit("slow.wdl", "--name", "my slow run")
    assert code == 0
    job = cloud.job(out.strip())
    assert job["jobName"].startswith("my_slow_run-")
    assert job["status"] not in ("SUCCEEDED", "FAILED")
    cloud.deployment.client("batch").terminate_job(jobId=out.strip(), reason="test is over")


def test_interrupt_leaves_the_job_running(cloud: Cloud) -> None:
    """Ctrl-C while following prints how to terminate the job, which goes on; exit code 130."""
    (cloud.directory / "slow.wdl").write_text(
        "version 1.1\ntask slow {\n  command { sleep 300 }\n}\n"
    )
    process = cloud.start("slow.wdl", "--follow")
    try:
        assert process.stdout is not None
        job_id = process.stdout.readline().strip()
        deadline = time.monotonic() + LIMIT_S
        while cloud.job(job_id)["status"] != "RUNNING":
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=LIMIT_S)
    finally:
        process.kill()
    assert process.returncode == 130
    assert f"--job-id {job_id}" in err and "aws batch terminate-job" in err
    assert "Traceback" not in err
    assert cloud.job(job_id)["status"] == "RUNNING"
    cloud.deployment.client("batch").terminate_job(jobId=job_id, reason="test is over")


def test_dry_run_is_what_would_be_sent(cloud: Cloud) -> None:
    """--dry-run prints uploads and requests, sends nothing, and the requests are valid."""
    stage = f"s3://{cloud.deployment.bucket}/dry"
    before, jobs = cloud.objects(), len(cloud.deployment.jobs())
    arguments = ["echo.wdl", "f=in put.txt", "--image", "other:1", "--stage", stage, "--dry-run"]
    code, out, err = cloud.submit(*arguments)
    assert code == 0, err
    assert cloud.objects() == before
    assert len(cloud.deployment.jobs()) == jobs
    calls = json.loads(out)["requests"]
    assert [call["operation"] for call in calls] == [
        "PutObject",
        "PutObject",
        "RegisterJobDefinition",
        "SubmitJob",
    ]
    assert calls[0]["file"] == str(cloud.directory / "in put.txt")
    batch = cloud.deployment.client("batch")
    batch.register_job_definition(**calls[2]["request"])
    code, out, _ = cloud.submit(*arguments)
    assert "RegisterJobDefinition" not in out
    job_id = batch.submit_job(**calls[3]["request"])["jobId"]
    batch.terminate_job(jobId=job_id, reason="test is over")


def test_container_that_does_not_start(cloud: Cloud) -> None:
    """A workflow job whose container cannot start ends with the container's reason."""
    wdl = "https://host/echo.wdl"
    code, out, err = cloud.submit(wdl, "--mount", "/not/the/mount", "--follow")
    assert code == 70
    reason = cloud.job(out.strip())["container"]["reason"]
    assert reason in err
    assert "failed without an exit code" in err
    assert "Traceback" not in err


SURVIVORS = """
version 1.1
workflow survivors {
  input { String notes }
  scatter (i in range(12)) { call work { input: i, notes } }
  output { Array[Int] squares = work.square }
}
task work {
  input { Int i  String notes }
  command <<<
    echo "start ~{i}" >> "~{notes}"
    until [ -e "~{notes}.gate" ]; do sleep 0.1; done
    echo $((~{i} * ~{i}))
  >>>
  output { Int square = read_int(stdout()) }
  runtime { preemptible: 0 }
}
"""


def kill_job(job_id: str) -> None:
    """SIGKILL to every process of a job."""
    variable = f"AWS_BATCH_JOB_ID={job_id}".encode()
    for process in Path("/proc").iterdir():
        try:
            variables = (process / "environ").read_bytes().split(b"\0")
            if process.name.isdecimal() and variable in variables:
                os.kill(int(process.name), signal.SIGKILL)
        except OSError:
            continue  # it has ended


def test_tasks_outlive_a_workflow_job_that_is_killed(cloud: Cloud) -> None:
    """The same command with --adopt takes over what still runs; nothing runs twice, and nothing is
    left."""
    (cloud.directory / "survivors.wdl").write_text(SURVIVORS)
    notes = cloud.deployment.mount / "survivors"
    arguments = ("survivors.wdl", f"notes={notes}")
    env = {"MINIWDL__CALL_CACHE__GET": "true", "MINIWDL__CALL_CACHE__PUT": "true"}

    def lines() -> list[str]:
        return sorted(notes.read_text().splitlines()) if notes.exists() else []

    code, first, err = cloud.submit(*arguments, **env)
    assert code == 0, err
    wait_until(lambda: len(lines()) == 12, "12 tasks to begin")
    kill_job(first.strip())
    wait_until(lambda: cloud.job(first.strip())["status"] == "FAILED", "its end")
    rerun = cloud.start(*arguments, "--adopt", "--wait", **env)
    try:
        assert rerun.stdout is not None
        second = rerun.stdout.readline().strip()
        wait_until(lambda: cloud.job(second)["status"] == "RUNNING", "the second run")
        notes.with_name("survivors.gate").touch()
        _, err = rerun.communicate(timeout=LIMIT_S)
    finally:
        rerun.kill()
    assert rerun.returncode == 0, err
    assert cloud.outputs("survivors") == {"survivors.squares": [i * i for i in range(12)]}
    assert lines() == sorted(f"start {i}" for i in range(12))
    open_jobs = [
        job["jobName"]
        for status in ("SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING")
        for job in cloud.deployment.client("batch").list_jobs(
            jobQueue=cloud.deployment.task_queue, jobStatus=status
        )["jobSummaryList"]
    ]
    assert open_jobs == []
    leases = cloud.deployment.mount / "miniwdl_run" / "_ACCOUNTS"
    assert [path for path in leases.iterdir() if not path.name.startswith(".")] == []
