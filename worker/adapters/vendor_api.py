"""Vendors' APIs asked by GET, each with its own way to log in. No redirect is followed, and an answer has a limit."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
import msgspec
from yarl import URL

from worker.connections.api_paths import path_at
from worker.connections.targets import (
    ActiveCampaignTarget,
    BrevoTarget,
    GoToTarget,
    HubSpotTarget,
    PipedriveTarget,
    SalesforceTarget,
    Target,
    YousignTarget,
    ZohoTarget,
    ZoomTarget,
)

MOST_BYTES: Final = 1_000_000
_ANSWER_S: Final = 10.0
_RENEW_S: Final = 120.0
"""A token is renewed so long before it ends."""


class NoAnswer(Exception):
    """The API did not answer a question. The message says why, without a secret."""

    def __init__(self, why: str, *, status: int = 0, after_s: float = 0.0) -> None:
        super().__init__(why)
        self.status = status
        self.after_s = after_s
        """What the API said in `Retry-After`."""


class _Token(msgspec.Struct):
    access_token: str
    expires_in: float = 3_600.0


_token: Final = msgspec.json.Decoder(_Token, strict=False).decode


class VendorApi:
    """Asks the APIs of targets. Tokens of OAuth are kept until they end."""

    def __init__(self, targets: Mapping[str, Target], environment: Mapping[str, str]) -> None:
        self._targets = targets
        self._environment = environment
        self._session: aiohttp.ClientSession | None = None
        self._tokens: dict[str, tuple[str, float]] = {}

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_ANSWER_S), trust_env=True)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
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
        headers = await self._log_in(name, target)
        try:
            return await self._call("GET", URL(base + path, encoded=True), headers=headers)
        except NoAnswer as error:
            if error.status == 401:
                self._tokens.pop(name, None)
            raise

    async def log_in(self, name: str) -> None:
        """Log in to target *name*. An API with a fixed token has no log-in of its own. Raises as `ask` does."""
        await self._log_in(name, self._targets[name])

    async def _log_in(self, name: str, target: Target) -> dict[str, str]:
        """Return the headers by which *target* knows us. Raises `NoAnswer`."""
        match target:
            case HubSpotTarget():
                return {"Authorization": f"Bearer {target.token.resolve(self._environment)}"}
            case PipedriveTarget():
                return {"x-api-token": target.token.resolve(self._environment)}
            case ActiveCampaignTarget():
                return {"Api-Token": target.token.resolve(self._environment)}
            case BrevoTarget():
                return {"api-key": target.token.resolve(self._environment)}
            case YousignTarget():
                return {"Authorization": f"Bearer {target.token.resolve(self._environment)}"}
            case ZohoTarget():
                return {"Authorization": f"Zoho-oauthtoken {await self._token_of(name, target)}"}
            case ZoomTarget() | GoToTarget() | SalesforceTarget():
                return {"Authorization": f"Bearer {await self._token_of(name, target)}"}
            case _:
                raise NoAnswer(f"the target {name} has no API that can be asked")

    async def _token_of(self, name: str, target: ZohoTarget | ZoomTarget | GoToTarget | SalesforceTarget) -> str:
        held = self._tokens.get(name)
        if held is not None and time.monotonic() < held[1]:
            return held[0]
        client, secret = target.client_id.resolve(self._environment), target.client_secret.resolve(self._environment)
        form, url = {"grant_type": "refresh_token"}, ""
        match target:
            case ZoomTarget():
                url = target.token_url
                form = {"grant_type": "account_credentials", "account_id": target.account_id.resolve(self._environment)}
            case GoToTarget():
                url = target.token_url
                form |= {"refresh_token": target.refresh_token.resolve(self._environment)}
            case ZohoTarget():
                url = f"{target.accounts_url}/oauth/v2/token"
                form |= {"refresh_token": target.refresh_token.resolve(self._environment)}
                form |= {"client_id": client, "client_secret": secret}
            case SalesforceTarget():
                url = f"{target.base_url}/services/oauth2/token"
                form = {"grant_type": "client_credentials"}
        headers = {"Authorization": aiohttp.encode_basic_auth(client, secret)}
        try:
            found = _token(await self._call("POST", url, data=form, headers=headers))
        except NoAnswer as error:
            # OAuth refuses a log-in with 400 or 401. Neither says anything about the question, which is asked again later.
            status = 401 if error.status in (400, 401, 403) else error.status
            raise NoAnswer(f"the log-in failed: {error}", status=status, after_s=error.after_s) from error
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise NoAnswer("the log-in gave no token") from None
        self._tokens[name] = found.access_token, time.monotonic() + max(0.0, found.expires_in - _RENEW_S)
        return found.access_token

    async def _call(self, method: str, url: str | URL, **options: Any) -> bytes:
        assert self._session is not None, "not opened"
        try:
            async with self._session.request(method, url, allow_redirects=False, **options) as answer:
                if answer.status != 200:
                    after = answer.headers.get("Retry-After", "")
                    raise NoAnswer(
                        f"the API answers {answer.status}",
                        status=answer.status,
                        after_s=float(after) if after.isascii() and after.isdecimal() and len(after) < 6 else 0.0,
                    )
                held = bytearray()
                async for part in answer.content.iter_any():
                    held += part
                    if len(held) > MOST_BYTES:
                        raise NoAnswer(f"the answer is over {MOST_BYTES:,} bytes")
                return bytes(held)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise NoAnswer(f"no answer: {type(error).__name__}") from error
