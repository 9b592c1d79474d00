"""Where files are: the shared file system of jobs, and the bucket."""

from __future__ import annotations

from typing import Any

from troposphere import Equals, GetAtt, If, Not, NoValue, Ref, Sub, efs, fsx, s3

from .base import Network, Part, document, labels
from .network import GROUP

S3_GROUP = "S3"
LUSTRE_MOUNT = "/mnt/fsx"


def elastic(network: Network) -> Part:
    """An EFS file system with an access point."""
    part = Part("file system", _EFS)
    part.parameter(
        GROUP,
        "MountPoint",
        "Where containers see the file system, if not at /mnt/efs.",
        Type="String",
        Default="",
        AllowedPattern="^$|^/.*[^/]$",
        ConstraintDescription="an absolute path without a slash at its end",
    )
    part.conditions["HasMountPoint"] = Not(Equals(Ref("MountPoint"), ""))
    part.add(
        efs.FileSystem(
            "FileSystem",
            DeletionPolicy="RetainExceptOnCreate",
            UpdateReplacePolicy="Retain",
            Encrypted=True,
            PerformanceMode="generalPurpose",
            ThroughputMode="elastic",
            FileSystemTags=labels(),
        )
    )
    for index, (subnet, condition) in enumerate(network.zones):
        where = {"Condition": condition} if condition else {}
        part.add(
            efs.MountTarget(
                f"MountTarget{index}",
                FileSystemId=Ref("FileSystem"),
                SubnetId=subnet,
                SecurityGroups=[network.security_group],
                **where,
            )
        )
    part.add(
        efs.AccessPoint(
            "AccessPoint",
            FileSystemId=Ref("FileSystem"),
            PosixUser=efs.PosixUser(Uid="0", Gid="0"),
            RootDirectory=efs.RootDirectory(
                Path="/miniwdl",
                CreationInfo=efs.CreationInfo(OwnerUid="0", OwnerGid="0", Permissions="0755"),
            ),
            AccessPointTags=labels(),
        ),
        _ACCESS_POINT,
    )
    part.output("FileSystemId", Ref("FileSystem"), "EFS file system")
    part.output("AccessPointId", Ref("AccessPoint"), "EFS access point that containers mount")
    return part


def elastic_statements() -> list[dict[str, Any]]:
    """What the workflow job's role may do with EFS."""
    point = {"elasticfilesystem:AccessPointArn": GetAtt("AccessPoint", "Arn")}
    return [
        {
            "Effect": "Allow",
            "Action": [
                "elasticfilesystem:ClientMount",
                "elasticfilesystem:ClientRootAccess",
                "elasticfilesystem:ClientWrite",
            ],
            "Resource": GetAtt("FileSystem", "Arn"),
            "Condition": {"StringEquals": point},
        },
        {
            "Effect": "Allow",
            "Action": "elasticfilesystem:DescribeAccessPoints",
            "Resource": [GetAtt("FileSystem", "Arn"), GetAtt("AccessPoint", "Arn")],
        },
    ]


def lustre(network: Network) -> Part:
    """An FSx for Lustre file system that is linked to the bucket."""
    part = Part("file system", _LUSTRE)
    part.parameter(
        GROUP,
        "StorageCapacity",
        "Size of the Lustre file system in GiB: 1200, or a multiple of 2400.",
        Type="Number",
        Default=1200,
        MinValue=1200,
    )
    part.parameter(
        GROUP,
        "WeeklyMaintenanceStartTime",
        "When FSx may interrupt the file system: day of the week (1 is Monday) and time, UTC.",
        Type="String",
        Default="7:04:00",
        AllowedPattern="^[1-7]:([01][0-9]|2[0-3]):[0-5][0-9]$",
        ConstraintDescription="d:HH:MM",
    )
    part.add(
        fsx.FileSystem(
            "FileSystem",
            DeletionPolicy="Delete",
            UpdateReplacePolicy="Retain",
            FileSystemType="LUSTRE",
            FileSystemTypeVersion="2.15",
            StorageCapacity=Ref("StorageCapacity"),
            SubnetIds=[network.subnets[0]],
            SecurityGroupIds=[network.security_group],
            LustreConfiguration=fsx.LustreConfiguration(
                DeploymentType="SCRATCH_2",
                DataCompressionType="LZ4",
                WeeklyMaintenanceStartTime=Ref("WeeklyMaintenanceStartTime"),
            ),
            Tags=labels(),
        )
    )
    part.add(
        fsx.DataRepositoryAssociation(
            "BucketLink",
            FileSystemId=Ref("FileSystem"),
            FileSystemPath="/",
            DataRepositoryPath=Sub("s3://${Bucket}/fsx"),
            S3=fsx.S3(AutoImportPolicy=fsx.AutoImportPolicy(Events=["NEW", "CHANGED", "DELETED"])),
            Tags=labels(),
        ),
        _LINK,
    )
    part.output("FileSystemId", Ref("FileSystem"), "FSx for Lustre file system")
    part.output(
        "LinkedLocation",
        Sub("s3://${Bucket}/fsx"),
        f"S3 location that the file system's root ({LUSTRE_MOUNT}) is linked to",
    )
    return part


