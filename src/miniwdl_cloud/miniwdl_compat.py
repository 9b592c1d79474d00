"""The only use of WDL internals that are not miniwdl's plugin API, for each room that needs some.

Supported: miniwdl 1.16. A new release is checked against this file first.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import io
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from WDL import Error, Expr, Type
from WDL._util import (
    VERBOSE_LEVEL,
    StructuredLogMessage,
    parse_byte_size,
    path_really_within,
)
from WDL.runtime.task_container import TaskContainer

from .errors import MiniwdlCloudError

# For engines/


def log_message(text: str, **details: Any) -> StructuredLogMessage:
    """A message with details, as miniwdl's own log lines have them."""
    return StructuredLogMessage(text, **details)


def follows_stderr(container: TaskContainer, logger: logging.Logger) -> bool:
    """Whether anybody listens to a task's standard error: with ``--verbose``, or a plugin."""
    return container.stderr_callback is not None or logger.isEnabledFor(VERBOSE_LEVEL)


def byte_size(text: str) -> int:
    """Bytes of a text such as ``2 GiB``, as miniwdl reads `memory`.

    Raises
    ------
    Error.RuntimeError
        It is no such text.
    """
    try:
        return int(parse_byte_size(text))
    except ValueError:
        raise Error.RuntimeError("invalid setting of runtime.memory, " + text) from None


def swarm_container() -> Any:
    """miniwdl's own engine docker_swarm, whose `poll_service` ours extends."""
    from WDL.runtime.backend.docker_swarm import SwarmContainer

    return SwarmContainer


class CallIdentity:
    """What a call of a task does on which inputs, as miniwdl's call cache knows it.

    Parameters
    ----------
    cfg, logger, task, inputs
        As miniwdl's task plugins get them.
    """

    def __init__(self, cfg: Any, logger: logging.Logger, task: Any, inputs: Any) -> None:
        from WDL.runtime.cache import call_cache_key

        self._cfg = cfg
        self._logger = logger
        self._inputs = inputs
        self.key: str = call_cache_key(task.name, task.digest, inputs)

    def inputs_are_older_than(self, path: Path) -> bool:
        """Whether no file or directory among the inputs was changed after a file was written; the
        log tells of one that was. Raises `OSError` if there is no such file."""
        from WDL.runtime.cache import _check_files_coherence

        return bool(_check_files_coherence(self._cfg, self._logger, str(path), self._inputs))


class SharedPathsMixin:
    """Overrides for a TaskContainer whose container sees the shared filesystem at the same path as
    the workflow job does.

    Files reach the task as links in its ``_miniwdl_inputs``, so that what a command writes beside
    an input (an index, say) lands in its own directory. A Directory is passed by the path it really
    has: a link to it would show nothing to ``find DIR -type f``. Where that path has another name
    than the input, the command must see the input's name: then the directory is rebuilt from hard
    links in ``_miniwdl_inputs``, as it is where inputs may have to be copied there.
    """

    cfg: Any
    input_path_map: dict[str, str]
    input_path_map_rev: dict[str, str]

    def add_paths(self, host_paths: Iterable[str]) -> None:
        """Map input paths; see miniwdl's TaskContainer."""
        super().add_paths(host_paths)  # type: ignore[misc]
        if self._may_copy_inputs():
            return
        for host, inside in list(self.input_path_map.items()):
            if not host.endswith("/"):
                continue
            real = os.path.realpath(host)
            if Path(real).name == Path(host).name and inside != real + "/":
                taken = self.input_path_map_rev.get(real + "/")
                if taken in (None, host):
                    del self.input_path_map_rev[inside]
                    self.input_path_map[host] = real + "/"
                    self.input_path_map_rev[real + "/"] = host

    def _may_copy_inputs(self) -> bool:
        """Whether inputs are, or for some tasks may be, copied: to where miniwdl maps them."""
        if self.cfg is None:
            return False
        copied_for = self.cfg.get_list("file_io", "copy_input_files_for")
        return bool(copied_for or self.cfg.get_bool("file_io", "copy_input_files"))

    def _input_host_path(self, container_path: str) -> tuple[bool, str | None]:
        """The host path of an input, or of something in an input Directory, by its path inside.

        miniwdl's own version knows the depth that its containers' input directories have; ours can
        be anywhere.
        """
        if not container_path.startswith("/"):
            return False, None
        if container_path in self.input_path_map_rev:
            return True, self.input_path_map_rev[container_path]
        for parent in Path(container_path.rstrip("/")).parents:
            host = self.input_path_map_rev.get(f"{parent}/")
            if host is None:
                continue
            below = str(Path(container_path).relative_to(parent))
            path = host + below + ("/" if container_path.endswith("/") else "")
            if not path_really_within(path, host):
                raise Error.InputError(
                    f"task inputs attempted to use a path outside an input: {container_path}"
                )
            return True, path
        return False, None


