"""A miniwdl container backend that only starts a subprocess: the floor under any backend.

It has no queue, no containers and no API calls, so a run on it costs what miniwdl itself costs.
The benchmark compares with it; it is not part of the package. Put this directory on ``PYTHONPATH``
and set ``MINIWDL__SCHEDULER__CONTAINER_BACKEND=floor``.
"""

from __future__ import annotations

import logging
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from WDL.runtime import Terminated
from WDL.runtime.config import Loader
from WDL.runtime.task_container import TaskContainer


class FloorBackend(TaskContainer):
    """Runs a task's command with bash on this machine, input files linked into its directory."""

    @classmethod
    def global_init(cls, cfg: Loader, logger: logging.Logger) -> None:
        """There is nothing to set up."""

    @classmethod
    def detect_resource_limits(cls, cfg: Loader, logger: logging.Logger) -> dict[str, int]:
        """Far more than any task asks for, so that nothing is rounded down."""
        return {"cpu": 4096, "mem_bytes": 1 << 50}

    def __init__(self, cfg: Loader, run_id: str, host_dir: str) -> None:
        super().__init__(cfg, run_id, host_dir)
        self.container_dir = self.host_dir

    def _run(self, logger: logging.Logger, terminating: Callable[[], bool], command: str) -> int:
        script = Path(self.host_dir, "command")
        script.write_text(command)
        for source, path in self.input_path_map.items():
            link = Path(path.rstrip("/"))
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(source.rstrip("/"))
        env = {**os.environ, **self.runtime_values.get("env", {})}
        with (
            Path(self.host_stdout_txt()).open("wb") as out,
            Path(self.host_stderr_txt()).open("wb") as err,
            self.task_running_context(),
            subprocess.Popen(
                ["/bin/bash", str(script)],
                cwd=self.host_work_dir(),
                stdout=out,
                stderr=err,
                env=env,
            ) as process,
        ):
            while True:
                if terminating():
                    process.terminate()
                    raise Terminated()
                try:
                    return process.wait(0.5)
                except subprocess.TimeoutExpired:
                    continue
