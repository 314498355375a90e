"""The guard's judgement: what is broken, what will be, and what is just a busy day."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from pipelines.capture.judging import (
    ALARM,
    BROKEN,
    OK,
    WARNING,
    Facts,
    judge,
    lsn,
    seconds_behind,
    seconds_to_limit,
)

MIB = 1 << 20
AT = datetime(2026, 1, 5, 12, tzinfo=UTC)
SLOT = Facts(
    seen_at=AT,
    slot="millrace",
    system_identifier=7_400_000_000_000_000_001,
    timeline=1,
    started_at=AT - timedelta(days=1),
    current_lsn=1000 * MIB,
    exists=True,
    plugin="pgoutput",
    database="oltp",
    is_active=True,
    wal_status="reserved",
    restart_lsn=999 * MIB,
    confirmed_lsn=1000 * MIB,
    safe_bytes=1999 * MIB,
    limit_bytes=2000 * MIB,
    decoded_transactions=500,
    stored_lsn=1000 * MIB,
)


def later(look: Facts = SLOT, minutes: float = 1, **other) -> Facts:
    return replace(look, seen_at=look.seen_at + timedelta(minutes=minutes), **other)


def kinds(now: Facts, *history: Facts) -> dict[str, str]:
    return {finding.kind: finding.level for finding in judge(now, history).findings}


def test_a_slot_that_moves_on_is_fine() -> None:
    position = dict.fromkeys(("current_lsn", "confirmed_lsn", "stored_lsn"), 1003 * MIB)
    now = later(**position, decoded_transactions=600)
    assert kinds(later(now, current_lsn=1004 * MIB, stored_lsn=1004 * MIB), SLOT, now) == {}
    assert judge(now, [SLOT]).level == OK


def test_before_the_connector_has_ever_run_there_is_nothing_to_lose() -> None:
    none = Facts(AT, "millrace", SLOT.system_identifier, 1, SLOT.started_at, 5 * MIB)
    assert kinds(none) == {"not_made": WARNING}
    assert kinds(later(none), none) == {"not_made": WARNING}
    assert kinds(SLOT, none) == {}


def test_what_connect_has_stored_tells_a_break_that_no_earlier_look_tells() -> None:
    """The looks may have gone with the server that they were kept on."""
    gone = later(exists=False, confirmed_lsn=None, restart_lsn=None)
    assert kinds(gone) == {"dropped": BROKEN}
    assert kinds(later(gone), gone) == {"dropped": BROKEN}
    copy = dict.fromkeys(("current_lsn", "confirmed_lsn"), 999 * MIB)
    assert kinds(later(**copy, restart_lsn=998 * MIB)) == {"behind_capture": BROKEN}


@pytest.mark.parametrize(
    ("kind", "changed"),
    [
        ("dropped", {"exists": False, "confirmed_lsn": None, "restart_lsn": None}),
        ("lost", {"wal_status": "lost", "confirmed_lsn": None, "safe_bytes": None}),
        ("other_server", {"system_identifier": 8}),
        ("other_timeline", {"timeline": 2}),
        ("older_copy", {"current_lsn": 900 * MIB, "confirmed_lsn": 900 * MIB, "stored_lsn": None}),
        ("ahead", {"confirmed_lsn": 1005 * MIB, "current_lsn": 1005 * MIB}),
        ("other_slot", {"plugin": "test_decoding"}),
        ("went_back", {"restart_lsn": 998 * MIB}),
        ("recreated", {"decoded_transactions": 3}),
    ],
)
def test_what_breaks_capture_is_named(kind, changed) -> None:
    verdict = judge(later(**changed), [SLOT])
    assert verdict.level == BROKEN
    assert [finding.kind for finding in verdict.broken] == [kind]
    assert verdict.broken[0].lost is not None


def test_the_lost_stretch_starts_where_connect_got_to() -> None:
    lost = later(
        wal_status="lost", confirmed_lsn=None, stored_lsn=990 * MIB, current_lsn=1200 * MIB
    )
    assert judge(lost, [SLOT]).broken[0].lost == (990 * MIB, 1200 * MIB)
    ahead = later(confirmed_lsn=1100 * MIB, current_lsn=1100 * MIB)
    assert judge(ahead, []).broken[0].lost == (1000 * MIB, 1100 * MIB)


def test_what_a_crash_takes_back_of_the_position_is_no_break() -> None:
    restarted = {"started_at": AT, "restart_lsn": 990 * MIB, "confirmed_lsn": 991 * MIB}
    assert judge(later(**restarted, decoded_transactions=1), [SLOT]).broken == ()


def test_a_reset_of_the_counters_is_no_new_slot() -> None:
    assert kinds(later(decoded_transactions=1, counted_since=AT), SLOT) == {}


def test_a_reader_that_confirms_an_earlier_position_only_repeats() -> None:
    assert kinds(later(confirmed_lsn=999 * MIB), SLOT)["repeats"] == WARNING


@pytest.mark.parametrize(
    ("kept_mib", "status", "level"),
    [(700, "reserved", OK), (900, "extended", WARNING), (1500, "extended", ALARM),
     (1999, "unreserved", ALARM)],
)  # fmt: skip
def test_the_alarm_comes_before_the_limit(kept_mib, status, level) -> None:
    now = later(
        current_lsn=SLOT.restart_lsn + kept_mib * MIB,
        confirmed_lsn=SLOT.restart_lsn + kept_mib * MIB,
        stored_lsn=None,
        safe_bytes=(2000 - kept_mib) * MIB,
        wal_status=status,
    )
    assert judge(now, []).level == level
    assert now.share == kept_mib / 2000


def test_a_pace_that_reaches_the_limit_soon_is_told_by_then() -> None:
    """100 MiB a minute from 400 of 2000: 16 minutes left is a warning, 14 an alarm."""
    history = [later(minutes=m, safe_bytes=(2000 - 100 * m) * MIB) for m in range(4)]
    for kept, level in ((400, WARNING), (600, ALARM)):
        now = later(
            minutes=kept / 100,
            safe_bytes=(2000 - kept) * MIB,
            restart_lsn=1000 * MIB,
            current_lsn=(1000 + kept) * MIB,
            confirmed_lsn=(1000 + kept) * MIB,
            stored_lsn=None,
        )
        assert kinds(now, *history) == {"limit_near": level}
        assert seconds_to_limit(now, history) == pytest.approx((2000 - kept) / 100 * 60)


def test_without_a_limit_the_disk_is_the_limit() -> None:
    assert kinds(later(safe_bytes=None, limit_bytes=None), SLOT) == {"no_limit": WARNING}


def test_a_slot_without_a_reader_is_a_warning_and_then_an_alarm() -> None:
    alone = [later(minutes=m, is_active=False) for m in range(12)]
    assert kinds(alone[1], SLOT, alone[0])["no_reader"] == WARNING
    assert kinds(alone[11], SLOT, *alone[:11])["no_reader"] == ALARM
    assert kinds(alone[11], *alone[:9], later(minutes=10)).get("no_reader") == WARNING


def test_lag_in_seconds_is_since_the_log_that_is_waiting_was_seen() -> None:
    grown = [later(minutes=m, current_lsn=(1000 + 10 * m) * MIB) for m in range(5)]
    assert seconds_behind(grown[4], grown[:4]) == 3 * 60
    assert seconds_behind(replace(grown[4], confirmed_lsn=1025 * MIB), grown[:4]) == 60
    assert seconds_behind(replace(grown[4], confirmed_lsn=1040 * MIB), grown[:4]) == 0
    assert kinds(replace(grown[4], stored_lsn=1000 * MIB), *grown[:4])["behind"] == WARNING


def test_positions_are_shown_as_postgres_writes_them() -> None:
    assert lsn(0x16_B374_D848) == "16/B374D848"
    assert lsn(None) == "-"
