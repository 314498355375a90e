-- Money that moves without a decision: one function a business event, one entry each, repeated safely
-- by `key` (see 0009.hold_life). They act with their caller's rights.
-- depends: 0009.hold_life

-- The account and currency of a card account; raises when there is none.
create function ledger.currency_of(account_id uuid) returns text
language plpgsql stable set search_path = pg_catalog as $$
declare
    found_currency text := (
        select a.currency from ledger.accounts a where a.ledger_account_id = currency_of.account_id);
begin
    if found_currency is null then
        raise exception 'ledger.accounts: there is no account %', account_id
            using errcode = 'no_data_found';
    end if;
    return found_currency;
end
$$;

-- A customer pays the card.
create function ledger.post_payment(
    account_id uuid, amount_minor bigint, key text, effective_at timestamptz default null
) returns uuid
language sql set search_path = pg_catalog as $$
    select ledger.transfer('PAYMENT', ledger.house('CASH', c), account_id, amount_minor, c, key,
        effective_at)
    from ledger.currency_of(account_id) c
$$;

-- A merchant gives money back, with or without a purchase that is known.
create function ledger.post_refund(
    account_id uuid, amount_minor bigint, key text, effective_at timestamptz default null
) returns uuid
language sql set search_path = pg_catalog as $$
    select ledger.transfer('REFUND', ledger.house('SETTLEMENT', c), account_id, amount_minor, c, key,
        effective_at)
    from ledger.currency_of(account_id) c
$$;

-- A purchase that was never authorized: the network presents it, the issuer pays.
create function ledger.force_post(
    account_id uuid, amount_minor bigint, key text, effective_at timestamptz default null
) returns uuid
language sql set search_path = pg_catalog as $$
    select ledger.transfer('PURCHASE', account_id, ledger.house('SETTLEMENT', c), amount_minor, c, key,
        effective_at, true)
    from ledger.currency_of(account_id) c
$$;

-- A fee or interest that the house charges: 'FEE' or 'INTEREST'.
create function ledger.charge(
    entry_type text, account_id uuid, amount_minor bigint, key text,
    effective_at timestamptz default null
) returns uuid
language sql set search_path = pg_catalog as $$
    select ledger.transfer(entry_type, account_id, ledger.house(entry_type || '_INCOME', c),
        amount_minor, c, key, effective_at, true)
    from ledger.currency_of(account_id) c
$$;

-- The principal of a credit is paid out.
create function ledger.disburse(credit_id uuid, key text, effective_at timestamptz default null)
returns uuid
language sql set search_path = pg_catalog as $$
    select ledger.transfer('DISBURSEMENT', k.credit_id, ledger.house('CASH', k.currency),
        k.principal_minor, k.currency, key, disburse.effective_at)
    from credit.active_credits k where k.credit_id = disburse.credit_id
$$;

-- A payment on a credit, split as the lender applies it. More principal than is outstanding is refused
-- by the credit's constraint.
create function ledger.repay(
    credit_id uuid, principal_minor bigint, interest_minor bigint, fee_minor bigint, key text,
    effective_at timestamptz default null
) returns uuid
language plpgsql set search_path = pg_catalog as $$
declare
    id uuid := md5(concat_ws('|', 'REPAYMENT', credit_id, principal_minor, interest_minor, fee_minor,
        key))::uuid;
    currency text := ledger.currency_of(credit_id);
begin
    perform from credit.active_credits k where k.credit_id = repay.credit_id for no key update;
    if ledger.is_known(id, key) then
        return id;
    end if;
    insert into ledger.entries (entry_id, entry_type, effective_at, external_ref)
    values (id, 'REPAYMENT', coalesce(repay.effective_at, now()), key);
    insert into ledger.postings (
        posting_id, entry_id, ledger_account_id, layer, direction, amount_minor, currency)
    select md5(id || ':' || leg.number)::uuid, id, leg.account_id, 'POSTED', leg.direction,
        leg.amount_minor, currency
    from (
        values
            (1, ledger.house('CASH', currency), 'DEBIT',
                principal_minor + interest_minor + fee_minor),
            (2, credit_id, 'CREDIT', principal_minor),
            (3, ledger.house('INTEREST_INCOME', currency), 'CREDIT', interest_minor),
            (4, ledger.house('FEE_INCOME', currency), 'CREDIT', fee_minor)
    ) as leg (number, account_id, direction, amount_minor)
    where leg.amount_minor <> 0;
    return id;
end
$$;

-- What is outstanding of a credit is given up.
create function ledger.charge_off(credit_id uuid, key text, effective_at timestamptz default null)
returns uuid
language plpgsql set search_path = pg_catalog as $$
declare
    outstanding_minor bigint;
    currency text := ledger.currency_of(credit_id);
begin
    -- Afterwards nothing is outstanding: a repeated call finds the amount of the first.
    select coalesce(
        (select p.amount_minor from ledger.entries e join ledger.postings p using (entry_id)
        where e.external_ref = key and p.ledger_account_id = charge_off.credit_id),
        k.outstanding_principal_minor)
    into outstanding_minor
    from credit.active_credits k where k.credit_id = charge_off.credit_id for no key update;
    return ledger.transfer('CHARGE_OFF', ledger.house('CREDIT_LOSS', currency), credit_id,
        outstanding_minor, currency, key, effective_at);
end
$$;

-- Money comes in for a credit that was given up.
create function ledger.recover(
    credit_id uuid, amount_minor bigint, key text, effective_at timestamptz default null
) returns uuid
language sql set search_path = pg_catalog as $$
    select ledger.transfer('RECOVERY', ledger.house('CASH', c), ledger.house('RECOVERY_INCOME', c),
        amount_minor, c, key, effective_at)
    from ledger.currency_of(credit_id) c
$$;

-- A mistake is corrected by its mirror, once. Holds end by themselves: see card.void_hold.
create function ledger.correct(entry_id uuid, key text, effective_at timestamptz default null)
returns uuid
language plpgsql set search_path = pg_catalog as $$
declare
    id uuid := md5(concat_ws('|', 'CORRECTION', entry_id, key))::uuid;
begin
    perform from card.card_accounts c
    where c.account_id in (
        select p.ledger_account_id from ledger.postings p where p.entry_id = correct.entry_id)
    order by c.account_id for no key update;
    if ledger.is_known(id, key) then
        return id;
    end if;
    if exists (
        select from ledger.entries e where e.entry_id = correct.entry_id and e.hold_id is not null
    ) then
        raise exception 'ledger.correct: entry % belongs to a hold', entry_id
            using errcode = 'check_violation', hint = 'Void the hold, or refund what was captured.';
    end if;
    insert into ledger.entries (
        entry_id, entry_type, authorization_id, over_limit_allowed, reverses_entry_id, effective_at,
        external_ref)
    select id, 'CORRECTION', e.authorization_id, true, e.entry_id,
        coalesce(correct.effective_at, now()), key
    from ledger.entries e where e.entry_id = correct.entry_id;
    insert into ledger.postings (
        posting_id, entry_id, ledger_account_id, layer, direction, amount_minor, currency)
    select md5(id || ':' || row_number() over (order by p.posting_id))::uuid, id,
        p.ledger_account_id, p.layer, case p.direction when 'DEBIT' then 'CREDIT' else 'DEBIT' end,
        p.amount_minor, p.currency
    from ledger.postings p where p.entry_id = correct.entry_id;
    return id;
end
$$;
