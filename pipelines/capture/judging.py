"""What a slot's facts mean, pure: the same facts and history always give the same findings.

Broken: changes are lost, or nobody can say that none are. Alarm: they will be, unless one acts.
Positions are bytes of log since the cluster was made (an LSN as a number).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

OK, WARNING, ALARM, BROKEN = "ok", "warning", "alarm", "broken"
LEVELS = (OK, WARNING, ALARM, BROKEN)

# Shares of the log that a slot may keep; from the alarm on there must be time to act.
WARN_SHARE, ALARM_SHARE = 0.4, 0.7
# How soon the limit would be reached at the pace of the last minutes.
WARN_ETA_S, ALARM_ETA_S = 3600.0, 900.0
# A burst that its reader is catching up with is no reason to wake anybody.
ETA_FROM_SHARE = 0.15
PACE_OVER = timedelta(minutes=10)
WARN_BEHIND_S, ALARM_BEHIND_S = 60.0, 600.0


@dataclass(frozen=True)
class Facts:
    """One look at a slot. What Postgres does not say is None."""

    seen_at: datetime
    slot: str
    system_identifier: int
    timeline: int
    # When the server was started: some numbers may go back with a crash, and only then.
    started_at: datetime
    current_lsn: int
    exists: bool = False
    plugin: str | None = None
    database: str | None = None
    is_active: bool = False
    wal_status: str | None = None
    restart_lsn: int | None = None
    confirmed_lsn: int | None = None
    # What may still be written before the slot is lost, and what it may keep in all.
    safe_bytes: int | None = None
    limit_bytes: int | None = None
    # Counted for this slot since it was made, or since somebody reset it.
    decoded_transactions: int | None = None
    counted_since: datetime | None = None
    # How far Connect has stored that it got: at least as far as the slot, at most the log's end.
    stored_lsn: int | None = None

    @property
    def kept_bytes(self) -> int:
        """Log that the server keeps for this slot."""
        return max(0, self.current_lsn - self.restart_lsn) if self.restart_lsn else 0

    @property
    def behind_bytes(self) -> int:
        """Log that the reader has not confirmed."""
        return max(0, self.current_lsn - self.confirmed_lsn) if self.confirmed_lsn else 0

    @property
    def share(self) -> float | None:
        """How much of what it may keep the slot keeps, 0 to 1; None without a limit."""
        if self.safe_bytes is None:
            return None
        room = self.kept_bytes + max(0, self.safe_bytes)
        return self.kept_bytes / room if room else 0.0


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be. `lost` is the stretch of log that may be missing."""

    level: str
    kind: str
    said: str
    lost: tuple[int, int] | None = None


@dataclass(frozen=True)
class Verdict:
    """All findings of one look, the worst first."""

    level: str
    findings: tuple[Finding, ...]
    behind_s: float
    # Seconds until the limit at the present pace; None when it is not being approached.
    limit_in_s: float | None

    @property
    def broken(self) -> tuple[Finding, ...]:
        """Those that stop everything behind capture."""
        return tuple(f for f in self.findings if f.level == BROKEN)


def judge(now: Facts, history: Sequence[Facts]) -> Verdict:
    """`history`: earlier looks at what is held to be the same slot, oldest first; may be empty."""
    behind_s, limit_in_s = seconds_behind(now, history), seconds_to_limit(now, history)
    findings = list(_identity(now, history[-1] if history else None))
    if now.exists and now.wal_status != "lost":
        findings += _room(now, limit_in_s)
        findings += _reader(now, history, behind_s)
    findings.sort(key=lambda f: -LEVELS.index(f.level))
    return Verdict(findings[0].level if findings else OK, tuple(findings), behind_s, limit_in_s)


def lsn(position: int | None) -> str:
    """As Postgres writes it."""
    return "-" if position is None else f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"


def seconds_behind(now: Facts, history: Sequence[Facts]) -> float:
    """How old the oldest unconfirmed log is, counted from when it was first seen written."""
    if now.confirmed_lsn is None or now.behind_bytes == 0:
        return 0.0
    written_at = now.seen_at
    for look in reversed(history):
        if look.current_lsn <= now.confirmed_lsn:
            break
        written_at = look.seen_at
    return (now.seen_at - written_at).total_seconds()


def seconds_to_limit(now: Facts, history: Sequence[Facts]) -> float | None:
    """When the slot would be lost if what is kept went on growing as it did."""
    if now.safe_bytes is None:
        return None
    recent = [
        f for f in history if f.safe_bytes is not None and now.seen_at - f.seen_at <= PACE_OVER
    ]
    if not recent or recent[0].safe_bytes is None:
        return None
    used = recent[0].safe_bytes - now.safe_bytes
    seconds = (now.seen_at - recent[0].seen_at).total_seconds()
    if used <= 0 or seconds <= 0:
        return None
    return max(0.0, now.safe_bytes) * seconds / used


def _identity(now: Facts, before: Facts | None) -> Iterator[Finding]:
    """Whether this is the slot that was read so far, and none of its log is gone."""
    if not now.exists:
        reached = before.confirmed_lsn if before and before.exists else now.stored_lsn
        if reached is None:
            yield Finding(WARNING, "not_made", f"there is no slot {now.slot} yet")
        else:
            said = f"slot {now.slot} was dropped; it was read up to {lsn(reached)}"
            yield Finding(BROKEN, "dropped", said, (reached, max(now.current_lsn, reached)))
    elif now.wal_status == "lost":
        # The server forgets where a lost slot stood; what Connect stored still says it.
        reached = now.stored_lsn or now.confirmed_lsn or (before.confirmed_lsn if before else 0)
        said = f"slot {now.slot} is lost: log after {lsn(reached)} was removed unread"
        yield Finding(BROKEN, "lost", said, (reached or 0, now.current_lsn))
    if before is not None:
        yield from _server(now, before)
    if now.stored_lsn is not None and now.stored_lsn > now.current_lsn:
        said = (
            f"the log ends at {lsn(now.current_lsn)} and was captured up to {lsn(now.stored_lsn)}:"
            " this is an older copy of the server, or another one"
        )
        yield Finding(BROKEN, "behind_capture", said, (now.current_lsn, now.stored_lsn))
    yield from _position(now, before if before and before.exists else None)


