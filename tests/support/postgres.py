"""A real PostgreSQL server on loopback, where its programs are on this machine."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prefect_server import wait_until

from tools.demo import find_port

USER = "shop"
DATABASE = "postgres"


def find_postgres() -> Path | None:
    """The folder of PostgreSQL's programs: on PATH, else where Debian puts the newest."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "initdb").exists()), None)


@contextmanager
def serve_postgres(programs: Path, *settings: str) -> Iterator[tuple[str, str]]:
    """Run a server with a database of its own.

    Args:
        programs: From `find_postgres`.
        settings: Such as `timezone=Asia/Tokyo`.

    Yields:
        The database's address for SQLAlchemy and psycopg, and the password that stands in it.
    """
    # The server refuses to run as root, and whoever runs it must reach its folder.
    user = "nobody" if os.geteuid() == 0 else None
    password = secrets.token_urlsafe(12)
    port = find_port()
    with tempfile.TemporaryDirectory(prefix="postgres-") as name:
        folder = Path(name)
        (folder / "password").write_text(password)
        if user:
            for path in (folder, folder / "password"):
                os.chown(path, pwd.getpwnam(user).pw_uid, -1)
        own = ("-D", folder / "data")
        options = ("-A", "scram-sha-256", "-E", "UTF8", "--locale=C", "--no-sync")
        subprocess.run(
            [programs / "initdb", *own, "-U", USER, f"--pwfile={folder / 'password'}", *options],
            user=user,
            cwd=folder,
            check=True,
            capture_output=True,
            timeout=120,
        )
        sockets = (f"unix_socket_directories={folder}", "listen_addresses=127.0.0.1")
        set_to = [part for each in (*sockets, "fsync=off", *settings) for part in ("-c", each)]
        with (folder / "log").open("w+") as log:
            server = subprocess.Popen(
                [programs / "postgres", *own, "-p", str(port), *set_to],
                user=user,
                cwd=folder,
                stdout=log,
                stderr=log,
            )
            try:
                ready = [programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
                wait_until(
                    lambda: server.poll() is not None or subprocess.run(ready).returncode == 0,
                    "PostgreSQL",
                )
                assert server.poll() is None, (folder / "log").read_text()
                address = f"127.0.0.1:{port}/{DATABASE}"
                yield f"postgresql+psycopg://{USER}:{password}@{address}", password
            finally:
                server.send_signal(signal.SIGINT)  # a fast shutdown, which waits for nobody
                server.wait(30)
