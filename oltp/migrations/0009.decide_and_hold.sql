-- One call decides a batch of authorizations: decision, hold, ledger entry with its two postings, the
-- account's totals (moved by ledger.post), spend counters and the card's state commit together or not
-- at all. A key that already has a decision is answered with it (`replayed`); with another body it is
-- answered as a conflict and nothing is written.
--
-- `decision` is the policy's verdict: the function may turn APPROVED into DECLINED or into less than was
-- asked, never the reverse. Answers come back in the order of the requests, which is also the order they
-- are decided in.
--
-- The fence: whoever judged a request says which number its decision would have in the life of the card
-- (`card_version`). When it is not the next one, the verdict was made on an old history: the request is
-- answered `stale`, nothing of it is written, and the caller reads again and judges again. The same for
-- a later request of the card when an earlier one in the batch came out otherwise than its verdict.
--
-- Locks are taken in this order, each kind by its ids, so concurrent batches cannot deadlock and cannot
-- approve past a limit: the making of program limits (shared), accounts, states of cards, spend
-- counters, keys, new states of cards. A writer that locks an account first is in this order too.
-- depends: 0009.judge

-- Judges a batch and writes its new decisions with all that follows from them. Raises MR001 when a key,
-- a card's state or a limit changed meanwhile: the caller judges again, with what the
-- other wrote in sight, so that a key that lost takes nothing of a limit.
create function card.write_verdicts(batch card.authorization_request[]) returns card.verdict[]
language plpgsql as $$
declare
    verdicts card.verdict[];
    decided integer;
    decided_cards integer;
    has_increment boolean;
    has_shadows boolean;
    written integer;
    made integer;
begin
    perform from card.card_states s
    where s.card_id in (select r.card_id from unnest(batch) r)
    order by s.card_id
    for no key update;
    verdicts := card.judge(batch);
    select count(*) filter (where v.is_new), count(distinct r.card_id) filter (where v.is_new),
        bool_or(r.message_kind = 'INCREMENT'), bool_or(jsonb_array_length(r.shadows) > 0)
    into decided, decided_cards, has_increment, has_shadows
    from unnest(batch) with ordinality as r
    cross join lateral (select (verdicts[r.ordinality]).*) v;

    insert into card.authorizations (
        authorization_id, idempotency_key, request_hash, message_kind, parent_authorization_id,
        card_id, account_id, amount_minor, approved_amount_minor, currency, merchant_id, mcc,
        merchant_country, channel, network, terminal_latitude_e6, terminal_longitude_e6, decision,
        response_code, reason_code, rule_hits, facts, rule_version, card_version, available_minor,
        requested_at, decided_at, created_at)
    select
        r.authorization_id, r.idempotency_key, r.request_hash,
        coalesce(r.message_kind, 'PURCHASE'), v.parent_id, r.card_id, v.account_id, v.amount_minor,
        case v.reason_code when 'PARTIALLY_APPROVED' then v.approved_minor end, r.currency,
        r.merchant_id, r.mcc, r.merchant_country, r.channel, coalesce(r.network, 'DOMESTIC'),
        r.terminal_latitude_e6, r.terminal_longitude_e6, v.decision, v.response_code,
        v.reason_code, r.rule_hits, r.facts, r.rule_version, v.card_version, v.available_minor,
        r.requested_at, v.decided_at, v.judged_at
    from unnest(batch) with ordinality as r
    cross join lateral (select (verdicts[r.ordinality]).*) v
    where v.is_new
    order by r.idempotency_key
    on conflict (idempotency_key) do nothing;
    get diagnostics written = row_count;
    if written < decided then
        raise exception 'a key of this batch was decided meanwhile' using errcode = 'MR001';
    end if;

    with approved as (
        select r.authorization_id, r.entry_id, coalesce(r.message_kind, 'PURCHASE') as message_kind,
            r.currency, coalesce(r.network, 'DOMESTIC') as network, r.mcc, v.account_id, v.hold_id,
            v.approved_minor, v.decided_at, v.judged_at
        from unnest(batch) with ordinality as r
        cross join lateral (select (verdicts[r.ordinality]).*) v
        where v.is_new and v.approved_minor > 0
    ),
    periods as materialized (
        select k.network, k.mcc, card.hold_period(k.network, k.mcc) as held_for
        from (select distinct a.network, a.mcc from approved a) k
    ),
    held as (
        insert into card.holds (
            hold_id, authorization_id, account_id, amount_minor, currency, expires_at)
        select
            a.hold_id, a.authorization_id, a.account_id, a.approved_minor, a.currency,
            a.decided_at + p.held_for
        from approved a
        join periods p on p.network = a.network and p.mcc = a.mcc
        where a.message_kind <> 'INCREMENT'
    ),
    entered as (
        insert into ledger.entries (
            entry_id, entry_type, authorization_id, hold_id, effective_at, created_at)
        select a.entry_id, 'HOLD', a.authorization_id, a.hold_id, a.decided_at, a.judged_at
        from approved a
    )
    -- Reserved on the account, and owed to the network should the merchant present it.
    insert into ledger.postings (
        posting_id, entry_id, ledger_account_id, layer, direction, amount_minor, currency)
    select md5(a.entry_id || ':1')::uuid, a.entry_id, a.account_id, 'HELD', 'DEBIT',
        a.approved_minor, a.currency
    from approved a
    union all
    select md5(a.entry_id || ':2')::uuid, a.entry_id, ledger.house('SETTLEMENT', a.currency),
        'HELD', 'CREDIT', a.approved_minor, a.currency
    from approved a;

    if has_increment then
        update card.holds h
        set amount_minor = h.amount_minor + i.approved_minor, updated_at = clock_timestamp()
        from (
            select v.hold_id, sum(v.approved_minor) as approved_minor
            from unnest(verdicts) v
            where v.parent_id is not null and v.approved_minor > 0
            group by v.hold_id
        ) i
        where h.hold_id = i.hold_id;
    end if;

    -- A state that could not be locked may be there by now, and have moved.
    update card.card_states s
    set version = c.version, last_decided_at = c.last_decided_at
    from (
        select r.card_id, min(v.card_version) - 1 as judged_version, max(v.card_version) as version,
            max(v.decided_at) as last_decided_at
        from unnest(batch) with ordinality as r
        cross join lateral (select (verdicts[r.ordinality]).*) v
        where v.is_new
        group by r.card_id
    ) c
    where s.card_id = c.card_id and s.version = c.judged_version;
    get diagnostics written = row_count;
    if written < decided_cards then
        insert into card.card_states (card_id, version, last_decided_at)
        select r.card_id, max(v.card_version), max(v.decided_at)
        from unnest(batch) with ordinality as r
        cross join lateral (select (verdicts[r.ordinality]).*) v
        where v.is_new
        group by r.card_id
        having min(v.card_version) = 1
        order by r.card_id
        on conflict (card_id) do nothing;
        get diagnostics made = row_count;
        if written + made < decided_cards then
            raise exception 'a card of this batch had another decision meanwhile'
                using errcode = 'MR001';
        end if;
    end if;

    if has_shadows then
        insert into card.shadow_verdicts (
            authorization_id, version, decision, response_code, reason_code, rule_hits)
        select r.authorization_id, s.version, s.decision, s.response_code, s.reason_code, s.rule_hits
        from unnest(batch) with ordinality as r
        cross join lateral jsonb_to_recordset(r.shadows) as s (
            version text, decision text, response_code text, reason_code text, rule_hits jsonb)
        where (verdicts[r.ordinality]).is_new;
    end if;
    return verdicts;
