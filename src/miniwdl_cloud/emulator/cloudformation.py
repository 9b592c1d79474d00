"""CloudFormation on moto, with nothing lost.

moto's CloudFormation has its own Batch, skips resource types that it does not know, forgets
properties, and leaves half of a stack where a resource cannot be made. `install` mends these from
the outside: it puts our resources into moto's table of models (`cloudformation_batch`, `_ec2`,
`_moto`) and replaces the few functions below. It leans on moto's internals, so moto's version is
pinned.
"""

from __future__ import annotations

import contextlib
import functools
import graphlib
import ipaddress
import itertools
import logging
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from . import cloudformation_batch, cloudformation_changes
from .errors import ApiError

if TYPE_CHECKING:
    from .batch.service import BatchService
    from .ecs.service import EcsService
    from .fsx.service import FsxService

logger = logging.getLogger(__name__)


_SERVING = threading.RLock()
"""moto's table of models is the process's, and so is its one CloudFormation."""


@contextlib.contextmanager
def serving(batch: BatchService, ecs: EcsService, fsx: FsxService) -> Iterator[None]:
    """While a request is answered, Batch, ECS and FSx resources are made in these services,
    whatever other embedded AWS there is in the process."""
    with _SERVING:
        _put_models(batch, ecs, fsx)
        yield


def _put_models(batch: BatchService, ecs: EcsService, fsx: FsxService) -> None:
    from moto.cloudformation import parsing

    from . import (
        cloudformation_ecs,
        cloudformation_events,
        cloudformation_fsx,
        cloudformation_moto,
    )

    models: dict[str, Any] = {
        **cloudformation_moto.MODELS,
        **cloudformation_events.MODELS,
        **cloudformation_batch.models(batch),
        **cloudformation_fsx.models(fsx),
        **cloudformation_ecs.models(ecs),
    }
    for resource_type, model in models.items():
        parsing.get_model_map()[resource_type] = model
        parsing.get_name_type_map()[resource_type] = model.cloudformation_name_type()


def install() -> None:
    """Let moto's CloudFormation deploy the shipped templates: with `serving`, Batch, ECS and FSx
    resources into ours. Installing again changes nothing."""
    from moto.cloudformation import models as stacks
    from moto.cloudformation import parsing, responses
    from moto.ec2.models.security_groups import SecurityGroupBackend
    from moto.ec2.models.vpcs import VPCBackend

    from . import cloudformation_moto, moto_vpc

    cloudformation_moto.amend_models()
    _wrap(SecurityGroupBackend, "create_security_group", moto_vpc.with_its_members)
    _wrap(VPCBackend, "create_default_vpc", moto_vpc.with_internet_gateway)
    parsing.get_references_from_template = references
    _wrap(parsing, "clean_json", _functions)
    _wrap(parsing.ResourceMap, "load", _check_before)
    _wrap(parsing.ResourceMap, "update", _update)
    _wrap(parsing.ResourceMap, "load_parameters", _split_lists)
    _wrap(parsing.ResourceMap, "delete", _delete_dependents_first)
    _wrap(parsing, "parse_and_create_resource", _named_failure)
    _wrap(parsing, "parse_and_update_resource", _refuse_unsupported_update)
    _wrap(stacks.Stack, "create_resources", _roll_back)
    _wrap(stacks.Stack, "update", _mark_failed_update)
    _wrap(stacks.Stack, "delete", _keep_retained)
    _wrap(stacks.Stack, "__init__", _tell_of_resources)
    _wrap(stacks.ChangeSet, "apply", _keep_outputs)
    _wrap(stacks.ChangeSet, "diff", _changes)
    _wrap(
        stacks.CloudFormationBackend, "create_change_set", cloudformation_changes.create_change_set
    )
    _wrap(
        stacks.CloudFormationBackend,
        "_resolve_update_parameters",
        cloudformation_changes.previous_parameters,
    )
    _wrap(stacks.CloudFormationBackend, "delete_stack", _mark_failed_deletion)
    # moto's own look at what is no update compares texts, and refuses change sets too.
    _wrap(responses.CloudFormationResponse, "_validate_different_update", _nothing)
    stacks.Stack.parameter_list = property(_parameter_list)
    stacks.Stack.stack_resources = property(_stack_resources)


def _wrap(owner: Any, name: str, wrapper: Callable[..., Any]) -> None:
    """Replace a function by ``wrapper(original, *args)``, once."""
    original = getattr(owner, name)
    if getattr(original, "wrapped_by", None) is wrapper:
        return

    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        return wrapper(original, *args, **kwargs)

    call.wrapped_by = wrapper  # type: ignore[attr-defined]
    setattr(owner, name, call)


