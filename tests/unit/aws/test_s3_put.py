"""Small objects put without botocore's client, against moto's S3."""

from __future__ import annotations

import datetime
import http.client
import ipaddress
import ssl
import threading
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from moto.server import ThreadedMotoServer

from miniwdl_cloud.aws import s3_put
from miniwdl_cloud.aws.s3 import S3, S3Uri
from miniwdl_cloud.aws.s3_put import PAUSE_S, DirectPut, _Connections, _connections
from miniwdl_cloud.aws.session import AwsSession
from miniwdl_cloud.errors import AccessDenied, NotFound


class Bed:
    """A client, what went through it, and what went past it."""

    def __init__(self, bucket: str) -> None:
        self.bucket = bucket
        self.session = AwsSession("us-east-1", {"total_max_attempts": 1})
        self.client = self.session.client("s3")
        self.now = 0.0
        self.direct = DirectPut(self.client, lambda: self.now)
        self.by_client = 0
        self.client.meta.events.register("before-send.s3.PutObject", self._sent)

    def _sent(self, **_: Any) -> None:
        self.by_client += 1

    def put(self, key: str, body: bytes = b"x", **extra: str) -> None:
        self.direct.put(self.bucket, key, body, extra)

    def stored(self, key: str) -> dict[str, Any]:
        """All that S3 says of an object, and its content."""
        found = self.client.get_object(Bucket=self.bucket, Key=key, ChecksumMode="ENABLED")
        told = {k: v for k, v in found.items() if k not in ("ResponseMetadata", "LastModified")}
        return {**told, "Body": found["Body"].read()}

    def answer_with(self, status: int | None) -> list[bytes]:
        """Let no direct request reach S3; returns the requests."""
        requests: list[bytes] = []

        class Fake:
            def exchange(self, request: bytes) -> int | None:
                requests.append(request)
                return status

        pattern = self.direct._patterns[self.bucket]
        assert pattern is not None
        object.__setattr__(pattern, "connections", Fake())
        return requests


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A new bucket of moto's S3, whose state all tests share."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    name = f"put-{uuid.uuid4()}"
    boto3.client("s3", region_name="us-east-1").create_bucket(Bucket=name)
    yield name
    server.stop()


@pytest.fixture
def bed(bucket: str) -> Bed:
    """A client of it."""
    return Bed(bucket)


def test_one_object_of_a_bucket_goes_through_the_client(bed: Bed) -> None:
    """The others follow its pattern, and S3 has them as if the client had put them."""
    names = ["plain", "sp ace\"quote'", "späße/日本", "a+b%20#?&=~", "a//b", "a/../b", "end/"]
    for name in ["first", *names]:
        bed.put(name, name.encode(), ContentType="text/plain")
    assert bed.by_client == 1
    for name in names:
        found = bed.stored(name)
        bed.client.put_object(
            Bucket=bed.bucket, Key=name, Body=name.encode(), ContentType="text/plain"
        )
        assert found == bed.stored(name)
        assert found["ChecksumCRC32"]


def test_an_object_without_content_or_type(bed: Bed) -> None:
    """Nothing is sent for a type that is not known."""
    for key in ("a", "b"):
        bed.put(key, b"")
    assert bed.stored("a") == bed.stored("b")
    assert bed.by_client == 1


def test_whatever_is_no_success_is_left_to_the_client(bed: Bed) -> None:
    """An answer with an error, and none at all: the client puts the object, and for a while all."""
    bed.put("a")
    for count, status in enumerate((503, 307, 400, None)):
        requests = bed.answer_with(status)
        bed.put(f"b{status}", b"content")
        assert bed.stored(f"b{status}")["Body"] == b"content"
        bed.put("c")
        bed.now += PAUSE_S - 1
        bed.put("d")
        assert len(requests) == 1
        bed.now += 1
        assert bed.by_client == 1 + 3 * (count + 1)


