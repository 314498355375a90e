-- Spend limits: what was approved for a card, an account or a program in a period of the program's time
-- zone. A counter is made when the first request of a period comes under its limit, from the decisions
-- there are; so a limit that is new in mid-period counts what was before.
-- depends: 0009.authorization_request

-- A limit that a request of the batch comes under. The slot numbers its counter within the batch.
create type card.spend_check as (
    ordinality bigint,
    slot bigint,
    spend_limit_id uuid,
    period_start timestamptz,
    count_limit integer,
    amount_limit_minor bigint
);

-- When the period of a moment began: the same for all its moments, also where clocks are put back over
-- midnight and some of them are before it.
create function card.period_start(period text, moment timestamptz, time_zone text) returns timestamptz
language sql immutable parallel safe
return case period
    when 'LIFETIME' then '-infinity'::timestamptz
    else date_trunc(period, moment at time zone time_zone) at time zone time_zone
end;

-- What a limit counts never changes: its counters would be of something else.
create function card.keep_spend_limit() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    raise exception 'spend limit %: card, account, program, period and currency never change',
        old.spend_limit_id using errcode = 'check_violation', table = 'spend_limits', schema = 'card',
        hint = 'Make it inactive, and a new one beside it.';
end
$$;
create trigger keep before update on card.spend_limits
    for each row when ((old.card_id, old.account_id, old.program_id, old.period, old.currency)
        is distinct from (new.card_id, new.account_id, new.program_id, new.period, new.currency))
    execute function card.keep_spend_limit();

-- A program's first count must see every approval that did not know of the limit: decisions under way
-- end first. For a card or an account the account's lock sees to it.
create function card.await_decisions() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    perform pg_advisory_xact_lock(hashtext('card.spend_limits'));
    return new;
end
$$;
create trigger await_decisions before insert on card.spend_limits
    for each row when (new.program_id is not null) execute function card.await_decisions();

-- What was approved for the card, the account or the program of a limit, in its currency. One statement
-- for each: in one for all, the program's decisions would be read for a card's limit as well.
create function card.approvals_under(counted card.spend_limits, since timestamptz)
returns table (message_kind text, approved_minor bigint, decided_at timestamptz)
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
    if counted.card_id is not null then
        return query
        select a.message_kind, coalesce(a.approved_amount_minor, a.amount_minor), a.decided_at
        from card.authorizations a
        where a.card_id = counted.card_id and a.decided_at >= since
            and a.decision = 'APPROVED' and a.currency = counted.currency;
    elsif counted.account_id is not null then
        return query
        select a.message_kind, coalesce(a.approved_amount_minor, a.amount_minor), a.decided_at
        from card.authorizations a
        where a.account_id = counted.account_id and a.decided_at >= since
            and a.decision = 'APPROVED' and a.currency = counted.currency;
    else
        return query
        select a.message_kind, coalesce(a.approved_amount_minor, a.amount_minor), a.decided_at
        from card.card_accounts m
        join card.authorizations a using (account_id)
        where m.program_id = counted.program_id and a.decided_at >= since
            and a.decision = 'APPROVED' and a.currency = counted.currency;
    end if;
end
$$;

-- What was approved under a limit in a period, from the decisions themselves. An increment adds to the
-- amount and is no purchase of its own.
create function card.count_spend(
    spend_limit_id uuid, period_start timestamptz,
    out approved_count bigint, out approved_amount_minor bigint
)
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
    select count(*) filter (where a.message_kind <> 'INCREMENT' and a.approved_minor > 0),
        coalesce(sum(a.approved_minor), 0)
    into approved_count, approved_amount_minor
    from card.spend_limits l
    left join card.cards c on c.card_id = l.card_id
    left join card.card_accounts o on o.account_id = coalesce(l.account_id, c.account_id)
    join card.programs p on p.program_id = coalesce(l.program_id, o.program_id)
    -- A clock that is put back over midnight has moments of the day before its start.
    cross join lateral card.approvals_under(l, count_spend.period_start - interval '1 day') a
    where l.spend_limit_id = count_spend.spend_limit_id
        and card.period_start(l.period, a.decided_at, p.time_zone) = count_spend.period_start;
