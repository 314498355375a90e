-- Applications, offers, disbursed credits and their instalments.
-- Money is minor units beside its currency; rates are fractions (0.071250 is 7.125 %).
-- No foreign key cascades: deleting a customer with credit records is refused.
-- depends: 0002.customers

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
    submitted_at timestamptz not null,
    decided_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    check (decided_at >= submitted_at),
    check (status <> 'DECLINED' or decision_reason is not null)
);
create index on credit.applications (customer_id);

create table credit.offers (
    offer_id uuid primary key,
    application_id uuid not null references credit.applications,
    provider text not null,
    amount_minor bigint not null check (amount_minor > 0),
    currency char(3) not null check (currency ~ '^[A-Z]{3}$'),
    interest_rate numeric(9, 6) not null check (interest_rate >= 0 and interest_rate <> 'NaN'),
    apr numeric(9, 6) not null check (apr >= interest_rate and apr <> 'NaN'),
    term_months integer not null check (term_months between 1 and 480),
    monthly_payment_minor bigint not null check (monthly_payment_minor > 0),
    status text not null
        check (status in ('PRESENTED', 'ACCEPTED', 'DECLINED', 'EXPIRED')),
    valid_until timestamptz not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
create index on credit.offers (application_id);

create table credit.active_credits (
    credit_id uuid primary key,
    customer_id uuid not null references customer.customers,
    account_id uuid,
    offer_id uuid references credit.offers,
    credit_number text not null unique,
    principal_minor bigint not null check (principal_minor > 0),
    outstanding_principal_minor bigint not null
        check (outstanding_principal_minor between 0 and principal_minor),
    currency char(3) not null check (currency ~ '^[A-Z]{3}$'),
    interest_rate numeric(9, 6) not null check (interest_rate >= 0 and interest_rate <> 'NaN'),
    term_months integer not null check (term_months between 1 and 480),
    monthly_payment_minor bigint not null check (monthly_payment_minor > 0),
    status text not null
        check (status in ('CURRENT', 'DELINQUENT', 'PAID_OFF', 'CHARGED_OFF')),
    -- The code of the system a credit was imported from, kept as it came.
    source_status text,
    -- Payments are known up to this day; null means they are followed live.
    observed_through date,
    disbursed_on date not null,
    matures_on date not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    check (matures_on > disbursed_on)
);
create index on credit.active_credits (customer_id);

create table credit.payments (
    payment_id uuid primary key,
    credit_id uuid not null references credit.active_credits,
    installment_number integer not null check (installment_number > 0),
    due_date date not null,
    due_amount_minor bigint not null check (due_amount_minor > 0),
    principal_minor bigint not null check (principal_minor >= 0),
    interest_minor bigint not null check (interest_minor >= 0),
    paid_amount_minor bigint not null default 0 check (paid_amount_minor >= 0),
    paid_at timestamptz,
    currency char(3) not null check (currency ~ '^[A-Z]{3}$'),
    status text not null default 'SCHEDULED'
        check (status in ('SCHEDULED', 'PARTIAL', 'PAID')),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    unique (credit_id, installment_number),
    check (due_amount_minor = principal_minor + interest_minor),
    check (status <> 'PAID' or (paid_at is not null and paid_amount_minor >= due_amount_minor))
);
