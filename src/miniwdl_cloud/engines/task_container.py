"""A task as a job of a queue service, over a shared filesystem: what our engines have in common.

A task's thread writes its files, hands a JobRequest to the dispatcher, and waits for news.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from abc import abstractmethod
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar

import WDL
from WDL.runtime.task_container import TaskContainer

from ..accounting.adoption import Offer
from ..errors import BudgetReached, FilesystemFull, MiniwdlCloudError
from ..jobs.blocked import Blockage
from ..jobs.handle import Cancelled, Changed, Ended, JobHandle, Lost, Refused, Submitted, Waiting
from ..jobs.outcome import JobOutcome, TaskResult, Verdict, classify, lost
from ..jobs.request import JobRequest, JobSnapshot, JobState
from ..miniwdl_compat import (
    SharedPathsMixin,
    follows_stderr,
    termination_flag,
)
from ..miniwdl_compat import log_message as _
from ..patience import patiently
from . import task_files
from .adopting import FormerTask, IdentifiedTask
from .attempt_files import AttemptFiles, check_directory_output
from .choice import Demand, choose, engine_class
from .context import EngineContext
from .isolation import STRICT
from .job_log import log_change
from .patience import Patience
from .retries import Attempts
from .runtime_values import note_accelerators, note_isolation, note_settings
from .spending import changed, check_budget, keep_detail
from .task_job import MIN_MEMORY_MIB, identity_of
from .task_settings import check_engine
from .task_source import TaskSettings, read, settings_of
from .twins import other_job

FOLLOW_PERIOD = 0.5
"""Seconds between two looks at a task's standard error, where somebody listens."""


