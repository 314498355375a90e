select
    cut_id,
    lsn,
    taken_at,
    completed_at
from {{ source('control', 'cuts') }}
