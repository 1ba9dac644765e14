"""Pythons that a Makefile meets, and machines without uv."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

from projects import Project


def without_uv() -> str:
    """PATH without the folders that hold uv."""
    folders = os.environ["PATH"].split(os.pathsep)
    return os.pathsep.join(folder for folder in folders if not Path(folder, "uv").exists())


def with_quick_uv(folder: Path, installed: Project) -> str:
    """PATH for a `make setup` that takes along what Python has compiled for `installed`."""
    write_quick_uv(folder / "uv", Path(".venv"), installed)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def write_quick_uv(
    program: Path, venv: Path, installed: Project, before: tuple[str, ...] = (), *after: str
) -> None:
    """Write a program that is uv, and takes along what Python has compiled for `installed`.

    To compile it takes 20 seconds.

    Args:
        program: Its file.
        venv: The environment into which it installs.
        installed: Has the same requirements.
        before: The first arguments of uv; what the program is given comes next.
        after: Its last ones.
    """
    (packages,) = installed.path.glob(".venv/lib/python*/site-packages")
    program.write_text(f"""#!{sys.executable}
import subprocess, sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from projects import share_bytecode
command = [{shutil.which("uv")!r}, *{before}, *sys.argv[1:], *{after}]
status = subprocess.call(command)
for own in Path({str(venv)!r}).glob("lib/python*/site-packages"):
    share_bytecode(Path({str(packages)!r}), own)
sys.exit(status)
""")
    program.chmod(0o755)


def python_that_says(folder: Path, version: int) -> Path:
    """A Python that says that it is of another version when a Makefile asks, and else works."""
    python = folder / "python-other"
    asked = "*sys.version_info*"
    python.write_text(
        f'#!/bin/sh\ncase "$*" in {asked}) echo {version};; *) exec {sys.executable} "$@";; esac\n'
    )
    python.chmod(0o755)
    return python


def one_requirement(locked: str, name: str = "click") -> str:
    """One of the locked requirements, with its hashes: installed in a second."""
    found = re.search(rf"^{name}==.*?(?=^[a-z])", locked, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[0]
