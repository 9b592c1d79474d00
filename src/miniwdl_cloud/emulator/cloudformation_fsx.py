"""CloudFormation's FSx resource types, made in our own FSx."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import botocore.session

from .cloudformation_batch import Resource, stack_tags, to_api

if TYPE_CHECKING:
    from .fsx.service import FsxService

Json = dict[str, Any]


class FsxModel:
    """What the FSx resource types share. ``models`` binds it to a service."""

    fsx: FsxService
    operation = ""
    attributes: tuple[str, ...] = ()

    @classmethod
    def cloudformation_name_type(cls) -> str:
        """They have no names."""
        return ""

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        """Whether ``Fn::GetAtt`` knows the attribute."""
        return attr in cls.attributes

    @classmethod
    def create_from_cloudformation_json(
        cls, name: str, cloudformation_json: Json, account_id: str, region_name: str, **kw: Any
    ) -> Resource:
        """Make the resource in our FSx, with the stack's own tags."""
        if region_name != cls.fsx.region:
            raise ValueError(f"The embedded AWS has FSx in {cls.fsx.region} only.")
        model = botocore.session.Session().get_service_model("fsx")
        shape = model.operation_model(cls.operation).input_shape
        assert shape is not None
        request: Json = to_api(shape, cloudformation_json["Properties"], "")
        tags = dict(stack_tags(account_id, region_name, kw.get("StackId")))
        tags.update((tag["Key"], tag["Value"]) for tag in request.get("Tags", []))
        if tags:
            request["Tags"] = [{"Key": key, "Value": value} for key, value in tags.items()]
        return cls.made(cls.fsx.call(cls.operation, request))

    @classmethod
    def made(cls, answer: Json) -> Resource:
        """The resource of an API answer."""
        raise NotImplementedError


class FileSystem(FsxModel):
    """AWS::FSx::FileSystem"""

    operation = "CreateFileSystem"
    attributes = ("DNSName", "LustreMountName", "ResourceARN")

    @classmethod
    def made(cls, answer: Json) -> Resource:
        """The resource of an API answer."""
        detail = answer["FileSystem"]
        identifier = detail["FileSystemId"]
        return Resource(
            identifier,
            {
                "DNSName": detail["DNSName"],
                "LustreMountName": detail.get("LustreConfiguration", {}).get("MountName", ""),
                "ResourceARN": detail["ResourceARN"],
            },
            lambda: cls.fsx.call("DeleteFileSystem", {"FileSystemId": identifier}),
        )


class DataRepositoryAssociation(FsxModel):
    """AWS::FSx::DataRepositoryAssociation"""

    operation = "CreateDataRepositoryAssociation"
    attributes = ("AssociationId", "ResourceARN")

    @classmethod
    def made(cls, answer: Json) -> Resource:
        """The resource of an API answer."""
        detail = answer["Association"]
        identifier = detail["AssociationId"]
        return Resource(
            identifier,
            {"AssociationId": identifier, "ResourceARN": detail["ResourceARN"]},
            lambda: cls.fsx.call("DeleteDataRepositoryAssociation", {"AssociationId": identifier}),
        )


def models(fsx: FsxService) -> Mapping[str, type[FsxModel]]:
    """The models by resource type.

    Parameters
    ----------
    fsx
        The service that the resources are made in.
    """
    kinds: tuple[type[FsxModel], ...] = (FileSystem, DataRepositoryAssociation)
    return {f"AWS::FSx::{m.__name__}": type(m.__name__, (m,), {"fsx": fsx}) for m in kinds}
