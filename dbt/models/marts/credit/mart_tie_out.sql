-- What a cut's operational totals are compared with. The measures are `rows` and each contract's
-- `money`; tests/dbt holds this list and the contracts together.
{% set money = {
    'account_holders': [],
    'active_credits': ['principal_minor', 'outstanding_principal_minor'],
    'applications': ['requested_amount_minor'],
    'authorizations': ['amount_minor'],
    'card_accounts': ['credit_limit_minor', 'posted_minor', 'held_minor'],
    'cards': [],
    'customers': [],
    'holds': ['amount_minor'],
    'kyc_records': [],
    'ledger_entries': [],
    'ledger_postings': ['amount_minor'],
    'offers': ['amount_minor'],
    'payments': ['due_amount_minor', 'paid_amount_minor'],
} %}
with measures as (
    {% for entity, columns in money.items() %}
        select
            '{{ entity }}' as entity,
            'rows' as measure,
            '' as currency,
            count(*) as row_count,
            0::numeric as amount_minor
        from {{ ref('stg_silver__' ~ entity) }}
        {% for column in columns %}
            union all
            select
                '{{ entity }}' as entity,
                '{{ column }}' as measure,
                currency,
                count(*) as row_count,
                sum({{ column }}) as amount_minor
            from {{ ref('stg_silver__' ~ entity) }}
            group by currency
        {% endfor %}
        {% if not loop.last %}
            union all
        {% endif %}
    {% endfor %}
),

cut as (select * from {{ ref('int_cuts_selected') }})

select
    measures.entity,
    measures.measure,
    measures.currency,
    measures.row_count,
    measures.amount_minor::numeric(38, 0) as amount_minor,
    cut.cut_id,
    cut.complete_through_lsn,
    cut.taken_at
from measures
cross join cut
