-- What is asked of card.decide_and_hold (0009.decide_and_hold), what becomes of it, and what it is judged
-- on.
-- depends: 0008.ledger

-- Rows with their facts are some 2 kB: kept whole, because to compress each cost a twentieth of its
-- decision.
alter table card.authorizations set (toast_tuple_target = 8160);

create type card.authorization_request as (
    request_id text,
    authorization_id uuid,
    hold_id uuid,
    entry_id uuid,
    idempotency_key text,
    request_hash text,
    -- PURCHASE, VERIFICATION or INCREMENT; an increment names the authorization that it raises, and says
    -- whether its amount is what is added or the new total.
    message_kind text,
    original_key text,
    amount_is_total boolean,
    -- The terminal can take less than it asked for.
    partial_allowed boolean,
    card_id uuid,
    account_id uuid,
    amount_minor bigint,
    currency text,
    merchant_id text,
    mcc text,
    merchant_country text,
    channel text,
    network text,
    terminal_latitude_e6 integer,
    terminal_longitude_e6 integer,
    decision text,
    response_code text,
    reason_code text,
    rule_hits jsonb,
    facts jsonb,
    rule_version text,
    -- What versions in shadow say: [{version, decision, response_code, reason_code, rule_hits}].
    shadows jsonb,
    -- Null: not fenced.
    card_version bigint,
    requested_at timestamptz,
    decided_at timestamptz
);

-- What became of the request at the same place of the batch. Neither new nor stale: answered before.
create type card.verdict as (
    is_new boolean,
    is_stale boolean,
    account_id uuid,
    decision text,
    response_code text,
    reason_code text,
    -- What was asked; of an increment what it adds.
    amount_minor bigint,
    approved_minor bigint,
    available_minor bigint,
    -- The hold it made or raised, and the authorization whose hold it raised.
    hold_id uuid,
    parent_id uuid,
    card_version bigint,
    decided_at timestamptz,
    -- The clock's time under the lock: the order of the journal.
    judged_at timestamptz
);

-- What an increment raises.
create type card.original as (
    authorization_id uuid,
    hold_id uuid,
    is_open boolean,
    authorized_minor bigint
);

-- ISO 8583 response codes of what is refused here; schemas/codes.py has the whole list.
create function card.refusal_code(reason_code text) returns text
language sql immutable
return case reason_code
    when 'UNKNOWN_CARD' then '14'
    when 'CARD_LOST' then '41'
    when 'CARD_STOLEN' then '43'
    when 'CURRENCY_NOT_SUPPORTED' then '12'
    when 'ORIGINAL_NOT_FOUND' then '12'
    when 'ORIGINAL_ENDED' then '12'
    when 'INSUFFICIENT_CREDIT' then '51'
    when 'COUNT_LIMIT_EXCEEDED' then '65'
    when 'AMOUNT_LIMIT_EXCEEDED' then '61'
    else '62'
end;

-- A request with what is stored of it, its account and its card. Slots number accounts and cards within
-- the batch.
create type card.asked_request as (
    ordinality bigint,
    first_ordinality bigint,
    is_stored boolean,
    message_kind text,
    original_key text,
    amount_is_total boolean,
    partial_allowed boolean,
    amount_minor bigint,
    currency text,
    decision text,
    response_code text,
    reason_code text,
    account_slot bigint,
    account_id uuid,
    account_status text,
    account_currency text,
    available_minor bigint,
    program_id text,
    time_zone text,
    card_slot bigint,
    card_id uuid,
    card_exists boolean,
    card_status text,
    card_account_id uuid,
    asked_version bigint,
    decided_version bigint,
    decided_at timestamptz
);

-- What a batch is judged on, in its order. A decision is never earlier than the one before it on its
-- card.
create function card.asked(batch card.authorization_request[]) returns setof card.asked_request
language sql stable
as $$
    select
        r.ordinality,
        min(r.ordinality) over (partition by r.idempotency_key),
        k.idempotency_key is not null,
        coalesce(r.message_kind, 'PURCHASE'), r.original_key, coalesce(r.amount_is_total, false),
        -- An increment is approved as a whole or not at all.
        coalesce(r.partial_allowed and r.message_kind <> 'INCREMENT', false),
        r.amount_minor, r.currency, r.decision, r.response_code, r.reason_code,
        dense_rank() over (order by r.account_id),
        a.account_id, a.status, a.currency::text,
        a.credit_limit_minor - a.posted_minor - a.held_minor,
        p.program_id, p.time_zone,
        dense_rank() over (order by r.card_id),
        r.card_id, c.card_id is not null, c.status, c.account_id,
        r.card_version, coalesce(s.version, 0),
        greatest(s.last_decided_at,
            max(r.decided_at) over (partition by r.card_id order by r.ordinality))
    from unnest(batch) with ordinality as r
    left join card.authorizations k on k.idempotency_key = r.idempotency_key
    left join card.card_accounts a on a.account_id = r.account_id
    left join card.programs p on p.program_id = a.program_id
    left join card.cards c on c.card_id = r.card_id
    left join card.card_states s on s.card_id = r.card_id
    order by r.ordinality
$$;

-- What an increment of the card raises: what its key names, decided earlier or in this batch. A key may
-- name an increment, or an advice, of what it is about. Null: nothing that was approved with a hold.
create function card.original_of(
    original_key text, card_id uuid, account_id uuid,
    batch card.authorization_request[], verdicts card.verdict[]
) returns card.original
language plpgsql as $$
declare
    original card.original;
begin
    select h.authorization_id, h.hold_id, h.status in ('PENDING', 'PARTIALLY_CAPTURED'),
        ledger.held_under(h.hold_id) + h.captured_amount_minor
    into original
    from card.authorizations a
    join card.holds h on h.authorization_id in (a.authorization_id, a.parent_authorization_id, (
        select told.authorization_id from card.authorizations told
        where told.parent_authorization_id = a.authorization_id and told.message_kind = 'ADVICE'
        limit 1))
    where a.idempotency_key = original_of.original_key and a.card_id = original_of.card_id
        and h.account_id = original_of.account_id;
    if original.hold_id is null then
        select coalesce((verdicts[r.ordinality]).parent_id, r.authorization_id),
            (verdicts[r.ordinality]).hold_id, true, 0
        into original
        from unnest(batch) with ordinality as r
        where r.idempotency_key = original_of.original_key and r.card_id = original_of.card_id
            and (verdicts[r.ordinality]).account_id = original_of.account_id
            and (verdicts[r.ordinality]).hold_id is not null;
    end if;
    original.authorized_minor := original.authorized_minor + coalesce((
        select sum(v.approved_minor) from unnest(verdicts) v where v.hold_id = original.hold_id), 0);
    return original;
end
$$;
