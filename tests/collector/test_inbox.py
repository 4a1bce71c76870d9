"""Webhooks: each vendor's signature over the raw bytes, and what a sender is answered."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest

from tests.kit.collected import NOW_MS, Served, served
from tests.kit.signing import PUBLIC_URL, SIGN, SIGNS_A_TIME, SIGNS_ITS_BODY, Amazon, Request, SendGridKey
from worker.connections.sources import VENDORS

OLD, NEW = "old-secret-of-the-vendor", "new-secret-of-the-vendor"
SECRETS = {"OLD": OLD, "NEW": NEW}
ARN = "arn:aws:sns:eu-west-1:123456789012:mail"


def secret(vendor: str, text: str) -> str:
    """Return a secret in the form that the vendor gives."""
    return "whsec_" + base64.b64encode(text.encode()).decode() if vendor == "resend" else text


def connections(vendor: str, more: str = "") -> str:
    """Return a file with one source, `tool`, that has two secrets."""
    extra = ', map: {type: "kind", id: id}' if vendor == "json" else ""
    source = f'{{vendor: {vendor}, secrets: ["${{OLD}}", "${{NEW}}"]{extra}{more}}}'
    return f"public_url: {PUBLIC_URL}\nsources:\n  tool: {source}\n"


async def post(collector: Served, request: Request, name: str = "tool") -> int:
    """Send *request*, and return the status."""
    address = f"/in/{name}" + (f"?{request.query}" if request.query else "")
    answer = await collector.client.post(address, data=request.body, headers=request.headers)
    return answer.status


def changed(body: bytes) -> bytes:
    """Return *body* with its last letter or digit changed."""
    place = max(n for n, byte in enumerate(body) if chr(byte).isalnum())
    return body[:place] + (b"0" if body[place : place + 1] != b"0" else b"1") + body[place + 1 :]


def test_every_vendor_is_tried() -> None:
    """A new vendor needs its signature here."""
    assert {*SIGN, "sendgrid", "ses"} == set(VENDORS)


@pytest.mark.parametrize("vendor", sorted(SIGN))
async def test_a_signed_webhook_is_taken_as_it_came(vendor: str) -> None:
    """By either of two secrets, and no other; the body goes to Kafka to the byte, without its secret."""
    held = {"OLD": secret(vendor, OLD), "NEW": secret(vendor, NEW)}
    async with served(connections(vendor), held) as collector:
        for number, text in enumerate((OLD, NEW), 1):
            request = SIGN[vendor](secret(vendor, text), NOW_MS, "/in/tool")
            assert await post(collector, request) == 200
            inbound = collector.log.inbound()[-1]
            came = request.body.replace(text.encode(), b"***") if vendor == "zoho" else request.body
            assert (inbound.body, inbound.source, inbound.vendor) == (came, "tool", vendor)
            assert text.encode() not in inbound.body
            assert (inbound.received_ms, inbound.key_number) == (NOW_MS, number)
            beside = f"{inbound.query} {inbound.headers}"
            assert text not in beside
            assert "signature" not in beside.lower()
        assert await post(collector, SIGN[vendor](secret(vendor, "a stranger's"), NOW_MS, "/in/tool")) == 401
        assert len(collector.log.records) == 2
        assert collector.counted("collect_webhooks_total", source="tool") == 2
        assert collector.counted("collect_bad_signatures_total", source="tool", reason="wrong") == 1


@pytest.mark.parametrize("vendor", sorted(SIGN))
async def test_a_webhook_without_a_signature_is_refused(vendor: str) -> None:
    """Nothing of it reaches Kafka."""
    held = {"OLD": secret(vendor, OLD), "NEW": secret(vendor, NEW)}
    async with served(connections(vendor), held) as collector:
        assert await post(collector, Request(b"{}", {})) == 401
        assert await post(collector, Request(b"", {})) == 401
        assert collector.log.records == []


@pytest.mark.parametrize("vendor", sorted(SIGNS_ITS_BODY))
async def test_one_changed_byte_is_refused(vendor: str) -> None:
    """The signature is over the raw bytes."""
    held = {"OLD": secret(vendor, OLD), "NEW": secret(vendor, NEW)}
    async with served(connections(vendor), held) as collector:
        request = SIGN[vendor](secret(vendor, OLD), NOW_MS, "/in/tool")
        assert await post(collector, request._replace(body=changed(request.body))) == 401
        assert await post(collector, request._replace(body=request.body + b" ")) == 401
        assert await post(collector, request) == 200


async def test_a_form_of_mailgun_is_verified_by_its_own_fields() -> None:
    """A route hands mails on as a form, and signs time and token there."""
    signed = json.loads(SIGN["mailgun"](OLD, NOW_MS, "/in/tool").body)["signature"]
    async with served(connections("mailgun"), SECRETS) as collector:
        for fields, status in ((signed, 200), (signed | {"token": "x"}, 401), ({"token": "x"}, 401), ({}, 401)):
            answer = await collector.client.post("/in/tool", data=fields | {"body-plain": "Yes"})
            assert answer.status == status
    (inbound,) = collector.log.inbound()
    assert inbound.content_type == "application/x-www-form-urlencoded"


async def test_mailgun_signs_time_and_token() -> None:
    """And nothing else of the body: that is the vendor's scheme."""
    async with served(connections("mailgun"), SECRETS) as collector:
        request = SIGN["mailgun"](OLD, NOW_MS, "/in/tool")
        assert await post(collector, request._replace(body=request.body.replace(b"c0ffee", b"c0ffef", 1))) == 401
        assert await post(collector, request._replace(body=request.body.replace(b"1770000000", b"1770000001", 1))) == 401


