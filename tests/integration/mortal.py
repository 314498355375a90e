"""A worker with one batch agent that writes down what it handles and dies of one message."""

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from aiokafka import AIOKafkaProducer, ConsumerRecord

from streams.batch_agents import Message, batches
from streams.batches import BatchService
from streams.codec import Codec
from streams.dead_letters.letters import DeadLetters

POISON = "poison"


def decode(codec: Codec, record: ConsumerRecord) -> str:
    return record.value.decode()


async def run(servers: str, topic: str, handled: Path, until: int) -> None:
    """Until so many have been handled in all, by this process and those before it."""

    @batches(topic, capability=f"mortal.{topic}", decode=decode, lanes=2)
    async def work(messages: Sequence[Message], means: None) -> None:
        for message in messages:
            if message.event == POISON:
                os._exit(9)
        with handled.open("a") as lines:
            lines.writelines(f"{message.event}\n" for message in messages)

    producer = AIOKafkaProducer(bootstrap_servers=servers)
    await producer.start()
    service = BatchService(work, None, servers=servers, codec=None, letters=DeadLetters(producer))  # type: ignore[arg-type]
    await service.start()
    while not handled.exists() or len(set(handled.read_text().splitlines())) < until:
        await asyncio.sleep(0.05)
    await service.stop()
    await producer.stop()


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])))
