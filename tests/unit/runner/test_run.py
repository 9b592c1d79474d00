"""miniwdl-run-s3upload around a stand-in for `miniwdl run`, uploading to moto's S3."""

from __future__ import annotations

import json
import signal
import threading
from pathlib import Path
from typing import IO

import pytest

from miniwdl_cloud.runner.signals import END_OF_LOG

from .conftest import Result, Runner

RUN = "20260101_000000_wf"
ONE_OUTPUT = """
succeed(text=out("text", made("a.txt")))
"""
COMMAND_FAILED = """
stderr, stdout = run_dir / "call-t" / "stderr.txt", run_dir / "call-t" / "stdout.txt"
stderr.parent.mkdir()
stderr.write_text("it broke")
stdout.write_text("so far")
fail(7, error="RunFailed", cause={"error": "CommandFailed", "exit_status": 7,
     "stderr_file": str(stderr), "stdout_file": str(stdout)})
"""


def ends_the_log(result: Result) -> bool:
    return result.stderr.rstrip("\n").splitlines()[-1] == END_OF_LOG


def test_success(runner: Runner) -> None:
    """Log, outputs and outputs.json are uploaded below the run's name, and printed."""
    result = runner.run(ONE_OUTPUT, "--s3upload", f"s3://{runner.bucket}/results", "x.wdl")
    assert result.code == 0, result.stderr
    place = f"s3://{runner.bucket}/results/{RUN}/"
    outputs = {"wf.text": place + "text/a.txt"}
    objects = runner.objects()
    assert set(objects) == {
        f"results/{RUN}/{name}"
        for name in ("workflow.log", "report.html", "text/a.txt", "outputs.json")
    }
    assert objects[f"results/{RUN}/text/a.txt"] == b"content"
    assert json.loads(objects[f"results/{RUN}/outputs.json"]) == outputs
    assert json.loads((runner.run_dir / "outputs.s3.json").read_text()) == outputs
    local, uploaded = result.documents
    assert local["dir"] == str(runner.run_dir)
    assert uploaded == {"s3upload": place, "outputs": outputs, "dir": str(runner.run_dir)}
    assert ends_the_log(result)


def test_report(runner: Runner) -> None:
    """The report is written beside the log, and uploaded."""
    result = runner.run(ONE_OUTPUT, "--s3upload", f"s3://{runner.bucket}/r")
    assert result.code == 0, result.stderr
    page = (runner.run_dir / "report.html").read_bytes()
    assert b"Run report" in page and runner.objects()[f"r/{RUN}/report.html"] == page


def test_no_report(runner: Runner) -> None:
    """A run does not fail for want of a report; its log says why there is none."""
    blocked = '(run_dir / "report.html").mkdir()\n'
    result = runner.run(blocked + ONE_OUTPUT, "--s3upload", f"s3://{runner.bucket}/r")
    assert result.code == 0, result.stderr
    assert "warning: there is no report of the run: IsADirectoryError" in result.stderr
    assert f"r/{RUN}/outputs.json" in runner.objects()
    assert f"r/{RUN}/report.html" not in runner.objects()


def test_arguments_pass_through(runner: Runner) -> None:
    """What is not ours reaches miniwdl in order, with --error-json; the rest by environment."""
    result = runner.run(
        *(ONE_OUTPUT, "w.wdl", "a=1", "--task-queue", "q", "--adopt"),
        *("--verbose", "b= 2", "-i", "x.json"),
    )
    assert result.code == 0, result.stderr
    arguments = json.loads((runner.run_dir / "arguments.json").read_text())
    assert arguments == [
        *("run", "w.wdl", "a=1", "--verbose", "b= 2", "-i", "x.json"),
        *("--dir", str(runner.runs), "--error-json"),
    ]
    environ = json.loads((runner.run_dir / "environ.json").read_text())
    assert environ["MINIWDL__AWS__TASK_QUEUE"] == "q"
    assert environ["MINIWDL__AWS__ADOPT"] == "true"
    assert runner.objects() == {}
    assert len(result.documents) == 1
    assert ends_the_log(result)


