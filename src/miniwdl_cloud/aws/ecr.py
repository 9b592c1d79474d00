"""Amazon ECR: a repository for images, and how Docker logs in to it."""

from __future__ import annotations

import base64

from ..errors import NotFound
from .error_mapping import map_errors
from .session import AwsSession


class Ecr:
    """The private registry of the account in one Region.

    Parameters
    ----------
    session
        Of the account and Region.
    """

    def __init__(self, session: AwsSession) -> None:
        self._client = session.client("ecr")

    def repository(self, name: str) -> str:
        """The address of a repository, which is made if there is none: encrypted, with images
        scanned when they come.

        Parameters
        ----------
        name
            Its name.
        """
        try:
            with map_errors(f"looking up the ECR repository {name}"):
                found = self._client.describe_repositories(repositoryNames=[name])
                return str(found["repositories"][0]["repositoryUri"])
        except NotFound:
            with map_errors(f"making the ECR repository {name}"):
                made = self._client.create_repository(
                    repositoryName=name,
                    imageScanningConfiguration={"scanOnPush": True},
                    encryptionConfiguration={"encryptionType": "AES256"},
                )
                return str(made["repository"]["repositoryUri"])

    def login(self) -> tuple[str, str, str]:
        """User name, password (good for 12 hours) and registry for `docker login` (ECR API,
        GetAuthorizationToken)."""
        with map_errors("asking ECR for a login"):
            data = self._client.get_authorization_token()["authorizationData"][0]
        user, _, password = base64.b64decode(data["authorizationToken"]).decode().partition(":")
        return user, password, str(data["proxyEndpoint"]).removeprefix("https://")
