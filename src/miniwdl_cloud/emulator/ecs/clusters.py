"""Operations on clusters and their capacity providers."""

from __future__ import annotations

import re
from typing import Any

from ..errors import ApiError
from .base import (
    EcsBase,
    Params,
    client_error,
    invalid_parameter,
    missing,
    operation,
    page,
    tag_list,
    tags_of,
    too_many,
)
from .models import PROVIDERS, RUNNING, STOPPED, Cluster

_NAME = re.compile(r"[A-Za-z0-9_-]{1,255}")


class ClusterOperations(EcsBase):
    """Clusters."""

    @operation
    def create_cluster(self, params: Params) -> Params:
        """CreateCluster; one that is there already is given back."""
        name = params.get("clusterName", "default")
        if not _NAME.fullmatch(name):
            raise invalid_parameter("Identifier is invalid. Invalid clusterName")
        known = self.clusters.get(name)
        if known is not None and known.is_active:
            return {"cluster": self._shown(known, ("SETTINGS", "TAGS"))}
        providers = _checked_providers(params.get("capacityProviders", []))
        strategy = checked_strategy(params.get("defaultCapacityProviderStrategy", []), providers)
        arn = self.arn("cluster", name)
        detail: dict[str, Any] = {
            "clusterArn": arn,
            "clusterName": name,
            "status": "ACTIVE",
            "registeredContainerInstancesCount": 0,
            "activeServicesCount": 0,
            "statistics": [],
            "capacityProviders": providers,
            "defaultCapacityProviderStrategy": strategy,
        }
        settings = params.get("settings") or [{"name": "containerInsights", "value": "disabled"}]
        cluster = Cluster(name, arn, detail, tags_of(params.get("tags", [])), settings)
        self.clusters[name] = cluster
        return {"cluster": self._shown(cluster, ("SETTINGS", "TAGS"))}

    @operation
    def describe_clusters(self, params: Params) -> Params:
        """DescribeClusters; the default one if none is named."""
        wanted = params.get("clusters") or ["default"]
        too_many(wanted, "clusters")
        clusters, failures = [], []
        for text in wanted:
            cluster = self.clusters.get(self.cluster_name(text))
            if cluster is None:
                arn = text if text.startswith("arn:") else self.arn("cluster", text)
                failures.append(missing(arn))
            else:
                clusters.append(self._shown(cluster, params.get("include", ())))
        return {"clusters": clusters, "failures": failures}

    @operation
    def describe_container_instances(self, params: Params) -> Params:
        """DescribeContainerInstances: only Batch's clusters have any."""
        wanted = params["containerInstances"]
        too_many(wanted, "containerInstances")
        name = self.cluster_name(params.get("cluster", "default"))
        found = self.batch_instances(name, wanted)
        if found is None:
            self.find_cluster(name)
            found = {}
        return {
            "containerInstances": list(found.values()),
            "failures": [missing(arn) for arn in wanted if arn not in found],
        }

    @operation
    def list_clusters(self, params: Params) -> Params:
        """ListClusters."""
        arns = [cluster.arn for cluster in self.clusters.values() if cluster.is_active]
        part, token = page(arns, params)
        return {"clusterArns": part, **token}

    @operation
    def delete_cluster(self, params: Params) -> Params:
        """DeleteCluster: only one in which no task is."""
        cluster = self.find_cluster(params["cluster"])
        if self._active_tasks(cluster):
            raise ApiError(
                "ClusterContainsTasksException",
                "The Cluster cannot be deleted while Tasks are active.",
            )
        cluster.detail["status"] = "INACTIVE"
        return {"cluster": self._shown(cluster, ())}

    @operation
    def put_cluster_capacity_providers(self, params: Params) -> Params:
        """PutClusterCapacityProviders: replaces providers and default strategy."""
        cluster = self.find_cluster(params["cluster"])
        providers = _checked_providers(params["capacityProviders"])
        in_use = {task.provider for task in self._active_tasks(cluster) if task.by_strategy}
        if not in_use <= set(providers):
            raise ApiError(
                "ResourceInUseException",
                "The specified capacity provider is in use and cannot be removed.",
            )
        strategy = checked_strategy(params["defaultCapacityProviderStrategy"], providers)
        cluster.detail["capacityProviders"] = providers
        cluster.detail["defaultCapacityProviderStrategy"] = strategy
        return {"cluster": self._shown(cluster, ("SETTINGS", "TAGS"))}

    @operation
    def describe_capacity_providers(self, params: Params) -> Params:
        """DescribeCapacityProviders: the two that AWS makes itself."""
        wanted = params.get("capacityProviders") or list(PROVIDERS)
        providers, failures = [], []
        for name in wanted:
            arn = self.arn("capacity-provider", name)
            if name in PROVIDERS:
                shown = {"capacityProviderArn": arn, "name": name, "status": "ACTIVE", "tags": []}
                providers.append(shown)
            else:
                failures.append(missing(arn))
        return {"capacityProviders": providers, "failures": failures}

    def _active_tasks(self, cluster: Cluster) -> list[Any]:
        return [t for t in self.tasks.values() if t.cluster is cluster and t.status != STOPPED]

    def _shown(self, cluster: Cluster, include: Any) -> dict[str, Any]:
        states = [task.status for task in self._active_tasks(cluster)]
        running = states.count(RUNNING)
        return {
            **cluster.detail,
            "runningTasksCount": running,
            "pendingTasksCount": len(states) - running,
            "settings": cluster.settings if "SETTINGS" in include else [],
            "tags": tag_list(cluster.tags) if "TAGS" in include else [],
        }


def _checked_providers(names: list[str]) -> list[str]:
    unknown = [name for name in names if name not in PROVIDERS]
    if unknown:
        raise invalid_parameter(
            f"The specified capacity provider '{unknown[0]}' was not found. Specify a valid name or"
            " ARN and try again."
        )
    return list(dict.fromkeys(names))


def checked_strategy(strategy: list[dict[str, Any]], providers: list[str]) -> list[dict[str, Any]]:
    """A capacity provider strategy with its defaults (botocore's model,
    ``CapacityProviderStrategyItem``).

    Raises
    ------
    ApiError
        It names a provider that the cluster does not have, or its numbers are wrong.
    """
    if any(item["capacityProvider"] not in providers for item in strategy):
        raise invalid_parameter(
            "The specified capacity provider strategy cannot contain a capacity provider that is"
            " not associated with the cluster. Associate the capacity provider with the cluster"
            " and try again."
        )
    checked = [{"weight": 0, "base": 0, **item} for item in strategy]
    if len({item["capacityProvider"] for item in checked}) != len(checked):
        raise invalid_parameter("A capacity provider strategy cannot name a provider twice.")
    for item in checked:
        if not 0 <= item["weight"] <= 1000 or not 0 <= item["base"] <= 100_000:
            raise client_error("weight must be between 0 and 1000, and base between 0 and 100000.")
    if sum(item["base"] > 0 for item in checked) > 1:
        raise invalid_parameter("Only one capacity provider in a strategy can have a base defined.")
    if len(checked) > 1 and not any(item["weight"] for item in checked):
        raise invalid_parameter(
            "At least one capacity provider of a strategy must have a weight greater than zero."
        )
    return checked
