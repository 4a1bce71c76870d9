"""Every kind of target at once, as servers on loopback that count what people would see of each lead."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from types import SimpleNamespace
from typing import Any, Final

from aiohttp import web
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

from tests.kit.acts_live import LiveTarget
from tests.kit.services import free_port
from tests.kit.vendors.activecampaign import ActiveCampaign
from tests.kit.vendors.base import Vendor
from tests.kit.vendors.brevo import Brevo
from tests.kit.vendors.channels import Channels
from tests.kit.vendors.hubspot import HubSpot
from tests.kit.vendors.pipedrive import Pipedrive
from tests.kit.vendors.salesforce import Salesforce
from tests.kit.vendors.yousign import Yousign
from tests.kit.vendors.zoho import Zoho

PASSWORD: Final = "pw-of-the-mail-server-4711"

SECRETS: Final[Mapping[str, str]] = {
    "HOOK": "whsec_c2VjcmV0LW9mLXRoZS1ob29r", "HUBSPOT": "token-of-hubspot-4711", "BREVO": "token-of-brevo-4711",
    "CAMPAIGN": "token-of-activecampaign-4711", "PIPEDRIVE": "token-of-pipedrive-4711", "YOUSIGN": "token-of-yousign-4711",
    "SALESFORCE_ID": "client-of-salesforce-4711", "SALESFORCE_SECRET": "secret-of-salesforce-4711",
    "ZOHO_ID": "client-of-zoho-4711", "ZOHO_SECRET": "secret-of-zoho-4711", "ZOHO_REFRESH": "refresh-of-zoho-4711",
    "SLACK_KEY": "url-of-slack-4711", "TEAMS_KEY": "url-of-teams-4711", "MAIL": PASSWORD,
}  # fmt: skip

TASK: Final = '{subject: "Call {{ lead_id }}"}'
MAIL: Final = '{to: "{{ traits.email }}", subject: "Call {{ lead_id }}", text: "Hello"}'

ACTS: Final[Mapping[str, tuple[str, str, str]]] = {
    "hook": ("hook", "send", ""),
    "mail": ("smtp", "send", MAIL),
    "sign": ("yousign", "signature", "{document: contract.pdf}"),
    "brevo": ("brevo", "send", MAIL),
    "brevo-event": ("brevo", "event", "{event: is_hot}"),
    "brevo-task": ("brevo", "task", TASK),
    "campaign": ("campaign", "task", TASK),
    "campaign-start": ("campaign", "automation", "{automation: 7}"),
    "salesforce": ("salesforce", "task", TASK),
    "zoho": ("zoho", "task", TASK),
    "pipedrive": ("pipedrive", "task", TASK),
    "hubspot": ("hubspot", "task", TASK),
    "slack": ("slack", "send", '{text: "Call {{ lead_id }}"}'),
    "teams": ("teams", "send", '{text: "Call {{ lead_id }}"}'),
}
"""Rule → target, `do` and `with`."""

ASKED: Final = frozenset({"hook", "sign", "brevo"})
"""Rules whose repeats the target knows by a key, so that none of their acts is ever `unknown`."""


def rules_of(names: Iterable[str], more: str = "") -> str:
    """Return a file with the rules *names*; *more* goes into each of them."""
    lines = ["acts:"]
    for name in names:
        target, do, fields = ACTS[name]
        held = f", with: {fields}" if fields else ""
        lines.append(f"  - {{id: {name}, on: lead.sql, to: {target}, do: {do}, max: 100000/h{held}{more}}}")
    return "\n".join(lines) + "\n"


def traits_of(lead: str) -> dict[str, str]:
    """Return the traits of a lead, of whom every target can make what it needs."""
    return {"email": f"{lead}@example.com", "first_name": "Ada", "last_name": lead}


@dataclass
class Mails:
    """A real mail server."""

    port: int = field(default_factory=free_port)
    took: list[tuple[str, str]] = field(default_factory=list)
    """`Message-ID` and recipient of each mail."""
    came: list[tuple[float, EmailMessage]] = field(default_factory=list)
    """The mails themselves, each with when it came (s)."""
    lag: Callable[[], float] = lambda: 0.0
    reply: str = "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        """Take a mail."""
        if not self.reply.startswith("250"):
            return self.reply
        mail = message_from_bytes(envelope.content, EmailMessage, policy=policy.default)
        self.came.append((time.time(), mail))
        self.took.append((str(mail["Message-ID"]), envelope.rcpt_tos[0]))
        await asyncio.sleep(self.lag())
        return self.reply

    def server(self) -> SMTP:
        """Return the protocol of one connection."""

        def log_in(_server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
            return AuthResult(success=isinstance(data, LoginPassword) and data.password == PASSWORD.encode(), handled=False)

        return SMTP(
            self, loop=asyncio.get_running_loop(), authenticator=log_in, auth_required=True, auth_require_tls=False
        )  # fmt: skip


@dataclass
class Targets:
    """All of them, as attributes."""

    hook: LiveTarget
    mails: Mails
    hubspot: HubSpot
    brevo: Brevo
    campaign: ActiveCampaign
    pipedrive: Pipedrive
    yousign: Yousign
    salesforce: Salesforce
    zoho: Zoho
    channels: Channels

    @property
    def vendors(self) -> list[Vendor]:
        """Those that are mock vendors."""
        return [
            self.hubspot, self.brevo, self.campaign, self.pipedrive, self.yousign, self.salesforce, self.zoho, self.channels,
        ]  # fmt: skip

    @property
    def connections(self) -> str:
        """The file of connections."""
        mail = f"smtp://sales:${{MAIL}}@127.0.0.1:{self.mails.port}"
        zoho = f"base_url: '{self.zoho.url}', accounts_url: '{self.zoho.url}'"
        client = "client_id: '${{{0}_ID}}', client_secret: '${{{0}_SECRET}}'".format
        return f"""targets:
  hook: {{kind: webhook, url: 'http://127.0.0.1:{self.hook.port}/hook', secret: '${{HOOK}}'}}
  smtp: {{kind: smtp, url: '{mail}', from: 'Acme <hello@example.com>'}}
  hubspot: {{kind: hubspot, token: '${{HUBSPOT}}', base_url: '{self.hubspot.url}'}}
  brevo: {{kind: brevo, token: '${{BREVO}}', base_url: '{self.brevo.url}', from: 'Acme <hello@example.com>'}}
  campaign: {{kind: activecampaign, token: '${{CAMPAIGN}}', base_url: '{self.campaign.root}'}}
  pipedrive: {{kind: pipedrive, token: '${{PIPEDRIVE}}', base_url: '{self.pipedrive.url}'}}
  yousign: {{kind: yousign, token: '${{YOUSIGN}}', base_url: '{self.yousign.url}'}}
  salesforce: {{kind: salesforce, base_url: '{self.salesforce.url}', {client("SALESFORCE")}}}
  zoho: {{kind: zoho, {client("ZOHO")}, {zoho}, refresh_token: '${{ZOHO_REFRESH}}'}}
  slack: {{kind: slack, url: '{self.channels.url}/services/T/B/${{SLACK_KEY}}'}}
  teams: {{kind: teams, url: '{self.channels.url}/workflows/${{TEAMS_KEY}}'}}
