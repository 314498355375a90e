with accounts as (select * from {{ ref('stg_silver__card_accounts') }}),

entries as (select * from {{ ref('stg_silver__ledger_entries') }}),

postings as (select * from {{ ref('stg_silver__ledger_postings') }}),

holds as (select * from {{ ref('stg_silver__holds') }}),

cut as (select * from {{ ref('int_cuts_selected') }}),

-- A card account's account in the ledger has the same id.
signed_postings as (
    select
        postings.ledger_account_id as account_id,
        postings.entry_id,
        postings.currency,
        postings.layer,
        entries.hold_id,
        case postings.direction
            when 'DEBIT' then postings.amount_minor else -postings.amount_minor
        end as moved_minor
    from postings
    left join entries on postings.entry_id = entries.entry_id
),

ledger as (
    select
        account_id,
        currency,
        count(distinct entry_id) as entries,
        sum(moved_minor) filter (where layer = 'POSTED') as posted_minor,
        sum(moved_minor) filter (where layer = 'HELD') as held_minor
    from signed_postings
    group by account_id, currency
),

-- What is left under the holds that are open: one that ended must have left nothing. Asked of the
-- ledger: amount_minor - captured_amount_minor knows neither partial releases nor over-captures.
open_holds as (
    select
        holds.account_id,
        holds.currency,
        sum(signed_postings.moved_minor) as held_minor
    from holds
    inner join signed_postings
        on
            holds.hold_id = signed_postings.hold_id
            and holds.account_id = signed_postings.account_id
            and holds.currency = signed_postings.currency
    where
        holds.hold_status in ('PENDING', 'PARTIALLY_CAPTURED')
        and signed_postings.layer = 'HELD'
    group by holds.account_id, holds.currency
)

-- Joined on the currency too: a posting in another one is not counted, and the difference shows it.
select
    accounts.account_id,
    accounts.customer_id,
    accounts.currency,
    accounts.account_status,
    accounts.credit_limit_minor,
    accounts.posted_minor,
    accounts.held_minor,
    accounts.credit_limit_minor - accounts.posted_minor - accounts.held_minor as available_minor,
    coalesce(ledger.entries, 0) as ledger_entries,
    coalesce(ledger.posted_minor, 0)::bigint as ledger_posted_minor,
    coalesce(ledger.held_minor, 0)::bigint as ledger_held_minor,
    coalesce(open_holds.held_minor, 0)::bigint as open_holds_minor,
    (accounts.posted_minor - coalesce(ledger.posted_minor, 0))::bigint as posted_difference_minor,
    (accounts.held_minor - coalesce(ledger.held_minor, 0))::bigint as held_difference_minor,
    cut.complete_through_lsn,
    cut.taken_at
from accounts
left join ledger
    on accounts.account_id = ledger.account_id and accounts.currency = ledger.currency
left join open_holds
    on accounts.account_id = open_holds.account_id and accounts.currency = open_holds.currency
cross join cut
