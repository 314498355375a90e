-- Advices: what a stand-in, or a terminal that completes a sale, has told its caller in our place. We and
-- the caller end with one truth, which is the caller's.
-- depends: 0009.card_message_effects

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
    is_approved boolean := message.amount_minor > 0;
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
    if is_approved then
        perform card.add_spend(coalesce(original.card_id, message.card_id), c.account_id,
            message.amount_minor, c.currency, number.last_decided_at)
        from card.card_accounts c where c.account_id = stand_in.account_id;
    end if;
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
    if not is_approved then
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
        effect := card.applied('HELD', message.amount_minor, entry);
    end if;
    effect.authorization_id := id;
    effect.hold_id := hold.hold_id;
    return effect;
end
$$;
