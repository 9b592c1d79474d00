"""A stack's parameters, refused as CloudFormation refuses them; moto takes any.

Which constraints there are: CloudFormation user guide, "Parameters".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from moto.cloudformation.exceptions import ValidationError
from moto.ec2.models import ec2_backends


def check(template: Mapping[str, Any], given: Mapping[str, Any], account: str, region: str) -> None:
    """Check the values of a template's parameters.

    Parameters
    ----------
    template
        The template.
    given
        Values by name; defaults count for the rest.
    account, region
        Where the template is deployed to.

    Raises
    ------
    ValidationError
        A name is unknown, a value is missing, or one does not fit.
    """
    known = template.get("Parameters") or {}
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise ValidationError(
            message=f"Parameters: [{', '.join(unknown)}] do not exist in the template"
        )
    missing = [name for name in sorted(known) if name not in given and "Default" not in known[name]]
    if missing:
        raise ValidationError(message=f"Parameters: [{', '.join(missing)}] must have values")
    for name, parameter in known.items():
        value = given.get(name, parameter.get("Default", ""))
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        problem = _constraint(parameter, text)
        if problem:
            described = parameter.get("ConstraintDescription")
            wrong = f"failed to satisfy constraint: {described}" if described else problem
            raise ValidationError(message=f"Parameter '{name}' {wrong}")
        _check_existence(name, str(parameter["Type"]), text, account, region)


def _constraint(parameter: Mapping[str, Any], text: str) -> str | None:
    if "AllowedValues" in parameter and text not in map(str, parameter["AllowedValues"]):
        return "must be one of AllowedValues"
    if "AllowedPattern" in parameter and not re.fullmatch(parameter["AllowedPattern"], text):
        return f"must match pattern {parameter['AllowedPattern']}"
    if "MinLength" in parameter and len(text) < int(parameter["MinLength"]):
        return f"must contain at least {parameter['MinLength']} characters"
    if "MaxLength" in parameter and len(text) > int(parameter["MaxLength"]):
        return f"must contain at most {parameter['MaxLength']} characters"
    if parameter["Type"] != "Number":
        return None
    try:
        number = float(text)
    except ValueError:
        return "must be a number"
    if "MinValue" in parameter and number < float(parameter["MinValue"]):
        return f"must be a number not less than {parameter['MinValue']}"
    if "MaxValue" in parameter and number > float(parameter["MaxValue"]):
        return f"must be a number not greater than {parameter['MaxValue']}"
    return None


def _check_existence(name: str, kind: str, text: str, account: str, region: str) -> None:
    """Parameters of AWS-specific types name things that exist."""
    found = re.fullmatch(r"(?:List<)?(AWS::EC2::\w+::Id)>?", kind)
    look = _LOOK.get(found[1]) if found else None
    if look is None:
        return
    known = look(ec2_backends[account][region])
    for value in text.split(","):
        if value.strip() not in known:
            raise ValidationError(
                message=f"Parameter validation failed: parameter value {value.strip()} for"
                f" parameter name {name} does not exist"
            )


def _groups(backend: Any) -> set[str]:
    return {group for groups in backend.groups.values() for group in groups}


def _subnets(backend: Any) -> set[str]:
    return {subnet for zone in backend.subnets.values() for subnet in zone}


_LOOK: Mapping[str, Callable[[Any], set[str]]] = {
    "AWS::EC2::SecurityGroup::Id": _groups,
    "AWS::EC2::Subnet::Id": _subnets,
    "AWS::EC2::VPC::Id": lambda backend: set(backend.vpcs),
}
