-- What each kind of message about an authorization does: one function a kind, each a row of the table in
-- schemas/lifecycle.py by the state that it finds. They are called by card.take_message, which has the
-- account locked, has refused what cannot be, and writes the message down.
--
-- A message that came too early for what it is about is PARKED: it says nothing wrong yet.
-- depends: 0009.money_movements

create type card.card_message as (
    message_key text,
    message_kind text,
    request_hash text,
    original_key text,
    card_id uuid,
    account_id uuid,
    amount_minor bigint,
    currency text,
    amount_is_total boolean,
    is_final boolean,
    sequence_number integer,
    network text,
    network_ref text,
    merchant_id text,
    mcc text,
    merchant_country text,
    channel text,
    reason text,
    occurred_at timestamptz,
    body jsonb
);

-- What a message came to: a state of card.card_messages and a MessageOutcome, and what it moved.
create type card.message_effect as (
    state text,
    outcome text,
    applied_minor bigint,
    entry_id uuid,
    authorization_id uuid,
    hold_id uuid
);

-- What a message is about, as it stands: UNKNOWN, DECLINED, VERIFIED (approved, nothing held) or the
-- status of its hold. `promised_minor` is what this very request was approved for, `clearing_id` the
-- presentment when that is what the key names.
create type card.standing as (
    state text,
    authorization_id uuid,
    account_id uuid,
    card_id uuid,
    is_increment boolean,
    promised_minor bigint,
    hold_id uuid,
    captured_minor bigint,
    clearing_id uuid
);

-- An increment's hold is that of the authorization it raised. What was declined and then advised as
-- approved has the hold of the advice. A key of an authorization goes before one of a presentment.
-- In plpgsql, as what is called for each message, because its plans are kept.
create function card.standing_of(original_key text) returns card.standing
language plpgsql stable set search_path = pg_catalog as $$
declare
    found_row record;
    hold card.holds;
    standing card.standing;
begin
    standing.state := 'UNKNOWN';
    standing.is_increment := false;
    standing.promised_minor := 0;
    select a.authorization_id, a.account_id, a.card_id, a.decision, a.message_kind,
        a.parent_authorization_id, coalesce(a.approved_amount_minor, a.amount_minor) as approved_minor
    into found_row
    from card.authorizations a where a.idempotency_key = standing_of.original_key;
    if found then
        standing.is_increment := found_row.message_kind = 'INCREMENT';
        if found_row.decision = 'APPROVED' then
            standing.state := 'VERIFIED';
            standing.promised_minor := found_row.approved_minor;
        else
            standing.state := 'DECLINED';
        end if;
    else
        select c.account_id, c.card_id, c.clearing_id, m.authorization_id, m.hold_id
        into found_row
        from card.card_messages m
        join card.clearings c on c.clearing_id = md5('clearing:' || m.message_key)::uuid
        where m.message_key = standing_of.original_key
            and m.message_kind in ('CLEARING', 'FORCE_POST');
        if not found then
            return standing;
        end if;
        standing.clearing_id := found_row.clearing_id;
    end if;
    standing.authorization_id := found_row.authorization_id;
    standing.account_id := found_row.account_id;
    standing.card_id := found_row.card_id;

    if standing.clearing_id is not null then
        select h.* into hold from card.holds h where h.hold_id = found_row.hold_id;
    elsif standing.is_increment and standing.state = 'VERIFIED' then
        select h.* into hold from card.holds h
        where h.authorization_id = found_row.parent_authorization_id;
    else
        select h.* into hold from card.holds h
        where h.authorization_id = found_row.authorization_id;
    end if;
    if hold.hold_id is null and standing.authorization_id is not null then
        select h.* into hold
        from card.authorizations a
        join card.holds h on h.authorization_id = a.authorization_id
        where a.parent_authorization_id = standing.authorization_id and a.message_kind = 'ADVICE'
        limit 1;
    end if;
    if hold.hold_id is not null then
        standing.state := hold.status;
        standing.hold_id := hold.hold_id;
        standing.captured_minor := hold.captured_amount_minor;
    end if;
    return standing;
end
$$;

create function card.applied(
    outcome text, applied_minor bigint default 0, entry_id uuid default null
) returns card.message_effect
language sql immutable
return row('APPLIED', outcome, applied_minor, entry_id, null, null)::card.message_effect;

