"""What the agents read of the system of record: facts, histories and attempts."""

from __future__ import annotations

# Health of lines with collateral is summed at the latest prices; a part without one leaves it
# without a moment. Confirmed and cleared are answers; anything else says nothing about sanctions.
FACTS = """
select
    c.card_id::text, c.status as card_status, c.product, c.expires_on,
    a.account_id::text, a.status as account_status, a.currency::text, a.credit_limit_minor,
    a.posted_minor, a.held_minor, a.program_id,
    u.customer_id::text, u.status as customer_status, u.country::text,
    (
        select coalesce(jsonb_agg(jsonb_build_object(
            'kyc_record_id', k.kyc_record_id, 'verification_type', k.verification_type,
            'status', k.status, 'expires_at', k.expires_at, 'updated_at', k.updated_at)
            order by k.updated_at, k.kyc_record_id), '[]')
        from kyc.kyc_records k where k.customer_id = u.customer_id
    ) as kyc_records,
    coalesce((
        select s.status = 'CONFIRMED_MATCH' from kyc.aml_checks s
        where s.customer_id = u.customer_id and s.check_type = 'SANCTIONS'
            and s.status in ('CONFIRMED_MATCH', 'CLEAR')
        order by s.checked_at desc, s.updated_at desc limit 1
    ), false) as is_sanctioned,
    h.numerator, h.debt, h.priced_at,
    pg_current_wal_lsn()::text as lsn
from card.cards c
join card.card_accounts a on a.account_id = c.account_id
join card.programs g on g.program_id = a.program_id
join customer.customers u on u.customer_id = a.customer_id
left join lateral (
    select
        coalesce(sum(p.amount * q.price * p.threshold) filter (where p.is_collateral), 0)
            as numerator,
        coalesce(sum(p.amount * q.price) filter (where not p.is_collateral), 0) as debt,
        case when bool_and(q.price is not null) then min(q.observed_at) end as priced_at
    from (
        select k.asset, k.amount, k.liquidation_threshold as threshold, true as is_collateral
        from card.positions o join card.position_collaterals k using (position_id)
        where g.is_collateralized and o.customer_id = a.customer_id
            and o.account_id = a.account_id and o.status = 'OPEN' and k.amount > 0
        union all
        select o.debt_asset, o.debt_amount, 1, false from card.positions o
        where g.is_collateralized and o.customer_id = a.customer_id
            and o.account_id = a.account_id and o.status = 'OPEN' and o.debt_amount > 0
    ) p
    left join lateral (
        select r.price, r.observed_at from card.prices r
        where r.asset = p.asset and r.quote_currency = 'USD'
        order by r.observed_at desc, r.created_at desc, r.price_id limit 1
    ) q on true
    having count(*) > 0
) h on true
where c.card_id = any(%s::uuid[])
"""

# A day before the card's last decision: no later moment reaches further back. Of more decisions
# than a history holds the last ones, and the last time the card was present, wherever that was
# among them. Decisions without a number were made elsewhere and are no part of it.
HISTORIES = """
select s.card_id::text, s.version, s.last_decided_at, d.*
from card.card_states s
left join lateral (
    with day as (
        select a.card_version, a.decided_at, a.decision, a.amount_minor, a.approved_amount_minor,
            a.merchant_id, a.mcc::text, a.merchant_country::text, a.channel,
            a.terminal_latitude_e6, a.terminal_longitude_e6, a.currency::text
        from card.authorizations a
        where a.card_id = s.card_id and a.card_version is not null
            and a.decided_at > s.last_decided_at - interval '1 day'
    )
    (select * from day order by card_version desc limit %(most)s)
    union
    (select * from day where decision = 'APPROVED' and channel = any(%(present)s)
        order by card_version desc limit 1)
) d on true
where s.card_id = any(%(card_ids)s::uuid[])
order by s.card_id, d.card_version
"""

ATTEMPTS = """
select
    authorization_id::text, card_id::text, account_id::text, amount_minor, merchant_id,
    merchant_country::text, decision, decided_at
from card.authorizations
where {column} = any(%s::uuid[]) and decided_at > %s
"""
