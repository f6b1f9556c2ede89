"""A loopback server that answers like the public one, or misbehaves as a test asks."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest


@dataclass
class Mirror:
    """Files below a folder, served by HTTP with byte ranges.

    `change` maps a path's ending to a function of its bytes; `faults` lists what the next answers
    do instead: a status code, "cut" (half of the bytes, then the connection closes) or "silent"
    (half of the bytes, then nothing until the server closes), "drip" or "drip headers" (a byte now and then).
    """

    folder: Path
    change: dict[str, object] = field(default_factory=dict)
    faults: list[int | str] = field(default_factory=list)
    ranges: bool = True
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)
    base: str = ""


def _handler(mirror: Mirror) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def drip(self, data: bytes) -> None:
            for byte in data:
                if mirror.closing.wait(0.05):
                    return
                try:
                    self.wfile.write(bytes([byte]))
                except OSError:
                    return

        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            mirror.requests.append((self.path, wanted))
            path = mirror.folder / self.path.lstrip("/")
            fault = mirror.faults.pop(0) if mirror.faults else None
            if isinstance(fault, int) or not path.is_file():
                self.send_error(fault if isinstance(fault, int) else 404)
                return
            data = path.read_bytes()
            if fault == "drip headers":
                self.drip(b"HTTP/1.0 200 OK\r\n" + b"X" * 1000)
                return
            for ending, change in mirror.change.items():
                if self.path.endswith(ending):
                    data = change(data)  # type: ignore[operator]
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and mirror.ranges else 0
            body = data[start:]
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if fault == "drip":
                self.drip(body)
                return
            if fault is None:
                self.wfile.write(body)
                return
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            if fault == "silent":
                mirror.closing.wait(20)

    return Handler


@pytest.fixture
def mirror(reference: Path) -> Iterator[Mirror]:
    """The mirror of public files, served over loopback HTTP."""
    served = Mirror(reference / "mirror")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(served))
    served.base = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield served
    served.closing.set()
    server.shutdown()
    server.server_close()
    thread.join()
