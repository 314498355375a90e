"""F24: two writers of one table. The lock refuses the second; without it the table breaks."""

import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from millrace.stack.layout import CHECKOUT
from pipelines import bronze, care, checking, delta, lake
from tests.faults.lakes import is_whole, produce, rows_of

pytestmark = [pytest.mark.spark, pytest.mark.stack]
JARS = str(CHECKOUT / ".jars")
HOLD = """
import sys, time
from pathlib import Path
from pipelines import delta
with delta.writing(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""
# Both stop before they write until the other has come so far too.
WITHOUT_LOCK = """
import sys, time
from contextlib import nullcontext
from pathlib import Path
from pipelines import bronze, delta, session
from pipelines.settings import Settings
lake, jars, kafka, me = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4]
delta.writing = lambda path, wait_s=0.0: nullcontext()
write = bronze._write
def together(batch, number, folder):
    (lake / f"ready-{me}").touch()
    limit = time.monotonic() + 60
    while len(list(lake.glob("ready-*"))) < 2 and time.monotonic() < limit:
        time.sleep(0.01)
    write(batch, number, folder)
bronze._write = together
spark = session.build(Settings(lake=lake, jars=jars))
bronze.ingest(spark, lake, kafka)
"""


@pytest.fixture
def folder(spark, broker, tmp_path, seed) -> Path:
    produce(broker, seed, 100)
    bronze.ingest(spark, tmp_path, broker)
    return tmp_path


def test_a_second_process_is_refused_and_named(spark, broker, folder) -> None:
    table = lake.bronze(folder)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(table)], stdout=subprocess.PIPE, text=True, cwd=CHECKOUT
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        version = delta.last_version(table)
        with pytest.raises(delta.SecondWriter, match=f"process {holder.pid}"):
            bronze.ingest(spark, folder, broker)
        assert delta.last_version(table) == version
    finally:
        holder.kill()
        holder.wait()
    # The lock is as mortal as its holder.
    bronze.ingest(spark, folder, broker)


@pytest.mark.long
def test_compaction_beside_streaming_waits_its_turn(spark, broker, folder, seed) -> None:
    """Both go on all the time; nothing is lost, nothing twice, neither fails."""
    table, failures, cared = lake.bronze(folder), [], []
    is_over = threading.Event()

    def care_on() -> None:
        while not is_over.is_set():
            try:
                cared.append(care.care(spark, folder, table))
            except Exception as error:
                failures.append(error)
            time.sleep(0.2)

    other = threading.Thread(target=care_on)
    other.start()
    keys: set[bytes] = set()
    try:
        for round_ in range(4):
            keys |= produce(broker, seed + round_, 50)
            with_patience(lambda: bronze.ingest(spark, folder, broker))
    finally:
        is_over.set()
        other.join()
    assert failures == []
    assert len(cared) >= 2
    is_whole(rows_of(spark, folder), keys)
    assert checking.check(folder) == []


def with_patience(work) -> None:
    """The tick's own patience: it is refused while care holds the lock, and comes again."""
    limit = time.monotonic() + 60
    while True:
        try:
            work()
            return
        except delta.SecondWriter:
            assert time.monotonic() < limit
            time.sleep(0.05)


@pytest.mark.long
def test_without_the_lock_two_writers_collide(spark, broker, folder, seed) -> None:
    """The negative control: one of them fails in the middle, or records are there twice."""
    produce(broker, seed, 200)
    both = [
        subprocess.Popen(
            [sys.executable, "-c", WITHOUT_LOCK, str(folder), JARS, broker, str(n)],
            stderr=subprocess.PIPE, cwd=CHECKOUT,
        )
        for n in range(2)
    ]  # fmt: skip
    said = [process.communicate(timeout=200)[1].decode() for process in both]
    rows = rows_of(spark, folder)
    twice = [p for p, n in Counter(tuple(r[:3]) for r in rows).items() if n > 1]
    codes = [process.returncode for process in both]
    print(codes, len(twice), *(text[-400:] for text in said if text), sep="\n")
    assert any(codes) or twice
