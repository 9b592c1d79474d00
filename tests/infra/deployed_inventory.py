"""What a deployment consists of, as the APIs show it, without what tells one from another."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from miniwdl_cloud.aws.local import LocalSession

Json = dict[str, Any]


class Deployment:
    """A deployment that is looked at.

    Parameters
    ----------
    endpoint_url
        Where its AWS answers.
    name
        Of the deployment.
    outputs
        By the names of the template's outputs; null for none.
    """

    def __init__(self, endpoint_url: str, name: str, outputs: Mapping[str, str | None]) -> None:
        self.session = LocalSession(endpoint_url, "us-east-1")
        self.name = name
        self.outputs = {key: value for key, value in outputs.items() if value is not None}
        # The template's name is nothing that was made, and may be part of a path.
        named = {key: value for key, value in self.outputs.items() if key != "Template"}
        self._symbols = {value: f"<{key}>" for key, value in named.items()}
        for number, subnet in enumerate(self.outputs["SubnetIds"].split(",")):
            self._symbols[subnet] = f"<Subnet{number}>"
        # Terraform's cluster is named after the deployment; CloudFormation names its own.
        if "EcsCluster" in self.outputs:
            self._symbols[self.outputs["EcsCluster"]] = "<name>"

    def client(self, service: str) -> Any:
        """A client of a service."""
        return self.session.client(service)

    def inventory(self) -> dict[str, Any]:
        """All of it: names and ids are replaced by what they stand for."""
        parts: list[Callable[[], Any]] = [
            self.roles,
            self.network,
            self.storage,
            self.bucket,
            self.events,
            self.cluster,
            self.queues,
        ]
        # Each part may learn names that another one shows.
        found = {part.__name__: part() for part in parts}
        text = json.dumps(found, sort_keys=True, default=str)
        for value in sorted(self._symbols, key=len, reverse=True):
            text = text.replace(json.dumps(value)[1:-1], self._symbols[value])
        return dict(json.loads(re.sub(rf"\b{self.name}\b", "<name>", text)))

    def queue(self, output: str) -> Json:
        """A job queue, by the output that names it."""
        (queue,) = self.client("batch").describe_job_queues(jobQueues=[self.outputs[output]])[
            "jobQueues"
        ]
        return dict(queue)

    def queues(self) -> Json:
        """Job queues, their environments and the launch templates of those."""
        found = {}
        for output in ("WorkflowQueue", "TaskQueue", "TaskQueueFallback"):
            if output not in self.outputs:
                continue
            queue = self.queue(output)
            order = sorted(queue["computeEnvironmentOrder"], key=lambda item: item["order"])
            found[output] = {
                "tags": _with_path(queue["tags"]),
                "priority": queue["priority"],
                "state": queue["state"],
                "limits": sorted(map(json.dumps, queue.get("jobStateTimeLimitActions", []))),
                "environments": [self._environment(item["computeEnvironment"]) for item in order],
            }
        return found

    def _environment(self, arn: str) -> Json:
        batch = self.client("batch")
        (found,) = batch.describe_compute_environments(computeEnvironments=[arn])[
            "computeEnvironments"
        ]
        resources = dict(found["computeResources"])
        resources["subnets"] = sorted(self._symbols[subnet] for subnet in resources["subnets"])
        if "launchTemplate" in resources:
            resources["instanceTypes"] = sorted(resources["instanceTypes"])
            resources["launchTemplate"] = self._launch_template(resources["launchTemplate"])
            profile = resources["instanceRole"].rpartition("/")[2]
            iam = self.client("iam")
            roles = iam.get_instance_profile(InstanceProfileName=profile)["InstanceProfile"]
            resources["instanceRole"] = [role["Arn"] for role in roles["Roles"]]
        return {
            "type": found["type"],
            "state": found["state"],
            "tags": found["tags"],
            "service role": found.get("serviceRole") or None,
            # Whether the newest image is taken at an update of CloudFormation's.
            "resources": {k: v for k, v in resources.items() if k != "updateToLatestImageVersion"},
        }

    def _launch_template(self, used: Mapping[str, str]) -> Json:
        ec2 = self.client("ec2")
        wanted = {"LaunchTemplateId": used["launchTemplateId"]}
        (version,) = ec2.describe_launch_template_versions(**wanted, Versions=[used["version"]])[
            "LaunchTemplateVersions"
        ]
        data = dict(version["LaunchTemplateData"])
        data["UserData"] = base64.b64decode(data["UserData"]).decode()
        # Enabled is what it is if nothing is said.
        data["MetadataOptions"].pop("HttpEndpoint", None)
        data["TagSpecifications"] = [
            {**item, "Tags": _tags(item["Tags"])} for item in data["TagSpecifications"]
        ]
        return data

    def roles(self) -> Json:
        """Roles by what they are for, with trust, policies and boundary."""
        iam, found = self.client("iam"), {}
        for page in iam.get_paginator("list_roles").paginate():
            for role in page["Roles"]:
                name = role["RoleName"]
                if not name.startswith(f"{self.name}-"):
                    continue
                role = iam.get_role(RoleName=name)["Role"]
                self._symbols[role["Arn"]] = f"<{role['Description']}>"
                self._symbols[name] = f"<name of {role['Description']}>"
                policies = iam.list_role_policies(RoleName=name)["PolicyNames"]
                attached = iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]
                found[role["Description"]] = {
                    "trust": _statements(role["AssumeRolePolicyDocument"]),
                    "boundary": role.get("PermissionsBoundary"),
                    "tags": _tags(role["Tags"]),
                    "attached": attached,
                    "policies": {
                        policy: _statements(
                            iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
                        )
                        for policy in policies
                    },
                }
        return found

    def network(self) -> Json:
        """Security group, subnets, VPC, routes, endpoints. Of rules not the description, which the
        embedded CloudFormation forgets."""
        ec2 = self.client("ec2")
        group_id = self.outputs["SecurityGroupId"]
        (group,) = ec2.describe_security_groups(GroupIds=[group_id])["SecurityGroups"]
        vpc_id = group["VpcId"]
        self._symbols[vpc_id] = "<VpcId>"
        rules = ec2.describe_security_group_rules(
            Filters=[{"Name": "group-id", "Values": [group_id]}]
        )["SecurityGroupRules"]
        shown = ("IsEgress", "IpProtocol", "FromPort", "ToPort", "CidrIpv4")
        subnets = ec2.describe_subnets(SubnetIds=self.outputs["SubnetIds"].split(","))["Subnets"]
        (vpc,) = ec2.describe_vpcs(VpcIds=[vpc_id])["Vpcs"]
        tables = ec2.describe_route_tables(
            Filters=[{"Name": "association.subnet-id", "Values": [s["SubnetId"] for s in subnets]}]
        )["RouteTables"]
        endpoints = ec2.describe_vpc_endpoints(Filters=[{"Name": "vpc-id", "Values": [vpc_id]}])
        return {
            "group": {"about": group["Description"], "tags": _tags(group.get("Tags", []))},
            "rules": sorted(
                json.dumps(
                    {
                        **{key: rule.get(key) for key in shown},
                        "group": rule.get("ReferencedGroupInfo", {}).get("GroupId"),
                    }
                )
                for rule in rules
            ),
            "subnets": [
                (s["CidrBlock"], s["AvailabilityZone"], s["MapPublicIpOnLaunch"], _tags(s["Tags"]))
                for s in sorted(subnets, key=lambda s: str(s["CidrBlock"]))
                if "Tags" in s
            ],
            "vpc": (vpc["CidrBlock"], _tags(vpc.get("Tags", []))),
            "routes": sorted(
                (
                    route.get("DestinationCidrBlock") or "endpoint",
                    route.get("GatewayId", "").partition("-")[0],
                )
                for table in tables
                for route in table["Routes"]
            ),
            "endpoints": sorted(
                json.dumps(
                    (
                        point["ServiceName"],
                        point["VpcEndpointType"],
                        bool(point.get("PrivateDnsEnabled")),
                        sorted(self._symbols[s] for s in point.get("SubnetIds") or []),
                        [g["GroupId"] for g in point.get("Groups") or []],
                        len(point.get("RouteTableIds") or []),
                    )
                )
                for point in endpoints["VpcEndpoints"]
            ),
        }

    def storage(self) -> Json:
        """The shared file system."""
        if "AccessPointId" in self.outputs:
            return self._elastic()
        fsx, own = self.client("fsx"), self.outputs["FileSystemId"]
        (system,) = fsx.describe_file_systems(FileSystemIds=[own])["FileSystems"]
        links = fsx.describe_data_repository_associations(
            Filters=[{"Name": "file-system-id", "Values": [own]}]
        )["Associations"]
        lustre = dict(system["LustreConfiguration"])
        self._symbols[lustre.pop("MountName")] = "<MountName>"
        shown = ("FileSystemTypeVersion", "StorageCapacity", "StorageType", "SubnetIds", "VpcId")
        return {
            **{key: system[key] for key in shown},
            "lustre": lustre,
            "tags": _tags(system["Tags"]),
            "links": [
                {
                    **{k: link[k] for k in ("FileSystemPath", "DataRepositoryPath", "S3")},
                    "tags": _tags(link["Tags"]),
                }
                for link in links
            ],
        }

    def _elastic(self) -> Json:
        efs, own = self.client("efs"), self.outputs["FileSystemId"]
        (system,) = efs.describe_file_systems(FileSystemId=own)["FileSystems"]
        (point,) = efs.describe_access_points(AccessPointId=self.outputs["AccessPointId"])[
            "AccessPoints"
        ]
        targets = efs.describe_mount_targets(FileSystemId=own)["MountTargets"]
        return {
            **{k: system[k] for k in ("Encrypted", "PerformanceMode", "ThroughputMode")},
            "tags": _tags(system["Tags"]),
            "targets": sorted(
                (
                    self._symbols[target["SubnetId"]],
                    *efs.describe_mount_target_security_groups(
                        MountTargetId=target["MountTargetId"]
                    )["SecurityGroups"],
                )
                for target in targets
            ),
            "point": {k: point[k] for k in ("FileSystemId", "PosixUser", "RootDirectory")},
            "point's tags": _tags(point["Tags"]),
        }

    def bucket(self) -> Json:
        """The bucket's settings."""
        s3, own = self.client("s3"), {"Bucket": self.outputs["BucketName"]}
        encryption = s3.get_bucket_encryption(**own)["ServerSideEncryptionConfiguration"]
        rules = s3.get_bucket_lifecycle_configuration(**own)["Rules"]
        return {
            "public": s3.get_public_access_block(**own)["PublicAccessBlockConfiguration"],
            "encryption": [r["ApplyServerSideEncryptionByDefault"] for r in encryption["Rules"]],
            "owner": s3.get_bucket_ownership_controls(**own)["OwnershipControls"]["Rules"],
            "policy": _statements(json.loads(s3.get_bucket_policy(**own)["Policy"])),
            "tags": _tags(s3.get_bucket_tagging(**own)["TagSet"]),
            "lifecycle": sorted(
                json.dumps({**rule, "Filter": rule.get("Filter", {}).get("Prefix") or ""})
                for rule in rules
            ),
        }

    def events(self) -> Json | None:
        """The rule and the queue of state changes, if there are any."""
        events, sqs = self.client("events"), self.client("sqs")
        rules = events.list_rules(NamePrefix=f"{self.name}-")["Rules"]
        if not rules:
            return None
        (rule,) = rules
        self._symbols[rule["Arn"]] = "<rule>"
        targets = events.list_targets_by_rule(Rule=rule["Name"])["Targets"]
        url = self.queue("WorkflowQueue")["tags"]["DefaultEventQueueUrl"]
        attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        self._symbols[attributes["QueueArn"]] = "<event queue>"
        self._symbols[url.rpartition("/")[2]] = "<name of event queue>"
        pattern = json.loads(rule["EventPattern"])
        pattern["detail"]["jobQueue"].sort()
        shown = ("MessageRetentionPeriod", "VisibilityTimeout", "SqsManagedSseEnabled")
        return {
            "pattern": pattern,
            "state": rule["State"],
            "about": rule["Description"],
            "targets": targets,
            "queue": {key: attributes[key] for key in shown},
            "policy": _statements(json.loads(attributes["Policy"])),
            "tags": sqs.list_queue_tags(QueueUrl=url)["Tags"],
        }

    def cluster(self) -> Json | None:
        """The ECS cluster and its log group, if there are any."""
        if "EcsCluster" not in self.outputs:
            return None
        ecs, logs = self.client("ecs"), self.client("logs")
        (cluster,) = ecs.describe_clusters(clusters=[self.outputs["EcsCluster"]], include=["TAGS"])[
            "clusters"
        ]
        self._symbols[cluster["clusterArn"]] = "<cluster>"
        (group,) = logs.describe_log_groups(logGroupNamePrefix=self.outputs["EcsLogGroup"])[
            "logGroups"
        ]
        return {
            "providers": sorted(cluster["capacityProviders"]),
            "strategy": cluster["defaultCapacityProviderStrategy"],
            "tags": {tag["key"]: tag["value"] for tag in cluster["tags"]},
            "retention": group["retentionInDays"],
            "log tags": logs.list_tags_for_resource(resourceArn=group["arn"].removesuffix(":*"))[
                "tags"
            ],
        }


def _tags(tags: list[dict[str, str]]) -> dict[str, str]:
    """Tags as a mapping, without CloudFormation's own."""
    return {t["Key"]: t["Value"] for t in tags if not t["Key"].startswith("aws:")}


def _with_path(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags with the path of URLs: CloudFormation names SQS by AWS's host, Terraform by the one that
    it talks to."""
    return {k: re.sub(r"^https?://[^/]+", "", v) for k, v in tags.items()}


def _statements(document: Mapping[str, Any]) -> list[str]:
    """A policy's statements, whatever order lists are in, or whether one item is a list."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list):
            items = sorted(map(str, value))
            return items[0] if len(items) == 1 else items
        # Whom everybody is called.
        return {"AWS": "*"} if value == "*:*" else value

    return sorted(json.dumps(plain(s), sort_keys=True) for s in document["Statement"])
