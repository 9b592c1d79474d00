"""The house rules of docs/architecture.md, read off the source tree."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "src" / "miniwdl_cloud"
MODULES = sorted(PACKAGE.rglob("*.py"))


def _room(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def _imports(path: Path) -> Iterator[str]:
    """Absolute names of what a module imports."""
    package = ["miniwdl_cloud", *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module or "") if part)
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def _imports_any(path: Path, *roots: str) -> list[str]:
    return [
        name
        for name in _imports(path)
        if any(name == root or name.startswith(root + ".") for root in roots)
    ]


@pytest.mark.parametrize("path", MODULES, ids=_room)
def test_boto3_is_imported_only_at_the_border(path: Path) -> None:
    """boto3 and botocore are used only in aws/ and in the emulator, which stands for AWS."""
    if not _room(path).startswith(("aws/", "emulator/")):
        assert _imports_any(path, "boto3", "botocore", "s3transfer") == []


@pytest.mark.parametrize("path", MODULES, ids=_room)
def test_nothing_flows_back_up(path: Path) -> None:
    """aws/ knows nothing of jobs, jobs/ nothing of WDL or AWS, engines/ nothing of commands."""
    forbidden = {
        "aws": ("jobs", "engines", "submit", "runner", "cli", "emulator", "filesystems"),
        "jobs": ("aws", "engines", "submit", "runner", "cli", "emulator", "filesystems"),
        "filesystems": ("jobs", "engines", "submit", "runner", "cli", "emulator"),
        "engines": ("submit", "runner", "cli", "emulator"),
    }
    room = _room(path).split("/")[0]
    rooms = [f"miniwdl_cloud.{name}" for name in forbidden.get(room, ())]
    assert _imports_any(path, *rooms) == []
    if room in ("aws", "jobs", "filesystems"):
        assert _imports_any(path, "WDL") == []


@pytest.mark.parametrize("path", MODULES, ids=_room)
def test_wdl_internals_are_used_in_one_place(path: Path) -> None:
    """Only miniwdl_compat.py imports names of WDL that begin with an underscore, or its CLI."""
    if _room(path) == "miniwdl_compat.py":
        return
    private = [
        name
        for name in _imports(path)
        if re.match(r"WDL\b", name) and (re.search(r"\._", name) or name.startswith("WDL.CLI"))
    ]
    assert private == []


@pytest.mark.parametrize("path", MODULES, ids=_room)
def test_only_the_command_line_exits(path: Path) -> None:
    """sys.exit is called only in cli/main.py and in the emulator's own __main__."""
    if _room(path) not in ("cli/main.py", "emulator/__main__.py"):
        assert not re.search(r"\b(sys\.exit|os\._exit|raise SystemExit)\b", path.read_text())


@pytest.mark.parametrize("path", MODULES, ids=_room)
def test_only_settings_reads_the_environment(path: Path) -> None:
    """os.environ and os.getenv appear only in settings.py."""
    if _room(path) != "settings.py":
        assert not re.search(r"\bos\.(environ|getenv)\b", path.read_text())


@pytest.mark.parametrize("path", MODULES, ids=_room)
def test_no_mutable_state_at_module_level(path: Path) -> None:
    """No module keeps an empty container at its top level, to be filled later, but the registry."""
    if _room(path) == "jobs/registry.py":
        return
    for node in ast.parse(path.read_text()).body:
        value = node.value if isinstance(node, (ast.Assign, ast.AnnAssign)) else None
        empty = (isinstance(value, ast.Dict) and not value.keys) or (
            isinstance(value, (ast.List, ast.Set)) and not value.elts
        )
        assert not empty, f"line {node.lineno}"


@pytest.mark.parametrize("path", MODULES, ids=_room)
def test_modules_stay_readable(path: Path) -> None:
    """No module is longer than 500 lines."""
    assert len(path.read_text().splitlines()) <= 500


@pytest.mark.parametrize("path", MODULES, ids=_room)
def test_every_module_says_what_it_is_for(path: Path) -> None:
    """Every module that holds anything begins with a docstring."""
    text = path.read_text()
    if text.strip():
        assert ast.get_docstring(ast.parse(text))
