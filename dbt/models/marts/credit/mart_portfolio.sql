with credits as (select * from {{ ref('stg_silver__active_credits') }}),

account_rows as (select * from {{ ref('stg_silver__card_accounts') }}),

cards as (select * from {{ ref('stg_silver__cards') }}),

cut as (select * from {{ ref('int_cuts_selected') }}),

-- external_ref is `<system>:<kind>:<id>`; what has none was made here.
accounts as (
    select
        *,
        coalesce(split_part(external_ref, ':', 1), 'own') as origin
    from account_rows
),

-- Credits and cards come from where their account comes from.
items as (
    select
        'credit' as item,
        coalesce(accounts.origin, 'own') as origin,
        credits.currency,
        credits.credit_status as status,
        credits.source_status,
        credits.principal_minor,
        credits.outstanding_principal_minor,
        0 as credit_limit_minor
    from credits
    left join accounts on credits.account_id = accounts.account_id
    union all
    select
        'account' as item,
        origin,
        currency,
        account_status as status,
        null as source_status,
        0 as principal_minor,
        0 as outstanding_principal_minor,
        credit_limit_minor
    from accounts
    union all
    select
        'card' as item,
        coalesce(accounts.origin, 'own') as origin,
        accounts.currency,
        cards.card_status as status,
        null as source_status,
        0 as principal_minor,
        0 as outstanding_principal_minor,
        0 as credit_limit_minor
    from cards
    left join accounts on cards.account_id = accounts.account_id
),

totals as (
    select
        item,
        origin,
        currency,
        status,
        source_status,
        count(*) as items,
        sum(principal_minor) as principal_minor,
        sum(outstanding_principal_minor) as outstanding_principal_minor,
        sum(credit_limit_minor) as credit_limit_minor
    from items
    group by item, origin, currency, status, source_status
)

select
    totals.item,
    totals.origin,
    totals.currency,
    totals.status,
    totals.source_status,
    totals.items,
    totals.principal_minor::bigint as principal_minor,
    totals.outstanding_principal_minor::bigint as outstanding_principal_minor,
    totals.credit_limit_minor::bigint as credit_limit_minor,
    {{ as_of() }} as as_of_date,
    cut.complete_through_lsn,
    cut.taken_at
from totals
cross join cut
