"""A silver build killed between its writes: the next build makes it good, and nothing is twice."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pipelines import delta, lake
from pipelines.refresh import build_silver

pytestmark = pytest.mark.spark
CHECKOUT = Path(__file__).resolve().parents[2]
BUILD = """
import json, sys
from pathlib import Path
from pipelines import refresh, session
from pipelines.settings import Settings
from pipelines.visibility import Cut
from schemas import contract
folder, jars = Path(sys.argv[1]), Path(sys.argv[2])
schemas = {int(i): text for i, text in json.loads(sys.argv[3]).items()}
spark = session.build(Settings(lake=folder, jars=jars))
everything = Cut.from_snapshot(10**9, "1000:1000:")
refresh.build_silver(spark, folder, contract.load("cards"), everything, schemas.get)
"""


def test_a_build_killed_after_its_first_write_is_made_good_by_the_next(
    spark, make_source, everything
) -> None:
    s = make_source("cards")
    s.land(*(s.change("c", s.row(n), 100 + n, 90) for n in range(20)))
    build_silver(spark, s.folder, s.contract, everything, s.schemas.get)
    updates = [s.change("u", s.row(n, status="LOST"), 200 + n, 190) for n in range(10)]
    s.land(*updates, *(s.change("c", s.row(n), 300 + n, 290) for n in range(20, 25)))
    current = lake.current(s.folder, s.contract)
    _kill_after_commit(s, current, delta.last_version(current))

    build_silver(spark, s.folder, s.contract, everything, s.schemas.get)
    rows = delta.read(spark, current).select("card_id", "status").collect()
    assert len(rows) == len({row["card_id"] for row in rows}) == 25
    assert sum(row["status"] == "LOST" for row in rows) == 10
    past = delta.read(spark, lake.history(s.folder, s.contract)).select("card_id", "_is_current")
    states = past.collect()
    assert len(states) == 35
    assert sum(row["_is_current"] for row in states) == 25


def _kill_after_commit(source: Any, table: Path, before: int) -> None:
    jars = os.environ.get("MILLRACE_JARS", str(CHECKOUT / ".jars"))
    arguments = [str(source.folder), jars, json.dumps(source.schemas)]
    process = subprocess.Popen(
        [sys.executable, "-c", BUILD, *arguments], start_new_session=True, cwd=CHECKOUT
    )
    limit = time.monotonic() + 120
    while process.poll() is None and delta.last_version(table) == before:
        assert time.monotonic() < limit, "no commit within two minutes"
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
