"""Who a customer is: a person or a company, sealed, with addresses, papers and sessions. Pure."""

from __future__ import annotations

from datetime import date, timedelta
from hashlib import sha256
from uuid import UUID

from oltp.privacy import Subject, sealed_person
from oltp.schedule import months_after
from oltp.simulator import clock
from oltp.simulator.rows import Row
from oltp.simulator.world import CURRENCY, Life

TENANT = "00000000-0000-0000-0000-000000000001"
COUNTRIES = {"US": 46, "GB": 18, "DE": 14, "FR": 12, "JP": 10}
GIVEN = (
    "Ada", "Grace", "Alan", "Edsger", "Barbara", "Donald", "Radia", "Tony", "Frances", "Ken",
    "Hedy", "Linus", "Sophie", "Niklaus", "Adele", "Leslie", "Shafi", "Dennis", "Jean", "Yukihiro",
)  # fmt: skip
FAMILY = (
    "Müller", "O'Brien", "Tanaka", "Dupont", "Smith", "Nguyen", "García", "Novák", "Sato", "Jones",
    "Weber", "Moreau", "Okafor", "Kowalski", "Haddad", "Larsen", "Rossi", "Patel", "Kim", "Silva",
)  # fmt: skip
TRADES = ("Bakery", "Logistics", "Software", "Joinery", "Dental Care", "Imports", "Fisheries")
FORMS = {"US": "LLC", "GB": "Ltd", "DE": "GmbH", "FR": "SARL", "JP": "KK"}
PLACES = {
    "US": (("Chicago", "IL"), ("Austin", "TX"), ("Portland", "OR"), ("Newark", "NJ")),
    "GB": (("Leeds", None), ("Bristol", None), ("London", None)),
    "DE": (("Köln", "NW"), ("Berlin", "BE"), ("Leipzig", "SN")),
    "FR": (("Lyon", None), ("Lille", None), ("Paris", None)),
    "JP": (("Osaka", None), ("Sapporo", None), ("Tokyo", None)),
}
DIALLING = {"US": "1", "GB": "44", "DE": "49", "FR": "33", "JP": "81"}
STREETS = ("Mill Lane", "Canal Street", "Station Road", "Hill Avenue", "Weir Court", "Race Walk")
PERMISSIONS = ("VIEW", "APPLY", "ACCEPT_OFFER", "PAY", "MANAGE_CARDS")
BUSINESS_SHARE = 0.09


