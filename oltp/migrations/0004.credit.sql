-- Applications, offers, disbursed credits, their instalments and what was paid on them.
-- Money is minor units beside its currency; rates are fractions (0.071250 is 7.125 %).
-- No foreign key cascades: deleting a customer with credit records is refused.
-- depends: 0003.provider

create table credit.applications (
    application_id uuid primary key,
    customer_id uuid not null references customer.customers,
    application_number text not null unique,
    requested_amount_minor bigint not null check (requested_amount_minor > 0),
    currency char(3) not null check (currency ~ '^[A-Z]{3}$'),
    term_months integer not null check (term_months between 1 and 480),
    purpose text not null,
    status text not null
        check (status in ('SUBMITTED', 'APPROVED', 'DECLINED', 'WITHDRAWN')),
    decision_reason text,
    decision_rule_version text,
    submitted_at timestamptz not null,
    -- Everything that the decision needs is here from then on: the notice clock starts.
    completed_at timestamptz,
    decided_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    check (completed_at >= submitted_at),
    check (decided_at >= submitted_at),
    check (status <> 'DECLINED' or decision_reason is not null)
);
create index on credit.applications (customer_id);

-- One row for each time a provider was asked; with or without an offer.
create table credit.provider_quotes (
    provider_quote_id uuid primary key,
    provider_id uuid not null references provider.providers,
    application_id uuid not null references credit.applications,
    outcome text not null check (outcome in ('OFFERED', 'DECLINED', 'TIMEOUT', 'ERROR')),
    offers integer not null default 0 check (offers >= 0),
    requested_at timestamptz not null,
    answered_at timestamptz,
    latency_ms integer check (latency_ms >= 0),
    created_at timestamptz not null default now(),
    check (answered_at >= requested_at),
    check ((outcome = 'OFFERED') = (offers > 0))
);
create index on credit.provider_quotes (application_id);

create table credit.offers (
    offer_id uuid primary key,
    application_id uuid not null references credit.applications,
    -- The provider's name as the customer saw it; provider_id is null for imported offers.
    provider text not null,
    provider_id uuid references provider.providers,
    offer_reference text,
    amount_minor bigint not null check (amount_minor > 0),
    currency char(3) not null check (currency ~ '^[A-Z]{3}$'),
    interest_rate numeric(9, 6) not null check (interest_rate >= 0 and interest_rate <> 'NaN'),
    apr numeric(9, 6) not null check (apr >= interest_rate and apr <> 'NaN'),
    term_months integer not null check (term_months between 1 and 480),
    monthly_payment_minor bigint not null check (monthly_payment_minor > 0),
    total_repayment_minor bigint check (total_repayment_minor >= amount_minor),
    collateral_required boolean not null default false,
    status text not null
        check (status in ('PRESENTED', 'ACCEPTED', 'DECLINED', 'EXPIRED')),
    valid_until timestamptz not null,
    accepted_at timestamptz check (accepted_at <= valid_until),
    declined_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    unique (provider_id, offer_reference),
    check (accepted_at is null or status = 'ACCEPTED'),
    check (declined_at is null or status = 'DECLINED')
);
create index on credit.offers (application_id);
-- An application is financed once.
create unique index one_accepted_offer on credit.offers (application_id)
    where status = 'ACCEPTED';

create table credit.offer_fees (
    offer_fee_id uuid primary key,
    offer_id uuid not null references credit.offers,
    fee_type text not null
        check (fee_type in ('ORIGINATION', 'BROKER', 'INSURANCE', 'VALUATION', 'LATE', 'PREPAYMENT',
            'ACCOUNT')),
    amount_minor bigint not null check (amount_minor > 0),
    currency char(3) not null check (currency ~ '^[A-Z]{3}$'),
    -- Part of the finance charge, so the APR has it; a fee for paying late has not.
    is_in_apr boolean not null,
    is_financed boolean not null default false,
    created_at timestamptz not null default now(),
    check (fee_type not in ('ORIGINATION', 'BROKER') or is_in_apr),
    check (fee_type not in ('LATE', 'PREPAYMENT') or not is_in_apr)
);
create index on credit.offer_fees (offer_id);

