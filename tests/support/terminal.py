"""A command on a terminal of its own, as a person would use it."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from projects import full_environment

# Makes the terminal the command's own, so that Ctrl-C reaches it and `getpass` finds it. NOFLSH, as
# Ctrl-C may otherwise discard what the command says about it.
ADOPT = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
settings = termios.tcgetattr(0)
settings[3] |= termios.NOFLSH
termios.tcsetattr(0, termios.TCSANOW, settings)
os.execvp(sys.argv[1], sys.argv[1:])
"""


class Terminal:
    """Runs a command on a pseudo-terminal; leaving the block hangs up on it.

    Args:
        command: The command.
        env: Changes to the environment; None unsets a variable.
        cwd: Where it runs.
        limit: Seconds after which waiting for anything fails.
    """

    def __init__(
        self,
        *command: str | Path,
        env: Mapping[str, str | None] | None = None,
        cwd: Path | None = None,
        limit: float = 60,
    ) -> None:
        self._deadline = time.monotonic() + limit
        self._bytes = b""
        self._seen = 0
        self._terminal, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", ADOPT, *map(str, command)],
            cwd=cwd,
            env=full_environment(env or {}),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)

    @property
    def shown(self) -> str:
        """What has been shown so far, without colours."""
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self._bytes.decode(errors="replace"))

    def expect(self, text: str) -> None:
        """Wait until the text has been shown, after what was expected before."""
        while (found := self.shown.find(text, self._seen)) < 0:
            assert self._read(), f"{text!r} was not shown before the end: {self.shown}"
        self._seen = found + len(text)

    def type(self, text: str) -> None:
        """Type a line, or, where it ends in a control character, just that."""
        line = text if text and ord(text[-1]) < 32 else f"{text}\n"
        if line == "\x03":  # between the question and its reading Python holds it until Enter
            time.sleep(0.5)
        os.write(self._terminal, line.encode())

    def end(self) -> int:
        """Wait until the command has ended; returns its exit code."""
        while self._read():
            pass
        return self.process.wait(10)

    def _read(self) -> bool:
        assert time.monotonic() < self._deadline, f"it takes too long: {self.shown}"
        ready, _, _ = select.select([self._terminal], [], [], 0.2)
        if not ready:
            return True
        try:
            read = os.read(self._terminal, 4096)
        except OSError:  # every process has closed the terminal
            return False
        self._bytes += read
        return bool(read)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._terminal)
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(10)
