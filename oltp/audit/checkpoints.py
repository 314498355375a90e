"""Signed checkpoints of the chain's head, in a file outside the database.

A chain alone cannot show that its tail was cut or that all of it was written anew: only a head
that somebody else remembers can. Each line of the file is one JSON object: count, head, time,
database, the SHA-256 of the line before, and an Ed25519 signature over all of that. The public key
lies beside the file (`.pub`); whoever verifies should have both from somewhere that the database's
operators cannot write.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import os
import tempfile
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from oltp.audit.canonical import FORMAT

DATABASE = """
select system_identifier::text || '/' || current_database() from pg_control_system()
"""
NO_LINE = "0" * 64


class CheckpointError(ValueError):
    """A checkpoint that cannot be read or must not be written; the message says why."""


@dataclass(frozen=True)
class Checkpoint:
    """`count` entries were chained at `at` (UTC), and the last one's hash was `head` (hex)."""

    format: int
    count: int
    head: str
    at: str
    database: str
    previous: str
    signature: str

    @property
    def line(self) -> str:
        """As it stands in the file."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @property
    def signed(self) -> bytes:
        """What the signature is over: everything else."""
        body = asdict(self)
        del body["signature"]
        return json.dumps(body, sort_keys=True, separators=(",", ":")).encode()

    @property
    def digest(self) -> str:
        """What the next checkpoint carries as `previous`."""
        return hashlib.sha256(self.line.encode()).hexdigest()


class Book:
    """The file, as the one who signs it has it. `key`: 32 bytes in base64."""

    def __init__(self, path: Path, key: str) -> None:
        self._path = path
        self._key = private_key(key)

    def sign(self, connection: psycopg.Connection) -> Checkpoint | None:
        """Add a checkpoint of the head; None where the last one says it already.

        Raises CheckpointError, and signs nothing, where the chain does not go on from the last one.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._lay_key_beside()
        descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        with os.fdopen(descriptor, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            stored, whole = parse(file.read())
            # A line that was being written when the machine stopped: nobody has seen it.
            file.truncate(whole)
            made = self._next(connection, stored)
            if made is not None:
                file.write(made.line.encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        return made

    def _lay_key_beside(self) -> None:
        """Before the first line, and never half written: a verifier may read at any moment."""
        target, text = beside(self._path), public_text(self._key.public_key()) + "\n"
        if target.exists() and target.read_text() == text:
            return
        with tempfile.NamedTemporaryFile("w", dir=target.parent, delete=False) as draft:
            draft.write(text)
        os.chmod(draft.name, 0o644)
        os.replace(draft.name, target)

    def _next(self, connection: psycopg.Connection, stored: list[Checkpoint]) -> Checkpoint | None:
        last = stored[-1] if stored else None
        with connection.transaction():
            head = connection.execute(
                "select seq, encode(hash, 'hex') from audit.chain order by seq desc limit 1"
            ).fetchone()
            (database,) = connection.execute(DATABASE).fetchone() or ("",)
            if last and not _goes_on(connection, last, database):
                raise CheckpointError(
                    f"the chain does not go on from the checkpoint of {last.at} at entry"
                    f" {last.count}: nothing is signed; run `millrace audit verify`"
                )
        if head is None or (last and last.count == head[0]):
            return None
        body = Checkpoint(
            format=FORMAT,
            count=head[0],
            head=head[1],
            at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            database=database,
            previous=last.digest if last else NO_LINE,
            signature="",
        )
        signature = base64.b64encode(self._key.sign(body.signed)).decode()
        return Checkpoint(**{**asdict(body), "signature": signature})


def load(path: Path) -> list[Checkpoint]:
    """The checkpoints of a file; none where there is no file. Raises CheckpointError."""
    return parse(path.read_bytes())[0] if path.exists() else []


def parse(content: bytes) -> tuple[list[Checkpoint], int]:
    """The whole lines of a file and how many bytes they are; raises CheckpointError."""
    whole = content.rfind(b"\n") + 1
    found = []
    for number, line in enumerate(content[:whole].splitlines(), 1):
        try:
            found.append(Checkpoint(**json.loads(line)))
        except (ValueError, TypeError) as error:
            names = ", ".join(field.name for field in fields(Checkpoint))
            raise CheckpointError(
                f"checkpoint {number} cannot be read: it is no JSON object of {names}"
            ) from error
    return found, whole


def problem(checkpoint: Checkpoint, previous: Checkpoint | None, key: Ed25519PublicKey) -> str:
    """Why a checkpoint cannot be trusted; empty when it can."""
    try:
        key.verify(base64.b64decode(checkpoint.signature, validate=True), checkpoint.signed)
    except (InvalidSignature, ValueError):
        return "its signature is not by this key"
    if checkpoint.previous != (previous.digest if previous else NO_LINE):
        return "the checkpoint before it was changed or removed"
    if previous and previous.count >= checkpoint.count:
        return "it counts no more entries than the checkpoint before it"
    return ""


def private_key(text: str) -> Ed25519PrivateKey:
    """The signing key of MILLRACE_AUDIT_KEY; raises CheckpointError."""
    try:
        return Ed25519PrivateKey.from_private_bytes(base64.b64decode(text, validate=True))
    except ValueError:
        raise CheckpointError("MILLRACE_AUDIT_KEY is not 32 bytes in base64") from None


def public_key(path: Path, text: str = "") -> Ed25519PublicKey:
    """The key to verify with: the one given, else the one beside the file."""
    try:
        given = text or beside(path).read_text()
        return Ed25519PublicKey.from_public_bytes(base64.b64decode(given.strip(), validate=True))
    except (OSError, ValueError):
        raise CheckpointError(
            f"no public key: set MILLRACE_AUDIT_PUBLIC_KEY, or put it into {beside(path).name}"
        ) from None


def public_text(key: Ed25519PublicKey) -> str:
    """A public key as it is written down."""
    return base64.b64encode(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()


def beside(path: Path) -> Path:
    """Where the public key of a checkpoint file is."""
    return path.with_name(path.name + ".pub")


def _goes_on(connection: psycopg.Connection, last: Checkpoint, database: str) -> bool:
    found = connection.execute(
        "select encode(hash, 'hex') from audit.chain where seq = %s", (last.count,)
    ).fetchone()
    return found == (last.head,) and database == last.database