create table credit.active_credits (
    credit_id uuid primary key,
    customer_id uuid not null references customer.customers,
    account_id uuid,
    offer_id uuid references credit.offers,
    credit_number text not null unique,
    principal_minor bigint not null check (principal_minor > 0),
    -- Moved by ledger postings and by nothing else; the first one is the disbursement.
    outstanding_principal_minor bigint not null default 0
        check (outstanding_principal_minor between 0 and principal_minor),
    currency char(3) not null check (currency ~ '^[A-Z]{3}$'),
    interest_rate numeric(9, 6) not null check (interest_rate >= 0 and interest_rate <> 'NaN'),
    term_months integer not null check (term_months between 1 and 480),
    monthly_payment_minor bigint not null check (monthly_payment_minor > 0),
    status text not null
        check (status in ('CURRENT', 'DELINQUENT', 'PAID_OFF', 'CHARGED_OFF', 'RESTRUCTURED')),
    -- The code of the system a credit was imported from, kept as it came.
    source_status text,
    -- Payments are known up to this day; null means they are followed live.
    observed_through date,
    disbursed_on date not null,
    matures_on date not null,
    -- A restructured credit is replaced: the new one pays off its principal.
    replaces_credit_id uuid unique references credit.active_credits,
    charged_off_on date,
    closed_on date,
    smart_contract_address text,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    check (matures_on > disbursed_on),
    check (charged_off_on >= disbursed_on),
    check (closed_on >= disbursed_on),
    check (charged_off_on is null or status = 'CHARGED_OFF'),
    check (replaces_credit_id <> credit_id)
);
create index on credit.active_credits (customer_id);

-- The schedule. `due` and `paid` are principal and interest; fees stand beside them.
create table credit.payments (
    payment_id uuid primary key,
    credit_id uuid not null references credit.active_credits,
    installment_number integer not null check (installment_number > 0),
    due_date date not null,
    due_amount_minor bigint not null check (due_amount_minor > 0),
    principal_minor bigint not null check (principal_minor >= 0),
    interest_minor bigint not null check (interest_minor >= 0),
    paid_amount_minor bigint not null default 0 check (paid_amount_minor >= 0),
    fees_minor bigint not null default 0 check (fees_minor >= 0),
    fees_paid_minor bigint not null default 0 check (fees_paid_minor between 0 and fees_minor),
    paid_at timestamptz,
    currency char(3) not null check (currency ~ '^[A-Z]{3}$'),
    -- CANCELLED: not owed any more (paid before its time, or replaced by another schedule).
    status text not null default 'SCHEDULED'
        check (status in ('SCHEDULED', 'PARTIAL', 'PAID', 'CANCELLED')),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    unique (credit_id, installment_number),
    check (due_amount_minor = principal_minor + interest_minor),
    check (status <> 'PAID' or (paid_at is not null and paid_amount_minor >= due_amount_minor))
);
-- What is unpaid, by due date: `today` belongs to the query, an index has no clock.
create index payments_unpaid on credit.payments (due_date) where status in ('SCHEDULED', 'PARTIAL');

-- Money that arrived, whole, and what it was taken for. What fits nothing waits in suspense.
create table credit.payment_receipts (
    payment_receipt_id uuid primary key,
    credit_id uuid not null references credit.active_credits,
    amount_minor bigint not null check (amount_minor > 0),
    currency char(3) not null check (currency ~ '^[A-Z]{3}$'),
    method text not null
        check (method in ('DIRECT_DEBIT', 'TRANSFER', 'CARD', 'CASH', 'CHECK', 'PAYROLL',
            'REFINANCING')),
    received_at timestamptz not null,
    principal_minor bigint not null default 0 check (principal_minor >= 0),
    interest_minor bigint not null default 0 check (interest_minor >= 0),
    fees_minor bigint not null default 0 check (fees_minor >= 0),
    suspense_minor bigint not null default 0 check (suspense_minor >= 0),
    status text not null default 'RECEIVED' check (status in ('RECEIVED', 'RETURNED')),
    returned_at timestamptz,
    return_reason text,
    external_ref text unique,
    transaction_hash text,
    -- The ledger entry that booked it.
    entry_id uuid,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    check (amount_minor = principal_minor + interest_minor + fees_minor + suspense_minor),
    check ((status = 'RETURNED') = (returned_at is not null)),
    check (returned_at >= received_at),
    check (status <> 'RETURNED' or return_reason is not null)
);
create index on credit.payment_receipts (credit_id);

