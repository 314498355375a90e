select
    mart,
    reads,
    cut_id,
    newest_cut_id,
    behind,
    built_at
from {{ source('control', 'mart_builds') }}
