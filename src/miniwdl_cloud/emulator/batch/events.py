"""Batch's job state changes as EventBridge events, for the rules of moto's EventBridge.

AWS lets nobody but Batch put events of source ``aws.batch``, so they do not go through the API:
they are matched against the rules and put into their SQS queues here. Other targets are left to
moto.
"""

from __future__ import annotations

import json
import logging
import queue
import threading
import time
import uuid
from collections.abc import Iterable
from typing import Any

from moto.events.models import events_backends
from moto.sqs.models import sqs_backends

from .. import sqs
from .describe import describe_job
from .models import ACCOUNT_ID, Job

logger = logging.getLogger(__name__)

SOURCE = "aws.batch"
DETAIL_TYPE = "Batch Job State Change"
_Change = tuple[list[Any], dict[str, Any], float]


class EventEmitter:
    """Tells EventBridge of state changes, from a thread of its own.

    Parameters
    ----------
    region
        Region of the events.
    """

    def __init__(self, region: str) -> None:
        self._region = region
        self._outbox: queue.SimpleQueue[_Change | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="emulator-events", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Stop the thread, once it has told what it was given."""
        self._outbox.put(None)
        self._thread.join(timeout=30)

    def changed(self, job: Job) -> None:
        """A job has another status; with the service's lock held.

        A job is described only where a rule may want the event: most changes are of no interest,
        and thousands of jobs change at once.
        """
        rules = [rule for rule in self._rules() if _may_match(rule, job.status)]
        if rules:
            self._outbox.put((rules, describe_job(job), time.time()))

    def _rules(self) -> Iterable[Any]:
        return list(events_backends[ACCOUNT_ID][self._region].event_buses["default"].rules.values())

    def _run(self) -> None:
        while (change := self._outbox.get()) is not None:
            rules, detail, at = change
            event = self._event(detail, at)
            for rule in rules:
                try:
                    self._send(rule, event, at)
                except Exception:
                    # EventBridge does not tell the source either what became of an event.
                    logger.exception("an event could not be sent by the rule %s", rule.name)

    def _event(self, detail: dict[str, Any], at: float) -> dict[str, Any]:
        return {
            "version": "0",
            "id": str(uuid.uuid4()),
            "detail-type": DETAIL_TYPE,
            "source": SOURCE,
            "account": ACCOUNT_ID,
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at)),
            "region": self._region,
            "resources": [detail["jobArn"]],
            "detail": detail,
        }

    def _send(self, rule: Any, event: dict[str, Any], at: float) -> None:
        if any(not _is_plain_queue(target) for target in rule.targets):
            # moto matches by itself, and wants the times as numbers.
            rule.send_to_targets({**event, "time": at, "ingestion-time": at})
        elif rule.targets and rule.event_pattern.matches_event(event):
            body = json.dumps(event, separators=(",", ":"))
            for target in rule.targets:
                self._put(target["Arn"].rpartition(":")[2], rule.arn, body)

    def _put(self, queue_name: str, rule_arn: str, body: str) -> None:
        target = sqs_backends[ACCOUNT_ID][self._region].queues.get(queue_name)
        if target is None:
            return
        if not _may_send(target.policy, rule_arn):
            logger.warning(
                "the policy of the queue %s lets no event of %s in", queue_name, rule_arn
            )
            return
        sqs.put(target, body)


def _may_match(rule: Any, status: str) -> bool:
    """Whether a rule could want a job's event with this status, told without the event."""
    pattern = rule.event_pattern.get_pattern()
    if rule.state != "ENABLED" or not pattern:
        return False
    detail = pattern.get("detail")
    wanted = detail.get("status") if isinstance(detail, dict) else None
    return _is_wanted(SOURCE, pattern.get("source")) and _is_wanted(status, wanted)


def _is_wanted(value: str, values: list[Any] | None) -> bool:
    # A dictionary is a content filter, which is left to the matching of the whole event.
    return values is None or value in values or any(isinstance(item, dict) for item in values)


def _is_plain_queue(target: dict[str, Any]) -> bool:
    return target["Arn"].split(":")[2] == "sqs" and set(target) <= {"Id", "Arn"}


def _may_send(policy: str | None, rule_arn: str) -> bool:
    """Whether a queue's policy lets EventBridge send for a rule, as it has to on AWS (EventBridge
    user guide, "Amazon SQS permissions")."""
    for statement in json.loads(policy)["Statement"] if policy else ():
        principal = statement.get("Principal")
        services = principal.get("Service") if isinstance(principal, dict) else principal
        arns = [
            arn
            for members in statement.get("Condition", {}).values()
            for name, value in members.items()
            if name.lower() == "aws:sourcearn"
            for arn in ([value] if isinstance(value, str) else value)
        ]
        if (
            statement.get("Effect") == "Allow"
            and ("events.amazonaws.com" in (services or ()) or services == "*")
            and (not arns or rule_arn in arns)
        ):
            return True
    return False
