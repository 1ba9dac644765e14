"""Pythons that a Makefile meets, and machines without uv."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path


def without_uv() -> str:
    """PATH without the folders that hold uv."""
    folders = os.environ["PATH"].split(os.pathsep)
    return os.pathsep.join(folder for folder in folders if not Path(folder, "uv").exists())


def python_that_says(folder: Path, version: int) -> Path:
    """A Python that says that it is of another version when a Makefile asks, and else works."""
    python = folder / "python-other"
    asked = "*sys.version_info*"
    python.write_text(
        f'#!/bin/sh\ncase "$*" in {asked}) echo {version};; *) exec {sys.executable} "$@";; esac\n'
    )
    python.chmod(0o755)
    return python


def one_requirement(locked: str) -> str:
    """One of the locked requirements, with its hashes: installed in a second."""
    found = re.search(r"^click==.*?(?=^[a-z])", locked, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[0]
