-- What must be empty: each ledger.control_* view lists what breaks one invariant, as the subject's id
-- and the problem in words. `millrace ledger check` reads them all. And what the house holds, summed
-- from postings, and the reconciliation with printed statements.
-- All views act with the reader's rights.
-- depends: 0009.hold_life

-- I6: debits equal credits, in each currency and layer of each entry.
create view ledger.control_unbalanced_entries with (security_invoker = true) as
select entry_id as subject_id,
    format('%s %s left in layer %s', sum(ledger.signed(direction, amount_minor)), currency, layer)
        as problem
from ledger.postings
group by entry_id, currency, layer
having sum(ledger.signed(direction, amount_minor)) <> 0;

-- I6: an entry moves something.
create view ledger.control_empty_entries with (security_invoker = true) as
select e.entry_id as subject_id, format('%s without postings', e.entry_type) as problem
from ledger.entries e
where not exists (select from ledger.postings p where p.entry_id = e.entry_id);

-- I6: a card account's totals are those of its postings.
create view ledger.control_card_totals with (security_invoker = true) as
select c.account_id as subject_id,
    format('posted %s, by its postings %s; held %s, by its postings %s', c.posted_minor,
        coalesce(p.posted_minor, 0), c.held_minor, coalesce(p.held_minor, 0)) as problem
from card.card_accounts c
left join (
    select ledger_account_id,
        sum(ledger.signed(direction, amount_minor)) filter (where layer = 'POSTED') as posted_minor,
        sum(ledger.signed(direction, amount_minor)) filter (where layer = 'HELD') as held_minor
    from ledger.postings group by ledger_account_id
) p on p.ledger_account_id = c.account_id
where (c.posted_minor, c.held_minor)
    is distinct from (coalesce(p.posted_minor, 0), coalesce(p.held_minor, 0));

-- I6: a credit's outstanding principal is that of its postings.
create view ledger.control_credit_principal with (security_invoker = true) as
select c.credit_id as subject_id,
    format('outstanding %s, by its postings %s', c.outstanding_principal_minor,
        coalesce(p.posted_minor, 0)) as problem
from credit.active_credits c
left join (
    select ledger_account_id, sum(ledger.signed(direction, amount_minor)) as posted_minor
    from ledger.postings where layer = 'POSTED' group by ledger_account_id
) p on p.ledger_account_id = c.credit_id
where c.outstanding_principal_minor <> coalesce(p.posted_minor, 0);

-- A correction is the mirror of what it corrects.
create view ledger.control_corrections with (security_invoker = true) as
select e.entry_id as subject_id,
    format('%s %s left of entry %s', sum(ledger.signed(p.direction, p.amount_minor)), p.currency,
        e.reverses_entry_id) as problem
from ledger.entries e
join ledger.postings p on p.entry_id in (e.entry_id, e.reverses_entry_id)
where e.reverses_entry_id is not null
group by e.entry_id, e.reverses_entry_id, p.ledger_account_id, p.currency, p.layer
having sum(ledger.signed(p.direction, p.amount_minor)) <> 0;

-- I7: at no moment of the journal did an entry take an account beyond the limit it had then, except
-- those that may. Entries of one moment count together.
create view ledger.control_over_limit with (security_invoker = true) as
with moves as (
    select p.ledger_account_id as account_id, e.entry_id, e.created_at, e.over_limit_allowed,
        sum(ledger.signed(p.direction, p.amount_minor)) as moved_minor
    from ledger.postings p
    join ledger.entries e using (entry_id)
    join ledger.accounts a using (ledger_account_id)
    where a.card_account_id is not null
    group by 1, 2, 3, 4
),
prefixes as (
    select m.*,
        sum(moved_minor) over (partition by account_id order by created_at) as used_minor
    from moves m
),
lowest as (
    select account_id, min(credit_limit_minor) as credit_limit_minor
    from ledger.credit_limits group by account_id
),
judged as (
    select p.*, (
        select l.credit_limit_minor from ledger.credit_limits l
        where l.account_id = p.account_id
        -- The last before the entry; the first for an entry older than the account.
        order by l.changed_at <= p.created_at desc,
            case when l.changed_at <= p.created_at then l.changed_at end desc, l.changed_at
        limit 1) as limit_minor
    from prefixes p
    join lowest l using (account_id)
    where p.moved_minor > 0 and not p.over_limit_allowed and p.used_minor > l.credit_limit_minor
)
select entry_id as subject_id,
    format('account %s used %s of %s', account_id, used_minor, limit_minor) as problem
