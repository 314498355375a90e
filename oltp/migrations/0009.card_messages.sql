-- Messages that are not decided but applied, each once for its key. The accounts of a batch are locked
-- first, in id order, then everything else, as card.decide_and_hold does; so a message and a
-- decision about the same card come one after the other. A key that was seen before is answered from
-- its row, and with another request_hash as a conflict; neither has an effect.
-- depends: 0009.decide_and_hold 0009.hold_life 0009.money_movements 0009.card_message_effects

-- How long a message waits for what it is about. An authorization that comes later than this was
-- asked for again by the merchant, under another key.
create function card.park_period() returns interval
language sql immutable
return interval '1 day';

-- The accounts that messages move: of what they are about, else as they say, else of their card.
create function card.account_of(message card.card_message) returns uuid
language sql stable set search_path = pg_catalog as $$
    select coalesce(
        (card.standing_of(message.original_key)).account_id,
        (select d.account_id from card.disputes d
        where d.dispute_id = md5('dispute:' || message.original_key)::uuid),
        (select c.account_id from card.card_accounts c where c.account_id = message.account_id),
        (select c.account_id from card.cards c where c.card_id = message.card_id))
$$;

-- A stand-in said what we could not: what was promised is held, past the limit if need be, and what was
-- refused is held no longer. So a replay of the original key answers what its caller was told, and
-- the hold is what its merchant believes in.
create function card.take_advice(
    message card.card_message, original card.standing, account_id uuid
) returns card.message_effect
language plpgsql set search_path = pg_catalog as $$
declare
    key text := 'message:' || message.message_key;
    moment timestamptz := card.moment_of(message);
    told_minor bigint := message.amount_minor;
    held_minor bigint := ledger.held_under(original.hold_id);
    earlier_minor bigint := (
        select m.amount_minor from card.card_messages m
        where m.original_key = message.original_key and m.message_kind = 'ADVICE'
            and m.state = 'APPLIED'
        limit 1);
    freed_minor bigint;
begin
    if earlier_minor <> told_minor then
        return card.refused('ALREADY_ADVISED');
    elsif earlier_minor = told_minor then
        return card.applied('NO_EFFECT');
    elsif original.state = 'UNKNOWN'
        or (original.state in ('DECLINED', 'VERIFIED') and told_minor > 0)
    then
        return card.stand_in(message, original, account_id);
    elsif told_minor = original.promised_minor then
        return card.applied('NO_EFFECT');
    elsif original.state = 'CAPTURED' and told_minor < original.promised_minor then
        return card.refused('ALREADY_CAPTURED');
    elsif held_minor = 0 then
        return card.applied('NO_EFFECT');
    elsif told_minor > original.promised_minor then
        return card.applied('RAISED', told_minor - original.promised_minor, card.raise_hold(
            original.hold_id, told_minor - original.promised_minor, key, moment));
    end if;
    -- Refused to the caller: nothing of it is left, whatever else has raised it.
    freed_minor := case when told_minor = 0 and not original.is_increment then held_minor
        else least(held_minor, original.promised_minor - told_minor) end;
    return card.applied(case freed_minor when held_minor then 'RELEASED' else 'LOWERED' end,
        freed_minor, card.void_hold(original.hold_id, freed_minor, key, moment));
end
$$;

-- Writes down what a stand-in answered as a decision of the card: the answer to the original key when
-- nobody had decided it, else beside the decision that it overrules. It takes a number of the
-- card, so that whoever judges from a copy that has not seen it looks again.
create function card.stand_in(
    message card.card_message, original card.standing, account_id uuid
) returns card.message_effect
language plpgsql set search_path = pg_catalog as $$
declare
    is_approved boolean := message.amount_minor > 0
        or message.reason is not distinct from 'STAND_IN_APPROVED';
    id uuid := md5('advice:' || message.message_key)::uuid;
    entry uuid := md5('advice-entry:' || message.message_key)::uuid;
    number record;
    hold card.holds;
    effect card.message_effect;
