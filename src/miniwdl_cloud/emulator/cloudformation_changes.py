"""What an update of a stack changes, and what its events say.

moto's CloudFormation compares two templates and nothing else: it misses a resource whose condition
turns, or whose value reaches it through a condition; it gives a change set no parameters; it makes
no events of resources. CloudFormation does all of that, and `miniwdl-cloud deploy` shows it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

# Properties that cannot change without another resource in place of this one:
# `createOnlyProperties` of the resource types' registry schemas, for the types of the shipped
# templates. A compute environment's are those of one with `ReplaceComputeEnvironment: false`.
CREATE_ONLY: Mapping[str, frozenset[str]] = {
    f"AWS::{name}": frozenset(properties.split())
    for name, properties in {
        "Batch::ComputeEnvironment": "ComputeEnvironmentName Tags Type",
        "Batch::JobQueue": "JobQueueName JobQueueType",
        "EC2::LaunchTemplate": "LaunchTemplateName",
        "EC2::Route": "RouteTableId DestinationCidrBlock",
        "EC2::RouteTable": "VpcId",
        "EC2::SecurityGroup": "GroupDescription GroupName VpcId",
        "EC2::SecurityGroupIngress": (
            "GroupId GroupName IpProtocol FromPort ToPort CidrIp SourceSecurityGroupId"
        ),
        "EC2::Subnet": "VpcId CidrBlock AvailabilityZone",
        "EC2::SubnetRouteTableAssociation": "SubnetId RouteTableId",
        "EC2::VPC": "CidrBlock",
        "EC2::VPCEndpoint": "VpcId ServiceName VpcEndpointType",
        "EC2::VPCGatewayAttachment": "VpcId",
        "ECS::Cluster": "ClusterName",
        "EFS::AccessPoint": "FileSystemId PosixUser RootDirectory ClientToken",
        "EFS::FileSystem": "Encrypted KmsKeyId PerformanceMode AvailabilityZoneName",
        "EFS::MountTarget": "FileSystemId SubnetId IpAddress",
        "Events::Rule": "Name",
        "FSx::DataRepositoryAssociation": (
            "FileSystemId FileSystemPath DataRepositoryPath BatchImportMetaDataOnCreate"
        ),
        "FSx::FileSystem": "FileSystemType KmsKeyId SecurityGroupIds SubnetIds BackupId",
        "IAM::InstanceProfile": "InstanceProfileName Path",
        "IAM::Role": "RoleName Path",
        "IAM::ServiceLinkedRole": "AWSServiceName CustomSuffix",
        "Logs::LogGroup": "LogGroupName",
        "S3::Bucket": "BucketName",
        "S3::BucketPolicy": "Bucket",
        "SQS::Queue": "QueueName FifoQueue",
    }.items()
}
# The attributes that change with a resource that stays the same one.
_CHANGING_ATTRIBUTES = frozenset({"LatestVersionNumber", "DefaultVersionNumber"})


@dataclass
class Difference:
    """What an update does to a stack: logical ids, each list in the templates' order.

    Parameters
    ----------
    add, modify, remove
        What is made, changed and deleted.
    replaced
        Those of ``modify`` that another resource takes the place of.
    """

    add: list[str] = field(default_factory=list)
    modify: list[str] = field(default_factory=list)
    remove: list[str] = field(default_factory=list)
    replaced: set[str] = field(default_factory=set)


def difference(resources: Any, template: Json, parameters: Mapping[str, str] | None) -> Difference:
    """What an update to this template and these parameters does.

    Parameters
    ----------
    resources
        moto's ResourceMap of the stack as it is.
    template
        The new template.
    parameters
        The new parameters' values; as in moto, none means that they stay.
    """
    from moto.cloudformation.parsing import ResourceMap

    after = ResourceMap(
        resources.stack_id,
        resources["AWS::StackName"],
        dict(parameters or resources.input_parameters),
        resources.tags,
        resources._region_name,
        resources._account_id,
        template,
        resources.cross_stack_resources,
    )
    after.load()
    old, new = _made(resources), _made(after)
    changed = {
        name
        for name, value in after.resolved_parameters.items()
        if str(resources.resolved_parameters.get(name)) != str(value)
    }
    conditions = after.lazy_condition_map
    before = getattr(resources, "lazy_condition_map", {})
    changed |= {name for name in conditions if before.get(name) != conditions[name]}
    found = Difference(
        add=[name for name in new if name not in old],
        remove=[name for name in old if name not in new],
    )
    touched = {name: _touched(old[name], new[name], changed) for name in new if name in old}
    versions = {name for name, properties in touched.items() if properties}
    for name, properties in touched.items():
        properties |= _follow(new[name], versions)
        if properties:
            found.modify.append(name)
            if properties & CREATE_ONLY.get(new[name]["Type"], frozenset()):
                found.replaced.add(name)
    return found


def _made(resources: Any) -> dict[str, Json]:
    """The resources of a template whose conditions hold."""
    conditions = getattr(resources, "lazy_condition_map", {})
    return {
        name: resource
        for name, resource in resources._resource_json_map.items()
        if "Condition" not in resource or conditions[resource["Condition"]]
    }


def _touched(old: Json, new: Json, changed: set[str]) -> set[str]:
    """Which properties change; an empty name stands for what is no property."""
    if old["Type"] != new["Type"]:
        return set(CREATE_ONLY.get(new["Type"], ())) | {""}
    before, after = old.get("Properties") or {}, new.get("Properties") or {}
    return {
        name
        for name in {*before, *after}
        if before.get(name) != after.get(name) or changed.intersection(names_in(after.get(name)))
    }


def _follow(resource: Json, modified: set[str]) -> set[str]:
    """Properties that take an attribute which changes with another resource."""
    return {
        name
        for name, value in (resource.get("Properties") or {}).items()
        if any(
            target in modified and attribute in _CHANGING_ATTRIBUTES
            for target, attribute in _attributes_in(value)
        )
    }


def names_in(value: Any) -> list[str]:
    """The parameters, resources and conditions that a part of a template names."""
    from .cloudformation import references

    return [*references(value), *_conditions_in(value)]


def _conditions_in(value: Any) -> list[str]:
    if isinstance(value, list):
        return [name for item in value for name in _conditions_in(item)]
    if not isinstance(value, dict):
        return []
    own = [value["Fn::If"][0]] if "Fn::If" in value else []
    return own + [name for item in value.values() for name in _conditions_in(item)]


def _attributes_in(value: Any) -> list[tuple[str, str]]:
    if isinstance(value, list):
        return [pair for item in value for pair in _attributes_in(item)]
    if not isinstance(value, dict):
        return []
    found = [pair for item in value.values() for pair in _attributes_in(item)]
    if "Fn::GetAtt" in value:
        target = value["Fn::GetAtt"]
        name, attribute = target if isinstance(target, list) else target.split(".", 1)
        found.append((name, attribute))
    return found


def apply(resources: Any, template: Json, parameters: Mapping[str, str] | None) -> None:
    """Bring a stack's resources to a new template: make and change what is needed, then delete what
    is not.

    Raises
    ------
    ResourceFailure
        A resource cannot be made, changed or deleted.
    """
    from moto.cloudformation import parsing

    from .cloudformation import deletion_order, is_retained

    found = difference(resources, template, parameters)
    old = resources._resource_json_map
    resources._template = template
    if parameters:
        resources.input_parameters = dict(parameters)
    for load in (resources.load_mapping, resources.load_parameters, resources.load_conditions):
        load()
    resources._resource_json_map = template["Resources"]
    for name in reversed(deletion_order(template["Resources"])):
        if name in found.add:
            # Looking at it makes it.
            _ = resources[name]
        elif name in found.modify:
            resources._parsed_resources[name] = parsing.parse_and_update_resource(
                name,
                resources._resource_json_map[name],
                resources,
                account_id=resources._account_id,
                region_name=resources._region_name,
            )
    for name in deletion_order(old):
        made = resources._parsed_resources.get(name)
        if name not in found.remove or made is None:
            continue
        if not is_retained(old[name]):
            delete(resources, name, old[name], made)
        resources._parsed_resources.pop(name)


def delete(resources: Any, logical_id: str, definition: Json, made: Any) -> None:
    """Delete one resource, with its events.

    Raises
    ------
    ResourceFailure
        It cannot be deleted.
    """
    from .cloudformation import ResourceFailure, reason_of

    kind = definition["Type"]
    add_event(resources, logical_id, kind, "DELETE_IN_PROGRESS", made)
    try:
        resources._delete_resource(made, definition)
    except Exception as exn:
        add_event(resources, logical_id, kind, "DELETE_FAILED", made, reason_of(exn))
        raise ResourceFailure(logical_id, kind, reason_of(exn)) from exn
    add_event(resources, logical_id, kind, "DELETE_COMPLETE", made)


def describe(change_set: Any) -> list[Any]:
    """The changes of a change set, as DescribeChangeSet has them."""
    from moto.cloudformation.models import Change

    resources, template = change_set.stack.resource_map, change_set.template_dict
    found = difference(resources, template, change_set.parameters)
    changes = []
    for action, names in (("Add", found.add), ("Modify", found.modify), ("Remove", found.remove)):
        for name in names:
            before = resources._resource_json_map.get(name, {}).get("Type")
            kind = template["Resources"][name]["Type"] if action != "Remove" else before
            change = Change(action, name, kind)
            if action == "Modify":
                change.replacement = "True" if name in found.replaced else "False"
            changes.append(change)
    return changes


def create_change_set(create: Callable[..., Any], backend: Any, *args: Any, **kw: Any) -> Any:
    """A change set that is refused leaves no stack behind; one without changes has failed."""
    known = set(backend.stacks)
    try:
        ids = create(backend, *args, **kw)
    except BaseException:
        for stack_id in set(backend.stacks) - known:
            del backend.stacks[stack_id]
        raise
    change_set = backend.change_sets[ids[0]]
    if change_set.changes:
        change_set.status, change_set.execution_status = "CREATE_COMPLETE", "AVAILABLE"
        change_set.status_reason = None
    else:
        change_set.status, change_set.execution_status = "FAILED", "UNAVAILABLE"
        change_set.status_reason = (
            "The submitted information didn't contain changes. Submit different information to"
            " create a change set."
        )
    return ids


def previous_parameters(
    resolve: Callable[..., Any], backend: Any, instance: Any, incoming_params: list[Json]
) -> dict[str, str]:
    """UsePreviousValue means what the stack has, also where that is the template's default."""
    known = getattr(instance, "resource_map", None)
    if known is None:
        return dict(resolve(backend, instance=instance, incoming_params=incoming_params))
    values = {}
    for item in incoming_params:
        name = item["ParameterKey"]
        if not item.get("UsePreviousValue"):
            values[name] = item["ParameterValue"]
        elif name in known.resolved_parameters:
            values[name] = as_text(known.resolved_parameters[name])
    return values


def as_text(value: Any) -> str:
    """A parameter's value as the API has it."""
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def add_event(
    resources: Any, logical_id: str, kind: str, status: str, made: Any = None, reason: str = ""
) -> None:
    """Tell of a resource in its stack's events."""
    from moto.cloudformation.models import Event

    events = getattr(resources, "stack_events", None)
    if events is None:  # a stack set's, say
        return
    events.append(
        Event(
            stack_id=resources.stack_id,
            stack_name=resources["AWS::StackName"],
            logical_resource_id=logical_id,
            physical_resource_id=getattr(made, "physical_resource_id", None) or "",
            resource_type=kind,
            resource_status=status,
            resource_status_reason=reason or None,
            resource_properties=None,
        )
    )
