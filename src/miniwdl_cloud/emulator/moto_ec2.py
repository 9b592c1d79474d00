"""What moto's EC2 answers otherwise than AWS: seen by Terraform, which compares what it reads with
what it asked for."""

from __future__ import annotations

from typing import Any

from moto.ec2.models.launch_templates import LaunchTemplateBackend
from moto.ec2.models.security_groups import SecurityGroupRule

_create = LaunchTemplateBackend.create_launch_template


def amend() -> None:
    """Let moto's EC2 keep what AWS keeps. Doing it again changes nothing."""
    SecurityGroupRule.description = property(_description)
    LaunchTemplateBackend.create_launch_template = _create_launch_template


def _description(rule: Any) -> Any:
    """Of any rule; moto knows those of rules on addresses alone."""
    return rule.ip_range.get("Description") or rule.source_group.get("Description")


def _create_launch_template(
    backend: Any, name: str, description: str, data: dict[str, Any], tags: dict[str, Any]
) -> Any:
    """The template's own tags are not part of what it launches instances with; moto adds them to
    that (EC2 API reference, RequestLaunchTemplateData, TagSpecifications: "The tags to apply to the
    resources that are created during instance launch")."""
    launched = [
        item
        for item in data.get("TagSpecifications", [])
        if item.get("ResourceType") != "launch-template"
    ]
    kept = {key: value for key, value in data.items() if key != "TagSpecifications"}
    if launched:
        kept["TagSpecifications"] = launched
    return _create(backend, name, description, kept, tags)
