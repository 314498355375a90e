"""Configuration files of the local stack: the shared settings plus this stack's addresses."""

from collections.abc import Mapping
from pathlib import Path

from millrace.stack.environment import HOST
from millrace.stack.layout import SHARED_CONF, Layout


def postgres(ports: Mapping[str, int]) -> str:
    """postgresql.conf: loopback only, no socket folder to collide with another server's."""
    return shared("postgres.conf") + (
        f"\nlisten_addresses = '{HOST}'\nport = {ports['postgres']}\nunix_socket_directories = ''\n"
    )


def redis(ports: Mapping[str, int], data: Path) -> str:
    """redis.conf."""
    return shared("redis.conf") + (
        f"\nbind {HOST}\n"
        f"port {ports['redis']}\n"
        f'dir "{data}"\n'
        # Otherwise Redis writes its title over the environment that marks it as ours.
        "set-proc-title no\n"
    )


def kafka(ports: Mapping[str, int], data: Path) -> str:
    """server.properties of the broker."""
    broker, controller = ports["kafka"], ports["kafka-controller"]
    return shared("kafka.properties") + (
        f"\nlisteners=PLAINTEXT://{HOST}:{broker},CONTROLLER://{HOST}:{controller}\n"
        f"advertised.listeners=PLAINTEXT://{HOST}:{broker}\n"
        f"controller.quorum.voters=1@{HOST}:{controller}\n"
        f"log.dirs={data}\n"
    )


def connect(ports: Mapping[str, int], plugins: Path) -> str:
    """Properties of the Connect worker."""
    return shared("connect.properties") + (
        f"\nbootstrap.servers={HOST}:{ports['kafka']}\n"
        f"listeners=http://{HOST}:{ports['connect']}\n"
        f"plugin.path={plugins}\n"
    )


def supervisord(layout: Layout, port: int, password: str, programs: list[str]) -> str:
    """supervisord.conf: how to control it, then the programs."""
    return "\n".join(
        [
            "[supervisord]",
            "nodaemon = true",
            "silent = true",
            f"logfile = {_escaped(layout.log('supervisord'))}",
            "logfile_maxbytes = 5MB",
            "logfile_backups = 1",
            f"pidfile = {_escaped(layout.run / 'supervisord.own.pid')}",
            f"childlogdir = {_escaped(layout.logs)}",
            "",
            "[inet_http_server]",
            f"port = {HOST}:{port}",
            "username = millrace",
            f"password = {password}",
            "",
            "[rpcinterface:supervisor]",
            "supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface",
            "",
            *programs,
        ]
    )


def program(layout: Layout, name: str, python: str, stop_signal: str, stop_wait_s: int) -> str:
    """One [program] section; the launch file holds the command, so nothing needs quoting here."""
    command = f'{python} -m millrace.stack.launch "{layout.launch(name)}"'
    return "\n".join(
        [
            f"[program:{name}]",
            f"command = {command.replace('%', '%%')}",
            "autostart = false",
            "autorestart = true",
            "startsecs = 1",
            "startretries = 20",
            f"stopsignal = {stop_signal}",
            f"stopwaitsecs = {stop_wait_s}",
            # What a part started goes down with it.
            "killasgroup = true",
            "redirect_stderr = true",
            f"stdout_logfile = {_escaped(layout.log(name))}",
            "stdout_logfile_maxbytes = 20MB",
            "stdout_logfile_backups = 1",
            "",
        ]
    )


def shared(name: str) -> str:
    """A settings file that docker-compose.yml mounts as well."""
    return (SHARED_CONF / name).read_text()


def _escaped(path: Path) -> str:
    return str(path).replace("%", "%%")
