"""Log-ins to vendors' APIs: tokens in headers, and tokens of OAuth, which are asked for once and kept until they end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Final, Self, TypeAlias
from urllib.parse import urlsplit

import aiohttp
import msgspec
from yarl import URL

from worker.connections.log_in import log_in
from worker.connections.targets import GoToTarget, SalesforceTarget, Target, ZohoTarget, ZoomTarget

MOST_BYTES: Final = 1_000_000
_ANSWER_S: Final = 10.0
_RENEW_S: Final = 120.0
"""A token is renewed so long before it ends, or after half of its time if that is sooner."""

_FAILED_S: Final = 5.0
"""A log-in that failed is not tried again for so long. Many acts may wait for it."""

_MOST_FAILED_S: Final = 300.0

OAuthTarget: TypeAlias = ZohoTarget | ZoomTarget | GoToTarget | SalesforceTarget


class NoAnswer(Exception):
    """The API did not answer a question. The message says why, without a secret."""

    def __init__(self, why: str, *, status: int = 0, after_s: float = 0.0) -> None:
        super().__init__(why)
        self.status = status
        """Of the answer; 0: none came. 401 also stands for any refusal of a log-in."""
        self.after_s = after_s
        """Seconds to wait, by `Retry-After`; 0: the API does not say."""


class _Token(msgspec.Struct):
    access_token: str
    expires_in: float = 3_600.0
    api_domain: str = ""
    """Of Zoho: where the account's API is."""


_token: Final = msgspec.json.Decoder(_Token, strict=False).decode


class _Failed(msgspec.Struct, frozen=True):
    why: str
    status: int
    until: float


class VendorLogin:
    """Logs in to targets. Any number of callers wait for one log-in."""

    def __init__(
        self, targets: Mapping[str, Target], environment: Mapping[str, str], now: Callable[[], float] = time.monotonic
    ) -> None:
        self._targets = targets
        self._now = now
        self._environment = environment
        self._session: aiohttp.ClientSession | None = None
        self._tokens: dict[str, tuple[str, float]] = {}
        self._failed: dict[str, _Failed] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_ANSWER_S), trust_env=True)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def headers(self, name: str) -> dict[str, str]:
        """Return the headers by which target *name* knows us. Raises `NoAnswer`, and `ConnectionsError` for a secret."""
        token = await self.token(name)
        found = log_in(self._targets[name], lambda secret: secret.resolve(self._environment), token)
        if not found:
            raise NoAnswer(f"the target {name} has no API that can be asked")
        return found

    async def token(self, name: str) -> str:
        """Return the OAuth token of target *name*; nothing where its kind has none. Raises as `headers` does."""
        target = self._targets[name]
        if not isinstance(target, OAuthTarget):
            return ""
        held = self._tokens.get(name)
        if held is not None and self._now() < held[1]:
            return held[0]
        async with self._locks.setdefault(name, asyncio.Lock()):
            held = self._tokens.get(name)
            if held is not None and self._now() < held[1]:
                return held[0]  # another caller has logged in meanwhile
            failed = self._failed.get(name)
            if failed is not None and self._now() < failed.until:
                raise NoAnswer(failed.why, status=failed.status, after_s=failed.until - self._now())
            try:
                found = await self._log_in(target)
            except NoAnswer as error:
                wait_s = min(max(_FAILED_S, error.after_s), _MOST_FAILED_S)
                self._failed[name] = _Failed(str(error), error.status, self._now() + wait_s)
                raise
            self._failed.pop(name, None)
            lasts_s = max(found.expires_in - _RENEW_S, found.expires_in / 2)
            self._tokens[name] = found.access_token, self._now() + lasts_s
            return found.access_token

    def forget(self, name: str, token: str) -> None:
        """Log in anew before the next request: the API has refused *token*. A newer token stays."""
        held = self._tokens.get(name)
        if held is not None and held[0] == token:
            del self._tokens[name]

    async def _log_in(self, target: OAuthTarget) -> _Token:
        url, form = self._asked(target)
        client, secret = target.client_id.resolve(self._environment), target.client_secret.resolve(self._environment)
        try:
            headers = {"Authorization": aiohttp.encode_basic_auth(client, secret)}
        except ValueError:  # its words may hold the secret
            raise NoAnswer("client_id or client_secret has characters that no log-in can have", status=401) from None
        if isinstance(target, ZohoTarget):
            form |= {"client_id": client, "client_secret": secret}
        assert self._session is not None, "not opened"
        try:
            answer = await call(self._session, "POST", url, data=form, headers=headers)
        except NoAnswer as error:
            # OAuth refuses a log-in with 400 or 401. Neither says anything about the question, which is asked again later.
            status = 401 if error.status in (400, 401, 403) else error.status
            raise NoAnswer(f"the log-in failed: {error}", status=status, after_s=error.after_s) from error
        try:
            found = _token(answer)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise NoAnswer(f"the log-in gave no token{_reason(answer)}", status=401) from None
        if isinstance(target, ZohoTarget):
            _check_data_centre(target, found)
        return found

    def _asked(self, target: OAuthTarget) -> tuple[str, dict[str, str]]:
        """Return where *target* gives tokens, and the form that asks for one."""
        resolve = self._environment
        match target:
            case ZoomTarget():
                return target.token_url, {
                    "grant_type": "account_credentials",
                    "account_id": target.account_id.resolve(resolve),
                }
            case GoToTarget():
                return target.token_url, _refresh(target.refresh_token.resolve(resolve))
            case ZohoTarget():
                return f"{target.accounts_url}/oauth/v2/token", _refresh(target.refresh_token.resolve(resolve))
            case SalesforceTarget():
                return f"{target.base_url}/services/oauth2/token", {"grant_type": "client_credentials"}


def _refresh(token: str) -> dict[str, str]:
    return {"grant_type": "refresh_token", "refresh_token": token}


_REASONS: Final = frozenset({
    "invalid_client", "invalid_code", "invalid_grant", "invalid_client_secret", "general_error", "unauthorized_client",
    "Access Denied",
})  # fmt: skip
"""Errors of OAuth that are worth repeating. Zoho gives them with 200. No other words of a log-in are shown."""


def _reason(answer: bytes) -> str:
    try:
        found = msgspec.json.decode(answer)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    error = found.get("error") if isinstance(found, dict) else None
    return f": {error}" if isinstance(error, str) and error in _REASONS else ""


def _check_data_centre(target: ZohoTarget, found: _Token) -> None:
    """Raise `NoAnswer` where Zoho has the account at another data centre. A token of one is worth nothing at the others."""
    asked, there = urlsplit(target.base_url).hostname or "", urlsplit(found.api_domain).hostname or ""
    if there and ".zohoapis." in f".{asked}" and there != asked:
        raise NoAnswer(f"the account's data centre is {there}: write `base_url: https://{there}`", status=401)


async def call(session: aiohttp.ClientSession, method: str, url: str | URL, **options: Any) -> bytes:
    """Return what *url* answers with 200. Raises `NoAnswer`. No redirect is followed, and an answer has a limit."""
    try:
        async with session.request(method, url, allow_redirects=False, **options) as answer:
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
    except ValueError:  # its words may hold the secret
        raise NoAnswer("a secret or an address has characters that no request can have", status=401) from None
