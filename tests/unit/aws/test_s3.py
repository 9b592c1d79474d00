"""S3 addresses, and our calls against moto's S3."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from miniwdl_cloud.aws.s3 import PROBE_NAME, S3, S3Uri, parse_s3_uri
from miniwdl_cloud.aws.session import AwsSession
from miniwdl_cloud.errors import (
    AccessDenied,
    ConfigurationError,
    MiniwdlCloudError,
    NotFound,
    Unreachable,
    UsageError,
)


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="here")
    yield S3(AwsSession("us-east-1"))
    server.stop()


@pytest.mark.parametrize(
    ("text", "bucket", "key"),
    [
        ("s3://bucket", "bucket", ""),
        ("s3://bucket/", "bucket", ""),
        ("s3://bucket/a/b c%20.txt", "bucket", "a/b c%20.txt"),
        ("s3://bucket/a/", "bucket", "a/"),
        ("s3://bucket//a", "bucket", "/a"),
    ],
)
def test_parse(text: str, bucket: str, key: str) -> None:
    """A location is taken apart without decoding or tidying its key."""
    assert parse_s3_uri(text) == S3Uri(bucket, key)


@pytest.mark.parametrize(
    "text", ["", "bucket/a", "s3:/bucket", "s3:///a", "https://bucket/a", "s3://a b/c"]
)
def test_parse_refuses(text: str) -> None:
    """What is no S3 location is refused in one sentence that says how to write one."""
    with pytest.raises(UsageError) as caught:
        parse_s3_uri(text)
    assert caught.value.message == (
        f"'{text}' is not an S3 location; write it as s3://bucket/folder."
    )
    assert caught.value.exit_code == 64


def test_join() -> None:
    """Joining puts exactly one slash between, and none at the root of a bucket."""
    assert str(S3Uri("b") / "x") == "s3://b/x"
    assert str(S3Uri("b", "a") / "x") == str(S3Uri("b", "a/") / "x") == "s3://b/a/x"
    assert S3Uri("b", "a/c/").name == "c"


def test_bytes_head_and_list(s3: S3) -> None:
    """What is written is read, described and listed, whatever its name."""
    names = ["plain.txt", "sp ace\"quote'.txt", "späße/日本.txt", "a+b%20#?.txt"]
    for name in names:
        s3.put_bytes(S3Uri("here", "list/" + name), name.encode())
    found = {info.uri.key: info for info in s3.list_objects(S3Uri("here", "list/"))}
    assert set(found) == {"list/" + name for name in names}
    for name in names:
        uri = S3Uri("here", "list/" + name)
        assert s3.get_bytes(uri) == name.encode()
        assert s3.head(uri) == found[uri.key]
        assert found[uri.key].size == len(name.encode())
    assert s3.head(S3Uri("here", "absent")) is None


def test_list_is_complete_beyond_a_page(s3: S3) -> None:
    """A listing goes on past the thousand keys of one answer."""
    client = boto3.client("s3", region_name="us-east-1")
    for n in range(1003):
        client.put_object(Bucket="here", Key=f"many/{n}", Body=b"")
    assert sum(1 for _ in s3.list_objects(S3Uri("here", "many/"))) == 1003


def test_files_travel(s3: S3, tmp_path: Path) -> None:
    """Empty, small and multipart files arrive whole, and every byte is counted."""
    for size in (0, 10, 40 * 1024 * 1024 + 1):
        source = tmp_path / f"source {size}.bin"
        source.write_bytes(b"\xa5" * size)
        counts: list[int] = []
        s3.upload_file(source, S3Uri("here", source.name), counts.append)
        assert sum(counts) == size
        counts.clear()
        target = tmp_path / "deep" / f"target {size}"
        s3.download_file(S3Uri("here", source.name), target, counts.append)
        assert target.read_bytes() == source.read_bytes()
        assert sum(counts) == size
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == [
        "target 0",
        "target 10",
        f"target {40 * 1024 * 1024 + 1}",
    ]


def test_content_type_follows_the_name(s3: S3, tmp_path: Path) -> None:
    """A browser shows an uploaded image or page; a compressed file stays as it is."""
    client = boto3.client("s3", region_name="us-east-1")
    for name, expected in [("plot.png", "image/png"), ("t.txt.gz", "binary/octet-stream")]:
        (tmp_path / name).write_bytes(b"x")
        s3.upload_file(tmp_path / name, S3Uri("here", name))
        head = client.head_object(Bucket="here", Key=name)
        assert head["ContentType"] == expected
        assert "ContentEncoding" not in head


def test_failed_download_leaves_nothing(s3: S3, tmp_path: Path) -> None:
    """A missing object is NotFound, and no half file stays behind."""
    with pytest.raises(NotFound) as caught:
        s3.download_file(S3Uri("here", "absent"), tmp_path / "absent")
    assert "downloading s3://here/absent" in caught.value.message
    assert list(tmp_path.iterdir()) == []


def test_missing_local_file(s3: S3, tmp_path: Path) -> None:
    """A local file that cannot be read is named in the error."""
    with pytest.raises(ConfigurationError, match=r"uploading .*nowhere to s3://here/x"):
        s3.upload_file(tmp_path / "nowhere", S3Uri("here", "x"))


def test_bucket_exists(s3: S3) -> None:
    """A bucket that is there is told from one that is not."""
    assert s3.bucket_exists("here")
    assert not s3.bucket_exists("not-here")


def test_probe(s3: S3) -> None:
    """The probe leaves its small object, and names a bucket that does not exist."""
    s3.probe_writable(S3Uri("here", "results"))
    assert s3.head(S3Uri("here", "results/" + PROBE_NAME))
    with pytest.raises(NotFound) as caught:
        s3.probe_writable(S3Uri("not-here", "results"))
    assert caught.value.message == (
        "The bucket 'not-here' of the upload folder s3://not-here/results does not exist;"
        " name one that does."
    )


def test_probe_denied(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused probe says which permission is missing where."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise AccessDenied("no", {"httpStatus": 403})

    monkeypatch.setattr(s3, "put_bytes", refuse)
    with pytest.raises(AccessDenied) as caught:
        s3.probe_writable(S3Uri("here", "results"))
    assert caught.value.message == (
        "These credentials may not write to s3://here/results/; allow them s3:PutObject on the"
        " bucket 'here', or name another upload folder."
    )
    assert caught.value.exit_code == 77


def test_public_object_without_credentials(
    s3: S3, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Reading needs no credentials, writing says that they are missing."""
    boto3.client("s3", region_name="us-east-1").put_object(
        Bucket="here", Key="public.txt", Body=b"everybody's", ACL="public-read"
    )
    s3.put_bytes(S3Uri("here", "private.txt"), b"mine")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    anonymous = S3(AwsSession("us-east-1"))
    anonymous.download_file(S3Uri("here", "public.txt"), tmp_path / "got")
    assert (tmp_path / "got").read_bytes() == b"everybody's"
    with pytest.raises(AccessDenied, match="No AWS credentials were found while downloading"):
        anonymous.get_bytes(S3Uri("here", "private.txt"))
    with pytest.raises(AccessDenied, match="No AWS credentials were found"):
        anonymous.probe_writable(S3Uri("here"))


def test_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody at the endpoint is Unreachable, not a traceback."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    s3 = S3(AwsSession("us-east-1", {"max_attempts": 1, "mode": "standard"}))
    with pytest.raises(Unreachable) as caught:
        s3.get_bytes(S3Uri("here", "x"))
    assert isinstance(caught.value, MiniwdlCloudError)
    assert "downloading s3://here/x" in caught.value.message