def test_folder_with_slash(runner: Runner) -> None:
    """With a slash at its end, the folder itself receives the files."""
    result = runner.run(
        ONE_OUTPUT, environ={"MINIWDL__AWS__S3_UPLOAD_FOLDER": f"s3://{runner.bucket}/here/"}
    )
    assert result.code == 0, result.stderr
    assert set(runner.objects()) == {
        "here/workflow.log",
        "here/report.html",
        "here/text/a.txt",
        "here/outputs.json",
    }


@pytest.mark.parametrize(("ending", "prefix"), [("", f"{RUN}/"), ("/", "")])
def test_whole_bucket(runner: Runner, ending: str, prefix: str) -> None:
    """The same rule holds for a bucket without a folder."""
    result = runner.run(ONE_OUTPUT, "--s3upload", f"s3://{runner.bucket}{ending}")
    assert result.code == 0, result.stderr
    assert f"{prefix}outputs.json" in runner.objects()
    assert result.documents[1]["outputs"] == {"wf.text": f"s3://{runner.bucket}/{prefix}text/a.txt"}


def test_command_failed(runner: Runner) -> None:
    """A failed run leaves its log, error.json and the command's streams; no outputs.json."""
    result = runner.run(COMMAND_FAILED, "--s3upload", f"s3://{runner.bucket}/r")
    assert result.code == 7
    objects = {key.split("/")[-1]: content for key, content in runner.objects().items()}
    assert set(objects) == {
        "workflow.log",
        "report.html",
        "error.json",
        "CommandFailed_stderr.txt",
        "CommandFailed_stdout.txt",
    }
    assert objects["CommandFailed_stderr.txt"] == b"it broke"
    cause = json.loads(objects["error.json"])["cause"]
    assert cause["stderr_s3file"] == f"s3://{runner.bucket}/r/{RUN}/CommandFailed_stderr.txt"
    assert cause["stdout_s3file"] == f"s3://{runner.bucket}/r/{RUN}/CommandFailed_stdout.txt"
    assert ends_the_log(result)


def test_error_json_cannot_name_a_foreign_file(runner: Runner) -> None:
    """A stream outside the run directory is not uploaded, whatever error.json says."""
    secret = runner.tmp_path / "secret"
    secret.write_text("mine")
    body = f"""
    (run_dir / "link").symlink_to({str(secret)!r})
    fail(3, cause={{"stderr_file": {str(secret)!r}, "stdout_file": str(run_dir / "link")}})
    """
    result = runner.run(body, "--s3upload", f"s3://{runner.bucket}/r")
    assert result.code == 3
    assert b"mine" not in runner.objects().values()


@pytest.mark.parametrize("body", [ONE_OUTPUT, COMMAND_FAILED], ids=["success", "failure"])
@pytest.mark.parametrize("when", [None, "success", "failure", "always", "Always"])
def test_delete_after(runner: Runner, body: str, when: str | None) -> None:
    """The run directory goes exactly when asked, and the exit code stays miniwdl's."""
    arguments = ["--delete-after", when] if when else []
    result = runner.run(body, "--s3upload", f"s3://{runner.bucket}/r", *arguments)
    ended = "success" if body == ONE_OUTPUT else "failure"
    assert result.code == (0 if ended == "success" else 7)
    deleted = when is not None and when.lower() in (ended, "always")
    assert runner.run_dir.exists() == (not deleted)
    assert [path.name for path in runner.runs.iterdir()] == ([] if deleted else [RUN])
    assert f"r/{RUN}/workflow.log" in runner.objects()


@pytest.mark.parametrize(
    "name", ["MINIWDL__AWS__DELETE_AFTER_S3_UPLOAD", "MINIWDL__AWS__S3_UPLOAD_DELETE_AFTER"]
)
def test_delete_after_by_environment(runner: Runner, name: str) -> None:
    """Both spellings of the setting work, and a folder set in a .cfg file satisfies it."""
    cfg = runner.tmp_path / "my.cfg"
    cfg.write_text(f"[aws]\ns3_upload_folder = s3://{runner.bucket}/r\n")
    result = runner.run(ONE_OUTPUT, "--cfg", str(cfg), environ={name: "success"})
    assert result.code == 0, result.stderr
    assert not runner.run_dir.exists()
    assert f"r/{RUN}/outputs.json" in runner.objects()


