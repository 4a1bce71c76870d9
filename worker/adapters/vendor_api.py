"""Vendors' APIs asked by GET, each with its own way to log in. No redirect is followed, and an answer has a limit."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Final, Self

import aiohttp
from yarl import URL

from worker.adapters.vendor_login import MOST_BYTES, NoAnswer, VendorLogin, call
from worker.connections.api_paths import path_at
from worker.connections.targets import Target

__all__ = ["MOST_BYTES", "NoAnswer", "VendorApi"]

_ANSWER_S: Final = 10.0


class VendorApi:
    """Asks the APIs of targets."""

    def __init__(self, targets: Mapping[str, Target], environment: Mapping[str, str]) -> None:
        self._targets = targets
        self._login = VendorLogin(targets, environment)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        await self._login.__aenter__()
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_ANSWER_S), trust_env=True)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._login.__aexit__(kind, error, trace)
        if self._session is not None:
            await self._session.close()

    async def ask(self, name: str, path: str) -> bytes:
        """Return what target *name* answers to a look-up's *path*, which is sent as it is encoded.

        Raises `NoAnswer`, and `ConnectionsError`.
        """
        target = self._targets[name]
        base, path = getattr(target, "base_url", None), path_at(path, target)
        if base is None or not path.startswith("/") or path.startswith("//"):
            raise NoAnswer(f"{path[:100]!r} is no path of an API")
        headers = await self._login.headers(name)
        assert self._session is not None, "not opened"
        try:
            return await call(self._session, "GET", URL(base + path, encoded=True), headers=headers)
        except NoAnswer as error:
            if error.status == 401:
                self._login.forget(name, headers.get("Authorization", "").rpartition(" ")[2])
            raise

    async def log_in(self, name: str) -> None:
        """Log in to target *name*. An API with a fixed token has no log-in of its own. Raises as `ask` does."""
        await self._login.headers(name)
