"""The proxy does what its words say, to open connections and new ones, and heals."""

import socket
import socketserver
import threading
import time
from collections.abc import Iterator

import pytest

from tests.faults.proxy import DOWN, Proxy


class Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        while data := self.request.recv(65536):
            self.request.sendall(data)


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        pass


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with Server(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        with Proxy(server.server_address[1]) as proxy:
            yield proxy
        server.shutdown()


@pytest.fixture
def client(proxy: Proxy) -> Iterator[socket.socket]:
    with connect(proxy) as client:
        yield client


def connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=5)


def heard(proxy: Proxy) -> bytes:
    """What a new connection hears; the reset may come before it is even there."""
    with connect(proxy) as client:
        return client.recv(10)


def echo(client: socket.socket, data: bytes = b"hello") -> bytes:
    client.sendall(data)
    got = b""
    while len(got) < len(data):
        piece = client.recv(65536)
        if not piece:
            break
        got += piece
    return got


def test_an_honest_proxy_passes_everything_in_order(client: socket.socket) -> None:
    data = bytes(range(256)) * 4096
    sender = threading.Thread(target=client.sendall, args=(data,))
    sender.start()
    got = b""
    while len(got) < len(data):
        got += client.recv(65536)
    sender.join()
    assert got == data


def test_the_end_of_one_side_reaches_the_other(client: socket.socket) -> None:
    assert echo(client) == b"hello"
    client.shutdown(socket.SHUT_WR)
    assert client.recv(10) == b""


def test_latency_delays_both_directions_and_heals(proxy: Proxy, client: socket.socket) -> None:
    proxy.latency(0.15)
    began = time.monotonic()
    assert echo(client) == b"hello"
    assert 0.3 <= time.monotonic() - began < 1
    proxy.heal()
    began = time.monotonic()
    assert echo(client) == b"hello"
    assert time.monotonic() - began < 0.1


def test_a_half_open_connection_says_nothing_and_later_delivers(
    proxy: Proxy, client: socket.socket
) -> None:
    proxy.half_open()
    client.sendall(b"hello")
    client.settimeout(0.2)
    with pytest.raises(TimeoutError):
        client.recv(10)
    with connect(proxy) as other:  # new connections are taken, and are as silent
        other.settimeout(0.2)
        other.sendall(b"x")
        with pytest.raises(TimeoutError):
            other.recv(10)
    proxy.heal()
    client.settimeout(5)
    assert client.recv(10) == b"hello"


def test_one_direction_may_be_silent_alone(proxy: Proxy, client: socket.socket) -> None:
    proxy.half_open(DOWN)
    client.sendall(b"asked")
    client.settimeout(0.2)
    with pytest.raises(TimeoutError):
        client.recv(10)


def test_a_cut_resets_what_is_open_and_refuses_what_comes(
    proxy: Proxy, client: socket.socket
) -> None:
    assert echo(client) == b"hello"
    proxy.cut()
    with pytest.raises(ConnectionResetError):
        client.recv(10)
    with pytest.raises(ConnectionResetError):
        heard(proxy)
    proxy.heal()
    with connect(proxy) as other:
        assert echo(other) == b"hello"


def test_a_reset_ends_open_connections_only(proxy: Proxy, client: socket.socket) -> None:
    assert echo(client) == b"hello"
    assert proxy.connections == 1
    proxy.reset_peer()
    with pytest.raises(ConnectionResetError):
        client.recv(10)
    with connect(proxy) as other:
        assert echo(other) == b"hello"


def test_answers_end_after_so_many_bytes(proxy: Proxy, client: socket.socket) -> None:
    proxy.limit_answers(3)
    client.sendall(b"hello")
    assert client.recv(10) == b"hel"
    with pytest.raises(ConnectionResetError):
        client.recv(10)


def test_an_answer_may_be_lost_altogether(proxy: Proxy, client: socket.socket) -> None:
    proxy.limit_answers(0)
    client.sendall(b"hello")
    with pytest.raises(ConnectionResetError):
        client.recv(10)


def test_bandwidth_is_bounded(proxy: Proxy, client: socket.socket) -> None:
    proxy.bandwidth(200_000)
    began = time.monotonic()
    assert len(echo(client, b"x" * 60_000)) == 60_000
    assert time.monotonic() - began > 0.25


def test_a_server_that_is_not_there_is_a_reset() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with Proxy(port) as proxy, pytest.raises(ConnectionResetError):
        heard(proxy)
