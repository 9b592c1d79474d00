"""What can be seen to be wrong before CloudFormation is asked: it would find out late, or never."""

from __future__ import annotations

from collections.abc import Mapping

from ..aws.iam import Iam
from ..aws.s3 import S3
from ..aws.session import AwsSession
from ..errors import AccessDenied, NotFound, UsageError
from . import parameters as known

SPOT_ROLE = "AWSServiceRoleForEC2Spot"


def check(session: AwsSession, parameters: Mapping[str, str], new: bool) -> dict[str, str]:
    """Check parameters, and fill in what can be found out.

    What the credentials may not look at is taken on trust.

    Parameters
    ----------
    session
        Of the account and Region.
    parameters
        By their names in the template.
    new
        Whether a stack is to be made of them.

    Returns
    -------
    dict
        The parameters; for a new stack, also whether it has to make the role of EC2 Spot.

    Raises
    ------
    NotFound
        A bucket does not exist.
    UsageError
        A bucket is not named as one.
    """
    found = dict(parameters)
    for name in ("S3UploadBucket", "S3InputBuckets"):
        for bucket in filter(None, parameters.get(name, "").split(",")):
            _check_bucket(session, bucket.strip(), known.option(name))
    if new and "CreateSpotServiceRole" not in found and Iam(session).has_role(SPOT_ROLE) is False:
        found["CreateSpotServiceRole"] = "true"
    return found


def _check_bucket(session: AwsSession, bucket: str, option: str) -> None:
    if "/" in bucket:
        raise UsageError(f"{option} {bucket} should be the name of a bucket, without s3:// and /.")
    try:
        exists = S3(session).bucket_exists(bucket)
    except AccessDenied as exn:
        if not exn.more_info:  # no credentials at all
            raise
        return
    if not exists:
        raise NotFound(
            f"The bucket {bucket} of {option} does not exist; create it, or correct its name."
        )
