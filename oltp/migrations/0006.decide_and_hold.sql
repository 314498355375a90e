-- One call decides a batch of authorizations: decision, hold, ledger entry and account total commit
-- together or not at all. Accounts are locked in id order, so concurrent batches cannot deadlock and
-- cannot approve past a limit. A key that already has a decision is answered with it (`replayed`);
-- with another body it is answered as a conflict and nothing is written.
--
-- Each request is one jsonb object:
--   request_id, authorization_id, hold_id, entry_id, idempotency_key, request_hash, card_id, account_id,
--   amount_minor, currency, merchant_id, mcc, merchant_country, channel, decision, response_code,
--   reason_code, rule_hits, facts, rule_version, requested_at, decided_at, hold_expires_at
-- `decision` is the policy's verdict: the function may turn APPROVED into DECLINED, never the reverse.
-- Answers come back in the order of the requests.
-- depends: 0005.capture

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
language plpgsql as $$
#variable_conflict use_column
declare
    request record;
    stored card.authorizations;
    account card.card_accounts;
    limits record;
    verdict_decision text;
    verdict_code text;
    verdict_reason text;
begin
    perform 1 from card.card_accounts a
    where a.account_id in (
        select (r ->> 'account_id')::uuid from jsonb_array_elements(requests) r
    )
    order by a.account_id
    for update;

    for request in
        select r.* from jsonb_to_recordset(requests) as r(
            request_id text, authorization_id uuid, hold_id uuid, entry_id uuid,
            idempotency_key text, request_hash text, card_id uuid, account_id uuid,
            amount_minor bigint, currency text, merchant_id text, mcc text, merchant_country text,
            channel text, decision text, response_code text, reason_code text, rule_hits jsonb,
            facts jsonb, rule_version text, requested_at timestamptz, decided_at timestamptz,
            hold_expires_at timestamptz)
    loop
        verdict_decision := request.decision;
        verdict_code := request.response_code;
        verdict_reason := request.reason_code;

        insert into card.authorizations (
            authorization_id, idempotency_key, request_hash, card_id, account_id, amount_minor,
            currency, merchant_id, mcc, merchant_country, channel, decision, response_code,
            reason_code, rule_hits, facts, rule_version, requested_at, decided_at)
        select
            request.authorization_id, request.idempotency_key, request.request_hash,
            request.card_id, request.account_id, request.amount_minor, request.currency,
            request.merchant_id, request.mcc, request.merchant_country, request.channel,
            final.decision, final.response_code, final.reason_code,
            request.rule_hits, request.facts, request.rule_version,
            request.requested_at, request.decided_at
        from card.refuse_beyond_limits(
            request.card_id, request.account_id, request.amount_minor, request.decided_at,
            verdict_decision, verdict_code, verdict_reason) as final
        on conflict (idempotency_key) do nothing
        returning * into stored;

        if not found then
            select * into strict stored from card.authorizations a
            where a.idempotency_key = request.idempotency_key;
            replayed := true;
        else
            replayed := false;
            if stored.decision = 'APPROVED' and stored.amount_minor > 0 then
                insert into card.holds (
                    hold_id, authorization_id, account_id, amount_minor, currency, expires_at)
                values (
                    request.hold_id, stored.authorization_id, stored.account_id,
                    stored.amount_minor, stored.currency, request.hold_expires_at);
                insert into ledger.ledger_entries (
                    entry_id, account_id, authorization_id, entry_type, bucket, direction,
                    amount_minor, currency, effective_at)
                values (
                    request.entry_id, stored.account_id, stored.authorization_id, 'HOLD', 'HELD',
                    'DEBIT', stored.amount_minor, stored.currency, stored.decided_at);
                update card.card_accounts a
                set held_minor = a.held_minor + stored.amount_minor, updated_at = now()
                where a.account_id = stored.account_id;
                insert into card.card_spend as s (
                    card_id, spend_date, approved_count, approved_amount_minor)
                values (
                    stored.card_id, (stored.decided_at at time zone 'UTC')::date, 1,
                    stored.amount_minor)
                on conflict (card_id, spend_date) do update set
                    approved_count = s.approved_count + 1,
                    approved_amount_minor = s.approved_amount_minor + excluded.approved_amount_minor;
            end if;
        end if;

        request_id := request.request_id;
        conflict := stored.request_hash <> request.request_hash;
        authorization_id := stored.authorization_id;
        account_id := stored.account_id;
        decision := stored.decision;
        response_code := stored.response_code;
        reason_code := stored.reason_code;
        approved_amount_minor := case when stored.decision = 'APPROVED' then stored.amount_minor else 0 end;
        decided_at := stored.decided_at;
        return next;
    end loop;
end
$$;

-- The limits that must hold exactly, read under the account's lock: available credit and the card's
-- daily count and amount. Gives the verdict back unless one of them refuses it.
create function card.refuse_beyond_limits(
    the_card_id uuid, the_account_id uuid, amount_minor bigint, decided_at timestamptz,
    inout decision text, inout response_code text, inout reason_code text
)
language plpgsql stable as $$
declare
    account card.card_accounts;
    card_limits record;
begin
    if decision <> 'APPROVED' then
        return;
    end if;
    select * into account from card.card_accounts a where a.account_id = the_account_id;
    if not found or account.status <> 'ACTIVE' then
        decision := 'DECLINED'; response_code := '62'; reason_code := 'ACCOUNT_NOT_ACTIVE';
        return;
    end if;
    if amount_minor > account.credit_limit_minor - account.posted_minor - account.held_minor then
        decision := 'DECLINED'; response_code := '51'; reason_code := 'INSUFFICIENT_CREDIT';
        return;
    end if;
    select c.daily_count_limit, c.daily_amount_limit_minor,
        coalesce(s.approved_count, 0) as approved_count,
        coalesce(s.approved_amount_minor, 0) as approved_amount_minor
    into card_limits
    from card.cards c
    left join card.card_spend s
        on s.card_id = c.card_id and s.spend_date = (decided_at at time zone 'UTC')::date
    where c.card_id = the_card_id;
    if amount_minor > 0 and card_limits.approved_count + 1 > card_limits.daily_count_limit then
        decision := 'DECLINED'; response_code := '65'; reason_code := 'COUNT_LIMIT_EXCEEDED';
    elsif card_limits.approved_amount_minor + amount_minor > card_limits.daily_amount_limit_minor then
        decision := 'DECLINED'; response_code := '61'; reason_code := 'AMOUNT_LIMIT_EXCEEDED';
    end if;
end
$$;

grant execute on function card.decide_and_hold, card.refuse_beyond_limits to app_rw;
