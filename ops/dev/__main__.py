"""`python -m ops.dev`: start Kafka and Redis, print their addresses, stop them at Ctrl-C."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys

from ops.dev.kafka_broker import Kafka
from ops.dev.redis_server import Redis
from ops.dev.services import ServiceFailed, ServiceMissing


def main() -> int:
    """Run both services until SIGINT or SIGTERM. Their data go with them. Exit code 1 when one cannot be started."""
    argparse.ArgumentParser(prog="python -m ops.dev", description=main.__doc__).parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with contextlib.ExitStack() as running:
            kafka = running.enter_context(Kafka(lasting=True))
            redis = running.enter_context(Redis())
            print(f"export LEADPULSE_KAFKA={kafka.address}")
            print(f"export LEADPULSE_REDIS={redis.url}", flush=True)
            print(f"logs: {kafka.log} {redis.log}; Ctrl-C stops both", file=sys.stderr)
            while True:
                signal.pause()
    except (ServiceMissing, ServiceFailed) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
