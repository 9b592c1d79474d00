"""The embedded AWS: moto's services, and our Batch, ECS and FSx, on one loopback port."""

from __future__ import annotations

import functools
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from ..errors import ConfigurationError, UsageError
from . import cloudformation, iam_simulation
from .batch.http import BatchHttp
from .batch.launch import Surroundings
from .batch.service import BatchService
from .calls import OperationNames, application, caller
from .control import PREFIX, CallCounts, Control
from .ecs.consistency import EcsConsistency
from .ecs.http import EcsHttp
from .ecs.metadata import PREFIX as METADATA_PREFIX
from .ecs.metadata import Metadata
from .ecs.service import EcsService
from .efs import EfsDirectories
from .executors.base import Executor
from .executors.process import ProcessExecutor
from .faults.calls import CallFaults
from .faults.consistency import ConsistencyFaults
from .faults.injector import FaultInjector
from .faults.plan import FaultPlan
from .fsx.http import FsxHttp
from .fsx.service import FsxService
from .prices import PriceList, spot_price_history
from .rates import RateLimit
from .recording import CallRecord
from .s3_fast import PlainPuts
from .s3files.http import S3FilesHttp
from .s3files.service import S3FilesService
from .state import ServerState, StateDirectory
from .wsgi import LoopbackServer

logger = logging.getLogger(__name__)

DEFAULT_REGION = "us-east-1"
_T = TypeVar("_T")


