"""A suite's verdict on the rows about to be published: as asset checks, lineage and a gate."""

from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg

from expectations import catalog
from expectations.results import Outcome, SuiteResult
from orchestration.lineage import Assertion
from orchestration.resources import Tick
from orchestration.silver_builds import Increment
from schemas.contract import Contract

# The check on a warehouse table that says whether this tick was published.
PUBLISHED = "is_published"
# The check of a silver table that stands for every fact of its contract.
CONTRACT = "contract"
SEVERITY = {"error": dg.AssetCheckSeverity.ERROR, "warning": dg.AssetCheckSeverity.WARN}


def named(contract: Contract) -> list[catalog.Rule]:
    """The rules that are checks of their own: business truths, over one row or the whole table."""
    facts = {rule.name for rule in catalog.from_contract(contract) if rule.expect is None}
    return [rule for rule in catalog.rules(contract) if rule.name not in facts]


def specs(contract: Contract, asset: dg.AssetKey) -> list[dg.AssetCheckSpec]:
    """Columns as the contract has them are one check, each business truth is its own.

    The gate is ours, not Dagster's: a failed check holds back its own table and no other.
    """
    facts = len(catalog.rules(contract)) - len(named(contract))
    columns = dg.AssetCheckSpec(
        CONTRACT, asset=asset, description=f"{facts} facts of the contract's columns and key."
    )
    return [
        columns,
        *(
            dg.AssetCheckSpec(
                rule.name,
                asset=asset,
                description=rule.why or f"{rule.expect} when {rule.when}",
                metadata={"severity": rule.severity},
            )
            for rule in named(contract)
        ),
    ]


def judged(tick: Tick, contract: Contract, increment: Increment) -> SuiteResult:
    """The suite's verdict on the increment; asked twice in a run, it is worked out once."""
    if contract.entity not in tick.verdicts:
        tick.verdicts[contract.entity] = _judge(tick, contract, increment)
    return tick.verdicts[contract.entity]


def results(
    contract: Contract, asset: dg.AssetKey, verdict: SuiteResult
) -> Iterator[dg.AssetCheckResult]:
    """The verdict as checks. Without rows to judge, or without the column, no rule has failed."""
    outcomes = {outcome.name: outcome for outcome in verdict.outcomes}
    own = named(contract)
    names = {rule.name for rule in own}
    facts = [outcome for outcome in verdict.outcomes if outcome.name not in names]
    broken = [outcome for outcome in facts if not outcome.success]
    yield dg.AssetCheckResult(
        asset_key=asset,
        check_name=CONTRACT,
        passed=not broken,
        severity=SEVERITY["error" if any(o.blocks for o in broken) or not broken else "warning"],
        description="; ".join(map(str, broken)) or None,
        metadata={"evaluated_rows": verdict.rows, "rules": len(facts)},
    )
    for rule in own:
        outcome = outcomes.get(rule.name)
        yield dg.AssetCheckResult(
            asset_key=asset,
            check_name=rule.name,
            passed=outcome is None or outcome.success,
            severity=SEVERITY[rule.severity],
            metadata=_facts(outcome),
        )


def of_mart(asset: dg.AssetKey, verdict: SuiteResult) -> dg.AssetCheckResult:
    """A mart's suite as one check; it fails as badly as the worst of its rules."""
    return dg.AssetCheckResult(
        asset_key=asset,
        check_name=verdict.entity,
        passed=verdict.success,
        severity=SEVERITY["error" if verdict.blocked else "warning"],
        description=str(verdict),
        metadata={"rows": verdict.rows, "rules": len(verdict.outcomes)},
    )


def _judge(tick: Tick, contract: Contract, increment: Increment) -> SuiteResult:
    from expectations.run import check

    if increment.rows is None:
        return SuiteResult(f"silver.{contract.entity}", contract.entity, 0, (), datetime.now(UTC))
    silver = tick.where.silver(contract)
    with tick.lineage.step(f"check.{contract.entity}", [silver], "GREAT_EXPECTATIONS") as step:
        verdict = check(contract.entity, increment.rows)
        step.checked(
            silver,
            [Assertion(o.name, o.success, o.severity, o.column) for o in verdict.outcomes],
        )
    return verdict


def _facts(outcome: Outcome | None) -> dict[str, dg.MetadataValue]:
    if outcome is None:
        return {"evaluated_rows": dg.MetadataValue.int(0)}
    facts: dict[str, dg.MetadataValue] = {
        "evaluated_rows": dg.MetadataValue.int(outcome.evaluated),
        "unexpected_rows": dg.MetadataValue.int(outcome.unexpected),
    }
    if outcome.sample:
        rows = [{k: str(v) for k, v in row.items()} for row in outcome.sample]
        facts["broken_rows"] = dg.MetadataValue.json(rows)
    if outcome.error:
        facts["error"] = dg.MetadataValue.text(outcome.error)
    return facts
