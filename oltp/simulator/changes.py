"""What else happens in the operational database while cards are swiped, a change at a time."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable
from typing import Self

import psycopg

from oltp.privacy import Vault
from oltp.simulator import card_changes, credit_changes, customer_changes
from oltp.simulator.scene import Scene

Change = Callable[[Scene], int]
MISSED = "missed"


class Changes:
    """A thread that makes changes at a rate for as long as the block it is used in lasts."""

    def __init__(self, dsn: str, seed: int, per_s: float, vault: Vault | None = None) -> None:
        self._dsn = dsn
        self._chance = random.Random(f"{seed}/changes")
        self._per_s = per_s
        self._vault = vault
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.made: Counter[str] = Counter()

    def __enter__(self) -> Self:
        if self._per_s > 0:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._per_s > 0:
            self._thread.join()

    def _run(self) -> None:
        """Rows that another transaction has may be missed; the next change tries others."""
        names, weights = tuple(KINDS), tuple(weight for _, weight in KINDS.values())
        while not self._over.wait(1 / self._per_s):
            name = self._chance.choices(names, weights)[0]
            try:
                with psycopg.connect(self._dsn) as connection:
                    changed = KINDS[name][0](Scene(connection, self._chance, self._vault))
            except psycopg.Error:
                self.made[MISSED] += 1
                continue
            if changed:
                self.made[name] += 1


# How often of a hundred: cards that are blocked or deleted are gone for the rest of the run.
KINDS: dict[str, tuple[Change, int]] = {
    "payment": (credit_changes.payment, 22),
    "partial payment": (credit_changes.partial_payment, 5),
    "hold captured": (card_changes.hold_captured, 20),
    "hold reversed": (card_changes.hold_reversed, 6),
    "holds expired": (card_changes.holds_expired, 2),
    "card paid": (card_changes.card_paid, 6),
    "refund": (card_changes.refund, 3),
    "profile updated": (customer_changes.profile_updated, 10),
    "application submitted": (credit_changes.application_submitted, 8),
    "application withdrawn": (credit_changes.application_withdrawn, 3),
    "offers made": (credit_changes.offers_made, 4),
    "offer accepted": (credit_changes.offer_accepted, 3),
    "card blocked": (card_changes.card_blocked, 2),
    "card deleted": (card_changes.card_deleted, 2),
    "KYC expired": (customer_changes.kyc_expired, 2),
    "document expired": (customer_changes.document_expired, 1),
    "customer left": (customer_changes.customer_left, 1),
}
