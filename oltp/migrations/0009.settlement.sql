-- What networks settle by: their clearing files as they came, and the reconciliation of files, ledger
-- and positions. What differs is a break, with a kind, an age and an owner, until it is gone.
-- depends: 0009.card_messages 0009.ledger_controls

-- One file of a network. The same bytes are one file, and a file's own name stands for one content.
create table card.clearing_files (
    clearing_file_id uuid primary key default gen_random_uuid(),
    file_sha256 text not null unique check (file_sha256 ~ '^[0-9a-f]{64}$'),
    network text not null check (network in ('VISA', 'MASTERCARD', 'AMEX', 'DOMESTIC')),
    file_ref text not null check (file_ref <> ''),
    business_date date not null,
    lines integer not null check (lines >= 0),
    unreadable_lines integer not null check (unreadable_lines between 0 and lines),
    -- When every line had been applied. A load that broke off is continued by loading the file again.
    applied_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    unique (network, file_ref)
);

-- What a file's trailer says that it adds up to, by currency.
create table card.clearing_totals (
    clearing_file_id uuid not null references card.clearing_files,
    currency char(3) not null check (currency ~ '^[A-Z]{3}$'),
    lines integer not null check (lines >= 0),
    debit_minor bigint not null check (debit_minor >= 0),
    credit_minor bigint not null check (credit_minor >= 0),
    created_at timestamptz not null default now(),
    primary key (clearing_file_id, currency)
);

-- A line as it came, and what could be read of it. What became of it is the card message of its key.
create table card.clearing_lines (
    clearing_file_id uuid not null references card.clearing_files,
    line_number integer not null check (line_number > 0),
    raw text not null,
    -- Why it cannot be read; then nothing else is said of it.
    problem text,
    message_key text,
    message_kind text
        check (message_kind in ('CLEARING', 'FORCE_POST', 'REFUND', 'CHARGEBACK', 'REPRESENTMENT')),
    request_hash text check (request_hash ~ '^[0-9a-f]{64}$'),
    network_ref text,
    amount_minor bigint check (amount_minor > 0),
    currency char(3) check (currency ~ '^[A-Z]{3}$'),
    message jsonb,
    created_at timestamptz not null default now(),
    primary key (clearing_file_id, line_number),
    check (num_nulls(message_key, message_kind, request_hash, network_ref, amount_minor, currency,
        message) = case when problem is null then 0 else 7 end)
);
create index on card.clearing_lines (message_key);
create index on card.clearing_lines (network_ref);

-- One comparison of all three.
create table ledger.settlement_runs (
    settlement_run_id uuid primary key default gen_random_uuid(),
    accounts bigint not null check (accounts >= 0),
    lines bigint not null check (lines >= 0),
    broken bigint not null check (broken >= 0),
    started_at timestamptz not null default now(),
    completed_at timestamptz not null default clock_timestamp()
);

-- A difference, followed until it is explained or gone. One row for each kind and subject, for ever.
create table ledger.settlement_breaks (
    settlement_break_id uuid primary key default gen_random_uuid(),
    kind text not null
        check (kind in ('POSITION', 'HELD', 'UNREADABLE', 'UNPOSTED', 'AMOUNT', 'NOT_PRESENTED',
            'FILE_TOTAL')),
    subject text not null,
    account_id uuid references card.card_accounts,
    currency char(3) check (currency ~ '^[A-Z]{3}$'),
    file_minor bigint,
    ledger_minor bigint,
    position_minor bigint,
    problem text not null,
    state text not null default 'OPEN' check (state in ('OPEN', 'EXPLAINED', 'RESOLVED')),
    owner text not null check (owner <> ''),
    explanation text,
    first_run_id uuid not null references ledger.settlement_runs,
    last_run_id uuid not null references ledger.settlement_runs,
    first_seen_at timestamptz not null default now(),
    last_seen_at timestamptz not null default now(),
    resolved_at timestamptz,
    unique (kind, subject),
    check ((state = 'RESOLVED') = (resolved_at is not null)),
    check (state <> 'EXPLAINED' or explanation is not null)
);

