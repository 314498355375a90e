"""A made-up lender with live traffic, the same for the same seed: what the demo and tests run on.

`history` writes years of it, `seed` a small one with a short past; `traffic` asks for
authorizations over HTTP and Kafka and changes rows meanwhile.
"""

from oltp.simulator.seeding import Seeded, history, seed
from oltp.simulator.traffic import Answers, Summary, traffic
from oltp.simulator.world import World

__all__ = ["Answers", "Seeded", "Summary", "World", "history", "seed", "traffic"]
