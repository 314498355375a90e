"""Equal to the last unit, or named."""

from orchestration.tie_out import Figure, compare


def totals(rows: int, eur: int | None = None) -> dict:
    return {"payments": {"rows": rows, "money": {"due": {} if eur is None else {"EUR": eur}}}}


def gold(rows: int, eur: int) -> dict:
    return {("payments", "rows", ""): rows, ("payments", "due", "EUR"): eur}


def test_equal_layers_are_exact() -> None:
    figures = compare(totals(3, 900), totals(3, 900), totals(3, 900), gold(3, 900))
    assert len(figures) == 2
    assert all(figure.is_exact for figure in figures)


def test_one_minor_unit_is_a_difference_and_is_named() -> None:
    figures = compare(totals(3, 900), totals(3, 899), totals(3, 900), gold(3, 900))
    (different,) = [figure for figure in figures if not figure.is_exact]
    assert str(different) == (
        "payments due EUR: operational 900, silver 899, warehouse 900, gold 900"
    )


def test_a_row_too_many_in_gold_is_a_difference() -> None:
    figures = compare(totals(3, 900), totals(3, 900), totals(3, 900), gold(4, 900))
    assert [(f.measure, f.gold) for f in figures if not f.is_exact] == [("rows", 4)]


def test_a_currency_that_a_layer_lacks_counts_as_zero_there() -> None:
    figures = compare(totals(0, 0), totals(0), totals(0), {})
    assert all(figure.is_exact for figure in figures)
    figures = compare(totals(1, 5), totals(1), totals(1, 5), gold(1, 5))
    assert [f.silver for f in figures if not f.is_exact] == [0]


def test_a_table_that_no_layer_but_one_has_is_a_difference() -> None:
    figures = compare(totals(1, 5), {}, {}, {})
    assert figures == (
        Figure("payments", "rows", "", 1, 0, 0, 0),
        Figure("payments", "due", "EUR", 5, 0, 0, 0),
    )