def lustre_statements() -> list[dict[str, Any]]:
    """What the workflow job's role may do with FSx: export outputs to the linked location."""
    where = "arn:${AWS::Partition}:fsx:${AWS::Region}:${AWS::AccountId}"
    return [
        {
            "Effect": "Allow",
            "Action": "fsx:CreateDataRepositoryTask",
            "Resource": [Sub(f"{where}:file-system/${{FileSystem}}"), Sub(f"{where}:task/*")],
        },
        {
            "Effect": "Allow",
            "Action": "fsx:CancelDataRepositoryTask",
            "Resource": Sub(f"{where}:task/*"),
        },
        {
            "#": "These actions know no resources.",
            "Effect": "Allow",
            "Action": [
                "fsx:DescribeDataRepositoryAssociations",
                "fsx:DescribeDataRepositoryTasks",
                "fsx:DescribeFileSystems",
            ],
            "Resource": "*",
        },
    ]


def bucket() -> Part:
    """The bucket for staged files and outputs."""
    part = Part("S3", _BUCKET)
    part.parameter(
        S3_GROUP,
        "S3UploadBucket",
        "Name of an existing S3 bucket that workflows may read inputs from and upload outputs to,"
        " beside the one that is made here.",
        Type="String",
        Default="",
        AllowedPattern="^$|^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$",
        ConstraintDescription="the name of an existing bucket, without s3://",
    )
    part.parameter(
        S3_GROUP,
        "S3InputBuckets",
        "Names of further S3 buckets that workflows may read inputs from. A public bucket of"
        " somebody else has to be named too, as requests are signed.",
        Type="CommaDelimitedList",
        Default="",
    )
    part.parameter(
        S3_GROUP,
        "StageExpirationDays",
        "Days after which WDL source code and input files that were staged for a run are deleted"
        " from the bucket. A run that takes longer needs more.",
        Type="Number",
        Default=30,
        MinValue=1,
    )
    part.conditions["HasUploadBucket"] = Not(Equals(Ref("S3UploadBucket"), ""))
    joined = {"Fn::Join": ["", Ref("S3InputBuckets")]}
    part.conditions["HasInputBuckets"] = Not(Equals(joined, ""))
    part.add(
        s3.Bucket(
            "Bucket",
            DeletionPolicy="RetainExceptOnCreate",
            UpdateReplacePolicy="Retain",
            BucketEncryption=s3.BucketEncryption(
                ServerSideEncryptionConfiguration=[
                    s3.ServerSideEncryptionRule(
                        ServerSideEncryptionByDefault=s3.ServerSideEncryptionByDefault(
                            SSEAlgorithm="AES256"
                        )
                    )
                ]
            ),
            OwnershipControls=s3.OwnershipControls(
                Rules=[s3.OwnershipControlsRule(ObjectOwnership="BucketOwnerEnforced")]
            ),
            PublicAccessBlockConfiguration=s3.PublicAccessBlockConfiguration(
                BlockPublicAcls=True,
                BlockPublicPolicy=True,
                IgnorePublicAcls=True,
                RestrictPublicBuckets=True,
            ),
            LifecycleConfiguration=s3.LifecycleConfiguration(
                Rules=[
                    s3.LifecycleRule(
                        Id="expire-staged-files",
                        Status="Enabled",
                        Prefix="stage/",
                        ExpirationInDays=Ref("StageExpirationDays"),
                    ),
                    s3.LifecycleRule(
                        Id="drop-broken-uploads",
                        Status="Enabled",
                        AbortIncompleteMultipartUpload=s3.AbortIncompleteMultipartUpload(
                            DaysAfterInitiation=7
                        ),
                    ),
                ]
            ),
            Tags=labels(),
        )
    )
    part.add(
        s3.BucketPolicy(
            "BucketPolicy",
            Bucket=Ref("Bucket"),
            PolicyDocument=document(
                [
                    {
                        "Sid": "EncryptedTransportOnly",
                        "Effect": "Deny",
                        "Principal": "*",
                        "Action": "s3:*",
                        "Resource": [GetAtt("Bucket", "Arn"), Sub("${Bucket.Arn}/*")],
                        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
                    }
                ]
            ),
        )
    )
    part.output(
        "BucketName", Ref("Bucket"), "S3 bucket for staged files (under stage/) and outputs"
    )
    return part


