"""What moto's own CloudFormation models forget.

moto's model of a resource type is derived from, and completed: properties that it drops, deletion
that it lacks. Nothing here is ours to design; it makes a deployed stack look, through the APIs, as
AWS would have it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from moto.cloudformation.exceptions import UnformattedGetAttTemplateException
from moto.core.config import default_user_config
from moto.efs.models import AccessPoint as MotoAccessPoint
from moto.efs.models import FileSystem as MotoFileSystem
from moto.iam.access_control import IAMPolicy, PermissionResult
from moto.iam.models import SERVICE_NAME_CONVERSION, iam_backends
from moto.iam.models import Role as MotoRole
from moto.s3.models import FakeBucket, s3_backends
from moto.utilities.utils import get_partition

from . import cloudformation_ec2, moto_ec2
from .cloudformation_batch import Resource

Json = dict[str, Any]

# The properties that are carried out of each type that the shipped templates use; a template with
# another one is refused. The names are CloudFormation's.
CARRIED: Mapping[str, frozenset[str]] = {
    f"AWS::{name}": frozenset(properties.split())
    for name, properties in {
        "EC2::InternetGateway": "Tags",
        "EC2::Route": "RouteTableId DestinationCidrBlock GatewayId NatGatewayId",
        "EC2::RouteTable": "VpcId Tags",
        "EC2::SecurityGroup": "GroupName GroupDescription VpcId Tags",
        "EC2::SecurityGroupIngress": (
            "GroupId GroupName IpProtocol FromPort ToPort CidrIp SourceSecurityGroupId Description"
        ),
        "EC2::Subnet": "VpcId CidrBlock AvailabilityZone MapPublicIpOnLaunch Tags",
        "EC2::SubnetRouteTableAssociation": "SubnetId RouteTableId",
        "EC2::VPC": "CidrBlock EnableDnsSupport EnableDnsHostnames InstanceTenancy Tags",
        "EC2::VPCEndpoint": (
            "VpcId VpcEndpointType ServiceName RouteTableIds SubnetIds SecurityGroupIds"
            " PolicyDocument PrivateDnsEnabled"
        ),
        "EC2::VPCGatewayAttachment": "VpcId InternetGatewayId VpnGatewayId",
        "EC2::LaunchTemplate": (
            "LaunchTemplateName LaunchTemplateData VersionDescription TagSpecifications"
        ),
        "EFS::AccessPoint": "FileSystemId PosixUser RootDirectory AccessPointTags ClientToken",
        "EFS::FileSystem": (
            "Encrypted KmsKeyId PerformanceMode ThroughputMode ProvisionedThroughputInMibps"
            " AvailabilityZoneName BackupPolicy LifecyclePolicies FileSystemTags"
        ),
        "EFS::MountTarget": "FileSystemId SubnetId SecurityGroups IpAddress",
        "IAM::InstanceProfile": "InstanceProfileName Path Roles",
        "IAM::Role": (
            "RoleName Path Description AssumeRolePolicyDocument ManagedPolicyArns Policies"
            " MaxSessionDuration PermissionsBoundary Tags"
        ),
        "IAM::ServiceLinkedRole": "AWSServiceName Description CustomSuffix",
        "S3::Bucket": (
            "BucketName BucketEncryption LifecycleConfiguration OwnershipControls"
            " PublicAccessBlockConfiguration VersioningConfiguration Tags"
        ),
        "S3::BucketPolicy": "Bucket PolicyDocument",
    }.items()
}


class AccessPoint(MotoAccessPoint):  # type: ignore[misc]
    """AWS::EFS::AccessPoint with numbers where the API has numbers."""

    @classmethod
    def create_from_cloudformation_json(
        cls, name: str, cloudformation_json: Json, account_id: str, region_name: str, **kw: Any
    ) -> Any:
        """Make it."""
        properties = dict(cloudformation_json["Properties"])
        if "PosixUser" in properties:
            user = dict(properties["PosixUser"])
            user.update({k: int(user[k]) for k in ("Uid", "Gid")})
            user.update({k: [int(g) for g in user[k]] for k in ("SecondaryGids",) if k in user})
            properties["PosixUser"] = user
        root = dict(properties.get("RootDirectory", {}))
        if "CreationInfo" in root:
            info = dict(root["CreationInfo"])
            info.update({k: int(info[k]) for k in ("OwnerUid", "OwnerGid")})
            properties["RootDirectory"] = {**root, "CreationInfo": info}
        return MotoAccessPoint.create_from_cloudformation_json(
            name, {**cloudformation_json, "Properties": properties}, account_id, region_name
        )


class Role(MotoRole):  # type: ignore[misc]
    """AWS::IAM::Role with managed policies, and inline ones as the API gives them."""

    @classmethod
    def create_from_cloudformation_json(
        cls, name: str, cloudformation_json: Json, account_id: str, region_name: str, **kw: Any
    ) -> Any:
        """Make it."""
        properties = cloudformation_json["Properties"]
        bare = {k: v for k, v in properties.items() if k not in ("Policies", "ManagedPolicyArns")}
        role = MotoRole.create_from_cloudformation_json(
            name, {**cloudformation_json, "Properties": bare}, account_id, region_name
        )
        _set_policies(role, properties, account_id, region_name)
        return role

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
        properties = cloudformation_json["Properties"]
        backend = iam_backends[account_id][get_partition(region_name)]
        role = backend.get_role(original_resource.name)
        role.description = properties.get("Description", "")
        role.max_session_duration = properties.get("MaxSessionDuration", 3600)
        role.tags = properties.get("Tags", [])
        backend.update_assume_role_policy(
            role.name, json.dumps(properties["AssumeRolePolicyDocument"])
        )
        _set_policies(role, properties, account_id, region_name)
        return role

    @classmethod
    def delete_from_cloudformation_json(
        cls, name: str, cloudformation_json: Json, account_id: str, region_name: str
    ) -> None:
        """Delete it with what is attached to it."""
        backend = iam_backends[account_id][get_partition(region_name)]
        for arn in list(backend.get_role(name).managed_policies):
            backend.detach_role_policy(arn, name)
        MotoRole.delete_from_cloudformation_json(name, cloudformation_json, account_id, region_name)


def _set_policies(role: Any, properties: Json, account_id: str, region_name: str) -> None:
    backend = iam_backends[account_id][get_partition(region_name)]
    role.policies.clear()
    for policy in properties.get("Policies", []):
        backend.put_role_policy(
            role.name, policy["PolicyName"], json.dumps(policy["PolicyDocument"])
        )
    for arn in list(role.managed_policies):
        backend.detach_role_policy(arn, role.name)
    for arn in properties.get("ManagedPolicyArns", []):
        backend.attach_role_policy(arn, role.name)


class ServiceLinkedRole:
    """AWS::IAM::ServiceLinkedRole, which moto does not know."""

    @classmethod
    def cloudformation_name_type(cls) -> str:
        """Its name follows from the service."""
        return ""

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        """Whether ``Fn::GetAtt`` knows the attribute."""
        return attr == "RoleName"

    @classmethod
    def create_from_cloudformation_json(
        cls, name: str, cloudformation_json: Json, account_id: str, region_name: str, **kw: Any
    ) -> Resource:
        """Make it."""
        backend = iam_backends[account_id][get_partition(region_name)]
        properties = cloudformation_json["Properties"]
        role = backend.create_service_linked_role(
            properties["AWSServiceName"],
            properties.get("Description", ""),
            properties.get("CustomSuffix", ""),
        )
        return Resource(
            role.name,
            {"RoleName": role.name},
            lambda: backend.delete_service_linked_role(role.name),
        )


class Bucket(FakeBucket):  # type: ignore[misc]
    """AWS::S3::Bucket with access block, ownership, lifecycle and versioning."""

    @classmethod
    def create_from_cloudformation_json(
        cls, name: str, cloudformation_json: Json, account_id: str, region_name: str, **kw: Any
    ) -> Any:
        """Make it."""
        bucket = FakeBucket.create_from_cloudformation_json(
            name, cloudformation_json, account_id, region_name
        )
        _configure(bucket, cloudformation_json["Properties"], account_id, region_name)
        return bucket

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
        name = original_resource.name
        if properties.setdefault("BucketName", name) != name:
            raise ValueError(
                "the embedded AWS cannot rename it; delete the stack and create it again"
            )
        bucket = FakeBucket.update_from_cloudformation_json(
            original_resource,
            new_resource_name,
            {**cloudformation_json, "Properties": properties},
            account_id,
            region_name,
        )
        _configure(bucket, properties, account_id, region_name)
        return bucket

    @classmethod
    def delete_from_cloudformation_json(
        cls, name: str, cloudformation_json: Json, account_id: str, region_name: str
    ) -> None:
        """Delete it if it is empty; moto would leave it without a word."""
        backend = s3_backends[account_id][get_partition(region_name)]
        if name in backend.buckets and backend.delete_bucket(name) is None:
            raise ValueError("The bucket you tried to delete is not empty")


def _configure(bucket: Any, properties: Json, account_id: str, region_name: str) -> None:
    backend = s3_backends[account_id][get_partition(region_name)]
    name = bucket.name
    if "PublicAccessBlockConfiguration" in properties:
        backend.put_public_access_block(
            name,
            {k: str(v).lower() for k, v in properties["PublicAccessBlockConfiguration"].items()},
        )
    for rule in properties.get("OwnershipControls", {}).get("Rules", []):
        backend.put_bucket_ownership_controls(name, rule["ObjectOwnership"])
    if "LifecycleConfiguration" in properties:
        backend.put_bucket_lifecycle_configuration(
            name, [_lifecycle_rule(r) for r in properties["LifecycleConfiguration"]["Rules"]]
        )
    if "VersioningConfiguration" in properties:
        backend.put_bucket_versioning(name, properties["VersioningConfiguration"]["Status"])


def _lifecycle_rule(rule: Json) -> Json:
    """A rule in the API's words."""
    known = {"Id", "Status", "Prefix", "ExpirationInDays", "AbortIncompleteMultipartUpload"}
    if set(rule) - known:
        raise ValueError(
            "the embedded AWS does not have"
            f" {', '.join(sorted(set(rule) - known))} in a lifecycle rule"
        )
    converted: Json = {
        "ID": rule.get("Id"),
        "Status": rule["Status"],
        "Filter": {"Prefix": rule.get("Prefix", "")},
    }
    if "ExpirationInDays" in rule:
        converted["Expiration"] = {"Days": str(rule["ExpirationInDays"])}
    if "AbortIncompleteMultipartUpload" in rule:
        days = rule["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"]
        converted["AbortIncompleteMultipartUpload"] = {"DaysAfterInitiation": str(days)}
    return converted