begin
    if account_id is null and is_approved then
        return card.refused('ACCOUNT_NOT_FOUND');
    end if;
    insert into card.card_states as s (card_id, version, last_decided_at)
    values (coalesce(original.card_id, message.card_id), 1, card.moment_of(message))
    on conflict (card_id) do update set
        version = s.version + 1,
        last_decided_at = greatest(s.last_decided_at, excluded.last_decided_at)
    returning s.version, s.last_decided_at into number;
    insert into card.authorizations (
        authorization_id, idempotency_key, request_hash, message_kind, parent_authorization_id,
        card_id, account_id, amount_minor, currency, merchant_id, mcc, merchant_country, channel,
        network, decision, response_code, reason_code, is_stand_in, rule_hits, facts, rule_version,
        card_version, available_minor, requested_at, decided_at)
    select
        id,
        case when original.authorization_id is null then message.original_key
            else message.message_key end,
        message.request_hash, 'ADVICE', original.authorization_id,
        coalesce(original.card_id, message.card_id), c.account_id, message.amount_minor,
        coalesce(c.currency, message.currency, 'XXX'),
        coalesce(message.merchant_id, a.merchant_id, ''), coalesce(message.mcc, a.mcc, '0000'),
        coalesce(message.merchant_country, a.merchant_country, 'ZZ'),
        coalesce(message.channel, message.body ->> 'channel', a.channel, 'ECOMMERCE'),
        coalesce(message.network, a.network, 'DOMESTIC'),
        case when is_approved then 'APPROVED' else 'DECLINED' end,
        case when is_approved then '00' else '91' end,
        case when is_approved then 'STAND_IN_APPROVED' else 'STAND_IN_DECLINED' end,
        true, '[]', '{}', 'stand-in', number.version,
        c.credit_limit_minor - c.posted_minor - c.held_minor,
        card.moment_of(message), number.last_decided_at
    from (values (1)) as always (one)
    left join card.card_accounts c on c.account_id = stand_in.account_id
    left join card.authorizations a on a.authorization_id = original.authorization_id;
    if message.amount_minor = 0 then
        effect := card.applied('RECORDED');
    else
        insert into card.holds (
            hold_id, authorization_id, account_id, amount_minor, currency, expires_at)
        select md5('advice-hold:' || message.message_key)::uuid, id, a.account_id, a.amount_minor,
            a.currency, now() + card.hold_period(a.network, a.mcc)
        from card.authorizations a where a.authorization_id = id
        returning * into hold;
        perform ledger.reserve(hold, id, entry, message.amount_minor, true,
            'message:' || message.message_key, card.moment_of(message));
        perform card.count_advice(id);
        effect := card.applied('HELD', message.amount_minor, entry);
    end if;
    effect.authorization_id := id;
    effect.hold_id := hold.hold_id;
    return effect;
end
$$;

-- What a stand-in approved counts under the limits that have begun to count; those that begin later find
-- it among the decisions.
create function card.count_advice(authorization_id uuid) returns void
language sql set search_path = pg_catalog as $$
    update card.spend_counters s
    set approved_count = s.approved_count + 1,
        approved_amount_minor = s.approved_amount_minor + a.amount_minor
    from card.authorizations a
    join card.card_accounts o on o.account_id = a.account_id
    join card.programs p on p.program_id = o.program_id
    join card.spend_limits l
        on l.currency = a.currency
            and (l.card_id = a.card_id or l.account_id = a.account_id or l.program_id = o.program_id)
    where a.authorization_id = count_advice.authorization_id
        and s.spend_limit_id = l.spend_limit_id
        and s.period_start = card.period_start(l.period, a.decided_at, p.time_zone)
$$;

-- Of one presented before its authorization was known: what was held for it is to be released when it
-- comes after all.
create function card.park_release(message card.card_message, account_id uuid) returns void
language sql set search_path = pg_catalog as $$
    insert into card.card_messages (
        message_key, message_kind, request_hash, original_key, card_id, account_id, amount_minor,
        currency, state, outcome, body, park_until, occurred_at, created_at)
    values (
        'cleared:' || message.message_key, 'REVERSAL', message.request_hash, message.original_key,
        message.card_id, park_release.account_id,
        -- A final presentment leaves nothing to hold.
        case when not message.is_final then message.amount_minor end, message.currency,
        'PARKED', 'WAITING',
        jsonb_build_object('because_of', message.message_key),
        now() + card.park_period(), card.moment_of(message), clock_timestamp())
$$;

-- What no state can take, in words of MessageOutcome; null when there is none.
create function card.refusal_of(
    message card.card_message, original card.standing, account_id uuid
) returns text
language sql stable set search_path = pg_catalog as $$
    select case
        when message.amount_minor < 0 then 'INVALID_AMOUNT'
        when message.message_kind in ('CLEARING', 'FORCE_POST', 'REFUND')
            and coalesce(message.amount_minor, 0) = 0 then 'INVALID_AMOUNT'
        when message.message_kind = 'ADVICE' and message.amount_minor is null then 'INVALID_AMOUNT'
        when message.original_key is null
            and message.message_kind not in ('CLEARING', 'FORCE_POST', 'REFUND')
            then 'ORIGINAL_NOT_FOUND'
        when original.card_id <> message.card_id or original.account_id <> message.account_id
            then 'WRONG_CARD'
        -- A presentment is not taken back by a reversal: it is refunded or charged back.
        when original.clearing_id is not null and message.message_kind = 'REVERSAL'
            then 'ALREADY_CAPTURED'
        when original.clearing_id is not null and message.message_kind in ('CLEARING', 'ADVICE')
            then 'ORIGINAL_NOT_FOUND'
        when message.currency <> (
            select c.currency from card.card_accounts c where c.account_id = refusal_of.account_id)
            then 'WRONG_CURRENCY'
        when account_id is null and message.message_kind in ('CLEARING', 'FORCE_POST', 'REFUND')
            then 'ACCOUNT_NOT_FOUND'
        when message.message_kind = 'ADVICE' and coalesce(original.card_id, message.card_id) is null
            then 'ACCOUNT_NOT_FOUND'
        when message.message_kind in ('CLEARING', 'FORCE_POST', 'REFUND')
            and exists (select from card.clearings c where c.network_ref = message.network_ref)
            then 'DUPLICATE_REFERENCE'
    end
