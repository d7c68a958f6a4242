"""A local server with the part of the Hugging Face Hub's API that the package uses."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class HubServer:
    """Keeps the files of one repository, "me/router"."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        #: The repository as it was created.
        self.created: dict[str, Any] = {}
        #: The Authorization header of each request that changes something.
        self.keys: list[str | None] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                hub.keys.append(self.headers.get("Authorization"))
                body = self._body()
                if self.path == "/api/repos/create":
                    hub.created = json.loads(body)
                    self._json({"url": f"{hub.url}/me/router"})
                elif "/preupload/" in self.path:
                    paths = [file["path"] for file in json.loads(body)["files"]]
                    answer = {"uploadMode": "regular", "shouldIgnore": False}
                    self._json({"files": [{"path": path, **answer} for path in paths]})
                elif "/commit/" in self.path:
                    for line in map(json.loads, body.splitlines()):
                        if line["key"] == "file":
                            content = base64.b64decode(line["value"]["content"])
                            hub.files[line["value"]["path"]] = content
                    address = f"{hub.url}/me/router/commit/1"
                    self._json({"commitUrl": address, "commitOid": COMMIT, "success": True})
                else:
                    self._json({"error": "not found"}, 404)

            def do_GET(self) -> None:
                path = self.path.split("?")[0]
                name = path.rpartition(f"/resolve/{COMMIT}/")[2]
                if path.startswith("/api/models/me/router/revision/"):
                    siblings = [{"rfilename": file} for file in hub.files]
                    self._json({"id": "me/router", "sha": COMMIT, "siblings": siblings})
                elif path.startswith("/api/models/me/router/tree/"):
                    self._json(
                        [
                            {"type": "file", "path": file, "size": len(data), "oid": COMMIT}
                            for file, data in hub.files.items()
                        ]
                    )
                elif name in hub.files:
                    self._send(hub.files[name], 200)
                else:
                    self._json({"error": "not found"}, 404)

            do_HEAD = do_GET

            def _body(self) -> bytes:
                if self.headers.get("Transfer-Encoding") != "chunked":
                    return self.rfile.read(int(self.headers.get("Content-Length", 0)))
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return body

            def _json(self, value: Any, status: int = 200) -> None:
                self._send(json.dumps(value).encode(), status)

            def _send(self, data: bytes, status: int) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
                self.send_header("X-Repo-Commit", COMMIT)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

            def log_message(self, *arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