@pytest.mark.parametrize("vendor", sorted(SIGNS_A_TIME))
async def test_an_old_time_is_refused(vendor: str) -> None:
    """Five minutes by default, in both directions; as long as the source says; or any."""
    held = {"OLD": secret(vendor, OLD), "NEW": secret(vendor, NEW)}
    late = NOW_MS - 301_000
    async with served(connections(vendor), held) as collector:
        assert await post(collector, SIGN[vendor](held["OLD"], NOW_MS - 299_000, "/in/tool")) == 200
        assert await post(collector, SIGN[vendor](held["OLD"], late, "/in/tool")) == 401
        assert await post(collector, SIGN[vendor](held["OLD"], NOW_MS + 302_000, "/in/tool")) == 401
        assert collector.counted("collect_bad_signatures_total", source="tool", reason="old") == 2
    for window in ("1h", "none"):
        async with served(connections(vendor, f", window: {window}"), held) as collector:
            assert await post(collector, SIGN[vendor](held["OLD"], late, "/in/tool")) == 200


@pytest.mark.parametrize("vendor", sorted(SIGNS_A_TIME))
async def test_a_signed_time_cannot_be_changed(vendor: str) -> None:
    """Nor can it be a number in another form."""
    held = {"OLD": secret(vendor, OLD), "NEW": secret(vendor, NEW)}
    async with served(connections(vendor, ", window: none"), held) as collector:
        request = SIGN[vendor](held["OLD"], NOW_MS, "/in/tool")
        other = {name: value.replace("177000000", "177000001") for name, value in request.headers.items()}
        assert other != request.headers
        assert await post(collector, request._replace(headers=other)) == 401


async def test_sendgrid_signs_with_its_own_key() -> None:
    """Taken by either key; refused by one changed byte, an old time, a stranger's key."""
    old, new, stranger = SendGridKey(), SendGridKey(), SendGridKey()
    body = b'[{"email":"a@b.example","event":"open"}]\r\n'
    pem = f"-----BEGIN PUBLIC KEY-----\n{new.public[:64]}\n{new.public[64:]}\n-----END PUBLIC KEY-----\n"
    async with served(connections("sendgrid"), {"OLD": old.public, "NEW": pem}) as collector:
        assert await post(collector, old.sign(NOW_MS, body)) == 200
        assert await post(collector, new.sign(NOW_MS, body)) == 200
        assert [one.key_number for one in collector.log.inbound()] == [1, 2]
        assert collector.log.inbound()[0].body == body
        assert await post(collector, old.sign(NOW_MS, body)._replace(body=body.replace(b"\r\n", b"\n"))) == 401
        assert await post(collector, old.sign(NOW_MS - 301_000, body)) == 401
        assert await post(collector, stranger.sign(NOW_MS, body)) == 401


