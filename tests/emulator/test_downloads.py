"""`s3://` and `https://` inputs of whole runs with our engine on the embedded AWS."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme
from batch_helper import Batch, make_client, unique
from engine_runs import Deployment
from fargate_runs import ENGINES

from miniwdl_cloud.emulator.server import LocalCloud

READS = """
version 1.2
workflow w {
  input {
    File f
    Directory? d
  }
  call t { input: f = f, d = d }
  output {
    String content = t.content
    String name = t.name
    Array[String] tree = t.tree
  }
}
task t {
  input {
    File f
    Directory? d
  }
  command <<<
    cat "~{f}"
    basename "~{f}" > name
    touch tree
    if [ -n "~{d}" ]; then (cd "~{d}" && find . -type f | sort) > tree; fi
  >>>
  output {
    String content = read_string(stdout())
    String name = read_string("name")
    Array[String] tree = read_lines("tree")
  }
}
"""


@pytest.fixture(params=ENGINES)
def deployment(
    request: pytest.FixtureRequest, cloud: LocalCloud, batch: Batch, tmp_path: Path
) -> Deployment:
    """What each engine runs tasks on, and a directory of the shared filesystem for one test."""
    return ENGINES[request.param](cloud, batch, tmp_path)


@pytest.fixture
def s3(cloud: LocalCloud) -> Any:
    return make_client(cloud, "s3")


@pytest.fixture
def bucket(s3: Any) -> str:
    name = unique("inputs").lower().replace("_", "-")
    s3.create_bucket(Bucket=name)
    return name


@contextlib.contextmanager
def serving(server: ThreadingHTTPServer) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def file_server(
    files: dict[str, bytes], certificate: trustme.LeafCert | None = None
) -> ThreadingHTTPServer:
    """An HTTP server on loopback, HTTPS with a certificate."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = files.get(self.path)
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    return server


