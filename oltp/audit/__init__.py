"""The audit's chain: sealing, checkpoints outside the database, and verifying both.

sealed = seal(connection)                    # chains the changes of finished transactions
checkpoints.Book(path, key).sign(connection) # signs the chain's head into a file
report = verify(connection, stored, public)  # names the first entry that is not as it was
"""

from oltp.audit.checkpoints import Book, Checkpoint, CheckpointError
from oltp.audit.sealing import seal
from oltp.audit.verifying import Finding, Kind, Report, verify

__all__ = [
    "Book",
    "Checkpoint",
    "CheckpointError",
    "Finding",
    "Kind",
    "Report",
    "seal",
    "verify",
]
