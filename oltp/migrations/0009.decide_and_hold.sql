-- One call decides a batch of authorizations: decision, hold, ledger entry with its two postings and
-- the account's totals (moved by ledger.post) commit together or not at all. Accounts are locked in id order and keys are written in key order, so
-- concurrent batches cannot deadlock and cannot approve past a limit. A key that already has a
-- decision is answered with it (`replayed`); with another body it is answered as a conflict and
-- nothing is written.
--
-- `decision` is the policy's verdict: the function may turn APPROVED into DECLINED, never the reverse.
-- Answers come back in the order of the requests, which is also the order they are decided in.
-- depends: 0008.ledger

create type card.authorization_request as (
    request_id text,
    authorization_id uuid,
    hold_id uuid,
    entry_id uuid,
    idempotency_key text,
    request_hash text,
    card_id uuid,
    account_id uuid,
    amount_minor bigint,
    currency text,
    merchant_id text,
    mcc text,
    merchant_country text,
    channel text,
    decision text,
    response_code text,
    reason_code text,
    rule_hits jsonb,
    facts jsonb,
    rule_version text,
    requested_at timestamptz,
    decided_at timestamptz,
    hold_expires_at timestamptz
);

-- The verdicts of a batch whose accounts the caller has locked, in its order. What must hold exactly
-- is judged here and nowhere else: state of account and card, currency, available credit, and the
-- card's approved count and amount per UTC day. Earlier approvals of the batch count. Writes nothing.
-- Planned for index look-ups: sessions live long, and a plan made while the tables are empty must not
-- read them whole when they have grown.
create function card.judge(requests card.authorization_request[])
returns table (
    is_new boolean, account_id uuid, decision text, response_code text, reason_code text
)
language plpgsql
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
    request record;
    available_minor bigint[];
    approved_count bigint[];
    approved_minor bigint[];
begin
    for request in
        select
            a.account_id, a.status as account_status, a.currency as account_currency,
            a.credit_limit_minor - a.posted_minor - a.held_minor as available_minor,
            c.card_id, c.account_id as card_account_id, c.status as card_status,
            c.daily_count_limit, c.daily_amount_limit_minor,
            coalesce(s.approved_count, 0) as approved_count,
            coalesce(s.approved_amount_minor, 0) as approved_minor,
            r.amount_minor, r.currency, r.decision, r.response_code, r.reason_code,
            k.idempotency_key is null
                and row_number() over (partition by r.idempotency_key order by r.ordinality) = 1
                as is_new,
            dense_rank() over (order by r.account_id) as account_slot,
            dense_rank() over (order by r.card_id, (r.decided_at at time zone 'UTC')::date)
                as spend_slot
        from unnest(requests) with ordinality as r
        left join card.authorizations k on k.idempotency_key = r.idempotency_key
        left join card.card_accounts a on a.account_id = r.account_id
        left join card.cards c on c.card_id = r.card_id
        left join card.card_spend s
            on s.card_id = r.card_id and s.spend_date = (r.decided_at at time zone 'UTC')::date
        order by r.ordinality
    loop
        is_new := request.is_new;
        account_id := request.account_id;
        decision := request.decision;
        response_code := request.response_code;
        reason_code := request.reason_code;
        if is_new and decision = 'APPROVED' then
            available_minor[request.account_slot] :=
                coalesce(available_minor[request.account_slot], request.available_minor);
            approved_count[request.spend_slot] :=
                coalesce(approved_count[request.spend_slot], request.approved_count);
            approved_minor[request.spend_slot] :=
                coalesce(approved_minor[request.spend_slot], request.approved_minor);
            reason_code := case
                when account_id is null then 'ACCOUNT_NOT_ACTIVE'
                when request.account_status <> 'ACTIVE' then 'ACCOUNT_NOT_ACTIVE'
                when request.card_id is null then 'UNKNOWN_CARD'
                when request.card_account_id <> account_id then 'UNKNOWN_CARD'
                when request.card_status = 'LOST' then 'CARD_LOST'
                when request.card_status = 'STOLEN' then 'CARD_STOLEN'
                when request.card_status <> 'ACTIVE' then 'CARD_NOT_ACTIVE'
                when request.currency <> request.account_currency then 'CURRENCY_NOT_SUPPORTED'
                -- A zero amount verifies the account and takes nothing.
                when request.amount_minor = 0 then reason_code
                when request.amount_minor > available_minor[request.account_slot]
                    then 'INSUFFICIENT_CREDIT'
                when approved_count[request.spend_slot] >= request.daily_count_limit
                    then 'COUNT_LIMIT_EXCEEDED'
                when request.amount_minor
                    > request.daily_amount_limit_minor - approved_minor[request.spend_slot]
                    then 'AMOUNT_LIMIT_EXCEEDED'
                else reason_code
            end;
            if reason_code = request.reason_code then
                available_minor[request.account_slot] :=
                    available_minor[request.account_slot] - request.amount_minor;
                if request.amount_minor > 0 then
                    approved_count[request.spend_slot] := approved_count[request.spend_slot] + 1;
                    approved_minor[request.spend_slot] :=
                        approved_minor[request.spend_slot] + request.amount_minor;
                end if;
            else
                decision := 'DECLINED';
                response_code := card.refusal_code(reason_code);
            end if;
        end if;
        return next;
    end loop;
end
$$;

