-- A fact has exactly the rows of its staging model: no join multiplied or dropped one.
with counts as (
    select
        'fct_authorizations' as fact,
        (select count(*) from {{ ref('stg_silver__authorizations') }}) as expected,
        (select count(*) from {{ ref('fct_authorizations') }}) as found
    union all
    select
        'fct_payments' as fact,
        (select count(*) from {{ ref('stg_silver__payments') }}) as expected,
        (select count(*) from {{ ref('fct_payments') }}) as found
    union all
    select
        'mart_account_balances' as fact,
        (select count(*) from {{ ref('stg_silver__card_accounts') }}) as expected,
        (select count(*) from {{ ref('mart_account_balances') }}) as found
    union all
    select
        'mart_kyc_status' as fact,
        (select count(*) from {{ ref('stg_silver__customers') }}) as expected,
        (select count(*) from {{ ref('mart_kyc_status') }}) as found
)

select * from counts
where expected <> found
