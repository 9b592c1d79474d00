"""What the Terraform modules share with the templates: policies and user data, as files that
Terraform's function `templatefile` reads.

Where CloudFormation takes one bucket to upload to, Terraform takes a list.
"""

from __future__ import annotations

import json
import re
from typing import Any

from troposphere import iam

from .hosts import user_data
from .template import VARIANTS, parts

_SHARED = ("batch", "ecs")
"""Modules that have such files."""
_ROLES = {
    "WorkflowEngineRole": ("batch", "workflow"),
    "TaskRole": ("batch", "task"),
    "InstanceRole": ("batch", "instance"),
    "EcsExecutionRole": ("ecs", "execution"),
}
"""Module of each role, and what its files begin with."""
_KNOWN = {
    "AWS::Partition": "partition",
    "AWS::Region": "region",
    "AWS::AccountId": "account_id",
    # Of a list.
    "S3UploadBucket": "bucket",
}


def files() -> dict[str, str]:
    """What each file holds, by its path below the folder of the modules."""
    found = {f"batch/user_data/{system}.tftpl": _user_data(system) for system in ("efs", "fsx")}
    for variant in VARIANTS.values():
        for part in parts(variant):
            for _, resource in part.resources:
                if isinstance(resource, iam.Role) and resource.title in _ROLES:
                    found.update(_policies(resource))
    return found


def patterns() -> list[str]:
    """Where all of these files are, below the folder of the modules."""
    return ["batch/user_data/*", *(f"{module}/policies/*" for module in _SHARED)]


def _policies(role: iam.Role) -> dict[str, str]:
    module, prefix = _ROLES[role.title]
    found = {}
    for policy in role.to_dict()["Properties"]["Policies"]:
        _, policy = _choice(policy)
        path = f"{module}/policies/{prefix}-{policy['PolicyName']}.tftpl"
        found[path] = _json(policy["PolicyDocument"], "") + "\n"
    return found


def _choice(value: Any) -> tuple[str, Any]:
    """The condition under which a value is there, and the value; no condition is empty."""
    if isinstance(value, dict) and "Fn::If" in value:
        condition, there, other = value["Fn::If"]
        if other != {"Ref": "AWS::NoValue"}:
            raise ValueError(f"Terraform's policies have no alternatives: {value}")
        return _name(condition), there
    return "", value


def _json(value: Any, indent: str) -> str:
    """A value as JSON with Terraform's directives."""
    deeper = indent + "  "
    if isinstance(value, dict) and len(value) == 1:
        (key, argument), *_ = value.items()
        if key == "Ref":
            return f'"${{{_name(argument)}}}"'
        if key == "Fn::GetAtt":
            return f'"${{{_name(".".join(argument))}}}"'
        if key == "Fn::Sub":
            return json.dumps(re.sub(r"\$\{([^}]+)\}", lambda m: f"${{{_name(m[1])}}}", argument))
        if key == "Fn::Split" and "S3InputBuckets" in json.dumps(argument):
            lines = [f'\n{deeper}"arn:${{partition}}:s3:::${{bucket}}{end}"' for end in ("", "/*")]
            each = f"%{{ if number > 0 }},%{{ endif }}{','.join(lines)}"
            return f"[%{{ for number, bucket in input_buckets }}{each}%{{ endfor }}\n{indent}]"
    if isinstance(value, dict):
        lines = [f"{json.dumps(k)}: {_json(v, deeper)}" for k, v in value.items() if k != "#"]
        return "{\n" + ",\n".join(deeper + line for line in lines) + f"\n{indent}}}"
    if isinstance(value, list):
        text = ""
        for number, item in enumerate(value):
            condition, there = _choice(item)
            comma = "," if number else ""
            shown = f"\n{deeper}{_json(there, deeper)}"
            if condition and not number:
                raise ValueError("The first item of a list in a policy is there without condition.")
            if condition == "has_upload_bucket":
                text += f"%{{ for bucket in upload_buckets }},{shown}%{{ endfor }}"
            elif condition:
                text += f"%{{ if {condition} }},{shown}%{{ endif }}"
            else:
                text += comma + shown
        return f"[{text}\n{indent}]"
    return json.dumps(value)


def _name(name: str) -> str:
    """The name in Terraform of a reference."""
    if name in _KNOWN:
        return _KNOWN[name]
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.replace(".", "_")).replace("__", "_").lower()


def _user_data(filesystem: str) -> str:
    made = user_data(filesystem)
    # A plain text, or the argument of Fn::Sub, in which what is the shell's is written ${!…}.
    text = made if isinstance(made, str) else made.to_dict()["Fn::Sub"].replace("${!", "\0")
    known = {
        "${FileSystem.DNSName}": "\1dns_name}",
        "${FileSystem.LustreMountName}": "\1mount_name}",
    }
    for name, place in known.items():
        text = text.replace(name, place)
    text = text.replace("${", "$${").replace("%{", "%%{")
    return text.replace("\0", "$${").replace("\1", "${")
