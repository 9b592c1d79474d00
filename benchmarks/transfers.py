"""Outputs to S3: the upload of our runner, beside ``aws s3 sync``.

Both are whole processes, Python's start included, and go to the same embedded S3.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from .harness import (
    OURS,
    ROOT,
    RUN_LIMIT_S,
    Bed,
    Figure,
    Result,
    Row,
    Run,
    cached_venv,
    clean_environment,
    run_checked,
    say,
)

AIM_FILES = 2000
SMALL_BYTES = 10_000
SYNC = "aws s3 sync"
UPLOAD = (sys.executable, "-m", "benchmarks.upload_run")


def measure(bed: Bed, result: Result, files: int, large_mb: int, times: int) -> None:
    """All rows.

    Parameters
    ----------
    result
        Gets them.
    files
        Number of small files.
    large_mb
        Megabytes of the large file.
    times
        How often each is done.
    """
    result.title = "Outputs to S3"
    sync = [str(cached_venv("awscli-venv") / "aws"), "s3", "sync", "--no-progress", "--quiet"]
    work = bed.aws.filesystem
    small = make_run(work / "small", [SMALL_BYTES] * files)
    large = make_run(work / "large", [large_mb * 1_000_000])
    for run_dir, what, count, aim in (
        (small, f"{files:,} files of {SMALL_BYTES // 1000} kB", files, 3.0),
        (large, f"one file of {large_mb / 1000:g} GB", 1, None),
    ):
        theirs, ours = Row(what, SYNC), Row(what, OURS)
        result.rows += [theirs, ours]
        for _ in range(times):
            # By turns, so that whatever else goes on meets both.
            theirs.runs.append(timed(bed, [*sync, str(run_dir / "out")], count))
            ours.runs.append(timed(bed, [*UPLOAD, str(run_dir), str(work)], count))
            say(f"{what}: {SYNC} {theirs.runs[-1].wall_s:.2f} s, {ours.runs[-1].wall_s:.2f} s")
        faster = theirs.wall_s / ours.wall_s
        result.figures.append(
            Figure(
                f"{what}, beside `{SYNC}`",
                f"at least {aim:g} x as fast" if aim else "(none)",
                f"{faster:.2f} x as fast ({ours.wall_s:.2f} s, {SYNC} {theirs.wall_s:.2f} s)",
                faster >= aim if aim and files == AIM_FILES else None,
            )
        )


def make_run(directory: Path, sizes: list[int]) -> Path:
    """A run directory with output files as miniwdl leaves them: links below ``out/``."""
    work = directory / "work"
    links = directory / "out" / "files"
    work.mkdir(parents=True)
    block = os.urandom(1_000_000)
    for number, size in enumerate(sizes):
        path = work / f"{number}.bin"
        with path.open("wb") as sink:
            for start in range(0, size, len(block)):
                sink.write(block[: size - start])
        link = links / str(number) / path.name
        link.parent.mkdir(parents=True)
        link.symlink_to(path)
    return directory


def timed(bed: Bed, argv: list[str], count: int) -> Run:
    """Run a command that uploads to the location that is added to it, and clean up."""
    prefix = f"benchmark-{time.monotonic_ns()}/"
    env = clean_environment(bed.aws.env)
    began = time.monotonic()
    run_checked([*argv, f"s3://{bed.aws.bucket}/{prefix}"], env, RUN_LIMIT_S, cwd=ROOT)
    wall = time.monotonic() - began
    client = bed.aws.s3()
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bed.aws.bucket, Prefix=prefix)
    keys = [item["Key"] for page in pages for item in page.get("Contents", [])]
    found = sum(key.endswith(".bin") for key in keys)
    if found != count:
        raise RuntimeError(f"{found} of {count} files were uploaded by {argv[0]}")
    for start in range(0, len(keys), 1000):
        objects = [{"Key": key} for key in keys[start : start + 1000]]
        client.delete_objects(Bucket=bed.aws.bucket, Delete={"Objects": objects})
    return Run(wall)
