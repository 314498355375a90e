"""One application's timeline out of the lake, without Spark: in milliseconds, for a person."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from pipelines import delta_log, lake
from pipelines.projections import runner


@dataclass(frozen=True)
class Timeline:
    """An application as its events tell it: `state` in the columns of application_states."""

    state: Mapping[str, Any]
    steps: tuple[Mapping[str, Any], ...]
    complete_through: datetime | None


class NoTimeline(LookupError):
    """No event of the application is in the lake; the message says what may be the reason."""


def timeline(folder: Path, application_id: str) -> Timeline:
    """Everything that was announced of an application, in order."""
    states = _rows(folder, runner.STATES, application_id)
    through = runner.complete_through(folder, runner.TIMELINE)
    if not states:
        when = f"up to {through:%Y-%m-%d %H:%M:%S} UTC" if through else "yet: no tick has run"
        raise NoTimeline(
            f"no event of application {application_id} is in the lake {when}; history that was "
            "loaded whole was never announced, and an id has the form of a UUID"
        )
    steps = sorted(
        _rows(folder, runner.TIMELINE, application_id), key=lambda step: int(step["position"])
    )
    return Timeline(states[0], tuple(steps), through)


def _rows(folder: Path, name: str, application_id: str) -> list[dict[str, Any]]:
    # Only what reads a table pays for loading it.
    from pyarrow import dataset

    table = lake.projection(folder, name)
    files = [str(table / unquote(path)) for path in delta_log.read(table).files]
    if not files:
        return []
    wanted = dataset.field("application_id") == application_id
    found = dataset.dataset(files, format="parquet").to_table(filter=wanted)
    rows: list[dict[str, Any]] = found.to_pylist()
    return rows
