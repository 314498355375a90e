-- How a hold ends and money moves outside a decision. Each function makes one entry and is repeated
-- safely: `key` becomes the entry's external_ref, the same call with the same key gives the entry back,
-- the same key for anything else raises MR002. The accounts are locked first, so the journal's order
-- is the order in which balances moved. `effective_at` is now unless said.
--
-- A hold is open (PENDING, PARTIALLY_CAPTURED) while something is held under it, and ends once, as
-- what released the last of it: CAPTURED, REVERSED (a void) or EXPIRED.
--
-- What is called from outside plans for index look-ups: sessions live long, and a plan made while the
-- tables are empty must not read them whole when they have grown.
-- depends: 0009.decide_and_hold

-- How long approvals are held, as card.hold_period reads it. A hold that ends too early lets its money
-- be spent twice; one that ends too late keeps it from its owner. The networks' windows are the time in
-- which a merchant may present without being charged back for lateness.
insert into card.hold_periods (
    network, mcc_from, mcc_to, hold_days, reason, created_at, updated_at)
select p.network, p.mcc_from, p.mcc_to, p.hold_days, p.reason, '2020-01-01Z', '2020-01-01Z'
from (
    values
        ('ANY', '0000', '9999', 7, 'Presented within days; a week covers weekends and late batches'),
        ('VISA', '0000', '9999', 10, 'Ordered by its holder and not present: ten days to ship'),
        ('ANY', '3351', '3500', 31, 'Car rental by brand: held while the car is out'),
        ('ANY', '7512', '7519', 31, 'Car, truck and motor home rental: held while it is out'),
        ('ANY', '3501', '3999', 31, 'Lodging by brand: held for the stay'),
        ('ANY', '7011', '7012', 31, 'Hotels and timeshares: held for the stay'),
        ('ANY', '7033', '7033', 31, 'Camp grounds: held for the stay'),
        ('ANY', '4411', '4411', 31, 'Cruise lines: the account on board is settled at its end'),
        ('MASTERCARD', '3351', '3500', 30, 'A preauthorization is good for thirty days'),
        ('MASTERCARD', '7512', '7519', 30, 'A preauthorization is good for thirty days'),
        ('MASTERCARD', '3501', '3999', 30, 'A preauthorization is good for thirty days'),
        ('MASTERCARD', '7011', '7012', 30, 'A preauthorization is good for thirty days'),
        ('MASTERCARD', '4411', '4411', 30, 'A preauthorization is good for thirty days'),
        ('ANY', '5542', '5542', 3, 'Fuel at the pump: far more is held than is filled up'),
        ('MASTERCARD', '5542', '5542', 2, 'Its pumps tell the true amount within the hour')
) as p (network, mcc_from, mcc_to, hold_days, reason);

-- How long an approval is held: the narrowest range of codes, and of equal ones the network's own. It
-- is counted from when we decide, by our clock, never from a merchant's time.
create function card.hold_period(network text, mcc text) returns interval
-- Not SQL, which would be parsed again for each statement that calls it.
language plpgsql stable set search_path = pg_catalog as $$
begin
    return coalesce((
        select make_interval(days => p.hold_days)
        from card.hold_periods p
        where p.network in (hold_period.network, 'ANY')
            and hold_period.mcc between p.mcc_from and p.mcc_to
        order by p.mcc_to::integer - p.mcc_from::integer, p.network = 'ANY'
        limit 1
    ), interval '7 days');
end
$$;

-- Whether the entry is there already; raises MR002 when its key was used for another one.
create function ledger.is_known(entry_id uuid, key text) returns boolean
language plpgsql stable set search_path = pg_catalog as $$
declare
    known uuid := (select e.entry_id from ledger.entries e where e.external_ref = key);
begin
    if known <> is_known.entry_id then
        raise exception 'ledger.entries: key % was used for another entry', key
            using errcode = 'MR002', table = 'entries', schema = 'ledger';
    end if;
    return known is not null;
end
$$;

-- An amount from one account to another, in the layer POSTED.
create function ledger.transfer(
    entry_type text, debited uuid, credited uuid, amount_minor bigint, currency text, key text,
    effective_at timestamptz, over_limit_allowed boolean default false,
    authorization_id uuid default null
) returns uuid
language plpgsql set search_path = pg_catalog as $$
declare
    id uuid := md5(concat_ws('|', entry_type, debited, credited, amount_minor, key))::uuid;
begin
    perform from card.card_accounts c where c.account_id in (debited, credited)
    order by c.account_id for no key update;
    if ledger.is_known(id, key) then
        return id;
    end if;
    insert into ledger.entries (
        entry_id, entry_type, authorization_id, over_limit_allowed, effective_at, external_ref)
    values (id, entry_type, transfer.authorization_id, over_limit_allowed,
        coalesce(transfer.effective_at, now()), key);
    insert into ledger.postings (
        posting_id, entry_id, ledger_account_id, layer, direction, amount_minor, currency)
    values
        (md5(id || ':1')::uuid, id, debited, 'POSTED', 'DEBIT', transfer.amount_minor,
            transfer.currency),
        (md5(id || ':2')::uuid, id, credited, 'POSTED', 'CREDIT', transfer.amount_minor,
            transfer.currency);
    return id;
