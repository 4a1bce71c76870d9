"""Settings from the environment (`LEADPULSE_*`). The command line offers each as a flag too.

`connections` has what every program needs to reach Kafka and Redis. Each program has a class of its own beside it.
"""

from worker.settings.connections import PREFIX as PREFIX
from worker.settings.connections import SECRETS as SECRETS
from worker.settings.worker import ASKED_FOR_TYPES as ASKED_FOR_TYPES
from worker.settings.worker import OUTPUT_TYPES as OUTPUT_TYPES
from worker.settings.worker import Settings as Settings
