"""Where the bank's files are: the folder that was named, or shared/data beside the checkout."""

from __future__ import annotations

from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
MARK = "account.asc"


def find(data: Path | None = None) -> Path | None:
    """The folder with the files: `data`, its `berka`, or the default place; None without them."""
    places = (data, data / "berka") if data else (CHECKOUT.parent / "shared" / "data" / "berka",)
    return next((place for place in places if (place / MARK).is_file()), None)
