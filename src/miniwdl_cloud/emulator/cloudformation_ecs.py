"""CloudFormation's ECS resource types, made in our own ECS, and the log groups beside them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from moto.logs.models import LogGroup as MotoLogGroup
from moto.logs.models import logs_backends

from .cloudformation_batch import Resource, to_api

if TYPE_CHECKING:
    from .ecs.service import EcsService

Json = dict[str, Any]

CARRIED: dict[str, frozenset[str]] = {
    "AWS::ECS::Cluster": frozenset(
        {
            "ClusterName",
            "CapacityProviders",
            "ClusterSettings",
            "DefaultCapacityProviderStrategy",
            "Tags",
        }
    ),
    "AWS::Logs::LogGroup": frozenset({"LogGroupName", "RetentionInDays", "Tags"}),
}
"""As in `cloudformation_moto`: the properties that are carried out."""


class Cluster:
    """AWS::ECS::Cluster. ``models`` binds it to a service."""

    ecs: EcsService

    @classmethod
    def cloudformation_name_type(cls) -> str:
        """The property that holds its name."""
        return "ClusterName"

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        """Whether ``Fn::GetAtt`` knows the attribute."""
        return attr == "Arn"

    @classmethod
    def create_from_cloudformation_json(
        cls, name: str, cloudformation_json: Json, account_id: str, region_name: str, **kw: Any
    ) -> Resource:
        """Make it."""
        if region_name != cls.ecs.region:
            raise ValueError(f"The embedded AWS has ECS in {cls.ecs.region} only.")
        given = dict(cloudformation_json["Properties"])
        request = cls._request("CreateCluster", {**given, "ClusterName": name})
        arn = cls.ecs.create_cluster(request)["cluster"]["clusterArn"]

        def delete() -> None:
            cls.ecs.delete_cluster({"cluster": name})

        return Resource(name, {"Arn": arn}, delete)

    @classmethod
    def update_from_cloudformation_json(
        cls,
        original_resource: Resource,
        new_resource_name: str,
        cloudformation_json: Json,
        account_id: str,
        region_name: str,
    ) -> Resource:
        """Change its capacity providers and tags."""
        name = original_resource.physical_resource_id
        given = dict(cloudformation_json["Properties"])
        if given.pop("ClusterName", name) != name:
            raise ValueError(
                "the embedded AWS cannot rename it; delete the stack and create it again"
            )
        request = cls._request("CreateCluster", given)
        cls.ecs.put_cluster_capacity_providers(
            {
                "cluster": name,
                "capacityProviders": request.get("capacityProviders", []),
                "defaultCapacityProviderStrategy": request.get(
                    "defaultCapacityProviderStrategy", []
                ),
            }
        )
        arn = original_resource.get_cfn_attribute("Arn")
        known = cls.ecs.list_tags_for_resource({"resourceArn": arn})["tags"]
        tags = request.get("tags", [])
        gone = sorted({tag["key"] for tag in known} - {tag["key"] for tag in tags})
        cls.ecs.untag_resource({"resourceArn": arn, "tagKeys": gone})
        cls.ecs.tag_resource({"resourceArn": arn, "tags": tags})
        return original_resource

    @classmethod
    def _request(cls, operation: str, properties: Mapping[str, Any]) -> Json:
        renamed = {"ClusterSettings": "Settings"}
        shape = cls.ecs.model.operation(operation).input_shape
        named = {renamed.get(name, name): value for name, value in properties.items()}
        request: Json = to_api(shape, named, "") if shape else {}
        return request


class LogGroup(MotoLogGroup):  # type: ignore[misc]
    """AWS::Logs::LogGroup with its retention, and with an end."""

    @classmethod
    def create_from_cloudformation_json(
        cls, name: str, cloudformation_json: Json, account_id: str, region_name: str, **kw: Any
    ) -> Resource:
        """Make it."""
        backend: Any = logs_backends[account_id][region_name]
        properties = cloudformation_json["Properties"]
        tags = {tag["Key"]: tag["Value"] for tag in properties.get("Tags", [])}
        group = backend.create_log_group(name, tags)
        cls._retain(backend, name, properties)

        def delete() -> None:
            if name in backend.groups:
                backend.delete_log_group(name)

        return Resource(name, {"Arn": group.arn}, delete)

    @classmethod
    def update_from_cloudformation_json(
        cls,
        original_resource: Resource,
        new_resource_name: str,
        cloudformation_json: Json,
        account_id: str,
        region_name: str,
    ) -> Resource:
        """Change its retention."""
        name = original_resource.physical_resource_id
        properties = cloudformation_json["Properties"]
        if properties.get("LogGroupName", name) != name:
            raise ValueError(
                "the embedded AWS cannot rename it; delete the stack and create it again"
            )
        cls._retain(logs_backends[account_id][region_name], name, properties)
        return original_resource

    @classmethod
    def _retain(cls, backend: Any, name: str, properties: Json) -> None:
        days = properties.get("RetentionInDays")
        if days is None:
            backend.delete_retention_policy(name)
        else:
            backend.put_retention_policy(name, int(days))


def models(ecs: EcsService) -> dict[str, Any]:
    """The models by resource type.

    Parameters
    ----------
    ecs
        The service that clusters are made in.
    """
    return {
        "AWS::ECS::Cluster": type("Cluster", (Cluster,), {"ecs": ecs}),
        "AWS::Logs::LogGroup": LogGroup,
    }
