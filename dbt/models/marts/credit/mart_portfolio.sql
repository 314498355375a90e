with credits as (select * from {{ ref('stg_silver__active_credits') }}),

accounts as (select * from {{ ref('stg_silver__card_accounts') }}),

cards as (select * from {{ ref('stg_silver__cards') }}),

cut as (select * from {{ ref('int_cuts_selected') }}),

items as (
    select
        'credit' as item,
        currency,
        credit_status as status,
        source_status,
        source_status is not null as is_imported,
        principal_minor,
        outstanding_principal_minor,
        0 as credit_limit_minor
    from credits
    union all
    select
        'account' as item,
        currency,
        account_status as status,
        null as source_status,
        external_ref is not null as is_imported,
        0 as principal_minor,
        0 as outstanding_principal_minor,
        credit_limit_minor
    from accounts
    union all
    select
        'card' as item,
        accounts.currency,
        cards.card_status as status,
        null as source_status,
        cards.external_ref is not null as is_imported,
        0 as principal_minor,
        0 as outstanding_principal_minor,
        0 as credit_limit_minor
    from cards
    left join accounts on cards.account_id = accounts.account_id
),

totals as (
    select
        item,
        currency,
        status,
        source_status,
        is_imported,
        count(*) as items,
        sum(principal_minor) as principal_minor,
        sum(outstanding_principal_minor) as outstanding_principal_minor,
        sum(credit_limit_minor) as credit_limit_minor
    from items
    group by item, currency, status, source_status, is_imported
)

select
    totals.item,
    totals.is_imported,
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