create function card.refused(outcome text) returns card.message_effect
language sql immutable
return row('REFUSED', outcome, 0, null, null, null)::card.message_effect;

create function card.parked() returns card.message_effect
language sql immutable
return row('PARKED', 'WAITING', 0, null, null, null)::card.message_effect;

-- Merchants' clocks are their own: what is said to happen later than now happens now.
create function card.moment_of(message card.card_message) returns timestamptz
language sql stable
return least(message.occurred_at, now());

-- Gives back what was reserved: all of it, the amount, or what is above the total that shall stay
-- authorized. An increment that is reversed takes back what it raised.
--
-- What was declined may have been approved by a stand-in whose advice is still under way, so its
-- reversal waits as one of something unknown does.
create function card.take_reversal(message card.card_message, original card.standing)
returns card.message_effect
language plpgsql set search_path = pg_catalog as $$
declare
    held_minor bigint := ledger.held_under(original.hold_id);
    asked_minor bigint := nullif(message.amount_minor, 0);
    freed_minor bigint;
    entry_id uuid;
begin
    if original.state in ('UNKNOWN', 'DECLINED') then
        return card.parked();
    elsif original.state = 'CAPTURED' then
        return card.refused('ALREADY_CAPTURED');
    end if;
    freed_minor := least(held_minor, case
        when asked_minor is null and original.is_increment then original.promised_minor
        when asked_minor is null then held_minor
        when message.amount_is_total
            then greatest(held_minor - greatest(asked_minor - original.captured_minor, 0), 0)
        else asked_minor
    end);
    -- Nothing is held any more, or no more than shall stay.
    if coalesce(freed_minor, 0) = 0 then
        return card.applied('NO_EFFECT');
    end if;
    entry_id := card.void_hold(original.hold_id, freed_minor, 'message:' || message.message_key,
        card.moment_of(message));
    return card.applied(case freed_minor when held_minor then 'REVERSED' else 'PARTLY_REVERSED' end,
        freed_minor, entry_id);
end
$$;

-- What was presented, beside its ledger entry.
create function card.write_clearing(
    message card.card_message, original card.standing, account_id uuid, kind text, entry_id uuid
) returns void
language plpgsql set search_path = pg_catalog as $$
begin
    insert into card.clearings (
        clearing_id, account_id, card_id, authorization_id, hold_id, kind, amount_minor, currency,
        sequence_number, is_final, merchant_id, mcc, merchant_country, network_ref, entry_id,
        cleared_at)
    select
        md5('clearing:' || message.message_key)::uuid, write_clearing.account_id,
        coalesce(message.card_id, original.card_id),
        case when write_clearing.kind <> 'FORCE_POST' then original.authorization_id end,
        case when write_clearing.kind not in ('FORCE_POST', 'REFUND') then original.hold_id end,
        write_clearing.kind, message.amount_minor, c.currency,
        coalesce(message.sequence_number, 1), coalesce(message.is_final, true),
        coalesce(message.merchant_id, a.merchant_id), coalesce(message.mcc, a.mcc),
        coalesce(message.merchant_country, a.merchant_country), message.network_ref,
        write_clearing.entry_id, card.moment_of(message)
    from card.card_accounts c
    left join card.authorizations a on a.authorization_id = original.authorization_id
    where c.account_id = write_clearing.account_id;
end
$$;

-- A presentment is paid, whatever was held for it: the network settles it. What is more than held, or
-- late, or never authorized goes past the limit and is flagged. One without an authorization leaves
-- a reversal parked for the hold that may still come.
create function card.take_clearing(
    message card.card_message, original card.standing, account_id uuid
) returns card.message_effect
language plpgsql set search_path = pg_catalog as $$
declare
    key text := 'message:' || message.message_key;
    held_minor bigint := ledger.held_under(original.hold_id);
    kind text := case
        when message.message_kind = 'FORCE_POST' or original.authorization_id is null
            then 'FORCE_POST'
        when original.state in ('REVERSED', 'EXPIRED') then 'LATE_CLEARING'
        when message.amount_minor > held_minor then 'OVER_CAPTURE'
        else 'CLEARING'
    end;
    entry_id uuid;