end
$$;

-- The limits that approvals of a batch would come under, by request. An inactive limit limits nothing
-- but is counted on, so that it is right when it is active again.
create function card.spend_checks(asked card.asked_request[]) returns card.spend_check[]
language plpgsql as $$
begin
    return array(
        select row(r.ordinality, dense_rank() over (order by l.spend_limit_id, s.period_start),
            l.spend_limit_id, s.period_start, case when l.is_active then l.count_limit end,
            case when l.is_active then l.amount_limit_minor end)::card.spend_check
        from unnest(asked) r
        cross join lateral (
            select x.* from card.spend_limits x where x.card_id = r.card_id
            union all
            select x.* from card.spend_limits x where x.account_id = r.account_id
            union all
            select x.* from card.spend_limits x where x.program_id = r.program_id
        ) l
        cross join lateral (
            select card.period_start(l.period, r.decided_at, r.time_zone) as period_start
        ) s
        where l.currency = r.currency and r.decision = 'APPROVED' and r.amount_minor > 0
            and not r.is_stored
        order by r.ordinality);
end
$$;

-- The counters of the checks, by slot, made where they are not there yet, and locked.
create function card.open_counters(
    checks card.spend_check[], out approved_count bigint[], out approved_minor bigint[]
)
language plpgsql as $$
begin
    insert into card.spend_counters (
        spend_limit_id, period_start, approved_count, approved_amount_minor)
    select k.spend_limit_id, k.period_start, n.approved_count, n.approved_amount_minor
    from (
        select distinct u.spend_limit_id, u.period_start from unnest(checks) u
        where not exists (
            select from card.spend_counters c
            where c.spend_limit_id = u.spend_limit_id and c.period_start = u.period_start)
        -- Counted after that, and only then: it reads all decisions of the period.
        offset 0
    ) k
    cross join lateral card.count_spend(k.spend_limit_id, k.period_start) n
    order by k.spend_limit_id, k.period_start
    on conflict (spend_limit_id, period_start) do nothing;

    select array_agg(l.approved_count), array_agg(l.approved_amount_minor)
    into approved_count, approved_minor
    from (
        select c.approved_count, c.approved_amount_minor
        from (select distinct slot, spend_limit_id, period_start from unnest(checks)) k
        join card.spend_counters c using (spend_limit_id, period_start)
        -- The order of the slots.
        order by c.spend_limit_id, c.period_start
        for no key update of c
    ) l;
    if cardinality(approved_count) is distinct from (select max(slot)::integer from unnest(checks))
    then
        raise exception 'a spend limit of this batch has gone meanwhile' using errcode = 'MR001';
    end if;
end
$$;

-- Counts an approval that was not decided here: an advice's. Called before its row is written, with the
-- account and the card's state locked.
create function card.add_spend(
    card_id uuid, account_id uuid, amount_minor bigint, currency text, decided_at timestamptz
) returns void
language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
declare
    approval card.authorization_request;
    checks card.spend_check[];
begin
    approval.card_id := card_id;
    approval.account_id := account_id;
    approval.amount_minor := amount_minor;
    approval.currency := currency;
    approval.decided_at := decided_at;
    approval.decision := 'APPROVED';
    checks := card.spend_checks(array(select a from card.asked(array[approval]) a));
    perform card.open_counters(checks);
    update card.spend_counters c
    set approved_count = c.approved_count + 1,
        approved_amount_minor = c.approved_amount_minor + add_spend.amount_minor
    from unnest(checks) k
    where c.spend_limit_id = k.spend_limit_id and c.period_start = k.period_start;
end
$$;
