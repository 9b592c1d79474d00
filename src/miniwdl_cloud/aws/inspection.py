"""What `miniwdl-cloud doctor` asks of an account: descriptions as AWS gives them; it only looks."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from ..errors import NotFound
from .error_mapping import map_errors
from .session import AwsSession

ECR_IMAGE = re.compile(
    r"(\d{12})\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/([a-z0-9][a-z0-9._/-]+?)"
    r"(?:@(sha256:[0-9a-f]{64})|:([\w][\w.-]{0,127}))?"
)
"""An image of Amazon ECR: account, Region, repository, digest, tag (ECR user guide, "Pulling an
image to your local environment")."""


class Inspection:
    """Descriptions of what a deployment needs, in one Region.

    Every method raises the errors of `miniwdl_cloud.errors` that `aws.error_mapping` makes of
    botocore's.

    Parameters
    ----------
    session
        Of the account and Region.
    """

    def __init__(self, session: AwsSession) -> None:
        self._session = session

    @property
    def region(self) -> str:
        """The Region."""
        return self._session.region

    def caller(self) -> tuple[str, str]:
        """Account id and ARN of whose credentials these are."""
        with map_errors("asking AWS who you are"):
            found = self._session.client("sts").get_caller_identity()
        return found["Account"], found["Arn"]

    def role(self, name: str) -> dict[str, Any] | None:
        """A role, its trust policy parsed, or ``None`` if there is none."""
        try:
            with map_errors(f"looking up the role {name}"):
                role = self._session.client("iam").get_role(RoleName=name)["Role"]
        except NotFound:
            return None
        trust = role.get("AssumeRolePolicyDocument") or {}
        if isinstance(trust, str):
            trust = json.loads(unquote(trust))
        return {**role, "AssumeRolePolicyDocument": trust}

    def denied(self, role_arn: str, actions: Sequence[str], resource: str) -> list[str]:
        """Those of some actions that a role's policies do not allow on a resource.

        Parameters
        ----------
        role_arn
            The role.
        actions
            ``service:Name``
        resource
            ARN, or ``*``.
        """
        with map_errors(f"simulating the policies of {role_arn}"):
            pages = (
                self._session.client("iam")
                .get_paginator("simulate_principal_policy")
                .paginate(
                    PolicySourceArn=role_arn, ActionNames=list(actions), ResourceArns=[resource]
                )
            )
            return [
                result["EvalActionName"]
                for page in pages
                for result in page["EvaluationResults"]
                if result["EvalDecision"] != "allowed"
            ]

    def mount_targets(self, file_system_id: str) -> list[dict[str, Any]]:
        """Mount targets of an EFS file system, each with its ``SecurityGroups``."""
        client = self._session.client("efs")
        with map_errors(f"looking up the mount targets of {file_system_id}"):
            pages = client.get_paginator("describe_mount_targets").paginate(
                FileSystemId=file_system_id
            )
            targets = [target for page in pages for target in page["MountTargets"]]
            for target in targets:
                target["SecurityGroups"] = client.describe_mount_target_security_groups(
                    MountTargetId=target["MountTargetId"]
                )["SecurityGroups"]
        return targets

    def subnets(self, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Subnets by id; those that do not exist are left out."""
        found = self._ec2("describe_subnets", "Subnets", "subnet-id", ids)
        return {item["SubnetId"]: item for item in found}

    def security_groups(self, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Security groups by id; those that do not exist are left out."""
        found = self._ec2("describe_security_groups", "SecurityGroups", "group-id", ids)
        return {item["GroupId"]: item for item in found}

    def route_tables(self, vpc_ids: Sequence[str]) -> list[dict[str, Any]]:
        """Route tables of VPCs."""
        return self._ec2("describe_route_tables", "RouteTables", "vpc-id", vpc_ids)

    def endpoints(self, vpc_ids: Sequence[str]) -> list[dict[str, Any]]:
        """VPC endpoints of VPCs."""
        return self._ec2("describe_vpc_endpoints", "VpcEndpoints", "vpc-id", vpc_ids)

    def offered_instance_types(self) -> set[str]:
        """All instance types that the Region has."""
        return {
            item["InstanceType"]
            for item in self._ec2("describe_instance_type_offerings", "InstanceTypeOfferings")
        }

    def has_log_group(self, name: str) -> bool:
        """Whether there is a log group."""
        with map_errors(f"looking up the log group {name}"):
            pages = (
                self._session.client("logs")
                .get_paginator("describe_log_groups")
                .paginate(logGroupNamePrefix=name)
            )
            return any(g["logGroupName"] == name for page in pages for g in page["logGroups"])

    def bucket_region(self, bucket: str) -> str | None:
        """Region of a bucket, ``None`` if there is none."""
        try:
            with map_errors(f"looking up the bucket {bucket}"):
                found = self._session.client("s3").get_bucket_location(Bucket=bucket)
        except NotFound:
            return None
        # S3 API reference, GetBucketLocation: those of us-east-1 have none, and "EU" is eu-west-1.
        region = found.get("LocationConstraint") or "us-east-1"
        return "eu-west-1" if region == "EU" else str(region)

    def has_image(self, image: str) -> bool | None:
        """Whether an image is in Amazon ECR; ``None`` if it belongs elsewhere, or to another
        Region."""
        found = ECR_IMAGE.fullmatch(image)
        if found is None or found[2] != self.region:
            return None
        account, _region, repository, digest, tag = found.groups()
        wanted = {"imageDigest": digest} if digest else {"imageTag": tag or "latest"}
        try:
            with map_errors(f"looking up the image {image}"):
                self._session.client("ecr").describe_images(
                    registryId=account, repositoryName=repository, imageIds=[wanted]
                )
        except NotFound:
            return False
        return True

    def has_sqs_queue(self, url: str) -> bool:
        """Whether there is an SQS queue of this URL."""
        try:
            with map_errors(f"looking up the queue {url}"):
                self._session.client("sqs").get_queue_attributes(
                    QueueUrl=url, AttributeNames=["QueueArn"]
                )
        except NotFound:
            return False
        return True

    def quota(self, service: str, code: str) -> float | None:
        """A service quota of the account, ``None`` if AWS knows no such one."""
        try:
            with map_errors(f"looking up the quota {code} of {service}"):
                found = self._session.client("service-quotas").get_service_quota(
                    ServiceCode=service, QuotaCode=code
                )
        except NotFound:
            return None
        return float(found["Quota"]["Value"])

    def _ec2(
        self, operation: str, member: str, name: str = "", values: Sequence[str] = ()
    ) -> list[dict[str, Any]]:
        if name and not values:
            return []
        narrowed: Mapping[str, Any] = (
            {"Filters": [{"Name": name, "Values": sorted(values)}]} if name else {}
        )
        with map_errors(f"looking up {member} in EC2"):
            pages = self._session.client("ec2").get_paginator(operation).paginate(**narrowed)
            return [item for page in pages for item in page[member]]