def _server(now: Facts, before: Facts) -> Iterator[Finding]:
    stretch = (before.confirmed_lsn or before.current_lsn, max(now.current_lsn, before.current_lsn))
    if now.system_identifier != before.system_identifier:
        said = (
            f"another server: its system identifier is {now.system_identifier}, it was"
            f" {before.system_identifier}"
        )
        yield Finding(BROKEN, "other_server", said, stretch)
    elif now.timeline != before.timeline:
        said = (
            f"another primary took over: timeline {now.timeline}, it was {before.timeline}. What"
            " the old one had not sent may be missing, what the new one never had may be too much"
        )
        yield Finding(BROKEN, "other_timeline", said, stretch)
    elif now.current_lsn < before.current_lsn:
        said = (
            f"the log ends at {lsn(now.current_lsn)} and ended at {lsn(before.current_lsn)} before:"
            " this is an older copy of the server"
        )
        yield Finding(BROKEN, "older_copy", said, stretch)


def _position(now: Facts, before: Facts | None) -> Iterator[Finding]:
    if not now.exists or now.confirmed_lsn is None:
        return
    if now.stored_lsn is not None and now.stored_lsn < now.confirmed_lsn:
        said = (
            f"slot {now.slot} stands at {lsn(now.confirmed_lsn)}, beyond {lsn(now.stored_lsn)}"
            " where Connect got to: it was made again, or moved by hand"
        )
        yield Finding(BROKEN, "ahead", said, (now.stored_lsn, now.confirmed_lsn))
    if before is None:
        return
    stretch = (before.confirmed_lsn or 0, now.confirmed_lsn)
    if (now.plugin, now.database) != (before.plugin, before.database):
        said = f"slot {now.slot} is another one: {now.plugin} of {now.database}"
        yield Finding(BROKEN, "other_slot", said, stretch)
    if now.started_at != before.started_at:
        # What a crash takes back of a slot's position only repeats changes.
        return
    if _is_less(now.restart_lsn, before.restart_lsn):
        said = (
            f"slot {now.slot} starts at {lsn(now.restart_lsn)}, before {lsn(before.restart_lsn)}:"
            " a slot never goes back by itself"
        )
        yield Finding(BROKEN, "went_back", said, stretch)
    elif (
        _is_less(now.decoded_transactions, before.decoded_transactions)
        and now.counted_since == before.counted_since
    ):
        said = (
            f"slot {now.slot} was made again: it decoded {now.decoded_transactions} transactions,"
            f" fewer than {before.decoded_transactions} before"
        )
        yield Finding(BROKEN, "recreated", said, stretch)
    elif _is_less(now.confirmed_lsn, before.confirmed_lsn):
        said = "the reader confirmed an earlier position than before: changes after it come again"
        yield Finding(WARNING, "repeats", said)


def _room(now: Facts, limit_in_s: float | None) -> Iterator[Finding]:
    if now.wal_status == "unreserved":
        said = "the server may remove log that this slot needs: the next checkpoint loses it"
        yield Finding(ALARM, "unreserved", said)
    if now.share is None or now.limit_bytes is None:
        said = "max_slot_wal_keep_size is not set: without a reader the log fills the disk"
        yield Finding(WARNING, "no_limit", said)
        return
    said = f"the slot keeps {now.kept_bytes:,} bytes of log, {now.share:.0%} of what it may"
    if now.share >= WARN_SHARE:
        yield Finding(ALARM if now.share >= ALARM_SHARE else WARNING, "kept", said)
    if limit_in_s is not None and limit_in_s <= WARN_ETA_S and now.share >= ETA_FROM_SHARE:
        level = ALARM if limit_in_s <= ALARM_ETA_S else WARNING
        said = f"at this pace the slot is lost in {limit_in_s / 60:.0f} min ({now.share:.0%} kept)"
        yield Finding(level, "limit_near", said)


def _reader(now: Facts, history: Sequence[Facts], behind_s: float) -> Iterator[Finding]:
    if not now.is_active:
        alone_s = _seconds_while(now, history, lambda look: not look.is_active)
        said = f"nobody reads slot {now.slot}" + (f" since {alone_s:.0f} s" if alone_s else "")
        yield Finding(ALARM if alone_s >= ALARM_BEHIND_S else WARNING, "no_reader", said)
    if behind_s >= WARN_BEHIND_S:
        said = f"capture is {behind_s:.0f} s and {now.behind_bytes:,} bytes behind"
        yield Finding(ALARM if behind_s >= ALARM_BEHIND_S else WARNING, "behind", said)


def _seconds_while(now: Facts, history: Sequence[Facts], holds: Callable[[Facts], bool]) -> float:
    """For how long every look, up to this one, has found it so."""
    since = now.seen_at
    for look in reversed(history):
        if not holds(look):
            break
        since = look.seen_at
    return (now.seen_at - since).total_seconds()


def _is_less(now: int | None, before: int | None) -> bool:
    return now is not None and before is not None and now < before