class ResourceFailure(Exception):
    """A resource of a stack could not be made or changed.

    Parameters
    ----------
    logical_id, resource_type
        Which one.
    reason
        Why, as the service says it.
    """

    def __init__(self, logical_id: str, resource_type: str, reason: str) -> None:
        super().__init__(f"{logical_id} ({resource_type}): {reason}")
        self.logical_id = logical_id
        self.resource_type = resource_type
        self.reason = reason


def reason_of(exn: BaseException) -> str:
    """The text of an error, as the service says it."""
    if isinstance(exn, ApiError):
        return exn.message
    # moto's errors of EC2, IAM… are HTTP exceptions with the text in one or the other place.
    return str(getattr(exn, "message", "") or getattr(exn, "description", "") or exn or repr(exn))


def _check_before(load: Callable[..., Any], resources: Any, *args: Any, **kwargs: Any) -> Any:
    """Refuse a template with resources or properties that would be lost, as CloudFormation refuses
    unknown ones: before anything is made."""
    from moto.cloudformation.exceptions import ValidationError

    from . import cloudformation_ecs, cloudformation_events, cloudformation_moto

    all_carried = {
        **cloudformation_moto.CARRIED,
        **cloudformation_events.CARRIED,
        **cloudformation_ecs.CARRIED,
    }
    template = args[0] if args else resources._template
    unknown = sorted(
        {
            r["Type"]
            for r in (template.get("Resources") or {}).values()
            if not _is_known(str(r["Type"]))
        }
    )
    if unknown:
        raise ValidationError(
            message="Template format error: Unrecognized resource types:"
            f" [{', '.join(unknown)}] (the embedded AWS does not have them)"
        )
    for logical_id, resource in (template.get("Resources") or {}).items():
        carried = all_carried.get(resource["Type"])
        lost = sorted(set(resource.get("Properties") or {}) - carried) if carried else []
        if lost:
            raise ValidationError(
                message=f"Properties validation failed for resource {logical_id}: the embedded AWS"
                f" does not have {', '.join(lost)} of {resource['Type']}"
            )
    return load(resources, *args, **kwargs)


def _update(
    update: Callable[..., Any], resources: Any, template: Any, parameters: Any = None
) -> None:
    """moto's own update misses much; see `cloudformation_changes`."""
    _check_before(
        lambda *args: cloudformation_changes.apply(*args), resources, template, parameters
    )


def _is_known(resource_type: str) -> bool:
    from moto.cloudformation import parsing

    return resource_type in parsing.get_model_map() or resource_type in parsing.NULL_MODELS


def _named_failure(
    make: Callable[..., Any], logical_id: str, resource_json: dict[str, Any], *args: Any, **kw: Any
) -> Any:
    """Say which resource failed; a resource that needs it fails with it."""
    resources, kind = args[0], resource_json["Type"]
    tell = functools.partial(cloudformation_changes.add_event, resources, logical_id, kind)
    try:
        made = make(logical_id, resource_json, *args, **kw)
    except ResourceFailure:
        raise
    except Exception as exn:
        logger.debug("The resource %s could not be made", logical_id, exc_info=True)
        tell("CREATE_FAILED", reason=reason_of(exn))
        raise ResourceFailure(logical_id, kind, reason_of(exn)) from exn
    if made is not None:
        # What it needs is made while its properties are read, so it cannot be said to begin before.
        tell("CREATE_IN_PROGRESS")
        tell("CREATE_COMPLETE", made)
    return made


def _refuse_unsupported_update(
    change: Callable[..., Any],
    logical_id: str,
    resource_json: dict[str, Any],
    *args: Any,
    **kw: Any,
) -> Any:
    """Where moto cannot change a resource it keeps it as it was; that is no success."""
    from moto.cloudformation import parsing

    model = parsing.resource_class_from_type(resource_json["Type"])
    change_of_model = getattr(model, "update_from_cloudformation_json", None)
    resources, kind = args[0], resource_json["Type"]
    tell = functools.partial(cloudformation_changes.add_event, resources, logical_id, kind)
    tell("UPDATE_IN_PROGRESS")
    try:
        if change_of_model is None or hasattr(change_of_model, "__isabstractmethod__"):
            raise ValueError(
                "the embedded AWS cannot change it in place; delete the stack and create it again"
            )
        changed = change(logical_id, resource_json, *args, **kw)
    except ResourceFailure:
        raise
    except Exception as exn:
        tell("UPDATE_FAILED", reason=reason_of(exn))
        raise ResourceFailure(logical_id, kind, reason_of(exn)) from exn
    tell("UPDATE_COMPLETE", changed)
    return changed


