"""A deployment in an account: made, looked at, changed and taken down.

A deployment is a CloudFormation stack of a template that comes with this package. It is known by
the stack's name alone; nothing is kept on this machine.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ..aws.batch import BatchClient
from ..aws.cloudformation import Change, CloudFormation
from ..aws.local import job_counts
from ..aws.session import AwsSession
from ..errors import ConfigurationError, NotFound, ServiceError, Unreachable, UsageError
from . import explain, preflight
from .deploy import (
    DEAD,
    Watch,
    delete_stack,
    deploy_stack,
    first_failure,
    outputs_of,
    refuse_busy,
    template_text,
)
from .parameters import option

QUEUES = ("WorkflowQueue", "TaskQueue", "TaskQueueFallback")
"""Outputs that name job queues."""
CHANGE_SET_TIMEOUT_S = 180.0
"""Seconds that CloudFormation may take to compare."""
# A stack's name (CloudFormation API, CreateStack) of which every queue's name, at most 128
# characters (Batch API, CreateJobQueue), can be made.
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,111}")
# What CloudFormation says of a parameter that does not fit, and of one of a type such as
# AWS::EC2::Subnet::Id whose value does not exist.
_REFUSED = re.compile(r"Parameter '(\w+)' ((?:must|failed) .*[^.])")
_MISSING = re.compile(r"parameter value (\S+) for parameter name (\w+) does not exist")
_ABSENT = re.compile(r"Parameters: \[([\w, ]+)\] must have values")
_MARK = "MaxVCPUWorkflow"
"""A parameter that every shipped template has."""
_ENDED = frozenset({"SUCCEEDED", "FAILED"})


@dataclass(frozen=True)
class Status:
    """What is known of a deployment.

    Parameters
    ----------
    name, status, status_reason
        The stack's.
    region
        Where it is.
    parameters, outputs
        The stack's, by name.
    jobs
        Numbers of jobs by status, by queue.
    failure
        Why the last attempt failed, if it did.
    """

    name: str
    status: str
    status_reason: str
    region: str
    parameters: Mapping[str, str]
    outputs: Mapping[str, str]
    jobs: Mapping[str, Mapping[str, int]]
    failure: str | None


class Deployments:
    """The deployments of one account and Region.

    Parameters
    ----------
    session
        Where the clients come from.
    watching
        How to wait; see `deploy.Watch`.
    """

    def __init__(self, session: AwsSession, **watching: Any) -> None:
        self._session = session
        self._stacks = CloudFormation(session)
        self._watching = watching
        self._poll_s = float(watching.get("poll_s", 2.0))

    def create(
        self, name: str, template: str, parameters: Mapping[str, str], tags: Mapping[str, str]
    ) -> dict[str, str]:
        """Make a deployment; returns its outputs.

        Parameters
        ----------
        name
            Of the stack, and what the names of queues begin with.
        template
            Name of a shipped template.
        parameters
            Of the template; those that are not given have its defaults.
        tags
            Of everything.

        Raises
        ------
        UsageError
            The name cannot be one.
        ConfigurationError
            The name is taken, a parameter does not fit, or something cannot be made.
        """
        text = template_text(template)
        wanted = self._before_creation(name, template, text, parameters)
        with _options_named():
            return deploy_stack(self._session, text, name, wanted, tags, **self._watching)

    def update(
        self, name: str, parameters: Mapping[str, str], tags: Mapping[str, str]
    ) -> dict[str, str]:
        """Bring a deployment to its template as this version has it; returns its outputs.

        Parameters
        ----------
        name
            Of the stack.
        parameters
            Those that change.
        tags
            Those that change or come.

        Raises
        ------
        NotFound
            There is none of this name.
        ConfigurationError
            Something cannot be changed.
        """
        stack, text, kept = self._before_update(name, parameters)
        all_tags = {**_tags(stack), **tags}
        with _options_named():
            return deploy_stack(
                self._session, text, name, parameters, all_tags, kept, **self._watching
            )

    def preview_creation(
        self, name: str, template: str, parameters: Mapping[str, str], tags: Mapping[str, str]
    ) -> list[Change]:
        """What `create` would do; nothing is made."""
        text = template_text(template)
        wanted = self._before_creation(name, template, text, parameters)
        known = self._stacks.describe(name)
        if known is not None:
            raise ConfigurationError(
                f"A failed attempt left the stack '{name}' in {known['StackStatus']}, so that there"
                " is nothing to compare with; `deploy create` without --dry-run replaces it."
            )
        try:
            return self._compare(name, True, text, wanted, tags, [])
        finally:
            self._forget_review(name)

    def preview_update(
        self, name: str, parameters: Mapping[str, str], tags: Mapping[str, str]
    ) -> list[Change]:
        """What `update` would do; nothing is changed."""
        stack, text, kept = self._before_update(name, parameters)
        return self._compare(name, False, text, parameters, {**_tags(stack), **tags}, kept)

    def outputs(self, name: str) -> dict[str, str]:
        """The outputs of a deployment.

        Raises
        ------
        NotFound
            There is none of this name.
        """
        return outputs_of(self._find(name))

    def status(self, name: str) -> Status:
        """What is known of a deployment.

        Raises
        ------
        NotFound
            There is none of this name.
        """
        stack = self._find(name)
        failure = None
        if "FAILED" in stack["StackStatus"] or "ROLLBACK" in stack["StackStatus"]:
            event = first_failure(self._stacks, stack)
            reason = str(stack.get("StackStatusReason") or "")
            failure = explain.failure(name, stack["StackStatus"], event, reason).message
        return Status(
            name=name,
            status=stack["StackStatus"],
            status_reason=str(stack.get("StackStatusReason") or ""),
            region=self._session.region,
            parameters={
                p["ParameterKey"]: p.get("ParameterValue", "") for p in stack.get("Parameters", [])
            },
            outputs=outputs_of(stack),
            jobs=self._jobs(stack),
            failure=failure,
        )

    def check_destroyable(self, name: str, delete_filesystem: bool) -> dict[str, str]:
        """See whether a deployment may be taken down; returns its outputs.

        Raises
        ------
        NotFound
            There is none of this name.
        ConfigurationError
            Jobs of it have not ended, or somebody changes it, or its file system could not stay.
        """
        stack = self._find(name)
        refuse_busy(stack)
        busy = {
            queue: sum(count for status, count in counts.items() if status not in _ENDED)
            for queue, counts in self._jobs(stack).items()
        }
        busy = {queue: count for queue, count in busy.items() if count}
        if busy:
            told = ", ".join(f"{count} in {queue}" for queue, count in busy.items())
            raise ConfigurationError(
                f"'{name}' has jobs that have not ended ({told}); wait for them, or terminate them,"
                " then try again."
            )
        if _template_of(stack).startswith("batch-fsx") and not delete_filesystem:
            raise ConfigurationError(
                f"The Lustre file system of '{name}' goes with its stack; save what should last,"
                " then add --delete-filesystem."
            )
        return outputs_of(stack)

    def destroy(self, name: str, delete_filesystem: bool) -> None:
        """Take a deployment down. Its bucket stays, and so does its EFS file system, unless told
        otherwise.

        Raises
        ------
        ConfigurationError
            As `check_destroyable`; or something of it cannot be deleted.
        """
        outputs = self.check_destroyable(name, delete_filesystem)
        stack = self._find(name)
        delete_stack(self._stacks, Watch(self._stacks, **self._watching), stack)
        file_system = outputs.get("FileSystemId")
        if delete_filesystem and file_system and not _template_of(stack).startswith("batch-fsx"):
            from ..aws.efs import Efs

            Efs(self._session).delete_file_system(file_system)

    def _before_creation(
        self, name: str, template: str, text: str, parameters: Mapping[str, str]
    ) -> dict[str, str]:
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"'{name}' cannot be a deployment's name: use letters, digits and hyphens, a letter"
                " first, at most 112."
            )
        _check_names(template, text, parameters)
        known = self._stacks.describe(name)
        # What a failed creation left is replaced, but not somebody else's.
        if known is not None and not (known["StackStatus"] in DEAD and _is_ours(known)):
            refuse_busy(known)
            raise ConfigurationError(
                f"There is a stack '{name}' already; choose another name, or, if it is a"
                f" deployment, change it with `miniwdl-cloud deploy update {name}`."
            )
        return preflight.check(self._session, parameters, new=True)

    def _before_update(
        self, name: str, parameters: Mapping[str, str]
    ) -> tuple[dict[str, Any], str, list[str]]:
        stack = self._find(name)
        refuse_busy(stack)
        if stack["StackStatus"] in DEAD:
            raise ConfigurationError(
                f"The stack '{name}' is in {stack['StackStatus']} and cannot be updated; `deploy"
                " create` replaces it."
            )
        text = template_text(_template_of(stack))
        _check_names(_template_of(stack), text, parameters)
        preflight.check(self._session, parameters, new=False)
        known = {p["ParameterKey"] for p in stack.get("Parameters", [])}
        return stack, text, sorted((known & parameter_names(text)) - set(parameters))

    def _compare(
        self,
        name: str,
        new: bool,
        template: str,
        parameters: Mapping[str, str],
        tags: Mapping[str, str],
        kept: list[str],
    ) -> list[Change]:
        change_set = f"miniwdl-cloud-{secrets.token_hex(8)}"
        with _options_named():
            self._stacks.create_change_set(name, change_set, new, template, parameters, tags, kept)
        try:
            deadline = time.monotonic() + CHANGE_SET_TIMEOUT_S
            while True:
                status, reason, changes = self._stacks.change_set(name, change_set)
                if not status.endswith(("_PENDING", "_IN_PROGRESS")):
                    break
                if time.monotonic() > deadline:
                    raise Unreachable(
                        f"CloudFormation still compared after {CHANGE_SET_TIMEOUT_S:.0f} s; try"
                        " again."
                    )
                time.sleep(self._poll_s)
        finally:
            self._stacks.delete_change_set(name, change_set)
        if status == "FAILED":
            # The API has no code for "nothing to do".
            if "didn't contain changes" in reason or "No updates" in reason:
                return []
            raise explain.failure(name, "a change set that failed", None, reason)
        return changes

    def _forget_review(self, name: str) -> None:
        """A change set of a new stack leaves an empty one behind."""
        known = self._stacks.describe(name)
        if known is not None and known["StackStatus"] == "REVIEW_IN_PROGRESS":
            self._stacks.delete(name)

    def _find(self, name: str) -> dict[str, Any]:
        stack = self._stacks.describe(name)
        if stack is None:
            raise NotFound(
                f"There is no stack '{name}' in {self._session.region}; correct the name or"
                " --region, or make it with `miniwdl-cloud deploy create`."
            )
        if not _is_ours(stack):
            raise ConfigurationError(
                f"The stack '{name}' is no deployment of miniwdl-cloud; correct the name."
            )
        return stack

    def _jobs(self, stack: Mapping[str, Any]) -> dict[str, dict[str, int]]:
        outputs = outputs_of(stack)
        names = [outputs[key] for key in QUEUES if key in outputs]
        if not names:
            return {}
        known = {q["jobQueueName"] for q in BatchClient(self._session).describe_queues(names)}
        return {name: job_counts(self._session, name) for name in names if name in known}


@contextmanager
def _options_named() -> Iterator[None]:
    """CloudFormation names a parameter that it refuses; people know the option."""
    try:
        yield
    except ServiceError as exn:
        refused = _REFUSED.search(exn.message)
        missing = _MISSING.search(exn.message)
        absent = _ABSENT.search(exn.message)
        if absent:
            names = " and ".join(option(name) for name in absent[1].split(", "))
            raise UsageError(f"This template needs {names}; give them.") from exn
        if refused:
            raise UsageError(f"{option(refused[1])} {refused[2]}; correct it.") from exn
        if missing:
            raise NotFound(
                f"{missing[1]} ({option(missing[2])}) does not exist in this account and Region;"
                " correct it."
            ) from exn
        raise


def parameter_names(template: str) -> set[str]:
    """The names of a shipped template's parameters.

    Parameters
    ----------
    template
        Its text, laid out as the shipped ones are.
    """
    section = re.search(r"^Parameters:\n(.*?)^(?=\S)", template, re.MULTILINE | re.DOTALL)
    return set(re.findall(r"^  (\w+):", section[1], re.MULTILINE)) if section else set()


def _check_names(template: str, text: str, parameters: Mapping[str, str]) -> None:
    unknown = sorted(option(name) for name in set(parameters) - parameter_names(text))
    if unknown:
        raise UsageError(
            f"{' and '.join(unknown)} {'is' if len(unknown) == 1 else 'are'} not of the template"
            f" {template}; leave {'it' if len(unknown) == 1 else 'them'} out, or choose another"
            " --filesystem or --vpc."
        )


def _is_ours(stack: Mapping[str, Any]) -> bool:
    """Whether a stack is a deployment, in whatever state: outputs it has once it is complete."""
    names = {item["ParameterKey"] for item in stack.get("Parameters", [])}
    # A change set that was interrupted leaves a stack with nothing in it.
    return _MARK in names or stack["StackStatus"] == "REVIEW_IN_PROGRESS"


def _template_of(stack: Mapping[str, Any]) -> str:
    return outputs_of(stack).get("Template", "batch-efs")


def _tags(stack: Mapping[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in stack.get("Tags", [])}