class BucketPolicy:
    """AWS::S3::BucketPolicy, which moto does not know."""

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
        """Put it on its bucket."""
        backend = s3_backends[account_id][get_partition(region_name)]
        properties = cloudformation_json["Properties"]
        bucket = properties["Bucket"]
        backend.put_bucket_policy(bucket, json.dumps(properties["PolicyDocument"]).encode())

        def delete() -> None:
            if bucket in backend.buckets:
                backend.delete_bucket_policy(bucket)

        return Resource(bucket, {}, delete)

    @classmethod
    def update_from_cloudformation_json(
        cls,
        original_resource: Resource,
        new_resource_name: str,
        cloudformation_json: Json,
        account_id: str,
        region_name: str,
    ) -> Resource:
        """Put the changed one on its bucket."""
        return cls.create_from_cloudformation_json(
            new_resource_name, cloudformation_json, account_id, region_name
        )


MODELS: Mapping[str, Any] = {
    **cloudformation_ec2.MODELS,
    "AWS::EFS::AccessPoint": AccessPoint,
    "AWS::IAM::Role": Role,
    "AWS::IAM::ServiceLinkedRole": ServiceLinkedRole,
    "AWS::S3::Bucket": Bucket,
    "AWS::S3::BucketPolicy": BucketPolicy,
}


