"""The HTTP server under the emulator."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from miniwdl_cloud.emulator.wsgi import LoopbackServer


def echo(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answers with the request's body; fails where the path says so."""
    if environ["PATH_INFO"] == "/fail":
        raise ValueError("on purpose")
    if environ["PATH_INFO"] == "/none":
        start_response("204 No Content", [])
        return []
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["REQUEST_METHOD"].encode(), b" ", environ["wsgi.input"].read()]


@pytest.fixture
def connection() -> Iterator[http.client.HTTPConnection]:
    """One connection to a server that echoes."""
    server = LoopbackServer(echo, 0)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    opened = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=30)
    yield opened
    opened.close()
    server.shutdown()
    thread.join(timeout=30)
    server.server_close()


def test_loopback_only() -> None:
    """Nobody outside this machine can reach it."""
    server = LoopbackServer(echo, 0)
    assert server.server_address[0] == "127.0.0.1"
    server.server_close()


def test_requests_on_one_connection(connection: http.client.HTTPConnection) -> None:
    """Bodies of a given length, in chunks, and none, one after the other."""
    for _ in range(2):
        connection.request("POST", "/", body=b"length")
        assert connection.getresponse().read() == b"POST length"
        connection.request("PUT", "/", body=iter([b"in ", b"chunks"]), encode_chunked=True)
        assert connection.getresponse().read() == b"PUT in chunks"
        connection.request("GET", "/")
        assert connection.getresponse().read() == b"GET "
        connection.request("HEAD", "/")
        assert connection.getresponse().read() == b""
        connection.request("DELETE", "/none")
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (204, b"")


def test_expect_continue(connection: http.client.HTTPConnection) -> None:
    """A client that waits to be asked for its body is asked."""
    connection.putrequest("POST", "/")
    connection.putheader("Content-Length", "4")
    connection.putheader("Expect", "100-continue")
    connection.endheaders()
    stream = connection.sock.makefile("rb")
    assert stream.readline() == b"HTTP/1.1 100 Continue\r\n"
    assert stream.readline() == b"\r\n"
    connection.send(b"body")
    assert stream.readline().startswith(b"HTTP/1.1 200")
    stream.close()


def test_failing_application(connection: http.client.HTTPConnection) -> None:
    """A failure is HTTP 500 with the reason, and the connection goes on."""
    connection.request("POST", "/fail", body=b"x")
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (500, b"ValueError: on purpose")
    connection.request("GET", "/")
    assert connection.getresponse().read() == b"GET "


def test_closing_ends_kept_connections() -> None:
    """A connection that a client keeps open is not answered any more after the server's end."""
    server = LoopbackServer(echo, 0)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    kept = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=30)
    kept.request("GET", "/")
    assert kept.getresponse().read() == b"GET "
    server.shutdown()
    thread.join(timeout=30)
    server.server_close()
    with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
        kept.request("GET", "/")
        kept.getresponse()
    kept.close()


def test_an_answer_comes_whole(connection: http.client.HTTPConnection) -> None:
    """Headers and body are in one packet: some clients lose a body that comes after its headers."""
    connection.connect()
    body = b"x" * 2000
    for _ in range(20):
        connection.sock.sendall(b"POST / HTTP/1.1\r\nContent-Length: 2000\r\n\r\n" + body)
        answer = connection.sock.recv(1 << 16)
        assert answer.startswith(b"HTTP/1.1 200")
        assert answer.endswith(b"POST " + body)
