"""Botocore's exceptions become ours here, at the border, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import botocore.exceptions as boto

from ..errors import (
    AccessDenied,
    ConfigurationError,
    CredentialsExpired,
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
# Of credentials whose time is over, or that AWS does not know (any more, or yet): in the JSON
# protocols, the query protocol, EC2 and S3 (botocore, `retryhandler` and `credentials`; API
# references, "Common errors"; S3 and EC2 API references, "Error codes").
EXPIRED_CODES = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "RequestExpired",
        "InvalidClientTokenId",
        "UnrecognizedClientException",
        "TokenRefreshRequired",
    }
)
CREDENTIAL_CODES = frozenset(
    {
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "InvalidSignatureException",
    }
)
RENEW = (
    "renew them: those of a container or an instance renew themselves, a credentials file is read"
    " again, and those in environment variables need a new start"
)
NOT_FOUND_CODES = frozenset(
    {
        "NoSuchBucket",
        "NoSuchKey",
        "404",
        "NotFound",
        "ResourceNotFound",
        "ResourceNotFoundException",
        "FileSystemNotFound",
        "AccessPointNotFound",
        "NoSuchEntity",
        "QueueDoesNotExist",
        "AWS.SimpleQueueService.NonExistentQueue",
        "RepositoryNotFoundException",
        "ImageNotFoundException",
        "NoSuchResourceException",
    }
)


# Of services that pass on what others say: dagster#33439, dask-cloudprovider#56.
THROTTLING_WORDS = ("Rate exceeded", "ErrorCode: Throttling", "ErrorCode: RequestLimitExceeded")

# Where credentials come from did not answer, or wants somebody to sign in.
_NOT_RENEWED = (
    boto.CredentialRetrievalError,
    boto.MetadataRetrievalError,
    boto.TokenRetrievalError,
    boto.NoAuthTokenError,
    boto.SSOError,
)


def is_throttling(code: str, message: str) -> bool:
    """Whether an error answer means "slow down", in any of its spellings."""
    return code in THROTTLING_CODES or any(words in message for words in THROTTLING_WORDS)


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
    if code in EXPIRED_CODES:
        return CredentialsExpired(
            f"AWS does not take the credentials any more while {doing} ({code}); {RENEW}.", info
        )
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
    except (boto.NoCredentialsError, boto.PartialCredentialsError) as exn:
        raise AccessDenied(
            f"No AWS credentials were found while {doing}; run `aws configure`, or set"
            " AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        ) from exn
    except _NOT_RENEWED as exn:
        raise CredentialsExpired(
            f"AWS credentials could not be renewed while {doing}: {exn}; sign in again."
        ) from exn
    except (boto.ProfileNotFound, boto.NoRegionError, boto.ConfigParseError) as exn:
        raise ConfigurationError(
            f"The AWS configuration does not fit while {doing}: {exn}"
        ) from exn
    except (boto.HTTPClientError, boto.ConnectionError) as exn:
        raise Unreachable(f"AWS did not answer while {doing}: {exn}") from exn
    except RuntimeError as exn:
        # What botocore's RefreshableCredentials raises has no type of its own.
        if "credentials are still expired" not in str(exn):
            raise
        raise CredentialsExpired(
            f"AWS credentials had expired when they came, while {doing}; {RENEW}."
        ) from exn
    except boto.BotoCoreError as exn:
        raise ServiceError(f"The request could not be made while {doing}: {exn}") from exn
