"""A command on a terminal of its own, as a person would use it."""

from __future__ import annotations

import os
import pty
import re
import select
import time
from collections.abc import Mapping
from pathlib import Path


class Terminal:
    """Runs a command on a pseudo-terminal; leaving the block ends it.

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
        changed = {**os.environ, **(env or {})}
        environment = {name: value for name, value in changed.items() if value is not None}
        self._deadline = time.monotonic() + limit
        self._bytes = b""
        self._seen = 0
        self.exit_code: int | None = None
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:
            try:
                os.chdir(cwd or ".")
                os.execvpe(str(command[0]), [str(part) for part in command], environment)
            finally:
                os._exit(127)

    @property
    def shown(self) -> str:
        """What is on the screen so far, without colours."""
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self._bytes.decode(errors="replace"))

    def expect(self, text: str) -> None:
        """Wait until the text has been shown, after what was expected before."""
        while (found := self.shown.find(text, self._seen)) < 0:
            assert self._read(), f"{text!r} was not shown before the end: {self.shown}"
        self._seen = found + len(text)

    def type(self, text: str) -> None:
        """Type a line, or with a control character at its end just that."""
        line = text if text and ord(text[-1]) < 32 else f"{text}\n"
        os.write(self._terminal, line.encode())

    def end(self) -> int:
        """Wait until the command has ended; returns its exit code."""
        while self._read():
            pass
        if self.exit_code is None:
            _, status = os.waitpid(self.pid, 0)
            self.exit_code = os.waitstatus_to_exitcode(status)
        return self.exit_code

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
        os.close(self._terminal)  # which hangs up on the command
        if self.exit_code is None:
            os.waitpid(self.pid, 0)
