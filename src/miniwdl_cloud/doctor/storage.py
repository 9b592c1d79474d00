"""The shared filesystem: is it there, and do the compute environments' subnets reach it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .. import settings as s
from ..aws.efs import Efs
from ..aws.fsx import Fsx
from ..aws.s3files import S3FilesClient
from ..filesystems import s3files
from .facts import Facts
from .finding import Finding, ok, problem

NFS_PORT = 2049
"""Of EFS and S3 Files (EFS user guide, "Using VPC security groups")."""


def check_storage(facts: Facts) -> Iterator[Finding]:
    """The filesystem that settings and tags name."""
    own = facts.own_settings.get(s.FS)
    file_system = own or facts.settings.get(s.FS)
    access_point = (facts.own_settings if own else facts.settings).get(s.FSAP)
    if own and s.is_false(own):
        yield ok("filesystem", "The hosts mount the filesystem themselves; nothing to look up.")
    elif s3files.is_arn(file_system) or s3files.is_arn(access_point):
        yield from _check_s3files(facts, file_system, access_point)
    elif access_point:
        yield from _check_access_point(facts, str(access_point), file_system)
    elif file_system:
        yield from _check_file_system(facts, str(file_system))
    else:
        yield problem(
            "filesystem-unset",
            "No shared filesystem is named.",
            "Workflow and tasks would have no place for their files.",
            f"Set {s.FSAP.env} or {s.FS.env}, or tag the workflow queue with {s.FSAP.tag} or"
            f" {s.FS.tag}.",
        )


def _check_access_point(facts: Facts, name: str, file_system: str | None) -> Iterator[Finding]:
    found = Efs(facts.session).access_point(name)
    if found is None:
        yield _missing("access-point-missing", f"EFS access point {name}", s.FSAP)
        return
    if found.state != "available":
        yield _unavailable("access-point-unavailable", f"EFS access point {name}", found.state)
    if file_system and file_system != found.file_system_id:
        yield problem(
            "access-point-of-another",
            f"The access point {name} belongs to {found.file_system_id}, not to {file_system}.",
            "Jobs that mount it do not start.",
            f"Correct {s.FSAP.env} or {s.FS.env}, or the queue's tags.",
        )
    yield from _check_efs_network(facts, found.file_system_id)


def _check_file_system(facts: Facts, name: str) -> Iterator[Finding]:
    if Efs(facts.session).file_system_exists(name):
        yield from _check_efs_network(facts, name)
        return
    found = Fsx(facts.session).file_system(name)
    if found is None:
        yield _missing("filesystem-missing", f"EFS or FSx for Lustre file system {name}", s.FS)
        return
    if found.lifecycle not in ("AVAILABLE", "UPDATING"):
        yield _unavailable("filesystem-unavailable", f"FSx file system {name}", found.lifecycle)
    elsewhere = {item["VpcId"] for item in facts.subnets.values()} - {found.vpc_id}
    if elsewhere:
        yield problem(
            "filesystem-in-another-vpc",
            f"The FSx file system {name} is in {found.vpc_id}, compute environments are in"
            f" {', '.join(sorted(elsewhere))}.",
            "Instances there cannot mount it.",
            "Name a file system or queues of the same VPC.",
        )
    yield ok("filesystem", f"The FSx file system {name} is {found.lifecycle}.")


def _check_s3files(facts: Facts, fs: str | None, access_point: str | None) -> Iterator[Finding]:
    client = S3FilesClient(facts.session)
    if access_point:
        point = client.access_point(access_point)
        if point is None:
            yield _missing("access-point-missing", f"S3 Files access point {access_point}", s.FSAP)
            return
        fs = fs or s3files.file_system_of(access_point)
    found = client.file_system(str(fs))
    if found is None:
        yield _missing("filesystem-missing", f"S3 Files file system {fs}", s.FS)
    elif found.state != "available":
        yield _unavailable("filesystem-unavailable", f"S3 Files file system {fs}", found.state)
    else:
        yield ok("filesystem", f"The S3 Files file system {fs} is available.")


def _check_efs_network(facts: Facts, file_system: str) -> Iterator[Finding]:
    targets = facts.aws.mount_targets(file_system)
    zones = {target["AvailabilityZoneId"]: target for target in targets}
    lacking = [
        subnet for subnet in facts.subnets.values() if subnet.get("AvailabilityZoneId") not in zones
    ]
    for subnet in lacking:
        yield problem(
            "mount-target-missing",
            f"The EFS file system {file_system} has no mount target in"
            f" {subnet['AvailabilityZone']}, where the subnet {subnet['SubnetId']} is.",
            "Jobs that are placed there do not start.",
            "Make a mount target in that zone, or take the subnet out of the compute environments.",
        )
    groups = sorted({group for target in targets for group in target["SecurityGroups"]})
    rules = facts.aws.security_groups([*groups, *facts.group_ids])
    blocked = [t for t in targets if not _admits(t["SecurityGroups"], facts, rules)]
    if targets and facts.group_ids and blocked:
        yield problem(
            "nfs-blocked",
            f"Security groups of mount targets of {file_system} do not admit TCP {NFS_PORT} from"
            f" the compute environments: {', '.join(t['MountTargetId'] for t in blocked)}.",
            "Mounting times out, and jobs do not start.",
            f"Add an ingress rule for TCP {NFS_PORT} from {', '.join(facts.group_ids)}.",
        )
    if not lacking and not blocked:
        yield ok("filesystem", f"The EFS file system {file_system} can be reached by all subnets.")


def _admits(groups: Sequence[str], facts: Facts, rules: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether mount targets with these groups take NFS from the compute environments: by group, or
    by any range of addresses, which is taken on trust."""
    for group in groups:
        for rule in (rules.get(group) or {}).get("IpPermissions", []):
            if not _is_nfs(rule):
                continue
            pairs = {pair.get("GroupId") for pair in rule.get("UserIdGroupPairs") or ()}
            if rule.get("IpRanges") or rule.get("PrefixListIds") or pairs & set(facts.group_ids):
                return True
    return False


def _is_nfs(rule: Mapping[str, Any]) -> bool:
    if str(rule.get("IpProtocol")) == "-1":
        return True
    low, high = rule.get("FromPort"), rule.get("ToPort")
    in_range = low is not None and high is not None and low <= NFS_PORT <= high
    return str(rule.get("IpProtocol")) in ("tcp", "6") and in_range


def _missing(name: str, what: str, setting: s.Setting) -> Finding:
    return problem(
        name,
        f"There is no {what} in this account and Region.",
        "Jobs that mount it do not start.",
        f"Correct {setting.env} or the tag {setting.tag} of the workflow queue.",
    )


def _unavailable(name: str, what: str, state: str) -> Finding:
    return problem(
        name,
        f"The {what} is {state}.",
        "It cannot be mounted now.",
        "Wait until it is available, or name another one.",
    )
