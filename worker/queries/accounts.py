"""Companies, by the sum of their leads' scores."""

from __future__ import annotations

from typing import Any, Final

from worker.core.identity.accounts import figures
from worker.core.scoring.state import unpack
from worker.ports import Store
from worker.queries.leads import held_leads, states_of
from worker.settings import ReaderSettings

_PAGE: Final = 500


async def largest_accounts(settings: ReaderSettings, count: int) -> list[dict[str, Any]]:
    """Return the *count* accounts with the highest sums, ready for JSON; equal sums by id. Raises `OtherPartitions`."""
    async with held_leads(settings) as leads:
        accounts = [account for store in leads.stores for account in await _of(store, count)]
    return sorted(accounts, key=lambda account: (-account["sum"], account["account_id"]))[:count]


async def _of(store: Store, count: int) -> list[dict[str, Any]]:
    """Return the first *count* accounts of one partition: an account's rank is its sum."""
    accounts: list[dict[str, Any]] = []
    offset = 0
    while len(accounts) < count and (page := await store.top(_PAGE, offset)):
        offset += len(page)
        names = [name for name, _ in page if name.startswith("account:")]
        for name, packed in zip(names, await states_of(store, names), strict=True):
            account = None if packed is None else unpack(packed).identity.account
            if account is not None:
                accounts.append({"account_id": name, "hot": account.hot, **figures(account)})
    return accounts
