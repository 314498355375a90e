"""Restarts the connector whenever it has failed: `python -m connectors.watch CONNECT_URL`.

Debezium itself retries what it takes for passing; this is for the rest, such as a connection
that breaks while a task starts.
"""

from __future__ import annotations

import logging
import sys
import time

from connectors import register

PERIOD_S = 3.0
PERIOD_LONGEST_S = 60.0

log = logging.getLogger(__name__)


def main(connect_url: str) -> None:
    """Look every few seconds; after fruitless restarts, less often."""
    pause_s = PERIOD_S
    while True:
        time.sleep(pause_s)
        try:
            now = register.status(connect_url)
            if now.state != register.FAILED:
                pause_s = PERIOD_S
                continue
            log.warning("the connector failed and is restarted: %s", now.error)
            register.restart_failed(connect_url)
            pause_s = min(pause_s * 2, PERIOD_LONGEST_S)
        except Exception as error:  # the watch must outlive whatever it watches
            log.warning("not looked at: %s", error)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    main(sys.argv[1])
