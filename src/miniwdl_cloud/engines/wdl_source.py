"""What the source code of tasks says of their settings, and where it stands there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from WDL import Expr, Tree

from ..miniwdl_compat import parsed_hints


@dataclass(frozen=True)
class WrittenSetting:
    """A setting as it is written in a task.

    Parameters
    ----------
    section
        ``runtime`` (or ``requirements``, as the task calls it), ``runtime.aws`` or ``hints.aws``.
    name
        In its section; empty for a whole that is no object with members.
    position
        ``FILE:LINE:COLUMN``.
    is_literal
        Whether ``value`` is known without running the task.
    value
        As JSON.
    """

    section: str
    name: str
    position: str
    is_literal: bool
    value: Any = None


def written_settings(task: Any, prefix: str) -> list[WrittenSetting]:
    """What a task's source code says in ``aws`` objects, and in keys of its runtime section that
    begin with a prefix.

    miniwdl 1.16 reads past ``hints``; they are read from the source text here.
    """
    section = task.runtime_section_name or "runtime"
    found = []
    for key, expr in task.runtime.items():
        if key == "aws":
            found += _members(f"{section}.aws", expr)
        elif key.startswith(prefix):
            found.append(_written(section, key, expr))
    hints = _hints(task)
    if "aws" in hints:
        found += _members("hints.aws", hints["aws"])
    return found


def target_tasks(document: Any, task: str | None) -> list[Any]:
    """The tasks that a run of a document may run.

    Parameters
    ----------
    task
        Name of the one task that is to run instead of the workflow.
    """
    if task is None and document.workflow is not None:
        return called_tasks(document.workflow)
    return [each for each in document.tasks if task in (None, each.name)]


def called_tasks(workflow: Any) -> list[Any]:
    """The tasks that a workflow calls, or workflows that it calls."""
    found: dict[int, Any] = {}
    nodes = [workflow]
    while nodes:
        node = nodes.pop()
        for child in node.children:
            if isinstance(child, Tree.Call):
                callee = child.callee
                if isinstance(callee, Tree.Task):
                    found[id(callee)] = callee
                elif callee is not None:
                    nodes.append(callee)
            elif isinstance(child, Tree.WorkflowSection):
                nodes.append(child)
    return list(found.values())


def _written(section: str, name: str, expr: Any) -> WrittenSetting:
    known, value = _constant(expr)
    return WrittenSetting(section, name, _position(expr.pos), known, value)


def _members(section: str, expr: Any) -> list[WrittenSetting]:
    if isinstance(expr, Expr.Struct):
        return [_written(section, name, member) for name, member in expr.members.items()]
    return [_written(section, "", expr)]


def _position(pos: Any) -> str:
    return f"{pos.uri}:{pos.line}:{pos.column}"


def _constant(expr: Any) -> tuple[bool, Any]:
    """Whether an expression, typechecked or not, is a literal; and its value as JSON."""
    if isinstance(expr, Expr.Null):
        return True, None
    if isinstance(expr, (Expr.Boolean, Expr.Int, Expr.Float, Expr.String)):
        literal = expr.literal
        return (False, None) if literal is None else (True, literal.json)
    if isinstance(expr, Expr.Array):
        items = [_constant(item) for item in expr.items]
        return all(known for known, _ in items), [value for _, value in items]
    if isinstance(expr, Expr.Struct):
        members = {name: _constant(member) for name, member in expr.members.items()}
        return all(known for known, _ in members.values()), {k: v for k, (_, v) in members.items()}
    return False, None


def _hints(task: Any) -> Mapping[str, Any]:
    """The members of a task's ``hints``, as expressions that were not typechecked."""
    document = getattr(task, "parent", None)
    if document is None:
        return {}
    lines = document.source_lines[task.pos.line - 1 : task.pos.end_line]
    if not any("hints" in line for line in lines):
        return {}
    return parsed_hints("\n".join(lines), task.effective_wdl_version, task.pos)