-- Each line that can be read, and what the ledger has for it: the entry of its message, or of the
-- presentment that has its reference already (it came as a message before the file).
create view ledger.clearing_matches with (security_invoker = true) as
select
    f.network, f.file_ref, l.line_number, l.message_key, l.message_kind, l.network_ref, l.amount_minor,
    l.currency, coalesce(m.account_id, c.account_id) as account_id, e.entry_id,
    (
        select sum(p.amount_minor) from ledger.postings p
        where p.entry_id = e.entry_id and p.layer = 'POSTED' and p.direction = 'DEBIT'
            and p.currency = l.currency
    )::bigint as ledger_minor,
    case
        when m.message_key is null then 'not applied yet: load the file again'
        when m.request_hash <> l.request_hash and c.clearing_id is null
            then format('its key was used for another message, which is %s', m.outcome)
        when m.state = 'APPLIED' or c.clearing_id is not null then null
        else format('%s: %s', m.state, m.outcome)
    end as problem
from card.clearing_lines l
join card.clearing_files f using (clearing_file_id)
left join card.card_messages m on m.message_key = l.message_key
left join card.clearings c on c.network_ref = l.network_ref
    and l.message_kind in ('CLEARING', 'FORCE_POST', 'REFUND')
left join ledger.entries e on e.entry_id = coalesce(c.entry_id, m.entry_id)
where l.problem is null;

-- Everything that differs now, by whom it is looked after unless somebody else is named.
create view ledger.settlement_differences with (security_invoker = true) as
-- The account's row against its postings.
select 'POSITION' as kind, c.account_id::text as subject, c.account_id, c.currency::text as currency,
    null::bigint as file_minor, coalesce(p.posted_minor, 0)::bigint as ledger_minor,
    c.posted_minor as position_minor, 'what is posted is not what was entered' as problem,
    'ledger' as owner
from card.card_accounts c
left join (
    select ledger_account_id, sum(ledger.signed(direction, amount_minor)) as posted_minor
    from ledger.postings where layer = 'POSTED' group by ledger_account_id
) p on p.ledger_account_id = c.account_id
where c.posted_minor <> coalesce(p.posted_minor, 0)
union all
-- What is reserved against the postings that reserve it.
select 'HELD', c.account_id::text, c.account_id, c.currency, null, coalesce(p.held_minor, 0)::bigint,
    c.held_minor, 'what is held is not what was entered', 'ledger'
from card.card_accounts c
left join (
    select ledger_account_id, sum(ledger.signed(direction, amount_minor)) as held_minor
    from ledger.postings where layer = 'HELD' group by ledger_account_id
) p on p.ledger_account_id = c.account_id
where c.held_minor <> coalesce(p.held_minor, 0)
union all
-- Of the file, and not in the ledger.
select 'UNREADABLE', format('%s %s line %s', f.network, f.file_ref, l.line_number), null, null, null,
    null, null, l.problem, 'settlement'
from card.clearing_lines l
join card.clearing_files f using (clearing_file_id)
where l.problem is not null
union all
select 'UNPOSTED', format('%s %s line %s', m.network, m.file_ref, m.line_number), m.account_id,
    m.currency, m.amount_minor, null, null, m.problem, 'settlement'
from ledger.clearing_matches m
where m.problem is not null
union all
select 'AMOUNT', format('%s %s line %s', m.network, m.file_ref, m.line_number), m.account_id,
    m.currency, m.amount_minor, coalesce(m.ledger_minor, 0), null,
    'the ledger has another amount', 'finance'
from ledger.clearing_matches m
where m.problem is null and m.entry_id is not null
    and m.amount_minor is distinct from m.ledger_minor
union all
-- In the ledger, and in no file, though the network's files go further than that.
select 'NOT_PRESENTED', c.network_ref, c.account_id, c.currency, null, c.amount_minor, null,
    format('%s of %s: no file of %s has it', c.kind, c.cleared_at::date, n.network), 'settlement'
from card.clearings c
left join card.authorizations a on a.authorization_id = c.authorization_id
left join card.card_messages m on c.clearing_id = md5('clearing:' || m.message_key)::uuid
join (
    select f.network, min(f.business_date) as first_day, max(f.business_date) as last_day
    from card.clearing_files f group by f.network
) n on n.network = coalesce(m.body ->> 'network', a.network)
where c.network_ref is not null
    and c.cleared_at >= (n.first_day::timestamp at time zone 'UTC')
    and c.cleared_at < ((n.last_day + 1)::timestamp at time zone 'UTC')
    and not exists (select from card.clearing_lines l where l.network_ref = c.network_ref)
