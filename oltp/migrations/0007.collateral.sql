-- Lines of credit with collateral: positions, what moved them, prices, and the health they give.
-- depends: 0007.card

-- A line of credit with collateral. Amounts of assets have 18 digits after the point.
create table card.positions (
    position_id uuid primary key,
    customer_id uuid not null references customer.customers,
    account_id uuid references card.card_accounts,
    debt_asset text not null check (debt_asset <> ''),
    debt_amount numeric(38, 18) not null default 0
        check (debt_amount >= 0 and debt_amount <> 'NaN'),
    smart_contract_address text,
    status text not null default 'OPEN' check (status in ('OPEN', 'CLOSED', 'LIQUIDATED')),
    opened_at timestamptz not null,
    closed_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    check ((status = 'OPEN') = (closed_at is null))
);
create index on card.positions (customer_id);

create table card.position_collaterals (
    position_collateral_id uuid primary key,
    position_id uuid not null references card.positions,
    asset text not null check (asset <> ''),
    amount numeric(38, 18) not null check (amount >= 0 and amount <> 'NaN'),
    -- The share of its value that counts.
    liquidation_threshold numeric(9, 6) not null
        check (liquidation_threshold > 0 and liquidation_threshold <= 1
            and liquidation_threshold <> 'NaN'),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    unique (position_id, asset)
);

-- What moved a position, as the chain tells it. Append-only.
create table card.position_events (
    position_event_id uuid primary key,
    position_id uuid not null references card.positions,
    event_type text not null
        check (event_type in ('DEPOSIT', 'WITHDRAWAL', 'BORROWING', 'REPAYMENT', 'LIQUIDATION')),
    asset text not null check (asset <> ''),
    amount numeric(38, 18) not null check (amount > 0 and amount <> 'NaN'),
    transaction_hash text,
    log_index integer check (log_index >= 0),
    block_number bigint check (block_number >= 0),
    occurred_at timestamptz not null,
    created_at timestamptz not null default now(),
    unique (transaction_hash, log_index)
);
create index on card.position_events (position_id, occurred_at);

create table card.prices (
    price_id uuid primary key,
    asset text not null check (asset <> ''),
    quote_currency char(3) not null check (quote_currency ~ '^[A-Z]{3}$'),
    price numeric(38, 18) not null check (price > 0 and price <> 'NaN'),
    source text not null,
    observed_at timestamptz not null,
    created_at timestamptz not null default now(),
    unique (asset, quote_currency, observed_at, source)
);

-- Health of each open position at the latest prices:
-- sum(collateral x price x threshold) / debt value. Without debt there is none; without a price of any
-- part it is unknown, and `is_priced` says so. `priced_at` is the oldest price used.
create view card.position_health with (security_invoker = true) as
with latest as (
    select distinct on (p.asset)
p.asset,
p.price,
p.observed_at
    from card.prices as p
    where p.quote_currency = 'USD'
    order by p.asset asc, p.observed_at desc, p.created_at desc, p.price_id asc
),

valued as (
    select
c.position_id,
        sum(c.amount * l.price) as collateral_value,
        sum(c.amount * l.price * c.liquidation_threshold) as counting_value,
        count(*) = count(l.price) as is_priced,
        min(l.observed_at) as priced_at
    from card.position_collaterals as c
    left join latest as l on c.asset = l.asset
    where c.amount > 0
    group by c.position_id
)

select
    p.position_id,
    p.customer_id,
    p.account_id,
    coalesce(v.collateral_value, 0) as collateral_value,
    case when p.debt_amount = 0 then 0 else p.debt_amount * l.price end as debt_value,
    case
        when p.debt_amount = 0 or not coalesce(v.is_priced, true) then null
        -- Rounded down: never healthier than it is.
        else trunc(coalesce(v.counting_value, 0) / (p.debt_amount * l.price), 6)
    end as health_factor,
    coalesce(v.is_priced, true) and (p.debt_amount = 0 or l.price is not null) as is_priced,
    least(v.priced_at, case when p.debt_amount > 0 then l.observed_at end) as priced_at
from card.positions as p
left join valued as v on p.position_id = v.position_id
left join latest as l on p.debt_asset = l.asset
where p.status = 'OPEN';

-- One row per customer: debt of all open positions, and the current health of the weakest.
create view card.customer_position_summary with (security_invoker = true) as
select
    h.customer_id,
    count(*) as open_positions,
    sum(h.debt_value) as debt_value,
    min(h.health_factor) as current_health_factor,
    bool_and(h.is_priced) as is_priced,
    min(h.priced_at) as priced_at
from card.position_health as h
group by h.customer_id;
