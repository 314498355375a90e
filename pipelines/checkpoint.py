"""How far bronze has read Kafka: Spark's checkpoint, whether it fits the table, and a new one.

A checkpoint that does not belong to what the table holds would skip records or bring them twice,
without a word: batches are known by number only. So each commit notes a digest of the plan of its
batch, and before reading on the checkpoint must have that same plan, and none done that the table
has not. A new checkpoint starts at the table's own last offsets, and its batches count on.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pipelines import lake

NEVER = -1
# Spark's own word for "from the first record there is".
EARLIEST = -2
REMEDY = "`millrace lake recover` makes a new one from bronze's own last offsets, losing nothing"

# topic -> partition (as JSON writes it) -> the next offset to read
Offsets = Mapping[str, Mapping[str, int]]
# topic, partition, the first offset that is lost, the first after it
Lost = tuple[str, int, int, int]


class CheckpointUnfit(RuntimeError):
    """The checkpoint does not fit the table; the message says why. Nothing was read or lost."""


@dataclass(frozen=True)
class Anchor:
    """What ties a checkpoint that was made anew to the table: written beside it, never changed."""

    checkpoint: str
    # The name that commits carry; it stays the same for the life of the table.
    source: str
    # Batch 0 of this checkpoint is batch `base` of the table.
    base: int
    starting: Offsets = field(default_factory=dict)


def source(folder: Path) -> str:
    """The name under which bronze's batches are committed, whatever its checkpoint."""
    anchor = _anchor(folder)
    return anchor.source if anchor else f"bronze:{identity(folder) or ''}"


def base(folder: Path) -> int:
    """What is added to the checkpoint's batch numbers."""
    anchor = _anchor(folder)
    return anchor.base if anchor else 0


def starting(folder: Path, partitions: Mapping[str, list[int]]) -> str:
    """Where a new checkpoint begins, as Spark wants it; one that has begun knows better."""
    anchor = _anchor(folder)
    if anchor is None:
        return "earliest"
    return json.dumps(
        {
            topic: {str(n): anchor.starting.get(topic, {}).get(str(n), EARLIEST) for n in numbers}
            for topic, numbers in sorted(partitions.items())
        }
    )


def identity(folder: Path) -> str | None:
    """The checkpoint's id; None when there is none that can be read."""
    try:
        text = (lake.bronze_checkpoint(folder) / "metadata").read_text(encoding="utf-8")
        return str(json.loads(text)["id"])
    except (OSError, ValueError, KeyError):
        return None