end
$$;

-- Its settings hold for all it calls. Look-ups by index: sessions live long, and a plan made while the
-- tables are empty must not read them whole when they have grown. One plan for batches of every size, as
-- soon as there is something to plan on: planning anew was two fifths of a decision alone.
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
    conflict boolean,
    stale boolean,
    stand_in boolean,
    card_version bigint
)
language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
set plan_cache_mode = auto as $$
#variable_conflict use_column
declare
    batch card.authorization_request[] := array(
        select r from jsonb_populate_recordset(null::card.authorization_request, requests) r);
    verdicts card.verdict[];
begin
    if pg_relation_size('card.authorizations') > 1000000 then
        perform set_config('plan_cache_mode', 'force_generic_plan', true);
    end if;
    perform pg_advisory_xact_lock_shared(hashtext('card.spend_limits'));
    perform from card.card_accounts a
    where a.account_id in (select r.account_id from unnest(batch) r)
    order by a.account_id
    for no key update;
    loop
        begin
            verdicts := card.write_verdicts(batch);
            exit;
        exception when sqlstate 'MR001' then
            null;
        end;
    end loop;

    -- What the network said of an authorization before it was decided.
    if exists (
        select from card.card_messages m
        where m.state = 'PARKED' and m.original_key = any(array(
            select r.idempotency_key from unnest(batch) with ordinality as r
            where (verdicts[r.ordinality]).is_new)))
    then
        perform card.apply_parked(array(
            select r.idempotency_key from unnest(batch) with ordinality as r
            where (verdicts[r.ordinality]).is_new));
    end if;

    -- Who asks again is told what the caller was told: when somebody stood in for us and said otherwise
    -- than what is decided, an advice brought it.
    return query
    select
        r.request_id,
        coalesce(d.authorization_id, case when v.is_new then r.authorization_id end),
        coalesce(d.account_id, v.account_id), coalesce(told.decision, d.decision, v.decision),
        coalesce(told.response_code, d.response_code::text, v.response_code),
        coalesce(told.reason_code, d.reason_code, v.reason_code),
        coalesce(told.approved_minor, v.approved_minor, case d.decision
            when 'APPROVED' then coalesce(d.approved_amount_minor, d.amount_minor)
            when 'DECLINED' then 0 end),
        coalesce(d.decided_at, v.decided_at), case when not v.is_stale then not v.is_new end,
        case when v.is_new then false
            -- A row that an advice made has the advice's hash.
            when d.message_kind = 'ADVICE' then d.card_id <> r.card_id or d.currency <> r.currency
            else d.request_hash <> r.request_hash end,
        v.is_stale,
        case when not v.is_stale then coalesce(d.is_stand_in, false) or told.decision is not null end,
        coalesce(d.card_version, v.card_version)
    from unnest(batch) with ordinality as r
    cross join lateral (select (verdicts[r.ordinality]).*) v
    left join card.authorizations d
        on d.idempotency_key = r.idempotency_key and not v.is_new and not v.is_stale
    left join lateral (
        select
            case when m.amount_minor > 0 then 'APPROVED' else 'DECLINED' end as decision,
            case when m.amount_minor > 0 then '00' else '91' end as response_code,
            case when m.amount_minor > 0 then 'STAND_IN_APPROVED' else 'STAND_IN_DECLINED' end
                as reason_code,
            m.amount_minor as approved_minor
        from card.card_messages m
        where m.original_key = d.idempotency_key and m.message_kind = 'ADVICE'
            and m.state = 'APPLIED'
        order by m.created_at desc
        limit 1
    ) told on true
    order by r.ordinality;
end
$$;
