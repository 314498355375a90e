-- Money received pays the oldest instalment first, whichever row it was booked on. A cancelled
-- instalment is not owed, and what was booked on it has settled what it settled.
with payments as (select * from {{ ref('stg_silver__payments') }}),

credits as (select * from {{ ref('stg_silver__active_credits') }}),

dated as (
    select
        payments.*,
        credits.customer_id,
        -- A credit that ended well owes nothing, even where its last payments were not observed;
        -- what a restructured one owed is owed on the credit that replaces it.
        coalesce(credits.credit_status in ('PAID_OFF', 'RESTRUCTURED'), false) as is_ended,
        coalesce(payments.payment_status = 'CANCELLED', false) as is_cancelled,
        -- least() passes over null: a credit followed live is known up to the day asked for.
        least({{ as_of() }}, credits.observed_through) as known_through
    from payments
    left join credits on payments.credit_id = credits.credit_id
),

received as (
    select
        *,
        case
            when paid_at is null or {{ utc_date('paid_at') }} <= known_through
                then paid_amount_minor
            else 0
        end as received_amount_minor
    from dated
),

running as (
    select
        *,
        sum(due_amount_minor) filter (where not is_cancelled) over (
            partition by credit_id
            order by due_date, installment_number, payment_id
            rows between unbounded preceding and current row
        ) as due_so_far_minor,
        coalesce(
            sum(received_amount_minor) filter (where not is_cancelled)
                over (partition by credit_id),
            0
        ) as received_in_all_minor
    from received
)

select
    payment_id,
    credit_id,
    customer_id,
    currency,
    installment_number,
    due_date,
    due_amount_minor,
    received_amount_minor,
    known_through,
    case
        when is_ended or is_cancelled then 0
        else greatest(0, least(due_amount_minor, due_so_far_minor - received_in_all_minor))
    end::bigint as unpaid_amount_minor
from running
