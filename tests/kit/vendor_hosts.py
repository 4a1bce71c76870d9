"""The hosts that a collector asks: the APIs of vendors, and Amazon's for the certificate of SNS."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.kit.certificates import openssl
from tests.kit.signing import Amazon

_OAUTH: Final = 'client_id: "${API}", client_secret: "${API}"'
_HOUR: Final = {"startTime": "2026-01-01T10:00:00Z", "endTime": "2026-01-01T11:00:00Z"}
_ANSWERS: Final[dict[str, Any]] = {
    "/crm/objects/2026-03/deals/77": {
        "properties": {"amount": "10"},
        "associations": {"contacts": {"results": [{"id": "hubspot-201"}]}},
    },
    "/crm/objects/2026-03/contacts/hubspot-201": {"properties": {"hs_object_id": "hubspot-201"}},
    "/crm/v8/Leads/5725767000003000010": {"data": [{"Email": "zoho@v.example", "Lead_Status": "Junk Lead"}]},
    "/services/data/v66.0/query": {"records": [{"ContactId": "0035w000035gg9GAAQ"}]},
    "/report/webinars/": {
        "participants": [{"user_email": "zoom@v.example", "duration": 3000, "status": "in_meeting"}],
        "next_page_token": "",
    },
    "/past_webinars/": {"registrants": [{"email": "absent@v.example"}], "next_page_token": ""},
    "/sessions/9071289347212345678/attendees": [{"email": "goto@v.example", "attendanceTimeInSeconds": 3000, "attendance": []}],
    "/sessions": {"_embedded": {"sessionInfoResources": [{"sessionKey": "9071289347212345678", **_HOUR}]}},
    "/registrants": [{"email": name, "status": "APPROVED"} for name in ("goto@v.example", "away@v.example")],
}
"""Part of a path → what the API answers. The first one that fits."""


class Apis:
    """The APIs of all vendors that are asked, on one port, and how often each path was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.url = ""
        self.token = "fresh"
        """What it gives to those who log in."""
        self.answers: dict[str, Any] = dict(_ANSWERS)
        """Part of a path → what is answered, or a function of the path; `None`: a fault of the API."""

    @property
    def targets(self) -> str:
        """The part of a file of connections that names them, as targets named after their kind."""
        refresh, token_url = 'refresh_token: "${API}"', f"token_url: {self.url}/oauth"
        base = f"base_url: {self.url}"
        return (
            f'targets:\n  hubspot: {{kind: hubspot, token: "${{API}}", {base}}}\n'
            f"  zoho: {{kind: zoho, {_OAUTH}, {refresh}, {base}, accounts_url: {self.url}}}\n"
            f"  salesforce: {{kind: salesforce, {_OAUTH}, {base}}}\n"
            f'  zoom: {{kind: zoom, {_OAUTH}, account_id: "${{API}}", {base}, {token_url}}}\n'
            f"  goto: {{kind: goto, {_OAUTH}, {refresh}, {base}, {token_url}}}\n"
        )

    async def _token(self, _: web.Request) -> web.Response:
        return web.json_response({"access_token": self.token, "expires_in": 3600})

    async def _answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.raw_path)
        for part, answer in self.answers.items():
            if part in request.path:
                held = answer(request.path) if callable(answer) else answer
                return web.json_response(held, status=503 if held is None else 200)
        return web.json_response({"message": "not found"}, status=404)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Serve them while the block lasts."""
        app = web.Application()
        app.add_routes([web.post("/{any:.*}", self._token), web.get("/{any:.*}", self._answer)])
        async with TestServer(app) as server:
            self.url = str(server.make_url("")).rstrip("/")
            yield


@contextlib.asynccontextmanager
async def amazon(signer: Amazon, folder: Path) -> AsyncIterator[dict[str, str]]:
    """Serve the certificate of SNS under Amazon's name, behind a proxy; give the environment of a process that asks there."""
    host = urlsplit(signer.address).hostname
    authority, key = _authority(folder, str(host))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "amazon.pem", key)

    async def certificate(_: web.Request) -> web.Response:
        return web.Response(body=signer.certificate)

    app = web.Application()
    app.add_routes([web.get(urlsplit(signer.address).path, certificate)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    port = runner.addresses[0][1]
    proxy = await asyncio.start_server(lambda r, w: _tunnel(r, w, port), "127.0.0.1", 0)
    try:
        yield {
            "HTTPS_PROXY": f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}",
            "SSL_CERT_FILE": str(authority),
        }
    finally:
        proxy.close()
        await runner.cleanup()


def _authority(folder: Path, host: str) -> tuple[Path, Path]:
    """Make an authority and a certificate of *host* by it, with openssl."""
    authority, key, request, extension = (folder / name for name in ("authority.pem", "amazon.key", "amazon.csr", "extension"))
    new = ["req", "-newkey", "rsa:2048", "-nodes"]
    openssl(*new, "-x509", "-days", "2", "-subj", "/CN=Test", "-keyout", folder / "authority.key", "-out", authority)
    openssl(*new, "-subj", f"/CN={host}", "-keyout", key, "-out", request)
    extension.write_text(f"subjectAltName=DNS:{host}\n")
    by = ["-CA", authority, "-CAkey", folder / "authority.key", "-CAcreateserial", "-days", "2", "-extfile", extension]
    openssl("x509", "-req", "-in", request, *by, "-out", folder / "amazon.pem")
    return authority, key


async def _tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
    """Answer one CONNECT, whatever host it names, and pass bytes to and fro."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
    answers, back = await asyncio.open_connection("127.0.0.1", port)

    async def passed(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65_536):
                sink.write(data)
                await sink.drain()
        sink.close()

    await asyncio.gather(passed(reader, back), passed(answers, writer))