def _roll_back(create: Callable[..., Any], stack: Any) -> None:
    """A stack whose creation fails ends in ROLLBACK_COMPLETE with nothing left of it."""
    from moto.cloudformation.models import OutputMap

    try:
        create(stack)
    except ResourceFailure as failure:
        logger.warning("The stack %s failed: %s", stack.name, failure)
        stack._add_stack_event(
            "ROLLBACK_IN_PROGRESS",
            resource_status_reason="The following resource(s) failed to create:"
            f" [{failure.logical_id}].",
        )
        try:
            stack.resource_map.delete()
        except Exception:
            logger.exception("Parts of the stack %s could not be deleted", stack.name)
        # moto makes resources when they are looked at; nothing may come back by a look.
        stack.resource_map._resource_json_map = {}
        stack.output_map = OutputMap(stack.resource_map, {}, stack.stack_id)
        stack.status = "ROLLBACK_COMPLETE"
        stack._add_stack_event("ROLLBACK_COMPLETE")


def _mark_failed_update(
    update: Callable[..., Any],
    stack: Any,
    template: str,
    role_arn: str | None = None,
    parameters: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
) -> None:
    """An update that fails shows in the stack's status and events, as CloudFormation has it without
    rollback. One that is refused changes nothing."""
    from moto.cloudformation.exceptions import ValidationError

    parsed = stack.parse_template(template)
    found = cloudformation_changes.difference(stack.resource_map, parsed, parameters)
    if (
        not (found.add or found.modify or found.remove)
        and parsed.get("Outputs") == stack.template_dict.get("Outputs")
        and (tags is None or tags == stack.tags)
    ):
        raise ValidationError(message="No updates are to be performed.")
    try:
        update(stack, template, role_arn, parameters, tags)
    except ResourceFailure as failure:
        logger.warning("The update of the stack %s failed: %s", stack.name, failure)
        stack.status = "UPDATE_FAILED"
        stack._add_stack_event("UPDATE_FAILED")


def _keep_retained(delete: Callable[..., Any], stack: Any) -> None:
    """moto knows the deletion policy Retain only."""
    for resource in stack.resource_map._resource_json_map.values():
        if resource.get("DeletionPolicy") == "RetainExceptOnCreate":
            resource["DeletionPolicy"] = "Retain"
    delete(stack)


def is_retained(resource: Mapping[str, Any]) -> bool:
    """Whether a resource outlives an update that removes it.

    Parameters
    ----------
    resource
        Its definition in the template.
    """
    return resource.get("DeletionPolicy") in ("Retain", "RetainExceptOnCreate")


def _mark_failed_deletion(delete: Callable[..., Any], backend: Any, name_or_id: str) -> None:
    """A stack that cannot be deleted stays, in DELETE_FAILED; moto would forget it."""
    stack = backend.stacks.get(name_or_id)
    try:
        delete(backend, name_or_id)
    except ResourceFailure as failure:
        if stack is None:
            raise
        logger.warning("The deletion of the stack %s failed: %s", stack.name, failure)
        backend.stacks[stack.stack_id] = stack
        stack.status = "DELETE_FAILED"
        reason = f"The following resource(s) failed to delete: [{failure.logical_id}]."
        stack._add_stack_event("DELETE_FAILED", resource_status_reason=reason)


def _tell_of_resources(init: Callable[..., Any], stack: Any, *args: Any, **kwargs: Any) -> None:
    """Let the resources of a stack make events of it."""
    init(stack, *args, **kwargs)
    stack.resource_map.stack_events = stack.events


def _stack_resources(stack: Any) -> list[Any]:
    """moto counts those too whose condition does not hold."""
    return [made for made in stack.resource_map.values() if made is not None]


def _parameter_list(stack: Any) -> list[dict[str, str]]:
    """moto writes lists as Python does."""
    return [
        {"ParameterKey": name, "ParameterValue": cloudformation_changes.as_text(value)}
        for name, value in stack.resource_map.resolved_parameters.items()
    ]


def _changes(diff: Callable[..., Any], change_set: Any) -> list[Any]:
    return cloudformation_changes.describe(change_set)


def _nothing(*args: Any) -> None:
    """In place of what is not to happen."""


def _delete_dependents_first(delete: Callable[..., Any], resources: Any) -> None:
    """CloudFormation deletes a resource after all that depend on it; moto tries in no order, so
    that a route may be looked for in a table that is gone."""
    templates = resources._resource_json_map
    for logical_id in deletion_order(templates):
        resource = resources._parsed_resources.get(logical_id)
        if templates[logical_id].get("DeletionPolicy") == "Retain" or resource is None:
            continue
        cloudformation_changes.delete(resources, logical_id, templates[logical_id], resource)
        resources._parsed_resources.pop(logical_id)


