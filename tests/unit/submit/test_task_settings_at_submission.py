"""Task settings are checked by `miniwdl-aws-submit` before anything is sent."""

from __future__ import annotations

from pathlib import Path

import pytest

from miniwdl_cloud.errors import UsageError
from miniwdl_cloud.miniwdl_compat import run_options
from miniwdl_cloud.submit.run_args import RunArguments
from miniwdl_cloud.submit.source import read

SOURCE = """version 1.2
workflow w { call good }
task good { command <<< >>> hints { aws: object { timeout: 60 } } }
task bad { command <<< >>> hints { aws: object { timeout: "soon" } } }
"""


def test_wrong_settings_are_not_submitted(tmp_path: Path) -> None:
    """Those of the tasks that would run: the workflow's, or the one that is named."""
    path = tmp_path / "source.wdl"
    path.write_text(SOURCE)
    assert read(RunArguments([str(path)], run_options()), "/mnt/efs").document is not None
    with pytest.raises(UsageError, match=r"source\.wdl:4:59: hints\.aws\.timeout should be"):
        read(RunArguments([str(path), "--task", "bad"], run_options()), "/mnt/efs")
