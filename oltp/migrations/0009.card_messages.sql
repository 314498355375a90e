-- Messages that are not decided but applied, each once for its key. The accounts of a batch are locked
-- first, in id order, then everything else, as card.decide_and_hold does; so a message and a
-- decision about the same card come one after the other. A key that was seen before is answered from
-- its row, and with another request_hash as a conflict; neither has an effect.
-- depends: 0009.decide_and_hold 0009.hold_life 0009.money_movements 0009.card_advices

-- How long a message waits for what it is about. An authorization that comes later than this was
-- asked for again by the merchant, under another key.
create function card.park_period() returns interval
language sql immutable
return interval '1 day';

-- The account that a message moves: of what it is about, else as it says, else of its card.
create function card.account_of(message card.card_message, original card.standing) returns uuid
language plpgsql stable set search_path = pg_catalog as $$
begin
    return coalesce(
        original.account_id,
        (select d.account_id from card.disputes d
        where d.dispute_id = md5('dispute:' || message.original_key)::uuid),
        (select c.account_id from card.card_accounts c where c.account_id = message.account_id),
        (select c.account_id from card.cards c where c.card_id = message.card_id));
end
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
    on conflict (message_key) do nothing
$$;

-- What no state can take, in words of MessageOutcome; null when there is none.
create function card.refusal_of(
    message card.card_message, original card.standing, account_id uuid
) returns text
language plpgsql stable set search_path = pg_catalog as $$
begin
    return case
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
    end;
end
$$;

-- Applies one message whose account is locked, and writes it down; one that was parked is taken again.
create function card.take_message(message card.card_message, raw jsonb, was_parked boolean)
returns void
language plpgsql set search_path = pg_catalog as $$
declare
    original card.standing := card.standing_of(
        case when message.message_kind <> 'FORCE_POST' then message.original_key end);
    account uuid := card.account_of(message, original);
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
language plpgsql set search_path = pg_catalog as $$
begin
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
    where c.account_id = write_event.account_id and effect.state = 'APPLIED';
end
$$;

-- Takes again what is parked for these keys; how many have ceased to wait. decide_and_hold calls it
-- for what it approved.
create function card.apply_parked(keys text[]) returns integer
language plpgsql set search_path = pg_catalog
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
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
language plpgsql set search_path = pg_catalog
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
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
language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
#variable_conflict use_column
declare
    raw jsonb[] := array(select jsonb_array_elements(messages));
    batch card.card_message[] := array(
        select jsonb_populate_record(null::card.card_message, jsonb_build_object(
            'request_hash', encode(sha256(convert_to(element::text, 'UTF8')), 'hex'),
            'occurred_at', now()) || jsonb_strip_nulls(element))
        from unnest(raw) as element);
    accounts uuid[];
    is_new boolean[];
begin
    accounts := array(
        select card.account_of(batch[n], card.standing_of((batch[n]).original_key))
        from generate_subscripts(batch, 1) n
        order by n);
    perform from card.card_accounts a
    where a.account_id = any (accounts)
    order by a.account_id
    for no key update;
    -- Of messages about nobody's account only the key keeps apart those that are the same.
    perform pg_advisory_xact_lock(hashtext('card.apply_messages'), k.hash)
    from (
        select distinct hashtext((batch[n]).message_key) as hash
        from generate_subscripts(batch, 1) n
        where accounts[n] is null
        order by 1
    ) k;
    for attempt in 1..5 loop
        begin
            is_new := card.take_messages(batch, raw);
            exit;
        exception when sqlstate 'MR001' or sqlstate 'MR002' or unique_violation then
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