begin
    if kind = 'FORCE_POST' or original.hold_id is null then
        entry_id := ledger.transfer('PURCHASE', c.account_id, ledger.house('SETTLEMENT', c.currency),
            message.amount_minor, c.currency, key, card.moment_of(message), true,
            case when kind <> 'FORCE_POST' then original.authorization_id end)
        from card.card_accounts c where c.account_id = take_clearing.account_id;
    else
        entry_id := card.capture_hold(original.hold_id, message.amount_minor, key,
            coalesce(message.is_final, true), card.moment_of(message));
    end if;
    perform card.write_clearing(message, original, account_id, kind, entry_id);
    if message.message_kind = 'CLEARING' and message.original_key is not null
        and original.state in ('UNKNOWN', 'DECLINED')
    then
        perform card.park_release(message, account_id);
    end if;
    return card.applied(case kind
        when 'CLEARING' then 'CLEARED'
        when 'OVER_CAPTURE' then 'OVER_CAPTURED'
        when 'LATE_CLEARING' then 'CLEARED_LATE'
        else 'FORCE_POSTED' end, message.amount_minor, entry_id);
end
$$;

-- What was cleared of the original and has neither come back nor is in dispute.
create function card.returnable_minor(original card.standing) returns bigint
language plpgsql stable set search_path = pg_catalog as $$
begin
    return least(
        (select
            coalesce((
                select sum(case c.kind when 'REFUND' then -c.amount_minor else c.amount_minor end)
                from card.clearings c where c.authorization_id = a.authorization_id), 0)
            -- Presented before it was authorized.
            + coalesce((
                select sum(m.applied_minor) from card.card_messages m
                where m.original_key = a.idempotency_key and m.message_kind = 'CLEARING'
                    and m.outcome = 'FORCE_POSTED'), 0)
            - coalesce((
                select sum(d.amount_minor) from card.disputes d
                where d.authorization_id = a.authorization_id
                    and d.status not in ('LOST', 'WITHDRAWN')), 0)
        from card.authorizations a where a.authorization_id = original.authorization_id),
        (select c.amount_minor
            - coalesce((
                select sum(m.applied_minor) from card.card_messages m
                where m.message_kind = 'REFUND' and m.state = 'APPLIED'
                    and md5('clearing:' || m.original_key)::uuid = c.clearing_id), 0)
            - coalesce((
                select sum(d.amount_minor) from card.disputes d
                where d.clearing_id = c.clearing_id and d.status not in ('LOST', 'WITHDRAWN')), 0)
        from card.clearings c where c.clearing_id = original.clearing_id)
    )::bigint;
end
$$;

-- Money back from a merchant. With an original, no more than was cleared of it and has not come back
-- already: what is more is refused and stays with the message, because it is a second refund far more
-- often than a generous merchant. Without one it is a credit of its own.
create function card.take_refund(
    message card.card_message, original card.standing, account_id uuid
) returns card.message_effect
language plpgsql set search_path = pg_catalog as $$
declare
    is_known boolean := original.state <> 'UNKNOWN' or original.clearing_id is not null;
    entry_id uuid;
begin
    if is_known and message.amount_minor > coalesce(card.returnable_minor(original), 0) then
        return card.refused('EXCEEDS_CLEARED');
    end if;
    entry_id := ledger.transfer('REFUND', ledger.house('SETTLEMENT', c.currency), c.account_id,
        message.amount_minor, c.currency, 'message:' || message.message_key,
        card.moment_of(message), false, original.authorization_id)
    from card.card_accounts c where c.account_id = take_refund.account_id;
    perform card.write_clearing(message, original, account_id, 'REFUND', entry_id);
    return card.applied('REFUNDED', message.amount_minor, entry_id);
end
$$;

-- A chargeback credits the holder at once, out of DISPUTES, and opens the dispute. The merchant may
-- represent. Won: the network pays DISPUTES back. Lost: the credit is corrected away. Either way
-- DISPUTES ends with nothing of it, and a dispute ends once.
create function card.take_dispute(message card.card_message, original card.standing)
returns card.message_effect
language plpgsql set search_path = pg_catalog as $$
declare
    key text := 'message:' || message.message_key;
    moment timestamptz := card.moment_of(message);
    dispute card.disputes;
    entry_id uuid;