class SharedTask(IdentifiedTask, SharedPathsMixin, TaskContainer):  # type: ignore[misc]
    """A task as a job. The registered engines are siblings that derive from this: miniwdl marks an
    engine as initialised by a class attribute, which one engine would hand down to another.

    miniwdl makes every task of a run with one class, the configured engine, and before it knows the
    task's runtime section. A task that another engine is to run becomes one of that class then, by
    `process_runtime`: until then, all that it has is what the classes have in common.
    """

    _initialising: ClassVar = threading.Lock()
    # Of the file that keeps what the queue service said last of a job; for the job's id.
    _detail_name: ClassVar[str]
    # miniwdl's contract: it initialises an engine once, as a class, before it makes any object.
    _context: ClassVar[EngineContext]

    @classmethod
    def global_init(cls, cfg: WDL.runtime.config.Loader, logger: logging.Logger) -> None:
        """Read the settings and look up what they name; see miniwdl's TaskContainer."""
        try:
            with termination_flag(logger) as terminating:
                cls._context = patiently(
                    lambda: cls._make_context(cfg, logger),
                    terminating,
                    lambda exn: logger.warning(_("waiting for AWS to answer", message=str(exn))),
                )
        except MiniwdlCloudError as exn:
            raise runtime_error(exn) from exn
        cls._announce(logger)

    # What each engine says for itself

    @classmethod
    @abstractmethod
    def _make_context(cls, cfg: WDL.runtime.config.Loader, logger: logging.Logger) -> EngineContext:
        """Read the settings and look up what they name."""

    @classmethod
    @abstractmethod
    def _announce(cls, logger: logging.Logger) -> None:
        """Log what was found."""

    def _begin(self) -> None:
        """Set what an engine keeps of a task, before its first attempt."""
        self._attempts = Attempts()

    def _read_runtime(
        self, logger: logging.Logger, runtime_eval: dict[str, WDL.Value.Base]
    ) -> None:
        """Read the task's runtime section, accelerators included."""
        super().process_runtime(logger, runtime_eval)
        note_accelerators(runtime_eval, self.runtime_values, logger)
        note_isolation(runtime_eval, self.runtime_values, self._settings)

    @abstractmethod
    def _queue(self, logger: logging.Logger) -> str:
        """The queue of the next attempt."""

    @abstractmethod
    def _make_request(self, logger: logging.Logger, queue: str, files: AttemptFiles) -> JobRequest:
        """The job of the next attempt."""

    def __init__(self, cfg: WDL.runtime.config.Loader, run_id: str, host_dir: str) -> None:
        super().__init__(cfg, run_id, host_dir)
        # The shared filesystem is at the same path everywhere.
        self.container_dir = self.host_dir
        self._inputs_copied = False
        self._former: FormerTask | None = None
        self._settings = self._context.settings
        self._task = TaskSettings()
        self._attempts = Attempts()
        self._begin()
        self._files: AttemptFiles | None = None
        self._request: JobRequest | None = None
        self._patience = Patience(0.0)
        self._terminating: Callable[[], bool] = lambda: False
        self._fatal: Exception | None = None

    def host_work_dir(self) -> str:
        """Always ``work``: its path stands in the command, which miniwdl interpolates once."""
        return str(Path(self.host_dir) / "work")

    def copy_input_files(self, logger: logging.Logger) -> None:
        """Copy inputs into the working directory, for this attempt."""
        super().copy_input_files(logger)
        self._inputs_copied = True

    def process_runtime(
        self, logger: logging.Logger, runtime_eval: dict[str, WDL.Value.Base]
    ) -> None:
        """Read the task's settings, choose its engine, and read its runtime section."""
        settings = self._context.settings
        default = self.cfg.get("scheduler", "container_backend")
        try:
            self._task = read(runtime_eval, settings.task_settings_dict)
            demand = Demand.of(runtime_eval)
            engine = choose(default, self._task.values, settings.small_tasks_vcpus, demand)
            check_engine(self._task.said, engine)
            if engine != default:
                self._become(engine, logger)
            self._settings = settings_of(self._context.settings, self._task)
            note_settings(self._task, self.runtime_values)
            self._read_runtime(logger, runtime_eval)
        except MiniwdlCloudError as exn:
            raise runtime_error(exn) from exn

    def _become(self, engine: str, logger: logging.Logger) -> None:
        """Change to a task of another engine, which is initialised when its first task comes."""
        chosen = engine_class(engine)
        with SharedTask._initialising:
            if "_context" not in vars(chosen):
                chosen.global_init(self.cfg, logger)
        self.__class__ = chosen
        self._begin()
        logger.info(_("engine of this task", engine=engine))

    def reset(self, logger: logging.Logger) -> None:
        """Put the failed attempt's directory aside and wait before the next one."""
        if self._fatal is not None:
            # Trying again cannot help, whatever maxRetries says.
            raise self._fatal
        wait = self._attempts.pause(self._context.settings.retry_wait_s)
        if wait > 0:
            logger.info(_("waiting before the next attempt", seconds=round(wait, 1)))
            until = time.monotonic() + wait
            while time.monotonic() < until and not self._terminating():
                time.sleep(min(0.5, wait))
        work = Path(self.host_work_dir())
        if work.exists():
            task_files.put_aside(work, work.with_name(f"work.try{self.try_counter}"))
        self._inputs_copied = False
        super().reset(logger)

    def _run(self, logger: logging.Logger, terminating: Callable[[], bool], command: str) -> int:
        self._terminating = terminating
        self._attempts.max_retries = self.runtime_values.get("maxRetries", 0)
        self._attempts.preemptible = self.runtime_values.get("preemptible", 0)
        self._patience = Patience(self._context.settings.blocked_wait_s)
        try:
            adopted = self._adopt(logger)
            if adopted is not None:
                return adopted
            with self._attempt_files(logger) as files, ExitStack() as cleanup:
                self._files = files
                inputs = None if self._inputs_copied else self.input_path_map
                files.write(command, self._environment(), inputs)
                handle = self._submit(logger, files, cleanup)
                snapshot = self._await(logger, cleanup, handle, follow=True)
            return self._ended(logger, snapshot)
        except MiniwdlCloudError as exn:
            error = runtime_error(exn)
            if isinstance(exn, (BudgetReached, FilesystemFull)):
                self._fatal = error
            raise error from exn

    def _environment(self) -> dict[str, str]:
        """The variables of the command: the task's, and who it is."""
        who = identity_of(
            run=self._task.facts.run,
            task=self._task.facts.task,
            run_id=self.run_id,
            attempt=self.try_counter,
            workflow_job=self._settings.parent_job_id,
        )
        return {**self.runtime_values.get("env", {}), **who}

    def _attempt_files(self, logger: logging.Logger) -> AttemptFiles:
        return AttemptFiles(
            Path(self.host_dir),
            self.try_counter,
            (Path(self.host_stdout_txt()), Path(self.host_stderr_txt())),
            self._context.filesystem,
            self.runtime_values.get("isolation") == STRICT,
            logger,
        )

    @property
    def _files_dir(self) -> Path:
        """Where the files of `task_files` are."""
        return self._files.directory if self._files else Path(self.host_dir)

    def _submit(self, logger: logging.Logger, files: AttemptFiles, cleanup: ExitStack) -> JobHandle:
        check_budget(self._settings)
        self._request = request = self._make_request(logger, self._queue(logger), files)
        if files.isolated:
            cleanup.callback(self._context.dispatcher.retire, request.definition)
        logger.debug(_("submitting job", jobName=request.name, jobQueue=request.queue))
        return self._context.dispatcher.submit(request, self._is_unwanted)

    def _user(self, logger: logging.Logger) -> str | None:
        if not self.cfg["task_runtime"].get_bool("as_user"):
            return None
        if os.geteuid() == 0:
            logger.warning("with --as-me, the task runs as root, as miniwdl itself does")
        return f"{os.geteuid()}:{os.getegid()}"

    def _await(
        self, logger: logging.Logger, cleanup: ExitStack, handle: JobHandle, follow: bool
    ) -> JobSnapshot:
        """Wait for the job's end; ``follow`` its standard error where somebody listens."""
        poll_stderr: Callable[[], None] | None = None
        if follow and follows_stderr(self, logger):
            poll_stderr = cleanup.enter_context(self.poll_stderr_context(logger))
            # It is opened now, before the task can put a link in its place.
            poll_stderr()
        running = False
        while True:
            news = handle.next(FOLLOW_PERIOD if poll_stderr and running else self._patience.left())
            self._patience.check()
            if poll_stderr and running:
                poll_stderr()
            if news is None:
                if self._context.dispatcher.closed:
                    raise WDL.Error.RuntimeError("the job dispatcher has stopped; see the log")
            elif isinstance(news, Waiting):
                self._waits(True)
            elif isinstance(news, Submitted):
                self._waits(False)
                logger.info(_("job submitted", jobId=news.job_id))
            elif isinstance(news, Changed):
                started = news.snapshot.state in (JobState.STARTING, JobState.RUNNING)
                if started and not running:
                    running = True
                    cleanup.enter_context(self.task_running_context())
                self._changed(logger, news.snapshot)
            elif isinstance(news, (Ended, Lost)):
                snapshot = news.snapshot if isinstance(news, Ended) else lost(news.job_id)
                other = (
                    self._other_job(snapshot.job_id) if follow and _went_wrong(snapshot) else None
                )
                if other is None:
                    return snapshot
                handle = self._follow(logger, other)
            elif isinstance(news, Cancelled):
                if news.error is not None:
                    logger.error(
                        _("job could not be terminated", jobId=news.job_id, error=str(news.error))
                    )
                elif news.job_id is not None:
                    logger.info(_("job terminated", jobId=news.job_id))
                other = self._other_job(news.job_id) if follow else None
                if other is not None:
                    # It is not wanted either.
                    handle = self._follow(logger, other)
                    continue
                raise self._cancelled(news.job_id, running)
            elif isinstance(news, Refused):
                if isinstance(news.error, MiniwdlCloudError):
                    raise news.error
                raise WDL.Error.RuntimeError(f"the job could not be submitted: {news.error}")

    def _other_job(self, job_id: str | None) -> str | None:
        queue, attempt = self._context.account.queue, self.try_counter
        return other_job(queue, self._files_dir, attempt, job_id, self._is_unwanted)

    def _follow(self, logger: logging.Logger, job_id: str) -> JobHandle:
        logger.notice(  # type: ignore[attr-defined]
            _("another job, of a submission whose answer was lost, has the task", jobId=job_id)
        )
        assert self._request is not None
        self._context.account.follow(self._request, job_id)
        return self._context.dispatcher.adopt(self._request, job_id, self._is_unwanted)

    def _ended(self, logger: logging.Logger, snapshot: JobSnapshot) -> int:
        self._keep_detail(logger, snapshot)
        outcome = classify(snapshot, self._result(snapshot))
        if outcome.verdict is Verdict.SUCCESS:
            return outcome.exit_code or 0
        self.failure_info = outcome.more_info
        return self._failed(logger, outcome)

    def _keep_detail(self, logger: logging.Logger, snapshot: JobSnapshot) -> None:
        log_change(logger, snapshot)
        path = Path(self.host_dir) / self._detail_name.format(snapshot.job_id.rpartition("/")[2])
        usage = task_files.read_usage(self._files_dir, self.try_counter)
        keep_detail(path, self._settings, self._request, snapshot, usage, logger)

    def _result(self, snapshot: JobSnapshot) -> TaskResult | None:
        """What the job recorded. After a failure, no other job may begin this attempt any more."""
        task_dir = self._files_dir
        if _went_wrong(snapshot):
            claim = task_files.close_attempt(task_dir, self.try_counter)
            if claim == task_files.CLOSED:
                return None
        return task_files.await_result(task_dir, self.try_counter)

    def _failed(self, logger: logging.Logger, outcome: JobOutcome) -> int:
        """Tell miniwdl of a failure: by exit code where the command has one, else by exception."""
        if outcome.verdict in (Verdict.INTERRUPTED, Verdict.INFRASTRUCTURE):
            raise self._interrupted(outcome)
        if outcome.verdict is Verdict.OUT_OF_MEMORY:
            self._out_of_memory(logger, outcome)
        self._attempts.note(outcome)
        if outcome.verdict is Verdict.COMMAND_FAILED and outcome.exit_code:
            return outcome.exit_code
        logger.error(_(outcome.message, **outcome.more_info))
        if outcome.verdict is Verdict.OUT_OF_MEMORY and outcome.exit_code:
            return outcome.exit_code
        error = WDL.Error.RuntimeError(outcome.message, more_info=outcome.more_info)
        if outcome.verdict is Verdict.FATAL:
            self._fatal = error
        raise error

    def _out_of_memory(self, logger: logging.Logger, outcome: JobOutcome) -> None:
        """Raise the memory of the next attempt, if there is to be one; an attempt that is left for
        interruptions will do."""
        used = self._request.resources.memory_mib if self._request else MIN_MEMORY_MIB
        factor = self._context.settings.memory_retry_factor
        raised = self._attempts.raise_memory(used, factor, self._context.limits.memory_mib)
        attempts = self._attempts
        if not raised or not (attempts.retries_left or attempts.interruptions_left):
            return
        logger.warning(
            _(
                "out of memory; the next attempt gets more",
                memory_mib=used,
                next_memory_mib=attempts.memory_mib,
                peak_memory_bytes=outcome.more_info.get("peakMemoryBytes"),
            )
        )
        if not attempts.retries_left:
            attempts.interruptions += 1
            raise WDL.runtime.Interrupted(outcome.message, more_info=outcome.more_info)

    def _interrupted(self, outcome: JobOutcome) -> Exception:
        self._attempts.note(outcome)
        error: Exception = WDL.runtime.Interrupted(outcome.message, more_info=self.failure_info)
        return error

    # Jobs of runs that are gone

    def _adopt(self, logger: logging.Logger) -> int | None:
        """Take over what another run began, if there is any that ends well; returns the command's
        exit code."""
        account, call = self._context.account, self.call
        if call is None or self.try_counter > 1 or not self._context.settings.adopt:
            return None
        if self.runtime_values.get("isolation") == STRICT:
            return None
        while True:
            taken = account.take(call.key, self._is_unwanted)
            if taken is None:
                return None
            offer, job_id = taken
            former = FormerTask(offer)
            if not former.is_current(call):
                logger.info(_("job not adopted, its files have changed or gone", jobId=job_id))
                continue
            account.adopt(offer, job_id, self.host_dir)
            code = self._adopted_code(logger, former, offer, job_id)
            if code is None:
                former.give_up()
                continue
            try:
                former.move_to(Path(self.host_dir))
            except OSError as exn:
                raise WDL.Error.RuntimeError(
                    f"the files of the adopted job {job_id} could not be moved: {exn}"
                ) from exn
            self._former = former
            logger.notice(  # type: ignore[attr-defined]
                _("adopted", jobId=job_id, former_dir=former.directories[0])
            )
            return code

    def _adopted_code(
        self, logger: logging.Logger, former: FormerTask, offer: Offer, job_id: str
    ) -> int | None:
        """The exit code of an adopted job's command once it has ended; ``None`` if not well."""
        result = former.result()
        if result is None or result.exit_code is None:
            logger.notice(  # type: ignore[attr-defined]
                _("adopting job", jobId=job_id, former_dir=former.directories[0])
            )
            self._context.account.mark(offer, job_id)
            handle = self._context.dispatcher.adopt(offer.request, job_id, self._is_unwanted)
            with ExitStack() as cleanup:
                snapshot = self._await(logger, cleanup, handle, follow=False)
            self._keep_detail(logger, snapshot)
            outcome = classify(snapshot, former.result(wait=True))
            code, message = outcome.exit_code, outcome.message
            well = outcome.verdict is Verdict.SUCCESS
            well = well or (outcome.verdict is Verdict.COMMAND_FAILED and code is not None)
        else:
            # Its record is its last act but to end.
            code, well = result.exit_code, True
            message = f"the command ended with exit code {code}"
        if well and self.success_exit_code(code or 0):
            return code or 0
        logger.warning(_("job not adopted, the task starts anew", jobId=job_id, message=message))
        return None

    def _cancelled(self, job_id: str | None, running: bool) -> Exception:
        """What miniwdl is told of a job that was terminated because it is not wanted any more."""
        if self._patience.gave_up is not None and not self._terminating():
            return self._blocked(self._patience.gave_up, job_id)
        error: Exception = WDL.runtime.Terminated(quiet=not running)
        return error

    def _is_unwanted(self) -> bool:
        return self._terminating() or self._patience.gave_up is not None

    def host_path(self, container_path: str, inputs_only: bool = False) -> str | None:
        """The path of an output; see miniwdl's TaskContainer. An adopted job may have written
        paths of its former run directory."""
        if self._former is not None:
            container_path = self._former.path_in(
                self.host_dir, container_path, self.input_path_map
            )
        path: str | None = super().host_path(container_path, inputs_only)
        isolated = self.runtime_values.get("isolation") == STRICT
        if isolated and path and path.endswith("/") and path.startswith(self.host_work_dir()):
            check_directory_output(container_path, path)
        return path

    # Jobs that cannot start

    def _waits(self, waits: bool) -> None:
        """Whether the queue service has no room for the job at this time, and it is tried again."""

    def _changed(self, logger: logging.Logger, snapshot: JobSnapshot) -> None:
        log_change(logger, snapshot)
        changed(self._settings, self._request, snapshot)
        self._patience.note(logger, snapshot)

    def _blocked(self, blockage: Blockage, job_id: str | None) -> Exception:
        """After a want of capacity the fallback queue may do better; else no attempt will."""
        self.failure_info = {
            "jobId": job_id or "",
            "statusReason": blockage.reason,
            "verdict": "blocked",
        }
        message = f"the job could not start: {blockage.advice}"
        if blockage.passing:
            return self._interrupted(JobOutcome(Verdict.INTERRUPTED, None, message))
        self._fatal = WDL.Error.RuntimeError(message, more_info=self.failure_info)
        return self._fatal


def _went_wrong(snapshot: JobSnapshot) -> bool:
    return snapshot.state is not JobState.SUCCEEDED


def runtime_error(exn: MiniwdlCloudError) -> Exception:
    """One of our errors as miniwdl's."""
    error: Exception = WDL.Error.RuntimeError(exn.message, more_info=exn.more_info)
    return error
