"""Botocore's exceptions become ours here, at the border, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import botocore.exceptions as boto

from ..errors import (
    AccessDenied,
    ConfigurationError,
    MiniwdlCloudError,
    NotFound,
    ServiceError,
    Throttled,
    Unreachable,
)

# The spellings of "slow down" seen in the field: Batch, EC2, ECS, S3, CloudWatch Logs.
THROTTLING_CODES = frozenset(
    {
        "TooManyRequestsException",
        "TooManyRequests",
        "RequestLimitExceeded",
        "ThrottlingException",
        "Throttling",
        "ThrottledException",
        "SlowDown",
        "ProvisionedThroughputExceededException",
        "RequestThrottled",
        "RequestThrottledException",
        "LimitExceededException",
    }
)
ACCESS_CODES = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "UnauthorizedOperation",
        "NotAuthorized",
        "AuthFailure",
        "Forbidden",
        "403",
    }
)
CREDENTIAL_CODES = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "RequestExpired",
        "InvalidClientTokenId",
        "UnrecognizedClientException",
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "InvalidSignatureException",
        "TokenRefreshRequired",
    }
)
NOT_FOUND_CODES = frozenset(
    {
        "NoSuchBucket",
        "NoSuchKey",
        "404",
        "NotFound",
        "ResourceNotFoundException",
        "FileSystemNotFound",
        "AccessPointNotFound",
        "NoSuchEntity",
        "QueueDoesNotExist",
        "AWS.SimpleQueueService.NonExistentQueue",
    }
)


def is_throttling(code: str, message: str) -> bool:
    """Whether an error answer means "slow down", in any of its spellings."""
    return code in THROTTLING_CODES or (
        "Rate exceeded" in message or "ErrorCode: Throttling" in message
    )


def from_client_error(exn: boto.ClientError, doing: str) -> MiniwdlCloudError:
    """Our error for an error answer of AWS.

    Parameters
    ----------
    exn
        The error answer.
    doing
        What was being done, to follow "while" in the message.
    """
    error = exn.response.get("Error", {})
    meta = exn.response.get("ResponseMetadata", {})
    code, text = str(error.get("Code", "")), str(error.get("Message", ""))
    info = {
        "operation": exn.operation_name,
        "code": code,
        "requestId": meta.get("RequestId"),
        "httpStatus": meta.get("HTTPStatusCode"),
    }
    status = meta.get("HTTPStatusCode") or 0
    if is_throttling(code, text):
        return Throttled(f"AWS asked to slow down while {doing}: {text or code}", info)
    if code in CREDENTIAL_CODES:
        return AccessDenied(
            f"AWS did not accept the credentials while {doing} ({code}); renew them and try again.",
            info,
        )
    if code in ACCESS_CODES:
        return AccessDenied(
            f"These credentials may not call {exn.operation_name}, needed while {doing}:"
            f" {text or code}",
            info,
        )
    if code in NOT_FOUND_CODES:
        return NotFound(f"Not found while {doing}: {text or code}", info)
    if status >= 500:
        return Unreachable(f"AWS failed while {doing}: {text or code}", info)
    return ServiceError(f"AWS refused while {doing}: {code}, {text}", info)


@contextmanager
def map_errors(doing: str) -> Iterator[None]:
    """Turn any botocore exception raised inside into ours.

    Parameters
    ----------
    doing
        What is being done, for the message: "looking up the job queue 'spot'".
    """
    try:
        yield
    except boto.ClientError as exn:
        raise from_client_error(exn, doing) from exn
    except (boto.NoCredentialsError, boto.PartialCredentialsError, boto.TokenRetrievalError) as exn:
        raise AccessDenied(
            f"No AWS credentials were found while {doing}; run `aws configure`, or set"
            " AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        ) from exn
    except (boto.CredentialRetrievalError, boto.SSOError, boto.UnauthorizedSSOTokenError) as exn:
        raise AccessDenied(
            f"AWS credentials could not be obtained while {doing}: {exn}; sign in again."
        ) from exn
    except (boto.ProfileNotFound, boto.NoRegionError, boto.ConfigParseError) as exn:
        raise ConfigurationError(
            f"The AWS configuration does not fit while {doing}: {exn}"
        ) from exn
    except (boto.HTTPClientError, boto.ConnectionError) as exn:
        raise Unreachable(f"AWS did not answer while {doing}: {exn}") from exn
    except boto.BotoCoreError as exn:
        raise ServiceError(f"The request could not be made while {doing}: {exn}") from exn
