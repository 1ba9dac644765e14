"""Processes that tests talk to, one of them a Dask cluster."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CLUSTER = Path(__file__).with_name("dask_cluster.py")


class Talk:
    """A process that answers each line on its stdin with one on its stdout."""

    def __init__(self, command: list[Any], log: Path, **options: Any) -> None:
        with log.open("w") as errors:
            self.log = log
            self.process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                **options,
            )

    def ask(self, line: str) -> Any:
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline() or pytest.fail(self.log.read_text()))

    def end(self) -> None:
        self.process.communicate(timeout=30)


@contextmanager
def cluster_of(
    python: Path, folder: Path, environment: dict[str, str], workers: int = 2
) -> Iterator[tuple[str, Talk]]:
    """A cluster in a folder of its own, which has none of the project's settings."""
    folder.mkdir()
    settings = ("DATA_URL", "TRIALS_URL", "PREFECT_API_URL")
    own = {name: value for name, value in environment.items() if name not in settings}
    cluster = Talk([python, CLUSTER, workers], folder / "log", cwd=folder, env=own)
    try:
        address = cluster.process.stdout.readline().strip()
        assert address.startswith("tcp://127.0.0.1:"), cluster.log.read_text()
        yield address, cluster
    finally:
        cluster.end()
