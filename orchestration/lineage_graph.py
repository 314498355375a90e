"""The way back: reads the lineage event store and walks from a table or column to its sources.

The store is a file of OpenLineage events, one JSON object a line, written by every runtime. For
each output dataset the newest event that says how it was made counts; older ones are history.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from orchestration.datasets import Dataset

# A column of a dataset; None stands for the dataset as a whole.
Point = tuple[Dataset, str | None]


class UnknownNameError(LookupError):
    """No dataset or column of that name; the message offers the closest ones."""


@dataclass(frozen=True)
class Origin:
    """A point of the way back, the job that made it, and what it was made of."""

    dataset: Dataset
    column: str | None
    job: str | None
    sources: tuple[Origin, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The same tree as plain data."""
        return {
            "namespace": self.dataset.namespace,
            "dataset": self.dataset.name,
            "column": self.column,
            "job": self.job,
            "sources": [source.as_json() for source in self.sources],
        }


@dataclass
class Graph:
    """Everything the store knows: who makes which dataset of what."""

    jobs: dict[Dataset, str] = field(default_factory=dict)
    inputs: dict[Dataset, tuple[Dataset, ...]] = field(default_factory=dict)
    columns: dict[Dataset, dict[str, tuple[tuple[Dataset, str], ...]]] = field(default_factory=dict)
    known: dict[Dataset, set[str]] = field(default_factory=dict)

    def way_back(self, name: str) -> Origin:
        """The tree from `schema.table`, a topic, a path or any of them with `.column`."""
        dataset, column = self._find(name)
        return self._walk((dataset, column), frozenset())

    def _walk(self, point: Point, passed: frozenset[Point]) -> Origin:
        dataset, column = point
        job = self.jobs.get(dataset)
        if point in passed:
            return Origin(dataset, column, job)
        sources: Iterable[Point]
        if column is None:
            sources = ((source, None) for source in self._made_of(dataset))
        else:
            sources = self.columns.get(dataset, {}).get(column, ())
        deeper = passed | {point}
        return Origin(dataset, column, job, tuple(self._walk(s, deeper) for s in sources))

    def _made_of(self, dataset: Dataset) -> Iterable[Dataset]:
        """What its columns come from; a job with many tables has more inputs than each needs."""
        columns = self.columns.get(dataset, {}).values()
        by_column = dict.fromkeys(source for edges in columns for source, _ in edges)
        return by_column or self.inputs.get(dataset, ())

    def _find(self, name: str) -> Point:
        by_name = _short_names(self.known)
        if name in by_name:
            return by_name[name], None
        table, _, column = name.rpartition(".")
        if table in by_name:
            dataset = by_name[table]
            if column in self.known[dataset]:
                return dataset, column
            raise UnknownNameError(
                f"{table} has no column {column!r}{_closest(column, self.known[dataset])}"
            )
        full = [f"{known}.{c}" for known, dataset in by_name.items() for c in self.known[dataset]]
        raise UnknownNameError(
            f"the lineage knows nothing called {name!r}{_closest(name, [*by_name, *full])}"
        )


def read(path: Path) -> Graph:
    """The graph of the event store; an empty one when nothing has been recorded yet."""
    graph = Graph()
    for event in _events(path):
        _add(graph, event)
    return graph


def _events(path: Path) -> Iterator[dict[str, Any]]:
    if not path.is_file():
        return
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            try:
                event = json.loads(line)
            except json.JSONDecodeError:
                continue  # a writer was killed in the middle of a line
            if isinstance(event, dict) and event.get("eventType") != "FAIL":
                yield event


def _add(graph: Graph, event: dict[str, Any]) -> None:
    sources = tuple(_dataset(d) for d in event.get("inputs") or ())
    for dataset in sources:
        graph.known.setdefault(dataset, set())
    for output in event.get("outputs") or ():
        dataset = _dataset(output)
        facets = output.get("facets") or {}
        columns = graph.known.setdefault(dataset, set())
        columns.update(f["name"] for f in (facets.get("schema") or {}).get("fields") or ())
        graph.jobs[dataset] = event["job"]["name"]
        if sources:
            graph.inputs[dataset] = sources
        made_of = (facets.get("columnLineage") or {}).get("fields") or {}
        for column, how in made_of.items():
            edges = tuple((_dataset(f), f["field"]) for f in how.get("inputFields") or ())
            graph.columns.setdefault(dataset, {})[column] = edges
            columns.add(column)
            for source, field_name in edges:
                graph.known.setdefault(source, set()).add(field_name)


def _dataset(raw: dict[str, Any]) -> Dataset:
    return Dataset(raw["namespace"], raw["name"])


def _short_names(datasets: Iterable[Dataset]) -> dict[str, Dataset]:
    """Every name a person may use: the full one and its endings, where they mean one table.

    `warehouse.gold_credit.mart_x`, `gold_credit.mart_x` and `mart_x` are the same table. A topic is
    named like the table it carries, so a name that fits both means the table.
    """
    meant: dict[str, list[Dataset]] = {}
    for dataset in datasets:
        for name in _names(dataset):
            meant.setdefault(name, []).append(dataset)
    return {name: found for name, every in meant.items() if (found := _meaning(every))}


def _meaning(found: list[Dataset]) -> Dataset | None:
    tables = [d for d in found if d.namespace.startswith("postgres:")] or found
    # The same name at several addresses is one table that has moved; the newest address counts.
    return tables[-1] if len({d.name for d in tables}) == 1 else None


def _names(dataset: Dataset) -> set[str]:
    if dataset.namespace == "file":
        parts = Path(dataset.name).parts[1:]
        if parts[-1].startswith("entity="):
            parts = (*parts[:-1], parts[-1].removeprefix("entity="))
        elif parts[-1] in {"current", "history"}:
            layer = ("delta", *parts[-3:-1])
            return {dataset.name, ".".join(layer)}
        return {dataset.name, ".".join(parts[-2:])}
    words = dataset.name.split(".")
    if dataset.namespace.startswith("kafka:"):
        return {dataset.name, f"kafka.{dataset.name}"}
    return {dataset.name, *(".".join(words[i:]) for i in range(1, len(words)))}


def _closest(name: str, names: Iterable[str]) -> str:
    near = get_close_matches(name, sorted(set(names)), n=3, cutoff=0.5)
    return f"; did you mean {', '.join(near)}?" if near else ""
