"""What people may see of a personal value: enough to recognise it, too little to use it."""

from __future__ import annotations

HIDDEN = "***"
HIDDEN_DIGITS = "*****"


def mask(field: str, value: str | None) -> str | None:
    """The masked form; None stays None. The length of what is hidden is not told.

    email: two characters and the domain (`ad***@x.io`), none of a part of two or fewer.
    phone: the last two digits. Anything else: the last two characters, if more than five.
    """
    if value is None or not value.strip():
        return None
    if field == "email":
        return _email(value.strip())
    if field == "phone":
        digits = "".join(c for c in value if c.isdecimal())
        return HIDDEN_DIGITS + (digits[-2:] if len(digits) > 5 else "")
    text = value.strip()
    return HIDDEN + (text[-2:] if len(text) > 5 else "")


def _email(value: str) -> str:
    local, at, domain = value.rpartition("@")
    if not at:
        return HIDDEN
    return f"{local[:2] if len(local) > 2 else ''}{HIDDEN}@{domain}"
