"""The engines `aws_batch_job` (EFS) and `aws_batch_job_no_efs` (host-mounted filesystem)."""

from __future__ import annotations

import logging
from typing import ClassVar

import WDL

from ..jobs.request import JobRequest
from ..miniwdl_compat import log_message as _
from .adopting import without_vain_adoption
from .attempt_files import AttemptFiles
from .config import read_settings
from .context import EngineContext, make_context
from .task_container import SharedTask
from .task_job import request_of


class _BatchTask(SharedTask):
    """A task as an AWS Batch job."""

    _detail_name = "awsBatchJobDetail.{}.json"
    _efs: ClassVar[bool]

    @classmethod
    def _make_context(cls, cfg: WDL.runtime.config.Loader, logger: logging.Logger) -> EngineContext:
        return make_context(without_vain_adoption(read_settings(cfg), cfg, logger), cls._efs)

    @classmethod
    def _announce(cls, logger: logging.Logger) -> None:
        settings, limits = cls._context.settings, cls._context.limits
        logger.info(
            _(
                "AWS Batch engine",
                task_queue=settings.task_queue,
                task_queue_fallback=settings.task_queue_fallback,
                mount=settings.mount,
                fs=settings.fs,
                fsap=settings.fsap,
                cpu_max=limits.vcpus,
                memory_max_mib=limits.memory_mib,
            )
        )

    @classmethod
    def detect_resource_limits(
        cls, cfg: WDL.runtime.config.Loader, logger: logging.Logger
    ) -> dict[str, int]:
        """The largest task that the queue's compute environments can run."""
        limits = cls._context.limits
        # The delta is added after rounding down, so it is taken into account here.
        mib = limits.memory_mib - min(0, cls._context.settings.memory_delta_mib)
        return {"cpu": limits.vcpus, "mem_bytes": mib * 2**20}

    def _queue(self, logger: logging.Logger) -> str:
        settings = self._settings
        queue = settings.task_queue
        if settings.task_queue_fallback and self._attempts.wants_fallback:
            queue = settings.task_queue_fallback
            logger.notice(  # type: ignore[attr-defined]
                _("interrupted too often; using the fallback queue", jobQueue=queue)
            )
        return queue

    def _make_request(self, logger: logging.Logger, queue: str, files: AttemptFiles) -> JobRequest:
        return request_of(
            run_id=self.run_id,
            task_dir=self.host_dir,
            attempt=self.try_counter,
            shell=self.cfg.get("task_runtime", "command_shell"),
            queue=queue,
            runtime=self.runtime_values,
            filesystem=files.filesystem,
            settings=self._settings,
            user=self._user(logger) or files.owner,
            least_mib=self._attempts.memory_mib,
            # Without a key, no other run takes it over: an isolated task's files are elsewhere.
            cache_key=self.call.key if self.call and not files.isolated else "",
            alone=files.isolated is not None,
        )


class BatchJobEfs(_BatchTask):
    """`aws_batch_job`: Batch jobs that share an EFS file system."""

    _efs = True


class BatchJobHostMount(_BatchTask):
    """`aws_batch_job_no_efs`: Batch jobs that share whatever their instances mount."""

    _efs = False
