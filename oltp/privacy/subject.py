"""One person's key: seals and opens that person's values."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from oltp.privacy.errors import PrivacyError, SealError

DATA_KEY_BYTES = 64
FORMAT = "1"
TOKEN = re.compile(r"enc:([0-9]+):([A-Za-z0-9_-]+)=*")


class Subject:
    """Seals with AES-SIV (RFC 5297), bound to the subject's id and the field's name.

    Deterministic: the same value of the same subject and field gives the same token, so writing
    it twice changes nothing. Another subject's token of the same value is another one, and a token
    moved to another subject or field does not open.
    """

    def __init__(
        self, customer_id: UUID | str, data_key: bytes, wrapped_key: bytes, kek_version: int
    ) -> None:
        if len(data_key) != DATA_KEY_BYTES:
            raise PrivacyError(f"a data key has {DATA_KEY_BYTES} bytes, not {len(data_key)}")
        self.customer_id = UUID(str(customer_id))
        self._cipher = AESSIV(data_key)
        self._wrapped_key = wrapped_key
        self._kek_version = kek_version

    def seal(self, field: str, value: str) -> str:
        """The token to store. Raises PrivacyError for a blank value: nothing is not sealed."""
        if not value.strip():
            raise PrivacyError(f"{field} is blank: leave it null instead of sealing it")
        sealed = self._cipher.encrypt(value.encode(), self._bound_to(field))
        return f"enc:{FORMAT}:{base64.urlsafe_b64encode(sealed).decode().rstrip('=')}"

    def open(self, field: str, token: str) -> str:
        """The value. Raises SealError unless this subject sealed it for this field."""
        found = TOKEN.fullmatch(token)
        if found is None:
            raise SealError(f"{field} of {self.customer_id} is not a sealed token")
        if found[1] != FORMAT:
            raise SealError(f"{field} of {self.customer_id} is sealed in unknown format {found[1]}")
        try:
            sealed = base64.urlsafe_b64decode(found[2] + "=" * (-len(found[2]) % 4))
            return self._cipher.decrypt(sealed, self._bound_to(field)).decode()
        except (InvalidTag, binascii.Error, ValueError):
            raise SealError(
                f"{field} of {self.customer_id} does not open: it was sealed for another subject "
                "or field, or altered"
            ) from None

    def key_row(self) -> dict[str, Any]:
        """The row of customer.subject_keys."""
        return {
            "customer_id": self.customer_id,
            "wrapped_key": self._wrapped_key,
            "kek_version": self._kek_version,
        }

    def __repr__(self) -> str:
        return f"Subject({self.customer_id})"

    def _bound_to(self, field: str) -> list[bytes]:
        return [self.customer_id.bytes, field.encode()]
