-- Double entry. An entry is a fact; its postings say which accounts it moves, and add up to zero.
-- Entries are never changed: a mistake is corrected by an entry that reverses it.
--
-- A statement that inserts postings is the only thing that moves a balance: its trigger checks the
-- whole statement and then moves card.card_accounts.posted_minor / held_minor and
-- credit.active_credits.outstanding_principal_minor by what was posted. So a balance cannot differ
-- from its postings, whoever wrote them. Balances of house accounts are summed, never stored: every
-- decision would queue on that one row.
--
-- Functions that act with more than their caller's rights belong to ledger_keeper (0015 hands them
-- over): it selects, inserts into this schema, and updates the three balances.
-- depends: 0007.card_control

create table ledger.accounts (
    ledger_account_id uuid primary key,
    kind text not null
        check (kind in ('CARD_RECEIVABLE', 'LOAN_PRINCIPAL', 'SETTLEMENT', 'CASH', 'DEPOSITORS',
            'INTEREST_INCOME', 'FEE_INCOME', 'CREDIT_LOSS', 'RECOVERY_INCOME', 'DISPUTES',
            'SUSPENSE', 'OPENING')),
    currency char(3) not null check (currency ~ '^[A-Z]{3}$'),
    card_account_id uuid unique references card.card_accounts (account_id),
    credit_id uuid unique references credit.active_credits,
    created_at timestamptz not null default now(),
    check ((kind = 'CARD_RECEIVABLE') = (card_account_id is not null)),
    check ((kind = 'LOAN_PRINCIPAL') = (credit_id is not null))
);
create unique index one_house_account on ledger.accounts (kind, currency)
    where card_account_id is null and credit_id is null;

-- The house's accounts have ids that anybody can compute.
insert into ledger.accounts (ledger_account_id, kind, currency, created_at)
select md5(kind || ':' || currency)::uuid, kind, currency, '2020-01-01Z'
from unnest(array['SETTLEMENT', 'CASH', 'DEPOSITORS', 'INTEREST_INCOME', 'FEE_INCOME', 'CREDIT_LOSS',
    'RECOVERY_INCOME', 'DISPUTES', 'SUSPENSE', 'OPENING']) kind,
    unnest(array['USD', 'EUR', 'GBP', 'CZK', 'JPY', 'KWD']) currency;

create table ledger.entries (
    entry_id uuid primary key,
    entry_type text not null
        check (entry_type in ('HOLD', 'CAPTURE', 'VOID', 'EXPIRE', 'PURCHASE', 'REFUND', 'WITHDRAWAL',
            'DEPOSIT', 'TRANSFER_IN', 'TRANSFER_OUT', 'PAYMENT', 'INTEREST', 'FEE', 'DISBURSEMENT',
            'REPAYMENT', 'CHARGE_OFF', 'RECOVERY', 'PROVISIONAL_CREDIT', 'CHARGEBACK', 'OPENING',
            'CORRECTION')),
    authorization_id uuid references card.authorizations,
    hold_id uuid references card.holds,
    -- Beyond the limit by right: force post, over-capture, fee, interest.
    over_limit_allowed boolean not null default false,
    reverses_entry_id uuid references ledger.entries,
    effective_at timestamptz not null,
    external_ref text,
    -- When it was recorded: the order of the journal. The clock's time, not the transaction's, which
    -- began before it had the account's lock.
    created_at timestamptz not null default clock_timestamp(),
    check ((entry_type = 'CORRECTION') = (reverses_entry_id is not null)),
    check (entry_type not in ('CAPTURE', 'VOID', 'EXPIRE') or hold_id is not null)
);
-- Partial, because most entries have neither and a decision should not pay for them.
create unique index on ledger.entries (external_ref) where external_ref is not null;
create unique index on ledger.entries (reverses_entry_id) where reverses_entry_id is not null;
create index on ledger.entries (hold_id) where hold_id is not null;
create index on ledger.entries (authorization_id) where authorization_id is not null;

create table ledger.postings (
    posting_id uuid primary key,
    entry_id uuid not null references ledger.entries,
    -- No foreign key: it would lock the row of SETTLEMENT once for each hold of each decision. Accounts
    -- are never deleted, and ledger.post refuses a posting whose account is not there.
    ledger_account_id uuid not null,
    -- HELD is reserved, POSTED is owed or owned.
    layer text not null check (layer in ('POSTED', 'HELD')),
    direction text not null check (direction in ('DEBIT', 'CREDIT')),
    amount_minor bigint not null check (amount_minor > 0),
    currency char(3) not null check (currency ~ '^[A-Z]{3}$'),
    created_at timestamptz not null default now()
);
create index on ledger.postings (entry_id);
create index on ledger.postings (ledger_account_id);

