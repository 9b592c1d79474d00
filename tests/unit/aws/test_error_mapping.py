"""Errors of botocore become ours."""

from __future__ import annotations

import inspect

import botocore.exceptions
import pytest

from miniwdl_cloud import errors
from miniwdl_cloud.aws.error_mapping import from_client_error, map_errors


def _client_error(code: str, message: str = "text", status: int = 400) -> Exception:
    return botocore.exceptions.ClientError(
        {
            "Error": {"Code": code, "Message": message},
            "ResponseMetadata": {"HTTPStatusCode": status, "RequestId": "r"},  # type: ignore[typeddict-item]
        },
        "SubmitJob",
    )


@pytest.mark.parametrize(
    ("code", "message", "status", "kind"),
    [
        ("TooManyRequestsException", "Too Many Requests", 429, errors.Throttled),
        ("ThrottlingException", "Rate exceeded", 400, errors.Throttled),
        ("RequestLimitExceeded", "x", 503, errors.Throttled),
        ("SlowDown", "Please reduce your request rate.", 503, errors.Throttled),
        (
            "InvalidParameterException",
            "Error retrieving security group information for [sg-1]: Request limit exceeded."
            " (ErrorCode: RequestLimitExceeded)",
            400,
            errors.Throttled,
        ),
        (
            "InvalidParameterException",
            "Rate exceeded (ErrorCode: Throttling)",
            400,
            errors.Throttled,
        ),
        ("AccessDeniedException", "not authorized", 403, errors.AccessDenied),
        *[
            (code, "expired", 403, errors.CredentialsExpired)
            for code in (
                "ExpiredToken",
                "ExpiredTokenException",
                "RequestExpired",
                "UnrecognizedClientException",
                "InvalidClientTokenId",
                "TokenRefreshRequired",
            )
        ],
        ("InvalidAccessKeyId", "wrong", 403, errors.AccessDenied),
        ("SignatureDoesNotMatch", "wrong", 403, errors.AccessDenied),
        ("NoSuchBucket", "no", 404, errors.NotFound),
        ("ServerException", "oops", 500, errors.Unreachable),
        ("ClientException", "JobQueue x not found.", 400, errors.ServiceError),
    ],
)
def test_error_answers(code: str, message: str, status: int, kind: type) -> None:
    """Each family of error codes has its kind, in every spelling seen in the field."""
    error = _client_error(code, message, status)
    assert isinstance(error, botocore.exceptions.ClientError)
    ours = from_client_error(error, "trying")
    assert type(ours) is kind
    assert ours.more_info["code"] == code
    assert ours.more_info["requestId"] == "r"


def _instances() -> list[Exception]:
    """One instance of each exception that botocore can raise."""
    ans: list[Exception] = []
    for _, cls in inspect.getmembers(botocore.exceptions, inspect.isclass):
        if not issubclass(cls, botocore.exceptions.BotoCoreError):
            continue
        fields = {"error": "e", "endpoint_url": "u", "msg": "m", "request": None}
        for name in cls.fmt.split("{")[1:]:
            fields[name.split("}")[0].split("!")[0].split(":")[0]] = "x"
        accepted = inspect.signature(cls.__init__).parameters
        if not any(p.kind is p.VAR_KEYWORD for p in accepted.values()):
            fields = {name: "x" for name in accepted if name != "self"}
        ans.append(cls(**fields))
    return ans


@pytest.mark.parametrize("error", _instances(), ids=lambda e: type(e).__name__)
def test_every_exception_of_botocore_is_mapped(error: Exception) -> None:
    """Whatever botocore raises, callers meet one of our errors."""
    with pytest.raises(errors.MiniwdlCloudError) as caught, map_errors("trying"):
        raise error
    assert caught.value.__cause__ is error
    assert "trying" in caught.value.message


def test_missing_credentials_say_what_to_do() -> None:
    """Without credentials the message says how to give some, with the exit code of its kind."""
    with pytest.raises(errors.AccessDenied) as caught, map_errors("looking"):
        raise botocore.exceptions.NoCredentialsError()
    assert "aws configure" in caught.value.message
    assert caught.value.exit_code == 77


def test_expired_credentials_say_what_to_do() -> None:
    """The message tells who has to do something, and who has not."""
    error = _client_error("ExpiredToken", "The provided token has expired.", 400)
    assert isinstance(error, botocore.exceptions.ClientError)
    ours = from_client_error(error, "submitting a job")
    assert "(ExpiredToken); renew them" in ours.message
    assert ours.exit_code == 77


@pytest.mark.parametrize(
    "error",
    [
        botocore.exceptions.CredentialRetrievalError(provider="container", error_msg="no answer"),
        botocore.exceptions.MetadataRetrievalError(error_msg="no answer"),
        botocore.exceptions.UnauthorizedSSOTokenError(),
        botocore.exceptions.TokenRetrievalError(provider="sso", error_msg="expired"),
        RuntimeError(
            "Credentials were refreshed, but the refreshed credentials are still expired."
        ),
    ],
)
def test_credentials_that_cannot_be_renewed_may_be_later(error: Exception) -> None:
    """Trouble with where credentials come from is worth waiting for."""
    with pytest.raises(errors.CredentialsExpired, match="while looking"), map_errors("looking"):
        raise error


def test_other_runtime_errors_are_bugs() -> None:
    """A RuntimeError of anybody else's passes unchanged."""
    with pytest.raises(RuntimeError, match="oops"), map_errors("looking"):
        raise RuntimeError("oops")
