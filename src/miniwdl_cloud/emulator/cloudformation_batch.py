"""CloudFormation's Batch resource types, made in our own Batch service.

A model is what moto's CloudFormation expects of one: class methods that create and update a
resource from its properties. The resource itself says what ``Ref`` and ``Fn::GetAtt`` give, and
deletes itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from botocore.model import ListShape, MapShape, Shape, StructureShape

if TYPE_CHECKING:
    from .batch.service import BatchService


class Resource:
    """A resource that moto's CloudFormation holds for us.

    Parameters
    ----------
    physical_id
        What ``Ref`` gives.
    attributes
        What ``Fn::GetAtt`` gives.
    on_delete
        Deletes it.
    """

    def __init__(
        self, physical_id: str, attributes: Mapping[str, str], on_delete: Callable[[], Any]
    ) -> None:
        self.physical_resource_id = physical_id
        self._attributes = dict(attributes)
        self._on_delete = on_delete

    def get_cfn_attribute(self, name: str) -> str:
        """The value of ``Fn::GetAtt``."""
        from moto.cloudformation.exceptions import UnformattedGetAttTemplateException

        if name not in self._attributes:
            raise UnformattedGetAttTemplateException()
        return self._attributes[name]

    def is_created(self) -> bool:
        """Everything is made at once."""
        return True

    def delete(self, account_id: str, region_name: str) -> None:
        """Delete it."""
        self._on_delete()


class BatchModel:
    """What the Batch resource types share. ``models`` binds it to a service."""

    batch: BatchService
    name_property = ""
    attributes: tuple[str, ...] = ()
    only_in_cloudformation: frozenset[str] = frozenset()
    create_operation = ""
    update_operation = ""

    @classmethod
    def cloudformation_name_type(cls) -> str:
        """The property that holds the resource's name."""
        return cls.name_property

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        """Whether ``Fn::GetAtt`` knows the attribute."""
        return attr in cls.attributes

    @classmethod
    def create_from_cloudformation_json(
        cls,
        resource_name: str,
        cloudformation_json: dict[str, Any],
        account_id: str,
        region_name: str,
        **kwargs: Any,
    ) -> Resource:
        """Make the resource in our Batch, with the stack's own tags."""
        if region_name != cls.batch.region:
            raise ValueError(f"The embedded AWS has Batch in {cls.batch.region} only.")
        properties = {**cloudformation_json["Properties"], cls.name_property: resource_name}
        request = cls.request(cls.create_operation, properties)
        tags = {**stack_tags(account_id, region_name, kwargs.get("StackId")), **_tags(request)}
        return cls.make({**request, "tags": tags} if tags else request)

    @classmethod
    def update_from_cloudformation_json(
        cls,
        original_resource: Resource,
        new_resource_name: str,
        cloudformation_json: dict[str, Any],
        account_id: str,
        region_name: str,
    ) -> Resource:
        """Change the resource in place."""
        arn = original_resource.physical_resource_id
        properties = dict(cloudformation_json["Properties"])
        # A generated name comes anew with every update; only one that the template gives counts.
        if properties.pop(cls.name_property, _name_of(arn)) != _name_of(arn):
            raise ValueError(
                "the embedded AWS cannot rename it; delete the stack and create it again"
            )
        tags = cls.request(cls.create_operation, {"Tags": properties.pop("Tags", {})})["tags"]
        cls.change(arn, properties)
        known = cls.batch.list_tags_for_resource({"resourceArn": arn})["tags"]
        gone = sorted(set(known) - set(tags))
        if gone:
            cls.batch.untag_resource({"resourceArn": arn, "tagKeys": gone})
        if tags:
            cls.batch.tag_resource({"resourceArn": arn, "tags": tags})
        return original_resource

    @classmethod
    def make(cls, request: dict[str, Any]) -> Resource:
        """Make it from an API request."""
        raise NotImplementedError

    @classmethod
    def change(cls, arn: str, properties: dict[str, Any]) -> None:
        """Change it to these properties."""
        raise NotImplementedError

    @classmethod
    def request(cls, operation: str, properties: Mapping[str, Any]) -> dict[str, Any]:
        """The API request with these CloudFormation properties."""
        kept = _without(properties, cls.only_in_cloudformation)
        shape = cls.batch.model.operation(operation).input_shape
        request: dict[str, Any] = to_api(shape, kept, "") if shape else {}
        return request