def amend_models() -> None:
    """Give moto's own objects what they lack. Doing it again changes nothing."""
    for model, ref, attributes in (
        (
            MotoAccessPoint,
            "access_point_id",
            {"AccessPointId": "access_point_id", "Arn": "access_point_arn"},
        ),
        (
            MotoFileSystem,
            "file_system_id",
            {"FileSystemId": "file_system_id", "Arn": "file_system_arn"},
        ),
    ):
        _add_attributes(model, ref, attributes)
    FakeBucket.get_permission = _bucket_permission
    # AWS's name of the role of spot.amazonaws.com is AWSServiceRoleForEC2Spot.
    SERVICE_NAME_CONVERSION["spot"] = "EC2Spot"
    moto_ec2.amend()
    _load_managed_policies()


def _load_managed_policies() -> None:
    """Let IAM have AWS's managed policies, also where something in this process has used moto's
    before us, without them."""
    default_user_config.setdefault("iam", {})["load_aws_managed_policies"] = True
    for backend in [backend for account in iam_backends.values() for backend in account.values()]:
        if not backend.aws_managed_policies:
            backend.aws_managed_policies = backend._init_aws_policies()
            backend.managed_policies.update(backend._init_managed_policies())


def _add_attributes(model: Any, ref: str, attributes: Mapping[str, str]) -> None:
    def get_cfn_attribute(self: Any, name: str) -> Any:
        if name not in attributes:
            raise UnformattedGetAttTemplateException()
        return getattr(self, attributes[name])

    model.physical_resource_id = property(lambda self: getattr(self, ref))
    model.has_cfn_attr = classmethod(lambda cls, attr: attr in attributes)
    model.get_cfn_attribute = get_cfn_attribute


def _bucket_permission(bucket: Any, action: str, resource: str) -> Any:
    """What a bucket's policy says. moto does not look at conditions, so that a denial of plain HTTP
    would be one of everything; here, all connections count as encrypted."""
    if bucket.policy is None:
        return PermissionResult.NEUTRAL
    policy = json.loads(bucket.policy)
    statements = policy["Statement"]
    statements = statements if isinstance(statements, list) else [statements]
    counting = [s for s in statements if not _is_about_plain_http(s)]
    return IAMPolicy(json.dumps({**policy, "Statement": counting})).is_action_permitted(
        action, resource
    )


def _is_about_plain_http(statement: Json) -> bool:
    wanted = statement.get("Condition", {}).get("Bool", {}).get("aws:SecureTransport")
    return str(wanted).lower() == "false"