def deletion_order(resources: Mapping[str, Any]) -> list[str]:
    """Order a template's resources so that each comes after all that depend on it.

    Parameters
    ----------
    resources
        The section ``Resources``: definitions by logical id. What a resource depends on are its
        ``DependsOn``, ``Ref``, ``Fn::GetAtt`` and the names within ``Fn::Sub``.
    """
    needs = {}
    for logical_id, resource in resources.items():
        explicit = resource.get("DependsOn", [])
        explicit = [explicit] if isinstance(explicit, str) else explicit
        needs[logical_id] = {
            name for name in (*explicit, *references(resource)) if name in resources
        }
    return list(reversed(list(graphlib.TopologicalSorter(needs).static_order())))


def _keep_outputs(apply: Callable[..., Any], change_set: Any) -> None:
    """A stack made by a change set (`aws cloudformation deploy`) has outputs and parameters too."""
    from moto.cloudformation.exceptions import ValidationError

    try:
        apply(change_set)
    except ResourceFailure as failure:
        raise ValidationError(message=str(failure)) from failure
    stack = change_set.stack
    stack.template = change_set.template
    stack._parse_template()
    stack.parameters = change_set.parameters
    stack.output_map = stack._create_output_map()


def _functions(clean: Callable[..., Any], template: Any, resources: Any) -> Any:
    """Intrinsic functions where moto's are wrong: ``AWS::NoValue`` in a list leaves nothing there,
    ``Fn::GetAZs`` knows the Region it is in, ``Fn::Cidr`` exists, and ``Fn::Sub`` tells shell
    variables from its own."""
    if isinstance(template, list):
        cleaned = [clean(item, resources) for item in template]
        return [
            new
            for new, old in zip(cleaned, template, strict=True)
            if new is not None or old is None
        ]
    if isinstance(template, dict) and "Fn::GetAZs" in template:
        from moto.ec2.models import ec2_backends

        region = clean(template["Fn::GetAZs"], resources) or resources["AWS::Region"]
        backend = ec2_backends[resources["AWS::AccountId"]][region]
        return [zone.name for zone in backend.describe_availability_zones()]
    if isinstance(template, dict) and "Fn::Sub" in template:
        return _substitute(clean, template["Fn::Sub"], resources)
    if isinstance(template, dict) and "Fn::Cidr" in template:
        block, count, *bits = clean(template["Fn::Cidr"], resources)
        network = ipaddress.ip_network(block)
        subnets = network.subnets(new_prefix=network.max_prefixlen - int(bits[0] if bits else 8))
        return [str(subnet) for subnet in itertools.islice(subnets, int(count))]
    return clean(template, resources)


def _substitute(clean: Callable[..., Any], argument: Any, resources: Any) -> str:
    text, variables = argument if isinstance(argument, list) else (argument, {})

    def value(found: re.Match[str]) -> str:
        literal, name = found.groups()
        if literal:
            return f"${{{name}}}"
        if name in variables:
            return str(clean(variables[name], resources))
        attribute = name.split(".", 1)
        reference = {"Fn::GetAtt": attribute} if len(attribute) == 2 else {"Ref": name}
        return str(clean(reference, resources))

    return re.sub(r"\$\{(!?)([^{}]+)\}", value, text)


def _split_lists(load: Callable[..., Any], resources: Any) -> None:
    """Parameters are checked, and a list parameter's default is a list too."""
    from .cloudformation_parameters import check

    given = {k: cloudformation_changes.as_text(v) for k, v in resources.input_parameters.items()}
    resources.input_parameters = given
    if resources._template:
        check(resources._template, given, resources._account_id, resources._region_name)
    load(resources)
    for name, parameter in (resources._template.get("Parameters") or {}).items():
        value = resources.resolved_parameters.get(name)
        kind = str(parameter.get("Type"))
        if isinstance(value, str) and (kind == "CommaDelimitedList" or kind.startswith("List<")):
            resources.resolved_parameters[name] = [item.strip() for item in value.split(",")]
    resources._parsed_resources.update(resources.resolved_parameters)


def references(template: Any) -> list[str]:
    """The parameters and resources that a part of a template refers to, by ``Ref``, ``Fn::Sub`` or
    ``Fn::GetAtt``; moto looks at ``Ref`` only."""
    if isinstance(template, list):
        return [name for item in template for name in references(item)]
    if not isinstance(template, dict):
        return []
    found: list[str] = []
    for key, value in template.items():
        if key == "Ref":
            found.append(value)
        elif key == "Fn::Sub":
            text = value[0] if isinstance(value, list) else value
            found += re.findall(r"\$\{([^!}.]+)", text)
            found += references(value[1:]) if isinstance(value, list) else []
        elif key == "Fn::GetAtt":
            found.append(value[0] if isinstance(value, list) else value.partition(".")[0])
        else:
            found += references(value)
    return found
