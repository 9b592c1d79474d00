"""The classifier over fixtures in the real shape of DescribeJobs, a file for each way to fail."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.model import ListShape, MapShape, Shape, StructureShape

from miniwdl_cloud.engines.batch_queue import snapshot_of
from miniwdl_cloud.engines.ecs_snapshot import run_task_error, snapshot_of_task
from miniwdl_cloud.engines.task_files import read_result
from miniwdl_cloud.errors import Throttled
from miniwdl_cloud.jobs.blocked import diagnose
from miniwdl_cloud.jobs.outcome import Verdict, classify

FIXTURES = Path(__file__).parents[2] / "fixtures" / "failures"
FILES = {path.stem: json.loads(path.read_text()) for path in sorted(FIXTURES.glob("*.json"))}
CASES = {
    f"{stem}: {case['name']}": (file, case)
    for stem, file in FILES.items()
    for case in file["cases"]
}
BLOCKED = {"blocked": False, "blocked for a while": True}
SUBMITTED = {"wait": True, "fatal": False}
SNAPSHOT = {"DescribeJobs": snapshot_of, "DescribeTasks": snapshot_of_task}
ENDED = {
    name: (file["api"], case)
    for name, (file, case) in CASES.items()
    if file["api"] in SNAPSHOT and case["verdict"] not in BLOCKED
}
WAITING = {name: case for name, (_, case) in CASES.items() if case["verdict"] in BLOCKED}
NOT_STARTED = {name: case for name, (file, case) in CASES.items() if file["api"] == "RunTask"}
SHAPES = {
    "DescribeJobs": ("batch", "JobDetail"),
    "DescribeTasks": ("ecs", "Task"),
    "RunTask": ("ecs", "RunTaskResponse"),
}
TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "long": int,
    "boolean": bool,
    "double": (int, float),
    "float": (int, float),
    "timestamp": (str, int, float),
}


def test_every_file_says_where_it_comes_from() -> None:
    """Each fixture names its row, its source, its API, and cases with verdicts that exist."""
    verdicts = {verdict.value for verdict in Verdict} | set(BLOCKED) | set(SUBMITTED)
    assert FILES
    for file in FILES.values():
        assert file["row"]
        assert file["source"]
        assert file["api"] in SHAPES
        assert {case["verdict"] for case in file["cases"]} <= verdicts


def test_every_batch_row_has_an_array_child() -> None:
    """Each way to fail is there for a child of an array job too."""
    for stem, file in FILES.items():
        if file["api"] == "DescribeJobs":
            assert any(
                "index" in case["answer"].get("arrayProperties", {}) for case in file["cases"]
            ), stem


@pytest.mark.parametrize("name", CASES)
def test_shape(name: str) -> None:
    """A fixture has only members that botocore's model of the answer has, of their types."""
    file, case = CASES[name]
    _check(_shape(file["api"]), case["answer"], file["api"])


@functools.cache
def _shape(api: str) -> Shape:
    service, shape = SHAPES[api]
    return botocore.session.Session().get_service_model(service).shape_for(shape)


def _check(shape: Shape, value: Any, path: str) -> None:
    if isinstance(shape, StructureShape):
        assert isinstance(value, Mapping), path
        assert set(value) <= set(shape.members), f"{path}: {set(value) - set(shape.members)}"
        for member, inner in value.items():
            _check(shape.members[member], inner, f"{path}.{member}")
    elif isinstance(shape, ListShape):
        assert isinstance(value, list), path
        for inner in value:
            _check(shape.member, inner, f"{path}[]")
    elif isinstance(shape, MapShape):
        assert isinstance(value, Mapping), path
        for inner in value.values():
            _check(shape.value, inner, f"{path}{{}}")
    else:
        assert isinstance(value, TYPES[shape.type_name]), path
        assert isinstance(value, bool) == (shape.type_name == "boolean"), path
        allowed = shape.metadata.get("enum")
        assert not allowed or value in allowed, f"{path}: {value}"


@pytest.mark.parametrize("name", ENDED)
def test_verdict(name: str, tmp_path: Path) -> None:
    """What the API and the task's own file said has the row's verdict, and a message that says
    what happened on which job."""
    api, case = ENDED[name]
    if "task_status" in case:
        (tmp_path / "task_status.txt").write_text(case["task_status"])
    snapshot = SNAPSHOT[api](case["answer"])
    assert snapshot.state.ended
    outcome = classify(snapshot, read_result(tmp_path, 1))
    assert outcome.verdict.value == case["verdict"]
    if outcome.verdict is not Verdict.SUCCESS:
        assert snapshot.job_id in outcome.message
        assert case.get("says", "") in outcome.message
        assert outcome.more_info["verdict"] == case["verdict"]
    if "exit_code" in case:
        assert outcome.exit_code == case["exit_code"]
    json.dumps(outcome.more_info)


@pytest.mark.parametrize("name", WAITING)
def test_diagnosis(name: str) -> None:
    """A job that waits without hope is told from one that only waits for capacity."""
    case = WAITING[name]
    blockage = diagnose(snapshot_of(case["answer"]))
    assert blockage is not None
    assert blockage.reason == case["answer"]["statusReason"]
    if not blockage.reason.startswith("UNDETERMINED"):
        assert blockage.passing == BLOCKED[case["verdict"]]


@pytest.mark.parametrize("name", NOT_STARTED)
def test_run_task_failures(name: str) -> None:
    """What ECS refused to start waits for capacity, or fails with ECS's own words."""
    case = NOT_STARTED[name]
    error = run_task_error(case["answer"]["failures"])
    assert error is not None
    assert isinstance(error, Throttled) == SUBMITTED[case["verdict"]]
    assert case["says"] in error.message
    json.dumps(error.more_info)