-- Which instalments a receipt settled.
create table credit.receipt_allocations (
    receipt_allocation_id uuid primary key,
    payment_receipt_id uuid not null references credit.payment_receipts,
    payment_id uuid not null references credit.payments,
    principal_minor bigint not null check (principal_minor >= 0),
    interest_minor bigint not null check (interest_minor >= 0),
    fees_minor bigint not null default 0 check (fees_minor >= 0),
    created_at timestamptz not null default now(),
    unique (payment_receipt_id, payment_id),
    check (principal_minor + interest_minor + fees_minor > 0)
);
create index on credit.receipt_allocations (payment_id);

-- What happened to a credit beside its payments, with the terms before and after. Append-only.
create table credit.credit_events (
    credit_event_id uuid primary key,
    credit_id uuid not null references credit.active_credits,
    event_type text not null
        check (event_type in ('DISBURSED', 'RESTRUCTURED', 'RE_AGED', 'CURED', 'CHARGED_OFF',
            'PAID_OFF')),
    effective_on date not null,
    occurred_at timestamptz not null,
    days_past_due integer check (days_past_due >= 0),
    amount_minor bigint check (amount_minor >= 0),
    currency char(3) not null check (currency ~ '^[A-Z]{3}$'),
    old_interest_rate numeric(9, 6)
        check (old_interest_rate >= 0 and old_interest_rate <> 'NaN'),
    new_interest_rate numeric(9, 6)
        check (new_interest_rate >= 0 and new_interest_rate <> 'NaN'),
    old_term_months integer check (old_term_months between 1 and 480),
    new_term_months integer check (new_term_months between 1 and 480),
    old_monthly_payment_minor bigint check (old_monthly_payment_minor > 0),
    new_monthly_payment_minor bigint check (new_monthly_payment_minor > 0),
    reason text,
    created_at timestamptz not null default now(),
    check (event_type <> 'RESTRUCTURED' or (old_interest_rate is not null
        and new_interest_rate is not null and old_term_months is not null
        and new_term_months is not null)),
    check (event_type <> 'CHARGED_OFF' or coalesce(amount_minor, 0) > 0)
);
create index on credit.credit_events (credit_id);

-- Money got back after a charge-off, on a loan or on a card account.
create table credit.recoveries (
    recovery_id uuid primary key,
    customer_id uuid not null references customer.customers,
    credit_id uuid references credit.active_credits,
    account_id uuid,
    source text not null
        check (source in ('CUSTOMER', 'COLLECTION_AGENCY', 'LEGAL', 'COLLATERAL', 'DEBT_SALE',
            'INSURANCE')),
    amount_minor bigint not null check (amount_minor > 0),
    cost_minor bigint not null default 0 check (cost_minor >= 0),
    currency char(3) not null check (currency ~ '^[A-Z]{3}$'),
    received_at timestamptz not null,
    entry_id uuid,
    created_at timestamptz not null default now(),
    check ((credit_id is null) <> (account_id is null))
);
create index on credit.recoveries (customer_id);

