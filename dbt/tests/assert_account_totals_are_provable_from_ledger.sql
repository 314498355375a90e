-- Posted and held are what the entries say, and held is what the open holds say.
select
    account_id,
    posted_difference_minor,
    held_difference_minor,
    held_minor,
    open_holds_minor
from {{ ref('mart_account_balances') }}
where
    posted_difference_minor <> 0
    or held_difference_minor <> 0
    or held_minor <> open_holds_minor