from judged
where used_minor > limit_minor;

-- I8: a key has one decision, and an approval has its hold and the entry of it.
create view ledger.control_decisions with (security_invoker = true) as
select min(authorization_id::text)::uuid as subject_id,
    format('%s decisions for key %s', count(*), idempotency_key) as problem
from card.authorizations
group by idempotency_key
having count(*) > 1
union all
select a.authorization_id, 'approved, and nothing was held'
from card.authorizations a
where a.decision = 'APPROVED' and coalesce(a.approved_amount_minor, a.amount_minor) > 0
    and not exists (
        select from ledger.entries e
        where e.authorization_id = a.authorization_id and e.entry_type = 'HOLD');

-- I9: a hold stands as its entries say, and ends once.
create view ledger.control_holds with (security_invoker = true) as
with lives as (
    select e.hold_id,
        coalesce(sum(ledger.signed(p.direction, p.amount_minor)) filter (where p.layer = 'HELD'), 0)
            as held_minor,
        coalesce(sum(ledger.signed(p.direction, p.amount_minor))
            filter (where p.layer = 'POSTED' and e.entry_type = 'CAPTURE'), 0) as captured_minor,
        bool_or(e.entry_type = 'VOID') as is_voided,
        count(distinct e.entry_id) filter (where e.entry_type = 'EXPIRE') as expiries
    from ledger.entries e
    join card.holds h using (hold_id)
    join ledger.postings p on p.entry_id = e.entry_id and p.ledger_account_id = h.account_id
    group by e.hold_id
),
judged as (
    select h.hold_id, case
        when l.hold_id is null then 'without entries'
        when l.held_minor < 0 then format('ended twice: %s more released than held', -l.held_minor)
        when h.captured_amount_minor <> l.captured_minor
            then format('captured %s, by its postings %s', h.captured_amount_minor, l.captured_minor)
        when l.expiries > 1 then 'expired twice'
        when h.status in ('PENDING', 'PARTIALLY_CAPTURED') and l.held_minor = 0
            then format('%s, and nothing is held', h.status)
        when h.status not in ('PENDING', 'PARTIALLY_CAPTURED') and l.held_minor > 0
            then format('%s, and %s is still held', h.status, l.held_minor)
        when h.status in ('CAPTURED', 'PARTIALLY_CAPTURED') and l.captured_minor = 0
            then format('%s without a capture', h.status)
        when h.status = 'PENDING' and l.captured_minor > 0 then 'PENDING with a capture'
        when h.status = 'REVERSED' and not l.is_voided then 'REVERSED without a void'
        when h.status = 'EXPIRED' and l.expiries = 0 then 'EXPIRED without an expiry'
    end as problem
    from card.holds h
    left join lives l using (hold_id)
)
select hold_id as subject_id, problem from judged where problem is not null;

-- I9: no hold is open a day after it expired.
create view ledger.control_leaked_holds with (security_invoker = true) as
select hold_id as subject_id, format('%s since it expired at %s', status, expires_at) as problem
from card.holds
where status in ('PENDING', 'PARTIALLY_CAPTURED') and expires_at < now() - interval '1 day';

-- What the house's accounts hold: debits less credits.
create view ledger.house_balances with (security_invoker = true) as
select a.ledger_account_id, a.kind, a.currency,
    coalesce(sum(ledger.signed(p.direction, p.amount_minor)) filter (where p.layer = 'POSTED'), 0)
        ::bigint as posted_minor,
    coalesce(sum(ledger.signed(p.direction, p.amount_minor)) filter (where p.layer = 'HELD'), 0)
        ::bigint as held_minor,
    count(p.posting_id) as postings
from ledger.accounts a
left join ledger.postings p using (ledger_account_id)
where a.card_account_id is null and a.credit_id is null
group by a.ledger_account_id, a.kind, a.currency;

-- All accounts by kind, currency and layer; each currency's debits equal its credits.
create view ledger.trial_balance with (security_invoker = true) as
select p.currency, p.layer, a.kind,
    coalesce(sum(p.amount_minor) filter (where p.direction = 'DEBIT'), 0)::bigint as debit_minor,
    coalesce(sum(p.amount_minor) filter (where p.direction = 'CREDIT'), 0)::bigint as credit_minor,
    sum(ledger.signed(p.direction, p.amount_minor))::bigint as balance_minor,
    count(distinct p.ledger_account_id) as accounts
