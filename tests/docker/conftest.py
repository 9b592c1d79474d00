"""The Docker tier: a Docker Engine, images, and containers that are gone after each test."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator

import docker
import pytest
from docker_tier import ROOT, Aws, Containers, local_aws

from miniwdl_cloud.emulator.executors.docker import OWNER_LABEL, DockerExecutor

TIER_LIMIT_S = 580
"""For `scripts/docker-tier` from nothing: packages, engine, debootstrap."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whichever test comes first waits for the engine or for the image of the workflow job."""
    for item in items:
        if item.path.is_relative_to(ROOT / "tests" / "docker"):
            item.add_marker(pytest.mark.timeout(TIER_LIMIT_S + 300))


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    """A Docker Engine, which DOCKER_HOST then names; without one the tier is skipped, and fails
    where CI runs."""
    try:
        tier = subprocess.run(
            [ROOT / "scripts" / "docker-tier"], capture_output=True, text=True, timeout=TIER_LIMIT_S
        )
        reason = None if tier.returncode == 0 else tier.stderr.strip()
    except subprocess.TimeoutExpired:
        reason = f"docker-tier: not ready after {TIER_LIMIT_S} s"
    if reason is not None:
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    name, _, value = tier.stdout.strip().partition("=")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(name, value)
        client = docker.from_env()
        yield client
        client.close()


@pytest.fixture(scope="session")
def workflow_image(engine: docker.DockerClient) -> str:
    """The image of the workflow job, built from this checkout."""
    built = subprocess.run(
        [
            ROOT / "scripts" / "build-image",
            *("--base", "miniwdl-cloud-test-base:bookworm"),
            *("--tag", "miniwdl-cloud:test"),
            *("--python", sys.executable),
        ],
        capture_output=True,
        text=True,
        timeout=TIER_LIMIT_S,
    )
    assert built.returncode == 0, built.stderr
    return built.stdout.strip()


@pytest.fixture
def containers(engine: docker.DockerClient) -> Iterator[Containers]:
    """A Docker executor of this test alone, whose containers must all be gone when it is closed."""
    owner = f"test-{uuid.uuid4()}"
    executor = DockerExecutor(owner)
    try:
        yield Containers(executor, owner)
    finally:
        executor.close()
    assert not engine.containers.list(all=True, filters={"label": f"{OWNER_LABEL}={owner}"})


@pytest.fixture
def make_image(engine: docker.DockerClient) -> Iterator[Callable[..., str]]:
    """Builds an image from Dockerfile lines."""
    tags: list[str] = []

    def make(*lines: str) -> str:
        tag = f"miniwdl-cloud-test-{uuid.uuid4()}:latest"
        dockerfile = "\n".join(lines).encode()
        engine.images.build(fileobj=io.BytesIO(dockerfile), tag=tag, rm=True)
        tags.append(tag)
        return tag

    yield make
    for tag in tags:
        engine.images.remove(tag)


@pytest.fixture(scope="module")
def aws(
    engine: docker.DockerClient, workflow_image: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Aws]:
    """An embedded AWS with the Docker executor, whose workflow jobs run our image."""
    state = tmp_path_factory.mktemp("aws") / "state"
    with local_aws(state, os.environ["DOCKER_HOST"]) as running:
        yield Aws({**running.env, "MINIWDL__AWS__WORKFLOW_IMAGE": workflow_image})