end
$$;

-- Releases `released_minor` of a locked hold, posts `captured_minor`, and says how the hold stands.
create function ledger.move_hold(
    hold card.holds, entry_id uuid, entry_type text, captured_minor bigint, released_minor bigint,
    is_over boolean, status text, key text, effective_at timestamptz
) returns void
language plpgsql set search_path = pg_catalog as $$
begin
    insert into ledger.entries (
        entry_id, entry_type, authorization_id, hold_id, over_limit_allowed, effective_at,
        external_ref)
    values (move_hold.entry_id, move_hold.entry_type, hold.authorization_id, hold.hold_id, is_over,
        coalesce(move_hold.effective_at, now()), key);
    insert into ledger.postings (
        posting_id, entry_id, ledger_account_id, layer, direction, amount_minor, currency)
    select md5(move_hold.entry_id || ':' || leg.number)::uuid, move_hold.entry_id, leg.account_id,
        leg.layer, leg.direction, leg.amount_minor, hold.currency
    from (
        values
            (1, hold.account_id, 'HELD', 'CREDIT', released_minor),
            (2, ledger.house('SETTLEMENT', hold.currency), 'HELD', 'DEBIT', released_minor),
            (3, hold.account_id, 'POSTED', 'DEBIT', captured_minor),
            (4, ledger.house('SETTLEMENT', hold.currency), 'POSTED', 'CREDIT', captured_minor)
    ) as leg (number, account_id, layer, direction, amount_minor)
    where leg.amount_minor > 0;
    update card.holds h
    set status = move_hold.status,
        captured_amount_minor = h.captured_amount_minor + captured_minor,
        updated_at = now()
    where h.hold_id = hold.hold_id;
end
$$;

-- What is still held under a hold, from its entries: whatever the other side of SETTLEMENT is. Not by the
-- account, or a planner without statistics reads all that was ever posted on it.
create function ledger.held_under(hold_id uuid) returns bigint
language plpgsql stable set search_path = pg_catalog
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
begin
    return coalesce((
        select sum(ledger.signed(p.direction, p.amount_minor))
        from ledger.entries e
        join ledger.postings p using (entry_id)
        where e.hold_id = held_under.hold_id and p.layer = 'HELD'
            and p.ledger_account_id <> ledger.house('SETTLEMENT', p.currency)), 0);
end
$$;

-- The hold, with its account and itself locked.
create function ledger.locked_hold(hold_id uuid) returns card.holds
language plpgsql set search_path = pg_catalog as $$
declare
    hold card.holds;
begin
    perform from card.card_accounts c
    where c.account_id = (select h.account_id from card.holds h where h.hold_id = locked_hold.hold_id)
    for no key update;
    select h.* into hold from card.holds h where h.hold_id = locked_hold.hold_id for no key update;
    if not found then
        raise exception 'card.holds: there is no hold %', hold_id using errcode = 'no_data_found';
    end if;
    return hold;
end
$$;

-- Reserves more under a locked hold, whatever the limit says if `over_limit_allowed`.
create function ledger.reserve(
    hold card.holds, authorization_id uuid, entry_id uuid, amount_minor bigint,
    over_limit_allowed boolean, key text, effective_at timestamptz
) returns void
language plpgsql set search_path = pg_catalog as $$
begin
    insert into ledger.entries (
        entry_id, entry_type, authorization_id, hold_id, over_limit_allowed, effective_at,
        external_ref)
    values (reserve.entry_id, 'HOLD', reserve.authorization_id, hold.hold_id,
        reserve.over_limit_allowed, coalesce(reserve.effective_at, now()), key);
    insert into ledger.postings (
        posting_id, entry_id, ledger_account_id, layer, direction, amount_minor, currency)
    values
        (md5(reserve.entry_id || ':1')::uuid, reserve.entry_id, hold.account_id, 'HELD', 'DEBIT',
            reserve.amount_minor, hold.currency),
        (md5(reserve.entry_id || ':2')::uuid, reserve.entry_id,
            ledger.house('SETTLEMENT', hold.currency), 'HELD', 'CREDIT', reserve.amount_minor,
            hold.currency);
end
$$;

-- Holds more under an open hold than was decided, because somebody else has promised it.
create function card.raise_hold(
    hold_id uuid, amount_minor bigint, key text, effective_at timestamptz default null
) returns uuid
language plpgsql security definer set search_path = pg_catalog
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
declare
    hold card.holds := ledger.locked_hold(hold_id);
    id uuid := md5(concat_ws('|', 'RAISE', hold_id, amount_minor, key))::uuid;