-- Limits as they were, so that every approval of the past can be judged by the limit of its time.
create table ledger.credit_limits (
    credit_limit_id uuid primary key default gen_random_uuid(),
    account_id uuid not null references card.card_accounts,
    credit_limit_minor bigint not null check (credit_limit_minor >= 0),
    changed_at timestamptz not null default clock_timestamp()
);
create index on ledger.credit_limits (account_id, changed_at);

-- A card account and a credit have a ledger account of the same id from the moment they exist.
create function ledger.open_card_account() returns trigger
language plpgsql security definer set search_path = pg_catalog as $$
begin
    insert into ledger.accounts (ledger_account_id, kind, currency, card_account_id, created_at)
    select account_id, 'CARD_RECEIVABLE', currency, account_id, created_at from new_rows
    on conflict (ledger_account_id) do nothing;
    insert into ledger.credit_limits (
        credit_limit_id, account_id, credit_limit_minor, changed_at)
    select account_id, account_id, credit_limit_minor, created_at from new_rows
    on conflict (credit_limit_id) do nothing;
    return null;
end
$$;
create trigger open_ledger_account after insert on card.card_accounts
    referencing new table as new_rows for each statement
    execute function ledger.open_card_account();

create function ledger.change_limit() returns trigger
language plpgsql security definer set search_path = pg_catalog as $$
begin
    insert into ledger.credit_limits (account_id, credit_limit_minor)
    values (new.account_id, new.credit_limit_minor);
    return null;
end
$$;
create trigger change_limit after update of credit_limit_minor on card.card_accounts
    for each row when (new.credit_limit_minor <> old.credit_limit_minor)
    execute function ledger.change_limit();

create function ledger.open_credit() returns trigger
language plpgsql security definer set search_path = pg_catalog as $$
begin
    insert into ledger.accounts (ledger_account_id, kind, currency, credit_id, created_at)
    select credit_id, 'LOAN_PRINCIPAL', currency, credit_id, created_at from new_rows
    on conflict (ledger_account_id) do nothing;
    return null;
end
$$;
create trigger open_ledger_account after insert on credit.active_credits
    referencing new table as new_rows for each statement
    execute function ledger.open_credit();

create function ledger.house(kind text, currency text) returns uuid
language sql immutable parallel safe
return md5(kind || ':' || currency)::uuid;

create function ledger.signed(direction text, amount_minor bigint) returns bigint
language sql immutable parallel safe
return case direction when 'DEBIT' then amount_minor else -amount_minor end;

-- Refuses what does not add up, then moves the balances. Accounts are moved in id order, so that
-- concurrent statements cannot deadlock.
-- Planned for index look-ups: see card.decide_and_hold.
create function ledger.post() returns trigger
language plpgsql security definer set search_path = pg_catalog
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
declare
    wrong record;
begin
    select p.entry_id, p.currency, p.layer, sum(ledger.signed(p.direction, p.amount_minor)) as residue
    into wrong
    from new_rows p
    group by p.entry_id, p.currency, p.layer
    having sum(ledger.signed(p.direction, p.amount_minor)) <> 0
    limit 1;
    if found then
        raise exception 'ledger.postings: entry % does not add up: % % left in layer %',
            wrong.entry_id, wrong.residue, wrong.currency, wrong.layer
            using errcode = 'check_violation', table = 'postings', schema = 'ledger',
            hint = 'Insert all postings of an entry in one statement, debits equal to credits.';
    end if;
    -- Counted at once; which entry it is, is looked for only when there is one.
    if (select count(*) from ledger.postings p where p.entry_id in (select n.entry_id from new_rows n))
        > (select count(*) from new_rows)
    then
        select n.entry_id into wrong
        from (select p.entry_id, count(*) as postings from new_rows p group by p.entry_id) n
        where n.postings < (select count(*) from ledger.postings p where p.entry_id = n.entry_id)
        limit 1;
        raise exception 'ledger.postings: entry % has its postings already', wrong.entry_id
            using errcode = 'check_violation', table = 'postings', schema = 'ledger',
            hint = 'Correct a mistake by an entry of type CORRECTION that reverses it.';
    end if;

    select n.ledger_account_id, n.currency, a.currency as account_currency into wrong
    from (select distinct p.ledger_account_id, p.currency from new_rows p) n
    left join ledger.accounts a using (ledger_account_id)
    where a.currency is distinct from n.currency
    limit 1;
    if found then
        raise exception 'ledger.postings: a posting in % on account %, which %', wrong.currency,
            wrong.ledger_account_id,
            coalesce('is in ' || wrong.account_currency, 'is not in ledger.accounts')
            using errcode = 'check_violation', table = 'postings', schema = 'ledger';
    end if;

    perform from card.card_accounts c
    where c.account_id in (select ledger_account_id from new_rows)
    order by c.account_id for no key update;
    update card.card_accounts c
    set posted_minor = c.posted_minor + m.posted_minor,
        held_minor = c.held_minor + m.held_minor,
        updated_at = greatest(c.updated_at, m.moved_at)
    from (
        select p.ledger_account_id, max(p.created_at) as moved_at,
            coalesce(sum(ledger.signed(p.direction, p.amount_minor))
                filter (where p.layer = 'POSTED'), 0) as posted_minor,
            coalesce(sum(ledger.signed(p.direction, p.amount_minor))
                filter (where p.layer = 'HELD'), 0) as held_minor
        from new_rows p group by p.ledger_account_id
    ) m
    where c.account_id = m.ledger_account_id;

    -- Holds move no principal: a batch of decisions ends here.
    if not exists (select from new_rows where layer = 'POSTED') then
        return null;
    end if;
    perform from credit.active_credits c
    where c.credit_id in (select ledger_account_id from new_rows where layer = 'POSTED')
    order by c.credit_id for no key update;
    update credit.active_credits c
    set outstanding_principal_minor = c.outstanding_principal_minor + m.posted_minor,
        updated_at = greatest(c.updated_at, m.moved_at)
    from (
        select p.ledger_account_id, max(p.created_at) as moved_at,
            sum(ledger.signed(p.direction, p.amount_minor)) as posted_minor
        from new_rows p where p.layer = 'POSTED' group by p.ledger_account_id
    ) m
    where c.credit_id = m.ledger_account_id and m.posted_minor <> 0;
    return null;
