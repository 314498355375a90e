-- Card accounts, cards, authorizations with their holds, what the network sends about them, disputes,
-- and cash.
-- available = credit_limit_minor - posted_minor - held_minor. The totals sit on the account row,
-- change with ledger postings and can be proved from them.
-- There is no CHECK that posted + held stays within the limit: limit cuts, fees and force posts
-- may go beyond. An approval may not, and card.decide_and_hold (0009) is what refuses it.
-- depends: 0006.risk

create table card.merchants (
    merchant_id text primary key check (merchant_id <> ''),
    name text not null,
    mcc char(4) not null check (mcc ~ '^[0-9]{4}$'),
    country char(2) not null check (country ~ '^[A-Z]{2}$'),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

create function card.is_time_zone(wanted text) returns boolean
language sql stable
return exists (select from pg_timezone_names as z where z.name = wanted);

-- What accounts have in common: when their day begins, and what may be approved for a card while nobody
-- can decide.
create table card.programs (
    program_id text primary key check (program_id ~ '^[a-z][a-z0-9_]*$'),
    name text not null,
    time_zone text not null default 'UTC' check (card.is_time_zone(time_zone)),
    -- Accounts are lines with collateral: their health is judged.
    is_collateralized boolean not null default false,
    stand_in_amount_minor bigint not null default 0 check (stand_in_amount_minor >= 0),
    stand_in_count integer not null default 0 check (stand_in_count >= 0),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
insert into card.programs (
    program_id, name, time_zone, is_collateralized, stand_in_amount_minor, stand_in_count, created_at,
    updated_at)
values
    ('standard', 'Standard', 'UTC', false, 5000, 3, '2020-01-01Z', '2020-01-01Z'),
    ('collateral', 'Line with collateral', 'UTC', true, 0, 0, '2020-01-01Z', '2020-01-01Z');

create table card.card_accounts (
    account_id uuid primary key,
    customer_id uuid not null references customer.customers,
    program_id text not null default 'standard' references card.programs,
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

create table card.cards (
    card_id uuid primary key,
    account_id uuid not null references card.card_accounts,
    external_ref text unique,
    product text not null check (product in ('CLASSIC', 'JUNIOR', 'GOLD')),
    status text not null default 'ACTIVE'
        check (status in ('ACTIVE', 'BLOCKED', 'LOST', 'STOLEN', 'CLOSED')),
    issued_on date not null,
    expires_on date not null,
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
    message_kind text not null default 'PURCHASE'
        check (message_kind in ('PURCHASE', 'VERIFICATION', 'INCREMENT', 'ADVICE')),
    -- An increment raises the hold of an earlier authorization.
    parent_authorization_id uuid references card.authorizations,
    -- No foreign key: a request for an unknown card is declined (14) and kept.
    card_id uuid not null,
    account_id uuid references card.card_accounts,
    amount_minor bigint not null check (amount_minor >= 0),
    -- What was approved of it. Null: all of it, or nothing when declined.
    approved_amount_minor bigint check (approved_amount_minor between 0 and amount_minor),
    currency char(3) not null check (currency ~ '^[A-Z]{3}$'),
    merchant_id text not null,
    mcc char(4) not null check (mcc ~ '^[0-9]{4}$'),
    merchant_country char(2) not null check (merchant_country ~ '^[A-Z]{2}$'),
    channel text not null check (channel in ('CHIP', 'CONTACTLESS', 'ECOMMERCE', 'ATM')),
    network text not null default 'DOMESTIC'
        check (network in ('VISA', 'MASTERCARD', 'AMEX', 'DOMESTIC')),
    -- Where the terminal stands, in millionths of a degree.
    terminal_latitude_e6 integer check (terminal_latitude_e6 between -90000000 and 90000000),
    terminal_longitude_e6 integer check (terminal_longitude_e6 between -180000000 and 180000000),
    decision text not null check (decision in ('APPROVED', 'DECLINED')),
    response_code char(2) not null check (response_code ~ '^[0-9]{2}$'),
    reason_code text not null
        check (reason_code in ('APPROVED', 'PARTIALLY_APPROVED', 'FORMAT_ERROR', 'INVALID_AMOUNT',
            'UNKNOWN_CARD', 'CARD_LOST', 'CARD_STOLEN', 'CARD_NOT_ACTIVE', 'CARD_EXPIRED',
            'ACCOUNT_NOT_ACTIVE', 'CUSTOMER_NOT_ACTIVE', 'KYC_NOT_VALID', 'CURRENCY_NOT_SUPPORTED',
            'MERCHANT_NOT_ALLOWED', 'VELOCITY_EXCEEDED', 'INSUFFICIENT_CREDIT',
            'AMOUNT_LIMIT_EXCEEDED', 'COUNT_LIMIT_EXCEEDED', 'DEADLINE_EXCEEDED',
            'DECIDER_UNAVAILABLE', 'SANCTIONED', 'MCC_NOT_ALLOWED', 'COUNTRY_NOT_ALLOWED',
            'IMPOSSIBLE_TRAVEL', 'RISK_TOO_HIGH', 'HEALTH_TOO_LOW', 'PRICE_STALE',
            'ORIGINAL_NOT_FOUND', 'ORIGINAL_ENDED', 'STAND_IN_APPROVED', 'STAND_IN_DECLINED')),
    -- Answered by the stand-in policy because the decider was late or away.
    is_stand_in boolean not null default false,
    -- Every rule that fired, and the facts and feature values they were decided on.
    rule_hits jsonb not null,
    facts jsonb not null,
    rule_version text not null,
    -- The number of this decision in the life of its card (card.card_states), and what was available
    -- on the account when it was judged. Null for history that was decided elsewhere.
    card_version bigint check (card_version > 0),
    available_minor bigint,
    requested_at timestamptz not null,
    decided_at timestamptz not null,
    -- When it was judged, under the account's lock: comparable with the journal's ledger.entries.
    created_at timestamptz not null default clock_timestamp(),
    check ((decision = 'APPROVED') = (response_code in ('00', '10'))),
    check ((response_code = '10') = (reason_code = 'PARTIALLY_APPROVED')),
    check (decision = 'APPROVED' or coalesce(approved_amount_minor, 0) = 0),
    check (response_code <> '10'
        or coalesce(approved_amount_minor > 0 and approved_amount_minor < amount_minor, false)),
    check (message_kind <> 'VERIFICATION' or amount_minor = 0),
    check (message_kind <> 'INCREMENT' or decision = 'DECLINED'
        or parent_authorization_id is not null),
    check (message_kind in ('INCREMENT', 'ADVICE') or parent_authorization_id is null)
);
create index on card.authorizations (card_id, decided_at);
create index on card.authorizations (account_id, decided_at);
create index on card.authorizations (parent_authorization_id)
    where parent_authorization_id is not null;

-- One hold for each approval that took something. An increment raises it, a clearing captures it.
create table card.holds (
    hold_id uuid primary key,
    authorization_id uuid not null unique references card.authorizations,
    account_id uuid not null references card.card_accounts,
    amount_minor bigint not null check (amount_minor > 0),
    -- Cleared against it so far: may be more than was held.
    captured_amount_minor bigint not null default 0 check (captured_amount_minor >= 0),
    currency char(3) not null check (currency ~ '^[A-Z]{3}$'),
    status text not null default 'PENDING'
        check (status in ('PENDING', 'PARTIALLY_CAPTURED', 'CAPTURED', 'REVERSED', 'EXPIRED')),
    expires_at timestamptz not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
create index on card.holds (account_id) where status in ('PENDING', 'PARTIALLY_CAPTURED');
create index on card.holds (expires_at) where status in ('PENDING', 'PARTIALLY_CAPTURED');

-- What was presented for payment: of an authorization, or (force post) of none.
create table card.clearings (
    clearing_id uuid primary key,
    account_id uuid not null references card.card_accounts,
    card_id uuid,
    authorization_id uuid references card.authorizations,
    hold_id uuid references card.holds,
    kind text not null
        check (kind in ('CLEARING', 'OVER_CAPTURE', 'LATE_CLEARING', 'FORCE_POST', 'REFUND')),
    amount_minor bigint not null check (amount_minor > 0),
    currency char(3) not null check (currency ~ '^[A-Z]{3}$'),
    sequence_number integer not null default 1 check (sequence_number > 0),
    is_final boolean not null default true,
    merchant_id text,
    mcc char(4) check (mcc ~ '^[0-9]{4}$'),
    merchant_country char(2) check (merchant_country ~ '^[A-Z]{2}$'),
    network_ref text unique,
    -- The ledger entry that posted it.
    entry_id uuid,
    cleared_at timestamptz not null,
    created_at timestamptz not null default now(),
    check (kind not in ('CLEARING', 'OVER_CAPTURE', 'LATE_CLEARING') or authorization_id is not null),
    check (kind <> 'FORCE_POST' or authorization_id is null)
);
create index on card.clearings (account_id, cleared_at);
create index on card.clearings (authorization_id) where authorization_id is not null;

create table card.disputes (
    dispute_id uuid primary key,
    account_id uuid not null references card.card_accounts,
    card_id uuid,
    authorization_id uuid references card.authorizations,
    clearing_id uuid references card.clearings,
    reason text not null
        check (reason in ('FRAUD', 'NOT_RECEIVED', 'NOT_AS_DESCRIBED', 'DUPLICATE',
            'INCORRECT_AMOUNT', 'CREDIT_NOT_PROCESSED', 'CANCELLED_RECURRING')),
    status text not null default 'OPENED'
        check (status in ('OPENED', 'CHARGEBACK', 'REPRESENTMENT', 'WON', 'LOST', 'WITHDRAWN')),
    amount_minor bigint not null check (amount_minor > 0),
    currency char(3) not null check (currency ~ '^[A-Z]{3}$'),
    provisional_entry_id uuid,
    resolution_entry_id uuid,
    opened_at timestamptz not null,
    resolved_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    check ((status in ('WON', 'LOST', 'WITHDRAWN')) = (resolved_at is not null)),
    check (resolved_at >= opened_at)
);
create index on card.disputes (account_id);
create index on card.disputes (authorization_id) where authorization_id is not null;

-- Every message in the life of a card and its authorizations, in the order they happened. Append-only,
-- by month. The primary key has the partition's column, as Postgres asks.
create table card.card_events (
    card_event_id uuid not null,
    occurred_at timestamptz not null,
    account_id uuid not null references card.card_accounts,
    card_id uuid,
    authorization_id uuid,
    hold_id uuid,
    event_type text not null
        check (event_type in ('AUTHORIZATION', 'VERIFICATION', 'INCREMENT', 'ADVICE',
            'PARTIAL_REVERSAL', 'REVERSAL', 'EXPIRY', 'CLEARING', 'OVER_CAPTURE', 'LATE_CLEARING',
            'FORCE_POST', 'REFUND', 'DISPUTE', 'CHARGEBACK', 'REPRESENTMENT', 'DISPUTE_WON',
            'DISPUTE_LOST', 'CARD_ISSUED', 'CARD_BLOCKED', 'CARD_UNBLOCKED', 'CARD_LOST',
            'CARD_STOLEN', 'CARD_CLOSED', 'LIMIT_CHANGED')),
    amount_minor bigint check (amount_minor >= 0),
    currency char(3) check (currency ~ '^[A-Z]{3}$'),
    response_code char(2) check (response_code ~ '^[0-9]{2}$'),
    network_ref text,
    created_at timestamptz not null default now(),
    primary key (card_event_id, occurred_at),
    check ((amount_minor is null) = (currency is null))
) partition by range (occurred_at);
create index on card.card_events (account_id, occurred_at);
create index on card.card_events (authorization_id) where authorization_id is not null;

-- A month that nobody made ahead refuses nothing.
create table card.card_events_default partition of card.card_events default;

-- Makes the months from one day to another that are not there yet; says how many it made. A month
-- that has rows in the default partition already stays there.
--
-- The worker's clock calls it: it acts as the table's owner, event_keeper (0015), and gives up where
-- decisions would have to wait for it.
create function card.ensure_event_partitions(first_day date, last_day date) returns integer
language plpgsql security definer
set search_path = pg_catalog set timezone = 'UTC' set lock_timeout = '500ms' as $$
declare
    month timestamptz;
    name text;
    made integer := 0;
begin
    perform pg_advisory_xact_lock(hashtext('card.ensure_event_partitions'));
    for month in
        select generate_series(date_trunc('month', first_day::timestamptz), last_day::timestamptz,
            '1 month')
    loop
        name := 'card_events' || to_char(month, '_YYYY_MM');
        continue when to_regclass(format('card.%I', name)) is not null;
        continue when exists (
            select from card.card_events_default d
            where d.occurred_at >= month and d.occurred_at < month + interval '1 month'
        );
        execute format('create table card.%I partition of card.card_events for values from (%L) to (%L)',
            name, month, month + interval '1 month');
        made := made + 1;
    end loop;
    return made;
end
$$;
do $$ begin perform card.ensure_event_partitions('2023-01-01', '2027-12-01'); end $$;

-- Which swipes are fraud: the simulator's truth, for training and scoring. Not captured, and never a
-- column of an authorization, where a decision or a feature could read it.
create table card.fraud_labels (
    authorization_id uuid primary key references card.authorizations,
    pattern text not null
        check (pattern in ('CARD_TESTING', 'STOLEN_CARD', 'ACCOUNT_TAKEOVER', 'MERCHANT_COMPROMISE',
            'BUST_OUT', 'SYNTHETIC_IDENTITY')),
    episode_id uuid,
    -- When the lender came to know; null when it never did.
    known_at timestamptz,
    created_at timestamptz not null default now()
);

-- Cash over the counter and at machines, by person and business day, for currency reports.
create table card.cash_transactions (
    cash_transaction_id uuid primary key,
    -- For whom, and by whom: reports sum over both.
    customer_id uuid not null references customer.customers,
    conductor_customer_id uuid references customer.customers,
    account_id uuid references card.card_accounts,
    direction text not null check (direction in ('IN', 'OUT')),
    amount_minor bigint not null check (amount_minor > 0),
    currency char(3) not null check (currency ~ '^[A-Z]{3}$'),
    -- Coins and notes; a check or a transfer over the counter is not.
    is_currency boolean not null,
    branch text not null check (branch <> ''),
    occurred_at timestamptz not null,
    -- Nights, weekends and holidays belong to the next business day.
    business_date date not null,
    external_ref text unique,
    created_at timestamptz not null default now()
);
create index on card.cash_transactions (customer_id, business_date);

-- Who may use which account.
create table customer.account_holders (
    account_holder_id uuid primary key,
    account_id uuid not null references card.card_accounts,
    customer_id uuid not null references customer.customers,
    role text not null check (role in ('OWNER', 'AUTHORIZED_USER')),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    unique (account_id, customer_id)
);

alter table credit.active_credits
    add foreign key (account_id) references card.card_accounts;
alter table credit.recoveries
    add foreign key (account_id) references card.card_accounts;
alter table credit.adverse_action_notices
    add foreign key (account_id) references card.card_accounts;
