"""A run does not begin on a filesystem that is nearly full."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from miniwdl_cloud.engines.config import read_settings
from miniwdl_cloud.errors import ConfigurationError
from miniwdl_cloud.housekeeping.space import check_space
from miniwdl_cloud.runner.run import Options, run
from miniwdl_cloud.settings import (
    MIN_FREE_INODES,
    MIN_FREE_SPACE,
    Settings,
    env_source,
    mapping_source,
)

GIB = 2**30
EFS = {"f_bavail": 2**63 // 1048576, "f_frsize": 1048576, "f_files": 0, "f_favail": 0}


def check(gib: str | None, inodes: str | None, **room: int) -> None:
    """Check margins against a filesystem that answers so."""
    answer: Any = SimpleNamespace(
        **{"f_bavail": 10 * GIB // 4096, "f_frsize": 4096, "f_files": 1000, "f_favail": 500, **room}
    )
    settings = Settings(
        mapping_source(
            {
                (MIN_FREE_SPACE.section, MIN_FREE_SPACE.key): gib,
                (MIN_FREE_INODES.section, MIN_FREE_INODES.key): inodes,
            }
        )
    )
    check_space(Path("/mnt/efs"), settings, lambda path: answer)


def test_below_the_margin() -> None:
    """Too little space, or room for too few files, is said with the margin and what to do."""
    with pytest.raises(ConfigurationError, match=r"Only 10.0 GiB are free .* margin of 11 GiB"):
        check("11", None)
    with pytest.raises(ConfigurationError, match=r"Only 500 more files fit .* margin of 501"):
        check(None, "501")


@pytest.mark.parametrize(
    ("gib", "inodes", "room"),
    [
        ("10", "500", {}),
        (None, None, {"f_bavail": 0, "f_favail": 0}),
        ("1000000", "1000000", EFS),
        ("1", "1000000", {"f_files": 0, "f_favail": 0}),
    ],
    ids=["enough", "no margin set", "EFS", "no inode limit"],
)
def test_enough(gib: str | None, inodes: str | None, room: dict[str, int]) -> None:
    """At the margin, without one, on EFS, and where there is no limit, a run may begin."""
    check(gib, inodes, **room)


def test_a_filesystem_that_does_not_answer(tmp_path: Path) -> None:
    """What cannot be asked is for others to report."""
    settings = Settings(mapping_source({(MIN_FREE_SPACE.section, MIN_FREE_SPACE.key): "1"}))
    check_space(tmp_path / "gone", settings)


def test_engine_and_runner_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that starts looks, and so does `miniwdl-run-s3upload` before anything else."""
    environ = {
        "MINIWDL__FILE_IO__ROOT": str(tmp_path),
        "MINIWDL__AWS__TASK_QUEUE": "queue",
        "MINIWDL__AWS__MIN_FREE_SPACE_GIB": "1e12",
    }
    source = env_source(environ)
    cfg: Any = SimpleNamespace(
        has_option=lambda section, key: source(section, key) is not None, get=source
    )
    with pytest.raises(ConfigurationError, match="are free on the filesystem"):
        read_settings(cfg, {})
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with pytest.raises(ConfigurationError, match="are free on the filesystem"):
        run(Options(["w.wdl"]), environ)
