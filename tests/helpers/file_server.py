"""A web server of files, which can cut an answer off, or hold it up."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class FileServer(http.server.BaseHTTPRequestHandler):
    """Serves ``files``, parts of them too; ``cut``: so many bytes of the first answer alone; ``held``: half of an answer comes
    before that event, and half after it. ``mirror``: its address."""

    files: dict[str, bytes]
    asked: list[str]
    cut = 0
    held: threading.Event | None = None
    mirror = ""

    def do_GET(self):
        """Answer with the file, or with the rest of it that is asked for."""
        data = self.files.get(self.path)
        if data is None:
            self.send_error(404)
            return
        wanted = self.headers.get("Range", "")
        type(self).asked.append(wanted)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        self.send_response(206 if wanted else 200)
        self.send_header("ETag", '"1"')
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        rest = data[start:]
        if self.cut:
            rest, type(self).cut = rest[: self.cut], 0
        self.wfile.write(rest[: len(rest) // 2])
        if self.held is not None:
            self.held.wait(60)
        self.wfile.write(rest[len(rest) // 2 :])

    def log_message(self, *args):
        """Say nothing."""


@contextmanager
def file_server() -> Iterator[type[FileServer]]:
    """One that runs; its settings are the attributes of the class."""
    handler = type("Handler", (FileServer,), {"files": {}, "asked": []})
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    handler.mirror = f"http://127.0.0.1:{running.server_port}"
    try:
        yield handler
    finally:
        running.shutdown()
        running.server_close()
        thread.join()