def bucket_statements(write: bool) -> list[Any]:
    """What a role may do with the buckets.

    Parameters
    ----------
    write
        Whether it uploads, or reads only.
    """
    upload, nothing = "arn:${AWS::Partition}:s3:::${S3UploadBucket}", NoValue
    writing = ["s3:AbortMultipartUpload", "s3:GetObject"]
    return [
        {
            "Sid": "ListBuckets",
            "Effect": "Allow",
            "Action": "s3:ListBucket",
            "Resource": [
                GetAtt("Bucket", "Arn"),
                If("HasUploadBucket", Sub(upload), nothing),
            ],
        },
        {
            "Sid": "ReadAndUpload" if write else "Read",
            "Effect": "Allow",
            "Action": [*writing, "s3:PutObject"] if write else "s3:GetObject",
            "Resource": [
                Sub("${Bucket.Arn}/*"),
                If("HasUploadBucket", Sub(f"{upload}/*"), nothing),
            ],
        },
        If("HasInputBuckets", _input_buckets(), nothing),
    ]


def _input_buckets() -> dict[str, Any]:
    prefix = "arn:aws:s3:::"
    names = Ref("S3InputBuckets")
    return {
        "#": _INPUT_BUCKETS,
        "Sid": "InputBuckets",
        "Effect": "Allow",
        "Action": ["s3:GetObject", "s3:ListBucket"],
        "Resource": {
            "Fn::Split": [
                ",",
                {
                    "Fn::Sub": [
                        f"{prefix}${{objects}}/*,{prefix}${{buckets}}",
                        {
                            "objects": {"Fn::Join": [f"/*,{prefix}", names]},
                            "buckets": {"Fn::Join": [f",{prefix}", names]},
                        },
                    ]
                },
            ]
        },
    }


_EFS = """\
Work in progress of every run. Like the bucket it stays when the stack is deleted: an accident
should not cost a long run. `miniwdl-cloud deploy destroy --delete-filesystem` deletes it too."""
_ACCESS_POINT = """\
The access point acts as root on the file system for everybody, whatever user a container runs
as. Images differ in their USER, and a task must be able to write into a directory that the
workflow job (root) made, and the workflow job to delete what the task wrote; with the users of
the containers let through, a task of an image with USER 1000 could write nowhere. miniwdl's
`as_user` therefore changes the user inside a container, but not the owner of the files. Tasks
are not shielded from each other's files by this, nor would they be otherwise."""
_LUSTRE = """\
Work in progress of every run: fast, and without a copy elsewhere, so what should last has to get
to S3. It goes with the stack, as its network does."""
_LINK = """\
What appears under fsx/ in the bucket appears on the file system. Nothing goes back by itself:
outputs are exported by name (`fsx_to_s3`), the rest is not worth its storage."""
_BUCKET = """\
stage/ takes WDL source code and local input files on their way to a run; the rest is for
outputs. It stays when the stack is deleted."""
_INPUT_BUCKETS = """\
The prefix is put before each name by joining with what ends one and begins the
next; a delimiter is plain text, so this parameter is for the partition "aws" only."""
