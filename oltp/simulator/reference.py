"""What there is before the first customer: providers, products, rates, partners, merchants. Pure.

The same for every seed: none of it is made up by one, so simulations can share a database.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from oltp.schedule import months_after
from oltp.simulator import clock
from oltp.simulator.checklists import ITEMS, VERSION, item_id, template_id
from oltp.simulator.merchants import COUNTRIES, KINDS, MERCHANTS_OF_A_KIND, RISKY_COUNTRIES
from oltp.simulator.offering import PROVIDERS, Provider
from oltp.simulator.rows import Rows
from oltp.simulator.world import CURRENCY, THOUSAND_MINOR, made_id

SINCE = "2020-01-01 00:00:00+00"
PARTNERS = ("Brokerage One", "Harbour Comparison", "Payroll Partners")
PRODUCTS = ("PERSONAL_LOAN", "AUTO_LOAN", "DEBT_CONSOLIDATION")
EMBARGOED = "KP"
# Four times a year the market moves, by thousandths.
MARKET = (0, 1, 3, 2, -1, -2, 0, 4, 6, 5, 3, 1)


def partner_id(name: str) -> str:
    """The id of a partner."""
    return made_id(0, 0, "partner", name)


def rows() -> Rows:
    """All of it."""
    made = Rows()
    for provider in PROVIDERS:
        _provider(made, provider)
    for name in PARTNERS:
        made.add("kyc.partners", partner_id=partner_id(name), name=name,
                 created_at=SINCE, updated_at=SINCE)  # fmt: skip
    _checklists(made)
    _merchants(made)
    return made


def _provider(made: Rows, provider: Provider) -> None:
    made.add(
        "provider.providers",
        provider_id=provider.id,
        name=provider.name,
        provider_type=provider.kind,
        country="US",
        api_endpoint=f"https://{provider.code}.example.com/quotes",
        api_version="2",
        created_at=SINCE,
        updated_at=SINCE,
    )
    for currency in sorted(set(CURRENCY.values())):
        thousand = THOUSAND_MINOR[currency]
        for product in PRODUCTS:
            made.add(
                "provider.provider_products",
                provider_product_id=made_id(0, 0, f"product {provider.code} {currency}", product),
                provider_id=provider.id,
                product=product,
                currency=currency,
                min_amount_minor=thousand // 2,
                max_amount_minor=thousand * 50,
                min_term_months=3,
                max_term_months=72,
                created_at=SINCE,
                updated_at=SINCE,
            )
    for quarter, moved in enumerate(MARKET * 3):
        day = clock.text(clock.at_midnight(months_after(date(2020, 1, 1), quarter * 3)))
        base = provider.base_rate + Decimal(moved) / 1000
        made.add(
            "provider.provider_rates",
            provider_rate_id=made_id(0, 0, f"rate {provider.code}", quarter),
            provider_id=provider.id,
            product="PERSONAL_LOAN",
            currency="USD",
            min_rate=max(Decimal(0), base - Decimal("0.01")),
            base_rate=base,
            max_rate=base + provider.spread,
            observed_at=day,
            created_at=day,
        )


def _checklists(made: Rows) -> None:
    for case_type, items in ITEMS.items():
        template = template_id(case_type)
        made.add(
            "kyc.checklist_templates",
            checklist_template_id=template,
            case_type=case_type,
            version=VERSION,
            valid_from=date(2020, 1, 1),
            created_at=SINCE,
        )
        for position, (name, category, is_required) in enumerate(items, 1):
            made.add(
                "kyc.checklist_template_items",
                checklist_template_item_id=item_id(case_type, position),
                checklist_template_id=template,
                position=position,
                name=name,
                category=category,
                is_required=is_required,
                created_at=SINCE,
            )


def _merchants(made: Rows) -> None:
    for country in sorted({*COUNTRIES, *RISKY_COUNTRIES, EMBARGOED}):
        for kind in KINDS:
            for number in range(1, MERCHANTS_OF_A_KIND + 1):
                made.add(
                    "card.merchants",
                    merchant_id=f"M-{kind.mcc}-{country}-{number:03}",
                    name=f"{kind.name} {number}",
                    mcc=kind.mcc,
                    country=country,
                    created_at=SINCE,
                    updated_at=SINCE,
                )
