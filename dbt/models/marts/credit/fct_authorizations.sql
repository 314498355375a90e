with authorizations as (select * from {{ ref('stg_silver__authorizations') }}),

accounts as (select * from {{ ref('stg_silver__card_accounts') }}),

-- One hold at most: it has the unique key of the authorization, or of the one an increment raised.
holds as (select * from {{ ref('stg_silver__holds') }})

select
    authorizations.authorization_id,
    authorizations.parent_authorization_id,
    authorizations.message_kind,
    authorizations.card_id,
    authorizations.account_id,
    accounts.customer_id,
    {{ utc_date('authorizations.decided_at') }} as decided_date,
    authorizations.currency,
    authorizations.amount_minor,
    case
        when authorizations.decision = 'APPROVED'
            then coalesce(authorizations.approved_amount_minor, authorizations.amount_minor)
        else 0
    end as approved_amount_minor,
    authorizations.merchant_id,
    authorizations.mcc,
    authorizations.merchant_country,
    authorizations.channel,
    authorizations.decision,
    authorizations.decision = 'APPROVED' as is_approved,
    authorizations.response_code = '10' as is_partly_approved,
    authorizations.response_code,
    authorizations.reason_code,
    authorizations.rule_version,
    holds.hold_status,
    case when authorizations.message_kind <> 'INCREMENT' then holds.captured_amount_minor end
        as captured_amount_minor,
    (extract(epoch from authorizations.decided_at - authorizations.requested_at) * 1000)::numeric(
        14, 3
    ) as latency_ms,
    authorizations.requested_at,
    authorizations.decided_at
from authorizations
left join accounts on authorizations.account_id = accounts.account_id
left join holds
    on
        case
            when authorizations.message_kind = 'INCREMENT'
                then authorizations.parent_authorization_id
            else authorizations.authorization_id
        end = holds.authorization_id
        and authorizations.decision = 'APPROVED'
