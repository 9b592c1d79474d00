"""How a dispatcher behaves."""

from __future__ import annotations

from dataclasses import dataclass

from .pacing import Rate


@dataclass(frozen=True)
class DispatchOptions:
    """How a dispatcher behaves; times in seconds.

    Parameters
    ----------
    describe_period
        Between two looks at a job, once it is some seconds old. A young job is looked at more
        often, so that short tasks are noticed soon.
    submit_period
        Least time between two submissions.
    lost_after
        A job that the service has not known for so long is lost.
    definition_visible_within
        How long a new definition may be unknown to SubmitJob.
    lanes
        Calls under way at once.
    array_min
        Least number of jobs of one kind that wait at the same moment to go out as an array job;
        0 turns array jobs off.
    definition_period
        Least time on the average between two changes of definitions; 0 for no limit.
    definition_burst
        Changes of definitions that may go at once after a pause.
    """

    describe_period: float = 1.0
    submit_period: float = 0.025
    lost_after: float = 300.0
    definition_visible_within: float = 60.0
    lanes: int = 8
    array_min: int = 8
    definition_period: float = 0.0
    definition_burst: int = 1

    @property
    def submit_rate(self) -> Rate:
        """SubmitJob: 50 calls a second for an account (Batch user guide, service quotas)."""
        most = min(40.0, 1.0 / max(self.submit_period, 0.001))
        return Rate(start=most, least=min(0.2, most), most=most, climb=most / 30)

    @property
    def definition_rate(self) -> Rate | None:
        """Registering and retiring of definitions, where the service has a quota of it."""
        if self.definition_period <= 0:
            return None
        most = 1.0 / self.definition_period
        return Rate(most, most / 10, most, climb=most / 30, burst=self.definition_burst)

    @property
    def describe_rate(self) -> Rate:
        """DescribeJobs and ListJobs have no published quota; ten a second together is what pollers
        of their size do."""
        return Rate(start=10.0, least=0.1, most=10.0, climb=0.5, burst=2.0)

    @property
    def refresh_rate(self) -> Rate:
        """Looks at an array's children for the sake of a few that ended, one call each."""
        return Rate(start=1.0, least=1.0, most=1.0, climb=0.0, burst=3.0)

    @property
    def large_refresh_rate(self) -> Rate:
        """The same for arrays so large that it takes several calls, or while there are many."""
        return Rate(start=0.4, least=0.4, most=0.4, climb=0.0, burst=2.0)
