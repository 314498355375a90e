with authorizations as (select * from {{ ref('stg_silver__authorizations') }}),

accounts as (select * from {{ ref('stg_silver__card_accounts') }}),

-- One hold at most: it has the authorization's unique key.
holds as (select * from {{ ref('stg_silver__holds') }})

select
    authorizations.authorization_id,
    authorizations.card_id,
    authorizations.account_id,
    accounts.customer_id,
    {{ utc_date('authorizations.decided_at') }} as decided_date,
    authorizations.currency,
    authorizations.amount_minor,
    authorizations.merchant_id,
    authorizations.mcc,
    authorizations.merchant_country,
    authorizations.channel,
    authorizations.decision,
    authorizations.decision = 'APPROVED' as is_approved,
    authorizations.response_code,
    authorizations.reason_code,
    authorizations.rule_version,
    holds.hold_status,
    (extract(epoch from authorizations.decided_at - authorizations.requested_at) * 1000)::numeric(
        14, 3
    ) as latency_ms,
    authorizations.requested_at,
    authorizations.decided_at
from authorizations
left join accounts on authorizations.account_id = accounts.account_id
left join holds on authorizations.authorization_id = holds.authorization_id