class ComputeEnvironment(BatchModel):
    """AWS::Batch::ComputeEnvironment"""

    name_property = "ComputeEnvironmentName"
    attributes = ("ComputeEnvironmentArn",)
    # These steer updates, which are always in place here.
    only_in_cloudformation = frozenset(
        {"ReplaceComputeEnvironment", "UpdatePolicy", "UpdateToLatestImageVersion"}
    )
    create_operation = "CreateComputeEnvironment"

    @classmethod
    def make(cls, request: dict[str, Any]) -> Resource:
        """Make it."""
        arn = cls.batch.create_compute_environment(request)["computeEnvironmentArn"]

        def delete() -> None:
            if cls.batch.describe_compute_environments({"computeEnvironments": [arn]})[
                "computeEnvironments"
            ]:
                cls.batch.update_compute_environment(
                    {"computeEnvironment": arn, "state": "DISABLED"}
                )
                cls.batch.delete_compute_environment({"computeEnvironment": arn})

        return Resource(arn, {"ComputeEnvironmentArn": arn}, delete)

    @classmethod
    def change(cls, arn: str, properties: dict[str, Any]) -> None:
        """Change it; its kind stays."""
        known = cls.batch.describe_compute_environments({"computeEnvironments": [arn]})
        detail = known["computeEnvironments"][0]
        wanted = cls.request(cls.create_operation, properties)
        kind = wanted.get("computeResources", {}).get("type")
        if kind != detail.get("computeResources", {}).get("type"):
            raise ValueError(
                "the embedded AWS cannot change its kind; delete the stack and create it again"
            )
        changeable = ("state", "computeResources", "serviceRole")
        request: dict[str, Any] = {k: wanted[k] for k in changeable if k in wanted}
        cls.batch.update_compute_environment({**request, "computeEnvironment": arn})


class JobQueue(BatchModel):
    """AWS::Batch::JobQueue"""

    name_property = "JobQueueName"
    attributes = ("JobQueueArn",)
    create_operation = "CreateJobQueue"

    @classmethod
    def make(cls, request: dict[str, Any]) -> Resource:
        """Make it."""
        arn = cls.batch.create_job_queue(request)["jobQueueArn"]

        def delete() -> None:
            if cls.batch.describe_job_queues({"jobQueues": [arn]})["jobQueues"]:
                cls.batch.update_job_queue({"jobQueue": arn, "state": "DISABLED"})
                cls.batch.delete_job_queue({"jobQueue": arn})

        return Resource(arn, {"JobQueueArn": arn}, delete)

    @classmethod
    def change(cls, arn: str, properties: dict[str, Any]) -> None:
        """Change it."""
        cls.batch.update_job_queue({**cls.request("UpdateJobQueue", properties), "jobQueue": arn})


class JobDefinition(BatchModel):
    """AWS::Batch::JobDefinition"""

    name_property = "JobDefinitionName"
    attributes = ("JobDefinitionArn",)
    create_operation = "RegisterJobDefinition"

    @classmethod
    def make(cls, request: dict[str, Any]) -> Resource:
        """Register it."""
        arn = cls.batch.register_job_definition(request)["jobDefinitionArn"]
        return Resource(
            arn,
            {"JobDefinitionArn": arn},
            lambda: cls.batch.deregister_job_definition({"jobDefinition": arn}),
        )

    @classmethod
    def update_from_cloudformation_json(
        cls,
        original_resource: Resource,
        new_resource_name: str,
        cloudformation_json: dict[str, Any],
        account_id: str,
        region_name: str,
    ) -> Resource:
        """Register another revision, and deregister this one."""
        name = _name_of(original_resource.physical_resource_id).partition(":")[0]
        changed = cls.create_from_cloudformation_json(
            str(cloudformation_json["Properties"].get(cls.name_property, name)),
            cloudformation_json,
            account_id,
            region_name,
        )
        original_resource.delete(account_id, region_name)
        return changed


