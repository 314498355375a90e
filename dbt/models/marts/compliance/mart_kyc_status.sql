with customers as (select * from {{ ref('stg_silver__customers') }}),

records as (select * from {{ ref('stg_silver__kyc_records') }}),

accounts as (select * from {{ ref('stg_silver__card_accounts') }}),

credits as (select * from {{ ref('stg_silver__active_credits') }}),

applications as (select * from {{ ref('stg_silver__applications') }}),

cut as (select * from {{ ref('int_cuts_selected') }}),

-- In scope: whoever has a product that is not closed, or has asked for one.
in_scope as (
    select customer_id from accounts where account_status <> 'CLOSED'
    union
    select customer_id from credits where credit_status in ('CURRENT', 'DELINQUENT')
    union
    select customer_id from applications where application_status = 'SUBMITTED'
),

-- A check lapses on its expiry day. Checks made after the day asked for are not known yet.
dated as (
    select
        *,
        {{ utc_date('expires_at') }} as expires_date,
        kyc_status = 'VERIFIED'
        and (expires_at is null or {{ utc_date('expires_at') }} > {{ as_of() }}) as is_valid
    from records
    where {{ utc_date('coalesce(verified_at, created_at)') }} <= {{ as_of() }}
),

checks_per_customer as (
    select
        customer_id,
        count(*) as checks,
        bool_or(is_valid) as has_valid,
        bool_or(is_valid and verification_type = 'ENHANCED') as has_valid_enhanced,
        bool_or(is_valid and expires_date is null) as has_valid_unlimited,
        bool_or(kyc_status = 'VERIFIED') as has_verified,
        bool_or(kyc_status = 'PENDING') as has_pending,
        bool_or(risk_level = 'HIGH') as is_high_risk,
        max(expires_date) filter (where kyc_status = 'VERIFIED') as last_expires_date,
        max(verified_at) filter (where kyc_status = 'VERIFIED') as last_verified_at
    from dated
    group by customer_id
),

judged as (
    select
        customers.customer_id,
        customers.customer_status,
        customers.country,
        customers.customer_status = 'ACTIVE' and in_scope.customer_id is not null as is_in_scope,
        coalesce(checks.checks, 0) as checks,
        -- The best of all checks counts.
        case
            when checks.customer_id is null then 'NEVER_CHECKED'
            when checks.has_valid then 'VALID'
            when checks.has_verified then 'EXPIRED'
            when checks.has_pending then 'PENDING'
            else 'REJECTED'
        end as kyc_status,
        case when checks.has_valid_unlimited is not true then checks.last_expires_date end
            as expires_date,
        checks.last_verified_at,
        coalesce(checks.is_high_risk, false) as is_high_risk,
        coalesce(checks.is_high_risk and not checks.has_valid_enhanced, false)
            as is_high_risk_without_enhanced
    from customers
    left join in_scope on customers.customer_id = in_scope.customer_id
    left join checks_per_customer as checks on customers.customer_id = checks.customer_id
)

select
    judged.customer_id,
    judged.customer_status,
    judged.country,
    judged.is_in_scope,
    judged.checks,
    judged.kyc_status,
    judged.expires_date,
    judged.expires_date - {{ as_of() }} as days_to_expiry,
    judged.kyc_status = 'VALID' and coalesce(judged.expires_date <= {{ as_of() }} + 30, false)
        as expires_in_30_days,
    judged.kyc_status = 'VALID' and coalesce(judged.expires_date <= {{ as_of() }} + 60, false)
        as expires_in_60_days,
    judged.kyc_status = 'VALID' and coalesce(judged.expires_date <= {{ as_of() }} + 90, false)
        as expires_in_90_days,
    judged.last_verified_at,
    judged.is_high_risk,
    judged.is_high_risk_without_enhanced,
    {{ as_of() }} as as_of_date,
    cut.complete_through_lsn,
    cut.taken_at
from judged
cross join cut
