"""The engine `aws_fargate`: tasks as ECS tasks on Fargate, which start without a machine of one's
own."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import Any, ClassVar

import WDL

from ..jobs.outcome import JobOutcome, Verdict
from ..jobs.request import JobRequest, JobSnapshot, JobState
from ..miniwdl_compat import log_message as _
from .adopting import without_vain_adoption
from .attempt_files import AttemptFiles
from .ecs_queue import queue_name
from .fargate_config import read_fargate_settings
from .fargate_context import FargateContext, make_fargate_context
from .fargate_job import (
    INCLUDED_GIB,
    Size,
    architecture_of,
    check_runtime,
    disks_gib,
    fargate_request,
    size_of,
)
from .retries import Attempts
from .task_container import SharedTask


class Fargate(SharedTask):
    """Tasks on ECS with Fargate, over EFS."""

    _detail_name: ClassVar[str] = "ecsTask.{}.json"
    _context: ClassVar[FargateContext]

    @classmethod
    def _make_context(
        cls, cfg: WDL.runtime.config.Loader, logger: logging.Logger
    ) -> FargateContext:
        found = read_fargate_settings(cfg)
        common = without_vain_adoption(found.common, cfg, logger)
        return make_fargate_context(replace(found, common=common))

    @classmethod
    def _announce(cls, logger: logging.Logger) -> None:
        settings = cls._context.fargate
        logger.info(
            _(
                "AWS Fargate engine",
                cluster=settings.cluster,
                spot=cls._context.has_spot,
                subnets=list(settings.subnets),
                mount=settings.common.mount,
                fs=settings.common.fs,
                fsap=settings.common.fsap,
                log_group=settings.log_group,
            )
        )

    @classmethod
    def detect_resource_limits(
        cls, cfg: WDL.runtime.config.Loader, logger: logging.Logger
    ) -> dict[str, int]:
        """The largest task that Fargate has."""
        limits = cls._context.limits
        return {"cpu": int(limits.vcpus), "mem_bytes": limits.memory_mib * 2**20}

    def _begin(self) -> None:
        self._attempts = Attempts(memory_mib=0)
        self._running_since: float | None = None
        self._on_spot = False
        self._waiting_since: float | None = None
        self._spot_refused = False

    def _read_runtime(
        self, logger: logging.Logger, runtime_eval: dict[str, WDL.Value.Base]
    ) -> None:
        """Read the task's runtime section, with its disks and CPU architecture."""
        super()._read_runtime(logger, runtime_eval)
        if "disks" in runtime_eval and "disks_gib" not in self.runtime_values:
            self._process_disks(logger, runtime_eval["disks"].json)
        if "cpuArchitecture" in runtime_eval:
            wanted = str(runtime_eval["cpuArchitecture"].json)
            self.runtime_values["cpuArchitecture"] = architecture_of(wanted)
        check_runtime(self.runtime_values)

    def _process_disks(self, logger: logging.Logger, disks: Any) -> None:
        texts = disks if isinstance(disks, list) else [disks]
        gib = disks_gib(",".join(str(text) for text in texts))
        if gib is None:
            logger.warning(_("runtime.disks is not understood and ignored", disks=disks))
        else:
            self.runtime_values["disks_gib"] = gib

    def _queue(self, logger: logging.Logger) -> str:
        context = self._context
        spot = self._attempts.preemptible > 0 and context.has_spot
        if spot and self._spot_refused:
            spot = False
            logger.notice(  # type: ignore[attr-defined]
                _("Fargate Spot had no capacity for the task; running on demand")
            )
        elif spot and self._attempts.wants_fallback:
            spot = False
            logger.notice(  # type: ignore[attr-defined]
                _("interrupted too often on Fargate Spot; running on demand")
            )
        self._on_spot, self._waiting_since = spot, None
        return queue_name(context.fargate.cluster, spot)

    def _make_request(self, logger: logging.Logger, queue: str, files: AttemptFiles) -> JobRequest:
        self._running_since = None
        settings = replace(self._context.fargate, common=self._settings)
        size = size_of(self.runtime_values, settings, self._attempts.memory_mib)
        _log_size(logger, size)
        return fargate_request(
            run_id=self.run_id,
            task_dir=self.host_dir,
            attempt=self.try_counter,
            shell=self.cfg.get("task_runtime", "command_shell"),
            queue=queue,
            runtime=self.runtime_values,
            filesystem=files.filesystem,
            settings=settings,
            user=self._user(logger) or files.owner,
            resources=size.given,
            cache_key=self.call.key if self.call and not files.isolated else "",
            alone=files.isolated is not None,
        )

    # A task that Fargate Spot has no capacity for.

    def _waits(self, waits: bool) -> None:
        self._waiting_since = time.monotonic() if waits else None

    def _no_spot_any_more(self) -> bool:
        """Asked by the dispatcher; once true, it remains so for all attempts."""
        since = self._waiting_since
        limit = self._context.fargate.spot_wait_s
        if self._on_spot and since is not None and time.monotonic() - since > limit:
            self._spot_refused = True
        return self._on_spot and self._spot_refused

    # ECS knows no limit to the time that a task may run.

    def _changed(self, logger: logging.Logger, snapshot: JobSnapshot) -> None:
        super()._changed(logger, snapshot)
        if snapshot.state is JobState.RUNNING and self._running_since is None:
            self._running_since = time.monotonic()

    @property
    def _overdue(self) -> bool:
        since = self._running_since
        limit: int = self._settings.job_timeout_s
        return since is not None and time.monotonic() - since > limit

    def _is_unwanted(self) -> bool:
        return super()._is_unwanted() or self._overdue or self._no_spot_any_more()

    def _cancelled(self, job_id: str | None, running: bool) -> Exception:
        if self._on_spot and self._spot_refused and not self._terminating():
            # Costs one of `preemptible`, which count no more once it runs on demand.
            self.failure_info = {"jobId": job_id or "", "verdict": Verdict.INTERRUPTED.value}
            message = "Fargate Spot had no capacity for the task"
            return self._interrupted(JobOutcome(Verdict.INTERRUPTED, None, message))
        if not self._overdue or self._terminating():
            return super()._cancelled(job_id, running)
        limit = self._settings.job_timeout_s
        message = f"the task was stopped after {limit} s, the time it may run ([aws] job_timeout)"
        self.failure_info = {"jobId": job_id or "", "verdict": Verdict.TIMEOUT.value}
        self._attempts.note(JobOutcome(Verdict.TIMEOUT, None, message))
        error: Exception = WDL.Error.RuntimeError(message, more_info=self.failure_info)
        return error


def _log_size(logger: logging.Logger, size: Size) -> None:
    given = size.given
    requested = _worded(size.vcpus, size.memory_mib, size.storage_gib)
    storage = (given.storage_gib or INCLUDED_GIB) if size.storage_gib else 0
    facts = {"requested": requested, "given": _worded(given.vcpus, given.memory_mib, storage)}
    if size.is_less:
        logger.warning(_("Fargate has no size as large as requested", **facts))
    else:
        logger.info(_("size on Fargate", **facts))


def _worded(vcpus: float, memory_mib: int, storage_gib: int) -> str:
    disk = f", {storage_gib} GiB disk" if storage_gib else ""
    return f"{vcpus:g} vCPU, {memory_mib} MiB{disk}"
