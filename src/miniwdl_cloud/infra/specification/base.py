"""What the parts of a template share: its sections, labels, and small pieces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from troposphere import AWSHelperFn, AWSObject, Equals, Output, Parameter, Ref, Sub, Tags

YES_OR_NO = ["true", "false"]


@dataclass
class Part:
    """A part of a template.

    Parameters
    ----------
    title
        Of its section; empty for resources that follow on the section before.
    about
        Comment under the title.
    resources
        With the comment above each; an empty one for none.
    parameters
        By the group that consoles show them in.
    conditions
        By name.
    outputs
        In their order.
    """

    title: str
    about: str = ""
    resources: list[tuple[str, AWSObject]] = field(default_factory=list)
    parameters: dict[str, list[Parameter]] = field(default_factory=dict)
    conditions: dict[str, AWSHelperFn] = field(default_factory=dict)
    outputs: list[Output] = field(default_factory=list)

    def add(self, resource: AWSObject, comment: str = "") -> None:
        """Add a resource."""
        self.resources.append((comment, resource))

    def parameter(self, group: str, name: str, description: str, **more: Any) -> None:
        """Add a parameter."""
        made = Parameter(name, **more, Description=description)
        self.parameters.setdefault(group, []).append(made)

    def switch(self, group: str, name: str, default: bool, condition: str, text: str) -> None:
        """Add a parameter that is true or false, and the condition that it is true."""
        value = YES_OR_NO[0 if default else 1]
        self.parameter(
            group, name, text, Type="String", Default=value, AllowedValues=list(YES_OR_NO)
        )
        self.conditions[condition] = Equals(Ref(name), "true")

    def output(self, name: str, value: Any, description: str, condition: str | None = None) -> None:
        """Add an output."""
        more = {"Condition": condition} if condition else {}
        self.outputs.append(Output(name, Description=description, Value=value, **more))


@dataclass(frozen=True)
class Network:
    """What the other parts need of the network.

    Parameters
    ----------
    subnets
        All of them, for compute environments.
    zones
        The same, each with the condition that it is there.
    security_group
        Of jobs and of the file system.
    ready
        Logical ids of what a job needs to reach AWS.
    own
        Whether it is made with the stack.
    public
        Whether its jobs have addresses of their own.
    """

    subnets: list[Any]
    zones: list[tuple[Any, str | None]]
    security_group: Any
    ready: list[str]
    own: bool = True
    public: bool = True


def labels() -> Tags:
    """The tags of everything, where they are a list."""
    made = Tags()
    # The constructor would sort them.
    made.tags = [{"Key": key, "Value": value} for key, value in label_map().items()]
    return made


def label_map(**more: Any) -> dict[str, Any]:
    """The tags of everything, where they are a mapping."""
    own = {"Name": Ref("AWS::StackName"), "Owner": Ref("Owner"), "Environment": Ref("Environment")}
    return {**own, **more}


def document(statements: Sequence[Mapping[str, Any] | AWSHelperFn]) -> dict[str, Any]:
    """A policy of these statements."""
    return {"Version": "2012-10-17", "Statement": list(statements)}


def trusted(service: Any) -> dict[str, Any]:
    """The trust policy of a role of a service."""
    statement = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    return document([statement])


def arn(service: str, resource: str) -> Sub:
    """The ARN of a resource of this account and Region."""
    place = "${AWS::Region}:${AWS::AccountId}"
    return Sub(f"arn:${{AWS::Partition}}:{service}:{place}:{resource}")