@functools.lru_cache(maxsize=256)
def parsed_hints(text: str, version: str, pos: Any) -> Mapping[str, Any]:
    """The members of a task's ``hints``, which miniwdl 1.16 reads past, as expressions that were
    not typechecked.

    Parameters
    ----------
    text
        Source code from the task's first line to its last, each whole.
    version
        Of WDL.
    pos
        The task's.
    """
    from WDL import _grammar, _parser

    # What else is on these lines is made blank, so that positions remain true.
    lines = text.split("\n")
    lines[-1] = lines[-1][: pos.end_column - 1]
    lines[0] = " " * (pos.column - 1) + lines[0][pos.column - 1 :]
    source = "\n" * (pos.line - 1) + "\n".join(lines)
    grammar, keywords = _grammar.get(version)
    tree, _ = _parser.parse(grammar, source, "tasks")
    for section in tree.find_data("hints_section"):
        transformed = _parser._DocTransformer(
            source_text=source,
            uri=pos.uri,
            abspath=pos.abspath,
            keywords=keywords,
            comments=[],
            version=version,
            declared_version=version,
        ).transform(section)
        return _hint_members(transformed["hints"], pos)
    return {}


def _hint_members(tree: Any, pos: Any) -> dict[str, Any]:
    return {str(kv.children[0]): _hint_value(kv.children[1], pos) for kv in tree.children}


def _hint_value(value: Any, pos: Any) -> Any:
    if getattr(value, "data", None) != "hints_object":
        return value
    # ``aws: hints { … }`` means the same as ``aws: object { … }``.
    return Expr.Struct(pos, list(_hint_members(value, pos).items()))


# For submit/


class RejectedWdl(MiniwdlCloudError):
    """miniwdl does not accept the WDL source code or its inputs; it exits with 2 then."""

    exit_code = 2


