with accounts as (select * from {{ ref('stg_silver__card_accounts') }}),

postings as (select * from {{ ref('stg_silver__ledger_postings') }}),

holds as (select * from {{ ref('stg_silver__holds') }}),

cut as (select * from {{ ref('int_cuts_selected') }}),

-- A card account's account in the ledger has the same id.
signed_postings as (
    select
        ledger_account_id as account_id,
        entry_id,
        currency,
        layer,
        case direction when 'DEBIT' then amount_minor else -amount_minor end as moved_minor
    from postings
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

open_holds as (
    select
        account_id,
        currency,
        sum(amount_minor) as held_minor
    from holds
    where hold_status = 'PENDING'
    group by account_id, currency
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
