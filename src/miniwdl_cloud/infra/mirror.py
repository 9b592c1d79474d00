"""A copy of a container image in the account's own ECR, for private subnets and so that nothing is
pulled from elsewhere while workflows start."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable

from ..aws.ecr import Ecr
from ..errors import ConfigurationError, UsageError

# What Docker may take: an image of a few hundred MB over a slow line.
_TIMEOUT_S = 1800.0


def mirror(ecr: Ecr, image: str, repository: str, platform: str, say: Callable[[str], None]) -> str:
    """Copy an image; returns the name of the copy, which has the same tag.

    Parameters
    ----------
    ecr
        Where it is copied to.
    image
        Its name, with a tag.
    repository
        Name of the repository in ECR, which is made if there is none.
    platform
        Which of the image's platforms, as Docker names it: ``linux/amd64``.
    say
        Told of each step.

    Raises
    ------
    UsageError
        The image has no tag.
    ConfigurationError
        Docker is not there, or cannot pull or push.
    """
    name, colon, tag = image.rpartition(":")
    if not colon or "/" in tag or "@" in name:
        raise UsageError(f"--image {image} should be an image with a tag, such as ubuntu:22.04.")
    _docker("version")
    say(f"pulling {image} for {platform}")
    _docker("pull", "--quiet", "--platform", platform, image)
    copy = f"{ecr.repository(repository)}:{tag}"
    user, password, registry = ecr.login()
    _docker("tag", image, copy)
    # The login stays out of the user's own configuration.
    with tempfile.TemporaryDirectory(prefix="miniwdl-cloud-docker-") as config:
        here = ("--config", config)
        _docker(*(*here, "login", "--username", user, "--password-stdin", registry), stdin=password)
        say(f"pushing {copy}")
        _docker(*here, "push", "--quiet", copy)
    return copy


def _docker(*arguments: str, stdin: str = "") -> None:
    # The command without its options, of which the login's are nobody's business.
    told = next(word for word in arguments if word in ("version", "pull", "tag", "login", "push"))
    try:
        done = subprocess.run(
            ["docker", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError:
        raise ConfigurationError(
            "There is no docker command to copy the image with; install Docker, then try again."
        ) from None
    except subprocess.TimeoutExpired:
        raise ConfigurationError(
            f"docker {told} took longer than {_TIMEOUT_S / 60:.0f} minutes; try again."
        ) from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise ConfigurationError(f"docker {told} failed: {lines[-1].rstrip('.')}; try again.")