def plan(folder: Path, batch: int) -> str | None:
    """A digest of what the table's batch `batch` is to hold; None when no such plan is kept."""
    place = lake.bronze_checkpoint(folder) / "offsets" / str(batch - base(folder))
    ends = _ends(place)
    if ends is None:
        return None
    text = json.dumps(ends, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def planned_ends(folder: Path) -> Offsets:
    """Up to where the last batch that is done has read; empty when that cannot be told."""
    checkpoint = lake.bronze_checkpoint(folder)
    return _ends(checkpoint / "offsets" / str(_last(checkpoint / "commits"))) or {}


def require(folder: Path, last_batch: int, noted: str | None) -> None:
    """Raise CheckpointUnfit unless reading on brings every record after the table's last, once.

    `last_batch` is the last in the table, `noted` the digest that its commit carries.
    """
    checkpoint = lake.bronze_checkpoint(folder)
    if not (checkpoint / "metadata").exists() and last_batch == NEVER:
        return
    wrong = next(_wrong(folder, last_batch, noted), None)
    if wrong:
        raise CheckpointUnfit(f"the checkpoint {checkpoint} {wrong}. {REMEDY}")


def renew(folder: Path, name: str, last_batch: int, ends: Offsets) -> Path | None:
    """Put a new checkpoint in place that starts at `ends`; where the old one was put, if any."""
    checkpoint, aside = lake.bronze_checkpoint(folder), None
    if checkpoint.exists():
        aside = checkpoint.with_name(f"bronze.unfit-{time.time_ns() // 1_000_000}")
        checkpoint.rename(aside)
    made = Anchor(str(uuid.uuid4()), name, last_batch + 1, ends)
    # Between these two steps the ids differ, which is refused: then this is run again.
    anchor = lake.bronze_anchor(folder)
    anchor.parent.mkdir(parents=True, exist_ok=True)
    _settled(anchor, json.dumps(asdict(made), indent=1, sort_keys=True))
    checkpoint.mkdir()
    _settled(checkpoint / "metadata", json.dumps({"id": made.checkpoint}))
    return aside


def given_up(folder: Path) -> list[Lost]:
    """The offsets that were lost for good, and known to be."""
    place = lake.bronze_lost(folder)
    if not place.exists():
        return []
    found = json.loads(place.read_text(encoding="utf-8"))
    return [(topic, partition, start, end) for topic, partition, start, end in found]


def give_up(folder: Path, lost: list[Lost]) -> None:
    """Write down that these offsets will never be read."""
    place = lake.bronze_lost(folder)
    place.parent.mkdir(parents=True, exist_ok=True)
    _settled(place, json.dumps(sorted({*given_up(folder), *lost})))


def _wrong(folder: Path, last_batch: int, noted: str | None) -> Iterator[str]:
    """What does not fit, as ends of sentences."""
    checkpoint = lake.bronze_checkpoint(folder)
    found, anchor = identity(folder), _anchor(folder)
    if not (checkpoint / "metadata").exists():
        yield "is gone, and reading from the start would bring what bronze has once more"
    elif found is None:
        yield "is damaged: its metadata cannot be read"
    elif anchor and anchor.checkpoint != found:
        yield f"is not the one that bronze goes on with ({found}, not {anchor.checkpoint})"
    offset = anchor.base if anchor else 0
    own = last_batch - offset
    done, due = _last(checkpoint / "commits"), _last(checkpoint / "offsets")
    if done > own:
        yield (
            f"has done batch {done + offset}, but the last that the table has is {last_batch}: "
            "the table has lost commits, whose records would never be read again"
        )
    if due < own:
        yield f"is older than the table: it knows no batch after {due + offset} of {last_batch}"
    if due > NEVER and _ends(checkpoint / "offsets" / str(due)) is None:
        yield f"is damaged: its plan {due} cannot be read"
    if done > NEVER and not _is_done(checkpoint / "commits" / str(done)):
        yield f"is damaged: what it says of batch {done + offset} cannot be read"
    if own > NEVER and noted and plan(folder, last_batch) != noted:
        yield f"has another plan of batch {last_batch} than the table was written with"


def _last(log: Path) -> int:
    """The highest number in one of the checkpoint's logs."""
    names = os.listdir(log) if log.is_dir() else []
    return max((int(name) for name in names if name.isdigit()), default=NEVER)


def _is_done(place: Path) -> bool:
    """Whether a commit of the checkpoint is whole: a version, then what Spark notes for itself."""
    try:
        return isinstance(json.loads(place.read_text(encoding="utf-8").splitlines()[1]), dict)
    except (OSError, ValueError, IndexError):
        return False


def _ends(place: Path) -> Offsets | None:
    """The offsets of a plan: its last line, after a version and what Spark notes for itself."""
    try:
        lines = place.read_text(encoding="utf-8").splitlines()
        found = json.loads(lines[2])
        return {topic: {n: int(at) for n, at in ends.items()} for topic, ends in found.items()}
    except (OSError, ValueError, IndexError, AttributeError, TypeError):
        return None


def _anchor(folder: Path) -> Anchor | None:
    place = lake.bronze_anchor(folder)
    if not place.exists():
        return None
    try:
        return Anchor(**json.loads(place.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise CheckpointUnfit(
            f"{place} cannot be read ({error}): restore it, or remove it together with the "
            f"checkpoint. {REMEDY}"
        ) from None


def _settled(place: Path, text: str) -> None:
    """Write a file whole or not at all."""
    unfinished = place.with_name(f".{place.name}.new")
    with open(unfinished, "w", encoding="utf-8") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    unfinished.rename(place)
