"""A made-up lender with live traffic, the same for the same seed: what the demo and tests run on.

`seed` fills the operational tables; `traffic` asks for authorizations over HTTP and Kafka and
changes rows meanwhile.
"""

from oltp.simulator.seeding import Seeded, seed
from oltp.simulator.traffic import Answers, Summary, traffic

__all__ = ["Answers", "Seeded", "Summary", "seed", "traffic"]
