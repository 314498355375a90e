"""How far apart places are: exactly from coordinates, at least so far from countries. Pure."""

from __future__ import annotations

from functools import cache
from math import asin, cos, radians, sin, sqrt

EARTH_KM = 6371.0
# Middle of a country, and how far its land reaches from there.
COUNTRIES: dict[str, tuple[float, float, int]] = {
    "CZ": (49.8, 15.5, 300),
    "US": (39.8, -98.6, 2900),
    "JP": (36.2, 138.3, 1500),
}


def distance_km(latitude_e6: int, longitude_e6: int, other_lat_e6: int, other_lon_e6: int) -> int:
    """Along the globe (haversine), in whole kilometres, rounded down."""
    here, there = radians(latitude_e6 / 1e6), radians(other_lat_e6 / 1e6)
    east = radians((other_lon_e6 - longitude_e6) / 1e6)
    h = sin((there - here) / 2) ** 2 + cos(here) * cos(there) * sin(east / 2) ** 2
    return int(2 * EARTH_KM * asin(min(1.0, sqrt(h))))


@cache
def least_km(country: str, other: str) -> int | None:
    """What lies at least between two places of these countries; 0 for neighbours, None unknown."""
    if country == other:
        return 0
    if country not in COUNTRIES or other not in COUNTRIES:
        return None
    latitude, longitude, reach = COUNTRIES[country]
    other_latitude, other_longitude, other_reach = COUNTRIES[other]
    between = distance_km(
        round(latitude * 1e6),
        round(longitude * 1e6),
        round(other_latitude * 1e6),
        round(other_longitude * 1e6),
    )
    return max(0, between - reach - other_reach)
