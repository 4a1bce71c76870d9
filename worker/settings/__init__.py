"""Settings from the environment (`LEADPULSE_*`). The command line offers them as flags too.

`connections` has what every program needs to reach Kafka and Redis. Each program has a class of its own beside it, and reads
nothing else. So a mistake in a setting of the worker stops no other program. Senders of events read `KafkaConnection` alone.
"""

from worker.settings.act import ActSettings as ActSettings
from worker.settings.archive import ArchiveSettings as ArchiveSettings
from worker.settings.collect import CollectSettings as CollectSettings
from worker.settings.collect import InboundSettings as InboundSettings
from worker.settings.connections import PREFIX as PREFIX
from worker.settings.connections import SECRETS as SECRETS
from worker.settings.connections import FromEnvironment as FromEnvironment
from worker.settings.connections import GroupConnection as GroupConnection
from worker.settings.connections import KafkaConnection as KafkaConnection
from worker.settings.converter import ConverterSettings as ConverterSettings
from worker.settings.reader import ReaderSettings as ReaderSettings
from worker.settings.topics import OUTPUT_TYPES as OUTPUT_TYPES
from worker.settings.worker import ASKED_FOR_TYPES as ASKED_FOR_TYPES
from worker.settings.worker import Settings as Settings

PROGRAMS = (Settings, ConverterSettings, CollectSettings, ActSettings, ArchiveSettings)
"""Classes that together have every setting."""
