"""dbt models as assets: their keys, groups and tests, and one in-process build of them.

dbt runs inside the run's process: a process of its own would import everything again each tick.
"""

import fcntl
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, DbtProject
from dagster_dbt.asset_utils import get_asset_check_key_for_test

from orchestration.settings import Settings, give_to_dbt

PROJECT = Path(__file__).parent.parent / "dbt"
READ = ("models", "macros", "seeds", "snapshots", "tests", "dbt_project.yml", "profiles.yml")


class Translator(DagsterDbtTranslator):
    """dbt's names in the graph: sources are the published tables, groups are the layers."""

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> dg.AssetKey:
        """A source is what the pipeline publishes; a model is [schema, name]."""
        props = dbt_resource_props
        if props["resource_type"] == "source":
            if props["source_name"] == "silver":
                return dg.AssetKey(["warehouse", props["name"]])
            return dg.AssetKey([props["source_name"], props["name"]])
        return dg.AssetKey([props["schema"], props["name"]])

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str | None:
        """staging, intermediate, credit or compliance: the folder of the model."""
        return str(dbt_resource_props["fqn"][-2])

    def get_asset_check_spec(
        self,
        asset_spec: dg.AssetSpec,
        manifest: Mapping[str, Any],
        unique_id: str,
        project: DbtProject | None,
    ) -> dg.AssetCheckSpec | None:
        """A failed test shows red; dbt itself holds back the models that depend on it."""
        spec = super().get_asset_check_spec(asset_spec, manifest, unique_id, project)
        return spec._replace(blocking=False) if spec else None


def artifacts(settings: Settings) -> Path:
    """Where dbt keeps what it makes: manifest, partial parse, run results."""
    return settings.home.absolute() / "dbt"


def manifest(settings: Settings) -> dict[str, Any]:
    """dbt's manifest; parsed again only when a file of the project has changed."""
    folder = artifacts(settings)
    folder.mkdir(parents=True, exist_ok=True)
    path, mark, now = folder / "manifest.json", folder / "manifest.sources", _sources_digest()
    with (folder / "manifest.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.is_file() or not mark.is_file() or mark.read_text() != now:
            run_dbt(settings, ["parse"])
            mark.write_text(now)
        parsed: dict[str, Any] = json.loads(path.read_text())
    return parsed


def run_dbt(settings: Settings, command: list[str]) -> Any:
    """Run a dbt command in this process; raises with dbt's own words when it cannot run at all."""
    from dbt.cli.main import dbtRunner

    give_to_dbt(settings)
    folder = str(artifacts(settings))
    where = ["--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT)]
    kept = ["--target-path", folder, "--log-path", folder]
    answer = dbtRunner().invoke(["--log-level", "none", "--no-use-colors", *command, *where, *kept])
    if answer.exception is not None:
        raise dg.Failure(f"dbt {command[0]}: {answer.exception}")
    return answer.result


def check_keys(parsed: Mapping[str, Any], translator: Translator) -> dict[str, dg.AssetCheckKey]:
    """dbt test id -> the asset check it is in the graph; tests about no single model have none."""
    tests = (node for node in parsed["nodes"] if node.startswith("test."))
    found = ((t, get_asset_check_key_for_test(parsed, translator, t, None)) for t in tests)
    return {test: key for test, key in found if key is not None}


def _sources_digest() -> str:
    digest = hashlib.sha256()
    for path in _sources():
        digest.update(path.relative_to(PROJECT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _sources() -> Iterator[Path]:
    for name in READ:
        place = PROJECT / name
        if place.is_file():
            yield place
        else:
            yield from sorted(p for p in place.rglob("*") if p.is_file())
