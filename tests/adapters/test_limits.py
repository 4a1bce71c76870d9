"""What all processes share, in every kind of store: budgets, breakers, pauses, and the most acts of a rule."""

from __future__ import annotations

from worker.sending_ports import Limits, Permit

MINUTE = 60_000


async def _permitted(limits: Limits, now_ms: int, requests: int = 1, target: str = "crm") -> Permit:
    return await limits.permit(target, requests, 10.0, 20.0, now_ms)


async def _fail(limits: Limits, now_ms: int, times: int = 1, after_ms: int = 0, failure: str = "again") -> None:
    for _ in range(times):
        await limits.report("crm", failure, after_ms, now_ms, "503")


async def test_a_budget_is_used_up_and_fills_again(limits: Limits) -> None:
    """Another target has its own."""
    assert [await _permitted(limits, 0) for _ in range(20)] == [Permit()] * 20
    assert await _permitted(limits, 0) == Permit(101, "budget")
    assert await _permitted(limits, 100) == Permit()
    assert await _permitted(limits, 0, target="mail") == Permit()
    assert await _permitted(limits, 100, 10) == Permit(1_001, "budget")
    assert await _permitted(limits, 1_100, 10) == Permit()
    assert await _permitted(limits, MINUTE, 30) == Permit(), "more than it ever holds takes all of it"
    assert await _permitted(limits, MINUTE) == Permit(101, "budget")


async def test_what_begins_leaves_some_for_what_has_begun(limits: Limits) -> None:
    """It waits for more than it takes, and at most for all that there may be."""
    await _permitted(limits, 0, 14)
    assert await limits.permit("crm", 1, 10.0, 20.0, 0, 5.0) == Permit()
    assert await limits.permit("crm", 1, 10.0, 20.0, 0, 5.0) == Permit(101, "budget")
    assert [await _permitted(limits, 0) for _ in range(5)] == [Permit()] * 5
    assert await _permitted(limits, 0) == Permit(101, "budget")
    assert await limits.permit("crm", 1, 10.0, 20.0, 2_000, 50.0) == Permit()
    assert await _permitted(limits, 2_000, 20) == Permit(101, "budget")


async def test_clocks_of_processes_may_differ(limits: Limits) -> None:
    """A clock that is ahead wins nothing, and one that is far off does not stop the target."""
    await _permitted(limits, 5_000, 20)
    assert (await _permitted(limits, 0)).why == "budget"
    assert (await _permitted(limits, 5_000)).why == "budget"
    await _permitted(limits, 100 * MINUTE, 20)
    assert (await _permitted(limits, 5_000)).why == "budget"
    assert await _permitted(limits, 5_101) == Permit()


async def test_a_target_that_asks_for_time_gets_it_and_less_afterwards(limits: Limits) -> None:
    """The rate is halved, and grows back."""
    await _permitted(limits, 0, 20)
    await _fail(limits, 0, after_ms=2_000)
    assert await _permitted(limits, 1_999) == Permit(1, "budget")
    assert await _permitted(limits, 2_000, 10) == Permit()
    assert (await _permitted(limits, 2_000)).wait_ms in range(150, 202)
    assert await _permitted(limits, 2_000 + 6 * MINUTE, 20) == Permit()
    assert await _permitted(limits, 2_000 + 6 * MINUTE) == Permit(101, "budget")
    await _fail(limits, 10 * MINUTE, after_ms=10 * 60 * MINUTE)
    assert await _permitted(limits, 10 * MINUTE) == Permit(60 * MINUTE, "budget"), "an hour at most"


async def test_five_failures_in_a_row_open_the_breaker(limits: Limits) -> None:
    """A success between them begins the count anew."""
    await _fail(limits, 0, 4)
    await limits.report("crm", "", 0, 1)
    await _fail(limits, 2, 4)
    assert await _permitted(limits, 2) == Permit()
    await _fail(limits, 3)
    assert await _permitted(limits, 3) == Permit(30_000, "broken")
    await _fail(limits, 4, 9)  # requests from before
    assert await _permitted(limits, 30_002) == Permit(1, "broken")