class LocalCloud:
    """An embedded AWS.

    Parameters
    ----------
    state
        Directory for what it keeps: ``server.json``, file systems, working directories.
    filesystem
        Directory that stands for the deployment's shared filesystem.
    executor
        ``process`` or ``docker``.
    port
        TCP port on loopback; 0 lets the system choose.
    region
        The one Region that it has Batch in.
    calls_per_second
        Calls a second of Batch, and as many of ECS, above which they ask to slow down; `None` for
        no limit. ECS's own limits on RunTask hold in any case.
    images
        Directories with the commands of container images, by image name, for the process executor.
    stop_grace_s
        Seconds between SIGTERM and SIGKILL for a job that is ended.
    faults
        The fault plan to begin with.
    record
        File that each call is written into; see `recording.py`.

    Raises
    ------
    ConfigurationError
        Another emulator holds the state directory, or the port is taken.
    UsageError
        There is no such executor.
    """

    def __init__(
        self,
        state: Path,
        filesystem: Path,
        executor: str = "process",
        port: int = 0,
        region: str = DEFAULT_REGION,
        calls_per_second: float | None = None,
        images: Mapping[str, Path] | None = None,
        stop_grace_s: float = 30.0,
        faults: FaultPlan | None = None,
        record: Path | None = None,
    ) -> None:
        if executor not in ("process", "docker"):
            raise UsageError(f"There is no executor '{executor}'; use process or docker.")
        self.state = state.absolute()
        self.filesystem = filesystem.absolute()
        self.region = region
        self.executor_name = executor
        self.calls = CallCounts()
        self._record = CallRecord(record) if record else None
        self._names = OperationNames()
        self.faults = FaultInjector(faults)
        self._closing = threading.Event()
        self._call_faults = CallFaults(self.faults, self._closing)
        self.stop_requested = threading.Event()
        self._images = dict(images or {})
        self._port = port
        self._calls_per_second = calls_per_second
        self._stop_grace_s = stop_grace_s
        self._directory: StateDirectory | None = None
        self._server: LoopbackServer | None = None
        self._serving: threading.Thread | None = None
        self._batch: BatchService | None = None
        self._ecs: EcsService | None = None
        self._fsx: FsxService | None = None
        self._s3files: S3FilesService | None = None
        self._executor: Executor | None = None
        self._started_at = time.time()

    @property
    def endpoint_url(self) -> str:
        """Where it answers, once started."""
        return _running(self._server).url

    @property
    def batch(self) -> BatchService:
        """The Batch service, once started."""
        return _running(self._batch)

    @property
    def ecs(self) -> EcsService:
        """The ECS service, once started."""
        return _running(self._ecs)

    @property
    def fsx(self) -> FsxService:
        """The FSx service, once started."""
        return _running(self._fsx)

    @property
    def s3files(self) -> S3FilesService:
        """The S3 Files service, once started."""
        return _running(self._s3files)

    def start(self) -> None:
        """Start; returns when it answers.

        Raises
        ------
        ConfigurationError
            Another emulator holds the state directory, or the port is taken.
        """
        self._directory = StateDirectory(self.state)
        try:
            self._start(self._directory)
        except BaseException:
            self.stop()
            raise

    def _start(self, directory: StateDirectory) -> None:
        self.filesystem.mkdir(parents=True, exist_ok=True)
        scratch = self.state / "jobs"
        shutil.rmtree(scratch, ignore_errors=True)
        moto = _moto_application()
        try:
            server = LoopbackServer(self._dispatch, self._port)
        except OSError as exn:
            raise ConfigurationError(
                f"Port {self._port} cannot be used ({exn.strerror}); choose another with --port."
            ) from None
        self._server = server
        self._executor = self._make_executor(scratch)
        efs = EfsDirectories(self.filesystem, self.state / "efs", self.region)
        self._s3files = S3FilesService(self.region, self.filesystem, self.state / "s3files")
        self._s3files_http = S3FilesHttp(self._s3files)
        around = Surroundings(self.region, server.url, efs.resolve, self._s3files.resolve)
        self._batch = BatchService(self._executor, around, self._stop_grace_s, self.faults)
        self._batch.start()
        self._ecs = EcsService(self._executor, around, self._stop_grace_s, self.faults)
        self._ecs.batch_instances = self._batch.describe_container_instances
        self._ecs.start()
        self._fsx = FsxService(self.region, self.filesystem, self.state / "fsx")
        cloudformation.install()
        self._fsx_http = FsxHttp(self._fsx)
        self._moto = moto
        self._batch_http = BatchHttp(
            self._batch, RateLimit(self._calls_per_second), ConsistencyFaults(self.faults)
        )
        self._ecs_http = EcsHttp(
            self._ecs, RateLimit(self._calls_per_second), EcsConsistency(self.faults)
        )
        self._metadata = Metadata(self._ecs)
        self._price_list = PriceList()
        self._control = Control(
            self.calls,
            self._health,
            self.stop_requested.set,
            self._interrupt,
            self.faults,
        )
        self._serving = threading.Thread(
            target=server.serve_forever,
            kwargs={"poll_interval": 0.1},
            name="emulator-server",
            daemon=True,
        )
        self._serving.start()
        directory.publish(
            ServerState(
                pid=os.getpid(),
                endpoint_url=server.url,
                region=self.region,
                filesystem=str(self.filesystem),
                executor=self.executor_name,
            )
        )

    def stop(self) -> None:
        """Kill all jobs and stop. Does nothing if it does not run."""
        self._closing.set()
        if self._batch is not None:
            self._batch.close()
            self._batch = None
        if self._ecs is not None:
            self._ecs.close()
            self._ecs = None
        if self._fsx is not None:
            self._fsx.close()
            self._fsx = None
        if self._s3files is not None:
            self._s3files.close()
            self._s3files = None
        if self._executor is not None:
            self._executor.close()
            self._executor = None
        if self._server is not None:
            if self._serving is not None:
                # It would wait for ever for a server that has not begun to serve.
                self._server.shutdown()
                self._serving = None
            self._server.server_close()
            self._server = None
        if self._record is not None:
            self._record.close()
        if self._directory is not None:
            self._directory.release()
            self._directory = None

    def __enter__(self) -> LocalCloud:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def _make_executor(self, scratch: Path) -> Executor:
        if self.executor_name == "process":
            return ProcessExecutor(scratch, self._images, self.filesystem)
        from .executors.docker import DockerExecutor

        executor: Executor = DockerExecutor(owner=str(self.state))
        return executor

    def _interrupt(self, name: str) -> None:
        """Interrupt a Batch job by its id, or an ECS task by its ARN."""
        if ":task/" in name:
            self.ecs.interrupt_task(name)
        else:
            self.batch.interrupt_job(name)

    def _health(self) -> Mapping[str, Any]:
        return {
            "pid": os.getpid(),
            "region": self.region,
            "filesystem": str(self.filesystem),
            "executor": self.executor_name,
            "uptime_s": round(time.time() - self._started_at, 3),
        }

    def _dispatch(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        if environ["PATH_INFO"].startswith(PREFIX):
            return self._control(environ, start_response)
        if environ["PATH_INFO"].startswith(METADATA_PREFIX):
            return self._metadata(environ, start_response)
        called = caller(environ)
        if called is not None:
            service, region = called
            operation = self._names.name(service, environ)
            self.calls.add(service, operation, application(environ))
            if self._record is not None:
                self._record.add(service, operation, environ)
            serve = functools.partial(self._serve, service, region, operation, environ)
            return self._call_faults.answer(service, operation, environ, start_response, serve)
        return self._serve("", "", "", environ, start_response)

    def _serve(
        self,
        service: str,
        region: str,
        operation: str,
        environ: dict[str, Any],
        start_response: Callable[..., Any],
    ) -> Iterable[bytes]:
        if service == "batch":
            return self._batch_http.answer(region, operation, environ, start_response)
        if service == "ecs":
            return self._ecs_http.answer(region, environ, start_response)
        if service == "fsx":
            return self._fsx_http.answer(region, environ, start_response)
        if service == "pricing":
            return self._price_list.answer(region, environ, start_response)
        if service == "ec2" and operation == "DescribeSpotPriceHistory":
            return spot_price_history(environ, region, start_response)
        if service == "s3files":
            return self._s3files_http.answer(region, operation, environ, start_response)
        if (service, operation) == ("iam", "SimulatePrincipalPolicy"):
            return iam_simulation.answer(environ, start_response)
        answer: Iterable[bytes]
        if service == "cloudformation":
            with cloudformation.serving(self.batch, self.ecs, self.fsx):
                answer = self._moto(environ, start_response)
        else:
            answer = self._moto(environ, start_response)
        return answer


def _running(part: _T | None) -> _T:
    if part is None:
        raise RuntimeError("The embedded AWS does not run.")
    return part


def _moto_application() -> Any:
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

    moto = DomainDispatcherApplication(create_backend_app)
    # moto lists all of its own directories for each request, a third of what an S3 request costs.
    found = functools.lru_cache(maxsize=256)(moto.get_backend_for_host)
    moto.get_backend_for_host = found
    return PlainPuts(moto)
