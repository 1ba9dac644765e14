"""A stand-in for Prefect Cloud: its log-in, in front of a real Prefect server.

What it serves under /api: `GET /me/`, `GET /me/workspaces`, and each workspace's API under
`/accounts/{account}/workspaces/{workspace}/`, forwarded to a real server once the key has been
checked. It refuses what Prefect Cloud refuses: another key (401), a workspace that the key does not
see (403), on the free plan work pools that are not managed (403, in the words that Prefect's client
looks for), and the server's own `/admin` routes (404).
"""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
import uuid

from servers.loopback import LoopbackServer, QuietHandler

HOP_BY_HOP = {
    "connection",
    "content-length",
    "host",
    "transfer-encoding",
    "accept-encoding",
    "authorization",
}


class Recorder(LoopbackServer):
    """Forwards everything to a real server and keeps each request's path and headers.

    With `down` set it drops every connection without an answer, as a stopped server does; after
    `down_after` more requests it sets it itself.
    """

    def __init__(self, target: str) -> None:
        recorder = self
        self.target = target
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.down = False
        self.down_after: int | None = None

        class Handler(QuietHandler):
            def handle_any(self) -> None:
                body = self.body()
                recorder.requests.append((self.command, self.path, dict(self.headers)))
                if recorder.down_after is not None:
                    recorder.down_after -= 1
                    recorder.down = recorder.down or recorder.down_after < 0
                if recorder.down:
                    self.close_connection = True
                    return
                recorder.respond(self, body)

            do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = handle_any  # noqa: N815

        super().__init__(Handler)

    def respond(self, handler: QuietHandler, body: bytes) -> None:
        self.forward(handler, handler.path, body)

    def forward(self, handler: QuietHandler, path: str, body: bytes) -> None:
        headers = {
            name: value for name, value in handler.headers.items() if name.lower() not in HOP_BY_HOP
        }
        request = urllib.request.Request(
            self.target + path, body or None, headers, method=handler.command
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                handler.answer(
                    response.status, response.read(), response.headers.get("Content-Type", "")
                )
        except urllib.error.HTTPError as error:
            handler.answer(error.code, error.read(), error.headers.get("Content-Type", ""))


class PrefectCloud(Recorder):
    """Prefect Cloud, as far as a log-in and a workspace's API go.

    Args:
        target: The real server's address, say http://127.0.0.1:4200.
        key: The one key that it takes.
        workspaces: Handles, `account/workspace`, of the workspaces that the key sees.
        plan: `free` has managed work pools only.
    """

    def __init__(self, target: str, key: str, workspaces: list[str], plan: str = "pro") -> None:
        super().__init__(target)
        self.key = key
        self.plan = plan
        self.workspaces = {handle: (str(uuid.uuid4()), str(uuid.uuid4())) for handle in workspaces}

    def respond(self, handler: QuietHandler, body: bytes) -> None:
        path = handler.path.removeprefix("/api")
        if handler.headers.get("Authorization") != f"Bearer {self.key}":
            return handler.answer(401, b'{"detail": "Invalid authentication credentials"}')
        if handler.command == "GET" and path in ("/me/", "/me"):
            return handler.answer(
                200, json.dumps({"id": str(uuid.uuid4()), "handle": "ann"}).encode()
            )
        if handler.command == "GET" and path == "/me/workspaces":
            return handler.answer(
                200, json.dumps([*map(self._workspace, self.workspaces)]).encode()
            )
        match = re.fullmatch(r"/accounts/([^/]+)/workspaces/([^/]+)(/.*)", path)
        if not match or match[3].startswith("/admin"):
            return handler.answer(404, b'{"detail": "Not Found"}')
        if (match[1], match[2]) not in self.workspaces.values():
            return handler.answer(403, b'{"detail": "Forbidden"}')
        if self.plan == "free" and handler.command == "POST" and match[3] == "/work_pools/":
            kind = json.loads(body)["type"]
            if not kind.endswith(":managed"):
                detail = f"Your account's plan does not support {kind} work pools"
                return handler.answer(403, json.dumps({"detail": detail}).encode())
        return self.forward(handler, "/api" + match[3], body)

    def _workspace(self, handle: str) -> dict[str, str]:
        account, workspace = handle.split("/")
        account_id, workspace_id = self.workspaces[handle]
        return {
            "account_id": account_id,
            "account_name": account,
            "account_handle": account,
            "workspace_id": workspace_id,
            "workspace_name": workspace,
            "workspace_description": "",
            "workspace_handle": workspace,
        }
