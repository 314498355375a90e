-- What must hold exactly in a decision, judged under the locks that card.decide_and_hold takes.
-- depends: 0009.spend_limits

-- The verdicts of a batch whose accounts and card states the caller has locked, in its order; moves the
-- spend counters. What must hold exactly is judged here and nowhere else: state of account and card,
-- currency, available credit, spend limits, what an increment raises. Earlier approvals of the batch
-- count.
create function card.judge(batch card.authorization_request[]) returns card.verdict[]
language plpgsql as $$
declare
    verdicts card.verdict[];
    verdict card.verdict;
    request card.asked_request;
    original card.original;
    -- By slot of the account, of the card, of the counter.
    available bigint[];
    versions bigint[];
    is_behind boolean[];
    counts bigint[];
    amounts bigint[];
    asked card.asked_request[] := array(select a from card.asked(batch) a);
    checks card.spend_check[] := card.spend_checks(asked);
    next_check integer := 1;
    first_check integer;
    check_of card.spend_check;
    is_count_reached boolean;
    room bigint;
begin
    if cardinality(checks) > 0 then
        select c.approved_count, c.approved_minor into counts, amounts
        from card.open_counters(checks) c;
    end if;
    foreach request in array asked loop
        verdict := null;
        verdict.is_new := false;
        verdict.is_stale := false;
        first_check := next_check;
        while checks[next_check].ordinality = request.ordinality loop
            next_check := next_check + 1;
        end loop;
        if request.is_stored or request.first_ordinality < request.ordinality then
            verdict.is_stale := not request.is_stored
                and verdicts[request.first_ordinality].is_stale;
            -- A verdict that was made for nothing: those after it have counted it.
            is_behind[request.card_slot] := true;
            verdicts[request.ordinality] := verdict;
            continue;
        end if;
        versions[request.card_slot] :=
            coalesce(versions[request.card_slot], request.decided_version);
        if request.asked_version <> versions[request.card_slot] + 1
            or (request.asked_version is not null and is_behind[request.card_slot]) then
            verdict.is_stale := true;
            -- Those after it have counted it as well, and their numbers may fit by chance.
            is_behind[request.card_slot] := true;
            verdicts[request.ordinality] := verdict;
            continue;
        end if;

        available[request.account_slot] :=
            coalesce(available[request.account_slot], request.available_minor);
        versions[request.card_slot] := versions[request.card_slot] + 1;
        verdict.is_new := true;
        verdict.account_id := request.account_id;
        verdict.decision := request.decision;
        verdict.response_code := request.response_code;
        verdict.reason_code := request.reason_code;
        verdict.amount_minor := request.amount_minor;
        verdict.approved_minor := 0;
        verdict.available_minor := available[request.account_slot];
        verdict.card_version := versions[request.card_slot];
        verdict.decided_at := request.decided_at;
        verdict.judged_at := clock_timestamp();

        if request.message_kind = 'INCREMENT' then
            original := card.original_of(
                request.original_key, request.card_id, request.account_id, batch, verdicts);
            verdict.parent_id := original.authorization_id;
            if request.amount_is_total then
                verdict.amount_minor := greatest(
                    verdict.amount_minor - coalesce(original.authorized_minor, 0), 0);
            end if;
        end if;

        if request.decision = 'APPROVED' then
            is_count_reached := false;
            room := available[request.account_slot];
            for n in first_check..next_check - 1 loop
                check_of := checks[n];
                is_count_reached := is_count_reached or coalesce(
                    counts[check_of.slot] >= check_of.count_limit, false);
                room := least(room, check_of.amount_limit_minor - amounts[check_of.slot]);
            end loop;
            verdict.reason_code := case
                when request.account_id is null then 'ACCOUNT_NOT_ACTIVE'
                when request.account_status <> 'ACTIVE' then 'ACCOUNT_NOT_ACTIVE'
                when not request.card_exists then 'UNKNOWN_CARD'
                when request.card_account_id <> request.account_id then 'UNKNOWN_CARD'
                when request.card_status = 'LOST' then 'CARD_LOST'
                when request.card_status = 'STOLEN' then 'CARD_STOLEN'
                when request.card_status <> 'ACTIVE' then 'CARD_NOT_ACTIVE'
                when request.currency <> request.account_currency then 'CURRENCY_NOT_SUPPORTED'
                when request.message_kind = 'INCREMENT' and original.hold_id is null
                    then 'ORIGINAL_NOT_FOUND'
                when request.message_kind = 'INCREMENT' and not original.is_open
                    then 'ORIGINAL_ENDED'
                -- A zero amount verifies the account and takes nothing; so does a total that is
                -- reached already.
                when verdict.amount_minor = 0 then request.reason_code
                when verdict.amount_minor > available[request.account_slot]
                    and not (request.partial_allowed and available[request.account_slot] > 0)
                    then 'INSUFFICIENT_CREDIT'
                when is_count_reached and request.message_kind <> 'INCREMENT'
                    then 'COUNT_LIMIT_EXCEEDED'
                when verdict.amount_minor > room and not (request.partial_allowed and room > 0)
                    then 'AMOUNT_LIMIT_EXCEEDED'
                when verdict.amount_minor > room then 'PARTIALLY_APPROVED'
                else request.reason_code
            end;
            if verdict.reason_code = 'PARTIALLY_APPROVED' then
                verdict.response_code := '10';
                verdict.approved_minor := room;
            elsif verdict.reason_code = request.reason_code then
                verdict.approved_minor := verdict.amount_minor;
            else
                verdict.decision := 'DECLINED';
                verdict.response_code := card.refusal_code(verdict.reason_code);
            end if;
        end if;
        if verdict.approved_minor > 0 then
            verdict.hold_id := case request.message_kind
                when 'INCREMENT' then original.hold_id else batch[request.ordinality].hold_id end;
            available[request.account_slot] :=
                available[request.account_slot] - verdict.approved_minor;
            for n in first_check..next_check - 1 loop
                check_of := checks[n];
                amounts[check_of.slot] :=
                    amounts[check_of.slot] + verdict.approved_minor;
                if request.message_kind <> 'INCREMENT' then
                    counts[check_of.slot] := counts[check_of.slot] + 1;
                end if;
            end loop;
        end if;
        is_behind[request.card_slot] := coalesce(is_behind[request.card_slot], false)
            or verdict.decision <> request.decision
            or verdict.amount_minor <> request.amount_minor
            or verdict.reason_code = 'PARTIALLY_APPROVED';
        verdicts[request.ordinality] := verdict;
    end loop;
    if cardinality(checks) > 0 then
        update card.spend_counters c
        set approved_count = counts[k.slot],
            approved_amount_minor = amounts[k.slot]
        from (select distinct slot, spend_limit_id, period_start from unnest(checks)) k
        where c.spend_limit_id = k.spend_limit_id and c.period_start = k.period_start
            and c.approved_amount_minor <> amounts[k.slot];
    end if;
    return verdicts;
end
$$;
