"""What can go wrong with sealed data. No message ever holds a value, only names and versions."""


class PrivacyError(ValueError):
    """Base of the errors below: one `except` for a command that prints the message."""


class KeyMissingError(PrivacyError):
    """A key that is needed is not set, not known, or not of the right form."""


class SealError(PrivacyError):
    """A token or a wrapped key does not open: another subject, another field, another key."""
