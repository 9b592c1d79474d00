"""Runs `miniwdl run`, uploads what it leaves, and deletes the run directory if asked."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import settings
from ..errors import ConfigurationError, MiniwdlCloudError, UsageError
from ..housekeeping.space import check_space
from ..settings import Settings
from ..submit.shipping import HASH_ENV, TAGS_ENV, TEXT_ENV, URI_ENV
from .notify import End, Notifier
from .report import write_report
from .signals import Interrupted, SignalRelay, say
from .source import fetch_arguments, option_value

if TYPE_CHECKING:
    from ..aws.s3 import S3, S3Uri
    from ..aws.session import AwsSession

DELETE_AFTER = ("success", "failure", "always")
SHIPPING_VARIABLES = frozenset({TEXT_ENV, TAGS_ENV, HASH_ENV, URI_ENV})
DEFAULT_CFG = Path(__file__).parents[1] / "miniwdl_cloud.cfg"


@dataclass(frozen=True)
class Options:
    """What the command line says.

    Parameters
    ----------
    arguments
        What passes through to `miniwdl run`, in order.
    s3upload, delete_after, task_queue
        Our own options, ``None`` where not given.
    adopt
        Whether jobs of runs that are gone are taken over; if not, the settings say.
    """

    arguments: Sequence[str]
    s3upload: str | None = None
    delete_after: str | None = None
    task_queue: str | None = None
    adopt: bool = False


def run(options: Options, environ: Mapping[str, str], miniwdl: Sequence[str] | None = None) -> int:
    """Run a workflow or task; returns the exit code.

    Parameters
    ----------
    environ
        The process environment.
    miniwdl
        The command that stands for `miniwdl`; by default that of this Python environment.

    Raises
    ------
    MiniwdlCloudError
        It could not be started, or its results could not be uploaded.
    Interrupted
        A termination signal came when miniwdl was not running.
    """
    default_cfg = default_cfg_for(options.arguments, environ)
    found = _settings(options, environ, default_cfg)
    asked = found.get(settings.S3_UPLOAD_FOLDER)
    delete_after = _delete_after(found, asked)
    root = Path(found.get(settings.FILE_IO_ROOT) or "/")
    check_space(root, found)
    # miniwdl warns of MINIWDL_* variables that it does not know.
    child_environ = {k: v for k, v in environ.items() if k not in SHIPPING_VARIABLES}
    if default_cfg:
        child_environ["MINIWDL_CFG"] = str(default_cfg)
    if options.task_queue:
        child_environ[settings.TASK_QUEUE.env] = options.task_queue
    if options.adopt:
        child_environ[settings.ADOPT.env] = "true"

    with (
        SignalRelay() as relay,
        tempfile.TemporaryDirectory(prefix="miniwdl-run-s3upload-") as temporary,
    ):
        made: list[AwsSession] = []

        def session() -> AwsSession:
            from ..aws.session import AwsSession

            if not made:
                made.append(
                    AwsSession(found.get(settings.REGION), found.get(settings.BOTO3_RETRIES))
                )
            return made[0]

        notifier = Notifier(found, session, say)
        began = time.monotonic()
        s3: S3 | None = None
        if asked:
            from ..aws.s3 import S3, S3Options, parse_s3_uri

            location = parse_s3_uri(asked)
            s3 = S3(session(), S3Options.of(found))
            made_s3 = s3
            relay.patiently(lambda: made_s3.probe_writable(location))
        arguments = relay.patiently(
            lambda: fetch_arguments(options.arguments, environ, Path(temporary), session, found)
        )
        if "--error-json" not in arguments:
            arguments.append("--error-json")
        with relay.shielded():
            code, output = relay.run(
                [*(miniwdl or miniwdl_command()), "run", *arguments], child_environ
            )
            sys.stdout.buffer.write(output)
            sys.stdout.flush()
            report = _report(output, arguments)
            end = End(
                name=Path(report["dir"]).name if "dir" in report else _wdl_name(arguments),
                state="succeeded" if code == 0 else "failed",
                exit_code=code,
                seconds=time.monotonic() - began,
                error=_error(report),
                directory=report.get("dir"),
                job_id=environ.get("AWS_BATCH_JOB_ID"),
            )
            # After a signal, Batch leaves no time for it.
            if relay.stop.is_set():
                end = replace(end, state="terminated")
            elif "dir" in report:
                end = replace(end, report=write_report(Path(report["dir"]), say))
            try:
                if s3 is None or not asked:
                    say(f"no upload folder is set; miniwdl's exit code is {code}")
                else:
                    finish = _Finish(s3, asked, relay, root, delete_after)
                    code, uploaded = finish.finish(report, arguments, code)
                    end = replace(end, uploaded=uploaded)
            except MiniwdlCloudError as exn:
                state = "terminated" if relay.stop.is_set() else "failed"
                notifier.tell(replace(end, state=state, exit_code=exn.exit_code, error=exn.message))
                raise
            notifier.tell(end)
            return code


def miniwdl_command() -> list[str]:
    """The `miniwdl` of this Python environment, whatever PATH says."""
    script = Path(sys.executable).parent / "miniwdl"
    return [str(script)] if script.is_file() else [sys.executable, "-m", "WDL"]


def default_cfg_for(arguments: Sequence[str], environ: Mapping[str, str]) -> Path | None:
    """Our .cfg file, if the user has none of their own.

    Parameters
    ----------
    arguments
        Of `miniwdl run`, where ``--cfg`` may stand.
    environ
        Where ``MINIWDL_CFG`` may stand.
    """
    if "MINIWDL_CFG" in environ or option_value(arguments, None, "--cfg"):
        return None
    if any(path.is_file() for path in settings.cfg_files(environ)):
        return None
    return DEFAULT_CFG


def _settings(options: Options, environ: Mapping[str, str], default_cfg: Path | None) -> Settings:
    given = option_value(options.arguments, None, "--cfg")
    if given:
        files = [Path(given)]
    elif default_cfg:
        files = [default_cfg]
    else:
        files = settings.cfg_files(environ)
    command_line = {
        (settings.S3_UPLOAD_FOLDER.section, settings.S3_UPLOAD_FOLDER.key): options.s3upload,
        (settings.DELETE_AFTER.section, settings.DELETE_AFTER.key): options.delete_after,
    }
    return Settings(
        settings.mapping_source(command_line),
        settings.env_source(environ),
        settings.cfg_source(files),
    )


def _delete_after(found: Settings, asked: str | None) -> str | None:
    text = found.get(settings.DELETE_AFTER)
    if text is None:
        return None
    choice = str(text).lower()
    if choice not in DELETE_AFTER:
        raise UsageError(
            f"--delete-after ({settings.DELETE_AFTER.env}) should be success, failure or always,"
            f" not '{text}'; correct it."
        )
    if not asked:
        raise UsageError(
            f"--delete-after ({settings.DELETE_AFTER.env}) needs an upload folder; set --s3upload"
            f" or {settings.S3_UPLOAD_FOLDER.env}."
        )
    return choice


def _report(output: bytes, arguments: Sequence[str]) -> dict[str, Any]:
    """The JSON that miniwdl prints at the end, or writes into the file of its option ``-o``."""
    path = option_value(arguments, "-o", None)
    try:
        report = json.loads(Path(path).read_bytes() if path else output)
    except (ValueError, OSError):
        return {}
    return report if isinstance(report, dict) else {}


@dataclass(frozen=True)
class _Finish:
    s3: S3
    asked: str
    relay: SignalRelay
    root: Path
    delete_after: str | None

    def finish(
        self, report: dict[str, Any], arguments: Sequence[str], code: int
    ) -> tuple[int, str | None]:
        """Upload and delete; returns the exit code, and the folder uploaded to."""
        if "dir" not in report:
            if code == 0 and not {"-j", "--json"} & set(arguments):
                raise ConfigurationError(
                    "Nothing was uploaded, because miniwdl did not name its run directory; see its"
                    " log above."
                )
            say(f"there is no run directory to upload; miniwdl's exit code is {code}")
            return code, None
        run_dir = Path(report["dir"])
        try:
            folder = self._upload(report, run_dir, code)
        except MiniwdlCloudError as exn:
            if code == 0:
                raise
            # miniwdl's own failure is the one to report.
            say(exn.message)
            return code, None
        wanted = "success" if code == 0 else "failure"
        if self.delete_after in (wanted, "always"):
            _delete(run_dir, self.root)
        return code, str(folder)

    def _upload(self, report: dict[str, Any], run_dir: Path, code: int) -> S3Uri:
        from ..transfer.pool import Stopped
        from .upload import upload_account, upload_folder, upload_outputs

        if not run_dir.is_dir():
            raise ConfigurationError(
                f"Nothing was uploaded, because there is no run directory {run_dir}."
            )
        folder = upload_folder(self.asked, run_dir)
        say(f"miniwdl's exit code is {code}; uploading to {folder}")
        self.relay.patiently(lambda: upload_account(self.s3, run_dir, folder))
        if code != 0 or "outputs" not in report:
            return folder
        try:
            outputs = upload_outputs(
                self.s3, run_dir, self.root, report["outputs"], folder, self.relay, say
            )
        except Stopped:
            raise Interrupted(self.relay.first or 0) from None
        print(
            json.dumps(
                {"s3upload": str(folder), "outputs": outputs, "dir": str(run_dir)}, indent=2
            ),
            flush=True,
        )
        return folder


def _error(report: Mapping[str, Any]) -> str | None:
    """Why a run failed, as miniwdl's answer says it: the innermost cause that has a message."""
    found = None
    current: Any = report if "error" in report else None
    while isinstance(current, dict):
        text = current.get("message") or current.get("error")
        found = str(text) if text else found
        current = current.get("cause")
    return found


def _wdl_name(arguments: Sequence[str]) -> str:
    """What a run is called that has no run directory."""
    return next((Path(a).stem for a in arguments if a.endswith(".wdl")), "run")


def _delete(run_dir: Path, root: Path) -> None:
    real = run_dir.resolve()
    if real.is_mount() or root.resolve().is_relative_to(real):
        say(f"not deleting {run_dir}, which holds more than this run")
        return
    # The new name tells whoever looks that it is incomplete, if the end comes before the last file.
    doomed = real.with_name(f".deleting-{real.name}-{uuid.uuid4().hex[:8]}")
    try:
        real.rename(doomed)
        shutil.rmtree(doomed)
    except OSError as exn:
        raise ConfigurationError(
            f"The run directory {run_dir} was uploaded but could not be deleted: {exn}"
        ) from exn
    say(f"deleted {run_dir}")
