"""WDL source code travels with the job and arrives whole."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from miniwdl_cloud.aws.s3 import S3Uri
from miniwdl_cloud.errors import ConfigurationError, NotFound, TooLarge
from miniwdl_cloud.submit import shipping
from miniwdl_cloud.submit.shipping import Room

ROOM = Room(environment=6000, job_tags=48, definition_tags=50)


class FakeBatch:
    """Knows one job and its definition, and counts questions."""

    def __init__(self, job_tags: Any, definition_tags: Any) -> None:
        self.job = {"jobId": "j", "jobDefinition": "d:1", "tags": job_tags}
        self.definition = {"tags": definition_tags}
        self.asked: list[str] = []

    def describe_jobs(self, ids: Iterable[str]) -> dict[str, Any]:
        self.asked.append("jobs")
        return {"j": self.job} if list(ids) == ["j"] else {}

    def describe_definition(self, name: str) -> dict[str, Any]:
        self.asked.append("definition")
        assert name == "d:1"
        return self.definition


class FakeS3:
    """Holds objects."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        self.objects = objects

    def get_bytes(self, uri: S3Uri) -> bytes:
        return self.objects[str(uri)]


def noise(size: int) -> bytes:
    """Bytes that do not compress, the same in each run."""
    return random.Random(size).randbytes(size)


def arrive(shipment: shipping.Shipment, tmp_path: Path) -> tuple[bytes, FakeBatch]:
    """What the runner gets of a shipment."""
    batch = FakeBatch({"Owner": "me", **shipment.job_tags}, dict(shipment.definition_tags))
    environ = {"AWS_BATCH_JOB_ID": "j", **shipment.environment}
    path = shipping.unpack_shipped_wdl(environ, batch, FakeS3({}), tmp_path)  # type: ignore[arg-type]
    assert path.suffix == ".zip"
    return path.read_bytes(), batch


@pytest.mark.parametrize(
    ("size", "job_tags", "definition_tags", "asked"),
    [
        (10, 0, 0, []),
        (4000, 0, 0, []),
        (5000, 3, 0, ["jobs"]),
        (17500, 48, 2, ["jobs", "definition"]),
        (30000, 48, 45, ["jobs", "definition"]),
    ],
)
def test_what_is_shipped_arrives(
    size: int, job_tags: int, definition_tags: int, asked: list[str], tmp_path: Path
) -> None:
    """The environment is filled first, then tags of the job, then those of the definition."""
    archive = noise(size)
    shipment = shipping.ship_in_request(archive, ROOM)
    assert shipment is not None
    assert shipping.overrides_length(shipment.environment) <= ROOM.environment
    assert (bool(shipment.job_tags), bool(shipment.definition_tags)) == (
        job_tags > 0,
        definition_tags > 0,
    )
    assert len(shipment.job_tags) <= ROOM.job_tags
    assert len(shipment.definition_tags) <= ROOM.definition_tags
    arrived, batch = arrive(shipment, tmp_path)
    assert arrived == archive
    assert batch.asked == asked


def test_every_size_around_the_edges_arrives(tmp_path: Path) -> None:
    """No archive size falls between environment and tags."""
    for size in range(4200, 4700, 7):
        shipment = shipping.ship_in_request(noise(size), ROOM)
        assert shipment is not None
        assert arrive(shipment, tmp_path)[0] == noise(size)


def test_tags_keep_to_the_rules() -> None:
    """Tag keys and values have the lengths and characters that AWS allows, and no two are equal."""
    shipment = shipping.ship_in_request(noise(30000), ROOM)
    assert shipment is not None
    for tags in (shipment.job_tags, shipment.definition_tags):
        for key, value in tags.items():
            assert len(key) <= 128
            assert len(value) <= 256
            assert re.fullmatch(r"[A-Za-z0-9 +\-=._:/@]*", key + value)
            assert not key.lower().startswith("aws:")


@pytest.mark.parametrize("room", [ROOM, Room(50, 50, 50), Room(0, 0, 0), Room(200, 0, 0)])
def test_what_does_not_fit_is_not_cut(room: Room) -> None:
    """An archive that fits nowhere is refused, however little room there is."""
    assert shipping.ship_in_request(noise(60000), room) is None


def test_staged_archive_arrives(tmp_path: Path) -> None:
    """Through the staging location, the key is the hash of the content."""
    archive = noise(100)
    shipment = shipping.ship_by_staging(archive, "s3://bucket/prefix/")
    uri = shipment.environment[shipping.URI_ENV]
    assert re.fullmatch(r"s3://bucket/prefix/wdl/sha256/[0-9a-f]{2}/[0-9a-f]{64}\.zip", uri)
    batch = FakeBatch({}, {})
    path = shipping.unpack_shipped_wdl(
        shipment.environment,
        batch,  # type: ignore[arg-type]
        FakeS3({uri: archive}),  # type: ignore[arg-type]
        tmp_path,
    )
    assert path.read_bytes() == archive
    assert batch.asked == []


@pytest.mark.parametrize("harm", ["lost tag", "changed tag", "changed text"])
def test_damage_is_noticed(harm: str, tmp_path: Path) -> None:
    """A lost or changed part is an error, never other WDL."""
    shipment = shipping.ship_in_request(noise(10000), ROOM)
    assert shipment is not None
    tags, variables = dict(shipment.job_tags), dict(shipment.environment)
    key = sorted(tags)[3]
    if harm == "lost tag":
        del tags[key]
    elif harm == "changed tag":
        tags[key] = tags[key][::-1]
    else:
        variables[shipping.TEXT_ENV] = variables[shipping.TEXT_ENV][::-1]
    with pytest.raises(ConfigurationError, match="incomplete or was changed"):
        arrive(shipping.Shipment(variables, tags), tmp_path)


def test_damage_in_the_staging_location_is_noticed(tmp_path: Path) -> None:
    """An object overwritten since is an error."""
    shipment = shipping.ship_by_staging(b"one", "s3://bucket")
    s3 = FakeS3({shipment.environment[shipping.URI_ENV]: b"other"})
    with pytest.raises(ConfigurationError, match="incomplete or was changed"):
        shipping.unpack_shipped_wdl(shipment.environment, FakeBatch({}, {}), s3, tmp_path)  # type: ignore[arg-type]


def test_nothing_shipped_is_an_error(tmp_path: Path) -> None:
    """A command that asks for WDL in a job without it says what to do."""
    with pytest.raises(ConfigurationError, match="miniwdl-aws-submit"):
        shipping.unpack_shipped_wdl({}, FakeBatch({}, {}), FakeS3({}), tmp_path)  # type: ignore[arg-type]


def test_unknown_job_is_an_error(tmp_path: Path) -> None:
    """Tags cannot be read of a job that Batch does not know."""
    shipment = shipping.ship_in_request(noise(10000), ROOM)
    assert shipment is not None
    with pytest.raises(NotFound, match="AWS_BATCH_JOB_ID is not set"):
        shipping.unpack_shipped_wdl(shipment.environment, FakeBatch({}, {}), FakeS3({}), tmp_path)  # type: ignore[arg-type]


def test_too_large_says_what_to_do() -> None:
    """The error for WDL that nothing holds has the exit code that scripts know."""
    error = shipping.too_large(99999)
    assert isinstance(error, TooLarge)
    assert error.exit_code == 123
    assert "--stage s3://" in error.message