class Person:
    """The customer as a row that later events of the life still change."""

    def __init__(self, life: Life, joined: int) -> None:
        chance = life.chance
        self.life = life
        self.joined = joined
        self.country: str = life.pick(COUNTRIES)
        self.currency = CURRENCY[self.country]
        self.is_business = life.happens(BUSINESS_SHARE)
        self.id = life.id("customer")
        vault, seed = life.world.vault, life.world.seed
        key = vault.derived_data_key(f"{seed}/{life.number}")
        self.subject: Subject = vault.new_subject(UUID(self.id), key)
        self.family = chance.choice(FAMILY)
        self.name = f"{chance.choice(GIVEN)} {self.family}"
        if self.is_business:
            self.name = f"{self.family} {chance.choice(TRADES)} {FORMS[self.country]}"
        self.row = self._customer(joined)
        self._key(joined)
        self.address = self._address(joined)

    def _customer(self, joined: int) -> Row:
        life, at = self.life, clock.text(joined)
        born = None
        if not self.is_business:
            age_days = life.chance.triangular(18.5, 84, 36) * 365.25
            born = clock.day_of(joined) - timedelta(days=int(age_days))
        return life.rows.add(
            "customer.customers",
            customer_id=self.id,
            tenant_id=TENANT,
            external_ref=life.reference("customer"),
            **sealed_person(
                life.world.vault,
                self.subject,
                full_name=self.name,
                email=self._email(0),
                phone=self._phone(),
                national_id=self._national_id(),
                birth_date=born,
            ),
            country=self.country,
            status="ACTIVE",
            closed_at=None,
            created_at=at,
            updated_at=at,
        )

    def _email(self, changed: int) -> str:
        word = "".join(c for c in self.name.lower() if c.isascii() and c.isalpha())[:12]
        part = f".{changed}" if changed else ""
        return f"{word}.{self.life.world.seed}.{self.life.number}{part}@example.com"

    def _phone(self) -> str:
        return f"+{DIALLING[self.country]} {self.life.chance.randrange(10**8, 10**9)}"

    def _national_id(self) -> str:
        """No two customers share one; those of real people do not begin with 9."""
        return f"9{self.life.world.seed:03}-{self.life.number:07}"

    def _key(self, joined: int) -> None:
        at = clock.text(joined)
        self.life.rows.add("customer.subject_keys", **_hex(self.subject.key_row()), created_at=at)

    def _address(self, moment: int) -> Row:
        life, chance, at = self.life, self.life.chance, clock.text(moment)
        city, region = chance.choice(PLACES[self.country])
        street = f"{chance.randint(1, 240)} {chance.choice(STREETS)}"
        id_ = life.any_id()
        return life.rows.add(
            "customer.addresses",
            address_id=id_,
            customer_id=self.id,
            kind="BUSINESS" if self.is_business else "RESIDENTIAL",
            street=self.subject.seal("street", street),
            postal_code=self.subject.seal("postal_code", f"{chance.randint(10_000, 99_999)}"),
            city=city,
            region=region,
            country=self.country,
            is_primary=True,
            created_at=at,
            updated_at=at,
        )

    def move(self, moment: int) -> None:
        """A new address; the old one stays, no longer primary."""
        self.address["is_primary"] = False
        self.address["updated_at"] = clock.text(moment)
        self.address = self._address(moment)

    def change_contact(self, moment: int, changed: int) -> None:
        """Another address for mail and another number."""
        fresh = sealed_person(
            self.life.world.vault, self.subject, email=self._email(changed), phone=self._phone()
        )
        contact = ("email", "phone")
        self.row.update(
            {name: fresh[name] for c in contact for name in (c, f"{c}_masked", f"{c}_index")}
        )
        self.row["updated_at"] = clock.text(moment)

    def document(self, kind: str, moment: int, status: str, expires_on: date | None) -> Row:
        """A document that was handed in; its file is elsewhere."""
        life, at = self.life, clock.text(moment)
        id_ = life.any_id()
        is_seen = status in ("VERIFIED", "EXPIRED")
        return life.rows.add(
            "customer.documents",
            document_id=id_,
            customer_id=self.id,
            document_type=kind,
            status=status,
            content_sha256=sha256(id_.encode()).hexdigest(),
            storage_ref=f"vault/{id_}",
            verified_at=clock.text(moment + 7_200) if is_seen else None,
            expires_on=expires_on,
            created_at=at,
            updated_at=at,
        )

    def permit(self, moment: int, until: int | None) -> None:
        """What the customer may do; taken back on leaving."""
        at, end = clock.text(moment), clock.text(until) if until else None
        for name in PERMISSIONS:
            self.life.rows.add(
                "customer.permissions",
                permission_id=self.life.any_id(),
                customer_id=self.id,
                permission=name,
                granted_at=at,
                revoked_at=end,
                created_at=at,
                updated_at=end or at,
            )

    def sign_in(self, until: int) -> None:
        """The last sessions; older ones are not kept."""
        life, chance = self.life, self.life.chance
        for _ in range(chance.randint(0, 3)):
            started = until - life.between(0.1, 60)
            if started <= self.joined:
                continue
            seen = min(started + chance.randint(60, 2_400), life.now)
            at = clock.text(seen)
            life.rows.add(
                "customer.sessions",
                session_id=life.any_id(),
                customer_id=self.id,
                channel=life.pick({"MOBILE": 60, "WEB": 32, "BRANCH": 3, "API": 5}),
                started_at=clock.text(started),
                last_seen_at=at,
                expires_at=clock.text(started + 12 * clock.HOUR_S),
                ended_at=at if life.happens(0.7) else None,
                created_at=clock.text(started),
                updated_at=at,
            )

    def close(self, moment: int) -> None:
        """The customer leaves, and is only remembered."""
        at = clock.text(moment)
        self.row.update(status="CLOSED", closed_at=at, updated_at=at)

    def suspend(self, moment: int) -> None:
        """The customer may not use anything until somebody has looked."""
        self.row.update(status="SUSPENDED", updated_at=clock.text(moment))


def expiry(day: date, years: int, passed_months: int) -> date:
    """When a document runs out that is valid for years and was made some months ago."""
    return months_after(day, years * 12 - passed_months)


def _hex(row: Row) -> Row:
    return {**row, "customer_id": row["customer_id"].hex}
