"""A web server on loopback that serves files well, or as badly as it is told to."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass, field

from servers.loopback import LoopbackServer, QuietHandler


@dataclass(frozen=True)
class Answer:
    """What the server does with a request.

    Attributes:
        body: What it has to send.
        status: With which status; 304 where `etag` is what the request asks about.
        headers: Further headers.
        etag: Sent as ETag.
        sent: How many bytes of the body it really sends before it does as `then` says; below 0,
            not even a status.
        then: `drop` the connection, `stall`, or `trickle` the rest byte by byte.
        length: Whether it says how long the body is; else the connection's end is the body's.
        chunked: Whether it sends in chunks.
    """

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    etag: str | None = None
    sent: int | None = None
    then: str = "drop"
    length: bool = True
    chunked: bool = False


class FileServer(LoopbackServer):
    """Serves `answers` by path, one after the other, the last one again and again; else 404."""

    def __init__(self) -> None:
        self.answers: dict[str, list[Answer]] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.midway = threading.Event()  # set when an answer has sent the part that it sends
        self._over = threading.Event()
        outer = self

        class Handler(QuietHandler):
            def do_GET(self) -> None:  # noqa: N802  the name that http.server calls
                path = self.path.partition("?")[0]
                outer.requests.append(
                    (path, {name.lower(): value for name, value in self.headers.items()})
                )
                answers = outer.answers.get(path) or [Answer(b"no such page", status=404)]
                outer._answer(self, answers.pop(0) if len(answers) > 1 else answers[0])

        super().__init__(Handler)

    def serve(self, path: str, *answers: Answer) -> str:
        self.answers[path] = list(answers)
        return f"{self.url}{path}"

    def __exit__(self, *error: object) -> None:
        self._over.set()
        super().__exit__(*error)

    def _answer(self, request: QuietHandler, answer: Answer) -> None:  # noqa: C901
        request.close_connection = True
        unchanged = answer.etag is not None and request.headers.get("If-None-Match") == answer.etag
        body = b"" if unchanged else answer.body
        if answer.sent is not None and answer.sent < 0:  # not even a status
            self.midway.set()
            if answer.then == "stall":
                self._over.wait(30)
            if answer.then == "trickle":
                self._trickle(request, b"HTTP/1.1 200 OK\r\nX-Header: " + b"x" * 1000)
            return
        request.send_response(304 if unchanged else answer.status)
        request.send_header("Connection", "close")
        for name, value in {
            **answer.headers,
            **({"ETag": answer.etag} if answer.etag else {}),
        }.items():
            request.send_header(name, value)
        if answer.chunked:
            request.send_header("Transfer-Encoding", "chunked")
        elif answer.length:
            request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        part = body if answer.sent is None else body[: answer.sent]
        try:
            if answer.chunked:
                request.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))
            else:
                request.wfile.write(part)
            request.wfile.flush()
            if answer.sent is not None:
                self.midway.set()
                if answer.then == "stall":
                    self._over.wait(30)
                if answer.then == "trickle":
                    self._trickle(request, body[len(part) :])
            elif answer.chunked:
                request.wfile.write(b"0\r\n\r\n")
        except OSError:  # the client has gone
            pass

    def _trickle(self, request: QuietHandler, content: bytes) -> None:
        with suppress(OSError):  # the client has gone
            for byte in content:
                request.wfile.write(bytes([byte]))
                request.wfile.flush()
                if self._over.wait(0.05):
                    break