begin
    select d.* into dispute from card.disputes d
    where d.dispute_id = md5('dispute:' || message.original_key)::uuid
        or d.clearing_id = original.clearing_id
        or (original.clearing_id is null and d.authorization_id = original.authorization_id)
    order by d.opened_at desc, d.created_at desc
    limit 1
    for no key update;
    if message.message_kind = 'CHARGEBACK' then
        return card.take_chargeback(message, original, dispute);
    elsif dispute.status in ('WON', 'LOST', 'WITHDRAWN') then
        return card.refused('DISPUTE_ENDED');
    elsif dispute.status in ('CHARGEBACK', 'REPRESENTMENT') then
        null;
    else
        return card.refused('NO_DISPUTE');
    end if;

    if message.message_kind = 'REPRESENTMENT' then
        if dispute.status = 'REPRESENTMENT' then
            return card.applied('NO_EFFECT');
        end if;
        update card.disputes d set status = 'REPRESENTMENT', updated_at = now()
        where d.dispute_id = dispute.dispute_id;
        return card.applied('REPRESENTED');
    end if;
    entry_id := case message.message_kind
        when 'DISPUTE_WON' then ledger.transfer('CHARGEBACK',
            ledger.house('SETTLEMENT', dispute.currency), ledger.house('DISPUTES', dispute.currency),
            dispute.amount_minor, dispute.currency, key, moment, false, dispute.authorization_id)
        else ledger.correct(dispute.provisional_entry_id, key, moment)
    end;
    update card.disputes d
    set status = case message.message_kind when 'DISPUTE_WON' then 'WON' else 'LOST' end,
        resolution_entry_id = entry_id, resolved_at = greatest(moment, d.opened_at),
        updated_at = now()
    where d.dispute_id = dispute.dispute_id;
    return card.applied(case message.message_kind when 'DISPUTE_WON' then 'WON' else 'LOST' end,
        dispute.amount_minor, entry_id);
end
$$;

-- One dispute of an original, unless it was withdrawn. One that is OPENED has its credit already.
create function card.take_chargeback(
    message card.card_message, original card.standing, dispute card.disputes
) returns card.message_effect
language plpgsql set search_path = pg_catalog as $$
declare
    returnable_minor bigint := coalesce(card.returnable_minor(original), 0);
    asked_minor bigint := coalesce(nullif(message.amount_minor, 0), returnable_minor);
    entry_id uuid;
begin
    if dispute.status = 'OPENED' then
        update card.disputes d set status = 'CHARGEBACK', updated_at = now()
        where d.dispute_id = dispute.dispute_id;
        return card.applied('CREDITED', dispute.amount_minor, dispute.provisional_entry_id);
    elsif dispute.status <> 'WITHDRAWN' then
        return card.refused('ALREADY_DISPUTED');
    elsif original.state = 'UNKNOWN' and original.clearing_id is null then
        return card.refused('ORIGINAL_NOT_FOUND');
    elsif asked_minor > returnable_minor or returnable_minor = 0 then
        return card.refused('EXCEEDS_CLEARED');
    elsif message.reason is null or message.reason not in ('FRAUD', 'NOT_RECEIVED',
        'NOT_AS_DESCRIBED', 'DUPLICATE', 'INCORRECT_AMOUNT', 'CREDIT_NOT_PROCESSED',
        'CANCELLED_RECURRING')
    then
        return card.refused('INVALID_REASON');
    end if;
    entry_id := ledger.transfer('PROVISIONAL_CREDIT', ledger.house('DISPUTES', c.currency),
        c.account_id, asked_minor, c.currency, 'message:' || message.message_key,
        card.moment_of(message), false, original.authorization_id)
    from card.card_accounts c where c.account_id = original.account_id;
    insert into card.disputes (
        dispute_id, account_id, card_id, authorization_id, clearing_id, reason, status, amount_minor,
        currency, provisional_entry_id, opened_at)
    select md5('dispute:' || message.message_key)::uuid, c.account_id,
        coalesce(original.card_id, message.card_id), original.authorization_id, original.clearing_id,
        message.reason, 'CHARGEBACK', asked_minor, c.currency, entry_id, card.moment_of(message)
    from card.card_accounts c where c.account_id = original.account_id;
    return card.applied('CREDITED', asked_minor, entry_id);
end
$$;