create table credit.collateral_positions (
    collateral_position_id uuid primary key,
    customer_id uuid not null references customer.customers,
    offer_id uuid references credit.offers,
    credit_id uuid references credit.active_credits,
    collateral_type text not null
        check (collateral_type in ('VEHICLE', 'PROPERTY', 'DEPOSIT', 'SECURITIES', 'CRYPTO',
            'GUARANTEE')),
    description text,
    value_minor bigint not null check (value_minor > 0),
    currency char(3) not null check (currency ~ '^[A-Z]{3}$'),
    lien_position integer not null default 1 check (lien_position > 0),
    status text not null default 'PLEDGED'
        check (status in ('PLEDGED', 'RELEASED', 'SEIZED')),
    valued_at timestamptz not null,
    released_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    check (offer_id is not null or credit_id is not null),
    check ((status = 'PLEDGED') = (released_at is null))
);
create index on credit.collateral_positions (credit_id);

-- The notice that a refusal owes: its clock, its score and its reasons.
create table credit.adverse_action_notices (
    adverse_action_notice_id uuid primary key,
    customer_id uuid not null references customer.customers,
    application_id uuid references credit.applications,
    credit_id uuid references credit.active_credits,
    account_id uuid,
    action text not null
        check (action in ('DECLINED', 'COUNTEROFFERED', 'INCOMPLETE', 'TERMINATED',
            'LIMIT_REDUCED')),
    clock_started_at timestamptz not null,
    due_on date not null,
    sent_at timestamptz,
    status text not null default 'DUE'
        check (status in ('DUE', 'SENT', 'UNDELIVERABLE')),
    bureau text,
    score integer check (score >= 0),
    score_minimum integer,
    score_maximum integer,
    scored_on date,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    check (num_nonnulls(application_id, credit_id, account_id) = 1),
    check ((status = 'DUE') = (sent_at is null)),
    check (sent_at >= clock_started_at),
    check (score between score_minimum and score_maximum),
    check ((score is null) = (bureau is null) and (score is null) = (scored_on is null))
);
create index on credit.adverse_action_notices (customer_id);

create table credit.adverse_action_reasons (
    adverse_action_reason_id uuid primary key,
    adverse_action_notice_id uuid not null references credit.adverse_action_notices,
    rank integer not null check (rank between 1 and 5),
    reason_code text not null
        check (reason_code in ('INCOME_INSUFFICIENT', 'EXCESSIVE_OBLIGATIONS', 'DELINQUENT_HISTORY',
            'INSUFFICIENT_HISTORY', 'EMPLOYMENT_UNVERIFIED', 'IDENTITY_UNVERIFIED',
            'COLLATERAL_INSUFFICIENT', 'TOO_MANY_INQUIRIES', 'APPLICATION_INCOMPLETE',
            'UTILIZATION_TOO_HIGH', 'BANKRUPTCY')),
    feature text,
    contribution numeric(9, 6) check (contribution <> 'NaN'),
    created_at timestamptz not null default now(),
    unique (adverse_action_notice_id, rank),
    unique (adverse_action_notice_id, reason_code)
);

-- One row per customer and currency. Credits and unpaid instalments are summed apart before they
-- meet: a join of both would count a credit once for each of its instalments.
create view credit.customer_credit_summary with (security_invoker = true) as
with
unpaid as (
    select
        i.credit_id,
        min(i.due_date) as next_due_date,
        sum(i.due_amount_minor - i.paid_amount_minor) as unpaid_minor
    from credit.payments as i
    where i.status in ('SCHEDULED', 'PARTIAL')
    group by i.credit_id
),

credits as (
    select
        a.customer_id,
        a.currency,
        a.outstanding_principal_minor,
        a.disbursed_on,
        a.status in ('CURRENT', 'DELINQUENT') as is_open,
        u.next_due_date,
        u.unpaid_minor
    from credit.active_credits as a
    left join unpaid as u on a.credit_id = u.credit_id
)

select
    c.customer_id,
    c.currency,
    count(*) filter (where c.is_open) as open_credits,
    coalesce(sum(c.outstanding_principal_minor) filter (where c.is_open), 0)::bigint
        as outstanding_principal_minor,
    min(c.next_due_date) filter (where c.is_open) as next_due_date,
    coalesce(sum(c.unpaid_minor) filter (where c.is_open), 0)::bigint as unpaid_instalments_minor,
    max(c.disbursed_on) as last_disbursed_on
from credits as c
group by c.customer_id, c.currency;
