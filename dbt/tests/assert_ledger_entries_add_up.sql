-- Money is neither made nor lost: per entry, currency and layer, debits equal credits.
select
    entry_id,
    currency,
    layer,
    sum(case direction when 'DEBIT' then amount_minor else -amount_minor end) as residue_minor
from {{ ref('stg_silver__ledger_postings') }}
group by entry_id, currency, layer
having sum(case direction when 'DEBIT' then amount_minor else -amount_minor end) <> 0
