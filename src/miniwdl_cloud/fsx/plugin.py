"""The miniwdl plugin that writes the outputs of each run back to S3.

It acts at the end of a top-level run whose shared filesystem is FSx for Lustre, unless
``[fsx_to_s3] auto`` is false; anywhere else it does nothing. miniwdl does not call plugins for a
run whose own result it finds in the call cache.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import settings as s
from ..errors import MiniwdlCloudError
from ..settings import Settings

if TYPE_CHECKING:
    from .files import SharedFile

OUTPUT = "_outputs_s3_json"
"""The output that is added to a run: the URI of `FILE_NAME` in S3. Existing scripts know it."""
FILE_NAME = "outputs.s3.json"

Plugin = Generator[dict[str, Any], dict[str, Any], None]


def task(
    cfg: Any, logger: logging.Logger, run_id_stack: list[str], run_dir: str, task: Any, **recv: Any
) -> Plugin:
    """miniwdl's plugin point for tasks."""
    recv = yield recv  # inputs
    recv = yield recv  # container
    if len(run_id_stack) == 1 and not run_id_stack[0].startswith("download-"):
        recv["outputs"] = _write_back(cfg, logger, Path(run_dir), task.name, recv["outputs"])
    yield recv


def workflow(
    cfg: Any,
    logger: logging.Logger,
    run_id_stack: list[str],
    run_dir: str,
    workflow: Any,
    **recv: Any,
) -> Plugin:
    """miniwdl's plugin point for workflows."""
    recv = yield recv  # inputs
    if len(run_id_stack) == 1:
        recv["outputs"] = _write_back(cfg, logger, Path(run_dir), workflow.name, recv["outputs"])
    yield recv


def _write_back(cfg: Any, logger: logging.Logger, run_dir: Path, name: str, outputs: Any) -> Any:
    settings = Settings(
        lambda section, key: cfg.get(section, key) if cfg.has_option(section, key) else None
    )
    root = Path(str(settings.get(s.FILE_IO_ROOT) or "/"))
    # Before anything heavy is imported or asked: most runs are not on FSx.
    from .place import NotLinked, is_said_to_be_fsx, may_be_fsx

    if root == Path("/") or not settings.get(s.FSX_AUTO):
        return outputs
    if not is_said_to_be_fsx(root, settings):
        if not may_be_fsx(root):
            return outputs
        from .run import check_linked

        try:
            check_linked(root, settings)
        except MiniwdlCloudError as exn:
            # Lustre is also to be had elsewhere than on AWS.
            logger.info(f"outputs are not written back to S3: {exn.message}")
            return outputs
    import WDL

    try:
        return _WriteBack(settings, logger.getChild("fsx_to_s3"), root, run_dir).run(name, outputs)
    except NotLinked as exn:
        logger.info(f"outputs are not written back to S3: {exn.message}")
        return outputs
    except MiniwdlCloudError as exn:
        raise WDL.Error.RuntimeError(
            f"The outputs could not be written back to S3: {exn.message}", more_info=exn.more_info
        ) from exn


class _WriteBack:
    def __init__(
        self, settings: Settings, logger: logging.Logger, root: Path, run_dir: Path
    ) -> None:
        self._settings = settings
        self._logger = logger
        self._root = root
        self._run_dir = run_dir

    def run(self, name: str, outputs: Any) -> Any:
        """Send log and outputs, then the file that says where they are; returns the outputs with
        its URI."""
        import WDL

        from ..filesystems.weather import write_file_atomically
        from ..miniwdl_compat import log_message, termination_flag

        with termination_flag(self._logger) as terminating:
            log = self._log()
            sent = self._send([*self._files(), *log], frozenset(log), terminating)
            rewritten = WDL.Value.rewrite_env_paths(outputs, self._place_of(sent))
            kept = self._run_dir / FILE_NAME
            text = json.dumps(WDL.values_to_json(rewritten, namespace=name), indent=2)
            write_file_atomically(text, kept)
            (uri,) = self._send([kept], frozenset(), terminating).values()
        self._logger.info(log_message("wrote outputs back to S3", files=len(sent), uri=uri))
        return outputs.bind(OUTPUT, WDL.Value.File(uri))

    def _log(self) -> list[Path]:
        logs = (self._run_dir.resolve() / name for name in ("workflow.log", "task.log"))
        return [path for path in logs if path.is_file() and not path.is_symlink()]

    def _files(self) -> list[Path]:
        """The output files, found as `miniwdl-run-s3upload` finds them: no link that a task made
        leads to anything else."""
        from ..runner.outputs import read_tree

        tree = read_tree(self._run_dir, self._root)
        for sentence in tree.skipped:
            self._logger.warning(sentence)
        # miniwdl's mark of a Directory is no output.
        marks = {f"{Path(name).parent}/.WDL_Directory" for name in tree.links}
        return [tree.out / name for name in tree.files if name not in marks]

    def _send(
        self, paths: list[Path], growing: frozenset[Path], terminating: Callable[[], bool]
    ) -> dict[str, str]:
        """Send files; returns their URIs by canonical path."""
        import time

        from WDL.runtime import Terminated

        from ..miniwdl_compat import log_message
        from .files import shown
        from .run import send

        def pause(seconds: float) -> None:
            until = time.monotonic() + seconds
            while True:
                if terminating():
                    raise Terminated()
                left = until - time.monotonic()
                if left <= 0:
                    return
                time.sleep(min(left, 0.5))

        def say(text: str) -> None:
            level = logging.WARNING if text.startswith("warning: ") else logging.INFO
            self._logger.log(level, text.removeprefix("warning: "))

        report = send(paths, self._root, self._settings, say, growing, pause)
        failed = {f: why for f, why in report.failed.items() if f.path not in growing}
        if failed:
            self._raise(failed, sum(file.path not in growing for file in report.done))
        for why in report.failed.values():
            self._logger.warning(log_message("the log was not written back", reason=why))
        for file, uri in report.done.items():
            self._logger.debug(log_message("wrote", file=shown(file.path), uri=str(uri)))
        return {str(file.path): str(uri) for file, uri in report.done.items()}

    def _raise(self, failed: dict[SharedFile, str], done: int) -> None:
        import WDL

        from .files import shown

        first, why = next(iter(failed.items()))
        for file, reason in failed.items():
            self._logger.error(f"{shown(file.path)} was not written back to S3: {reason}")
        raise WDL.Error.RuntimeError(
            f"{len(failed)} of {len(failed) + done} output files could not be written"
            f" back to S3, {shown(first.path)} because {why}; they are all in {self._run_dir}/out:"
            " send them with fsx_to_s3.",
            more_info={"failed": {shown(f.path): reason for f, reason in failed.items()}},
        )

    def _place_of(self, sent: dict[str, str]) -> Callable[[Any], str]:
        """Where a File or Directory of the outputs is in S3."""
        # A Directory is where its files are; one without files is nowhere in S3.
        folders: dict[str, str] = {}
        for path, uri in sent.items():
            parts = Path(path).relative_to(self._root.resolve()).parts
            for depth in range(1, len(parts)):
                end = "/".join(parts[depth:])
                if uri.endswith("/" + end):
                    folders[str(Path(path).parents[len(parts) - depth - 1])] = uri[: -len(end)]

        def place_of(value: Any) -> str:
            path = str(value.value)
            real = os.path.realpath(path)
            found = sent.get(real) or folders.get(real)
            if found is None and path.startswith("/"):
                self._logger.warning(f"the output {path} is not in S3; its local path is kept")
            return found or path

        return place_of
