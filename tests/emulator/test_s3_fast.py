"""Plain PutObject calls past moto's HTTP layer: what is there then is what moto would have put."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.exceptions
import pytest
from batch_helper import make_client

from miniwdl_cloud.emulator import s3_fast
from miniwdl_cloud.emulator.faults.plan import FaultPlan, Rule
from miniwdl_cloud.emulator.server import LocalCloud

_VARYING = {"date", "last-modified", "x-amzn-requestid", "server", "x-amz-version-id"}
# moto's web framework adds these to an answer without content; S3 does not send them.
_OF_FLASK = {"content-type", "access-control-allow-origin"}


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    """An embedded AWS."""
    root = tmp_path_factory.mktemp("fast")
    with LocalCloud(root / "state", root / "filesystem") as running:
        yield running


class Bucket:
    """A bucket, written to in both ways."""

    def __init__(self, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> None:
        self.s3 = make_client(cloud, "s3")
        self.name = f"fast-{uuid.uuid4()}"
        self.s3.create_bucket(Bucket=self.name)
        self.use_fast = True
        self.taken: list[bool] = []
        real = s3_fast.put_object

        def put_object(environ: dict[str, Any]) -> list[tuple[str, str]] | None:
            headers = real(environ) if self.use_fast else None
            key = environ["PATH_INFO"].strip("/").partition("/")[2]
            if environ["REQUEST_METHOD"] == "PUT" and key:
                self.taken.append(headers is not None)
            return headers

        monkeypatch.setattr(s3_fast, "put_object", put_object)

    def put(self, key: str, fast: bool, **how: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Put an object; returns what was answered and what is there then."""
        self.use_fast = fast
        where = {"Bucket": self.name, "Key": key}
        answer = self.s3.put_object(**where, **how)
        headers = answer["ResponseMetadata"]["HTTPHeaders"]
        told = {name: value for name, value in headers.items() if name not in _VARYING | _OF_FLASK}
        got = self.s3.get_object(**where, ChecksumMode="ENABLED")
        headers = got["ResponseMetadata"]["HTTPHeaders"]
        there = {name: value for name, value in headers.items() if name not in _VARYING}
        there["body"] = got["Body"].read()
        there["tags"] = self.s3.get_object_tagging(**where)["TagSet"]
        there["acl"] = self.s3.get_object_acl(**where)["Grants"]
        there["listed"] = [
            (item["Key"], item["Size"], item["ETag"], item["StorageClass"])
            for item in self.s3.list_objects_v2(Bucket=self.name, Prefix=key)["Contents"]
        ]
        return told, there


