"""The journal: on disk when it says so, one gateway at a time, and honest when it cannot write."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from serving.journal import KEPT_S, Entry, Journal, JournalUnwritable


def entry(key: str, approved_minor: int = 0, **changes: object) -> Entry:
    fields = {
        "key": key,
        "request_hash": "a" * 64,
        "card_id": "card-1",
        "approved_minor": approved_minor,
        "told_at": time.time(),
        "request": b"{}",
        "answer": b"{}",
    }
    return Entry(**(fields | changes))  # type: ignore[arg-type]


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    made = Journal(tmp_path)
    made.start()
    yield made
    await made.stop()


async def test_what_was_written_is_told_again_by_its_key(journal: Journal) -> None:
    first = entry("K-1", 500)
    await journal.write(first)
    assert journal.told("K-1") == first
    assert journal.told("K-2") is None


async def test_a_thousand_writes_at_once_share_a_few_disk_writes(journal: Journal) -> None:
    started = time.perf_counter()
    await asyncio.gather(*(journal.write(entry(f"K-{n}")) for n in range(1000)))
    assert time.perf_counter() - started < 5
    assert journal.backlog()[0] == 1000


async def test_what_kafka_knows_waits_no_more_and_is_still_told(journal: Journal) -> None:
    for number in range(3):
        await journal.write(entry(f"K-{number}", told_at=time.time() - 30 + number))
    await journal.known(["K-0", "K-2"])
    assert [e.key for e in journal.waiting(10)] == ["K-1"]
    count, age_s = journal.backlog()
    assert (count, round(age_s)) == (1, 29)
    assert journal.told("K-0") is not None


async def test_only_approvals_that_kafka_does_not_know_are_open(journal: Journal) -> None:
    await journal.write(entry("K-1", 500))
    await journal.write(entry("K-2", 700))
    await journal.write(entry("K-3", 0))
    await journal.write(entry("K-4", 900, card_id="card-2"))
    await journal.known(["K-2"])
    assert journal.open_of("card-1") == (1, 500)


async def test_a_later_entry_of_a_key_is_the_last_word(journal: Journal) -> None:
    await asyncio.gather(journal.write(entry("K-1", 500)), journal.write(entry("K-1", 0)))
    found = journal.told("K-1")
    assert found is not None
    assert found.approved_minor == 0


async def test_what_everybody_has_forgotten_is_dropped_and_nothing_that_waits(
    journal: Journal, tmp_path: Path
) -> None:
    await journal.write(entry("K-old"))
    await journal.write(entry("K-waits", told_at=time.time() - 2 * KEPT_S))
    await journal.known(["K-old"])
    with sqlite3.connect(tmp_path / "stand-ins.sqlite") as file:
        file.execute(
            "update answers set known_at = ? where key = 'K-old'", (time.time() - KEPT_S - 1,)
        )
    await journal.forget()
    assert journal.told("K-old") is None
    assert journal.told("K-waits") is not None


WRITER = """
import asyncio, sys
from pathlib import Path
from serving.journal import Journal
from tests.serving.test_journal import entry

async def main():
    journal = Journal(Path(sys.argv[1]))
    journal.start()
    number = 0
    while True:
        await journal.write(entry(f"K-{number}", number))
        print(number, flush=True)
        number += 1

asyncio.run(main())
"""


def test_every_answer_that_was_said_to_be_written_survives_a_kill(tmp_path: Path) -> None:
    """What the process printed it had been told was written; then it dies in the middle."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path.cwd())},
    )
    assert process.stdout is not None
    said = [process.stdout.readline() for _ in range(50)]
    process.send_signal(signal.SIGKILL)
    said += process.stdout.readlines()
    process.wait()
    last = int([line for line in said if line.endswith("\n")][-1])

    async def read() -> list[int]:
        journal = Journal(tmp_path)
        journal.start()
        found = [e.approved_minor for e in journal.waiting(100_000)]
        await journal.stop()
        return found

    assert set(range(last + 1)) <= set(asyncio.run(read()))


async def test_a_second_gateway_does_not_get_the_journal_until_the_first_is_gone(
    journal: Journal, tmp_path: Path
) -> None:
    second = Journal(tmp_path)
    second.start()
    with pytest.raises(JournalUnwritable):
        await second.write(entry("K-1"))
    assert "another gateway has" in str(second.problem)
    await journal.stop()
    await second.write(entry("K-1"))
    assert second.problem is None
    await second.stop()


async def test_a_folder_that_cannot_be_made_is_said_and_tried_again(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("in the way")
    journal = Journal(tmp_path / "home" / "gateway")
    journal.start()
    with pytest.raises(JournalUnwritable):
        await journal.write(entry("K-1"))
    assert journal.told("K-1") is None
    (tmp_path / "home").unlink()
    await journal.write(entry("K-1"))
    assert journal.told("K-1") is not None
    await journal.stop()
