"""Buckets of other Regions, of owners who do not pay, and with keys, at an endpoint of its own."""

from __future__ import annotations

import http.client
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import boto3
import pytest
from moto.server import ThreadedMotoServer

from miniwdl_cloud.aws.s3 import S3, S3Options, S3Uri
from miniwdl_cloud.aws.session import AwsSession
from miniwdl_cloud.errors import AccessDenied, ConfigurationError
from miniwdl_cloud.settings import S3_KMS_KEY, S3_REQUESTER_PAYS, Settings, mapping_source

REGION, FAR = "us-east-1", "eu-west-3"
SMALL, MEDIUM, LARGE = 10, 2 * 1024 * 1024, 17 * 1024 * 1024
"""Sizes that take each of the ways to upload: the direct one, one request, many parts."""
_SCOPE = re.compile(r"Credential=[^/]+/\d+/([a-z0-9-]+)/s3/")


@dataclass
class Call:
    """A request that reached the store."""

    method: str
    path: str
    headers: dict[str, str]
    region: str | None


@dataclass
class Store:
    """moto's S3 behind a door that refuses what `refusal` says."""

    moto: str
    bucket: str
    calls: list[Call] = field(default_factory=list)
    # Status, error code, headers.
    refusal: Callable[[Call], tuple[int, str, dict[str, str]] | None] = lambda call: None

    def s3(self, **options: object) -> S3:
        return S3(AwsSession(REGION, {"total_max_attempts": 1}), S3Options(**options))  # type: ignore[arg-type]

    def stored(self, key: str) -> dict[str, object]:
        client = boto3.client("s3", region_name=REGION, endpoint_url=self.moto)
        return dict(client.head_object(Bucket=self.bucket, Key=key))


