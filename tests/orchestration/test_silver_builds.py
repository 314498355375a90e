"""An unchanged table is not added up again; a changed one always is."""

from pathlib import Path

from orchestration.silver_builds import KnownTotals

TOTALS = {"rows": 3, "money": {"due_amount_minor": {"EUR": 900}}}


def test_totals_are_known_only_for_exactly_the_build_they_were_taken_at(tmp_path: Path) -> None:
    path = tmp_path / "totals.json"
    KnownTotals(path).keep("payments", 7, TOTALS)
    again = KnownTotals(path)
    assert again.at("payments", 7) == TOTALS
    assert again.at("payments", 8) is None
    assert again.at("offers", 7) is None


def test_a_broken_file_means_that_nothing_is_known(tmp_path: Path) -> None:
    path = tmp_path / "totals.json"
    path.write_text('{"payments": {"ti')
    assert KnownTotals(path).at("payments", 7) is None
