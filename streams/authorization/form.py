"""Whether a request has the form it must have: what the database could not hold is refused. Pure.

Each request passes here, so the checks are comparisons; a pattern is tried only where those fail.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from schemas.codes import Channel
from schemas.codes_card import CardMessageKind, MessageKind, Network
from schemas.events import AuthorizationRequested

LARGEST_AMOUNT_MINOR = 10**15
CLOCK_SKEW = timedelta(minutes=5)
# An advice's key is that of its request with a word before it.
LONGEST_KEY = 160
HEX = "0123456789abcdef"
CHANNELS = frozenset(Channel)
NETWORKS = frozenset(Network)
KINDS = frozenset({*MessageKind, CardMessageKind.REVERSAL.value})
# These say something about an earlier request.
FOLLOWING = frozenset({MessageKind.INCREMENT.value, CardMessageKind.REVERSAL.value})
CARD_ID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
MERCHANT_ID = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]{1,64}")


def malformed_field(request: AuthorizationRequested, moment: datetime) -> str | None:
    """The first field that has not its form, or None; a request from the future has not."""
    if not _is_key(request.idempotency_key):
        return "idempotency_key"
    if not _is_key(request.request_id):
        return "request_id"
    if len(request.request_hash) != 64 or request.request_hash.strip(HEX):
        return "request_hash"
    if not CARD_ID.fullmatch(request.card_id):
        return "card_id"
    return (
        _malformed_merchant(request)
        or _malformed_message(request)
        or ("requested_at" if request.requested_at > moment + CLOCK_SKEW else None)
    )


def amount_is_valid(request: AuthorizationRequested) -> bool:
    """Neither negative nor absurd; a verification asks for nothing."""
    if request.message_kind == MessageKind.VERIFICATION:
        return request.amount_minor == 0
    return 0 <= request.amount_minor <= LARGEST_AMOUNT_MINOR


def _malformed_merchant(request: AuthorizationRequested) -> str | None:
    if not _is_letters(request.currency, 3):
        return "currency"
    if not _is_merchant_id(request.merchant_id):
        return "merchant_id"
    mcc = request.mcc
    if len(mcc) != 4 or not (mcc.isascii() and mcc.isdigit()):
        return "mcc"
    if not _is_letters(request.merchant_country, 2):
        return "merchant_country"
    return "channel" if request.channel not in CHANNELS else None


def _malformed_message(request: AuthorizationRequested) -> str | None:
    kind, original = request.message_kind, request.original_key
    if kind not in KINDS:
        return "message_kind"
    if request.network not in NETWORKS:
        return "network"
    if (kind in FOLLOWING) if original is None else not _is_key(original):
        return "original_key"
    return _malformed_place(request.terminal_latitude_e6, request.terminal_longitude_e6)


def _malformed_place(latitude: int | None, longitude: int | None) -> str | None:
    """Both coordinates, or neither."""
    if latitude is None and longitude is None:
        return None
    if latitude is None or not -90_000_000 <= latitude <= 90_000_000:
        return "terminal_latitude_e6"
    if longitude is None or not -180_000_000 <= longitude <= 180_000_000:
        return "terminal_longitude_e6"
    return None


def _is_key(text: str) -> bool:
    """Visible ASCII, without spaces."""
    return (
        0 < len(text) <= LONGEST_KEY and text.isascii() and text.isprintable() and " " not in text
    )


def _is_letters(text: str, length: int) -> bool:
    return len(text) == length and text.isascii() and text.isalpha() and text.isupper()


def _is_merchant_id(text: str) -> bool:
    is_plain = 0 < len(text) <= 64 and text.isascii() and text.isprintable()
    return is_plain or MERCHANT_ID.fullmatch(text) is not None
