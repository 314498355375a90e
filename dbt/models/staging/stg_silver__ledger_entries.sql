with source as (select * from {{ source('silver', 'ledger_entries') }} where not _is_deleted)

select
    -- ids
    entry_id,
    authorization_id,
    hold_id,
    reverses_entry_id,
    -- facts
    entry_type,
    over_limit_allowed,
    external_ref,
    -- dates and instants
    effective_at,
    created_at
from source