from ledger.postings p
join ledger.accounts a using (ledger_account_id)
group by p.currency, p.layer, a.kind;

-- The balance that the ledger computes for the end of each account-day that has printed lines (days
-- are UTC days of effective_at), and the printed balance nearest to it.
create view ledger.statement_days with (security_invoker = true) as
with changes as (
    select p.ledger_account_id as account_id, (e.effective_at at time zone 'UTC')::date as on_date,
        -sum(ledger.signed(p.direction, p.amount_minor)) as change_minor
    from ledger.postings p
    join ledger.entries e using (entry_id)
    where p.layer = 'POSTED'
        and p.ledger_account_id in (select account_id from ledger.statement_lines)
    group by 1, 2
    union all
    select distinct account_id, statement_date, 0 from ledger.statement_lines
),
days as (
    select account_id, on_date as statement_date,
        (sum(sum(change_minor)) over (partition by account_id order by on_date))::bigint
            as computed_minor
    from changes group by account_id, on_date
)
select distinct on (account_id, statement_date)
    account_id, statement_date, l.currency, d.computed_minor,
    l.printed_balance_minor as nearest_printed_minor,
    d.computed_minor - l.printed_balance_minor as difference_minor
from days d
join ledger.statement_lines l using (account_id, statement_date)
order by account_id, statement_date, abs(d.computed_minor - l.printed_balance_minor),
    l.printed_balance_minor;

-- Account-days whose computed balance is none of those printed.
create function ledger.statement_breaks(tolerance_minor bigint default 0)
returns table (
    account_id uuid, statement_date date, currency text, computed_minor bigint,
    nearest_printed_minor bigint, difference_minor bigint
)
language sql stable set search_path = pg_catalog as $$
    select d.account_id, d.statement_date, d.currency, d.computed_minor, d.nearest_printed_minor,
        d.difference_minor
    from ledger.statement_days d
    where abs(d.difference_minor) > tolerance_minor
    order by d.statement_date, d.account_id
$$;

-- Compares the ledger with all statements and keeps the breaks: a new one opens, one that is gone is
-- resolved, one that is explained stays so while its amounts do. Gives the run's id.
create function ledger.reconcile(tolerance_minor bigint default 0) returns uuid
language plpgsql security definer set search_path = pg_catalog as $$
#variable_conflict use_column
declare
    run_id uuid := gen_random_uuid();
begin
    -- One run at a time.
    perform pg_advisory_xact_lock(hashtext('ledger.reconcile'));
    with days as materialized (
        select * from ledger.statement_days
    ),
    found as (
        select * from days where abs(difference_minor) > reconcile.tolerance_minor
    ),
    run as (
        insert into ledger.reconciliation_runs (
            reconciliation_run_id, tolerance_minor, account_days, broken)
        select run_id, reconcile.tolerance_minor, count(*),
            count(*) filter (where abs(difference_minor) > reconcile.tolerance_minor)
        from days
    ),
    resolved as (
        update ledger.reconciliation_breaks b
        set state = 'RESOLVED', resolved_at = now()
        where b.state <> 'RESOLVED' and not exists (
            select from found f
            where (f.account_id, f.statement_date) = (b.account_id, b.statement_date))
    )
    insert into ledger.reconciliation_breaks as b (
        account_id, statement_date, currency, computed_minor, nearest_printed_minor,
        difference_minor, first_run_id, last_run_id)
    select f.account_id, f.statement_date, f.currency, f.computed_minor, f.nearest_printed_minor,
        f.difference_minor, run_id, run_id
    from found f
    on conflict (account_id, statement_date) do update set
        state = case when b.state = 'EXPLAINED' and b.difference_minor = excluded.difference_minor
            then 'EXPLAINED' else 'OPEN' end,
        computed_minor = excluded.computed_minor,
        nearest_printed_minor = excluded.nearest_printed_minor,
        difference_minor = excluded.difference_minor,
        last_run_id = excluded.last_run_id, last_seen_at = now(), resolved_at = null;
    return run_id;
end
$$;

-- Says who looks after a break and what it comes from.
create function ledger.explain_break(account_id uuid, statement_date date, owner text, explanation text)
returns boolean
language plpgsql security definer set search_path = pg_catalog as $$
begin
    update ledger.reconciliation_breaks b
    set state = 'EXPLAINED', owner = explain_break.owner, explanation = explain_break.explanation
    where b.account_id = explain_break.account_id
        and b.statement_date = explain_break.statement_date and b.state <> 'RESOLVED';
    return found;
end
$$;