async def test_sendgrid_by_its_own_vector() -> None:
    """Of Twilio's library: `sendgrid-python/test/unit/test_eventwebhook.py`."""
    key = (
        "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw+2fNNRaINXvVpiglSI8eNEc6wEA3F"
        "+g=="
    )
    signature = "MEUCIGHQVtGj+Y3LkG9fLcxf3qfI10QysgDWmMOVmxG0u6ZUAiEAyBiXDWzM+uOe5W0JuG+luQAbPIqHh89M15TluLtEZtM="
    event = {
        "email": "hello@world.com",
        "event": "dropped",
        "reason": "Bounced Address",
        "sg_event_id": "ZHJvcC0xMDk5NDkxOS1MUnpYbF9OSFN0T0doUTRrb2ZTbV9BLTA",
        "sg_message_id": "LRzXl_NHStOGhQ4kofSm_A.filterdrecv-p3mdw1-756b745b58-kmzbl-18-5F5FC76C-9.0",
        "smtp-id": "<LRzXl_NHStOGhQ4kofSm_A@ismtpd0039p1iad1.sendgrid.net>",
        "timestamp": 1600112492,
    }
    body = json.dumps([event], sort_keys=True, separators=(",", ":")).encode() + b"\r\n"
    headers = {
        "X-Twilio-Email-Event-Webhook-Signature": signature,
        "X-Twilio-Email-Event-Webhook-Timestamp": "1600112502",
    }
    async with served(connections("sendgrid", ", window: none"), {"OLD": "no key", "NEW": key}) as collector:
        assert await post(collector, Request(body, headers)) == 200
        assert collector.log.records[0].key == b"email:hello@world.com"
        assert await post(collector, Request(body[:-2], headers)) == 401


async def test_hubspot_by_its_own_vector() -> None:
    """Of HubSpot's library: `hubspot-api-python/tests/spec/utils/test_signature.py`. It calls another path than ours."""
    from worker.collector.signatures.common import Key, Signed
    from worker.collector.signatures.hmacs import hubspot

    headers = {
        "x-hubspot-signature-v3": "HPW73RUtKmcYoEDADG0s6MmGFWUzWJKAW07r8RDgcQw=",
        "x-hubspot-request-timestamp": "15000000",
    }
    request = Signed(b"{'example_field':'example_value'}", headers, "POST", "/webhook_uri")
    key = Key(("yyyyyyyy-yyyy-yyyy-yyyy-yyyyyyyyyyyy",), None, "https://www.example.com")
    assert hubspot(request, key, NOW_MS) == 1