def test_the_client_tells_what_is_wrong(bucket: str, tmp_path: Path) -> None:
    """The bucket vanishes between two objects: the error is the client's, as ours."""
    s3 = S3(AwsSession("us-east-1"))
    (tmp_path / "file").write_bytes(b"x")
    s3.upload_file(tmp_path / "file", S3Uri(bucket, "x"))
    client = boto3.client("s3", region_name="us-east-1")
    client.delete_object(Bucket=bucket, Key="x")
    client.delete_bucket(Bucket=bucket)
    with pytest.raises(NotFound):
        s3.upload_file(tmp_path / "file", S3Uri(bucket, "x"))


def test_a_denied_object_is_denied(bed: Bed) -> None:
    """A bucket's policy holds for these requests too."""
    bed.put("a")
    bed.client.put_bucket_policy(
        Bucket=bed.bucket,
        Policy='{"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Principal": "*",'
        f' "Action": "s3:PutObject", "Resource": "arn:aws:s3:::{bed.bucket}/no/*"}}]}}',
    )
    with pytest.raises(bed.client.exceptions.ClientError, match="403"):
        bed.put("no/b")
    bed.now += PAUSE_S
    bed.put("yes")


def test_renewed_credentials_are_used(bed: Bed) -> None:
    """Each request is signed with what the client's credentials are then, session token too."""
    bed.put("a")
    requests = bed.answer_with(200)
    bed.put("b")
    credentials = bed.client._request_signer._credentials
    credentials.access_key, credentials.token = "NEWKEY", "newtoken"
    bed.put("c")
    before, after = (request.decode().lower() for request in requests)
    assert "credential=test/" in before
    assert "credential=newkey/" in after
    assert "x-amz-security-token: newtoken" in after
    assert ";x-amz-security-token, signature=" in after
    for text in (before, after):
        assert "\r\nx-amz-checksum-crc32: " in text
        assert "x-amz-checksum-crc32;x-amz-content-sha256;" in text


def test_without_credentials_there_is_one_error(
    bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nothing is put by this way either."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(AccessDenied):
        S3(AwsSession("us-east-1")).upload_file(tmp_path / "file", S3Uri(bucket, "x"))


def test_a_proxy_is_left_to_the_client(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    """So is everything else that only the client can do."""
    monkeypatch.setattr(s3_put, "get_environ_proxies", lambda url: {"http": "http://proxy:1"})
    for key in ("a", "b"):
        bed.put(key)
    assert bed.by_client == 2


class _Once(BaseHTTPRequestHandler):
    """Answers a request and ends the connection without saying so."""

    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
        self.close_connection = True

    def log_message(self, *args: Any) -> None:
        pass


def test_a_connection_that_the_server_has_closed_is_made_anew() -> None:
    """One that was idle too long costs nothing; a server that is gone gives no answer."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Once)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    port = server.server_address[1]
    connections = _Connections(lambda: http.client.HTTPConnection("127.0.0.1", port, timeout=30))
    request = b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx"
    try:
        assert [connections.exchange(request) for _ in range(5)] == [200] * 5
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert connections.exchange(request) is None


def _certificate(directory: Path) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that nobody knows, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.timezone.utc)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = directory / "cert.pem", directory / "key.pem"
    paths[0].write_bytes(made.public_bytes(Encoding.PEM))
    paths[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return paths


def test_a_server_is_trusted_by_the_clients_certificates_alone(bucket: str, tmp_path: Path) -> None:
    """One that the client would not talk to gets no request."""
    certificate, key = _certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Once)
    server.socket = context.wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    url = f"https://127.0.0.1:{server.server_address[1]}/bucket/"
    request = b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx"
    session = boto3.Session(region_name="us-east-1")
    try:
        for verify, status in ((str(certificate), 200), (None, None)):
            connections = _connections(session.client("s3", verify=verify), url)
            assert connections is not None
            assert connections.exchange(request) == status
        unverified = session.client("s3", verify=False)
        assert _connections(unverified, url) is None, "is left to the client"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