begin
    if ledger.is_known(id, key) then
        return id;
    end if;
    if hold.status not in ('PENDING', 'PARTIALLY_CAPTURED') then
        raise exception 'card.raise_hold: hold % is %', hold_id, hold.status
            using errcode = 'check_violation';
    end if;
    perform ledger.reserve(hold, hold.authorization_id, id, raise_hold.amount_minor, true, key,
        raise_hold.effective_at);
    update card.holds h
    set amount_minor = h.amount_minor + raise_hold.amount_minor, updated_at = now()
    where h.hold_id = hold.hold_id;
    return id;
end
$$;

-- The merchant presents an amount: all or part of what is held, or more (then the entry is flagged
-- over_limit_allowed). A final presentment releases the rest. An ended hold is presented late: the
-- issuer pays, nothing is released and the hold stays as it ended.
create function card.capture_hold(
    hold_id uuid, amount_minor bigint, key text, final boolean default false,
    effective_at timestamptz default null
) returns uuid
language plpgsql security definer set search_path = pg_catalog
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
declare
    hold card.holds := ledger.locked_hold(hold_id);
    id uuid := md5(concat_ws('|', 'CAPTURE', hold_id, amount_minor, key))::uuid;
    held_minor bigint;
    released_minor bigint;
begin
    if amount_minor is null or amount_minor <= 0 then
        raise exception 'card.capture_hold: % is not an amount', amount_minor
            using errcode = 'check_violation';
    end if;
    if ledger.is_known(id, key) then
        return id;
    end if;
    held_minor := ledger.held_under(hold_id);
    released_minor := case when final then held_minor else least(held_minor, amount_minor) end;
    perform ledger.move_hold(hold, id, 'CAPTURE', amount_minor, released_minor,
        amount_minor > released_minor,
        case when held_minor = 0 then hold.status
            when released_minor = held_minor then 'CAPTURED'
            else 'PARTIALLY_CAPTURED' end,
        key, effective_at);
    return id;
end
$$;

-- The merchant gives back what is held, or a part. Null when nothing is held any more; more than is
-- held is refused.
create function card.void_hold(
    hold_id uuid, amount_minor bigint, key text, effective_at timestamptz default null
) returns uuid
language plpgsql security definer set search_path = pg_catalog
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
declare
    hold card.holds := ledger.locked_hold(hold_id);
    id uuid := md5(concat_ws('|', 'VOID', hold_id, coalesce(amount_minor::text, 'ALL'), key))::uuid;
    held_minor bigint;
begin
    if ledger.is_known(id, key) then
        return id;
    end if;
    held_minor := ledger.held_under(hold_id);
    if held_minor = 0 then
        return null;
    end if;
    if amount_minor > held_minor or amount_minor <= 0 then
        raise exception 'card.void_hold: % cannot be released, hold % has % left', amount_minor,
            hold_id, held_minor using errcode = 'check_violation';
    end if;
    perform ledger.move_hold(hold, id, 'VOID', 0, coalesce(amount_minor, held_minor), false,
        case when coalesce(amount_minor, held_minor) = held_minor then 'REVERSED' else hold.status end,
        key, effective_at);
    return id;
end
$$;

-- Releases what is held under holds that have expired by `moment`, the oldest first, at most `most` of
-- them; how many. Each expires once, whoever calls it how often.
create function card.expire_holds(moment timestamptz default now(), most integer default 1000)
returns integer
language plpgsql security definer set search_path = pg_catalog
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
declare
    ids uuid[] := array(
        select h.hold_id from card.holds h
        where h.status in ('PENDING', 'PARTIALLY_CAPTURED') and h.expires_at <= moment
        order by h.expires_at, h.hold_id limit most);
    hold card.holds;
    held_minor bigint;
    expired integer := 0;
begin
    perform from card.card_accounts c
    where c.account_id in (select h.account_id from card.holds h where h.hold_id = any (ids))
    order by c.account_id for no key update;
    for hold in
        select h.* from card.holds h
        where h.hold_id = any (ids) and h.status in ('PENDING', 'PARTIALLY_CAPTURED')
        order by h.expires_at, h.hold_id for no key update
    loop
        held_minor := ledger.held_under(hold.hold_id);
        perform ledger.move_hold(hold, md5('EXPIRE|' || hold.hold_id)::uuid, 'EXPIRE', 0,
            held_minor, false, 'EXPIRED', 'expire:' || hold.hold_id, hold.expires_at);
        insert into card.card_events (
            card_event_id, occurred_at, account_id, card_id, authorization_id, hold_id, event_type,
            amount_minor, currency)
        select md5('event:expire:' || hold.hold_id)::uuid, hold.expires_at, a.account_id, a.card_id,
            a.authorization_id, hold.hold_id, 'EXPIRY', held_minor, hold.currency
        from card.authorizations a where a.authorization_id = hold.authorization_id;
        expired := expired + 1;
    end loop;
    return expired;
end
$$;
