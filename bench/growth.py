"""What a tick costs as its table grows: the same 5,000 changes on a table 4 and 16 times as large.

A tick is what it does with the table's own rows: bronze takes the changes in, current and history
are built, the increment is published into Postgres. Twice: the changes fall on keys made last (as
most do that a lender sees), and on keys drawn evenly from the whole table (the worst that there
is). Parts are printed beside the sum; the last line is the worse of the two. About ten minutes.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from statistics import median

from pyspark.sql import SparkSession
from rich.console import Console
from rich.table import Table

from bench import captured
from bench.own_stack import own_stack
from bench.pairs import interleave, report
from pipelines import publish, refresh

ROWS, FACTORS, CHANGES = 40_000, (1, 4, 16), 5_000
TARGET = 1.3
ROUNDS = 4
PARTS = ("bronze", "current and history", "publish")
# Where the changes fall, as SQL over the change's number `n` and the rows of the table.
KEYS = {
    "recent": "{rows} - 1 - n",
    "even": "pmod(xxhash64(n, {tick}), {rows})",
}


def main() -> None:
    """Each kind of delta on tables of its own: one pair after the other, then the parts."""
    found: dict[str, list[tuple[float, float]]] = {}
    with own_stack("postgres") as stack:
        dsn = {**stack.env, **stack.secrets}["MILLRACE_WAREHOUSE_DSN"]
        with captured.spark_in() as (spark, place):
            for kind, key in KEYS.items():
                tables = {n: Grown(spark, place / kind / str(n), dsn, n, key) for n in FACTORS}
                found[kind] = interleave(tables[16].tick, tables[1].tick, ROUNDS)
                # The first of them warms it up, as the first of a pair does.
                for _ in range(ROUNDS):
                    tables[4].tick()
                show(kind, tables)
    for kind, pairs in found.items():
        report(f"growth.{kind}", pairs, target=TARGET, better="lower")
    worse = max(found.values(), key=lambda pairs: median(a / b for a, b in pairs))
    report("growth", worse, target=TARGET, better="lower")


@dataclass
class Grown:
    """A table so many times as large, in a lake of its own, published under its own name."""

    spark: SparkSession
    folder: Path
    dsn: str
    factor: int
    key: str
    took_s: list[dict[str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.source = captured.Captured(self.spark, self.folder)
        self.source.land(captured.changes(self.spark, 1, self.rows, "n", "'c'"))
        self.source.build()
        # Of a name of its own, beside those of the other sizes.
        self.named = replace(self.source.contract, entity=f"payments_{self.factor}")
        self._publish()

    @property
    def rows(self) -> int:
        """What the table had at first; the keys stay the same."""
        return ROWS * self.factor

    def tick(self) -> float:
        """Seconds of one tick with CHANGES changes."""
        key = self.key.format(rows=self.rows, tick=self.source.batch)
        first = 10**9 + self.source.offset
        changes = captured.changes(self.spark, first, CHANGES, key).localCheckpoint()
        marks = [time.perf_counter()]
        for act in (lambda: self.source.land(changes), self.source.build, self._publish):
            act()
            marks.append(time.perf_counter())
        steps = [b - a for a, b in pairwise(marks)]
        self.took_s.append(dict(zip(PARTS, steps, strict=True)))
        return sum(steps)

    def _publish(self) -> None:
        tick = refresh.last_tick(self.spark, self.folder, self.source.contract)
        since = publish.watermark(self.dsn, self.named)
        rows = publish.increment(self.spark, self.folder, self.source.contract, since)
        publish.publish(self.dsn, self.named, rows, tick)


def show(kind: str, tables: dict[int, Grown]) -> None:
    """Median seconds of each part, by size."""
    drawn = Table("table", *PARTS, "in all", title=f"{CHANGES:,} changes, {kind} keys: seconds")
    for factor, grown in tables.items():
        each = [median(t[part] for t in grown.took_s[1:]) for part in PARTS]
        drawn.add_row(f"{ROWS * factor:,} rows", *(f"{s:.2f}" for s in (*each, sum(each))))
    Console().print(drawn)


if __name__ == "__main__":
    main()
