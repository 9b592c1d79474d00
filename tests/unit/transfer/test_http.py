"""Fetching by HTTP from servers that behave and servers that do not."""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trustme

from miniwdl_cloud.errors import (
    AccessDenied,
    ConfigurationError,
    NotFound,
    ServiceError,
    Unreachable,
)
from miniwdl_cloud.transfer.http import ATTEMPTS, Http, name_of

CONTENT = bytes(range(256)) * 4096
Answer = Callable[[BaseHTTPRequestHandler], None]


@contextlib.contextmanager
def served(answer: Answer, certificate: trustme.LeafCert | None = None) -> Iterator[str]:
    """A server on loopback whose every GET is answered by a function; its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http{'s' if certificate else ''}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def whole(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(CONTENT)))
    handler.end_headers()
    handler.wfile.write(CONTENT)


def status(code: int) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


@pytest.fixture
def http(monkeypatch: pytest.MonkeyPatch) -> Http:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return Http(sleep=lambda seconds: None)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://h/a/b.txt", "b.txt"),
        ("https://h/a/b%20c.txt?x=/d#e", "b c.txt"),
        ("https://h/a/", "a"),
        ("https://h", "download"),
        ("https://h/a/..", "download"),
        ("https://h/a/%2e%2e", "download"),
        ("https://h/..%2F..%2Fetc%2Fpasswd", ".._.._etc_passwd"),
        ("https://h/sp%C3%A4t", "spät"),
        ("https://h/" + "x" * 300 + ".bam", "x" * 251 + ".bam"),
    ],
)
def test_name(url: str, name: str) -> None:
    """The local name is that of the URL's path, and never leads elsewhere."""
    assert name_of(url) == name


def test_fetch(http: Http, tmp_path: Path) -> None:
    """A file arrives whole under its name, every byte counted, with nothing beside it."""
    counts: list[int] = []
    with served(whole) as url:
        assert http.look(url).size == len(CONTENT)
        http.fetch(url, tmp_path / "deep" / "file", counts.append)
    assert (tmp_path / "deep" / "file").read_bytes() == CONTENT
    assert sum(counts) == len(CONTENT)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["file"]


@pytest.mark.parametrize("validator", ['"v1"', None])
def test_broken_connection(http: Http, tmp_path: Path, validator: str | None) -> None:
    """After a broken connection only the rest is asked for, if it provably is of the same file."""
    asked: list[str | None] = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        wanted = handler.headers.get("Range")
        asked.append(wanted)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        handler.send_response(206 if wanted else 200)
        handler.send_header("Content-Length", str(len(CONTENT) - start))
        if validator:
            handler.send_header("ETag", validator)
        handler.end_headers()
        end = len(CONTENT) if len(asked) == 3 else start + 100_000
        handler.wfile.write(CONTENT[start:end])

    with served(answer) as url:
        http.fetch(url, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT
    resumed = [None, "bytes=100000-", "bytes=200000-"]
    assert asked == (resumed if validator else [None, None, None])


def test_changed_meanwhile(http: Http, tmp_path: Path) -> None:
    """When the server sends the whole file again, because it is another, it counts from there."""
    answers = 0

    def answer(handler: BaseHTTPRequestHandler) -> None:
        nonlocal answers
        answers += 1
        content = b"old" * 1000 if answers == 1 else b"new!" * 2000
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.send_header("ETag", f'"{answers}"')
        handler.end_headers()
        handler.wfile.write(content[:1500] if answers == 1 else content)

    with served(answer) as url:
        http.fetch(url, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"new!" * 2000


def test_busy_server(http: Http, tmp_path: Path) -> None:
    """A server that is busy for a while is asked again."""
    answers = 0

    def answer(handler: BaseHTTPRequestHandler) -> None:
        nonlocal answers
        answers += 1
        (whole if answers > 2 else status(503))(handler)

    with served(answer) as url:
        http.fetch(url, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_never_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts end, with longer and longer waits between; nothing is left behind."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    waits: list[float] = []
    with served(status(500)) as url, pytest.raises(Unreachable) as caught:
        Http(sleep=waits.append).fetch(url, tmp_path / "file")
    assert f"could not be fetched in {ATTEMPTS} attempts: status 500" in caught.value.message
    assert waits == [1, 2, 4, 8, 16]
    assert list(tmp_path.iterdir()) == []


def test_nobody_there(http: Http, tmp_path: Path) -> None:
    """A server that is not there is Unreachable."""
    with pytest.raises(Unreachable, match="refused"):
        http.fetch("http://127.0.0.1:1/x", tmp_path / "file")


@pytest.mark.parametrize(
    ("code", "kind", "message"),
    [
        (404, NotFound, "There is no {url} (status 404); correct its name."),
        (403, AccessDenied, "The server does not give out {url} (status 403)."),
        (418, ServiceError, "The server refuses {url} with status 418."),
    ],
)
def test_refusals(
    http: Http, tmp_path: Path, code: int, kind: type[Exception], message: str
) -> None:
    """A refusal is not tried again, and says what it is."""
    with served(status(code)) as url, pytest.raises(kind) as caught:
        http.fetch(url + "/x", tmp_path / "file")
    assert str(caught.value) == message.format(url=url + "/x")


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_own_authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """A private authority's certificates are trusted where the environment names it, only there."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    with served(whole, authority.issue_cert("127.0.0.1")) as url:
        with pytest.raises(ConfigurationError, match=r"certificate of 127\.0\.0\.1 is not trusted"):
            Http().fetch(url, tmp_path / "file")
        monkeypatch.setenv(variable, str(tmp_path / "ca.pem"))
        Http().fetch(url, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy that the environment names is asked for hosts that cannot be reached otherwise."""
    asked: list[str] = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        asked.append(handler.path)
        whole(handler)

    with served(answer) as url:
        monkeypatch.setenv("http_proxy", url)
        monkeypatch.setenv("no_proxy", "")
        monkeypatch.setenv("NO_PROXY", "")
        Http().fetch("http://example.invalid/x.txt", tmp_path / "file")
    assert asked == ["http://example.invalid/x.txt"]
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_full_disk(http: Http, tmp_path: Path) -> None:
    """A local file that cannot be written is an error of this machine."""
    with (
        served(whole) as url,
        pytest.raises(ConfigurationError, match="cannot be written"),
    ):
        (tmp_path / "dir").mkdir()
        http.fetch(url, tmp_path / "dir")
