"""A Redis that keeps what it is told on disk and can be killed."""

import socket
import subprocess
import time
from pathlib import Path

import redis as sync_redis


class Server:
    """Killed, it can be started again on its port."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        words = f"--port {self.port} --bind 127.0.0.1 --appendonly yes --dir {self.folder}"
        self.process = subprocess.Popen(
            ["redis-server", *words.split(" ")], stdout=subprocess.DEVNULL
        )
        client = sync_redis.Redis(port=self.port)
        for _ in range(100):
            try:
                client.ping()
                return
            except sync_redis.ConnectionError:
                time.sleep(0.05)
        raise AssertionError("Redis did not start")

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()