$$;

-- Applies one message whose account is locked, and writes it down; one that was parked is taken again.
create function card.take_message(message card.card_message, raw jsonb, was_parked boolean)
returns void
language plpgsql set search_path = pg_catalog as $$
declare
    original card.standing := card.standing_of(
        case when message.message_kind <> 'FORCE_POST' then message.original_key end);
    account uuid := card.account_of(message);
    refusal text := card.refusal_of(message, original, account);
    effect card.message_effect;
begin
    effect := case
        when refusal is not null then card.refused(refusal)
        when message.message_kind = 'REVERSAL' then card.take_reversal(message, original)
        when message.message_kind in ('CLEARING', 'FORCE_POST')
            then card.take_clearing(message, original, account)
        when message.message_kind = 'REFUND' then card.take_refund(message, original, account)
        when message.message_kind = 'ADVICE' then card.take_advice(message, original, account)
        else card.take_dispute(message, original)
    end;
    effect.authorization_id := coalesce(effect.authorization_id, original.authorization_id);
    effect.hold_id := coalesce(effect.hold_id, original.hold_id);
    if was_parked and effect.state = 'PARKED' then
        return;
    end if;
    insert into card.card_messages as k (
        message_key, message_kind, request_hash, original_key, card_id, account_id, authorization_id,
        hold_id, amount_minor, currency, state, outcome, applied_minor, entry_id, body, park_until,
        occurred_at, created_at)
    values (
        message.message_key, message.message_kind, message.request_hash, message.original_key,
        coalesce(message.card_id, original.card_id), account, effect.authorization_id,
        effect.hold_id, case when message.amount_minor >= 0 then message.amount_minor end,
        message.currency, effect.state, effect.outcome, effect.applied_minor, effect.entry_id, raw,
        case effect.state when 'PARKED' then now() + card.park_period() end,
        message.occurred_at, clock_timestamp())
    on conflict (message_key) do update set
        state = excluded.state, outcome = excluded.outcome, account_id = excluded.account_id,
        authorization_id = excluded.authorization_id, hold_id = excluded.hold_id,
        applied_minor = excluded.applied_minor, entry_id = excluded.entry_id, updated_at = now()
    where was_parked;
    if not found then
        -- Another session has just taken the key, under another account.
        raise exception 'message % was taken meanwhile', message.message_key using errcode = 'MR001';
    end if;
    perform card.write_event(message, effect, account);
    -- What had waited for the authorization that a stand-in has given.
    if effect.outcome = 'HELD' then
        perform card.apply_parked(array[message.original_key]);
    end if;
end
$$;

-- The message in the life of its card.
create function card.write_event(
    message card.card_message, effect card.message_effect, account_id uuid
) returns void
language sql set search_path = pg_catalog as $$
    insert into card.card_events (
        card_event_id, occurred_at, account_id, card_id, authorization_id, hold_id, event_type,
        amount_minor, currency, network_ref)
    select
        md5('event:' || message.message_key)::uuid, card.moment_of(message), c.account_id,
        coalesce(message.card_id, a.card_id), effect.authorization_id, effect.hold_id,
        case effect.outcome
            when 'PARTLY_REVERSED' then 'PARTIAL_REVERSAL'
            when 'OVER_CAPTURED' then 'OVER_CAPTURE'
            when 'CLEARED_LATE' then 'LATE_CLEARING'
            when 'FORCE_POSTED' then 'FORCE_POST'
            else message.message_kind
        end,
        effect.applied_minor, c.currency, message.network_ref
    from card.card_accounts c
    left join card.authorizations a on a.authorization_id = effect.authorization_id
    where c.account_id = write_event.account_id and effect.state = 'APPLIED'
$$;

