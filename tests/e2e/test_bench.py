"""The benchmark's parts, each at a size of a few tasks. No time matters here."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks import bench, chain, harness, report, scatter, sleeps, transfers
from benchmarks.harness import Bed, Figure, Result, Row, Run


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    """An embedded AWS without the peer."""
    with harness.embedded_aws(tmp_path_factory.mktemp("bench"), False) as running:
        yield running


def test_scatter_measures_ours_and_the_floor(bed: Bed) -> None:
    """Both run the workflow; CPU, memory and, of ours, API calls are known."""
    result = Result("")
    scatter.measure(bed, result, [3], 1)
    floor, ours = result.rows
    assert (floor.who, ours.who) == (harness.FLOOR, harness.OURS)
    for row in result.rows:
        assert row.cpu_s > 0 and row.runs[0].engine_s > 0 and row.runs[0].peak_bytes > 2**20
    assert not floor.runs[0].calls
    # The workflow job is submitted by the command, the tasks by the workflow job.
    run = ours.runs[0]
    assert run.calls["batch.SubmitJob"] == run.engine_calls["batch.SubmitJob"] + 1
    assert [figure.good for figure in result.figures] == [None] * 3


def test_wrong_outputs_do_not_count() -> None:
    """A workflow that gives something else than it should is an error, not a time."""
    with pytest.raises(harness.WrongOutputs, match="outputs are wrong"):
        scatter.check({"scatter_shards.squares": [0, 1, 5]}, 3)
    with pytest.raises(harness.WrongOutputs, match="outputs are wrong"):
        sleeps.check({"sleeps.numbers": [0, 2]}, 2)
    with pytest.raises(harness.WrongOutputs, match="output is wrong"):
        chain.check({"chain.last": 4}, 5)


def test_latency_of_every_job_is_found(bed: Bed) -> None:
    """Each job's end, by AWS, is paired with its task's log line."""
    flow = sleeps.workflow(3, 100, 10, "three sleeps")
    run = bed.ours(flow, "latency", {"MINIWDL__LOGGING__JSON": "true"})
    found = sleeps.latencies(run.directory)
    assert len(found) == 3
    assert all(seconds > 0 for seconds in found)


def test_sleeps_measure_memory(bed: Bed) -> None:
    """A scatter of sleeps gives its wall time and the engine's memory."""
    result = Result("")
    sleeps.measure(bed, result, 2, 0.1)
    assert [figure.name for figure in result.figures] == [
        "2 sleeps of 0.1 s, wall",
        "2 sleeps of 0.1 s, memory of the engine's process",
    ]


def test_chain_runs_its_tasks_one_after_another(bed: Bed) -> None:
    """The chain's last task has counted all of them."""
    result = Result("")
    chain.measure(bed, result, 3, 1)
    assert [row.who for row in result.rows[1:]] == ["miniwdl-cloud, polling", "miniwdl-cloud, push"]
    outputs = json.loads((result.rows[1].runs[0].directory / "outputs.json").read_text())
    assert outputs == {"chain.last": 3}


def test_upload_leaves_all_files_in_s3(bed: Bed, tmp_path: Path) -> None:
    """What the transfer benchmark runs uploads every file, and is cleaned up."""
    run_dir = transfers.make_run(bed.aws.filesystem / "upload", [10, 0, 2_500_000])
    assert (run_dir / "work" / "2.bin").stat().st_size == 2_500_000
    argv = [*transfers.UPLOAD, str(run_dir), str(bed.aws.filesystem)]
    assert transfers.timed(bed, argv, 3).wall_s > 0
    with pytest.raises(RuntimeError, match="3 of 4 files"):
        transfers.timed(bed, argv, 4)


def test_throttled_scatter_completes(tmp_path: Path) -> None:
    """A scatter on an AWS that limits calls runs without a failed attempt."""
    result = Result("")
    scatter.measure_throttled(tmp_path, result, 3)
    figure = result.figures[0]
    assert "0 failed attempts" in figure.reached
    assert figure.good


def test_failed_attempts_are_counted(tmp_path: Path) -> None:
    """An attempt put aside counts, and so does a task that failed for good."""
    (tmp_path / "call-a" / "work.try1").mkdir(parents=True)
    (tmp_path / "call-a" / "error.json").write_text("{}")
    (tmp_path / "call-b" / "work").mkdir(parents=True)
    assert scatter.failed_attempts(tmp_path) == 2


def test_page_has_figures_medians_and_calls() -> None:
    """The page gives each figure with its verdict, the median of all runs, and API calls."""
    quick = Row("quick", harness.FLOOR, 2, [Run(3.0), Run(1.0), Run(2.0)])
    called = Row(
        "quick",
        harness.OURS,
        2,
        [Run(0.5, calls={"batch.SubmitJob": 7}, engine_calls={"batch.SubmitJob": 6})],
    )
    figures = [
        Figure("wall", "at most 1", "0.25", True),
        Figure("calls", "at most 1", "3.5", False),
    ]
    page = report.page([Result("Quick", [quick, called], figures)], ["--runs", "3"], 0.1)
    assert "| wall | at most 1 | 0.25 | yes |" in page
    assert "| calls | at most 1 | 3.5 | **no** |" in page
    assert "| quick | floor | 2.00 | 3.00, 1.00, 2.00 |" in page
    assert "| batch.SubmitJob | 7 (6) |" in page
    assert "benchmarks.bench --runs 3`" in page


def test_percentile_is_one_of_the_values() -> None:
    """Of a hundred values, the 95th is that which 95 of them do not exceed."""
    assert harness.percentile(range(1, 101), 0.95) == 95
    assert harness.percentile([3.0, 1.0, 2.0], 0.5) == 2.0


def test_command_line_knows_every_benchmark() -> None:
    """Each benchmark can be chosen by its name."""
    args = bench.parser().parse_args(["--only", *bench.NAMES])
    assert set(args.only) == {
        *("scatter", "latency", "chain", "sleeps", "fargate", "transfers", "throttled")
    }


def test_a_failed_row_or_part_does_not_lose_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What failed is noted on the page, which is kept after each part."""
    result = Result("Some rows")
    flow = harness.Workflow("quick", tmp_path, (), 1, lambda outputs: None)

    def fail(workflow: harness.Workflow, label: str) -> Run:
        raise RuntimeError("exit code 1\nand all its output")

    assert result.add(flow, harness.PEER, 3, fail) is None
    row = result.add(flow, harness.OURS, 3, lambda workflow, label: Run(1.0))
    assert row is not None
    assert len(row.runs) == 3
    assert result.add(flow, harness.OURS, 3, lambda w, n: Run(harness.ONCE_ABOVE_S + 1)) != row
    assert [len(row.runs) for row in result.rows] == [3, 1]

    def broken(scratch: Path, result: Result, shards: int) -> None:
        result.rows.append(Row("before", harness.OURS, 1, [Run(2.0)]))
        raise OSError("no room")

    monkeypatch.setattr(scatter, "measure_throttled", broken)
    args = bench.parser().parse_args(["--only", "throttled"])
    results, pages = [result], []
    bench.measure(args, tmp_path, results, lambda: pages.append(report.page(results, [], 0.1)))
    (page,) = pages
    assert "**miniwdl-aws, quick failed:** exit code 1" in page
    assert "**throttled failed:** no room" in page
    assert "| before | miniwdl-cloud | 2.00 |" in page
