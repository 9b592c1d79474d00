"""What the settings say of a fleet, checked."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from .. import settings as s
from ..errors import UsageError
from .policy import Limits

OFF, DRY_RUN, ON = "off", "dry-run", "on"


@dataclass(frozen=True)
class FleetConfig:
    """The settings of section ``[fleet]``.

    Parameters
    ----------
    directory
        Where manager and workers know of each other.
    period_s
        Seconds between two looks.
    limits
        How long a worker waits for what.
    group
        The worker's own auto scaling group; ``None`` for none.
    shutdown_command
        What ends the worker's machine.
    metadata_url
        Where instance metadata is; ``None`` for nowhere.
    scale, burst_group, burst_max, scale_wait_s
        Whether and how the manager raises the burst group.
    forget_s
        Seconds after which a lost worker is removed from the swarm.
    """

    directory: Path
    period_s: float
    limits: Limits
    group: str | None
    shutdown_command: tuple[str, ...]
    metadata_url: str | None
    scale: str
    burst_group: str | None
    burst_max: int | None
    scale_wait_s: float
    forget_s: float


def fleet_settings() -> s.Settings:
    """The settings on a host of a fleet: environment, the units' environment file, .cfg file."""
    return s.Settings(s.env_source(), s.env_file_source(s.FLEET_ENVIRONMENT), s.cfg_source())


def fleet_config(settings: s.Settings) -> FleetConfig:
    """The settings of a fleet, checked.

    Raises
    ------
    UsageError
        One of them cannot be.
    """
    period = settings.get(s.FLEET_PERIOD)
    if not period > 0:
        raise UsageError(
            f"[fleet] period ({s.FLEET_PERIOD.env}) should be more than 0; correct it."
        )
    scale = settings.get(s.FLEET_SCALE)
    if s.is_false(scale):
        scale = OFF
    if scale not in (OFF, DRY_RUN, ON):
        raise UsageError(
            f"[fleet] scale ({s.FLEET_SCALE.env}) should be off, dry-run or on; correct it."
        )
    group = settings.get(s.FLEET_BURST_GROUP)
    if scale != OFF and not group:
        raise UsageError(
            f"[fleet] scale is {scale}, but there is no burst group; set {s.FLEET_BURST_GROUP.env}."
        )
    metadata = settings.get(s.FLEET_METADATA_URL)
    return FleetConfig(
        directory=Path(settings.get(s.FLEET_DIR)),
        period_s=period,
        limits=Limits(
            burst=settings.get(s.FLEET_BURST),
            idle_s=60 * settings.get(s.FLEET_IDLE_MINUTES),
            orphan_s=60 * settings.get(s.FLEET_ORPHAN_MINUTES),
            drain_s=settings.get(s.FLEET_DRAIN_SECONDS),
            # A list is of recent times for so long; see `worker.Memory`.
            rejoin_s=max(60.0, 6 * period),
            pause_s=max(60.0, 6 * period),
        ),
        group=settings.get(s.FLEET_GROUP),
        shutdown_command=_command(settings.get(s.FLEET_SHUTDOWN_COMMAND)),
        metadata_url=None if s.is_false(metadata) else metadata,
        scale=scale,
        burst_group=group,
        burst_max=settings.get(s.FLEET_BURST_MAX),
        scale_wait_s=settings.get(s.FLEET_SCALE_WAIT),
        forget_s=60 * settings.get(s.FLEET_FORGET_MINUTES),
    )


def _command(text: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError as exn:
        raise UsageError(
            f"[fleet] shutdown_command ({s.FLEET_SHUTDOWN_COMMAND.env}) is not a command ({exn});"
            " correct it."
        ) from None
