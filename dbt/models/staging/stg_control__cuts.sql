select
    cut_id,
    lsn,
    taken_at,
    completed_at,
    unchanged_through_lsn,
    unchanged_through
from {{ source('control', 'cuts') }}
