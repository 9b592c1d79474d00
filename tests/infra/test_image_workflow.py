"""How the image of workflow jobs is published: what CI is told to do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from miniwdl_cloud.submit.options import DEFAULT_IMAGE

ROOT = Path(__file__).parents[2]
PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}")


@pytest.fixture(scope="module")
def workflow() -> dict[str, Any]:
    """The workflow."""
    return dict(yaml.safe_load((ROOT / ".github/workflows/image.yml").read_text()))


def test_every_action_is_pinned_by_its_commit(workflow: dict[str, Any]) -> None:
    """A tag of somebody else can be moved; a commit cannot. Its version stands beside."""
    used = [s["uses"] for job in workflow["jobs"].values() for s in job["steps"] if "uses" in s]
    assert len(used) >= 3
    assert all(PINNED.fullmatch(action) for action in used)
    lines = (ROOT / ".github/workflows/image.yml").read_text().splitlines()
    assert all(re.search(r"  # v\d+\.\d+\.\d+$", line) for line in lines if "uses:" in line)


def test_both_architectures_are_built_under_one_name(workflow: dict[str, Any]) -> None:
    """On machines of their own, and put together as the image that this version submits with."""
    build, publish = workflow["jobs"]["build"], workflow["jobs"]["publish"]
    built = {item["architecture"] for item in build["strategy"]["matrix"]["include"]}
    assert built == {"amd64", "arm64"}
    (together,) = (step["run"] for step in publish["steps"])
    assert all(f"$GITHUB_REF_NAME-{name}" in together for name in built)
    # PyYAML takes `on` for true.
    assert workflow[True] == {"push": {"tags": ["v*"]}}
    assert re.fullmatch(r"ghcr\.io/[\w.-]+/[\w.-]+:v[\w.]+", DEFAULT_IMAGE)


def test_the_base_is_pinned_and_only_publishing_may_write(workflow: dict[str, Any]) -> None:
    """A patch release of Python, not whatever is newest; packages alone can be written."""
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", workflow["env"]["BASE"])
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        written = {name for name, value in job["permissions"].items() if value == "write"}
        assert written == {"packages"}


def test_what_is_in_it_is_listed(workflow: dict[str, Any]) -> None:
    """An SBOM of each architecture is kept."""
    steps = workflow["jobs"]["build"]["steps"]
    (listed,) = (step for step in steps if "sbom-action" in step.get("uses", ""))
    (kept,) = (step for step in steps if "upload-artifact" in step.get("uses", ""))
    assert kept["with"]["path"] == listed["with"]["output-file"]
