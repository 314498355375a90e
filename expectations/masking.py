"""Keeps personal data out of results: they show that a value was wrong, not the value."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from typing import Any

MASKED = "<masked>"
# Where the library repeats the values it did not expect.
VALUES = (
    "partial_unexpected_list",
    "partial_unexpected_counts",
    "unexpected_list",
    "observed_value",
)


def row(values: Mapping[str, Any], hidden: Collection[str]) -> dict[str, Any]:
    """A sample row that can be stored as JSON, the hidden columns masked."""
    return {
        name: MASKED if name in hidden and not _is_null(value) else _plain(value)
        for name, value in values.items()
    }


def document(validation: dict[str, Any], hidden: Collection[str]) -> dict[str, Any]:
    """The library's result with the values of hidden columns masked; the original is untouched."""
    masked = copy.deepcopy(validation)
    for result in masked["results"]:
        if result["expectation_config"]["kwargs"].get("column") in hidden:
            for place in VALUES:
                if result["result"].get(place):
                    result["result"][place] = [MASKED] if place.endswith("list") else []
            # A message may quote the value that caused it.
            if result.get("exception_info", {}).get("exception_message"):
                result["exception_info"] = {"raised_exception": True, "exception_message": MASKED}
    return masked


def _is_null(value: Any) -> bool:
    return value is None or value != value  # noqa: PLR0124 - NaN and NaT are not themselves


def _plain(value: Any) -> Any:
    if isinstance(value, bool | int | str) or value is None:
        return value
    # pandas' NA refuses to be compared, and its NaT is not itself.
    return None if str(value) in ("<NA>", "NaT", "nan") else str(value)