async def test_one_probe_at_a_time_tries_a_broken_target(limits: Limits) -> None:
    """Each that fails doubles the time, up to a quarter of an hour. One that succeeds closes the breaker."""
    await _fail(limits, 0, 5)
    assert await _permitted(limits, 30_000) == Permit()
    assert await _permitted(limits, 30_000) == Permit(60_000, "broken")
    await _fail(limits, 30_001)
    assert await _permitted(limits, 30_001) == Permit(60_000, "broken")
    at_ms = 90_001
    for open_ms in (120_000, 240_000, 480_000, 900_000, 900_000):
        assert await _permitted(limits, at_ms) == Permit()
        await _fail(limits, at_ms)
        assert await _permitted(limits, at_ms) == Permit(open_ms, "broken")
        at_ms += open_ms
    assert await _permitted(limits, at_ms) == Permit(), "a probe whose process died is followed by another"
    assert await _permitted(limits, at_ms + 60_000) == Permit()
    await limits.report("crm", "", 0, at_ms + 60_001)
    assert [await _permitted(limits, at_ms + 60_001) for _ in range(2)] == [Permit()] * 2


async def test_a_target_without_rights_waits_for_an_operator_or_a_quarter_of_an_hour(limits: Limits) -> None:
    """`act resume` lets it go on at once."""
    await _fail(limits, 0, failure="configuration")
    assert await _permitted(limits, 1) == Permit(899_999, "broken")
    await limits.pause("target:crm", False)
    assert await _permitted(limits, 1) == Permit()


async def test_what_is_paused_stays_so_until_it_may_go_on(limits: Limits) -> None:
    """A rule is asked for by name, a target is refused its permits."""
    assert await limits.paused() == set()
    await limits.pause("target:crm", True)
    await limits.pause("rule:call", True)
    await limits.pause("rule:call", True)
    assert await limits.paused() == {"target:crm", "rule:call"}
    assert await _permitted(limits, 0) == Permit(1_000, "paused")
    assert await _permitted(limits, 0, target="call") == Permit()
    await limits.pause("target:crm", False)
    assert (await limits.paused(), await _permitted(limits, 0)) == ({"rule:call"}, Permit())


async def test_a_rule_has_its_most_acts_within_a_time(limits: Limits) -> None:
    """An act counts once, however often it is tried."""
    assert [await limits.rule_allows("call", id_, 2, 100, at) for id_, at in (("a", 5), ("b", 9), ("a", 20))] == [True] * 3
    assert not await limits.rule_allows("call", "c", 2, 100, 104)
    assert await limits.rule_allows("mail", "c", 2, 100, 104)
    assert await limits.rule_allows("call", "c", 2, 100, 105)
    assert not await limits.rule_allows("call", "d", 2, 100, 108)


async def test_the_status_of_targets(limits: Limits) -> None:
    """As `connections status` shows it."""
    fresh = {
        "breaker": "closed", "until_ms": 0, "budget": 0.0, "budget_ms": 0, "rate": 0.0, "burst": 0.0, "success_ms": 0,
        "failure_ms": 0, "failure": "", "why": "", "paused": False,
    }  # fmt: skip
    assert await limits.status(["crm"]) == {"crm": fresh}
    await _permitted(limits, 0, 15)
    await limits.report("crm", "", 0, 3)
    await _fail(limits, 4, 5)
    assert await limits.status(["crm", "mail"]) == {
        "crm": fresh | {
            "breaker": "open", "until_ms": 30_004, "budget": 5.0, "rate": 10.0, "burst": 20.0, "success_ms": 3, "failure_ms": 4,
            "failure": "again", "why": "503",
        },
        "mail": fresh,
    }  # fmt: skip
    await _permitted(limits, 30_004)
    await limits.pause("target:crm", True)
    status = (await limits.status(["crm"]))["crm"]
    assert (status["breaker"], status["until_ms"], status["paused"]) == ("half-open", 90_004, True)


async def test_a_target_of_whose_limit_little_is_left_rests(limits: Limits) -> None:
    """A success may say so. The rate afterwards is the same, and the breaker has no part in it."""
    await _permitted(limits, 0)
    await limits.report("crm", "", 10_000, 100)
    assert await _permitted(limits, 100) == Permit(10_000, "budget")
    await limits.report("crm", "", 0, 200)  # a request from before
    assert await _permitted(limits, 10_099) == Permit(1, "budget")
    assert [await _permitted(limits, 10_100) for _ in range(20)] == [Permit()] * 20
    assert await _permitted(limits, 10_100) == Permit(101, "budget")
    await limits.report("crm", "", 10 * 60 * MINUTE, 20_000)
    assert await _permitted(limits, 20_000) == Permit(60 * MINUTE, "budget"), "an hour at most"