def test_a_directory_that_holds_more_is_not_deleted(runner: Runner) -> None:
    """A run directory that contains the filesystem's root stays."""
    result = runner.run(
        ONE_OUTPUT,
        *("--s3upload", f"s3://{runner.bucket}/r", "--delete-after", "always"),
        environ={"MINIWDL__FILE_IO__ROOT": str(runner.run_dir)},
    )
    assert result.code == 0, result.stderr
    assert runner.run_dir.exists()
    assert "not deleting" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "environ", "message", "code"),
    [
        (
            ["--delete-after", "success"],
            {},
            "--delete-after (MINIWDL__AWS__DELETE_AFTER_S3_UPLOAD) needs an upload folder; set"
            " --s3upload or MINIWDL__AWS__S3_UPLOAD_FOLDER.",
            64,
        ),
        (
            ["--delete-after", "sometimes", "--s3upload", "s3://bucket/r"],
            {},
            "--delete-after (MINIWDL__AWS__DELETE_AFTER_S3_UPLOAD) should be success, failure or"
            " always, not 'sometimes'; correct it.",
            64,
        ),
        (
            ["--s3upload", "bucket/r"],
            {},
            "'bucket/r' is not an S3 location; write it as s3://bucket/folder.",
            64,
        ),
        (
            ["--s3upload", "s3://no-such-bucket/r"],
            {},
            "The bucket 'no-such-bucket' of the upload folder s3://no-such-bucket/r does not"
            " exist; name one that does.",
            69,
        ),
        (
            ["--s3upload", "s3://bucket/r"],
            {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""},
            "No AWS credentials were found while uploading"
            " s3://bucket/r/.test.miniwdl-run-s3upload; run `aws configure`, or set"
            " AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
            77,
        ),
        (
            ["--s3upload", "s3://bucket/r"],
            {"AWS_DEFAULT_REGION": ""},
            "No AWS Region is configured; set AWS_DEFAULT_REGION, or `region` in your AWS"
            " configuration file.",
            78,
        ),
        (
            ["@shipped-wdl"],
            {},
            "No WDL source code came with this job, though its command asks for it"
            " (@shipped-wdl); submit it with miniwdl-aws-submit.",
            78,
        ),
        (
            ["s3://no-such-bucket/x.wdl"],
            {},
            "There is no s3://no-such-bucket/x.wdl; correct its name.",
            69,
        ),
        (["--s3upload"], {}, "argument --s3upload: expected one argument; see", 64),
    ],
)
def test_mistakes(
    runner: Runner, arguments: list[str], environ: dict[str, str], message: str, code: int
) -> None:
    """A mistake is one sentence and an exit code of its kind, before miniwdl is started."""
    result = runner.run(ONE_OUTPUT, *arguments, environ=environ)
    assert result.code == code, result.stderr
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    assert not runner.run_dir.exists()
    assert ends_the_log(result)


def test_miniwdl_failed_before_its_run(runner: Runner) -> None:
    """Without a run directory there is nothing to upload; miniwdl's exit code stands."""
    body = """
    print(json.dumps({"error": "InputError", "message": "missing required inputs"}))
    sys.exit(2)
    """
    result = runner.run(body, "--s3upload", f"s3://{runner.bucket}/r")
    assert result.code == 2
    assert "there is no run directory to upload" in result.stderr
    assert runner.objects() == {}


def test_success_without_a_report(runner: Runner) -> None:
    """A success that names no run directory is not passed off as uploaded."""
    result = runner.run("print('strange')", "--s3upload", f"s3://{runner.bucket}/r")
    assert result.code == 78
    assert "Nothing was uploaded, because miniwdl did not name its run directory" in result.stderr


def test_only_printing_inputs(runner: Runner) -> None:
    """`miniwdl run --json` has no run directory, and that is no failure."""
    result = runner.run("print('{}')", "--json", "--s3upload", f"s3://{runner.bucket}/r")
    assert result.code == 0, result.stderr


