"""Amazon SageMaker: whose home directories are where in a Studio domain."""

from __future__ import annotations

from ..errors import NotFound
from .error_mapping import map_errors
from .session import AwsSession


class SageMaker:
    """SageMaker in one Region."""

    def __init__(self, session: AwsSession) -> None:
        self._client = session.client("sagemaker")

    def home_file_system(self, domain_id: str) -> str | None:
        """Id of the EFS file system with the home directories of a domain's users; ``None`` if the
        domain has none, or does not exist."""
        try:
            with map_errors(f"looking up the SageMaker domain {domain_id}"):
                found = self._client.describe_domain(DomainId=domain_id)
        except NotFound:
            return None
        return found.get("HomeEfsFileSystemId") or None

    def user_uid(self, domain_id: str, user_profile: str) -> str | None:
        """POSIX user id of a user on that file system; ``None`` if there is none."""
        try:
            with map_errors(f"looking up the SageMaker user profile {user_profile}"):
                found = self._client.describe_user_profile(
                    DomainId=domain_id, UserProfileName=user_profile
                )
        except NotFound:
            return None
        return found.get("HomeEfsFileSystemUid") or None

    def space_uid(self, domain_id: str, space: str) -> str | None:
        """POSIX user id that a space works as on that file system: its owner's if the space is
        private, else its own; ``None`` if there is none."""
        try:
            with map_errors(f"looking up the SageMaker space {space}"):
                found = self._client.describe_space(DomainId=domain_id, SpaceName=space)
        except NotFound:
            return None
        owner = (found.get("OwnershipSettings") or {}).get("OwnerUserProfileName")
        sharing = (found.get("SpaceSharingSettings") or {}).get("SharingType")
        if owner and sharing == "Private":
            return self.user_uid(domain_id, owner)
        return found.get("HomeEfsFileSystemUid") or None
