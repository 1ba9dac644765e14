"""Things on loopback that keep one waiting."""

from __future__ import annotations

import threading

from servers.loopback import LoopbackServer, QuietHandler


class SlowLog(LoopbackServer):
    """An event log of one ticket, which does not come before `release` is set."""

    content = (
        b"number,sys_updated_at,closed_at,priority\nINC1,1/3/2016 00:00,2/3/2016 00:00,2 - High\n"
    )

    def __init__(self) -> None:
        slow = self
        self.asked = threading.Event()
        self.release = threading.Event()

        class Handler(QuietHandler):
            def do_GET(self) -> None:  # noqa: N802  name of http.server
                slow.asked.set()
                slow.release.wait(60)
                self.answer(200, slow.content, "text/csv")

        super().__init__(Handler)

    @property
    def address(self) -> str:
        return f"{self.url}/log.csv"

    def __exit__(self, *error: object) -> None:
        self.release.set()
        super().__exit__(*error)


class OtherApi(LoopbackServer):
    """Answers as other things do that an address may lead to.

    Args:
        always: Which; else the path's first part says it.
    """

    def __init__(self, always: str | None = None) -> None:
        left = self.left = threading.Event()

        class Handler(QuietHandler):
            def handle_any(self) -> None:
                self.body()
                kind = always or self.path.split("/")[1]
                if kind == "stalls":
                    left.wait(60)
                    self.close_connection = True
                elif kind == "drips":  # each byte comes in time, and the end never
                    self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Drip: ")
                    while not left.wait(0.3):
                        self.wfile.write(b"x")
                elif kind == "prefect-2" and self.path.endswith("/admin/version"):
                    self.answer(200, b'"2.20.3"')
                elif kind == "version-only":
                    self.answer(200, b'"3.8.8"')
                elif kind == "prefect-1":  # its GraphQL server knows no path but the root
                    self.answer(404, b"Not Found", "text/plain")
                elif kind == "page":
                    self.answer(200, b"<html>Welcome</html>", "text/html")
                else:
                    self.answer(503, b"{}", Retry_After="3600")

            do_GET = do_POST = do_PUT = handle_any  # noqa: N815  names of http.server

        super().__init__(Handler)

    def __exit__(self, *error: object) -> None:
        self.left.set()
        super().__exit__(*error)
