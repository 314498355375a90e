"""The keys outside the database: they wrap each subject's data key and key the blind indexes."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from typing import Protocol
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import SecretStr

from oltp.privacy.errors import KeyMissingError, SealError
from oltp.privacy.normalising import normalised
from oltp.privacy.subject import DATA_KEY_BYTES, Subject

KEY_BYTES = 32
KEYS, INDEX_KEY = "MILLRACE_PII_KEYS", "MILLRACE_PII_INDEX_KEY"


class HasKeys(Protocol):
    """The part of a settings object that a vault reads."""

    @property
    def pii_keys(self) -> SecretStr: ...  # noqa: D102

    @property
    def pii_index_key(self) -> SecretStr: ...  # noqa: D102


class Vault:
    """Key-encryption keys by version (the last one wraps) and the key of the blind indexes."""

    def __init__(self, keys: dict[int, bytes], index_key: bytes) -> None:
        if not keys:
            raise KeyMissingError(
                f"{KEYS} is not set: run `millrace up` first, or see .env.example"
            )
        self._wrappers = {version: _wrapper(key) for version, key in keys.items()}
        self.current_version = list(keys)[-1]
        self._index_key = index_key

    @classmethod
    def from_settings(cls, settings: HasKeys) -> Vault:
        """Raises KeyMissingError, naming the variable, when a key is absent or malformed."""
        return cls(
            parse_keys(settings.pii_keys.get_secret_value()),
            _key(INDEX_KEY, settings.pii_index_key.get_secret_value()),
        )

    @property
    def versions(self) -> tuple[int, ...]:
        """The versions of the keys this vault holds."""
        return tuple(self._wrappers)

    def new_subject(self, customer_id: UUID | str, data_key: bytes | None = None) -> Subject:
        """A subject with a new random key; `data_key` only where it must be reproducible.

        A reproducible key can be made again by whoever holds the index key, so destroying it
        erases nothing: it is for the simulator and for imports of test data.
        """
        key = data_key if data_key is not None else secrets.token_bytes(DATA_KEY_BYTES)
        wrapped = self._wrap(UUID(str(customer_id)), key)
        return Subject(customer_id, key, wrapped, self.current_version)

    def open_subject(
        self, customer_id: UUID | str, wrapped_key: bytes, kek_version: int
    ) -> Subject:
        """The subject of a row of customer.subject_keys.

        Raises KeyMissingError when the wrapping key is not held, SealError when it is another one.
        """
        key = self._unwrap(UUID(str(customer_id)), bytes(wrapped_key), kek_version)
        return Subject(customer_id, key, bytes(wrapped_key), kek_version)

    def rewrapped(
        self, customer_id: UUID | str, wrapped_key: bytes, kek_version: int
    ) -> tuple[bytes, int]:
        """The same data key wrapped by the current version, and that version."""
        customer_id = UUID(str(customer_id))
        key = self._unwrap(customer_id, bytes(wrapped_key), kek_version)
        return self._wrap(customer_id, key), self.current_version

    def blind_index(self, field: str, value: str) -> str:
        """Finds equal values without telling them: HMAC-SHA256 of the normalised value, in hex.

        Keyed, because a plain hash of a national id is undone by trying all of them.
        """
        text = f"index\0{field}\0{normalised(field, value)}"
        return hmac.new(self._index_key, text.encode(), hashlib.sha256).hexdigest()

    def derived_data_key(self, seed: str) -> bytes:
        """A data key that the same seed gives again, for `new_subject`."""
        return hmac.new(self._index_key, f"data key\0{seed}".encode(), hashlib.sha512).digest()

    def _unwrap(self, customer_id: UUID, wrapped_key: bytes, version: int) -> bytes:
        if version not in self._wrappers:
            held = ", ".join(map(str, self._wrappers))
            raise KeyMissingError(
                f"the key of {customer_id} is wrapped by version {version}; {KEYS} holds {held}"
            )
        try:
            return self._wrappers[version].decrypt(wrapped_key, _bound_to(customer_id, version))
        except (InvalidTag, ValueError):
            raise SealError(
                f"the key of {customer_id} does not open: version {version} of {KEYS} is not the "
                "key that wrapped it, or the row was altered"
            ) from None

    def _wrap(self, customer_id: UUID, key: bytes) -> bytes:
        wrapper = self._wrappers[self.current_version]
        return wrapper.encrypt(key, _bound_to(customer_id, self.current_version))


def parse_keys(text: str) -> dict[int, bytes]:
    """Keys by version, in the order of `1:<base64>,2:<base64>`; the last is the current one."""
    keys: dict[int, bytes] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        version, colon, encoded = part.partition(":")
        if not colon or not version.isdecimal() or int(version) < 1:
            raise KeyMissingError(f"{KEYS}: each key is VERSION:BASE64, with a version from 1 on")
        if int(version) in keys:
            raise KeyMissingError(f"{KEYS}: version {version} is there twice")
        keys[int(version)] = _key(f"{KEYS} version {version}", encoded)
    return keys


def _key(name: str, encoded: str) -> bytes:
    if not encoded:
        raise KeyMissingError(f"{name} is not set: run `millrace up` first, or see .env.example")
    try:
        key = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        raise KeyMissingError(f"{name} is not base64") from None
    if len(key) != KEY_BYTES:
        raise KeyMissingError(f"{name} has {len(key)} bytes; {KEY_BYTES} are wanted")
    return key


def _wrapper(key: bytes) -> AESSIV:
    """AES-SIV again: key wrapping is what it was made for, and it needs no nonce to keep."""
    return AESSIV(HKDF(SHA512(), 64, salt=None, info=b"millrace subject keys").derive(key))


def _bound_to(customer_id: UUID, version: int) -> list[bytes]:
    return [customer_id.bytes, str(version).encode()]