@pytest.fixture
def bucket(cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """A new bucket."""
    return Bucket(cloud, monkeypatch)


@pytest.mark.parametrize(
    "how",
    [
        {"Body": b"content"},
        {"Body": b"", "ContentType": "text/html"},
        {"Body": bytes(range(256)) * 4000, "ChecksumAlgorithm": "CRC32"},
    ],
)
@pytest.mark.parametrize("key", ["a", "dir/späße 日本+%20#?.txt", "a/../b", "end/"])
def test_plain_objects_are_taken(bucket: Bucket, key: str, how: dict[str, Any]) -> None:
    """Answer and object are those that moto makes of the same call."""
    fast = bucket.put(key, True, **how)
    assert bucket.taken == [True]
    assert fast == bucket.put(key, False, **how)


@pytest.mark.parametrize(
    "how",
    [
        {"Metadata": {"colour": "red"}},
        {"Tagging": "a=b"},
        {"ACL": "public-read"},
        {"StorageClass": "STANDARD_IA"},
        {"ServerSideEncryption": "AES256"},
        {"CacheControl": "no-cache"},
        {"ContentMD5": "CY9rzUYh03PK3k6DJie09g=="},
        {"ChecksumAlgorithm": "SHA256"},
        {"IfNoneMatch": "*"},
    ],
)
def test_what_is_special_is_left_to_moto(bucket: Bucket, how: dict[str, Any]) -> None:
    """Whatever a call asks for beyond an object, it gets."""
    first = bucket.put("a", True, Body=b"test", **how)
    assert bucket.taken == [False]
    bucket.s3.delete_object(Bucket=bucket.name, Key="a")
    assert first == bucket.put("a", False, Body=b"test", **how)


def test_conditional_writes_are_refused(bucket: Bucket) -> None:
    """An object put by the fast way counts for them."""
    bucket.put("a", True, Body=b"test")
    for condition in ({"IfNoneMatch": "*"}, {"IfMatch": "something"}):
        bucket.use_fast = True
        with pytest.raises(botocore.exceptions.ClientError, match="PreconditionFailed"):
            bucket.s3.put_object(Bucket=bucket.name, Key="a", Body=b"", **condition)


def test_default_encryption_holds(bucket: Bucket) -> None:
    """What the bucket says of new objects is done, and answered."""
    default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": "key"}
    bucket.s3.put_bucket_encryption(
        Bucket=bucket.name,
        ServerSideEncryptionConfiguration={
            "Rules": [{"ApplyServerSideEncryptionByDefault": default}]
        },
    )
    fast = bucket.put("a", True, Body=b"test")
    assert bucket.taken == [True]
    assert fast[0]["x-amz-server-side-encryption"] == "aws:kms"
    assert fast == bucket.put("a", False, Body=b"test")


def test_versions_are_kept(bucket: Bucket) -> None:
    """In a bucket with versioning each put makes one, whichever way."""
    bucket.s3.put_bucket_versioning(
        Bucket=bucket.name, VersioningConfiguration={"Status": "Enabled"}
    )
    for number, fast in enumerate((True, False, True)):
        bucket.put("a", fast, Body=b"%d" % number)
    versions = bucket.s3.list_object_versions(Bucket=bucket.name)["Versions"]
    assert len({version["VersionId"] for version in versions}) == 3
    assert bucket.taken == [True, False, True]


def test_a_policy_denies(bucket: Bucket) -> None:
    """What a bucket's policy denies is refused, and leaves nothing."""
    statement = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:PutObject",
        "Resource": f"arn:aws:s3:::{bucket.name}/no/*",
    }
    bucket.s3.put_bucket_policy(
        Bucket=bucket.name,
        Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}),
    )
    with pytest.raises(botocore.exceptions.ClientError, match="403"):
        bucket.s3.put_object(Bucket=bucket.name, Key="no/a", Body=b"test")
    assert bucket.taken == [False]
    assert "Contents" not in bucket.s3.list_objects_v2(Bucket=bucket.name, Prefix="no/")
    bucket.put("yes/a", True, Body=b"test")
    assert bucket.taken == [False, True]


def test_a_bucket_that_does_not_exist_and_an_unsigned_call(bucket: Bucket) -> None:
    """Are moto's to refuse."""
    with pytest.raises(botocore.exceptions.ClientError, match="NoSuchBucket"):
        bucket.s3.put_object(Bucket="nowhere-at-all", Key="a", Body=b"")
    assert bucket.taken == [False]


def test_calls_are_counted_and_meet_faults(cloud: LocalCloud, bucket: Bucket) -> None:
    """The fast way is behind the counting and the faults, as moto is."""
    before = cloud.calls.as_dict().get("s3", {}).get("PutObject", 0)
    bucket.put("a", True, Body=b"test")
    assert cloud.calls.as_dict()["s3"]["PutObject"] == before + 1
    cloud.faults.replace(
        FaultPlan(rules=(Rule("slow_down", {"service": "s3", "operation": "PutObject"}, count=1),))
    )
    try:
        with pytest.raises(botocore.exceptions.ClientError, match="SlowDown"):
            bucket.put("a", True, Body=b"test")
        bucket.put("a", True, Body=b"test")
        assert cloud.calls.as_dict()["s3"]["PutObject"] == before + 3
    finally:
        cloud.faults.replace(FaultPlan())


def test_the_command_line_tool_is_taken_too(bucket: Bucket, tmp_path: Path) -> None:
    """A file that s3transfer sends, as `aws s3` does, is a plain call."""
    path = tmp_path / "file.bin"
    path.write_bytes(b"x" * 10_000)
    bucket.s3.upload_file(str(path), bucket.name, "a")
    assert bucket.taken == [True]
    assert bucket.s3.get_object(Bucket=bucket.name, Key="a")["Body"].read() == path.read_bytes()