class SchedulingPolicy(BatchModel):
    """AWS::Batch::SchedulingPolicy"""

    name_property = "Name"
    attributes = ("Arn",)
    create_operation = "CreateSchedulingPolicy"

    @classmethod
    def make(cls, request: dict[str, Any]) -> Resource:
        """Make it."""
        arn = cls.batch.create_scheduling_policy(request)["arn"]
        return Resource(arn, {"Arn": arn}, lambda: cls.batch.delete_scheduling_policy({"arn": arn}))

    @classmethod
    def change(cls, arn: str, properties: dict[str, Any]) -> None:
        """Change it."""
        cls.batch.update_scheduling_policy(
            {**cls.request("UpdateSchedulingPolicy", properties), "arn": arn}
        )


def to_api(shape: Shape, value: Any, path: str) -> Any:
    """A value as the API takes it.

    Parameters
    ----------
    shape
        botocore's shape of it.
    value
        The CloudFormation property: member names begin with a capital, and numbers and truth values
        may come as text.
    path
        Where it stands, for messages.

    Raises
    ------
    ValueError
        The API has no such member, or it is no text.
    """
    if isinstance(shape, StructureShape):
        members = {name.lower(): name for name in shape.members}
        converted = {}
        for key, item in value.items():
            name = members.get(key.lower())
            if name is None:
                raise ValueError(f"Encountered unsupported property {path}{key}")
            converted[name] = to_api(shape.members[name], item, f"{path}{key}.")
        return converted
    if isinstance(shape, (ListShape, MapShape)) and isinstance(value, str):
        raise ValueError(f"Value of property {path.rstrip('.')} must be a {shape.type_name}")
    if isinstance(shape, ListShape):
        # What AWS::NoValue leaves in a list does not count.
        return [to_api(shape.member, item, path) for item in value if item is not None]
    if isinstance(shape, MapShape):
        return {str(key): to_api(shape.value, item, path) for key, item in value.items()}
    if shape.type_name in ("integer", "long"):
        return int(value)
    if shape.type_name in ("float", "double"):
        return float(value)
    if shape.type_name == "boolean":
        return str(value).lower() == "true"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _without(value: Any, names: frozenset[str]) -> Any:
    if isinstance(value, Mapping):
        return {k: _without(v, names) for k, v in value.items() if k not in names}
    return value


def _tags(request: Mapping[str, Any]) -> dict[str, str]:
    return dict(request.get("tags") or {})


def _name_of(arn: str) -> str:
    return arn.rsplit("/", 1)[-1]


def stack_tags(account_id: str, region: str, stack_id: str | None) -> dict[str, str]:
    """The tags of a stack, which its resources get too; none if it is no stack.

    Parameters
    ----------
    account_id, region, stack_id
        Which stack.
    """
    from moto.cloudformation.models import cloudformation_backends

    stack = cloudformation_backends[account_id][region].stacks.get(stack_id)
    return dict(stack.tags) if stack else {}


def models(batch: BatchService) -> dict[str, type[BatchModel]]:
    """The models by resource type.

    Parameters
    ----------
    batch
        The service that the resources are made in.
    """
    kinds: tuple[type[BatchModel], ...] = (
        ComputeEnvironment,
        JobQueue,
        JobDefinition,
        SchedulingPolicy,
    )
    return {f"AWS::Batch::{m.__name__}": type(m.__name__, (m,), {"batch": batch}) for m in kinds}
