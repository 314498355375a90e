-- Double entry. An entry is a fact; its postings say which accounts it moves, and add up to zero.
-- Entries are never changed: a mistake is corrected by an entry that reverses it.
--
-- A statement that inserts postings is the only thing that moves a balance: its trigger checks the
-- whole statement and then moves card.card_accounts.posted_minor / held_minor and
-- credit.active_credits.outstanding_principal_minor by what was posted. So a balance cannot differ
-- from its postings, whoever wrote them. Balances of house accounts are summed, never stored: every
-- decision would queue on that one row.
-- depends: 0007.card

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
    reverses_entry_id uuid unique references ledger.entries,
    effective_at timestamptz not null,
    external_ref text unique,
    created_at timestamptz not null default now(),
    check ((entry_type = 'CORRECTION') = (reverses_entry_id is not null)),
    check (entry_type not in ('CAPTURE', 'VOID', 'EXPIRE') or hold_id is not null)
);
create index on ledger.entries (hold_id) where hold_id is not null;
create index on ledger.entries (authorization_id) where authorization_id is not null;

create table ledger.postings (
    posting_id uuid primary key,
    entry_id uuid not null references ledger.entries,
    ledger_account_id uuid not null references ledger.accounts,
    -- HELD is reserved, POSTED is owed or owned.
    layer text not null check (layer in ('POSTED', 'HELD')),
    direction text not null check (direction in ('DEBIT', 'CREDIT')),
    amount_minor bigint not null check (amount_minor > 0),
    currency char(3) not null check (currency ~ '^[A-Z]{3}$'),
    created_at timestamptz not null default now()
);
create index on ledger.postings (entry_id);
create index on ledger.postings (ledger_account_id);

-- A card account and a credit have a ledger account of the same id from the moment they exist.
create function ledger.open_card_account() returns trigger
language plpgsql security definer set search_path = pg_catalog as $$
begin
    insert into ledger.accounts (ledger_account_id, kind, currency, card_account_id, created_at)
    select account_id, 'CARD_RECEIVABLE', currency, account_id, created_at from new_rows
    on conflict (ledger_account_id) do nothing;
    return null;
end
$$;
create trigger open_ledger_account after insert on card.card_accounts
    referencing new table as new_rows for each statement
    execute function ledger.open_card_account();

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

create function ledger.signed(direction text, amount_minor bigint) returns bigint
language sql immutable parallel safe
return case direction when 'DEBIT' then amount_minor else -amount_minor end;

-- Refuses what does not add up, then moves the balances. Accounts are moved in id order, so that
-- concurrent statements cannot deadlock.
create function ledger.post() returns trigger
language plpgsql security definer set search_path = pg_catalog
set enable_seqscan = off as $$
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
    select p.posting_id, p.currency, a.currency as account_currency into wrong
    from new_rows p join ledger.accounts a using (ledger_account_id)
    where a.currency <> p.currency
    limit 1;
    if found then
        raise exception 'ledger.postings: posting % is in %, its account in %',
            wrong.posting_id, wrong.currency, wrong.account_currency
            using errcode = 'check_violation', table = 'postings', schema = 'ledger';
    end if;

    perform from card.card_accounts c
    where c.account_id in (select ledger_account_id from new_rows)
    order by c.account_id for no key update;
    update card.card_accounts c
    set posted_minor = c.posted_minor + m.posted_minor,
        held_minor = c.held_minor + m.held_minor,
        updated_at = greatest(c.updated_at, now())
    from (
        select p.ledger_account_id,
            coalesce(sum(ledger.signed(p.direction, p.amount_minor))
                filter (where p.layer = 'POSTED'), 0) as posted_minor,
            coalesce(sum(ledger.signed(p.direction, p.amount_minor))
                filter (where p.layer = 'HELD'), 0) as held_minor
        from new_rows p group by p.ledger_account_id
    ) m
    where c.account_id = m.ledger_account_id;

    update credit.active_credits c
    set outstanding_principal_minor = c.outstanding_principal_minor + m.posted_minor,
        updated_at = greatest(c.updated_at, now())
    from (
        select p.ledger_account_id, sum(ledger.signed(p.direction, p.amount_minor)) as posted_minor
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
language plpgsql as $$
begin
    raise exception '%.% is append-only: % is refused', tg_table_schema, tg_table_name, lower(tg_op)
        using errcode = 'insufficient_privilege',
        hint = 'Correct a mistake by an entry of type CORRECTION that reverses it.';
end
$$;
create trigger append_only before update or delete or truncate on ledger.entries
    for each statement execute function ledger.refuse_change();
create trigger append_only before update or delete or truncate on ledger.postings
    for each statement execute function ledger.refuse_change();
