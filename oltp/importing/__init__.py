"""Brings another system's data in, as a mapping says (oltp/mappings/README.md).

    report = importing.run(dsn, "berka", [folder], vault)

Everything is read and checked before a row is written; ids derive from the source's keys, so a run
that broke off is simply run again, and a second run adds nothing.
"""

from oltp.importing.engine import Report, mapping_of, run, shipped
from oltp.importing.errors import FileError, ImportRefused, MappingError
from oltp.importing.rejection import Rejection

__all__ = [
    "FileError",
    "ImportRefused",
    "MappingError",
    "Rejection",
    "Report",
    "mapping_of",
    "run",
    "shipped",
]
