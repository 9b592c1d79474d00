"""A moto S3 to upload to, and a stand-in for the `miniwdl` command."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

PRELUDE = """
import json, os, signal, sys, time
from pathlib import Path

arguments = sys.argv[1:]
parent = Path(arguments[arguments.index("--dir") + 1])
run_dir = parent / "20260101_000000_wf"
run_dir.mkdir()
(run_dir / "workflow.log").write_text("the log\\n")
(run_dir / "arguments.json").write_text(json.dumps(arguments))
(run_dir / "environ.json").write_text(json.dumps(dict(os.environ)))

def made(path, content=b"content"):
    path = run_dir / "call-t" / "work" / path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path

def out(name, target, mark_directory=False):
    link = run_dir / "out" / name / Path(target).name
    link.parent.mkdir(parents=True)
    link.symlink_to(target)
    if mark_directory:
        (link.parent / ".WDL_Directory").touch()
    return str(link)

def succeed(**outputs):
    (run_dir / "out").mkdir(exist_ok=True)
    print(json.dumps({"dir": str(run_dir),
                      "outputs": {"wf." + k: v for k, v in outputs.items()}}, indent=2))

def fail(code, **error):
    (run_dir / "error.json").write_text(json.dumps(error))
    print(json.dumps({"dir": str(run_dir), **error}))
    sys.exit(code)

"""


@dataclass
class Result:
    """How `miniwdl-run-s3upload` ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def documents(self) -> list[Any]:
        """The JSON documents on standard output."""
        decoder, found, text = json.JSONDecoder(), [], self.stdout.strip()
        while text:
            document, end = decoder.raw_decode(text)
            found.append(document)
            text = text[end:].strip()
        return found


@dataclass
class Runner:
    """Runs the command with a stand-in for `miniwdl`, in a process of its own."""

    tmp_path: Path
    bucket: str
    environ: dict[str, str]
    endpoint: str
    runs: Path = field(init=False)

    def __post_init__(self) -> None:
        self.runs = self.tmp_path / "runs"
        self.runs.mkdir()

    @property
    def run_dir(self) -> Path:
        """Where the stand-in works."""
        return self.runs / "20260101_000000_wf"

    @property
    def s3(self) -> Any:
        """A plain client."""
        return boto3.client(
            "s3",
            region_name="us-east-1",
            endpoint_url=self.endpoint,
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    def objects(self) -> dict[str, bytes]:
        """What the bucket holds, but for the probe."""
        listing = self.s3.list_objects_v2(Bucket=self.bucket)
        return {
            item["Key"]: self.s3.get_object(Bucket=self.bucket, Key=item["Key"])["Body"].read()
            for item in listing.get("Contents", ())
            if not item["Key"].endswith("/.test.miniwdl-run-s3upload")
        }

    def start(
        self, body: str, *arguments: str, environ: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """Start the command; ``body`` is what the stand-in does in its run directory."""
        fake = self.tmp_path / "miniwdl.py"
        fake.write_text(PRELUDE + textwrap.dedent(body))
        driver = self.tmp_path / "driver.py"
        driver.write_text(
            "import sys\n"
            "import miniwdl_cloud.runner.run as run\n"
            "from miniwdl_cloud.cli.run import main\n"
            f"run.miniwdl_command = lambda: [sys.executable, {str(fake)!r}]\n"
            "sys.exit(main(sys.argv[1:]))\n"
        )
        return subprocess.Popen(
            [sys.executable, str(driver), *arguments, "--dir", str(self.runs)],
            env={**self.environ, **(environ or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, body: str, *arguments: str, environ: Mapping[str, str] | None = None) -> Result:
        """Run the command to its end."""
        process = self.start(body, *arguments, environ=environ)
        stdout, stderr = process.communicate(timeout=120)
        return Result(process.returncode, stdout, stderr)


@pytest.fixture(scope="session")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    yield f"http://127.0.0.1:{port}"
    server.stop()


@pytest.fixture
def runner(endpoint: str, tmp_path: Path) -> Runner:
    environ = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "TMPDIR": str(tmp_path),
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_EC2_METADATA_DISABLED": "true",
        "XDG_CONFIG_DIRS": str(tmp_path / "none"),
    }
    made = Runner(tmp_path, f"bucket-{uuid.uuid4().hex}", environ, endpoint)
    made.s3.create_bucket(Bucket=made.bucket)
    return made
