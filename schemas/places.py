"""How far apart places are: exactly between coordinates, at least between countries. Pure.

places.csv has for each country the middle of a circle that holds all its land, and how far that
reaches, from the outlines of Natural Earth and the cities of the time zone database (both public
domain). Two countries are at least as far apart as their circles; neighbours are 0 km apart.
"""

from __future__ import annotations

import csv
from functools import cache
from math import asin, cos, radians, sin, sqrt
from pathlib import Path

FILE = Path(__file__).with_suffix(".csv")
EARTH_KM = 6371.0


def distance_km(latitude_e6: int, longitude_e6: int, other_lat_e6: int, other_lon_e6: int) -> int:
    """Along the globe (haversine), in whole kilometres, rounded down."""
    here, there = radians(latitude_e6 / 1e6), radians(other_lat_e6 / 1e6)
    east = radians((other_lon_e6 - longitude_e6) / 1e6)
    h = sin((there - here) / 2) ** 2 + cos(here) * cos(there) * sin(east / 2) ** 2
    return int(2 * EARTH_KM * asin(min(1.0, sqrt(h))))


@cache
def least_km(country: str, other: str) -> int | None:
    """What lies at least between a place in one and a place in the other; None when unknown."""
    if country == other:
        return 0
    circles = _circles()
    if country not in circles or other not in circles:
        return None
    *middle, reach_km = circles[country]
    *other_middle, other_reach_km = circles[other]
    return max(0, distance_km(*middle, *other_middle) - reach_km - other_reach_km)


@cache
def _circles() -> dict[str, tuple[int, int, int]]:
    """Latitude and longitude in millionths of a degree, and reach in kilometres, by country."""
    with FILE.open(encoding="utf-8", newline="") as lines:
        return {
            row["country"]: (
                round(float(row["latitude"]) * 1e6),
                round(float(row["longitude"]) * 1e6),
                int(row["reach_km"]),
            )
            for row in csv.DictReader(lines)
        }
