"""A real HTTP server on the loopback interface that serves files from memory, with the faults a test asks for."""

from __future__ import annotations

import re
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class FileServer:
    """What is served, and what was asked for.

    Attributes:
        files: content by path.
        cut: how many requests for a path are cut after half of what they should send.
        statuses: error statuses a path answers with before it answers properly.
        types: content type by path; JSON otherwise.
        ranges: whether requests for a part of a file are honoured.
        requests: every request's path and Range header ("" if none), in order.
    """

    files: dict[str, bytes]
    cut: dict[str, int] = field(default_factory=dict)
    statuses: dict[str, list[int]] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    ranges: bool = True
    requests: list[tuple[str, str]] = field(default_factory=list)
    url: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def asked(self) -> Counter[str]:
        """Number of requests by path."""
        return Counter(path for path, _ in self.requests)


def _handler(server: FileServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, wanted = self.path.lstrip("/"), self.headers.get("Range", "")
            with server.lock:
                server.requests.append((path, wanted))
                status = server.statuses[path].pop(0) if server.statuses.get(path) else 200
                cut = status == 200 and server.cut.get(path, 0) > 0
                server.cut[path] = server.cut.get(path, 0) - cut
            if status != 200 or path not in server.files:
                self.send_error(status if status != 200 else 404)
                return
            content, start = server.files[path], 0
            match = re.fullmatch(r"bytes=(\d+)-", wanted)
            if match and server.ranges:
                start = int(match[1])
                if start >= len(content):
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{len(content)}")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            else:
                self.send_response(200)
            body = content[start:]
            self.send_header("Content-Type", server.types.get(path, "application/json"))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if cut else body)

        def log_message(self, format: str, *args: Any) -> None:
            """Tests print no access log."""

    return Handler


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed is what a test wanted; anything else is shown."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def serve(files: dict[str, bytes]) -> Iterator[FileServer]:
    """Serves the files until the block ends."""
    server = FileServer(dict(files))
    with _Server(("127.0.0.1", 0), _handler(server)) as http:
        server.url = f"http://127.0.0.1:{http.server_port}"
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()
