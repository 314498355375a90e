"""Where each table of the lake is. The only place with a folder's name."""

from __future__ import annotations

from pathlib import Path

from schemas.contract import Contract


def bronze(lake: Path) -> Path:
    """Every captured change as it arrived, partitioned by entity."""
    return lake / "bronze"


def bronze_checkpoint(lake: Path) -> Path:
    """How far bronze has read each Kafka partition."""
    return lake / "checkpoints" / "bronze"


def bronze_anchor(lake: Path) -> Path:
    """Where the numbers of bronze's batches go on, once its checkpoint was made anew."""
    return lake / "checkpoints" / "bronze.json"


def bronze_lost(lake: Path) -> Path:
    """Offsets that Kafka lost before bronze had read them, and that somebody gave up."""
    return lake / "checkpoints" / "bronze.lost.json"


def all_silver(lake: Path) -> Path:
    """Where the folders of the entities are."""
    return lake / "silver"


def silver(lake: Path, contract: Contract) -> Path:
    """The folder of an entity's silver tables; also what its writer locks."""
    return all_silver(lake) / contract.entity


def current(lake: Path, contract: Contract) -> Path:
    """The last state of every key, deleted ones included."""
    return silver(lake, contract) / "current"


def history(lake: Path, contract: Contract) -> Path:
    """Every state of every key, with the time it was true."""
    return silver(lake, contract) / "history"


def truncates(lake: Path, contract: Contract) -> Path:
    """When the table was emptied at the source, with the place in the order of changes."""
    return silver(lake, contract) / "truncates"


def projections(lake: Path) -> Path:
    """The folder of all read models; also what their writer locks."""
    return lake / "projections"


def projection(lake: Path, name: str) -> Path:
    """A read model that is folded from events or from silver."""
    return projections(lake) / name


def moves(lake: Path, contract: Contract) -> Path:
    """Rows that got another key and were not carried whole: both keys, and where in the log."""
    return silver(lake, contract) / "moves"


def quarantine(lake: Path) -> Path:
    """Changes that broke their contract, with bytes and reasons, partitioned by entity."""
    return lake / "quarantine"


def decisions(lake: Path) -> Path:
    """What was decided about quarantined changes: a folder an entity, a file a decision."""
    return lake / "decisions"


def aside(lake: Path) -> Path:
    """What was put out of the way while the lake was healed: no table of it."""
    return lake / "aside"
