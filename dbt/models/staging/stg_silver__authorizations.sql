with source as (select * from {{ source('silver', 'authorizations') }} where not _is_deleted)

select
    -- ids
    authorization_id,
    parent_authorization_id,
    card_id,
    account_id,
    -- facts
    idempotency_key,
    request_hash,
    message_kind,
    amount_minor,
    approved_amount_minor,
    currency,
    merchant_id,
    mcc,
    merchant_country,
    channel,
    network,
    terminal_latitude_e6,
    terminal_longitude_e6,
    decision,
    response_code,
    reason_code,
    rule_hits,
    facts,
    rule_version,
    card_version,
    available_minor,
    -- dates and instants
    requested_at,
    decided_at,
    created_at
from source
