"""Event rules and queues in CloudFormation, where moto's models fall short."""

from __future__ import annotations

import json
from typing import Any

from moto.events.models import Rule as MotoRule
from moto.sqs.models import Queue as MotoQueue
from moto.sqs.models import sqs_backends

from .cloudformation_batch import Resource

Json = dict[str, Any]

CARRIED: dict[str, frozenset[str]] = {
    f"AWS::{name}": frozenset(properties.split())
    for name, properties in {
        "Events::Rule": "Name Description EventBusName EventPattern State Targets Tags",
        "SQS::Queue": (
            "QueueName DelaySeconds MaximumMessageSize MessageRetentionPeriod"
            " ReceiveMessageWaitTimeSeconds SqsManagedSseEnabled VisibilityTimeout Tags"
        ),
        "SQS::QueuePolicy": "PolicyDocument Queues",
    }.items()
}
"""As in `cloudformation_moto`: the properties that are carried out."""


class Rule(MotoRule):  # type: ignore[misc]
    """AWS::Events::Rule; moto writes its pattern back into the template as text."""

    @classmethod
    def create_from_cloudformation_json(
        cls, name: str, cloudformation_json: Json, account_id: str, region_name: str, **kw: Any
    ) -> Any:
        """Make it."""
        copy = {**cloudformation_json, "Properties": dict(cloudformation_json["Properties"])}
        return MotoRule.create_from_cloudformation_json(name, copy, account_id, region_name)

    @classmethod
    def update_from_cloudformation_json(
        cls,
        original_resource: Any,
        new_resource_name: str,
        cloudformation_json: Json,
        account_id: str,
        region_name: str,
    ) -> Any:
        """Make it anew under its name."""
        original_resource.delete(account_id, region_name)
        name = cloudformation_json["Properties"].get("Name", original_resource.name)
        return cls.create_from_cloudformation_json(
            name, cloudformation_json, account_id, region_name
        )


class Queue(MotoQueue):  # type: ignore[misc]
    """AWS::SQS::Queue; moto changes two of its properties only."""

    @classmethod
    def update_from_cloudformation_json(
        cls,
        original_resource: Any,
        new_resource_name: str,
        cloudformation_json: Json,
        account_id: str,
        region_name: str,
    ) -> Any:
        """Change all but its name."""
        properties = dict(cloudformation_json["Properties"])
        if properties.pop("QueueName", original_resource.name) != original_resource.name:
            raise ValueError(
                "the embedded AWS cannot rename it; delete the stack and create it again"
            )
        tags = {tag["Key"]: tag["Value"] for tag in properties.pop("Tags", [])}
        queue = sqs_backends[account_id][region_name].get_queue(original_resource.name)
        queue._set_attributes({"Policy": queue.policy, **properties})
        queue.tags = tags
        return queue


class QueuePolicy:
    """AWS::SQS::QueuePolicy, which moto does not know."""

    @classmethod
    def cloudformation_name_type(cls) -> str:
        """It has no name."""
        return ""

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        """``Fn::GetAtt`` knows no attribute."""
        return False

    @classmethod
    def create_from_cloudformation_json(
        cls, name: str, cloudformation_json: Json, account_id: str, region_name: str, **kw: Any
    ) -> Resource:
        """Put it on its queues."""
        backend = sqs_backends[account_id][region_name]
        properties = cloudformation_json["Properties"]
        names = [url.rpartition("/")[2] for url in properties["Queues"]]
        for queue_name in names:
            backend.get_queue(queue_name).policy = json.dumps(properties["PolicyDocument"])

        def delete() -> None:
            for queue_name in names:
                if queue_name in backend.queues:
                    backend.queues[queue_name].policy = None

        return Resource(name, {}, delete)

    @classmethod
    def update_from_cloudformation_json(
        cls,
        original_resource: Resource,
        new_resource_name: str,
        cloudformation_json: Json,
        account_id: str,
        region_name: str,
    ) -> Resource:
        """Put the changed one on its queues."""
        return cls.create_from_cloudformation_json(
            new_resource_name, cloudformation_json, account_id, region_name
        )


MODELS: dict[str, Any] = {
    "AWS::Events::Rule": Rule,
    "AWS::SQS::Queue": Queue,
    "AWS::SQS::QueuePolicy": QueuePolicy,
}
