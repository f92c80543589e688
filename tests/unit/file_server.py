"""A real HTTP server on localhost that serves one file and misbehaves on demand."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class FileServer:
    """What the server sends, and what it was asked for.

    Args:
        content: body of the file.
        etag: validator; None to send none.
        ranges: whether `Range` is understood.
        cuts: for the coming requests, after how many bytes the connection is closed.
        statuses: for the coming requests, statuses to answer instead of the file.
        requests: (bytes=... of `Range` or None, bytes that were sent) of every request.
    """

    content: bytes
    etag: str | None = '"one"'
    ranges: bool = True
    cuts: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    requests: list[tuple[str | None, int]] = field(default_factory=list)
    url: str = ""

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        wanted = handler.headers.get("Range")
        if self.statuses:
            self.requests.append((wanted, 0))  # before the answer, which wakes the one who asks for it
            handler.send_error(self.statuses.pop(0))
            return
        same = handler.headers.get("If-Range") in (None, self.etag)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.ranges and same else 0
        if start >= len(self.content):
            self.requests.append((wanted, 0))
            handler.send_response(416)
            handler.send_header("Content-Range", f"bytes */{len(self.content)}")
            handler.end_headers()
            return
        body = self.content[start:]
        handler.send_response(206 if start else 200)
        if start:
            last = len(self.content) - 1
            handler.send_header("Content-Range", f"bytes {start}-{last}/{len(self.content)}")
        if self.etag:
            handler.send_header("ETag", self.etag)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        sent = body[: self.cuts.pop(0)] if self.cuts else body
        self.requests.append((wanted, len(sent)))
        handler.wfile.write(sent)


@contextmanager
def serve(file: FileServer) -> Iterator[FileServer]:
    """Run the server in a thread; its address is in `file.url`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            file.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    file.url = f"http://127.0.0.1:{server.server_port}/weights.pth"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield file
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
