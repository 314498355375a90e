"""When a part is ready: it answers the way its users will ask."""

import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

from millrace.stack.environment import HOST


def probe(
    part: str, ports: Mapping[str, int], variables: Mapping[str, str]
) -> Callable[[], str | None]:
    """A question to the part: nothing when it is ready, otherwise what is missing."""
    since = time.time()

    def http(port: str, path: str) -> Callable[[], str | None]:
        return lambda: _http(f"http://{HOST}:{ports[port]}{path}")

    probes: dict[str, Callable[[], str | None]] = {
        "postgres": lambda: _postgres(variables["MILLRACE_OLTP_ADMIN_DSN"]),
        "redis": lambda: _redis(variables["MILLRACE_REDIS"]),
        "kafka": lambda: _kafka(variables["MILLRACE_KAFKA"]),
        "registry": http("registry", "/apis/ccompat/v7/subjects"),
        "connect": http("connect", "/connectors"),
        "worker": http("worker", "/health"),
        "gateway": http("gateway", "/health"),
        "dagster-code": lambda: _grpc(ports["dagster-code"]),
        "dagster-webserver": http("dagster-webserver", "/server_info"),
        "dagster-daemon": lambda: _daemon(variables["MILLRACE_DAGSTER_DSN"], since),
    }
    # A part that nobody asks anything is ready once it runs.
    return probes.get(part, lambda: None)


def _http(url: str) -> str | None:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310
            answer.read()
    except urllib.error.HTTPError as error:
        return f"{url} answers {error.code}: {_brief(error.read())}"
    except OSError as error:
        return f"{url}: {error}"
    return None


def _postgres(dsn: str) -> str | None:
    import psycopg

    server = dsn.rpartition("/")[0] + "/postgres"
    try:
        with psycopg.connect(server, connect_timeout=2) as connection:
            connection.execute("select 1")
    except psycopg.Error as error:
        return str(error).strip()
    return None


def _redis(url: str) -> str | None:
    import redis

    with redis.Redis.from_url(url, socket_timeout=2) as client:
        try:
            client.ping()
        except redis.RedisError as error:
            return str(error)
    return None


def _kafka(servers: str) -> str | None:
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    # The library would print every refused connection while the broker starts.
    client = AdminClient({"bootstrap.servers": servers, "log_level": 0, "logger": _silent()})
    try:
        client.list_topics(timeout=2)
    except KafkaException as error:
        return str(error)
    return None


def _grpc(port: int) -> str | None:
    import grpc

    with grpc.insecure_channel(f"{HOST}:{port}") as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=2)
        except grpc.FutureTimeoutError:
            return "the code server does not listen yet"
    return None


def _daemon(dsn: str, since: float) -> str | None:
    """The daemon writes a heartbeat; only one newer than our first look proves that it lives."""
    import psycopg

    try:
        with psycopg.connect(dsn, connect_timeout=2) as connection:
            row = connection.execute(
                "select max(timestamp at time zone 'UTC') > to_timestamp(%s)"
                " from daemon_heartbeats",
                (since - 30,),
            ).fetchone()
    except psycopg.Error as error:
        return str(error).strip()
    return None if row and row[0] else "no heartbeat yet"


def _silent() -> Any:
    import logging

    logger = logging.getLogger("millrace.stack.kafka")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    return logger


def _brief(body: bytes) -> str:
    return body[:300].decode(errors="replace")