-- Takes again what is parked for these keys; how many have ceased to wait. decide_and_hold calls it
-- for what it approved.
create function card.apply_parked(keys text[]) returns integer
language plpgsql set search_path = pg_catalog as $$
declare
    parked card.card_messages;
    taken integer := 0;
begin
    perform from card.card_accounts c
    where c.account_id in (
        select a.account_id from card.authorizations a where a.idempotency_key = any (keys))
    order by c.account_id for no key update;
    for parked in
        select m.* from card.card_messages m
        where m.original_key = any (keys) and m.state = 'PARKED'
        order by m.created_at, m.message_key
        for update
    loop
        perform card.take_message(
            jsonb_populate_record(null::card.card_message, parked.body
                || to_jsonb(parked) - 'body'),
            parked.body, true);
        taken := taken + (
            select (m.state <> 'PARKED')::integer from card.card_messages m
            where m.message_key = parked.message_key);
    end loop;
    return taken;
end
$$;

-- What nothing has come for by `moment` is given up: it stays, LAPSED, to be looked into; how many
-- were. Before that, whatever an authorization has come for after all is applied: the two
-- may have passed each other.
create function card.lapse_parked(moment timestamptz default now()) returns integer
language plpgsql set search_path = pg_catalog as $$
declare
    lapsed integer;
begin
    perform card.apply_parked(array(
        select distinct m.original_key
        from card.card_messages m
        join card.authorizations a on a.idempotency_key = m.original_key
        where m.state = 'PARKED' and (a.decision = 'APPROVED' or exists (
            select from card.authorizations c
            where c.parent_authorization_id = a.authorization_id and c.message_kind = 'ADVICE'))
        order by 1));
    update card.card_messages m
    set state = 'LAPSED', outcome = 'NEVER_AUTHORIZED', updated_at = now()
    where m.message_key in (
        select p.message_key from card.card_messages p
        where p.state = 'PARKED' and p.park_until <= moment
        order by p.message_key
        for update skip locked);
    get diagnostics lapsed = row_count;
    return lapsed;
end
$$;

-- Applies a locked batch in its order; says of each message whether it is new.
create function card.take_messages(batch card.card_message[], raw jsonb[]) returns boolean[]
language plpgsql set search_path = pg_catalog as $$
declare
    is_new boolean[] := array[]::boolean[];
    message card.card_message;
begin
    foreach message in array batch loop
        is_new := is_new || not (
            exists (select from card.card_messages m where m.message_key = message.message_key)
            or exists (
                select from card.authorizations a where a.idempotency_key = message.message_key));
        if is_new[cardinality(is_new)] then
            perform card.take_message(message, raw[cardinality(is_new)], false);
        end if;
    end loop;
    return is_new;
end
$$;

create function card.apply_messages(messages jsonb)
returns table (
    message_key text,
    message_kind text,
    state text,
    outcome text,
    authorization_id uuid,
    hold_id uuid,
    entry_id uuid,
    applied_minor bigint,
    replayed boolean,
    conflict boolean
)
language plpgsql as $$
#variable_conflict use_column
declare
    raw jsonb[] := array(select jsonb_array_elements(messages));
    batch card.card_message[] := array(
        select jsonb_populate_record(null::card.card_message, jsonb_build_object(
            'request_hash', encode(sha256(convert_to(element::text, 'UTF8')), 'hex'),
            'occurred_at', now()) || jsonb_strip_nulls(element))
        from unnest(raw) as element);
    is_new boolean[];
begin
    perform from card.card_accounts a
    where a.account_id in (select card.account_of(b) from unnest(batch) b)
    order by a.account_id
    for no key update;
    -- Of messages about nobody's account only the key keeps apart those that are the same.
    perform pg_advisory_xact_lock(hashtext('card.apply_messages'), k.hash)
    from (
        select distinct hashtext(b.message_key) as hash from unnest(batch) b
        where card.account_of(b) is null
        order by 1
    ) k;
    for attempt in 1..5 loop
        begin
            is_new := card.take_messages(batch, raw);
            exit;
        exception when sqlstate 'MR001' or unique_violation then
            -- A key or a reference that another batch, under other accounts, has just taken: judge
            -- again with that in sight.
            if attempt = 5 then
                raise;
            end if;
        end;
    end loop;

    return query
    select
        b.message_key, coalesce(m.message_kind, b.message_kind), coalesce(m.state, 'REFUSED'),
        coalesce(m.outcome, 'KEY_USED'), m.authorization_id, m.hold_id, m.entry_id,
        coalesce(m.applied_minor, 0), not is_new[b.ordinality] and m.message_key is not null,
        m.request_hash is distinct from b.request_hash
    from unnest(batch) with ordinality as b
    left join card.card_messages m on m.message_key = b.message_key
    order by b.ordinality;
end
$$;
