"""Names of the datasets in the lineage, by OpenLineage's naming rules. One place, one name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from schemas.contract import Contract


@dataclass(frozen=True, order=True)
class Dataset:
    """A table, topic or Delta folder as the lineage knows it."""

    namespace: str
    name: str


@dataclass(frozen=True)
class Datasets:
    """Where everything is, as dataset names."""

    oltp_dsn: str
    warehouse_dsn: str
    kafka: str
    lake: Path

    def operational(self, contract: Contract) -> Dataset:
        """The table in the operational database."""
        return _postgres(self.oltp_dsn, contract.source)

    def topic(self, contract: Contract) -> Dataset:
        """The table's CDC topic."""
        return Dataset(f"kafka://{self.kafka.split(',')[0]}", contract.topic)

    def bronze(self, contract: Contract) -> Dataset:
        """The entity's part of the bronze table."""
        return Dataset("file", str(self.lake.absolute() / "bronze" / f"entity={contract.entity}"))

    def silver(self, contract: Contract) -> Dataset:
        """The current state in the lake."""
        return Dataset("file", str(self.lake.absolute() / "silver" / contract.entity / "current"))

    def quarantine(self, contract: Contract) -> Dataset:
        """The rows that broke the contract."""
        folder = self.lake.absolute() / "quarantine"
        return Dataset("file", str(folder / f"entity={contract.entity}"))

    def projection(self, name: str) -> Dataset:
        """A read model in the lake."""
        return Dataset("file", str(self.lake.absolute() / "projections" / name))

    def warehouse(self, table: str) -> Dataset:
        """A table of the warehouse, given as schema.table."""
        return _postgres(self.warehouse_dsn, table)

    def published(self, contract: Contract) -> Dataset:
        """The published current state."""
        return self.warehouse(f"silver.{contract.entity}")


def _postgres(dsn: str, table: str) -> Dataset:
    address = urlsplit(dsn)
    host = f"{address.hostname}:{address.port or 5432}"
    return Dataset(f"postgres://{host}", f"{address.path.lstrip('/')}.{table}")
