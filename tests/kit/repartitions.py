"""A site that goes on with more partitions."""

from __future__ import annotations

import json

from aiokafka.admin import AIOKafkaAdminClient, NewPartitions

from tests.kit.site import Site


async def grown(old: Site, partitions: int) -> Site:
    """Give the input topics *partitions* partitions, and return a site on them with a namespace of its own."""
    admin = AIOKafkaAdminClient(bootstrap_servers=old.settings.kafka)
    await admin.start()
    if partitions > old.settings.partitions:
        await admin.create_partitions({topic: NewPartitions(partitions) for topic in old.settings.input_topics})
    await admin.close()
    namespace = f"{old.settings.namespace}-grown"
    site = Site(
        old.settings.kafka,
        old.settings.redis.get_secret_value(),
        namespace,
        old.folder,
        partitions=partitions,
        input_topics=",".join(old.settings.input_topics),
        output_topics=old.environ["LEADPULSE_OUTPUT_TOPICS"],
    )
    site.web, site.crm = old.web, old.crm
    old.also.append(site)
    await site.prepare()
    return site


def repartition(new: Site, old: Site) -> dict[str, int]:
    """Copy, and return what it says."""
    done = new.command("repartition", "--from", old.settings.namespace)
    assert done.returncode == 0, done.stderr
    told: dict[str, int] = json.loads(done.stdout)
    return told
