"""One spelling for values that are searched: what people write differently must index alike."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

from oltp.privacy.errors import PrivacyError


def normalised(field: str, value: str) -> str:
    """The value as it is indexed. Raises PrivacyError when nothing is left of it."""
    if field not in SPELLINGS:
        raise PrivacyError(f"{field} is not searchable; {', '.join(sorted(SPELLINGS))} are")
    spelled = SPELLINGS[field](unicodedata.normalize("NFKC", value))
    if not spelled:
        # Otherwise every blank value would be one and the same person.
        raise PrivacyError(f"{field} is blank: there is nothing to index")
    return spelled


def _email(value: str) -> str:
    return value.strip().casefold()


def _digits(value: str) -> str:
    """The international prefix may be written + or 00."""
    digits = "".join(c for c in value if c.isdecimal())
    return digits.removeprefix("00")


def _alphanumeric(value: str) -> str:
    return "".join(c for c in value if c.isalnum()).casefold()


SPELLINGS: dict[str, Callable[[str], str]] = {
    "email": _email,
    "phone": _digits,
    "national_id": _alphanumeric,
    "tax_id": _alphanumeric,
    "registration_number": _alphanumeric,
}
