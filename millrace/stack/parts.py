"""What the stack consists of: every part, what it needs, and the ports it listens on."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """`needs` must run too; `after` (a subset) must be ready before this part is started."""

    name: str
    ports: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    stop_signal: str = "TERM"
    stop_wait_s: int = 15
    ready_within_s: int = 120


ALL: dict[str, Part] = {
    part.name: part
    for part in (
        # INT is Postgres's fast shutdown: it ends sessions instead of waiting for them.
        Part("postgres", ports=("postgres",), stop_signal="INT", stop_wait_s=30),
        # Chains the audit behind the writers, who never wait for it, and signs its head.
        Part("audit-sealer", needs=("postgres",), after=("postgres",)),
        Part("redis", ports=("redis",)),
        Part("kafka", ports=("kafka", "kafka-controller"), stop_wait_s=30),
        Part(
            "registry",
            ports=("registry", "registry-management"),
            needs=("postgres",),
            after=("postgres",),
        ),
        Part(
            "connect",
            ports=("connect",),
            needs=("postgres", "kafka", "registry", "connect-watch"),
            after=("kafka",),
        ),
        # Restarts the connector when it has failed; Connect itself would leave it at that.
        Part("connect-watch", needs=("connect",), after=("connect",)),
        Part(
            "worker",
            ports=("worker",),
            needs=("postgres", "redis", "kafka", "registry"),
            after=("postgres", "redis", "kafka", "registry"),
        ),
        Part(
            "gateway",
            ports=("gateway",),
            needs=("postgres", "redis", "kafka", "registry"),
            after=("postgres", "redis", "kafka"),
        ),
        Part(
            "dagster-code",
            ports=("dagster-code",),
            needs=("postgres", "kafka", "registry", "connect"),
            after=("postgres",),
        ),
        Part(
            "dagster-webserver",
            ports=("dagster-webserver",),
            needs=("postgres", "dagster-code"),
            after=("dagster-code",),
        ),
        Part("dagster-daemon", needs=("postgres", "dagster-code"), after=("dagster-code",)),
    )
}
PARTS: tuple[str, ...] = tuple(ALL)
# What holds state stops last, so that nothing above it sees it vanish.
STORES: tuple[str, ...] = ("postgres", "redis", "kafka", "registry")
# The supervisor's own control port.
PORT_NAMES: tuple[str, ...] = (
    "supervisor",
    *(port for part in ALL.values() for port in part.ports),
)


def with_needs(names: Iterable[str]) -> tuple[str, ...]:
    """The named parts and everything they need, in starting order."""
    wanted: set[str] = set()

    def add(name: str) -> None:
        if name not in ALL:
            raise ValueError(f"there is no part called {name!r}; the parts are {', '.join(PARTS)}")
        if name not in wanted:
            wanted.add(name)
            for needed in ALL[name].needs:
                add(needed)

    for name in names:
        add(name)
    return tuple(name for name in PARTS if name in wanted)
