"""A real HTTP server on 127.0.0.1 that does what a test tells it to, and remembers what it was asked."""

from __future__ import annotations

import contextlib
import hashlib
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Behaviour = Callable[["Handler"], None]


@dataclass
class File:
    """What a path leads to.

    Attributes:
        data: Its bytes.
        etag: Its version; made of the bytes where a test gives none, and left out if empty.
        modified: Its date, if the server says one.
        ranges: Whether the server answers to ``Range``.
        kind: Its content type.
        conditions: Whether the server answers to ``If-None-Match``.
        script: What the server does at the next requests, before it does what is right.
        headers: More headers.
    """

    data: bytes
    etag: str | None = None
    modified: str | None = None
    ranges: bool = True
    kind: str = "application/octet-stream"
    conditions: bool = True
    script: list[Behaviour] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def version(self) -> str:
        return f'"{hashlib.md5(self.data).hexdigest()}"' if self.etag is None else self.etag


@dataclass
class Asked:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    status: int = 0
    sent: int = 0


class Server(ThreadingHTTPServer):
    """The server.

    Attributes:
        files: What there is, by path.
        asked: The requests so far.
        missing: The headers of a 404.
        stalled: Set when a behaviour keeps a client waiting.
        go_on: What such a behaviour waits for.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, File] = {}
        self.asked: list[Asked] = []
        self.missing: dict[str, str] = {}
        self.stalled = threading.Event()
        self.go_on = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def add(self, path: str, data: bytes, **options: Any) -> str:
        """Put a file at a path; returns its address."""
        self.files[path] = File(data, **options)
        return self.url + path

    def bodies(self) -> int:
        """How many whole files were begun to be sent."""
        return sum(request.status == 200 and request.method == "GET" for request in self.asked)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are what the tests are about."""


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    """A server, as long as the block lasts."""
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.go_on.set()
            server.shutdown()
            thread.join()


class Handler(BaseHTTPRequestHandler):
    """Answers one request: by the script of the file, then as HTTP has it."""

    protocol_version = "HTTP/1.1"
    server: Server
    asked: Asked

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the tests look at ``asked``."""

    def do_GET(self) -> None:
        self.close_connection = True
        self.asked = Asked(self.command, self.path, dict(self.headers))
        self.server.asked.append(self.asked)
        file = self.server.files.get(self.path)
        if file is None:
            self.answer(404, self.server.missing)
        elif file.script:
            file.script.pop(0)(self)
        else:
            self.serve()

    do_HEAD = do_GET

    @property
    def file(self) -> File:
        return self.server.files[self.path]

    def answer(self, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        """Send a status and a body."""
        self.begin(status, {"Content-Length": str(len(body)), **(headers or {})})
        self.write(body)

    def begin(self, status: int, headers: dict[str, str]) -> None:
        """Send a status and headers."""
        self.asked.status = status
        self.send_response(status)
        # Clients that keep connections must not count on this one.
        self.send_header("Connection", "close")
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.flush()

    def write(self, data: bytes) -> None:
        """Send bytes of the body."""
        if self.command != "HEAD":
            self.wfile.write(data)
            self.wfile.flush()
            self.asked.sent += len(data)

    def head(self) -> tuple[int, dict[str, str], bytes]:
        """What is right: status, headers and body."""
        file = self.file
        headers = {"Content-Type": file.kind, **file.headers}
        if file.version:
            headers["ETag"] = file.version
        if file.modified:
            headers["Last-Modified"] = file.modified
        if file.conditions and file.version and self.headers.get("If-None-Match") == file.version:
            return 304, headers, b""
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        condition = self.headers.get("If-Range")
        if wanted and file.ranges and condition in (None, file.version, file.modified):
            start, size = int(wanted[1]), len(file.data)
            if start >= size:
                return 416, {"Content-Range": f"bytes */{size}", "Content-Length": "0"}, b""
            headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
            headers["Content-Length"] = str(size - start)
            return 206, headers, file.data[start:]
        headers["Content-Length"] = str(len(file.data))
        return 200, headers, file.data

    def serve(self) -> None:
        """Do what is right."""
        status, headers, body = self.head()
        self.begin(status, headers)
        self.write(body)


# -- behaviours ------------------------------------------------------------------------------------


def cut(after: int) -> Behaviour:
    """Send that many bytes and reset the connection."""

    def behave(handler: Handler) -> None:
        status, headers, body = handler.head()
        handler.begin(status, headers)
        handler.write(body[:after])
        # A reset, and not an orderly end.
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        handler.server.shutdown_request(handler.connection)

    return behave


def truncated(after: int) -> Behaviour:
    """Announce the whole body, send that many bytes, and end in good order."""

    def behave(handler: Handler) -> None:
        status, headers, body = handler.head()
        handler.begin(status, headers)
        handler.write(body[:after])

    return behave


def stall(after: int) -> Behaviour:
    """Send that many bytes, and no more until ``go_on``."""

    def behave(handler: Handler) -> None:
        status, headers, body = handler.head()
        handler.begin(status, headers)
        handler.write(body[:after])
        handler.server.stalled.set()
        handler.server.go_on.wait(30)
        with contextlib.suppress(OSError):
            handler.write(body[after:])

    return behave


def says(status: int, **headers: str) -> Behaviour:
    """Answer with a status."""

    def behave(handler: Handler) -> None:
        handler.answer(status, {name.replace("_", "-"): value for name, value in headers.items()})

    return behave


def redirect(to: str, status: int = 302) -> Behaviour:
    """Send the client elsewhere."""
    return says(status, Location=to)


def hang_up(handler: Handler) -> None:
    """Close the connection without a word."""


def chunked(handler: Handler) -> None:
    """Send the body in chunks, without saying how long it is."""
    status, headers, body = handler.head()
    del headers["Content-Length"]
    handler.begin(status, {**headers, "Transfer-Encoding": "chunked"})
    for start in range(0, len(body), 1000):
        piece = body[start : start + 1000]
        handler.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
    handler.write(b"0\r\n\r\n")


def chunked_and_cut(handler: Handler) -> None:
    """Begin a body in chunks, and end in the middle."""
    status, headers, body = handler.head()
    del headers["Content-Length"]
    handler.begin(status, {**headers, "Transfer-Encoding": "chunked"})
    handler.write(f"{len(body):x}\r\n".encode() + body[: len(body) // 2])


def wrong_part(handler: Handler) -> None:
    """Answer to a ``Range`` with another one."""
    _, headers, _ = handler.head()
    data = handler.file.data
    headers["Content-Range"] = f"bytes 0-{len(data) - 1}/{len(data)}"
    headers["Content-Length"] = str(len(data))
    handler.begin(206, headers)
    handler.write(data)
