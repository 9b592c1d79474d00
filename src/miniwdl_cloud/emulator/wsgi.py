"""The HTTP server under the emulator: threaded, loopback only, connections kept alive.

werkzeug's own server closes every connection after one request; at thousands of small API calls
that costs more than the calls. This one reads a request whole before it is answered, so a
connection can be used again.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import socket
import socketserver
import struct
import sys
from collections.abc import Callable, Iterable
from http.server import HTTPServer
from typing import Any

from moto.moto_server.werkzeug_app import MotoRequestHandler

logger = logging.getLogger(__name__)

WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

IDLE_S = 300
_WITHOUT_BODY = (204, 304)


class ConnectionDropped(Exception):
    """Raised by an application in place of an answer: the connection is reset."""


class RequestHandler(MotoRequestHandler):  # type: ignore[misc]
    """Handles the requests of one connection; moto's handler keeps S3's odd header names."""

    protocol_version = "HTTP/1.1"
    # Headers and body go out together. Clients written in Go, such as Terraform's provider, now and
    # then close their end when they have read the headers, and then fail to read a body that is
    # still to come ("use of closed network connection"): they would repeat the request, and what it
    # made would be there already.
    wbufsize = 1 << 16
    disable_nagle_algorithm = True
    timeout = IDLE_S

    def handle_expect_100(self) -> bool:
        """Tell the client to go on with its body."""
        self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.wfile.flush()
        return True

    def run_wsgi(self) -> None:
        """Answer one request."""
        environ = self.make_environ()
        request = self._body()
        environ["wsgi.input"] = io.BytesIO(request)
        environ["wsgi.input_terminated"] = True
        if environ.pop("HTTP_TRANSFER_ENCODING", None):
            environ["CONTENT_LENGTH"] = str(len(request))
        started: list[Any] = []
        try:
            answer = self.server.app(environ, lambda *args: started.extend(args[:2]))
            try:
                body = b"".join(answer)
            finally:
                if hasattr(answer, "close"):
                    answer.close()
        except ConnectionDropped:
            self._reset()
            return
        except Exception as exn:
            logger.exception("%s %s", self.command, self.path)
            started = ["500 Internal Server Error", [("Content-Type", "text/plain")]]
            body = f"{type(exn).__name__}: {exn}".encode()
        status, headers = started
        self._send(int(status.split()[0]), status.partition(" ")[2], headers, body)

    def _reset(self) -> None:
        """End the connection with RST, which is what a lingering time of 0 makes of its end."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(self.connection.detach())

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            return b"".join(self._chunks())
        length = int(self.headers.get("Content-Length") or 0)
        return bytes(self.rfile.read(length)) if length else b""

    def _chunks(self) -> Iterable[bytes]:
        while size := int(self.rfile.readline().split(b";")[0], 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass

    def _send(self, code: int, phrase: str, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response(code, phrase)
        names = set()
        for name, value in headers:
            if name.lower() not in ("transfer-encoding", "connection"):
                self.send_header(name, value)
                names.add(name.lower())
        has_body = self.command != "HEAD" and code not in _WITHOUT_BODY
        if has_body and "content-length" not in names:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if has_body:
            self.wfile.write(body)
        self.wfile.flush()

    def log(self, type: str, message: str, *args: Any) -> None:
        """Requests and idle connections are logged only for debugging."""
        logger.debug(message, *args)


class LoopbackServer(socketserver.ThreadingMixIn, HTTPServer):
    """Serves a WSGI application on loopback, a thread for each connection.

    Parameters
    ----------
    app
        The application.
    port
        TCP port; 0 lets the system choose.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 1024
    allow_reuse_address = True
    # What werkzeug's request handler asks of its server.
    multithread = True
    multiprocess = False
    ssl_context = None

    def __init__(self, app: WsgiApp, port: int) -> None:
        self.app = app
        self._open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), RequestHandler)

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def server_bind(self) -> None:
        """Bind without `HTTPServer`'s look-up of the host name, which may take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "127.0.0.1", self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a new connection in a thread of its own."""
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection."""
        self._open.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Stop listening, and end the connections that clients keep open."""
        super().server_close()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away in the middle are nothing to tell of."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)
