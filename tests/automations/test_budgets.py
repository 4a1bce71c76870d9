"""Acts of several requests at a target that takes few."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kit.acting import CRM, Acting
from tests.kit.waits import until
from worker.automations import calls
from worker.automations.acts import Act
from worker.automations.requests import Http, Run, Steps
from worker.automations.targets.common import Rate

MAKE = "acts:\n  - {id: make, on: lead.sql, to: hook, do: send}\n"
STEPS = 5


def _steps(_target: Any, act: Act, _run: Run) -> Steps:
    for number in range(STEPS):
        yield Http.json(f"step-{number}", "GET", "/find", headers={"webhook-id": act.output})
    return act.output


async def test_an_act_that_has_begun_comes_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits for its budget, and those that have not begun leave it some. Put back, it would begin anew and use it up."""
    monkeypatch.setattr(calls, "_PATIENCE_S", 0.01)
    slow = CRM["webhook"]._replace(actions={"send": _steps}, rate=Rate(30, 2.0))  # three at once, then one every 0.11 s
    stage = Acting(MAKE, kinds={**CRM, "webhook": slow})
    async with stage.acting():
        for lead in ("ada", "bob", "cy", "dee"):
            stage.publish(lead=lead)

        async def done() -> bool:
            return await stage.states() == ["done"] * 4

        await until(done, "all acts are done")
    assert len(stage.target.requests) == 4 * STEPS, "an attempt was given up"