-- ISO 8583 response codes of the reasons above; schemas/codes.py has the whole list.
create function card.refusal_code(reason_code text) returns text
language sql immutable
return case reason_code
    when 'UNKNOWN_CARD' then '14'
    when 'CARD_LOST' then '41'
    when 'CARD_STOLEN' then '43'
    when 'CURRENCY_NOT_SUPPORTED' then '12'
    when 'INSUFFICIENT_CREDIT' then '51'
    when 'COUNT_LIMIT_EXCEEDED' then '65'
    when 'AMOUNT_LIMIT_EXCEEDED' then '61'
    else '62'
end;

create function card.decide_and_hold(requests jsonb)
returns table (
    request_id text,
    authorization_id uuid,
    account_id uuid,
    decision text,
    response_code text,
    reason_code text,
    approved_amount_minor bigint,
    decided_at timestamptz,
    replayed boolean,
    conflict boolean
)
language plpgsql
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
    batch card.authorization_request[] := array(
        select r from jsonb_populate_recordset(null::card.authorization_request, requests) r);
    is_new boolean[];
begin
    perform from card.card_accounts a
    where a.account_id in (select b.account_id from unnest(batch) b)
    order by a.account_id
    for no key update;
    -- So that a card cannot be deleted between the verdict and the row that refers to it.
    perform from card.cards c
    where c.card_id in (select b.card_id from unnest(batch) b)
    order by c.card_id
    for key share;

    loop
        begin
            is_new := card.write_verdicts(batch);
            exit;
        exception when sqlstate 'MR001' then
            -- Another batch, under other accounts, has just decided one of these keys: judge again,
            -- now with its decision in sight, so that a key that lost takes nothing of a limit.
            null;
        end;
    end loop;

    return query
    select
        r.request_id, d.authorization_id, d.account_id, d.decision, d.response_code::text,
        d.reason_code, case when d.decision = 'APPROVED'
            then coalesce(d.approved_amount_minor, d.amount_minor) else 0 end,
        d.decided_at, not is_new[r.ordinality], d.request_hash <> r.request_hash
    from unnest(batch) with ordinality as r
    join card.authorizations d on d.idempotency_key = r.idempotency_key
    order by r.ordinality;
end
$$;

-- Judges a locked batch and writes its new decisions with all that follows from them. Says for each
-- request whether it is new. Raises MR001 when a key was decided meanwhile.
create function card.write_verdicts(batch card.authorization_request[]) returns boolean[]
language plpgsql
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
    is_new boolean[];
    account_ids uuid[];
    decisions text[];
    response_codes text[];
    reason_codes text[];
    written integer;
begin
    select
        array_agg(j.is_new), array_agg(j.account_id), array_agg(j.decision),
        array_agg(j.response_code), array_agg(j.reason_code)
    into is_new, account_ids, decisions, response_codes, reason_codes
    from card.judge(batch) j;

    insert into card.authorizations (
        authorization_id, idempotency_key, request_hash, card_id, account_id, amount_minor, currency,
        merchant_id, mcc, merchant_country, channel, decision, response_code, reason_code,
        rule_hits, facts, rule_version, requested_at, decided_at)
    select
        r.authorization_id, r.idempotency_key, r.request_hash, r.card_id,
        account_ids[r.ordinality], r.amount_minor, r.currency, r.merchant_id, r.mcc,
        r.merchant_country, r.channel, decisions[r.ordinality], response_codes[r.ordinality],
        reason_codes[r.ordinality], r.rule_hits, r.facts, r.rule_version, r.requested_at, r.decided_at
    from unnest(batch) with ordinality as r
    where is_new[r.ordinality]
    order by r.idempotency_key
    on conflict (idempotency_key) do nothing;
    get diagnostics written = row_count;
    if written < cardinality(array_positions(is_new, true)) then
        raise exception 'a key of this batch was decided meanwhile' using errcode = 'MR001';
    end if;

    with approved as (
        select r.* from unnest(batch) with ordinality as r
        where is_new[r.ordinality] and decisions[r.ordinality] = 'APPROVED' and r.amount_minor > 0
    ),
    held as (
        insert into card.holds (
            hold_id, authorization_id, account_id, amount_minor, currency, expires_at)
        select
            a.hold_id, a.authorization_id, a.account_id, a.amount_minor, a.currency,
            a.hold_expires_at
        from approved a
    ),
    entered as (
        insert into ledger.entries (
            entry_id, entry_type, authorization_id, hold_id, effective_at)
        select a.entry_id, 'HOLD', a.authorization_id, a.hold_id, a.decided_at
        from approved a
    ),
    -- Reserved on the account, and owed to the network should the merchant present it.
    posted as (
        insert into ledger.postings (
            posting_id, entry_id, ledger_account_id, layer, direction, amount_minor, currency)
        select md5(a.entry_id || ':1')::uuid, a.entry_id, a.account_id, 'HELD', 'DEBIT',
            a.amount_minor, a.currency
        from approved a
        union all
        select md5(a.entry_id || ':2')::uuid, a.entry_id, ledger.house('SETTLEMENT', a.currency),
            'HELD', 'CREDIT', a.amount_minor, a.currency
        from approved a
    )
    insert into card.card_spend as s (
        card_id, spend_date, approved_count, approved_amount_minor)
    select a.card_id, (a.decided_at at time zone 'UTC')::date, count(*), sum(a.amount_minor)
    from approved a
    group by 1, 2
    on conflict (card_id, spend_date) do update set
        approved_count = s.approved_count + excluded.approved_count,
        approved_amount_minor = s.approved_amount_minor + excluded.approved_amount_minor;
    return is_new;
end
$$;
