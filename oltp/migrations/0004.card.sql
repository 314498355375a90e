-- Card accounts, cards, authorizations with their holds, and the ledger they move.
-- available = credit_limit_minor - posted_minor - held_minor. The totals sit on the account row,
-- change in the deciding transaction and can be proved from ledger_entries.
-- There is no CHECK that posted + held stays within the limit: limit cuts, fees and force posts
-- may go beyond. An approval may not, and card.decide_and_hold (0006) is what refuses it.
-- depends: 0002.customers

create table card.card_accounts (
    account_id uuid primary key,
    customer_id uuid not null references customer.customers,
    external_ref text unique,
    currency char(3) not null check (currency ~ '^[A-Z]{3}$'),
    credit_limit_minor bigint not null check (credit_limit_minor >= 0),
    -- What the customer owes; negative when the lender owes the customer.
    posted_minor bigint not null default 0,
    held_minor bigint not null default 0 check (held_minor >= 0),
    status text not null default 'ACTIVE'
        check (status in ('ACTIVE', 'FROZEN', 'CLOSED')),
    opened_on date not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
create index on card.card_accounts (customer_id);

create table customer.account_holders (
    account_holder_id uuid primary key,
    account_id uuid not null references card.card_accounts,
    customer_id uuid not null references customer.customers,
    role text not null check (role in ('OWNER', 'AUTHORIZED_USER')),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    unique (account_id, customer_id)
);

create table card.cards (
    card_id uuid primary key,
    account_id uuid not null references card.card_accounts,
    external_ref text unique,
    product text not null check (product in ('CLASSIC', 'JUNIOR', 'GOLD')),
    status text not null default 'ACTIVE'
        check (status in ('ACTIVE', 'BLOCKED', 'LOST', 'STOLEN', 'CLOSED')),
    issued_on date not null,
    expires_on date not null,
    daily_count_limit integer check (daily_count_limit >= 0),
    daily_amount_limit_minor bigint check (daily_amount_limit_minor >= 0),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    check (expires_on > issued_on)
);
create index on card.cards (account_id);

-- One row per idempotency key, for ever: a repeated request is answered from here.
create table card.authorizations (
    authorization_id uuid primary key,
    idempotency_key text not null unique check (idempotency_key <> ''),
    -- SHA-256 of the request's business fields: the same key with another body is a conflict.
    request_hash text not null check (request_hash ~ '^[0-9a-f]{64}$'),
    -- No foreign key: a request for an unknown card is declined (14) and kept.
    card_id uuid not null,
    account_id uuid references card.card_accounts,
    amount_minor bigint not null check (amount_minor >= 0),
    currency char(3) not null check (currency ~ '^[A-Z]{3}$'),
    merchant_id text not null,
    mcc char(4) not null check (mcc ~ '^[0-9]{4}$'),
    merchant_country char(2) not null check (merchant_country ~ '^[A-Z]{2}$'),
    channel text not null check (channel in ('CHIP', 'CONTACTLESS', 'ECOMMERCE', 'ATM')),
    decision text not null check (decision in ('APPROVED', 'DECLINED')),
    response_code char(2) not null check (response_code ~ '^[0-9]{2}$'),
    reason_code text not null
        check (reason_code in ('APPROVED', 'FORMAT_ERROR', 'INVALID_AMOUNT', 'UNKNOWN_CARD', 'CARD_LOST',
            'CARD_STOLEN', 'CARD_NOT_ACTIVE', 'CARD_EXPIRED', 'ACCOUNT_NOT_ACTIVE',
            'CUSTOMER_NOT_ACTIVE', 'KYC_NOT_VALID', 'CURRENCY_NOT_SUPPORTED', 'MERCHANT_NOT_ALLOWED',
            'VELOCITY_EXCEEDED', 'INSUFFICIENT_CREDIT', 'AMOUNT_LIMIT_EXCEEDED',
            'COUNT_LIMIT_EXCEEDED', 'DEADLINE_EXCEEDED', 'DECIDER_UNAVAILABLE')),
    -- Every rule that fired, and the facts and feature values they were decided on.
    rule_hits jsonb not null,
    facts jsonb not null,
    rule_version text not null,
    requested_at timestamptz not null,
    decided_at timestamptz not null,
    created_at timestamptz not null default now(),
    check ((decision = 'APPROVED') = (response_code = '00'))
);
create index on card.authorizations (card_id, decided_at);
create index on card.authorizations (account_id, decided_at);

create table card.holds (
    hold_id uuid primary key,
    authorization_id uuid not null unique references card.authorizations,
    account_id uuid not null references card.card_accounts,
    amount_minor bigint not null check (amount_minor > 0),
    currency char(3) not null check (currency ~ '^[A-Z]{3}$'),
    status text not null default 'PENDING'
        check (status in ('PENDING', 'CAPTURED', 'REVERSED', 'EXPIRED')),
    expires_at timestamptz not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
create index on card.holds (account_id) where status = 'PENDING';

-- Approved spend per card and UTC day, written under the account's lock, so that a
-- count or amount limit holds exactly under concurrent requests.
create table card.card_spend (
    card_id uuid not null references card.cards,
    spend_date date not null,
    approved_count integer not null,
    approved_amount_minor bigint not null,
    primary key (card_id, spend_date)
);

-- Append-only. DEBIT raises what the customer owes (POSTED) or has reserved (HELD).
create table ledger.ledger_entries (
    entry_id uuid primary key,
    account_id uuid not null references card.card_accounts,
    authorization_id uuid references card.authorizations,
    entry_type text not null
        check (entry_type in ('HOLD', 'HOLD_RELEASE', 'PURCHASE', 'WITHDRAWAL', 'DEPOSIT',
            'TRANSFER_IN', 'TRANSFER_OUT', 'PAYMENT', 'INTEREST', 'FEE')),
    bucket text not null check (bucket in ('POSTED', 'HELD')),
    direction text not null check (direction in ('DEBIT', 'CREDIT')),
    amount_minor bigint not null check (amount_minor > 0),
    currency char(3) not null check (currency ~ '^[A-Z]{3}$'),
    effective_at timestamptz not null,
    external_ref text unique,
    created_at timestamptz not null default now()
);
create index on ledger.ledger_entries (account_id);

alter table credit.active_credits
    add foreign key (account_id) references card.card_accounts;
