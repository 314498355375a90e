with source as (select * from {{ source('silver', 'ledger_entries') }} where not _is_deleted)

select
    -- ids
    entry_id,
    account_id,
    authorization_id,
    -- facts
    entry_type,
    bucket,
    direction,
    amount_minor,
    currency,
    external_ref,
    -- dates and instants
    effective_at,
    created_at
from source