async def test_resend_by_the_vector_of_standard_webhooks() -> None:
    """Of the specification's own libraries."""
    headers = {
        "svix-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "svix-timestamp": "1614265330",
        "svix-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    key = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    async with served(connections("resend", ", window: none"), {"OLD": "x", "NEW": key}) as collector:
        assert await post(collector, Request(b'{"test": 2432232314}', headers)) == 200


async def test_segment_signs_the_first_event_of_a_batch() -> None:
    """As its page says; what speaks its protocol and signs nothing has the shared secret."""
    async with served(connections("segment"), SECRETS) as collector:
        first = b'{"type": "track","messageId":"1"}'
        signed = SIGN["segment"](OLD, NOW_MS, "/in/tool")
        from tests.kit.signing import segment

        batch = b"[" + first + b', {"type":"track","messageId":"2"}]'
        assert await post(collector, Request(batch, segment(OLD, NOW_MS, "", first).headers)) == 200
        assert await post(collector, Request(batch, signed.headers)) == 401
        assert await post(collector, Request(batch, {"Authorization": f"Bearer {NEW}"})) == 200


async def test_hubspot_signs_the_public_address_with_its_query() -> None:
    """Never the one of the `Host` header."""
    async with served(connections("hubspot"), SECRETS) as collector:
        request = SIGN["hubspot"](OLD, NOW_MS, "/in/tool?x=a:b")
        assert await post(collector, request._replace(query="x=a%3Ab")) == 200
        assert await post(collector, request._replace(query="x=a%3Ac")) == 401
        assert await post(collector, request) == 401


async def test_zoom_looks_whether_the_address_is_ours() -> None:
    """The answer is made of the secret that verified the call, and nothing goes to Kafka."""
    from tests.kit.signing import zoom

    body = b'{"event":"endpoint.url_validation","payload":{"plainToken":"qgg8vlvZRS6UYooatFL8Aw"},"event_ts":1}'
    async with served(connections("zoom"), SECRETS) as collector:
        for text in (OLD, NEW):
            request = zoom(text, NOW_MS, "", body)
            answer = await collector.client.post("/in/tool", data=body, headers=request.headers)
            import hashlib
            import hmac

            token = hmac.new(text.encode(), b"qgg8vlvZRS6UYooatFL8Aw", hashlib.sha256).hexdigest()
            assert await answer.json() == {"plainToken": "qgg8vlvZRS6UYooatFL8Aw", "encryptedToken": token}
        assert (await collector.client.post("/in/tool", data=body)).status == 401
        assert collector.log.records == []


@pytest.mark.parametrize(("vendor", "method"), [("mailchimp", "GET"), ("mailchimp", "HEAD"), ("mandrill", "HEAD")])
async def test_vendors_that_look_first_find_the_address(vendor: str, method: str) -> None:
    """Other methods are refused by name."""
    async with served(connections(vendor), SECRETS) as collector:
        assert (await collector.client.request(method, "/in/tool")).status == 200
        answer = await collector.client.put("/in/tool")
        assert (answer.status, answer.headers["Allow"]) == (405, "POST")


class TestAmazon:
    @staticmethod
    def file() -> str:
        return f"sources:\n  tool: {{vendor: ses, topic_arns: ['{ARN}']}}\n"

    @pytest.mark.parametrize("version", ["1", "2"])
    async def test_a_message_of_a_configured_topic_is_taken(self, version: str) -> None:
        """By either version; the certificate is fetched once; one changed byte is refused."""
        amazon = Amazon()
        async with served(self.file()) as collector:
            collector.amazon.holds[amazon.address] = amazon.certificate
            body = amazon.sign(version, TopicArn=ARN, Message='{"eventType":"Open"}')
            assert await post(collector, Request(body, {})) == 200
            assert await post(collector, Request(body.replace(b"Open", b"Oven"), {})) == 401
            with_subject = amazon.sign(version, TopicArn=ARN, Message="{}", Subject="s")
            assert await post(collector, Request(with_subject, {})) == 200
            assert collector.amazon.asked == [amazon.address]
            assert len(collector.log.records) == 2

    async def test_another_topic_is_refused_before_anything_is_fetched(self) -> None:
        """Any AWS account can sign."""
        amazon = Amazon()
        async with served(self.file()) as collector:
            body = amazon.sign(TopicArn=ARN + "x", Message="{}")
            assert await post(collector, Request(body, {})) == 401
            assert collector.amazon.asked == []
            assert collector.counted("collect_bad_signatures_total", source="tool", reason="topic") == 1

    @pytest.mark.parametrize(
        "address",
        [
            "http://sns.eu-west-1.amazonaws.com/SimpleNotificationService-01.pem",
            "https://sns.eu-west-1.amazonaws.com.evil.example/SimpleNotificationService-01.pem",
            "https://evil.example/sns.eu-west-1.amazonaws.com/SimpleNotificationService-01.pem",
            "https://sns.eu-west-1.amazonaws.com@evil.example/SimpleNotificationService-01.pem",
            "https://sns.eu-west-1.amazonaws.com:444/SimpleNotificationService-01.pem",
            "https://bucket.s3.amazonaws.com/SimpleNotificationService-01.pem",
            "https://sns.eu-west-1.amazonaws.com/other.pem",
            "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-01.pem?x=1",
            "https://sns.eu-west-1.amazonaws.com/../SimpleNotificationService-01.pem",
            "file:///etc/passwd",
            "https://[",
            "",
        ],
    )
    async def test_a_look_alike_is_never_fetched(self, address: str) -> None:
        """The message names the certificate, so the name is the attacker's."""
        async with served(self.file()) as collector:
            assert await post(collector, Request(Amazon().sign(TopicArn=ARN, Message="{}", SigningCertURL=address), {})) == 401
            assert collector.amazon.asked == []

    async def test_amazon_out_of_reach_is_no_refusal(self) -> None:
        """401 would be final for Amazon, so it is told to come again."""
        async with served(self.file()) as collector:
            assert await post(collector, Request(Amazon().sign(TopicArn=ARN, Message="{}"), {})) == 429

    async def test_a_subscription_is_confirmed_at_amazon_alone(self) -> None:
        """Once the message is verified; nothing of it goes to Kafka."""
        amazon, confirm = Amazon(), "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&Token=t"
        kind = {"Type": "SubscriptionConfirmation", "TopicArn": ARN, "Message": "m", "Token": "t"}
        async with served(self.file()) as collector:
            collector.amazon.holds = {amazon.address: amazon.certificate, confirm: b"<ok/>"}
            assert await post(collector, Request(amazon.sign(**kind, SubscribeURL=confirm), {})) == 200
            assert collector.amazon.asked[-1] == confirm
            assert await post(collector, Request(amazon.sign(**kind, SubscribeURL="https://evil.example/"), {})) == 200
            assert collector.amazon.asked[-1] == confirm
            assert collector.log.records == []


class TestPromise:
    """Stands for any vendor."""

    @staticmethod
    def request(body: bytes = b'{"event_type":"form_response"}') -> Request:
        from tests.kit.signing import typeform

        return typeform(OLD, NOW_MS, "", body)

    async def test_a_log_that_refuses_is_no_200(self) -> None:
        """The sender is told when to come again."""
        async with served(connections("typeform"), SECRETS) as collector:
            collector.log.refuses = True
            answer = await collector.client.post("/in/tool", data=self.request().body, headers=self.request().headers)
            assert (answer.status, answer.headers["Retry-After"]) == (429, "5")

    @pytest.mark.parametrize(
        ("vendor", "most_s", "status"), [("typeform", 2.5, 429), ("hubspot", 0.9, 429), ("segment", 2.5, 503)]
    )
    async def test_a_log_that_is_away_is_answered_in_time(self, vendor: str, most_s: float, status: int) -> None:
        """Many requests at once; and 200 again when it is back."""
        async with served(connections(vendor), SECRETS) as collector:
            collector.log.flows.clear()
            request = SIGN[vendor](OLD, NOW_MS, "/in/tool")
            loop = asyncio.get_running_loop()

            async def one() -> tuple[int, float]:
                began = loop.time()
                return await post(collector, request), loop.time() - began

            answers = await asyncio.gather(*(one() for _ in range(20)))
            assert {found for found, _ in answers} == {status}
            assert max(took for _, took in answers) < most_s
            assert collector.counted("collect_kafka_up") == 0
            assert (await collector.client.get("/readyz")).status == 200
            collector.log.flows.set()
            assert await post(collector, request) == 200
            assert collector.counted("collect_kafka_up") == 1
            assert collector.counted("collect_waiting_bytes") == 0

    async def test_what_waits_has_a_bound(self) -> None:
        """Past it senders are told at once to come again, and memory stays flat."""
        async with served(connections("typeform"), SECRETS, most_bytes=1_000_000) as collector:
            collector.log.flows.clear()
            request = self.request(b'"' + b"x" * 400_000 + b'"')
            answers = [asyncio.create_task(post(collector, request)) for _ in range(4)]
            done, _ = await asyncio.wait(answers, return_when=asyncio.FIRST_COMPLETED)
            assert {one.result() for one in done} == {429}
            collector.log.flows.set()
            assert sorted(await asyncio.gather(*answers)) == [200, 200, 429, 429]
            assert collector.counted("collect_unanswered_total", reason="full") == 2

    @pytest.mark.parametrize("chunked", [True, False])
    async def test_a_body_over_the_limit_is_413(self, chunked: bool) -> None:
        """Whether or not its length is told before."""
        body = b"x" * 1_000_001

        async def parts() -> Any:
            for at in range(0, len(body), 50_000):
                yield body[at : at + 50_000]

        async with served(connections("typeform"), SECRETS) as collector:
            answer = await collector.client.post("/in/tool", data=parts() if chunked else body)
            assert answer.status == 413
            assert collector.counted("collect_too_large_total", endpoint="inbound") == 1

    async def test_bytes_that_are_no_text_come_back_to_the_byte(self) -> None:
        """Control characters take six bytes each in JSON, and still fit."""
        for body in (bytes(range(256)) * 3_900, b"\x01" * 1_000_000):
            async with served(connections("typeform"), SECRETS) as collector:
                assert await post(collector, self.request(body)) == 200
                assert collector.log.inbound()[0].body == body
                assert len(collector.log.records[0].value or b"") < 1_500_000

    async def test_an_unknown_source_is_no_path_of_ours(self) -> None:
        """It alone is 404."""
        async with served(connections("typeform"), SECRETS) as collector:
            assert await post(collector, self.request(), "other") == 404
            assert (await collector.client.get("/nothing")).status == 404


async def test_strangers_do_not_flood_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Each refusal is counted, and one a minute is logged."""
    async with served(connections("typeform"), SECRETS) as collector:
        for _ in range(20):
            assert await post(collector, Request(b"{}", {})) == 401
        assert [record.name for record in caplog.records].count("worker.collector.inbox") == 1
        assert collector.counted("collect_bad_signatures_total", source="tool", reason="missing") == 20
        collector.collector.now_ms = lambda: NOW_MS + 60_000
        assert await post(collector, Request(b"{}", {})) == 401
        assert [record.name for record in caplog.records].count("worker.collector.inbox") == 2