def test_report_in_a_file(runner: Runner) -> None:
    """With miniwdl's option -o the report is read from there."""
    body = """
    import contextlib
    with open(arguments[arguments.index("-o") + 1], "w") as f, contextlib.redirect_stdout(f):
        succeed(n=1)
    """
    report = runner.tmp_path / "report.json"
    result = runner.run(body, "-o", str(report), "--s3upload", f"s3://{runner.bucket}/r")
    assert result.code == 0, result.stderr
    assert json.loads(runner.objects()[f"r/{RUN}/outputs.json"]) == {"wf.n": 1}


def test_failed_upload(runner: Runner) -> None:
    """When an output cannot be uploaded there is no outputs.json, and nothing is deleted."""
    body = """
    gone = out("gone", made("gone.txt"))
    kept = out("kept", made("kept.txt"))
    Path(gone).resolve().unlink()
    succeed(gone=gone, kept=kept)
    """
    result = runner.run(body, "--s3upload", f"s3://{runner.bucket}/r", "--delete-after", "always")
    assert result.code == 78
    assert "The output 'gone/gone.txt' is missing" in result.stderr
    assert f"r/{RUN}/outputs.json" not in runner.objects()
    assert not (runner.run_dir / "outputs.s3.json").exists()
    assert runner.run_dir.exists()
    assert len(result.documents) == 1
    assert ends_the_log(result)


def test_bucket_lost_during_the_run(runner: Runner) -> None:
    """An upload that AWS refuses is one sentence and its exit code; a failed run keeps its own."""
    body = f"""
    import boto3
    s3 = boto3.client("s3")
    for item in s3.list_objects_v2(Bucket={runner.bucket!r})["Contents"]:
        s3.delete_object(Bucket={runner.bucket!r}, Key=item["Key"])
    s3.delete_bucket(Bucket={runner.bucket!r})
    """
    upload = ("--s3upload", f"s3://{runner.bucket}/r", "--delete-after", "always")
    result = runner.run(body + ONE_OUTPUT.strip(), *upload)
    assert result.code == 69
    assert "Not found while uploading" in result.stderr
    assert "Traceback" not in result.stderr
    assert runner.run_dir.exists()
    runner.run_dir.rename(runner.run_dir.with_name("first"))
    runner.s3.create_bucket(Bucket=runner.bucket)
    result = runner.run(body + "fail(5, error='x')", *upload)
    assert result.code == 5
    assert "Not found while uploading" in result.stderr
    assert runner.run_dir.exists()


def test_default_cfg(runner: Runner) -> None:
    """Our .cfg file is given to miniwdl only where the user has none."""

    def given(*arguments: str, **environ: str) -> str | None:
        result = runner.run(ONE_OUTPUT, *arguments, environ=environ)
        assert result.code == 0, result.stderr
        found = json.loads((runner.run_dir / "environ.json").read_text()).get("MINIWDL_CFG")
        runner.run_dir.rename(runner.runs / f"old{len(list(runner.runs.iterdir()))}")
        return str(found) if found else None

    default = given()
    assert default and Path(default).name == "miniwdl_cloud.cfg" and Path(default).is_file()
    own = runner.tmp_path / "own.cfg"
    own.write_text("[aws]\nregion = eu-west-1\n")
    assert given("--cfg", str(own)) is None
    assert given(f"--cfg={own}") is None
    assert given(MINIWDL_CFG=str(own)) == str(own)
    (runner.tmp_path / ".config").mkdir()
    own.rename(runner.tmp_path / ".config" / "miniwdl.cfg")
    assert given() is None


def test_source_and_inputs_from_s3(runner: Runner) -> None:
    """WDL and inputs JSON in S3 are fetched first; an input's own location is left alone."""
    for key in ("wf.wdl", "in.json"):
        runner.s3.put_object(Bucket=runner.bucket, Key=f"src/{key}", Body=key.encode())
    place = f"s3://{runner.bucket}/src"
    body = """
    positional = arguments[1]
    option = arguments[arguments.index("-i") + 1]
    succeed(wdl=Path(positional).read_text(), inputs=Path(option).read_text(), rest=arguments)
    """
    result = runner.run(body, f"{place}/wf.wdl", "x=", f"{place}/y", "-i", f"{place}/in.json")
    assert result.code == 0, result.stderr
    outputs = result.documents[0]["outputs"]
    assert (outputs["wf.wdl"], outputs["wf.inputs"]) == ("wf.wdl", "in.json")
    assert outputs["wf.rest"][2:4] == ["x=", f"{place}/y"]


