"""Whole runs under fault plans drawn at random: the right outputs, or the right verdict."""

from __future__ import annotations

import functools
import itertools
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from chaos_plans import EVERYTHING, PLANS, WORKFLOW, allowed_verdicts, may_make_twins, on_ecs
from hypothesis import HealthCheck, Phase

from miniwdl_cloud.emulator.faults.plan import FaultPlan, parse_plan
from miniwdl_cloud.emulator.server import LocalCloud

RUN_LIMIT_S = 120
EXAMPLES = int(os.environ.get("CHAOS_EXAMPLES", "2"))
"""Plans that are drawn; `scripts/soak --chaos N` draws more."""
SIZES = (3, 9)
"""Shards: too few for an array job, and enough for one."""
_numbers = itertools.count()


class Ground:
    """The embedded AWS, and the outputs of runs that nothing disturbs."""

    def __init__(self, cloud: LocalCloud) -> None:
        # Found once conftest.py has put the emulator's helpers on the path.
        from batch_helper import Batch, wait_until
        from engine_runs import Run
        from fargate_runs import ENGINES

        self.cloud = cloud
        self.batch = Batch(cloud)
        self.wait_until = wait_until
        self.engines = ENGINES
        self.make_run = Run
        self.undisturbed = functools.cache(self._undisturbed)

    def deploy(self, engine: str, name: str) -> Any:
        """What an engine runs tasks on, new."""
        return self.engines[engine](self.cloud, self.batch, Path(name))

    def run(self, deployment: Any, n: int) -> Any:
        """A run to its end, whatever that is."""
        accounts = {"MINIWDL__AWS__ACCOUNTING_DIR": str(deployment.root / "accounts")}
        process = deployment.start(WORKFLOW, f"n={n}", env=accounts)
        out, err = process.communicate(timeout=RUN_LIMIT_S)
        answer = json.loads(out) if out.strip().startswith("{") else {}
        return self.make_run(process.returncode, out, err, answer)

    def _undisturbed(self, n: int) -> dict[str, Any]:
        deployment = self.deploy("batch", f"calm-{n}")
        return contents(deployment.run(WORKFLOW, f"n={n}").outputs)


def contents(outputs: dict[str, Any]) -> dict[str, Any]:
    """Outputs with the contents of files in place of their paths."""
    return {
        name: [Path(p).read_text() for p in value]
        if isinstance(value, list)
        else Path(value).read_text()
        for name, value in outputs.items()
    }


@pytest.fixture(scope="module")
def ground(cloud: LocalCloud) -> Ground:
    """Where chaos happens."""
    return Ground(cloud)


@pytest.mark.parametrize("engine", ["batch", "fargate"])
@hypothesis.settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@hypothesis.given(plan=PLANS, n=hypothesis.strategies.sampled_from(SIZES))
@hypothesis.example(plan=EVERYTHING, n=9)
@pytest.mark.timeout(60 + 120 * EXAMPLES)
def test_chaos(ground: Ground, engine: str, plan: dict[str, Any], n: int) -> None:
    """Outputs are those of the undisturbed run, or the run fails with a verdict that a fault
    explains; no job is lost, doubled or left behind, and no lease."""
    if engine == "fargate":
        plan = on_ecs(plan)
    expected = ground.undisturbed(n)
    deployment = ground.deploy(engine, f"chaos-{next(_numbers)}")
    ground.cloud.faults.replace(parse_plan(plan))
    try:
        run = ground.run(deployment, n)
        rules = ground.cloud.faults.as_dict()["rules"]
    finally:
        ground.cloud.faults.replace(FaultPlan())
    hypothesis.note(f"{rules}\n{run.stderr[-8000:]}")
    if run.exit_code == 0:
        assert contents(run.outputs) == expected
    else:
        assert run.error["cause"].get("verdict") in allowed_verdicts(rules)

    names = Counter(deployment.submitted())
    # RunTask's client token makes a request that is repeated the same task.
    twins = may_make_twins(rules) and engine == "batch"
    assert [name for name, count in names.items() if count > 1] == [] or twins
    ground.wait_until(
        lambda: all(attempt.ended for attempt in deployment.attempts("")), "all jobs to end"
    )
    accounts = deployment.root / "accounts"
    assert [p for p in accounts.iterdir() if not p.name.startswith(".")] == []
    if run.exit_code == 0:
        kept = deployment.kept_details(run)
        jobs = {attempt.job_id for attempt in deployment.attempts("")}
        # Of two jobs for one task, the one that left it to the other has nothing there.
        assert kept == jobs or (twins and kept < jobs)
