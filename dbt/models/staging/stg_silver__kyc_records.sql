with source as (select * from {{ source('silver', 'kyc_records') }} where not _is_deleted)

select
    -- ids
    kyc_record_id,
    customer_id,
    -- facts
    verification_type,
    status as kyc_status,
    provider,
    risk_level,
    -- dates and instants
    verified_at,
    expires_at,
    created_at,
    updated_at
from source
