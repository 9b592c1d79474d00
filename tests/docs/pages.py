"""The commands in the documentation: found, and told apart from what is not to be run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
GENERATED = ("reference.md",)

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[\w-]*)\s*$")
_NOT_RUN = re.compile(r"^ *<!-- not run: (?P<reason>.+) -->\s*$")
COMMAND = re.compile(
    r"^\s*(?:\$ )?(?:export \w+=|eval |pip install |make [a-z-]+|terraform |ansible-playbook "
    r"|aws [a-z]|"
    r"miniwdl(?:-aws-submit|-aws-status|-run-s3upload|-cloud(?:-fleet)?)? [\w$-]|fsx_to_s3 )"
)
"""Lines that are commands wherever they stand."""


@dataclass(frozen=True)
class Block:
    """A code block.

    Parameters
    ----------
    line
        Of its first line in the page, from 1.
    language
        ``console``, ``bash``…; empty if it says none.
    text
        What is in it.
    not_run
        Why it is not to be run, if the page says so.
    """

    line: int
    language: str
    text: str
    not_run: str | None

    @property
    def is_script(self) -> bool:
        """Whether it is commands."""
        return self.language in ("console", "bash")

    @property
    def script(self) -> str:
        """The commands, without prompts and what they print."""
        if self.language == "bash":
            return self.text
        lines, going_on = [], False
        for line in self.text.splitlines():
            if line.startswith("$ ") or going_on:
                lines.append(line.removeprefix("$ "))
                going_on = line.endswith("\\")
        return "\n".join(lines) + "\n"


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page."""
    lines = page.read_text().splitlines()
    number = 0
    while number < len(lines):
        fence = _FENCE.match(lines[number])
        if fence is None:
            number += 1
            continue
        start, indent = number + 1, len(fence["indent"])
        end = start
        while end < len(lines) and lines[end].strip() != "```":
            end += 1
        before = next((line for line in reversed(lines[:number]) if line.strip()), "")
        reason = _NOT_RUN.match(before)
        text = "\n".join(line[indent:] for line in lines[start:end]) + "\n"
        yield Block(start + 1, fence["language"], text, reason["reason"] if reason else None)
        number = end + 1


def stray_commands(page: Path) -> list[str]:
    """Commands in blocks that are not marked as commands, fenced or indented."""
    lines = page.read_text().splitlines()
    marked: set[int] = set()
    fenced: set[int] = set()
    for block in blocks(page):
        inside = range(block.line, block.line + len(block.text.splitlines()))
        fenced.update(inside)
        if block.is_script:
            marked.update(inside)
    found = []
    for number, line in enumerate(lines, 1):
        in_block = number in fenced or line.startswith("    ")
        if in_block and number not in marked and COMMAND.match(line):
            found.append(f"{page.name}:{number}: {line.strip()}")
    return found