def await_line(stream: IO[str], text: str) -> None:
    """Read lines until one contains the text; fails when the stream ends before."""
    seen = []
    for line in stream:
        seen.append(line)
        if text in line:
            return
    raise AssertionError(f"no line with {text!r} in {seen}")


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
def test_signal_reaches_miniwdl(runner: Runner, signum: signal.Signals) -> None:
    """miniwdl gets the signal and ends the run; its exit code and its log survive."""
    body = """
    got = []
    for s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(s, lambda n, _: got.append(n))
    print("ready", file=sys.stderr, flush=True)
    deadline = time.monotonic() + 60
    while not got and time.monotonic() < deadline:
        time.sleep(0.01)
    fail(2, error="Terminated", got=got)
    """
    process = runner.start(body, "--s3upload", f"s3://{runner.bucket}/r")
    assert process.stderr
    await_line(process.stderr, "ready")
    process.send_signal(signum)
    stdout, stderr = process.communicate(timeout=60)
    result = Result(process.returncode, stdout, stderr)
    assert result.code == 2, stderr
    assert json.loads(runner.objects()[f"r/{RUN}/error.json"])["got"] == [signum]
    assert f"r/{RUN}/workflow.log" in runner.objects()
    assert ends_the_log(result)


def test_signal_that_ends_miniwdl(runner: Runner) -> None:
    """Where miniwdl dies of the signal the exit code is 128 and the first signal's number."""
    body = """
    print("ready", file=sys.stderr, flush=True)
    time.sleep(60)
    """
    process = runner.start(body, "--s3upload", f"s3://{runner.bucket}/r")
    assert process.stderr
    await_line(process.stderr, "ready")
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert stderr.rstrip().endswith(END_OF_LOG)


def test_second_signal(runner: Runner) -> None:
    """A second signal, of another kind, changes nothing."""
    body = """
    got = []
    for s in (signal.SIGTERM, signal.SIGINT):
        signal.signal(s, lambda n, _: got.append(n))
    print("ready", file=sys.stderr, flush=True)
    deadline = time.monotonic() + 60
    for count in (1, 2):
        while len(got) < count and time.monotonic() < deadline:
            time.sleep(0.01)
        print("got", *got, file=sys.stderr, flush=True)
    fail(2, got=got)
    """
    process = runner.start(body, "--s3upload", f"s3://{runner.bucket}/r")
    assert process.stderr
    await_line(process.stderr, "ready")
    process.send_signal(signal.SIGTERM)
    await_line(process.stderr, "got 15")
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 2, stderr
    assert json.loads(runner.objects()[f"r/{RUN}/error.json"])["got"] == [15, 2]
    assert stderr.rstrip().endswith(END_OF_LOG)


def test_signal_during_upload(runner: Runner) -> None:
    """A signal while outputs go up ends the upload: no outputs.json, nothing deleted, 143."""
    body = """
    big = made("big.bin")
    with open(big, "wb") as f:
        f.truncate(3_000_000_000)
    succeed(big=out("big", big))
    """
    process = runner.start(
        body, "--s3upload", f"s3://{runner.bucket}/r", "--delete-after", "always"
    )
    assert process.stderr
    await_line(process.stderr, "uploading 1 output files")
    process.send_signal(signal.SIGTERM)
    killer = threading.Timer(120, process.kill)
    killer.start()
    _, stderr = process.communicate()
    killer.cancel()
    assert process.returncode == 128 + signal.SIGTERM, stderr
    assert "SIGTERM ended the command; nothing is deleted" in stderr
    assert set(runner.objects()) == {f"r/{RUN}/workflow.log", f"r/{RUN}/report.html"}
    assert runner.run_dir.exists()
    assert stderr.rstrip().endswith(END_OF_LOG)


def test_help(runner: Runner) -> None:
    """--help describes our options and ends in success."""
    result = runner.run(ONE_OUTPUT, "--help")
    assert result.code == 0
    for option in ("--s3upload", "--delete-after", "--task-queue"):
        assert option in result.stdout
