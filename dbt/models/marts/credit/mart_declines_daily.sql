with authorizations as (select * from {{ ref('fct_authorizations') }}),

declines as (select * from authorizations where not is_approved)

select
    decided_date,
    currency,
    reason_code,
    response_code,
    count(*) as declined,
    sum(amount_minor)::bigint as declined_amount_minor
from declines
group by decided_date, currency, reason_code, response_code
