"""The demo's closing screen: one page that a newcomer understands. Draws, reads nothing."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

from rich import box
from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from millrace.demo.report import DemoReport
from oltp.simulator import Answers
from orchestration.tie_out import Figure
from schemas import codes

BAR_WIDTH = 12
ROWS = "rows"


def show(console: Console, report: DemoReport) -> None:
    """Print the whole screen; the last line says whether everything ties out."""
    console.print()
    console.rule("[bold]Millrace: what just happened")
    console.print(Text("Input: " + "; ".join(report.sources), style="dim"))
    if report.cut_at:
        cut = f"Cut:   LSN {report.cut_lsn} at {report.cut_at:%Y-%m-%d %H:%M:%S} UTC"
        console.print(Text(cut, style="dim"))
    console.print(_layers(report))
    console.print(
        Columns([Group(_decisions(report.answers), _checks(report)), _reasons(report.answers)])
    )
    console.print(Columns([_features(report), _freshness(report), _changes(report)]))
    console.print(_proofs(report))
    console.print(_tie_out(report.tie_out))
    console.print(_addresses(report))
    console.print(_verdict(report))


def _table(title: str, *columns: tuple[str, str]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for header, justify in columns:
        table.add_column(header, justify="right" if justify == "right" else "left")
    return table


def _layers(report: DemoReport) -> Table:
    table = _table(
        "Rows per layer",
        ("entity", "left"),
        ("changes captured (bronze)", "right"),
        ("quarantined", "right"),
        ("operational", "right"),
        ("silver", "right"),
        ("gold", "right"),
        ("", "left"),
    )
    counted = {f.entity: f for f in report.tie_out if f.measure == ROWS}
    for row in report.layers:
        figure = counted.get(row.entity)
        layers = (figure.operational, figure.silver, figure.gold) if figure else (None,) * 3
        table.add_row(
            row.entity,
            f"{row.bronze_changes:,}",
            f"{row.quarantined:,}",
            *("-" if number is None else f"{number:,}" for number in layers),
            _mark(figure),
        )
    return table


def _mark(figure: Figure | None) -> Text:
    if figure is None:
        return Text("")
    return Text("=", style="green") if figure.is_exact else Text("DIFFERS", style="bold red")


def _decisions(through: tuple[Answers, ...]) -> Table:
    table = _table(
        "Card authorizations, live",
        ("through", "left"),
        ("asked", "right"),
        ("approved", "right"),
        ("p50 ms", "right"),
        ("p95 ms", "right"),
        ("p99 ms", "right"),
    )
    for answers in through:
        table.add_row(
            answers.via,
            f"{answers.asked:,}",
            f"{answers.approved / answers.asked:.1%}" if answers.asked else "-",
            *(f"{answers.percentile_ms(share):,.1f}" for share in (0.50, 0.95, 0.99)),
        )
    return table


def _reasons(through: tuple[Answers, ...]) -> Table:
    table = _table("Why declined", ("reason", "left"), ("code", "left"), ("count", "right"))
    table.add_column("")
    counts = Counter[str]()
    for answers in through:
        counts.update(answers.declined_by_reason)
    most = max(counts.values(), default=1)
    for reason, count in counts.most_common(8):
        code = codes.RESPONSE_CODE[codes.Reason(reason)]
        bar = "█" * max(1, round(BAR_WIDTH * count / most))
        table.add_row(reason, code, f"{count:,}", Text(bar, style="yellow"))
    return table


def _features(report: DemoReport) -> Table:
    table = _table(f"Features of {report.feature_entity}", ("feature", "left"), ("value", "right"))
    for name, value in report.features.items():
        table.add_row(name, f"{value:,}")
    table.caption = report.features_note
    table.caption_justify = "left"
    return table


def _freshness(report: DemoReport) -> Table:
    table = _table("Freshness", ("layer", "left"), ("newest change", "left"), ("age", "right"))
    now = datetime.now(UTC)
    for layer, newest in report.freshness:
        if newest is None:
            table.add_row(layer, "-", "-")
        else:
            age_s = (now - newest).total_seconds()
            table.add_row(layer, f"{newest:%H:%M:%S}", f"{max(0.0, age_s):,.0f} s")
    return table


def _checks(report: DemoReport) -> Table:
    table = _table("Quality", ("checks", "left"), ("count", "right"))
    table.add_row("passed", f"{report.checks.passed:,}")
    table.add_row("failed", f"{len(report.checks.failed):,}")
    return table


def _proofs(report: DemoReport) -> Table:
    table = _table(
        "What the operational database proves of itself",
        ("proof", "left"),
        ("looked at", "left"),
        ("found", "right"),
    )
    for proof in report.proofs:
        style = "bold red" if proof.findings else "green"
        table.add_row(proof.what, proof.looked_at, Text(f"{len(proof.findings)}", style=style))
    return table


def _changes(report: DemoReport) -> Table:
    table = _table("Other changes meanwhile", ("kind", "left"), ("count", "right"))
    for kind, count in sorted(report.changes.items()):
        table.add_row(kind, f"{count:,}")
    return table


def _tie_out(figures: tuple[Figure, ...]) -> Table:
    """One line a money column, one column a currency; equal figures are written once."""
    money = [figure for figure in figures if figure.measure != ROWS]
    currencies = sorted({figure.currency for figure in money})
    table = _table(
        "Money at the cut, in minor units: operational = silver = gold while traffic goes on",
        ("entity", "left"),
        ("column", "left"),
        *((currency, "right") for currency in currencies),
    )
    found = {(f.entity, f.measure, f.currency): f for f in money}
    for entity, measure in dict.fromkeys((f.entity, f.measure) for f in money):
        cells = (_figure(found.get((entity, measure, currency))) for currency in currencies)
        table.add_row(entity, measure.removesuffix("_minor"), *cells)
    return table


def _figure(figure: Figure | None) -> Text:
    if figure is None:
        return Text("")
    if figure.is_exact:
        return Text.assemble(f"{figure.operational:,}", (" =", "green"))
    layers = (figure.operational, figure.silver, figure.gold)
    return Text(" / ".join(f"{number:,}" for number in layers), style="bold red")


def _addresses(report: DemoReport) -> Table:
    table = _table("Open", ("what", "left"), ("where", "left"))
    for what, where in report.addresses:
        table.add_row(what, where)
    return table


def _verdict(report: DemoReport) -> RenderableType:
    took = ", ".join(f"{step} {seconds:.0f} s" for step, seconds in report.seconds.items())
    if report.problems:
        text = "\n".join(f"- {problem}" for problem in report.problems)
        return Panel(Text(text), title="Not as promised", border_style="red")
    equal = sum(figure.is_exact for figure in report.tie_out)
    text = (
        f"{equal} of {len(report.tie_out)} figures are exactly equal in the operational database, "
        f"silver and gold. Took: {took}."
    )
    return Panel(Text(text), title="Everything ties out", border_style="green")
