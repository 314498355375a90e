-- What decisions are governed by and remember: spend limits, hold periods, versions of the rules, the
-- state of each card, and what the network says afterwards.
-- depends: 0007.collateral

-- Approved spend of a card, an account or a whole program in a period of the program's time zone, by
-- count, by amount, or both. Only approvals in the limit's currency count.
create table card.spend_limits (
    spend_limit_id uuid primary key default gen_random_uuid(),
    card_id uuid references card.cards,
    account_id uuid references card.card_accounts,
    program_id text references card.programs,
    period text not null check (period in ('DAY', 'WEEK', 'MONTH', 'LIFETIME')),
    currency char(3) not null check (currency ~ '^[A-Z]{3}$'),
    count_limit integer check (count_limit >= 0),
    amount_limit_minor bigint check (amount_limit_minor >= 0),
    is_active boolean not null default true,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    check (num_nonnulls(card_id, account_id, program_id) = 1),
    check (num_nonnulls(count_limit, amount_limit_minor) > 0)
);
create unique index on card.spend_limits (card_id, period, currency) where card_id is not null;
create unique index on card.spend_limits (account_id, period, currency) where account_id is not null;
create unique index on card.spend_limits (program_id, period, currency) where program_id is not null;

-- What has been approved under a limit. A period without a row is counted from card.authorizations.
create table card.spend_counters (
    spend_limit_id uuid not null references card.spend_limits,
    period_start timestamptz not null,
    approved_count bigint not null check (approved_count >= 0),
    approved_amount_minor bigint not null check (approved_amount_minor >= 0),
    primary key (spend_limit_id, period_start)
);

-- How long an approval is held. The narrowest range of codes wins, then the network's own row.
create table card.hold_periods (
    network text not null check (network in ('VISA', 'MASTERCARD', 'AMEX', 'DOMESTIC', 'ANY')),
    mcc_from char(4) not null check (mcc_from ~ '^[0-9]{4}$'),
    mcc_to char(4) not null check (mcc_to ~ '^[0-9]{4}$'),
    hold_days integer not null check (hold_days between 1 and 31),
    reason text not null check (reason <> ''),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (network, mcc_from, mcc_to),
    check (mcc_from <= mcc_to)
);

-- How many decisions a card has had, and when the last one was: whoever judges says which number it
-- has seen, and is told to look again when there is a later one. So velocity is exact, whatever copy
-- it was read from.
create table card.card_states (
    card_id uuid primary key,
    version bigint not null check (version > 0),
    last_decided_at timestamptz not null
);

-- The rules as data. Exactly one version decides; those in shadow are evaluated beside it.
create table card.rule_versions (
    version text primary key check (version ~ '^[0-9A-Za-z][0-9A-Za-z._-]{0,63}$'),
    status text not null default 'DRAFT' check (status in ('DRAFT', 'SHADOW', 'ACTIVE', 'RETIRED')),
    document jsonb not null check (jsonb_typeof(document) = 'object'),
    document_sha256 text not null check (document_sha256 ~ '^[0-9a-f]{64}$'),
    created_by text not null check (created_by <> ''),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
create unique index one_active_version on card.rule_versions (status) where status = 'ACTIVE';

-- Every change of a version's status. Append-only.
create table card.rule_changes (
    rule_change_id uuid primary key default gen_random_uuid(),
    version text not null references card.rule_versions,
    from_status text check (from_status in ('DRAFT', 'SHADOW', 'ACTIVE', 'RETIRED')),
    to_status text not null check (to_status in ('DRAFT', 'SHADOW', 'ACTIVE', 'RETIRED')),
    changed_by text not null check (changed_by <> ''),
    reason text not null check (reason <> ''),
    changed_at timestamptz not null default clock_timestamp()
);
create index on card.rule_changes (version, changed_at);

-- What a version in shadow would have said. Append-only.
create table card.shadow_verdicts (
    authorization_id uuid not null references card.authorizations,
    version text not null references card.rule_versions,
    decision text not null check (decision in ('APPROVED', 'DECLINED')),
    response_code char(2) not null check (response_code ~ '^[0-9]{2}$'),
    reason_code text not null,
    rule_hits jsonb not null,
    created_at timestamptz not null default now(),
    primary key (authorization_id, version)
);

-- Messages about an authorization that are not decided but applied, each once for its key: what was
-- asked, what became of it. One that came before its authorization is parked until `park_until`.
create table card.card_messages (
    message_key text primary key check (message_key <> ''),
    message_kind text not null
        check (message_kind in ('REVERSAL', 'ADVICE', 'CLEARING', 'FORCE_POST', 'REFUND', 'CHARGEBACK',
            'REPRESENTMENT', 'DISPUTE_WON', 'DISPUTE_LOST')),
    request_hash text not null check (request_hash ~ '^[0-9a-f]{64}$'),
    original_key text,
    card_id uuid,
    account_id uuid references card.card_accounts,
    authorization_id uuid references card.authorizations,
    hold_id uuid references card.holds,
    amount_minor bigint check (amount_minor >= 0),
    currency char(3) check (currency ~ '^[A-Z]{3}$'),
    state text not null check (state in ('APPLIED', 'PARKED', 'REFUSED', 'LAPSED')),
    -- What it came to, one of schemas/codes_card.MessageOutcome.
    outcome text not null,
    -- What it moved.
    applied_minor bigint not null default 0 check (applied_minor >= 0),
    entry_id uuid,
    -- The message as it came.
    body jsonb not null,
    park_until timestamptz,
    occurred_at timestamptz not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    check ((state = 'PARKED') <= (park_until is not null))
);
create index on card.card_messages (original_key) where original_key is not null;
create index parked_messages on card.card_messages (original_key) where state = 'PARKED';
create index on card.card_messages (account_id);
