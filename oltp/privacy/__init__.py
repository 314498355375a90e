"""Personal data: sealed under a key of each person's own before it reaches the database.

    vault = Vault.from_settings(settings)
    subject = vault.new_subject(customer_id)
    row = sealed_person(vault, subject, full_name="Ada", email="ada@x.io")

What leaves the process is a sealed token, a masked form for people and a keyed index to find it by.
The keys that open it never enter the database: a subject's data key is stored wrapped.
"""

from oltp.privacy.errors import KeyMissingError, PrivacyError, SealError
from oltp.privacy.masking import mask
from oltp.privacy.person import sealed_person
from oltp.privacy.subject import Subject
from oltp.privacy.vault import Vault

__all__ = [
    "KeyMissingError",
    "PrivacyError",
    "SealError",
    "Subject",
    "Vault",
    "mask",
    "sealed_person",
]
