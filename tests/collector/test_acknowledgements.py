"""Salesforce sends an outbound message for 24 hours until the answer acknowledges it in SOAP."""

from __future__ import annotations

from typing import Final
from xml.etree import ElementTree as ET

import pytest

from tests.kit.collected import served

SOURCE: Final = 'sources:\n  tool: {vendor: salesforce, secrets: ["${KEY}"]}\n'
KEY: Final = "shared-with-salesforce"
MESSAGE: Final = b'\n<?xml version="1.0"?><soapenv:Envelope xmlns:soapenv="s"><soapenv:Body/></soapenv:Envelope>'


@pytest.mark.parametrize(("body", "acknowledged"), [(MESSAGE, True), (b'[{"type": "Lead", "Id": "00Q"}]', False)])
async def test_an_outbound_message_is_acknowledged(body: bytes, acknowledged: bool) -> None:
    """Posted JSON gets the common answer."""
    async with served(SOURCE, {"KEY": KEY}) as collector:
        answer = await collector.client.post("/in/tool", data=body, headers={"Authorization": f"Bearer {KEY}"})
        said = await answer.text()
        assert answer.status == 200
        assert len(collector.log.records) == 1
        if not acknowledged:
            assert said == "ok\n"
            return
        assert answer.content_type == "text/xml"
        ack = ET.fromstring(said).find(".//{http://soap.sforce.com/2005/09/outbound}Ack")
        assert ack is not None
        assert ack.text == "true"


async def test_a_message_that_is_not_taken_is_not_acknowledged() -> None:
    """Salesforce then sends it again."""
    async with served(SOURCE, {"KEY": KEY}) as collector:
        answer = await collector.client.post("/in/tool", data=MESSAGE)
        assert answer.status == 401
        assert "Ack" not in await answer.text()
