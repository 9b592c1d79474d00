"""By Lustre's own archiving: `lfs hsm_archive`, on a host that has mounted the file system.

Facts: Lustre's manual pages lfs-hsm(1) and llapi_hsm_state_get(3); `hsm_archive` needs
CAP_SYS_ADMIN. A file has state flags (`lfs hsm_state`) and possibly an action under way
(`lfs hsm_action`), which is over when it says NOOP.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator, Sequence

from .files import SharedFile
from .method import Item, Patience, Say, Unavailable

FILES_A_CALL = 50
CALL_MOST_S = 300.0
"""Seconds that one call of `lfs` may take."""
LOOK_EVERY_S = 2.0

# llapi_hsm_state_get(3), enum hsm_states.
_EXISTS, _DIRTY, _ARCHIVED, _LOST = 0x01, 0x02, 0x08, 0x40
_NOT_HERE = re.compile(
    r"Operation not permitted|Permission denied|Inappropriate ioctl|Operation not supported"
    r"|command not found|a password is required",
    re.IGNORECASE,
)

Run = Callable[[Sequence[str]], "subprocess.CompletedProcess[bytes]"]


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, timeout=CALL_MOST_S, check=False
    )


class Hsm:
    """Archiving by Lustre.

    Parameters
    ----------
    command
        ``lfs`` and what has to stand before it.
    patience
        How long to wait for archiving that does not get on.
    say
        Tells how it goes.
    run
        Runs a command.
    """

    name = "hsm"

    def __init__(self, command: Sequence[str], patience: Patience, say: Say, run: Run = _run):
        self._command = tuple(command)
        self._patience = patience
        self._say = say
        self._run = run
        self._works = False

    def refusal(self, item: Item) -> str | None:
        """Lustre takes any name."""
        return None

    def archived(self, items: Sequence[Item]) -> set[Item]:
        """Files whose content is in the archive and has not changed since."""
        states, _ = self._ask("hsm_state", items)
        return {item for item, text in states.items() if _is_archived(text)}

    def send(self, items: Sequence[Item]) -> dict[Item, str]:
        """Have files archived, and wait for it."""
        failures = self._request(items)
        waiting = [item for item in items if item not in failures]
        failures.update(self._wait(waiting))
        ended = [item for item in items if item not in failures]
        states, problems = self._ask("hsm_state", ended)
        for item in ended:
            text = states.get(item)
            if text is None:
                failures[item] = problems.get(item, "lfs hsm_state says nothing")
            elif not _is_archived(text):
                failures[item] = f"Lustre did not archive it; its state is {text.strip()}"
        return failures

    def _request(self, items: Sequence[Item]) -> dict[Item, str]:
        failures: dict[Item, str] = {}
        for group in _groups(items):
            done = self._call("hsm_archive", [item.file for item in group])
            if done.returncode == 0:
                continue
            # One that fails may fail the others with it.
            for item in group:
                if len(group) > 1:
                    done = self._call("hsm_archive", [item.file])
                if done.returncode != 0:
                    failures[item] = _message(done)
        return failures

    def _wait(self, items: list[Item]) -> dict[Item, str]:
        failures: dict[Item, str] = {}
        total, waiting = len(items), items
        progress = self._patience.clock()
        while True:
            actions, problems = self._ask("hsm_action", waiting)
            failures.update(problems)
            still = [item for item, text in actions.items() if not text.startswith("NOOP")]
            now = self._patience.clock()
            if len(still) < len(waiting):
                progress = now
                self._say(f"archived {total - len(still)} of {total} files")
            waiting = still
            if not waiting:
                return failures
            if now - progress >= self._patience.limit_s:
                text = f"archiving did not end within {self._patience.limit_s:.0f} s"
                return {**failures, **dict.fromkeys(waiting, text)}
            self._patience.sleep(LOOK_EVERY_S)

    def _ask(self, what: str, items: Sequence[Item]) -> tuple[dict[Item, str], dict[Item, str]]:
        """What `lfs` says of each file; and, of those that it says nothing of, why."""
        answers: dict[Item, str] = {}
        problems: dict[Item, str] = {}
        for group in _groups(items):
            done = self._call(what, [item.file for item in group])
            lines = _by_path(done.stdout, group)
            if len(lines) < len(group) and len(group) > 1:
                for item in group:
                    if item not in lines:
                        done = self._call(what, [item.file])
                        lines.update(_by_path(done.stdout, [item]))
                        if item not in lines:
                            problems[item] = _message(done)
            elif len(lines) < len(group):
                problems[group[0]] = _message(done)
            answers.update(lines)
        return answers, problems

    def _call(self, what: str, files: Sequence[SharedFile]) -> subprocess.CompletedProcess[bytes]:
        command = [*self._command, what, *(str(file.path) for file in files)]
        try:
            done = self._run(command)
        except FileNotFoundError:
            raise Unavailable(f"there is no command {self._command[0]}") from None
        except OSError as exn:
            raise Unavailable(f"{self._command[0]} cannot be run: {exn.strerror}") from None
        except subprocess.TimeoutExpired:
            text = f"lfs {what} took more than {CALL_MOST_S:.0f} s"
            return subprocess.CompletedProcess(command, 124, b"", text.encode())
        if done.returncode == 0:
            self._works = True
        elif not self._works and _NOT_HERE.search(_message(done)):
            raise Unavailable(_message(done))
        return done


def _is_archived(text: str) -> bool:
    found = re.match(r"\s*\((0x[0-9a-fA-F]+)\)", text)
    flags = int(found.group(1), 16) if found else 0
    wanted = _EXISTS | _ARCHIVED
    return flags & wanted == wanted and not flags & (_DIRTY | _LOST)


def _by_path(output: bytes, items: Sequence[Item]) -> dict[Item, str]:
    """What follows each path and its colon."""
    text = output.decode(errors="surrogateescape")
    if len(items) == 1:  # whose name may have lines of its own
        prefix = f"{items[0].file.path}:"
        return {items[0]: text[len(prefix) :].strip()} if text.startswith(prefix) else {}
    known = {str(item.file.path): item for item in items}
    found = {}
    for line in text.splitlines():
        # The answers have no colon and blank but in "archived, archive_id:1".
        for end in (found_at.start() for found_at in re.finditer(": ?", line)):
            item = known.get(line[:end])
            if item is not None:
                found[item] = line[end + 1 :].strip()
                break
    return found


def _groups(items: Sequence[Item]) -> Iterator[list[Item]]:
    group: list[Item] = []
    for item in items:
        # A name with a line break is asked for alone: the answers are told apart by lines.
        if len(f"{item.file.path}.".splitlines()) > 1:
            yield [item]
            continue
        group.append(item)
        if len(group) == FILES_A_CALL:
            yield group
            group = []
    if group:
        yield group


def _message(done: subprocess.CompletedProcess[bytes]) -> str:
    text = done.stderr.decode(errors="replace").strip().splitlines()
    return text[-1] if text else f"lfs ended with exit code {done.returncode}"
