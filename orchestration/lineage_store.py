"""The lineage event store: a file that is trimmed to what the way back needs when it is large."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

BYTES_MAX = 32 * 1024 * 1024


def compact(path: Path, bytes_max: int = BYTES_MAX) -> dict[str, int]:
    """Keep the last event of each job and type once the file is larger than `bytes_max`.

    The full history is the transport's business (Marquez, in compose); this file answers questions
    about how tables are made now.
    """
    if not path.is_file():
        return {"events": 0, "bytes": 0}
    if path.stat().st_size > bytes_max:
        kept: dict[tuple[str, str], str] = {}
        for line in path.read_text(encoding="utf-8").splitlines():
            event = _event(line)
            if event:
                place = (event["job"]["name"], str(event.get("eventType")))
                kept.pop(place, None)
                kept[place] = line
        fresh = path.with_suffix(".compacting")
        fresh.write_text("".join(f"{line}\n" for line in kept.values()), encoding="utf-8")
        fresh.replace(path)
    with path.open("rb") as lines:
        return {"events": sum(1 for _ in lines), "bytes": path.stat().st_size}


def _event(line: str) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except json.JSONDecodeError:
        return None
    return event if isinstance(event, dict) and "job" in event else None