def proxy_to(port: int) -> ThreadingHTTPServer:
    """A proxy on loopback that connects to one local port, whatever host is asked for."""

    class Handler(BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            with socket.create_connection(("127.0.0.1", port)) as upstream:
                self.send_response(200)
                self.end_headers()
                back = threading.Thread(target=copy, args=(upstream, self.connection))
                back.start()
                copy(self.connection, upstream)
                back.join()

        def log_message(self, format: str, *args: object) -> None:
            pass

    def copy(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(65536):
                target.sendall(chunk)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    return ThreadingHTTPServer(("127.0.0.1", 0), Handler)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[tuple[dict[str, bytes], dict[str, str]]]:
    """Files that an HTTPS server of any name gives out, and the environment that leads there."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    files: dict[str, bytes] = {}
    certificate = authority.issue_cert("raw.githubusercontent.com", "files.example")
    with (
        serving(file_server(files, certificate)) as port,
        serving(proxy_to(port)) as proxy,
    ):
        environ = {
            "HTTPS_PROXY": f"http://127.0.0.1:{proxy}",
            "https_proxy": f"http://127.0.0.1:{proxy}",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
            "SSL_CERT_FILE": str(tmp_path / "ca.pem"),
        }
        yield files, environ


def in_jobs(image: str) -> dict[str, str]:
    """The environment in which every input gets a task job."""
    return {
        "MINIWDL__AWS__DOWNLOAD_IN_PROCESS_MAX_MB": "0",
        "MINIWDL__AWS__WORKFLOW_IMAGE": image,
    }


@pytest.mark.parametrize("by_job", [False, True], ids=["in process", "in a job"])
def test_s3_inputs(deployment: Deployment, s3: Any, bucket: str, by_job: bool) -> None:
    """A file and a directory in S3 reach the task, odd names included, with or without a job."""
    name = "it's späť %20.txt"
    s3.put_object(Bucket=bucket, Key=f"in/{name}", Body=b"from S3")
    for key in ("ref/a", "ref/sub/b c"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    run = deployment.run(
        READS,
        f"f=s3://{bucket}/in/{name}",
        f"d=s3://{bucket}/ref/",
        env=in_jobs("any") if by_job else None,
    )
    assert run.outputs == {
        "w.content": "from S3",
        "w.name": name,
        "w.tree": ["./a", "./sub/b c"],
    }
    assert len(deployment.attempts("fetch")) == (2 if by_job else 0)


def test_https_input(deployment: Deployment, web: tuple[dict[str, bytes], dict[str, str]]) -> None:
    """A file behind HTTPS and a proxy reaches the task."""
    files, environ = web
    files["/data/x%20y.txt"] = b"from the web"
    run = deployment.run(READS, "f=https://files.example/data/x%20y.txt", env=environ)
    assert (run.outputs["w.content"], run.outputs["w.name"]) == ("from the web", "x y.txt")


def test_http_input_in_a_job(deployment: Deployment) -> None:
    """A large file is fetched by a task job, which talks to the server itself."""
    with serving(file_server({"/data/x%20y.txt": b"from the web"})) as port:
        run = deployment.run(READS, f"f=http://127.0.0.1:{port}/data/x%20y.txt", env=in_jobs("any"))
    assert (run.outputs["w.content"], run.outputs["w.name"]) == ("from the web", "x y.txt")
    assert len(deployment.attempts("fetch")) == 1


@pytest.mark.parametrize("by_job", [False, True], ids=["in process", "in a job"])
def test_missing_input(deployment: Deployment, bucket: str, by_job: bool) -> None:
    """A missing object fails the run with a sentence that names it."""
    run = deployment.run(
        READS,
        f"f=s3://{bucket}/nowhere.txt",
        env=in_jobs("any") if by_job else None,
        fails=True,
    )
    assert f"There is no object s3://{bucket}/nowhere.txt; correct its name." in run.stderr
    assert run.error["cause"]["error"] == "DownloadFailed"


def test_self_test(
    deployment: Deployment, s3: Any, web: tuple[dict[str, bytes], dict[str, str]]
) -> None:
    """`miniwdl run_self_test` passes: an https:// file, an s3:// directory, links and env."""
    files, environ = web
    path = "/chanzuckerberg/miniwdl/main/tests/alyssa_ben.txt"
    files[path] = b"#header\nAlyssa P. Hacker\nBen Bitdiddle\n"
    s3.create_bucket(Bucket="1000genomes")
    for name in ("one.txt", "two.txt"):
        key = f"phase3/integrated_sv_map/supporting/breakpoints/{name}"
        s3.put_object(Bucket="1000genomes", Key=key, Body=b"x")
    directory = deployment.root / "self_test"
    done = subprocess.run(
        [str(Path(sys.executable).with_name("miniwdl")), "run_self_test", "--dir", str(directory)],
        env=deployment.environ(**environ),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    assert "miniwdl run_self_test OK" in done.stderr


def test_other_engines_keep_their_downloaders(
    deployment: Deployment, bucket: str, s3: Any, tmp_path: Path
) -> None:
    """Where our engine is not the one, the plugins leave the work to miniwdl's own downloaders."""
    s3.put_object(Bucket=bucket, Key="x.txt", Body=b"x")
    script = tmp_path / "look.py"
    script.write_text(
        "import json, logging, sys\n"
        "import WDL\n"
        "from miniwdl_cloud.transfer.downloads import s3_file, s3_directory, http_file\n"
        "logger = logging.getLogger('x')\n"
        "cfg = WDL.runtime.config.Loader(logger, [])\n"
        "steps = [next(f(cfg, logger, u)) for f, u in json.loads(sys.argv[1])"
        " for f in [globals()[f]]]\n"
        "print(json.dumps([s['task_wdl'].split('task ')[1].split()[0] for s in steps]))\n"
    )
    uris = [
        ["s3_file", f"s3://{bucket}/x.txt"],
        ["s3_directory", f"s3://{bucket}/"],
        ["http_file", "https://files.example/x"],
    ]
    environ = deployment.environ()
    environ["MINIWDL__SCHEDULER__CONTAINER_BACKEND"] = "docker_swarm"
    done = subprocess.run(
        [sys.executable, str(script), json.dumps(uris)],
        env=environ | {"PATH": os.defpath},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["aws_s3_cp", "aws_s3_cp_directory", "aria2c"]
