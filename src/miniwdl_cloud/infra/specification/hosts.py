"""The instances of compute environments: volumes, metadata service, and what they do at boot."""

from __future__ import annotations

from typing import Any

from troposphere import Base64, GetAtt, Ref, Sub, ec2

from .base import Part, labels
from .roles import COMPUTE
from .storage import LUSTRE_MOUNT


def launch_template(filesystem: str) -> Part:
    """The launch template of all EC2 compute environments.

    Parameters
    ----------
    filesystem
        ``efs``, which containers mount, or ``fsx``, which the instances do.
    """
    part = Part("task instances")
    part.parameter(
        COMPUTE,
        "TaskRootVolumeGiB",
        "Size of each task instance's root volume, which holds container images and scratch files"
        " where the instance has no NVMe storage.",
        Type="Number",
        Default=100,
        MinValue=30,
    )
    volume = ec2.EBSBlockDevice(
        VolumeType="gp3",
        VolumeSize=Ref("TaskRootVolumeGiB"),
        Encrypted=True,
        DeleteOnTermination=True,
    )
    part.add(
        ec2.LaunchTemplate(
            "LaunchTemplate",
            LaunchTemplateData=ec2.LaunchTemplateData(
                MetadataOptions=ec2.MetadataOptions(
                    HttpTokens="required", HttpPutResponseHopLimit=1
                ),
                BlockDeviceMappings=[
                    ec2.LaunchTemplateBlockDeviceMapping(DeviceName="/dev/xvda", Ebs=volume)
                ],
                UserData=Base64(user_data(filesystem)),
                TagSpecifications=[ec2.TagSpecifications(ResourceType="volume", Tags=labels())],
            ),
            TagSpecifications=[
                ec2.TagSpecifications(ResourceType="launch-template", Tags=labels())
            ],
        ),
        "Batch adds its own part to the user data, so it has to be MIME multipart. Boothooks run"
        " before\nDocker and the ECS agent start.",
    )
    return part


def launch() -> dict[str, Any]:
    """How a compute environment names the launch template."""
    return {
        "LaunchTemplateId": Ref("LaunchTemplate"),
        "Version": GetAtt("LaunchTemplate", "LatestVersionNumber"),
    }


def user_data(filesystem: str) -> Any:
    """What an instance does at boot.

    Parameters
    ----------
    filesystem
        ``efs`` or ``fsx``.
    """
    if filesystem == "efs":
        return _multipart(_FIRST_BOOT)
    # Within Fn::Sub, what is the shell's is written ${!…}.
    text = _multipart(_FIRST_BOOT, _MOUNT).replace("${", "${!")
    return Sub(
        text.replace("@SERVER@", "${FileSystem.DNSName}").replace(
            "@NAME@", "${FileSystem.LustreMountName}"
        )
    )


def _multipart(*scripts: str) -> str:
    head = 'MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="==MINIWDL=="\n\n'
    parts = [
        f'--==MINIWDL==\nContent-Type: text/cloud-boothook; charset="us-ascii"\n\n{script}\n'
        for script in scripts
    ]
    return f"{head}{''.join(parts)}--==MINIWDL==--\n"


_FIRST_BOOT = """\
#!/bin/bash
# Boothooks run at every boot; the rest is for the first one.
mark=/var/lib/miniwdl-cloud-boot
[ -e "$mark" ] && exit 0
touch "$mark"

# Give running tasks the two minutes' notice before a spot instance is taken away.
mkdir -p /etc/ecs
echo ECS_ENABLE_SPOT_INSTANCE_DRAINING=true >> /etc/ecs/ecs.config

# Docker's images and scratch space go to the local NVMe disks, where there are any.
mapfile -t disks < <(lsblk --nodeps --noheadings --output PATH,MODEL |
  awk '/Amazon EC2 NVMe Instance Storage/ { print $1 }')
[ "${#disks[@]}" -gt 0 ] || exit 0
disk=${disks[0]}
if [ "${#disks[@]}" -gt 1 ]; then
  command -v mdadm > /dev/null || dnf install -y mdadm
  if mdadm --create /dev/md0 --run --level=0 --raid-devices="${#disks[@]}" "${disks[@]}"
  then
    disk=/dev/md0
  fi
fi
mkfs.xfs -f -K "$disk" && mkdir -p /var/lib/docker &&
  mount -o noatime "$disk" /var/lib/docker
exit 0
"""
# Amazon Linux 2023 has the client in its own repository; `flock` gives file locks to all clients
# (FSx for Lustre user guide, "Installing the Lustre client", "Mounting").
_MOUNT = f"""\
#!/bin/bash
# The shared file system, at every boot. Jobs on an instance without it would write to its root
# volume instead, so such an instance ends.
mounted() {{
  mountpoint -q {LUSTRE_MOUNT} && return 0
  command -v mount.lustre > /dev/null || dnf install -y lustre-client || return 1
  mkdir -p {LUSTRE_MOUNT} &&
    mount -t lustre -o noatime,flock @SERVER@@tcp:/@NAME@ {LUSTRE_MOUNT}
}}
for pause in 5 10 20 40 60; do
  mounted && exit 0
  sleep "$pause"
done
echo "{LUSTRE_MOUNT} cannot be mounted; this instance ends" > /dev/console
shutdown -h now
"""
