"""The shipped templates, put together of their parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from troposphere import Join, Template

from . import batch, fargate, hosts, network, roles, storage
from .base import Network, Part
from .yaml_text import WIDTH, comment, mapping, without_comments


@dataclass(frozen=True)
class Variant:
    """One template.

    Parameters
    ----------
    name
        Of its file.
    network
        ``new``, ``private`` or ``existing``.
    filesystem
        ``efs`` or ``fsx``.
    about
        What it makes, for its description.
    """

    name: str
    network: str
    filesystem: str
    about: str


_FILE_SYSTEMS = {"efs": "an EFS file system", "fsx": "an FSx for Lustre file system"}
_NETWORKS = {
    "new": ("", "in a VPC of their own"),
    "private": ("-private", "in private subnets of a VPC of their own, with endpoints"),
    "existing": ("-existing-vpc", "in subnets that are there"),
}
VARIANTS: Mapping[str, Variant] = {
    f"batch-{system}{suffix}": Variant(
        f"batch-{system}{suffix}",
        kind,
        system,
        f"miniwdl-cloud: AWS Batch queues, {words}, an S3 bucket and roles to run WDL workflows"
        f" with, {place}.",
    )
    for system, words in _FILE_SYSTEMS.items()
    for kind, (suffix, place) in _NETWORKS.items()
}
# In this order consoles show the parameters.
_GROUPS = ("Labels", storage.S3_GROUP, roles.COMPUTE, network.GROUP)


def parts(variant: Variant) -> list[Part]:
    """The parts of a template, in their order.

    Parameters
    ----------
    variant
        Which template.
    """
    system = variant.filesystem
    if variant.network == "existing":
        part, place = network.existing(system)
    else:
        part, place = network.new(system, private=variant.network == "private")
    return [
        _labels(),
        part,
        storage.elastic(place) if system == "efs" else storage.lustre(place),
        storage.bucket(),
        batch.sizes(),
        roles.roles(system),
        hosts.launch_template(system),
        batch.environments(system, place),
        batch.queues(system, place, variant.name),
        batch.job_events(),
        *([fargate.cluster()] if system == "efs" else []),
        batch.workflow_queue(system, place),
        _network_outputs(variant, place),
    ]


def text(name: str) -> str:
    """A template as it is shipped.

    Parameters
    ----------
    name
        Of `VARIANTS`.
    """
    variant = VARIANTS[name]
    made = parts(variant)
    resources = _resources(made)
    body = _as_dict(variant, made)
    lines = ['AWSTemplateFormatVersion: "2010-09-09"']
    lines += mapping({"Description": variant.about})
    lines += ["", *comment(_HEAD.format(name=name), 0), ""]
    for section in ("Metadata", "Parameters", "Conditions"):
        lines += [*mapping({section: body[section]}), ""]
    lines.append("Resources:")
    for part in made:
        if part.title:
            rule = f"  # {'-' * (WIDTH - 8 - len(part.title))} {part.title}"
            lines += [rule, *comment(part.about, 2)] if part.about else [rule]
            lines.append("")
        for about, resource in part.resources:
            if about:
                lines += comment(about, 2)
            lines += [*mapping({resource.title: resources[resource.title]}, 2), ""]
    lines += mapping({"Outputs": body["Outputs"]})
    return "\n".join(lines) + "\n"


def as_dict(name: str) -> dict[str, Any]:
    """A template as CloudFormation reads it.

    Parameters
    ----------
    name
        Of `VARIANTS`.
    """
    variant = VARIANTS[name]
    return dict(without_comments(_as_dict(variant, parts(variant))))


def _as_dict(variant: Variant, made: list[Part]) -> dict[str, Any]:
    whole = Template(variant.about)
    whole.set_version("2010-09-09")
    groups = []
    for group in _GROUPS:
        names = []
        for parameter in (p for part in made for p in part.parameters.get(group, [])):
            whole.add_parameter(parameter)
            names.append(parameter.title)
        groups.append({"Label": {"default": group}, "Parameters": names})
    whole.set_metadata({"AWS::CloudFormation::Interface": {"ParameterGroups": groups}})
    for part in made:
        for name, condition in part.conditions.items():
            whole.add_condition(name, condition)
        for _, resource in part.resources:
            whole.add_resource(resource)
        for output in part.outputs:
            whole.add_output(output)
    return dict(whole.to_dict())


def _resources(made: list[Part]) -> dict[str, Any]:
    """Every resource in the order that people read: type, conditions, policies, properties."""
    found = {}
    for part in made:
        for _, resource in part.resources:
            raw = resource.to_dict()
            first = ("Type", "Condition", "DependsOn", "DeletionPolicy", "UpdateReplacePolicy")
            found[resource.title] = {
                **{key: raw[key] for key in first if key in raw},
                "Properties": raw["Properties"],
            }
    return found


def _labels() -> Part:
    part = Part("")
    for name in ("Owner", "Environment"):
        part.parameter(
            "Labels",
            name,
            f"Value of the tag {name} on everything that is made here.",
            Type="String",
            Default="miniwdl",
            MinLength=1,
            MaxLength=256,
        )
    return part


def _network_outputs(variant: Variant, place: Network) -> Part:
    part = Part("")
    part.output(
        "SecurityGroupId", place.security_group, "Security group of jobs and of the file system"
    )
    part.output("SubnetIds", Join(",", place.subnets), "Subnets, separated by commas")
    return part


_HEAD = """\
Made by scripts/make-templates of src/miniwdl_cloud/infra/specification; change that.

Deploy it alone:

  aws cloudformation deploy --stack-name miniwdl --capabilities CAPABILITY_IAM \\
      --template-file {name}.yaml

and then run a workflow with `miniwdl-aws-submit … --workflow-queue miniwdl-workflow`. All else is
found by the tags of that queue. Every compute environment shrinks to nothing when idle."""
