"""What a batch agent is: `@batches(topic, ...)` above a handler; `streams/batches.py` runs it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import ConsumerRecord

from streams.codec import Codec


@dataclass(frozen=True, slots=True)
class Message:
    """One decoded record. `event` is what the topic's decoder made of the bytes."""

    event: Any
    record: ConsumerRecord


# Returns what is done when the broker has acknowledged what was sent, if anything was.
Handler = Callable[[Sequence[Message], Any], Awaitable[Awaitable[Any] | None]]
# Raises what the message is to be buried for; None means that it is to be passed over.
Decoder = Callable[[Codec, ConsumerRecord], Any]


@dataclass(frozen=True)
class BatchAgent:
    """A handler and what it listens to; `streams/app.py` gives it its means and starts it."""

    name: str
    topics: tuple[str, ...]
    decode: Decoder
    handle: Handler
    lanes: int = 1


def batches(
    *topics: str, capability: str, decode: Decoder, lanes: int = 1
) -> Callable[[Handler], BatchAgent]:
    """Make an agent of a handler that takes each batch as (messages, means)."""

    def make(handle: Handler) -> BatchAgent:
        return BatchAgent(capability, topics, decode, handle, lanes)

    return make