union all
-- The file against itself.
select 'FILE_TOTAL', format('%s %s %s', f.network, f.file_ref, t.currency), null, t.currency,
    t.debit_minor - t.credit_minor, coalesce(s.debit_minor - s.credit_minor, 0)::bigint, null,
    format('its trailer says %s lines, debits %s, credits %s; %s can be read, with %s and %s', t.lines,
        t.debit_minor, t.credit_minor, coalesce(s.lines, 0), coalesce(s.debit_minor, 0),
        coalesce(s.credit_minor, 0)),
    'settlement'
from card.clearing_totals t
join card.clearing_files f using (clearing_file_id)
left join (
    select l.clearing_file_id, l.currency, count(*) as lines,
        coalesce(sum(l.amount_minor) filter (where l.message_kind not in ('REFUND', 'CHARGEBACK')), 0)
            as debit_minor,
        coalesce(sum(l.amount_minor) filter (where l.message_kind in ('REFUND', 'CHARGEBACK')), 0)
            as credit_minor
    from card.clearing_lines l where l.problem is null
    group by l.clearing_file_id, l.currency
) s on s.clearing_file_id = t.clearing_file_id and s.currency = t.currency
where (t.lines, t.debit_minor, t.credit_minor)
    is distinct from (coalesce(s.lines, 0), coalesce(s.debit_minor, 0), coalesce(s.credit_minor, 0));

-- Compares all three in one snapshot and keeps the breaks: a new one opens, one that is gone is resolved,
-- one that is explained stays so while its amounts do. Gives the run's id.
create function ledger.reconcile_settlement() returns uuid
language plpgsql security definer set search_path = pg_catalog as $$
#variable_conflict use_column
declare
    run_id uuid := gen_random_uuid();
begin
    -- One run at a time.
    perform pg_advisory_xact_lock(hashtext('ledger.reconcile_settlement'));
    with found as materialized (
        select * from ledger.settlement_differences
    ),
    run as (
        insert into ledger.settlement_runs (settlement_run_id, accounts, lines, broken)
        select run_id, (select count(*) from card.card_accounts),
            (select count(*) from card.clearing_lines), (select count(*) from found)
    ),
    resolved as (
        update ledger.settlement_breaks b
        set state = 'RESOLVED', resolved_at = now()
        where b.state <> 'RESOLVED'
            and not exists (select from found f where (f.kind, f.subject) = (b.kind, b.subject))
    )
    insert into ledger.settlement_breaks as b (
        kind, subject, account_id, currency, file_minor, ledger_minor, position_minor, problem, owner,
        first_run_id, last_run_id)
    select f.kind, f.subject, f.account_id, f.currency, f.file_minor, f.ledger_minor,
        f.position_minor, f.problem, f.owner, run_id, run_id
    from found f
    on conflict (kind, subject) do update set
        state = case
            when b.state = 'EXPLAINED' and (b.file_minor, b.ledger_minor, b.position_minor, b.problem)
                is not distinct from (excluded.file_minor, excluded.ledger_minor,
                    excluded.position_minor, excluded.problem)
                then 'EXPLAINED'
            else 'OPEN' end,
        -- One that comes back is as old as its return.
        first_seen_at = case b.state when 'RESOLVED' then now() else b.first_seen_at end,
        first_run_id = case b.state when 'RESOLVED' then excluded.last_run_id else b.first_run_id end,
        account_id = excluded.account_id, currency = excluded.currency,
        file_minor = excluded.file_minor, ledger_minor = excluded.ledger_minor,
        position_minor = excluded.position_minor, problem = excluded.problem,
        last_run_id = excluded.last_run_id, last_seen_at = now(), resolved_at = null;
    return run_id;
end
$$;

-- Says who looks after a break, and (when it is known) what it comes from.
create function ledger.assign_settlement_break(
    settlement_break_id uuid, owner text, explanation text default null
) returns boolean
language plpgsql security definer set search_path = pg_catalog as $$
begin
    update ledger.settlement_breaks b
    set owner = assign_settlement_break.owner,
        state = case when assign_settlement_break.explanation is null then b.state
            else 'EXPLAINED' end,
        explanation = coalesce(assign_settlement_break.explanation, b.explanation)
    where b.settlement_break_id = assign_settlement_break.settlement_break_id
        and b.state <> 'RESOLVED';
    return found;
end
$$;
