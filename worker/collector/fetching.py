"""Addresses of Amazon SNS asked over HTTPS: no redirect is followed, and an answer has a limit."""

from __future__ import annotations

from types import TracebackType
from typing import Final, Self

import aiohttp

_ANSWER_S: Final = 1.5
_MOST_BYTES: Final = 262_144


class Fetcher:
    """Fetches what a signature needs. Callers have checked the address."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_ANSWER_S), trust_env=True)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def fetch(self, address: str) -> bytes:
        """Return what *address* holds. Raises `OSError`."""
        assert self._session is not None, "not opened"
        try:
            async with self._session.get(address, allow_redirects=False) as answer:
                if answer.status != 200:
                    raise OSError(f"the address answers {answer.status}")
                held = await answer.content.read(_MOST_BYTES)
                while part := await answer.content.read(_MOST_BYTES):
                    held += part
                    if len(held) > _MOST_BYTES:
                        raise OSError("the answer is too long")
                return held
        except (aiohttp.ClientError, TimeoutError) as error:
            raise OSError(str(error) or type(error).__name__) from error
