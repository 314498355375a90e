with source as (select * from {{ source('silver', 'ledger_postings') }} where not _is_deleted)

select
    -- ids
    posting_id,
    entry_id,
    ledger_account_id,
    -- facts
    layer,
    direction,
    amount_minor,
    currency,
    -- dates and instants
    created_at
from source
