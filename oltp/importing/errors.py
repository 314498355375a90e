"""Why an import does not begin: its mapping or one of its files cannot be used at all."""

from __future__ import annotations


class ImportRefused(ValueError):
    """Nothing was written; the message says what is wrong and where."""


class MappingError(ImportRefused):
    """The mapping is not one; the message names its file, line and entry."""


class FileError(ImportRefused):
    """A file cannot be used at all; the message says which and why."""
