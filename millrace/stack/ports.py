"""Free loopback ports, chosen once per state folder and remembered in ports.json."""

import json
import socket
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from millrace.stack.parts import PORT_NAMES

# Below Linux's ephemeral range (32768 on), so that no outgoing connection takes one of them
# between two starts.
FIRST_PORT, LAST_PORT = 20_000, 32_000


def is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def settle(
    remembered: Mapping[str, int],
    seed: str,
    in_use: Iterable[str] = (),
    free: Callable[[int], bool] = is_free,
) -> dict[str, int]:
    """One port per name: the remembered one while it is ours or free, otherwise the next free one.

    `in_use` names ports that our own running parts hold. The search starts at a place derived
    from `seed`, so that two stacks starting at once do not look at the same ports.
    """
    span = LAST_PORT - FIRST_PORT
    start = zlib.crc32(seed.encode()) % span
    ours = set(in_use)
    settled = {
        name: port
        for name, port in remembered.items()
        if name in PORT_NAMES and (name in ours or free(port))
    }
    taken = set(settled.values())
    candidates = (FIRST_PORT + (start + step) % span for step in range(span))
    for name in PORT_NAMES:
        if name not in settled:
            settled[name] = next(p for p in candidates if p not in taken and free(p))
            taken.add(settled[name])
    return {name: settled[name] for name in PORT_NAMES}


def load(file: Path) -> dict[str, int]:
    """The remembered ports; nothing when there are none yet."""
    if not file.exists():
        return {}
    return {str(name): int(port) for name, port in json.loads(file.read_text()).items()}


def save(file: Path, ports: Mapping[str, int]) -> None:
    """Remember the ports."""
    file.write_text(json.dumps(dict(ports), indent=2) + "\n")