"""

    @property
    def secrets(self) -> list[str]:
        """Everything that must be seen nowhere: what the files name, and tokens that vendors gave."""
        return [*SECRETS.values(), *self.salesforce.tokens, *self.zoho.tokens]

    def requests(self) -> int:
        """Return how much came to any of them."""
        return sum(len(one.requests) for one in self.vendors) + self.hook.ids.total() + len(self.mails.took)

    def effects(self) -> dict[str, Counter[str]]:
        """Return what people see: rule → lead → how often. A receiver of webhooks knows a repeat by its id."""
        people = self.campaign.contacts
        return {
            "hook": Counter(id_.rpartition(":")[0] for id_ in self.hook.ids),
            "mail": Counter(_lead(to) for _, to in self.mails.took),
            "sign": Counter(
                _lead(one["signers"][0]["_whole"]["info"]["email"])
                for one in self.yousign.held.values() if one["status"] != "draft"
            ),
            "brevo": Counter(_lead(one["to"][0]["email"]) for one in self.brevo.mails),
            "brevo-event": Counter(_lead(one["identifiers"]["email_id"]) for one in self.brevo.events),
            "brevo-task": _called(one["name"] for one in self.brevo.tasks.values()),
            "campaign": _called(one["title"] for one in self.campaign.tasks.values()),
            "campaign-start": Counter(_lead(people[contact]["email"]) for contact, _ in self.campaign.automations),
            "salesforce": _called(one["Subject"] for one in self.salesforce.of("Task")),
            "zoho": _called(one["Subject"] for one in self.zoho.rows["Tasks"].values()),
            "pipedrive": _called(one["subject"] for one in self.pipedrive.activities.values()),
            "hubspot": _called(one["hs_task_subject"] for one in self.hubspot.tasks.values()),
            "slack": _called(one["text"] for one in self.channels.slack),
            "teams": _called(one["body"][0]["text"].replace("\\", "") for one in self.channels.teams),
        }  # fmt: skip

    def people(self) -> dict[str, Counter[str]]:
        """Return records of people that the targets made, by lead: two of one lead would split what sales know."""
        return {
            "pipedrive": Counter(_lead(one["emails"][0]["value"]) for one in self.pipedrive.persons.values()),
            "salesforce": Counter(_lead(one["Email"]) for one in self.salesforce.of("Lead")),
            "zoho": Counter(_lead(one["Email"]) for one in self.zoho.rows["Leads"].values()),
            "hubspot": Counter(_lead(one["email"]) for one in self.hubspot.contacts.values()),
        }

    def slow(self, rng: random.Random, before_s: float, after_s: float) -> Callable[[], None]:
        """Let answers take up to so long before and after their effect. Returns what ends that."""
        lag = SimpleNamespace(on=1.0)

        async def pause(most_s: float) -> None:
            await asyncio.sleep(rng.random() * most_s * float(lag.on))

        def slowed(reply: Any) -> Any:
            async def slow(raw: web.Request) -> web.StreamResponse:
                await pause(before_s)
                answer: web.StreamResponse = await reply(raw)
                await pause(after_s)
                return answer

            return slow

        for vendor in self.vendors:
            vendor._serve = slowed(vendor._serve)  # type: ignore[method-assign]
        self.hook.lag = self.mails.lag = lambda: rng.random() * after_s * float(lag.on)
        return lambda: setattr(lag, "on", 0.0)


@asynccontextmanager
async def all_targets() -> AsyncIterator[Targets]:
    """Serve all of them."""
    async with AsyncExitStack() as stack:
        tokens = {name.lower(): value for name, value in SECRETS.items()}
        vendors: list[Any] = [
            await stack.enter_async_context(one)
            for one in (
                HubSpot(token=tokens["hubspot"]), Brevo(token=tokens["brevo"]), ActiveCampaign(token=tokens["campaign"]),
                Pipedrive(token=tokens["pipedrive"]), Yousign(token=tokens["yousign"]), Salesforce(), Zoho(), Channels(),
            )
        ]  # fmt: skip
        made = Targets(LiveTarget(), Mails(), *vendors)
        await made.hook.start()
        stack.push_async_callback(made.hook.stop)
        server = await asyncio.get_running_loop().create_server(made.mails.server, "127.0.0.1", made.mails.port)
        stack.callback(server.close)
        yield made


def found_in(text: str | bytes, secrets: Collection[str]) -> list[str]:
    """Return those of *secrets* that are in *text*, as they are or escaped in JSON."""
    held = text if isinstance(text, bytes) else text.encode()
    return [one for one in secrets if one.encode() in held or json.dumps(one)[1:-1].encode() in held]


def _lead(address: str) -> str:
    return address.partition("@")[0]


def _called(titles: Iterable[str]) -> Counter[str]:
    return Counter(title.removeprefix("Call ") for title in titles)
