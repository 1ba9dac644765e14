"""A private git remote over HTTPS on loopback: git's own server program, behind a token."""

from __future__ import annotations

import base64
import os
import ssl
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import trustme

from servers.loopback import LoopbackServer, QuietHandler


class PrivateGit(LoopbackServer):
    """Serves the repositories in a folder to those who send the token, as GitHub does.

    It may be the user name or the password.

    Args:
        folder: Holds bare repositories.
        token: The one token that it takes.
        certificates: A folder for the certificate; `authority` in it is what clients must trust.
    """

    def __init__(self, folder: Path, token: str, certificates: Path) -> None:
        self.refused = 0
        remote = self

        class Handler(QuietHandler):
            def handle_any(self) -> None:
                body = self.body()
                kind, _, encoded = (self.headers.get("Authorization") or "").partition(" ")
                sent = base64.b64decode(encoded).decode().split(":") if kind == "Basic" else []
                if token not in sent:
                    remote.refused += 1
                    return self.answer(401, b"", "text/plain", WWW_Authenticate='Basic realm="git"')
                parts = urlsplit(self.path)
                variables = {
                    "GIT_PROJECT_ROOT": str(folder),
                    "GIT_HTTP_EXPORT_ALL": "1",
                    "PATH_INFO": parts.path,
                    "QUERY_STRING": parts.query,
                    "REQUEST_METHOD": self.command,
                    "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                    "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                    "REMOTE_USER": "ann",
                }
                output = subprocess.run(
                    ["git", "http-backend"],
                    env={**os.environ, **variables},
                    input=body,
                    stdout=subprocess.PIPE,
                    check=True,
                ).stdout
                head, _, content = output.partition(b"\r\n\r\n")
                headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
                status = int(headers.get("Status", "200").split()[0])
                return self.answer(status, content, headers["Content-Type"])

            do_GET = do_POST = handle_any  # noqa: N815  names of http.server

        super().__init__(Handler)
        authority = trustme.CA()
        self.authority = certificates / "authority.pem"
        authority.cert_pem.write_to_path(self.authority)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)

    @property
    def url(self) -> str:
        return super().url.replace("http:", "https:")
