-- A charge-off takes the principal off the credit: only the ledger still knows how much it was.
with entries as (select * from {{ ref('stg_silver__ledger_entries') }}),

postings as (select * from {{ ref('stg_silver__ledger_postings') }}),

credits as (select * from {{ ref('stg_silver__active_credits') }}),

-- A correction is an entry of the kind that it takes back.
charge_offs as (
    select entries.entry_id
    from entries
    left join entries as reversed on entries.reverses_entry_id = reversed.entry_id
    where coalesce(reversed.entry_type, entries.entry_type) = 'CHARGE_OFF'
)

-- A credit's account in the ledger has the same id.
select
    credits.credit_id,
    credits.currency,
    sum(
        case postings.direction
            when 'CREDIT' then postings.amount_minor else -postings.amount_minor
        end
    )::bigint as charged_off_minor
from postings
inner join charge_offs on postings.entry_id = charge_offs.entry_id
inner join credits
    on postings.ledger_account_id = credits.credit_id and postings.currency = credits.currency
where postings.layer = 'POSTED'
group by credits.credit_id, credits.currency