end
$$;
create trigger post after insert on ledger.postings
    referencing new table as new_rows for each statement
    execute function ledger.post();

create function ledger.refuse_change() returns trigger
language plpgsql set search_path = pg_catalog as $$
begin
    raise exception '%.% is append-only: % is refused', tg_table_schema, tg_table_name, lower(tg_op)
        using errcode = 'insufficient_privilege',
        hint = 'Correct a mistake by an entry of type CORRECTION that reverses it.';
end
$$;
create trigger append_only before update or delete or truncate on ledger.accounts
    for each statement execute function ledger.refuse_change();
create trigger append_only before update or delete or truncate on ledger.entries
    for each statement execute function ledger.refuse_change();
create trigger append_only before update or delete or truncate on ledger.postings
    for each statement execute function ledger.refuse_change();
create trigger append_only before update or delete or truncate on ledger.credit_limits
    for each statement execute function ledger.refuse_change();

-- What an outside party printed: the balance of an account after a line of its statement. Several
-- lines a day; the one that ends a day is not known. As the bank says it: positive is the customer's
-- money, so a card account in credit (posted_minor below zero) has a printed balance above zero.
create table ledger.statement_lines (
    statement_line_id uuid primary key default gen_random_uuid(),
    account_id uuid not null references card.card_accounts,
    statement_date date not null,
    line_number integer not null check (line_number > 0),
    printed_balance_minor bigint not null,
    currency char(3) not null check (currency ~ '^[A-Z]{3}$'),
    external_ref text unique,
    created_at timestamptz not null default now(),
    unique (account_id, statement_date, line_number)
);
create trigger append_only before update or delete or truncate on ledger.statement_lines
    for each statement execute function ledger.refuse_change();

-- One comparison of the ledger with all statements.
create table ledger.reconciliation_runs (
    reconciliation_run_id uuid primary key default gen_random_uuid(),
    tolerance_minor bigint not null check (tolerance_minor >= 0),
    account_days bigint not null check (account_days >= 0),
    broken bigint not null check (broken between 0 and account_days),
    started_at timestamptz not null default now(),
    completed_at timestamptz not null default clock_timestamp()
);

-- An account-day that does not agree, followed until it is explained or gone. One row each, for ever.
create table ledger.reconciliation_breaks (
    reconciliation_break_id uuid primary key default gen_random_uuid(),
    account_id uuid not null references card.card_accounts,
    statement_date date not null,
    currency char(3) not null check (currency ~ '^[A-Z]{3}$'),
    computed_minor bigint not null,
    nearest_printed_minor bigint not null,
    difference_minor bigint not null
        check (difference_minor = computed_minor - nearest_printed_minor),
    state text not null default 'OPEN' check (state in ('OPEN', 'EXPLAINED', 'RESOLVED')),
    owner text,
    explanation text,
    first_run_id uuid not null references ledger.reconciliation_runs,
    last_run_id uuid not null references ledger.reconciliation_runs,
    first_seen_at timestamptz not null default now(),
    last_seen_at timestamptz not null default now(),
    resolved_at timestamptz,
    unique (account_id, statement_date),
    check ((state = 'RESOLVED') = (resolved_at is not null)),
    check (state <> 'EXPLAINED' or (owner is not null and explanation is not null))
);