def run_parser() -> argparse.ArgumentParser:
    """A parser of the arguments of `miniwdl run`, which completes input names as well."""
    from WDL import CLI

    commands = next(
        action
        for action in CLI.create_arg_parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    parser: argparse.ArgumentParser = commands.choices["run"]
    return parser


def run_options() -> dict[str, bool]:
    """The options of `miniwdl run`, and whether each takes a value."""
    return {
        option: action.nargs != 0
        for action in run_parser()._actions
        for option in action.option_strings
    }


def load_document(
    path: str, import_dirs: Sequence[str], check_quant: bool, outside_imports: bool
) -> Any:
    """Load and check a WDL document and what it imports.

    Parameters
    ----------
    path
        Local file.
    import_dirs, check_quant, outside_imports
        miniwdl's ``--path``, ``--no-quant-check`` and ``--no-outside-imports``.

    Raises
    ------
    RejectedWdl
        With miniwdl's own account of what is wrong and where.
    """
    from WDL import CLI, load

    try:
        return load(
            path,
            list(import_dirs),
            check_quant=check_quant,
            read_source=CLI.make_read_source(not outside_imports),
        )
    except (
        Error.SyntaxError,
        Error.ImportError,
        Error.ValidationError,
        Error.MultipleValidationErrors,
        OSError,
        UnicodeDecodeError,
    ) as exn:
        account = io.StringIO()
        with contextlib.redirect_stderr(account):
            CLI.print_error(exn)
        text = account.getvalue().strip()
        raise RejectedWdl(f"The WDL source code {path} is not valid:\n{text}") from exn


def input_types(document: Any, task: str | None) -> dict[str, Any]:
    """The WDL type of each input of the document's workflow (or of this task), by name.

    Raises
    ------
    RejectedWdl
        The document has no such task, or several and no workflow.
    """
    target = _target(document, task)
    return {binding.name: binding.value.type for binding in target.available_inputs}


def target_name(document: Any, task: str | None) -> str:
    """The name of what will run; a prefix of input names in JSON."""
    return str(_target(document, task).name)


def check_inputs(
    document: Any,
    task: str | None,
    pairs: Sequence[str],
    inputs: Mapping[str, Any] | None,
    empty: Sequence[str],
    none: Sequence[str],
) -> None:
    """Check names and types of the inputs as `miniwdl run` would, but not that files exist.

    Parameters
    ----------
    pairs, inputs, empty, none
        The ``name=value`` arguments, the content of the inputs file, ``--empty``, ``--none``.

    Raises
    ------
    RejectedWdl
        They do not fit; miniwdl has listed the inputs on standard error where it does so.
    """
    from WDL import CLI

    try:
        CLI.runner_input(
            document,
            list(pairs),
            json.dumps(inputs) if inputs else None,
            list(empty),
            list(none),
            task=task,
            downloadable=lambda path, directory: True,
        )
    except (Error.InputError, ValueError, AssertionError) as exn:
        raise RejectedWdl(f"The inputs do not fit the workflow: {exn}") from exn


def read_input_json(text: str) -> Any:
    """Parse an inputs file, which may be JSON or YAML."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        return json.loads(text)  # much faster where it is JSON
    except ValueError:
        pass
    try:
        return YAML(typ="safe", pure=True).load(text)
    except YAMLError as exn:
        raise RejectedWdl(f"The inputs are neither JSON nor YAML: {exn}") from exn


def change_paths(ty: Any, value: Any, change: Callable[[str, bool], str]) -> Any:
    """A JSON value of a WDL type, with its File and Directory paths changed.

    Parameters
    ----------
    ty
        A WDL type, from `input_types`.
    value
        JSON; what does not look like its type is left for miniwdl to complain of.
    change
        Makes the new path of the old one; told whether it is a Directory.
    """
    if isinstance(ty, (Type.File, Type.Directory)):
        directory = isinstance(ty, Type.Directory)
        return change(value, directory) if isinstance(value, str) else value
    if isinstance(ty, Type.Array) and isinstance(value, list):
        return [change_paths(ty.item_type, item, change) for item in value]
    if isinstance(ty, Type.Map) and isinstance(value, dict):
        return {
            change_paths(ty.item_type[0], key, change): change_paths(ty.item_type[1], item, change)
            for key, item in value.items()
        }
    if isinstance(ty, Type.Pair) and isinstance(value, dict):
        sides = {"left": ty.left_type, "right": ty.right_type}
        return {
            key: change_paths(sides[key], item, change) if key in sides else item
            for key, item in value.items()
        }
    if isinstance(ty, Type.StructInstance) and isinstance(value, dict):
        members = ty.members or {}
        return {
            key: change_paths(members[key], item, change) if key in members else item
            for key, item in value.items()
        }
    return value


def is_compound(ty: Any) -> bool:
    """Whether a ``name=value`` argument of this type is JSON."""
    return isinstance(ty, (Type.Pair, Type.Map, Type.StructInstance))


def array_item(ty: Any) -> Any:
    """The item type of an array, whose items are arguments each; any other type itself."""
    return ty.item_type if isinstance(ty, Type.Array) else ty


def build_archive(document: Any, archive: Path, inputs: Mapping[str, Any] | None) -> None:
    """Zip a document with what it imports, its default inputs, and the local files that its input
    declarations name relative to the source code (WDL 1.2)."""
    from WDL import Zip

    # Its notes on each file would be news to nobody here.
    quiet = logging.Logger("miniwdl-zip")
    quiet.addHandler(logging.NullHandler())
    Zip.build(
        document,
        str(archive),
        quiet,
        inputs=dict(inputs) if inputs else None,
        additional_files=_files_beside_source(document) or None,
    )


@contextlib.contextmanager
def opened_archive(archive: Path) -> Iterator[tuple[str, str | None]]:
    """Unpack an archive into a temporary directory: its main WDL, its inputs file if it has one.

    Raises
    ------
    RejectedWdl
        It is not an archive that `miniwdl zip` makes.
    """
    from WDL import Zip

    with contextlib.ExitStack() as cleanup:
        try:
            unpacked = cleanup.enter_context(Zip.unpack(str(archive)))
        except Error.InputError as exn:
            raise RejectedWdl(f"{archive} is not an archive of `miniwdl zip`: {exn}") from exn
        yield unpacked.main_wdl, unpacked.input_file


def _target(document: Any, task: str | None) -> Any:
    from WDL import CLI

    try:
        return CLI.runner_exe(document, task)
    except Error.InputError as exn:
        raise RejectedWdl(f"The WDL source code cannot be run so: {exn}") from exn


def _files_beside_source(document: Any) -> list[str]:
    found: dict[str, None] = {}
    documents = [document]
    while documents:
        doc = documents.pop()
        documents.extend(imported.doc for imported in doc.imports)
        if "://" in doc.pos.abspath:
            continue
        for target in [*doc.tasks, *([doc.workflow] if doc.workflow else [])]:
            for decl in target.inputs or []:
                if isinstance(array_item(decl.type), (Type.File, Type.Directory)):
                    for path in _literals(decl.expr):
                        local = Path(doc.source_dir) / path
                        if local.exists() and path_really_within(str(local), doc.source_dir):
                            found[str(local)] = None
    return list(found)


def _literals(expr: Any) -> list[str]:
    if isinstance(expr, Expr.Array):
        return [text for item in expr.items for text in _literals(item)]
    literal = expr.literal if isinstance(expr, Expr.String) else None
    return [literal.value] if literal is not None else []


# For transfer/


def run_dir_of(logger: logging.Logger) -> Path | None:
    """The directory of the run that a logger of miniwdl's belongs to, known by its log file;
    ``None`` if it has none."""
    current: logging.Logger | None = logger
    while current is not None:
        for handler in current.handlers:
            if isinstance(handler, logging.FileHandler):
                path = Path(handler.baseFilename)
                if path.name in ("workflow.log", "task.log"):
                    return path.parent
        current = current.parent
    return None


@contextlib.contextmanager
def termination_flag(logger: logging.Logger) -> Iterator[Callable[[], bool]]:
    """Tells whether miniwdl is ending the run; enter it inside one of miniwdl's own runs."""
    from WDL._util import TerminationSignalFlag

    with TerminationSignalFlag(logger) as terminating:
        yield terminating