class _Door(ThreadingHTTPServer):
    daemon_threads = True
    store: Store


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Door

    def _handle(self) -> None:
        store = self.server.store
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        scope = _SCOPE.search(headers.get("authorization", ""))
        call = Call(self.command, self.path, headers, scope.group(1) if scope else None)
        store.calls.append(call)
        refused = store.refusal(call)
        if refused:
            status, code, more = refused
            content = f"<Error><Code>{code}</Code><Message>No.</Message></Error>".encode()
        else:
            moto = http.client.HTTPConnection(urlsplit(store.moto).netloc, timeout=60)
            moto.request(self.command, self.path, body, dict(self.headers.items()))
            answer = moto.getresponse()
            status, content = answer.status, answer.read()
            more = {
                name: value
                for name, value in answer.getheaders()
                if name.lower() not in ("content-length", "connection", "date", "server")
            }
            if self.command == "HEAD":
                more["Content-Length"] = answer.getheader("Content-Length") or "0"
            moto.close()
        self.send_response(status)
        for name, value in more.items():
            self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _handle

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    door = _Door(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=door.serve_forever)
    thread.start()
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{door.server_port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    _, port = moto.get_host_and_port()
    made = Store(f"http://127.0.0.1:{port}", f"place-{uuid.uuid4()}")
    client = boto3.client("s3", region_name=REGION, endpoint_url=made.moto)
    client.create_bucket(Bucket=made.bucket)
    door.store = made
    yield made
    door.shutdown()
    thread.join()
    door.server_close()
    moto.stop()


def do_everything(s3: S3, bucket: str, tmp_path: Path) -> None:
    """Each way to write and read."""
    s3.put_bytes(S3Uri(bucket, "all/bytes"), b"x")
    # The first object of a bucket goes another way than the next ones.
    sizes = {"first": SMALL, "second": SMALL, "third": SMALL, "medium": MEDIUM, "large": LARGE}
    for name, size in sizes.items():
        (tmp_path / name).write_bytes(name[:1].encode() * size)
        s3.upload_file(tmp_path / name, S3Uri(bucket, f"all/{name}"))
    assert s3.bucket_exists(bucket)
    found = {info.uri.key: info for info in s3.list_objects(S3Uri(bucket, "all/"))}
    assert set(found) == {"all/bytes", *(f"all/{name}" for name in sizes)}
    for name, size in sizes.items():
        uri = S3Uri(bucket, f"all/{name}")
        assert s3.head(uri) == found[uri.key]
        s3.download_file(uri, tmp_path / "back" / name)
        assert (tmp_path / "back" / name).read_bytes() == name[:1].encode() * size
    assert s3.get_bytes(S3Uri(bucket, "all/bytes")) == b"x"


def test_a_bucket_in_another_region(store: Store, tmp_path: Path) -> None:
    """S3 says once where the bucket is; all other requests go there."""

    def elsewhere(call: Call) -> tuple[int, str, dict[str, str]] | None:
        if call.region == FAR:
            return None
        told = {"x-amz-bucket-region": FAR}
        # Without a body S3 does not say more than this.
        status = 400 if call.method == "HEAD" else 301
        return status, "PermanentRedirect", told

    store.refusal = elsewhere
    s3 = store.s3()
    do_everything(s3, store.bucket, tmp_path)
    assert [call.region for call in store.calls].count(REGION) == 1
    # Nor does it matter what is asked first.
    store.calls.clear()
    for ask in (
        lambda s3: s3.head(S3Uri(store.bucket, "all/first")),
        lambda s3: s3.bucket_exists(store.bucket),
        lambda s3: list(s3.list_objects(S3Uri(store.bucket))),
        lambda s3: s3.upload_file(tmp_path / "first", S3Uri(store.bucket, "all/first")),
        lambda s3: s3.upload_file(tmp_path / "large", S3Uri(store.bucket, "all/large")),
    ):
        assert ask(store.s3()) is not False


def test_requester_pays(store: Store, tmp_path: Path) -> None:
    """A bucket that wants to hear who pays is told, if the setting says so; an unsigned request
    never promises payment."""

    def owner_does_not_pay(call: Call) -> tuple[int, str, dict[str, str]] | None:
        # HeadBucket has no such header (botocore's model).
        bucket_itself = call.method == "HEAD" and call.path.count("/") == 1
        if bucket_itself or call.headers.get("x-amz-request-payer") == "requester":
            return None
        return 403, "AccessDenied", {}

    store.refusal = owner_does_not_pay
    do_everything(store.s3(requester_pays=True), store.bucket, tmp_path)
    with pytest.raises(AccessDenied):
        store.s3().get_bytes(S3Uri(store.bucket, "all/first"))
    store.refusal = lambda call: (403, "AccessDenied", {})
    store.calls.clear()
    with pytest.raises(AccessDenied):
        store.s3(requester_pays=True).get_bytes(S3Uri(store.bucket, "all/first"))
    assert [("x-amz-request-payer" in c.headers, c.region) for c in store.calls] == [
        (True, REGION),
        (False, None),
    ]


def test_uploads_with_a_kms_key(store: Store, tmp_path: Path) -> None:
    """Whichever way an object is uploaded, it is encrypted with the key; without the setting the
    bucket decides."""
    key = f"arn:aws:kms:{REGION}:123456789012:key/{uuid.uuid4()}"
    do_everything(store.s3(kms_key=key), store.bucket, tmp_path)
    for name in ("bytes", "first", "second", "third", "medium", "large"):
        found = store.stored(f"all/{name}")
        assert (found["ServerSideEncryption"], found["SSEKMSKeyId"]) == ("aws:kms", key), name
    do_everything(store.s3(), store.bucket, tmp_path)
    for name in ("bytes", "first", "second", "medium", "large"):
        assert "SSEKMSKeyId" not in store.stored(f"all/{name}"), name


def test_a_public_object_of_an_s3_compatible_store(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unsigned requests go to AWS_ENDPOINT_URL_S3 as well: where the credentials are not taken,
    and where there are none."""
    writer = boto3.client("s3", region_name=REGION, endpoint_url=store.moto)
    writer.put_object(Bucket=store.bucket, Key="public", Body=b"for all", ACL="public-read")
    store.refusal = lambda call: (403, "AccessDenied", {}) if call.region else None
    s3 = store.s3()
    assert s3.get_bytes(S3Uri(store.bucket, "public")) == b"for all"
    s3.download_file(S3Uri(store.bucket, "public"), tmp_path / "public")
    assert (tmp_path / "public").read_bytes() == b"for all"
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    assert store.s3().get_bytes(S3Uri(store.bucket, "public")) == b"for all"


def test_a_key_that_cannot_be_used(store: Store) -> None:
    """The probe before a run says that the key is wrong, or what has to be allowed."""
    folder = S3Uri(store.bucket, "out/")
    store.refusal = lambda call: (400, "KMS.NotFoundException", {})
    with pytest.raises(ConfigurationError) as wrong:
        store.s3(kms_key="absent").probe_writable(folder)
    assert wrong.value.message == (
        f"Objects in {folder} cannot be encrypted with the KMS key absent (KMS.NotFoundException);"
        " correct MINIWDL__AWS__S3_KMS_KEY or the bucket's configuration."
    )
    store.refusal = lambda call: (403, "AccessDenied", {})
    with pytest.raises(AccessDenied) as denied:
        store.s3(kms_key="theirs").probe_writable(folder)
    assert "s3:PutObject" in denied.value.message
    assert "kms:GenerateDataKey on the key theirs" in denied.value.message


def test_the_settings_say_it() -> None:
    """Nothing by default."""
    assert S3Options.of(Settings()) == S3Options(False, None)
    values = {
        (S3_REQUESTER_PAYS.section, S3_REQUESTER_PAYS.key): "true",
        (S3_KMS_KEY.section, S3_KMS_KEY.key): "alias/x",
    }
    assert S3Options.of(Settings(mapping_source(values))) == S3Options(True, "alias/x")
