"""A server on loopback that runs in a thread of the test, and what both kinds of stand-in share."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class LoopbackServer:
    """Serves `handler` on a free port of loopback while it is entered."""

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class QuietHandler(BaseHTTPRequestHandler):
    """A handler that keeps connections open and writes nothing to the test's output."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_arguments: object) -> None:
        pass

    def answer(
        self,
        status: int,
        content: bytes = b"",
        content_type: str = "application/json",
        **headers: str,
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))


class StandIn(LoopbackServer):
    """Serves what a subclass answers, or else a fault.

    Attributes:
        fault: What it answers instead: a status as text, `html`, or `stall` for nothing at all.
        spare: How many requests it still answers before the fault.
    """

    def __init__(self) -> None:
        outer = self

        class Handler(QuietHandler):
            def handle_any(self) -> None:
                body = self.body()
                fault = outer.fault if outer.spare <= 0 else None
                outer.spare -= 1
                if fault == "stall":
                    outer.left.wait(60)
                    self.close_connection = True
                elif fault == "html":
                    self.answer(200, b"<html>welcome</html>", "text/html")
                elif fault:
                    self.answer(int(fault), b'{"detail": "Not Found"}')
                else:
                    self.answer(*outer.respond(self.command, self.path, self.headers, body))

            do_GET = do_POST = do_PUT = handle_any  # noqa: N815  http.server's names

        super().__init__(Handler)
        self.fault: str | None = None
        self.spare = 0
        self.left = threading.Event()

    def respond(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, bytes, str]:
        """Answer a request with a status, a body and the body's media type."""
        raise NotImplementedError

    def __exit__(self, *error: object) -> None:
        self.left.set()
        super().__exit__(*error)


def as_json(status: int, content: Any) -> tuple[int, bytes, str]:
    return status, json.dumps(content, default=str).encode(), "application/json"
