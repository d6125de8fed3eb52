"""A PostgreSQL server of the tests' own, on loopback in a temporary folder, under a user without rights."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Iterator

_INSTALLED = "/usr/lib/postgresql"


class NoServerError(Exception):
    """Why there is no server here."""


class Server:
    """A running server; `database` makes a new, empty database and returns its SQLAlchemy URL."""

    def __init__(self, port: int, password: str, control: Callable[..., None], pid_file: Path) -> None:
        self._place = f"postgresql+psycopg://akq:{password}@127.0.0.1:{port}"
        self._control = control
        self._pid_file = pid_file
        self._n = 0

    def database(self) -> str:
        self._n += 1
        self._execute(f"CREATE DATABASE akq{self._n}")
        return f"{self._place}/akq{self._n}"

    def cut(self) -> None:
        """End every other connection."""
        self._execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid != pg_backend_pid()")

    def stop(self) -> None:
        """Let it go down as if its machine had: what is committed is there when it starts again."""
        self._control("-m", "immediate", "stop")

    def start(self) -> None:
        self._control("start")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to all processes of the server, such as one that stops them where they are."""
        main = int(self._pid_file.read_text().split()[0])
        children = Path(f"/proc/{main}/task/{main}/children").read_text().split()
        for pid in (main, *map(int, children)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _execute(self, statement: str) -> None:
        import sqlalchemy as sa

        engine = sa.create_engine(f"{self._place}/postgres", isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(sa.text(statement))
        engine.dispose()


@contextlib.contextmanager
def server() -> Iterator[Server]:
    """Start a server and stop it at the end. Raises NoServerError where that is impossible."""
    programs = _programs()
    if importlib.util.find_spec("psycopg") is None:
        raise NoServerError("the package psycopg is not installed")
    user = _user()
    folder = Path(tempfile.mkdtemp(prefix="akq-pg-", dir="/tmp"))
    password = secrets.token_hex(12)
    try:
        (folder / "password").write_text(password)
        if user is not None:
            for path in (folder, folder / "password"):
                shutil.chown(path, user)
        _call(
            [
                programs / "initdb",
                *("-D", folder / "data", "-U", "akq", "-E", "UTF8", "-A", "scram-sha-256"),
                *("--pwfile", folder / "password", "--no-sync", "--locale", "C.UTF-8"),
            ],
            user,
            folder,
        )
        port = _free_port()
        options = f"-c listen_addresses=127.0.0.1 -p {port} -c unix_socket_directories={folder}"
        command = [
            programs / "pg_ctl",
            "-D",
            folder / "data",
            "-w",
            "-t",
            "60",
            "-l",
            folder / "log",
            "-o",
            options,
        ]

        def control(*what: str) -> None:
            _call([*command, *what], user, folder)

        control("start")
        try:
            yield Server(port, password, control, folder / "data" / "postmaster.pid")
        finally:
            with contextlib.suppress(RuntimeError):  # a test has stopped it
                control("-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path:
    found = sorted(Path(_INSTALLED).glob("*/bin/initdb")) if os.name == "posix" else []
    if not found:
        raise NoServerError(f"no PostgreSQL is installed in {_INSTALLED}")
    return found[-1].parent


def _user() -> str | None:
    """A user without rights where the tests have all of them: the server refuses to run under root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise NoServerError("the tests run as root and there is no user 'postgres' or 'nobody'")


def _call(command: list[object], user: str | None, folder: Path) -> None:
    # A server keeps the pipes of who started it, so they cannot be waited for.
    with tempfile.TemporaryFile() as output:
        done = subprocess.run(
            [str(part) for part in command], user=user, cwd=folder, stdout=output, stderr=output, check=False
        )
        output.seek(0)
        if done.returncode:
            raise RuntimeError(f"{command[0]}: {output.read().decode('utf-8', 'replace')}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
