-- Copies in Redis that may approve while nobody decides carry a number from here: whoever rebuilds
-- them takes the next one, so no two rebuilds, and no restart or old dump of Redis, share a number.
-- depends: 0015.access

create sequence card.redis_epochs;
alter sequence card.redis_epochs owner to millrace_owner;
grant usage on sequence card.redis_epochs to app_rw;
